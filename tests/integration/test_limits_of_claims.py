"""What takes at most so many rows takes no more, whichever way PostgreSQL chooses to do it.

A subquery with a limit and a lock on the inner side of a nested loop is run for each outer row, passes over what it has
locked already, and so takes the limit many times over. PostgreSQL chooses that way where statistics are of a time when
the table held a row or two: what every test here makes it believe. Its other ways are closed.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from calbus.entry import Applied, Desired, Entry, Intent, ItemKey, Place, entry_id_of
from calbus.store import accounts, entries, outbox, subscriptions
from calbus.store.entries import Planned
from schemas.events import TYPE_NAMES
from schemas.items import Kind
from schemas.reasons import Reason
from schemas.results import Outcome
from tests.support.world import World

ROWS = 10  # in one page, so that nothing looks as if the table had grown
LIMIT = 2
TYPE = TYPE_NAMES[Outcome]
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
NESTED_LOOPS = {f"enable_{way}": "off" for way in ("hashjoin", "mergejoin", "material", "indexscan", "bitmapscan")}
HERE = Place("contoso.example", "ann@contoso.example", "Work")

_SUBSCRIPTIONS = """
INSERT INTO mailbox_subscription (lane, directory, mailbox, due_at)
SELECT 'lane ' || i, 'directory', 'mailbox ' || i, $1 FROM generate_series($2::int, $3::int) AS i
"""
_OUTCOMES = """
INSERT INTO outbox (topic, type, key, event_id, value, created_at)
SELECT 'outcomes', $4, i, i, '', $1 FROM generate_series($2::int, $3::int) AS i
"""


@pytest.fixture
async def pool(world: World) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(world.dsn, min_size=1, max_size=2, server_settings=NESTED_LOOPS) as pool:
        yield pool


async def plan(pool: asyncpg.Pool, numbers: range) -> list[UUID]:
    planned = []
    for number in numbers:
        item = ItemKey("contoso", "planner", Kind.ACTION, f"A-{number}")
        desired = Desired(1, 1, Intent.PRESENT, Reason.WRITTEN, HERE, b"{}", b"hash")
        one = Entry(entry_id_of(item, "ann"), item, "ann", desired, Applied(), owed=True, since=NOW)
        planned.append(Planned(one, NOW, NOW))
    async with pool.acquire() as connection:
        await entries.put_desired(connection, planned)
    return [one.entry.entry_id for one in planned]


async def test_subscriptions_are_claimed_up_to_the_limit(pool: asyncpg.Pool) -> None:
    await pool.execute(_SUBSCRIPTIONS, NOW, 1, 1)
    await pool.execute("ANALYZE mailbox_subscription")
    await pool.execute(_SUBSCRIPTIONS, NOW, 2, ROWS)
    taken = await subscriptions.claim(pool, NOW, NOW + timedelta(minutes=1), LIMIT)
    assert len(taken) == LIMIT
    assert await pool.fetchval("SELECT count(*) FROM mailbox_subscription WHERE lease_until IS NOT NULL") == LIMIT


async def test_entries_are_swept_up_to_the_limit(pool: asyncpg.Pool) -> None:
    await plan(pool, range(1))
    await pool.execute("ANALYZE entry")
    await plan(pool, range(1, ROWS))
    swept = await entries.sweep(pool, now=NOW, again_at=NOW + timedelta(minutes=1), limit=LIMIT)
    assert len(swept) == LIMIT
    assert await pool.fetchval("SELECT count(*) FROM entry WHERE due_at > $1", NOW) == LIMIT


async def test_what_rests_for_no_reason_is_woken_up_to_the_limit(pool: asyncpg.Pool) -> None:
    await plan(pool, range(1))
    await pool.execute("ANALYZE entry")
    await plan(pool, range(1, ROWS))
    await pool.execute("UPDATE entry SET due_at = 'infinity'")
    assert await accounts.wake_forgotten(pool, LIMIT) == LIMIT
    assert await pool.fetchval("SELECT count(*) FROM entry WHERE due_at < 'infinity'") == LIMIT


async def test_messages_are_taken_up_to_the_limit_and_oldest_first(pool: asyncpg.Pool) -> None:
    await pool.execute(_OUTCOMES, NOW, 1, 1, TYPE)
    await pool.execute("ANALYZE outbox")
    await pool.execute(_OUTCOMES, NOW, 2, ROWS, TYPE)
    async with pool.acquire() as connection, connection.transaction():
        taken = await outbox.take(connection, LIMIT)
    assert [one.event_id for one in taken] == ["1", "2"]
