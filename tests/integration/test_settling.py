"""Judgements and confirmations are recorded at once and carried out in chunks: nobody waits, and a crash loses nothing.

The short form runs with every suite, the long one with `-m slow`. Figures are printed: `-s` shows them.
"""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from calbus.entry import ItemKey
from calbus.outage import postgres
from calbus.store import entries
from calbus.store import removals as stored
from calbus.store.switches import Replan, SettingKey
from schemas.items import ActionUpserted, Kind
from schemas.results import RemovalsConfirmed
from schemas.switches import ProjectSettings, Scope, TenantSettings
from services.ingest import removals
from services.ingest.breaker import TENANT, Thresholds
from services.ingest.handler import store
from services.ingest.intake import arrival_of
from tests.integration.test_commands import calbus
from tests.integration.test_removals import on_a_terminal, parked, parks
from tests.support import bulk
from tests.support.waiting import until
from tests.support.world import SOURCE, Tenant, World, kill

pytestmark = pytest.mark.slow

QUICK_SESSION = {"ingest_session_timeout_ms": 6_000}
LIVE_MEDIAN_MAX_S = 1.0
LIVE_WORST_MAX_S = 5.0

SIZES = [
    pytest.param(2_000, id="2,000"),
    pytest.param(24_000, id="24,000", marks=[pytest.mark.slow, pytest.mark.timeout(1_200)]),
]


@pytest.fixture
async def pool(world: World) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(world.dsn, min_size=1, max_size=5) as pool:
        yield pool


async def standing(
    world: World, tenant: Tenant, count: int, *, users: list[str] | None = None, first: str | None = None
) -> list[ActionUpserted]:
    """A tenant whose entries stand in calendars, all of one project; by default of forty users in turn."""
    users = users or [f"user-{number % 40:03}" for number in range(count)]
    names = [f"item-{number:06}" for number in range(count)]
    names[0] = first or names[0]
    actions = [
        tenant.action(name, user, project="garden", description="Bring the ladder. " * 20)
        for name, user in zip(names, users, strict=True)
    ]
    await bulk.set_settings(
        world,
        TenantSettings(tenant=tenant.id, revision=tenant.revision("tenant"), enabled=True, directory=tenant.directory),
        ProjectSettings(tenant=tenant.id, project="garden", enabled=True, revision=tenant.revision("project garden")),
        *(tenant.account(user) for user in sorted(set(users))),
    )
    await bulk.store_items(world, actions)
    await bulk.settle(world, tenant.id)
    return actions


def a_tenant(world: World) -> Tenant:
    return Tenant(world, f"t{uuid4().hex[:10]}", str(uuid4()))


async def held(pool: asyncpg.Pool, tenant: Tenant, actions: list[ActionUpserted]) -> Replan:
    """A re-plan that has planned the removal of all of these, and has yet to judge them."""
    now = datetime.now(UTC)
    setting = SettingKey(tenant.id, Scope.PROJECT, "garden")
    replan = Replan(await pool.fetchval("SELECT count(*) + 1000 FROM entry"), setting, ("", "", ""), 1, 1, now)
    await pool.execute(
        """UPDATE entry SET intent = 'absent', reason = 'project_not_enabled', owed = true, plan = plan + 1,
                            parked_at = now(), parked_for = 'project/garden', judged_by = $3
           WHERE tenant = $1 AND id = ANY ($2::text[])""",
        tenant.id,
        [action.id for action in actions],
        replan.replan_id,
    )
    return replan


async def judged(pool: asyncpg.Pool, replan: Replan) -> list[removals.Alarm]:
    async with pool.acquire() as connection, connection.transaction():
        return await removals.judge_replan(connection, replan, Thresholds(), datetime.now(UTC))


async def tripped(pool: asyncpg.Pool) -> set[str]:
    await stored.look(pool)
    return {row["name"] for row in await pool.fetch("SELECT name FROM breaker WHERE tripped_at IS NOT NULL")}


