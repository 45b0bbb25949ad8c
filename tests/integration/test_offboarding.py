"""A tenant leaves as docs/operations.md says: nothing of it is left, and nobody else has lost anything."""

import asyncio
from typing import Any

from calbus.entry import Place
from schemas.events import Topic
from schemas.results import Ending, Way
from schemas.switches import Leftovers
from simulator.client import StoredEvent
from tests.integration.test_commands import calbus
from tests.integration.test_forget_user import everything, last_values, linked, traces, unlink
from tests.support.waiting import until
from tests.support.world import CLIENT_ID, Tenant, World

_DIRECTORY = "SELECT body ->> 'directory' FROM setting WHERE tenant = $1 AND scope = 'tenant'"
OF_OTHERS = (
    "SELECT tenant, scope, name, body::text FROM setting WHERE tenant = $1 ORDER BY 2, 3",
    "SELECT tenant, id, revision, body::text FROM item WHERE tenant = $1 ORDER BY 2",
    "SELECT entry_id, intent, reason, event_id FROM entry WHERE tenant = $1 ORDER BY 1",
    "SELECT tenant, username, calendar, mailbox FROM calendar_pull WHERE tenant = $1 ORDER BY 2, 3",
    "SELECT tenant, assignee, told FROM account_status WHERE tenant = $1 ORDER BY 2",
    f"SELECT lane, name FROM category WHERE directory = ({_DIRECTORY}) ORDER BY 1, 2",
    f"SELECT subscription_id FROM mailbox_subscription WHERE directory = ({_DIRECTORY})",
    "SELECT o.* FROM override o JOIN entry USING (entry_id) WHERE tenant = $1 ORDER BY 1",
    "SELECT r.* FROM restore r JOIN entry USING (entry_id) WHERE tenant = $1 ORDER BY 1",
    "SELECT * FROM breaker WHERE tenant = $1 ORDER BY name",
)
# What takes a user with a mind of their own, or a hundred removals, to come about.
SELDOM = (
    "INSERT INTO override (entry_id, day, upstream) SELECT entry_id, '', '' FROM entry WHERE tenant = $1",
    "INSERT INTO restore SELECT entry_id, now(), 1 FROM entry WHERE tenant = $1",
    "INSERT INTO breaker (tenant, name, opened_at) VALUES ($1, '', now())",
)
ORPHANS = """
SELECT entry_id FROM override WHERE entry_id NOT IN (SELECT entry_id FROM entry) UNION ALL
SELECT entry_id FROM restore WHERE entry_id NOT IN (SELECT entry_id FROM entry)
"""


async def forget(tenant: Tenant, *options: str) -> tuple[int, str]:
    """Run the command; its words come on one line."""
    code, out, err = await calbus("forget-tenant", tenant.id, *options, **tenant.world.environment())
    return code, " ".join((out + err).split())


async def live(tenant: Tenant) -> None:
    """Ann synchronises both ways, Bob up; there is a project, a refused entry, a status and a dead letter."""
    await linked(tenant, "ann")
    await tenant.set_project("north")
    given = tenant.action("for-ann", "ann", project="north"), tenant.action("for-bob", "bob", owner="ann")
    stranger = tenant.contact("for-nobody", "never-linked")
    await tenant.publish(*given, stranger)
    for event in given:
        assert (await tenant.outcome(event, event.assignees[0])).ending is Ending.APPLIED
    await tenant.outcome(stranger, "never-linked")
    await asyncio.gather(tenant.status("bob", "working"), told_of_both_ways(tenant, "ann"))
    # The same revision in other words.
    await tenant.publish(tenant.action("for-bob", "bob", title="Reused", revision=given[1].revision))

    async def unread() -> bool:
        return bool(await tenant.world.fetch("SELECT FROM unread WHERE tenant = $1", tenant.id))

    await until(unread, "the dead letter to be noted")
    for query in SELDOM:
        await tenant.world.fetch(query, tenant.id)


async def told_of_both_ways(tenant: Tenant, user: str) -> None:
    async def told() -> bool:
        return {status.way for status in tenant.statuses(user)} == set(Way)

    await until(told, "both ways of the account to be told of")


