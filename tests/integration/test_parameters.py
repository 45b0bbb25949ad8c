"""What goes to PostgreSQL by the thousand comes there as it was said: moments as numbers, names as joined texts."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from random import Random

import asyncpg
import pytest

from calbus.entry import Applied, Desired, Entry, Intent, ItemKey, entry_id_of
from calbus.store import entries, items, switches
from calbus.store.entries import Planned
from calbus.store.parameters import columns, seconds
from schemas.items import Kind
from schemas.reasons import Reason
from schemas.switches import AccountSettings, Scope, SettingsEvent, TenantSettings
from services.ingest.intake import arrival_of, key_of
from tests.support.world import World
from tests.unit.strategies import upserted

NOW = datetime(2026, 11, 21, 9, 51, 35, 123_457, tzinfo=UTC)
# Each is an Identifier; none may be read as a separator, a quote, or PostgreSQL's word for nothing.
NAMES = ["a", "a,b", "{a}", '"a"', "'a'", "a\\", "\\N", "NULL", "a b", "é", "日本", "a|b", "$1", "%s"]


@pytest.fixture
async def database(world: World) -> AsyncIterator[asyncpg.Connection]:
    """A connection whose work nobody else sees, and which is undone."""
    connection = await asyncpg.connect(world.dsn)
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield connection
    finally:
        await transaction.rollback()
        await connection.close()


def entry(key: ItemKey, since: datetime | None) -> Entry:
    desired = Desired(1, 1, Intent.HOLD, Reason.NO_ACCOUNT, None, None, None)
    return Entry(entry_id_of(key, "ann"), key, "ann", desired, Applied(), owed=False, since=since)


async def test_a_moment_comes_back_to_the_microsecond(database: asyncpg.Connection) -> None:
    dice, first, last = Random(7), datetime(1950, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    span_us = (last - first) // timedelta(microseconds=1)
    moments = [first + timedelta(microseconds=dice.randrange(span_us)) for _ in range(20_000)]
    moments += [NOW + timedelta(microseconds=step) for step in range(1_000)]
    moments += [NOW.astimezone(timezone(timedelta(hours=-9, minutes=-30))), datetime.min.replace(tzinfo=UTC)]
    said = [seconds(moment) for moment in moments]
    rows = await database.fetch("SELECT to_timestamp(said) AS at FROM unnest($1::double precision[]) AS said", said)
    assert [row["at"] for row in rows] == moments
    assert seconds(None) is None


async def test_entries_of_one_batch_keep_times_of_their_own(database: asyncpg.Connection) -> None:
    hour = timedelta(hours=1)
    planned = [
        Planned(entry(ItemKey("contoso", "planner", Kind.ACTION, f"A-{number}"), since), due_at, published_at)
        for number, (since, due_at, published_at) in enumerate(
            [(NOW, NOW + hour, NOW - hour), (NOW - 9 * hour, None, NOW), (None, NOW, None), (None, None, None)]
        )
    ]
    await entries.put_desired(database, planned)
    rows = {row["entry_id"]: row for row in await database.fetch("SELECT * FROM entry")}
    for one in planned:
        row = rows[one.entry.entry_id]
        assert (row["since"], row["due_at"], row["published_at"]) == (one.entry.since, one.due_at, one.published_at)


async def test_revisions_of_one_batch_keep_times_of_their_own(database: asyncpg.Connection) -> None:
    arrivals = [arrival_of(upserted(id=name), NOW + timedelta(milliseconds=at)) for at, name in enumerate(NAMES)]
    await items.put(database, {one.key: one.incoming for one in arrivals}, known=())
    later = [
        replace(one, incoming=replace(one.incoming, published_at=one.published_at + timedelta(days=1)))
        for one in arrivals
    ]
    await items.put(database, {one.key: one.incoming for one in later}, known={one.key for one in later})
    rows = {row["id"]: row["revised_at"] for row in await database.fetch("SELECT id, revised_at FROM item")}
    assert rows == {one.key.id: [one.published_at + timedelta(days=1), one.published_at] for one in arrivals}


async def test_items_and_entries_are_found_by_whatever_name(database: asyncpg.Connection) -> None:
    said = [
        upserted(id=name, tenant=tenant, source=NAMES[-1 - at]) for at, name in enumerate(NAMES) for tenant in NAMES
    ]
    arrivals = [arrival_of(event, NOW) for event in said]
    await items.put(database, {one.key: one.incoming for one in arrivals}, known=())
    await entries.put_desired(database, [Planned(entry(one.key, NOW), None, NOW) for one in arrivals])
    for wanted in (arrivals, arrivals[:1], arrivals[-1:], arrivals[3::5]):
        keys = {one.key for one in wanted}
        assert set(await items.lock_bare(database, keys)) == keys
        stored = await items.lock(database, keys)
        assert {key: one.item for key, one in stored.items()} == {one.key: one.incoming.item for one in wanted}
        assert {one.item for one in await entries.lock_of_items(database, keys)} == keys
    other = key_of(upserted(id=NAMES[0], tenant="nobody", source=NAMES[-1]))
    assert await items.lock(database, [other]) == {}
    assert await items.lock(database, []) == {}
    assert await entries.lock_of_items(database, [other]) == []


async def test_settings_are_found_alone_and_together_and_of_no_other_tenant(database: asyncpg.Connection) -> None:
    given: list[SettingsEvent] = []
    for name in NAMES:
        given.append(TenantSettings(tenant=name, revision=1, enabled=True, directory="contoso.example"))
        given += [
            AccountSettings(
                tenant=name, user=user, revision=1, mailbox=f"u{at}@t{NAMES.index(name)}.example", allowed=True
            )
            for at, user in enumerate(NAMES)
            if user != name
        ]
    for one in given:
        await switches.change(database, switches.key_of(one), one, NOW)
    for wanted in (given, *([one] for one in given)):
        found = await switches.fetch(database, {tuple(switches.key_of(one)) for one in wanted})  # type: ignore[misc]
        assert found.events == {switches.key_of(one): one for one in wanted}
    own = await switches.fetch(database, {(name, Scope.ACCOUNT, name) for name in NAMES})
    assert own.events == {}
    assert (await switches.fetch(database, set())).events == {}


def test_the_parts_of_names_stay_in_their_columns() -> None:
    assert columns([("t", "account", "ann"), ("t", "tenant", "")]) == ["t/t", "account/tenant", "ann/"]