async def test_judging_waits_for_no_live_batch_nor_it_for_judging(world: World, pool: asyncpg.Pool) -> None:
    tenant = a_tenant(world)
    actions = await standing(world, tenant, 120)
    replan = await held(pool, tenant, actions[:100])
    async with pool.acquire() as live:
        async with live.transaction():
            # A newer revision of an item that is held, and before the batch comes to its fresh removal ...
            await entries.lock_of_items(live, [ItemKey(tenant.id, SOURCE, Kind.ACTION, actions[0].id)])
            # ... the re-plan is judged, from its beginning to its end.
            [alarm] = await asyncio.wait_for(judged(pool, replan), 10)
            assert (alarm.parked, alarm.trips[0].name) == (100, TENANT)
            arrivals = [arrival_of(event, datetime.now(UTC)) for event in (actions[0], tenant.deleted(actions[110].id))]
            await asyncio.wait_for(store(live, arrivals, Thresholds(), datetime.now(UTC)), 10)
        async with live.transaction():
            again = [arrival_of(tenant.action(actions[0].id, project="garden"), datetime.now(UTC))]
            await store(live, again, Thresholds(), datetime.now(UTC))
            settling = asyncio.create_task(stored.settle(pool, datetime.now(UTC), per_s=200))
            await asyncio.wait({settling}, timeout=0.2)
    step = await asyncio.wait_for(settling, 10)
    assert step is not None
    assert step.ended
    assert await parked(tenant) == 101
    assert await parked(tenant, judged=False) == 0


async def test_a_judgement_is_carried_out_once_by_many_and_after_crashes(
    world: World, pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "CHUNK_MAX_ENTRIES", 20)
    tenant = a_tenant(world)
    # Ann's calendar would lose most of its entries; of Bob's and Cas's little enough.
    users = ["ann"] * 80 + ["bob"] * 40 + ["cas"] * 600
    actions = await standing(world, tenant, 720, users=users)
    replan = await held(pool, tenant, actions[:140])
    begun = datetime.now(UTC)
    [alarm] = await judged(pool, replan)
    assert ([trip.name for trip in alarm.trips], alarm.parked) == (["ann"], 80)

    # Until all is settled the breaker holds, though no entry says yet that it waits for a confirmation.
    assert await tripped(pool) == {"ann"}

    crashing = [asyncio.create_task(stored.settle(pool, datetime.now(UTC), per_s=200)) for _ in range(3)]
    await asyncio.wait(crashing, return_when=asyncio.FIRST_COMPLETED)
    for task in crashing:
        task.cancel()
    await asyncio.gather(*crashing, return_exceptions=True)
    assert await parked(tenant, judged=False) > 0

    async def settle_all() -> None:
        while (await pool.fetchval("SELECT count(*) FROM settlement")) > 0:
            await stored.settle(pool, datetime.now(UTC), per_s=200)

    await asyncio.gather(*(settle_all() for _ in range(3)))
    assert await parked(tenant, judged=False) == 0
    rows = await pool.fetch(
        "SELECT assignee, parked_at, due_at FROM entry WHERE tenant = $1 AND intent = 'absent'", tenant.id
    )
    assert {row["assignee"] for row in rows if row["parked_at"]} == {"ann"}
    assert all((row["parked_at"] is None) == (row["assignee"] != "ann") for row in rows)
    assert all((row["due_at"] is None) == (row["assignee"] == "ann") for row in rows)
    due = sorted(row["due_at"] for row in rows if row["due_at"])
    assert len(due) == 60
    assert all(after - before >= timedelta(milliseconds=5) for before, after in pairwise(due))
    assert due[0] >= begun
    assert await tripped(pool) == {"ann"}


async def test_what_comes_back_before_it_is_settled_stays(world: World, pool: asyncpg.Pool) -> None:
    tenant = a_tenant(world)
    actions = await standing(world, tenant, 100)
    replan = await held(pool, tenant, actions)
    await judged(pool, replan)
    async with pool.acquire() as connection, connection.transaction():
        back = [arrival_of(tenant.action(action.id, *action.assignees), datetime.now(UTC)) for action in actions]
        await store(connection, back, Thresholds(), datetime.now(UTC))
    assert TENANT in await tripped(pool)
    step = await stored.settle(pool, datetime.now(UTC), per_s=200)
    assert step == stored.Step(tenant.id, confirmed=False, freed=0, ended=True)
    [row] = await pool.fetch(
        "SELECT count(*) AS n FROM entry WHERE tenant = $1 AND intent = 'present' AND parked_at IS NULL", tenant.id
    )
    assert row["n"] == 100
    # Nothing waits behind it any more.
    assert await tripped(pool) == set()


