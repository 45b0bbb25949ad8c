"""How a tenant's rows are taken out, without the services: what is found, in which order, and what holds it up."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from calbus.command import CommandError
from calbus.entry import Place
from calbus.store import accounts, departure, pulls
from calbus.store.accounts import Account
from calbus.store.departure import Cursor, Mailboxes, SwitchedOnError
from calbus.store.switches import lock_for_planning
from services.puller import forgetting
from services.puller.forget_tenant_command import _Leaving
from services.puller.forgetting import ForgetSettings, Forgetting, run_command
from tests.support.waiting import until
from tests.support.world import World

GONE = "gone"
STAYS = "stays"
DIRECTORY = "11111111-0000-4000-8000-000000000001"
SHARED = "22222222-0000-4000-8000-000000000002"
NOTHING = Mailboxes((), ())
BEGINNING = Cursor()
ENTRY = """
INSERT INTO entry (entry_id, tenant, source, kind, id, assignee, revision, plan, intent, reason, owed)
VALUES ($1, $2, 'planner', 'action', $3, $4, 1, 1, 'absent', 'tenant_not_enabled', false)
"""
ITEM = """
INSERT INTO item (tenant, source, kind, id, revision, content_hash)
SELECT $1, 'planner', 'action', id, 1, '' FROM unnest($2::text[]) AS id
"""
SETTING = "INSERT INTO setting (scope, tenant, name, revision, body) VALUES ($1, $2, $3, 1, $4::jsonb)"
SUBSCRIPTION = """
INSERT INTO mailbox_subscription (lane, directory, mailbox, wanted, subscription_id, expires_at, renew_at, due_at)
VALUES ($1, $2, $3, false, $1, $4, $4, now())
"""
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
async def pool(world: World) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(world.dsn, min_size=1, max_size=5) as pool:
        yield pool


@asynccontextmanager
async def transaction(pool: asyncpg.Pool) -> AsyncIterator[Any]:
    async with pool.acquire() as connection, connection.transaction():
        yield connection


async def held_up(pool: asyncpg.Pool, work: Awaitable[Any]) -> asyncio.Future[Any]:
    """The work, which waits for somebody's lock."""
    doing = asyncio.ensure_future(work)

    async def waits() -> bool:
        return doing.done() or bool(await pool.fetchval(WAITS))

    await until(waits, "the work to wait")
    assert not doing.done()
    return doing


def entry_id(number: int) -> UUID:
    return UUID(int=number)


def lane(user: str, directory: str = DIRECTORY) -> str:
    return Place(directory, f"{user}@example.org").lane


async def erase(pool: asyncpg.Pool, table: str = "entries", after: Cursor = BEGINNING) -> tuple[int, Cursor] | None:
    async with transaction(pool) as connection:
        return await departure.erase_chunk(connection, GONE, table, after)


async def erase_rest(pool: asyncpg.Pool, mailboxes: Mailboxes = NOTHING) -> dict[str, int]:
    async with transaction(pool) as connection:
        return await departure.erase_rest(connection, GONE, mailboxes)


async def left(pool: asyncpg.Pool, table: str) -> int:
    return int(await pool.fetchval(f"SELECT count(*) FROM {table} WHERE tenant = $1", GONE))


