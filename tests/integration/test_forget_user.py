"""`calbus forget-user`: afterwards no row of any table names the person, and nobody else has lost anything."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from calbus.bus.kafka import topic_name
from calbus.entry import Place
from calbus.settings import KafkaSettings
from schemas.changes import AppointmentUpserted, EntryRescheduled
from schemas.events import Topic
from schemas.switches import AccountUnlinked, Leftovers, Touched
from tests.integration.test_commands import calbus
from tests.support.waiting import until
from tests.support.world import PARTITIONS, Tenant, World, _free_port

ANN = "annabel-quist"
BOB = "bob"
# Of the others these must stay as they are; what else there is of them moves on by itself.
STEADY = (
    "SELECT tenant, name, body::text FROM setting WHERE scope = 'account' AND (tenant, name) <> ($1, $2) ORDER BY 1, 2",
    "SELECT entry_id, intent, reason, event_id FROM entry WHERE (tenant, assignee) <> ($1, $2) ORDER BY 1",
)


async def forget(tenant: Tenant, user: str, *options: str, **overrides: Any) -> tuple[int, str, str]:
    """Run the command; its words come on one line."""
    code, out, err = await calbus("forget-user", tenant.id, user, *options, **tenant.world.environment(**overrides))
    return code, " ".join(out.split()), " ".join(err.split())


async def unlink(tenant: Tenant, user: str, entries: Leftovers = Leftovers.KEEP) -> None:
    """The user's account ends, and ingest knows."""
    revision = tenant.revision(f"account {user}")
    await tenant.publish(AccountUnlinked(tenant=tenant.id, user=user, revision=revision, entries=entries))

    async def known() -> bool:
        query = "SELECT body ->> 'entries' FROM setting WHERE tenant = $1 AND scope = 'account' AND name = $2"
        return [row[0] for row in await tenant.world.fetch(query, tenant.id, user)] == [entries.value]

    await until(known, "the account to be unlinked")


async def traces(world: World, *words: str) -> list[str]:
    """Every row of every table that holds one of these words anywhere, but for those of schema migrations."""
    database = await asyncpg.connect(world.dsn)
    try:
        tables = await database.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        found = []
        for (table,) in tables:
            columns = await database.fetch(
                "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = $1", table
            )
            readable = [f"encode({name}, 'escape')" if kind == "bytea" else f"{name}::text" for name, kind in columns]
            rows = await database.fetch(f"SELECT concat_ws(' ', {', '.join(readable)}) FROM {table}")
            found += [f"{table}: {row[0]}" for row in rows if any(word.lower() in row[0].lower() for word in words)]
        return found
    finally:
        await database.close()