async def test_a_confirmation_covers_what_was_shown_by_one_clock(world: World, pool: asyncpg.Pool) -> None:
    tenant = a_tenant(world)
    actions = await standing(world, tenant, 130)
    await judged(pool, await held(pool, tenant, actions[:60]))
    watch = removals.Watch(pool, postgres=postgres())
    while await watch.settle():
        continue
    async with pool.acquire() as connection:
        shown = max(row.until for row in await stored.waiting(connection, tenant.id, None))
    await judged(pool, await held(pool, tenant, actions[60:120]))
    while await watch.settle():
        continue

    # The publisher's clock is an hour ahead: still only what was shown goes.
    ahead = datetime.now(UTC) + timedelta(hours=1)
    confirmed = RemovalsConfirmed(tenant=tenant.id, until=shown)
    for _ in range(2):
        await removals.confirm(pool, confirmed, ahead, datetime.now(UTC))
        while await watch.settle():
            continue
    assert await parked(tenant) == 60

    # Nor does a time that nobody has seen yet cover what is parked later.
    later = RemovalsConfirmed(tenant=tenant.id, until=ahead)
    await removals.confirm(pool, later, datetime.now(UTC), datetime.now(UTC))
    await held(pool, tenant, actions[120:])
    await pool.execute("UPDATE entry SET judged_by = NULL, parked_at = clock_timestamp() WHERE judged_by IS NOT NULL")
    while await watch.settle():
        continue
    assert await parked(tenant) == 10


