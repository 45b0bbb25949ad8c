"""What a writer hands over of its results is stored column by column as it was said."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from calbus.entry import Applied, Desired, Entry, Intent, ItemKey, Place, entry_id_of
from calbus.recurrence import StandingSeries
from calbus.store import entries
from calbus.store.entries import Planned, Result
from schemas.items import Kind
from schemas.reasons import Reason
from tests.support.world import World

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
HERE = Place("contoso.example", "ann@contoso.example", "Work")


def entry(number: int) -> Entry:
    item = ItemKey("contoso", "planner", Kind.ACTION, f"A-{number}")
    desired = Desired(1, 1, Intent.PRESENT, Reason.WRITTEN, HERE, b"{}", b"hash")
    return Entry(entry_id_of(item, "ann"), item, "ann", desired, Applied(), owed=True, since=NOW)


@pytest.fixture
async def database(world: World) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(world.dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def plan(connection: asyncpg.Connection, count: int) -> list[Result]:
    """Entries that a writer has loaded, and the results that say nothing of them."""
    planned = [entry(number) for number in range(count)]
    await entries.put_desired(connection, [Planned(one, NOW, NOW) for one in planned])
    loaded = await entries.load_for_work(connection, [one.entry_id for one in planned])
    applied = Applied(generation=0)
    return [
        Result(
            one.entry.entry_id, one.write_version, 1, applied, settled=False, attempts=0, last_error=None, due_at=None
        )
        for one in loaded
    ]


async def stored(connection: asyncpg.Connection, entry_id: UUID) -> dict[str, Any]:
    row = await connection.fetchrow("SELECT * FROM entry WHERE entry_id = $1", entry_id)
    assert row is not None
    return dict(row)


async def test_every_part_of_a_result_has_its_column(database: asyncpg.Connection) -> None:
    (nothing,) = await plan(database, 1)
    applied = Applied(
        place=Place("fabrikam.example", "bob@fabrikam.example", "Other"),
        content_hash=b"content",
        event_id="event",
        etag="etag",
        generation=3,
        in_doubt=True,
        grant="grant",
        master_hash=b"master",
        series=StandingSeries("frame", (), (), created=True),
        left_behind="lane",
    )
    result = replace(
        nothing,
        applied=applied,
        attempts=5,
        last_error=Reason.GRAPH_UNAVAILABLE,
        due_at=NOW + timedelta(hours=1),
        refusal=Reason.ACCESS_DENIED,
    )
    assert await entries.record(database, [result]) == {result.entry_id: True}
    row = await stored(database, result.entry_id)
    assert StandingSeries.from_json(row["standing_series"]) == applied.series
    assert {name: row[name] for name in row if name in EXPECTED} == EXPECTED


EXPECTED = {
    "applied_plan": 0,
    "applied_directory": "fabrikam.example",
    "applied_mailbox": "bob@fabrikam.example",
    "applied_calendar": "Other",
    "applied_hash": b"content",
    "event_id": "event",
    "etag": "etag",
    "generation": 3,
    "in_doubt": True,
    "applied_grant": "grant",
    "master_hash": b"master",
    "left_behind": "lane",
    "attempts": 5,
    "last_error": "graph_unavailable",
    "due_at": NOW + timedelta(hours=1),
    "refusal": "access_denied",
    "owed": True,
    "applied_at": None,
}


async def test_a_result_that_says_nothing_leaves_nothing(database: asyncpg.Connection) -> None:
    (nothing,) = await plan(database, 1)
    assert await entries.record(database, [nothing]) == {nothing.entry_id: True}
    row = await stored(database, nothing.entry_id)
    absent = ("applied_hash", "event_id", "etag", "applied_grant", "master_hash", "standing_series", "left_behind")
    assert [row[name] for name in (*absent, "last_error", "due_at", "refusal")] == [None] * 10
    # Where the mark said that it would be created, somebody can still be woken.
    assert (row["applied_directory"], row["applied_mailbox"]) == (HERE.directory, HERE.mailbox)


async def test_no_results_are_none(database: asyncpg.Connection) -> None:
    assert await entries.record(database, []) == {}


async def test_what_is_held_is_told_from_what_was_overtaken(world: World, database: asyncpg.Connection) -> None:
    free, held, overtaken = await plan(database, 3)
    await database.execute("UPDATE entry SET write_version = write_version + 1 WHERE entry_id = $1", overtaken.entry_id)
    other = await asyncpg.connect(world.dsn)
    try:
        async with other.transaction():
            await other.execute("SELECT FROM entry WHERE entry_id = $1 FOR UPDATE", held.entry_id)
            assert await entries.record(database, [held, free, overtaken]) == {free.entry_id: True}
            left_out = [(one.entry_id, one.write_version) for one in (held, overtaken)]
            assert await entries.held_of(database, left_out) == {held.entry_id}
    finally:
        await other.close()
    assert await entries.record(database, [held, overtaken]) == {held.entry_id: True}


async def test_a_plan_that_is_made_while_a_result_waits_is_due_at_once(
    world: World, database: asyncpg.Connection
) -> None:
    (result,) = await plan(database, 1)
    settled = replace(result, settled=True)
    planner = await asyncpg.connect(world.dsn)
    try:
        async with planner.transaction():
            await planner.execute("UPDATE entry SET plan = 2, due_at = 'infinity' WHERE entry_id = $1", result.entry_id)
            assert await entries.record(database, [settled]) == {}
    finally:
        await planner.close()
    assert await entries.record(database, [settled]) == {result.entry_id: False}
    row = await stored(database, result.entry_id)
    assert row["owed"]
    assert row["due_at"] < datetime.now(UTC) + timedelta(minutes=1)