async def last_values(world: World, topic: Topic, key: bytes) -> list[bytes | None]:
    """All that the topic holds under a key, oldest first."""
    settings = world.settings(KafkaSettings)
    name = topic_name(settings, topic)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap, group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    try:
        partitions = [TopicPartition(name, number) for number in range(PARTITIONS)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        values: list[bytes | None] = []
        while any([await consumer.position(one) < ends[one] for one in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                values += [record.value for record in records if record.key == key]
        return values
    finally:
        await consumer.stop()


@asynccontextmanager
async def everything(world: World) -> AsyncIterator[None]:
    """All services, with a webhook that Microsoft reaches."""
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    quick = {"puller_subscription_interval_s": 0.05, "puller_subscription_follow_s": 0.05}
    async with (
        world.ingest(),
        world.writer(),
        world.puller(puller_public_url=url, puller_webhook_port=port, **quick),
    ):
        yield


async def live(tenant: Tenant) -> Any:
    """Ann and Bob have work, Ann gave the first of it to both; she moved an entry and has an appointment of her own."""
    shared = tenant.action("shared", ANN, BOB, owner=ANN)
    other = tenant.action("other", ANN, project="north")
    await tenant.set_project("north")
    await tenant.publish(shared, other)
    for event, user in ((shared, ANN), (shared, BOB), (other, ANN)):
        await tenant.outcome(event, user)
    await tenant.appointment(ANN, "Dentist")
    await tenant.change(ANN, AppointmentUpserted)
    [mine] = [event for event in await tenant.calendar(ANN) if "other" in event.subject]
    times = (
        {"dateTime": "2026-12-03T15:00:00", "timeZone": "UTC"},
        {"dateTime": "2026-12-03T16:00:00", "timeZone": "UTC"},
    )
    await tenant.world.admin.user_edits(
        tenant.directory, tenant.mailbox(ANN), mine.id, {"start": times[0], "end": times[1]}
    )
    await tenant.change(ANN, EntryRescheduled)
    return shared


async def linked(tenant: Tenant, user: str) -> None:
    """The account synchronises both ways, and Microsoft tells of its mailbox."""
    await tenant.publish(tenant.account(user, direction="both", detail="full"))

    async def subscribed() -> bool:
        lane = Place(tenant.directory, tenant.mailbox(user)).lane
        query = "SELECT subscription_id FROM mailbox_subscription WHERE lane = $1 AND subscription_id IS NOT NULL"
        return bool(await tenant.world.fetch(query, lane))

    await until(subscribed, "a subscription")


@pytest.mark.slow
async def test_afterwards_no_row_names_the_person_and_nobody_else_lost_anything(world: World) -> None:
    async with (
        everything(world),
        world.tenant(ANN, BOB, assigning="anyone", touched=Touched.ACCEPT) as tenant,
        world.tenant(ANN) as neighbour,
    ):
        await linked(tenant, ANN)
        await linked(tenant, BOB)
        shared = await live(tenant)
        theirs = neighbour.action("theirs", ANN)
        await neighbour.publish(theirs)
        await neighbour.outcome(theirs, ANN)
        words = (tenant.mailbox(ANN), Place(tenant.directory, tenant.mailbox(ANN)).lane)
        assert len(await traces(world, ANN, *words)) > 10

        code, _, err = await forget(tenant, ANN, "--remove")
        assert (code, "still allowed" in err, "unlinks it first" in err) == (2, True, True)
        await unlink(tenant, ANN)
        code, _, err = await forget(tenant, ANN)
        assert (code, "2 entries stand in the calendar: say --remove or --leave" in err) == (2, True), err
        before = [await world.fetch(query, tenant.id, ANN) for query in STEADY]

        code, out, err = await forget(tenant, ANN, "--remove")
        assert code == 0, err
        assert "2 entries have left the calendar" in out
        assert all(words in out for words in ("2 entries", "2 items that named them", "outcomes.v1: 7 days")), out
        assert await tenant.subjects(ANN) == ["Dentist"]
        assert await tenant.subjects(BOB) == ["○ Do shared"]
        left = [row for row in await traces(world, ANN, *words) if neighbour.id not in row]
        # The neighbour's rows of the way down name their tenant's directory only.
        assert [row for row in left if neighbour.directory not in row] == []
        assert [await world.fetch(query, tenant.id, ANN) for query in STEADY] == before
        assert len(await world.admin.subscriptions(tenant.directory)) == 1

        key = f"account/{tenant.id}/{ANN}".encode()
        assert (await last_values(world, Topic.SETTINGS, key))[-1] is None
        assert (await last_values(world, Topic.ACCOUNT_STATUS, key + b"/up"))[-1] is None
        assert (await last_values(world, Topic.ACCOUNT_STATUS, key + b"/down"))[-1] is None

        # What comes again is known; run again, there is nothing to do.
        marker = tenant.action("marker", BOB)
        await tenant.publish(shared, marker)
        await tenant.outcome(marker, BOB)
        code, out, err = await forget(tenant, ANN)
        assert (code, "nothing was kept of this user" in out) == (0, True), err + out
        assert [row for row in await traces(world, *words) if "migration" not in row] == []


async def test_entries_are_left_where_they_are_without_a_writer(world: World) -> None:
    async with world.ingest(), world.tenant(ANN, BOB) as tenant:
        async with world.writer():
            action = tenant.action("a1", ANN)
            await tenant.publish(action)
            await tenant.outcome(action, ANN)
        await unlink(tenant, ANN)
        code, out, err = await forget(tenant, ANN, "--leave")
        assert (code, "1 entries that stay in the person's calendar" in out) == (0, True), err + out
        assert await tenant.subjects(ANN) == ["○ Do a1"]
        assert await traces(world, ANN) == []


@pytest.mark.slow
async def test_a_mailbox_that_somebody_else_names_too_keeps_what_is_theirs(world: World) -> None:
    async with everything(world), world.tenant(ANN, BOB) as tenant:
        await tenant.publish(tenant.account(BOB, mailbox=tenant.mailbox(ANN), direction="both"))
        await linked(tenant, ANN)
        actions = tenant.action("a1", ANN), tenant.action("b1", BOB)
        await tenant.publish(*actions)
        await tenant.outcome(actions[0], ANN)
        await tenant.outcome(actions[1], BOB)
        lane = Place(tenant.directory, tenant.mailbox(ANN)).lane
        kept = "SELECT name FROM category WHERE lane = $1"
        assert await world.fetch(kept, lane)
        await unlink(tenant, ANN)
        code, out, err = await forget(tenant, ANN, "--remove")
        assert code == 0, err + out
        assert await tenant.subjects(ANN) == ["○ Do b1"]
        assert await world.fetch(kept, lane)
        assert len(await world.admin.subscriptions(tenant.directory)) == 1
        assert [row for row in await traces(world, f" {ANN} ", f"/{ANN}") if lane not in row] == []


@pytest.mark.slow
async def test_the_account_is_not_forgotten_while_ingest_is_away(world: World) -> None:
    async with world.ingest():
        context = world.tenant()
        tenant = await context.__aenter__()
        await tenant.publish(tenant.account(ANN, allowed=False))
        await tenant.settings_known(2)
    code, _, err = await forget(tenant, ANN, "--wait-s", "1")
    assert (code, "is it running?" in err) == (1, True), err
    assert await traces(world, tenant.mailbox(ANN))
    async with world.ingest():
        code, _, err = await forget(tenant, ANN)
    assert (code, err) == (0, "")
    assert await traces(world, ANN) == []
    await context.__aexit__(None, None, None)