async def test_the_command_confirms_no_more_than_it_showed(world: World, pool: asyncpg.Pool) -> None:
    tenant = a_tenant(world)
    actions = await standing(world, tenant, 100)
    async with world.ingest():
        await judged(pool, await held(pool, tenant, actions[:60]))
        await parks(tenant, 60)
        # It looks only once a batch under way has parked what it parks.
        async with pool.acquire() as connection:
            transaction = connection.transaction()
            await transaction.start()
            gone = [arrival_of(tenant.deleted(actions[60].id), datetime.now(UTC))]
            await store(connection, gone, Thresholds(), datetime.now(UTC))
            showing = asyncio.create_task(calbus("confirm-removals", tenant.id, **world.environment()))

            async def waits() -> bool:
                rows = await world.fetch("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                return bool(rows)

            await until(waits, "the command to wait for the batch")
            await transaction.commit()
        _, out, err = await showing
        assert sum(int(line.split()[1]) for line in out.splitlines()[1:]) == 61, out + err
        code, said = await on_a_terminal("y", "confirm-removals", tenant.id, **world.environment())
        assert (code, "confirmed: 61 entries" in said) == (0, True), said
        await parks(tenant, 0)


@dataclass
class Live:
    """Messages of somebody who goes on working, and how long each took until it was planned."""

    tenant: Tenant
    user: str
    items: list[str] = field(default_factory=list)
    """Items that exist, given a new revision in turn; new items once they are used up."""
    took_s: list[float] = field(default_factory=list)

    async def run(self) -> None:
        while True:
            item = self.items.pop() if self.items else f"live-{uuid4().hex[:8]}"
            event = self.tenant.action(item, self.user, project="garden" if item.startswith("item") else None)
            begun_s = time.monotonic()
            await self.tenant.publish(event)

            async def planned(event: ActionUpserted = event) -> bool:
                rows = await self.tenant.world.fetch(
                    "SELECT revision FROM item WHERE tenant = $1 AND source = $2 AND kind = 'action' AND id = $3",
                    self.tenant.id,
                    SOURCE,
                    event.id,
                )
                return bool(rows) and rows[0][0] == event.revision

            await until(planned, "a live event to be planned", timeout_s=60)
            self.took_s.append(time.monotonic() - begun_s)

    def __str__(self) -> str:
        return (
            f"{len(self.took_s)} of them, median {statistics.median(self.took_s):.2f} s, worst {max(self.took_s):.2f}"
        )


@asynccontextmanager
async def working(*lives: Live) -> AsyncIterator[None]:
    """All of them go on working meanwhile, and stop when it is over."""
    tasks = [asyncio.create_task(live.run()) for live in lives]
    try:
        yield
        for task in tasks:
            assert not task.done(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def all_settled(world: World, *, timeout_s: float = 300) -> None:
    async def look() -> bool:
        [row] = await world.fetch("SELECT (SELECT count(*) FROM replan) + (SELECT count(*) FROM settlement)")
        return bool(row[0] == 0)

    await until(look, "all to be judged and settled", timeout_s=timeout_s)


@pytest.mark.parametrize("many", SIZES)
async def test_live_events_go_on_while_many_removals_are_judged_and_released(world: World, many: int) -> None:
    tenant, other = a_tenant(world), a_tenant(world)
    actions = await standing(world, tenant, many)
    await standing(world, other, 10)
    watched = [action.id for action in actions]
    # Messages about what is held, about what is new, and of somebody else's tenant.
    on_held = [action.id for action in actions if action.assignees == ("user-007",)]
    lives = [Live(tenant, "user-007", on_held), Live(tenant, "user-001"), Live(other, "user-001")]

    async with world.process("ingest", **QUICK_SESSION), world.process("ingest", **QUICK_SESSION):
        off = ProjectSettings(
            tenant=tenant.id, project="garden", enabled=False, revision=tenant.revision("project garden")
        )
        begun_s = time.monotonic()
        async with working(*lives):
            await tenant.publish(off)

            async def parks_some() -> bool:
                return await parked(tenant) > 0

            await until(parks_some, "the judgement", timeout_s=300)
            await all_settled(world)
        print(f"\n{many:,} removals planned, judged and parked in {time.monotonic() - begun_s:.1f} s; live events:")  # noqa: T201
        print("\n".join(f"  {live}" for live in lives))  # noqa: T201
        [row] = await world.fetch(
            """SELECT count(*) FILTER (WHERE parked_at IS NOT NULL AND judged_by IS NULL) AS waits,
                      count(*) FILTER (WHERE due_at IS NOT NULL) AS due
               FROM entry WHERE tenant = $1 AND id = ANY ($2::text[])""",
            tenant.id,
            watched,
        )
        # Messages that came before the re-plan did were judged by themselves: so few may go.
        assert row["waits"] + row["due"] == many
        assert row["due"] <= len(lives[0].took_s)

        took_s = [one for live in lives for one in live.took_s]
        for live in lives:
            live.took_s = []
        begun_s = time.monotonic()
        async with working(*lives):
            await world.publish(RemovalsConfirmed(tenant=tenant.id))
            await until(lambda: _none(parked(tenant)), "all to be released", timeout_s=300)
            await all_settled(world)
        print(f"{many:,} released in {time.monotonic() - begun_s:.1f} s; live events:")  # noqa: T201
        print("\n".join(f"  {live}" for live in lives if live.took_s))  # noqa: T201
        took_s += [one for live in lives for one in live.took_s]
    assert statistics.median(took_s) < LIVE_MEDIAN_MAX_S
    assert max(took_s) < LIVE_WORST_MAX_S


async def _none(counting: Any) -> bool:
    return bool(await counting == 0)


async def test_one_of_two_ingests_is_killed_in_the_middle_of_settling(world: World) -> None:
    tenant = a_tenant(world)
    # An entry that is planned among the first, and settled as the last.
    last = next(name for number in count() if tenant.entry_id(name := f"a{number}", "user-000").hex >= "ffe")
    actions = await standing(world, tenant, 1_200, first=last)
    entry_id = tenant.entry_id(last, "user-000")
    assert sum(tenant.entry_id(action.id, *action.assignees) > entry_id for action in actions) < 100
    connection = await asyncpg.connect(world.dsn)
    transaction = connection.transaction()
    try:
        async with world.process("ingest", **QUICK_SESSION) as one, world.process("ingest", **QUICK_SESSION) as two:
            at_work = {}

            async def blocked(*, apart_from: int | None = None) -> bool:
                rows = await world.fetch(
                    """SELECT a.pid, a.client_port FROM pg_stat_activity a
                       WHERE a.wait_event_type = 'Lock' AND a.query LIKE '%judged_by = $4%' AND a.pid <> $1""",
                    apart_from or 0,
                )
                at_work.update({row["pid"]: row["client_port"] for row in rows})
                return bool(rows)

            off = tenant.revision("project garden")
            await tenant.publish(ProjectSettings(tenant=tenant.id, project="garden", enabled=False, revision=off))

            async def planned() -> bool:
                rows = await world.fetch("SELECT FROM entry WHERE entry_id = $1 AND intent = 'absent'", entry_id)
                return bool(rows)

            await until(planned, "the first removals to be planned")
            # Somebody works on this entry: there settling stops.
            await transaction.start()
            await connection.execute("SELECT FROM entry WHERE entry_id = $1 FOR UPDATE", entry_id)
            await until(blocked, "settling to come to that entry")
            [(pid, port)] = at_work.items()
            assert await parked(tenant) == 1_000
            first = one if await _connects(one.pid, port) else two
            kill(first)
            await first.wait()
            # What the killed process held, the database lets go once it notices: its backend waits for a lock still.
            await connection.execute("SELECT pg_terminate_backend($1)", pid)
            await until(lambda: blocked(apart_from=pid), "the other to take over", timeout_s=60)
            assert await parked(tenant) == 1_000
            await transaction.rollback()
            await parks(tenant, 1_200)
            await all_settled(world)
    finally:
        await connection.close()


async def _connects(pid: int, port: int) -> bool:
    """Whether the process holds the socket with this local port."""
    process = await asyncio.create_subprocess_exec("ss", "-tnpH", f"sport = :{port}", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    return f"pid={pid}," in out.decode()