async def tables(world: World, *words: str) -> set[str]:
    """The tables that hold one of these words."""
    return {row.partition(":")[0] for row in await traces(world, *words)}


async def of_others(other: Tenant) -> tuple[list[Any], list[StoredEvent]]:
    """What the database and the calendar hold of a tenant that stays."""
    rows = [await other.world.fetch(query, other.id) for query in OF_OTHERS]
    assert all(rows)
    return rows, await other.calendar("ann")


async def test_a_tenant_leaves_as_operations_md_says(world: World) -> None:
    async with (
        everything(world),
        world.tenant("ann", "bob", assigning="anyone") as tenant,
        world.tenant("ann", "bob", assigning="anyone") as other,
    ):
        await asyncio.gather(live(tenant), live(other))
        before = await of_others(other)
        lanes = [Place(tenant.directory, tenant.mailbox(user)).lane for user in ("ann", "bob")]
        words = (tenant.id, tenant.directory, *lanes)
        assert await tables(world, *words) == {
            "account_status", "activation", "breaker", "calendar_pull", "category", "entry", "item",
            "mailbox_subscription", "pull_lane", "pull_status", "setting", "unread",
        }  # fmt: skip

        # 1: unlinked while the tenant is enabled and the consent stands.
        await unlink(tenant, "ann", Leftovers.REMOVE)
        await unlink(tenant, "bob", Leftovers.KEEP)
        await until(lambda: _is_withdrawn(tenant, "for-ann", "ann"), "Ann's entry to leave")
        assert await tenant.calendar("ann") == []
        code, said = await forget(tenant)
        assert (code, "1 entries stand in calendars" in said, "--leave" in said) == (2, True, True), said
        # 3: what was asked to stay stays.
        code, said = await forget(tenant, "--leave")
        assert (code, "outcomes.v1: 7 days" in said) == (0, True), said
        assert await tenant.subjects("bob") == ["○ Do for-bob"]
        assert await traces(world, *words) == []
        assert await world.fetch(ORPHANS) == []
        assert await world.admin.subscriptions(tenant.directory) == []
        keys = [f"tenant/{tenant.id}", f"project/{tenant.id}/north", f"account/{tenant.id}/ann"]
        for key in keys:
            assert (await last_values(world, Topic.SETTINGS, key.encode()))[-1] is None
        for key in (keys[0], keys[2]):
            for way in ("up", "down"):
                assert (await last_values(world, Topic.ACCOUNT_STATUS, f"{key}/{way}".encode()))[-1] is None
        assert await of_others(other) == before

        # 4: the consent is withdrawn. What comes late is answered, and asks nothing of Microsoft.
        await world.admin.remove_app(tenant.directory, CLIENT_ID)
        written = (await world.admin.ledger(tenant.directory)).value[-1].seq
        late, theirs = tenant.action("late", "ann"), other.action("theirs", "ann")
        await world.publish(late, theirs)
        outcome = await tenant.outcome(late, "ann")
        assert (outcome.ending, outcome.reason) == (Ending.WITHDRAWN, "tenant_not_enabled")
        assert (await other.outcome(theirs, "ann")).ending is Ending.APPLIED
        assert (await world.admin.ledger(tenant.directory, after=written)).value == []
        # It is kept, as any item is, until the tenant is forgotten again.
        assert await tables(world, *words) == {"item", "entry"}
        (code, said), (refused, sentence) = await asyncio.gather(forget(tenant), forget(other, "--leave"))
        assert (code, "1 items" in said) == (0, True), said
        assert await traces(world, *words) == []
        # Who has not left is not forgotten.
        assert (refused, "2 accounts" in sentence, "still allowed" in sentence) == (2, True, True), sentence
        assert (await of_others(other))[0][0] == before[0][0]
        assert len(await other.subjects("ann")) == 2


async def _is_withdrawn(tenant: Tenant, item: str, user: str) -> bool:
    return tenant.ended(item, user)[-1][1] is Ending.WITHDRAWN