async def test_chunks_go_on_where_the_one_before_ended(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(departure, "CHUNK_MAX_ROWS", 4)
    rows = [(entry_id(10 * item + user), item, user) for item in range(3) for user in range(3)]
    for tenant, offset in ((GONE, 0), (STAYS, 1_000)):
        for one, item, user in rows:
            await pool.execute(ENTRY, UUID(int=one.int + offset), tenant, f"item-{item}", f"user-{user}")
        await pool.execute(ITEM, tenant, ["a", "b", "c", "d", "e"])
    for table, at_once in (("entries", [4, 4, 1]), ("items", [4, 1])):
        after, gone = BEGINNING, []
        while chunk := await erase(pool, table, after):
            assert chunk[1] >= after
            gone.append(chunk[0])
            after = chunk[1]
        assert gone == at_once
    # What is behind is not passed over again.
    await pool.execute(ENTRY, entry_id(1), GONE, "item-0", "late")
    assert await erase(pool, "entries", Cursor("planner", "action", "item-1")) is None
    assert (await left(pool, "entry"), await left(pool, "item")) == (1, 0)
    assert await pool.fetchval("SELECT count(*) FROM entry WHERE tenant = $1", STAYS) == len(rows)


async def test_of_a_tenant_that_was_set_up_again_nothing_more_goes(
    world: World, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(departure, "CHUNK_MAX_ROWS", 1)
    await pool.execute(ITEM, GONE, ["a", "b"])
    for number, item in enumerate(("a", "b")):
        await pool.execute(ENTRY, entry_id(number), GONE, item, "ann")
    chunk = await erase(pool)
    assert chunk is not None
    await pool.execute(SETTING, "tenant", GONE, "", "{}")
    for table in departure.LARGE:
        with pytest.raises(SwitchedOnError):
            await erase(pool, table)
    with pytest.raises(SwitchedOnError):
        await erase_rest(pool)
    leaving = _Leaving(world.settings(ForgetSettings), pool, GONE, 0.0)
    with pytest.raises(CommandError, match="set up again meanwhile: 1 entries and 0 items were forgotten"):
        await leaving._erase(NOTHING, Counter(entries=1))
    assert [await left(pool, table) for table in ("entry", "item", "setting")] == [1, 2, 1]


async def test_entries_are_locked_by_their_ids(pool: asyncpg.Pool) -> None:
    # By item it is the other way round.
    await pool.execute(ENTRY, entry_id(1), GONE, "z", "ann")
    await pool.execute(ENTRY, entry_id(2), GONE, "a", "ann")
    lock = "SELECT FROM entry WHERE entry_id = $1 FOR UPDATE NOWAIT"
    async with transaction(pool) as writer:
        await writer.execute(lock, entry_id(1))
        erasing = await held_up(pool, erase(pool))
        await writer.execute(lock, entry_id(2))
    assert await erasing == (2, Cursor("planner", "action", "z"))
    assert await left(pool, "entry") == 0


async def test_who_settles_is_not_held_up_by_who_waits_for_them(pool: asyncpg.Pool) -> None:
    await pool.execute(
        "INSERT INTO settlement (tenant, parked_before, due_at) VALUES ($1, now(), now()), ($2, now(), now())",
        GONE,
        STAYS,
    )
    async with transaction(pool) as settling:
        await settling.execute("SELECT FROM settlement WHERE tenant = $1 FOR UPDATE", GONE)
        erasing = await held_up(pool, erase_rest(pool))
        await settling.execute("SET LOCAL lock_timeout = '5s'")
        await lock_for_planning(settling, [GONE])
    await erasing
    assert [row["tenant"] for row in await pool.fetch("SELECT tenant FROM settlement")] == [STAYS]


async def test_what_was_in_others_way_is_done_again(world: World, pool: asyncpg.Pool) -> None:
    tried = []

    async def collide(connection: Any) -> int:
        tried.append(connection)
        await connection.execute(ITEM, GONE, ["a"])
        if len(tried) < forgetting.DEADLOCKS_MAX:
            raise asyncpg.DeadlockDetectedError
        return len(tried)

    assert (
        await Forgetting(world.settings(ForgetSettings), pool, 0.0).in_transaction(collide) == forgetting.DEADLOCKS_MAX
    )
    assert await left(pool, "item") == 1


async def test_mailboxes_that_no_row_of_the_tenant_names_any_more_are_found_by_its_directory(
    pool: asyncpg.Pool,
) -> None:
    now = datetime.now(UTC)
    for tenant, directory in ((GONE, DIRECTORY), (STAYS, SHARED)):
        await pool.execute(SETTING, "tenant", tenant, "", f'{{"directory": "{directory}"}}')
    # Both were in the second directory once.
    await pool.execute(ENTRY, entry_id(1), GONE, "a", "ann")
    await pool.execute("UPDATE entry SET directory = $1, mailbox = 'ann@example.org'", SHARED)
    await pool.execute(SETTING, "account", STAYS, "ann", '{"mailbox": "ann@example.org"}')
    for user, directory in (("unlinked", DIRECTORY), ("theirs", SHARED)):
        await pool.execute(SUBSCRIPTION, lane(user, directory), directory, f"{user}@example.org", now)
        await pool.execute("INSERT INTO pull_lane (lane) VALUES ($1)", lane(user, directory))
    for directory in (DIRECTORY, SHARED):
        await pool.execute("INSERT INTO category VALUES ($1, $2, 'red')", directory, lane("former", directory))
    mailboxes = await departure.mailboxes_of(pool, GONE)
    assert mailboxes == Mailboxes((lane("unlinked"),), (DIRECTORY,))
    async with transaction(pool) as connection:
        counts = await departure.erase_mailboxes(connection, mailboxes)
    assert counts == {"categories": 1, "subscriptions that end by themselves": 1, "mailbox leases": 1}
    for table in ("mailbox_subscription", "pull_lane"):
        assert [row["lane"] for row in await pool.fetch(f"SELECT lane FROM {table}")] == [lane("theirs", SHARED)]
    assert [row["directory"] for row in await pool.fetch("SELECT directory FROM category")] == [SHARED]
    # What a writer saw to meanwhile.
    await pool.execute("INSERT INTO category VALUES ($1, $2, 'red')", DIRECTORY, lane("former"))
    await pool.execute("UPDATE setting SET body = NULL WHERE tenant = $1", GONE)
    assert (await erase_rest(pool, mailboxes))["categories"] == 1
    assert [await left(pool, table) for table in ("setting", "account_status")] == [0, 0]


async def test_mailboxes_without_a_calendar_are_dropped_when_their_budget_is_whole_again(pool: asyncpg.Pool) -> None:
    now = datetime.now(UTC)
    past, later = now - timedelta(hours=1), now + timedelta(hours=1)
    await pool.executemany(
        "INSERT INTO pull_lane (lane, lease_until, rests_until, spent_until) VALUES ($1, $2, $3, $4)",
        [
            ("new", None, None, None),
            ("over", past, past, past),
            ("leased", later, past, None),
            ("rests", None, later, past),
            ("spent", past, None, later),
            ("held", None, None, None),
        ],
    )
    async with transaction(pool) as holding:
        await holding.execute("SELECT FROM pull_lane WHERE lane = 'held' FOR NO KEY UPDATE")
        async with pool.acquire() as connection:
            await pulls.drop_spare_lanes(connection)
    assert {row["lane"] for row in await pool.fetch("SELECT lane FROM pull_lane")} == {
        "leased",
        "rests",
        "spent",
        "held",
    }


async def test_mailboxes_are_forgotten_behind_nobodys_back_who_adds_a_calendar(pool: asyncpg.Pool) -> None:
    await pool.execute("INSERT INTO pull_lane (lane) VALUES ('a')")

    async def forget() -> int:
        async with transaction(pool) as connection:
            return await pulls.forget_lanes(connection, ["a"])

    async with transaction(pool) as adding:
        await adding.execute("SELECT pg_advisory_xact_lock($1)", pulls._STEP_LOCK_ID)
        dropping = await held_up(pool, forget())
        await adding.execute(
            "INSERT INTO calendar_pull (tenant, username, calendar, directory, mailbox, lane, publishes) "
            "VALUES ('t', 'ann', '', '', '', 'a', true)"
        )
    assert await dropping == 0


async def test_of_whom_is_forgotten_no_status_comes_back(pool: asyncpg.Pool) -> None:
    ann, bob = Account(GONE, "ann"), Account(GONE, "bob")
    await pool.execute(SETTING, "account", GONE, "ann", None)
    async with transaction(pool) as writer:
        found = await accounts.lock(writer, [ann, bob])
        assert {one: status.reason for one, status in found.items()} == {ann: None}
        # The status that is about to be stored is not left behind by who forgets the tenant at this moment.
        erasing = await held_up(pool, erase_rest(pool))
    await erasing
    assert await left(pool, "account_status") == 0
    async with transaction(pool) as prober:
        assert await accounts.lock(prober, [ann]) == {}
    assert await left(pool, "account_status") == 0


async def test_planned_is_what_nothing_is_left_of(pool: asyncpg.Pool) -> None:
    await pool.execute(ENTRY, entry_id(1), GONE, "a", "ann")
    outbox = "INSERT INTO outbox (topic, key, event_id, value, created_at) VALUES ('t', $1, 'e', '', now())"
    await pool.execute(outbox, f"account/{STAYS}/ann")
    await pool.execute(outbox, str(entry_id(2)))
    assert await departure.is_settled(pool, GONE)
    for query, arguments, undo in (
        (SETTING, ("account", GONE, "ann", "{}"), "UPDATE setting SET body = NULL"),
        ("INSERT INTO replan (tenant, scope, name) VALUES ($1, 'tenant', '')", (GONE,), "DELETE FROM replan"),
        (outbox, (f"account/{GONE}/ann",), "DELETE FROM outbox"),
        (outbox, (str(entry_id(1)),), "DELETE FROM outbox"),
    ):
        await pool.execute(query, *arguments)
        assert not await departure.is_settled(pool, GONE)
        await pool.execute(undo)
        assert await departure.is_settled(pool, GONE)


async def test_a_microsoft_that_hangs_is_not_told_as_postgresql(
    world: World, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "MAILBOX_MIN_S", 0.2)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    lanes = tuple(f"lane-{number}" for number in range(2 * forgetting.CLAIM_MAX_MAILBOXES))
    await pool.executemany(SUBSCRIPTION, [(one, DIRECTORY, f"{one}@example.org", tomorrow) for one in lanes])
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        settings = world.settings(
            ForgetSettings, graph_url=f"https://127.0.0.1:{port}/v1.0", login_url=f"https://127.0.0.1:{port}"
        )
        hangs = Forgetting(settings, pool, 0.0)
        with pytest.raises(CommandError, match="waited for Microsoft to take 100 subscriptions back"):
            await hangs.take_back(lanes)
    # The others are left to whoever has time for them.
    leased = await pool.fetchval("SELECT count(*) FROM mailbox_subscription WHERE lease_until IS NOT NULL")
    assert leased == forgetting.CLAIM_MAX_MAILBOXES


async def test_the_end_of_patience_is_not_told_as_postgresql(world: World) -> None:
    async def hangs(_: asyncpg.Pool) -> None:
        await asyncio.Event().wait()

    async def query_hangs(pool: asyncpg.Pool) -> None:
        await pool.execute("SELECT pg_sleep(60)", timeout=0.1)

    settings = world.settings(ForgetSettings)
    with pytest.raises(CommandError, match="not yet done after 1 s"):
        await asyncio.to_thread(run_command, settings, hangs, 1.0)
    with pytest.raises(CommandError, match=r"PostgreSQL \(CALBUS_POSTGRES_DSN\) does not answer"):
        await asyncio.to_thread(run_command, settings, query_hangs, None)
