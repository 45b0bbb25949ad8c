"""Puts the breaker's judgement into effect: what waits is stored as waiting, counted, told, and let go when confirmed.

Judging is short whatever the number of removals, and so is taking in a confirmation: both are recorded, and carried out
a chunk of entries at a time by `Watch`, beside live events.

The decision stands in breaker.py; the SQL in calbus/store/removals.py.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import asyncpg

from calbus.entry import Entry, ItemKey
from calbus.lifecycle import at_most
from calbus.outage import Dependency
from calbus.store import removals
from calbus.store.connection import Connection
from calbus.store.removals import Breaker
from calbus.store.switches import Replan, SettingKey
from calbus.telemetry import REMOVAL_BREAKERS_TRIPPED, REMOVALS_PARKED, log
from schemas.reasons import Reason, explain
from schemas.results import RemovalsConfirmed
from schemas.switches import Scope
from services.ingest.breaker import TENANT, Judgement, Thresholds, Trip, is_current, judge, opened
from services.ingest.intake import Intake

EVENTS = "events"
"""The cause of removals that items' own messages ask for."""
COUNT_INTERVAL_S = 15.0
# So long, at most, until what a crashed process left is taken up.
IDLE_S = 1.0
# Released removals are due one after the other, so that they leave room for what is published meanwhile.
RELEASED_PER_S = 200.0
# Kafka's timestamps are whole milliseconds: what was parked in the same one was parked before.
TIMESTAMP_STEP = timedelta(milliseconds=1)
# The database's own times are whole microseconds.
CLOCK_STEP = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Alarm:
    """Breakers of a tenant that tripped together, to be told once their transaction has committed."""

    tenant: str
    cause: str
    parked: int
    trips: tuple[Trip, ...]


def cause_of(setting: SettingKey) -> str:
    """Names the setting whose change asks for removals."""
    return f"{setting.scope}/{setting.name}" if setting.name else setting.scope.value


async def judge_batch(
    connection: Connection, intake: Intake, current: Iterable[Entry], thresholds: Thresholds, now: datetime
) -> list[Alarm]:
    """Judge the removals of a batch of messages, before its plans are stored: those that must wait are planned so.

    Needs the caller's transaction. Costs no statement if there are none.
    """
    asked: dict[str, Counter[str]] = {}
    for key, assignee in intake.removals:
        asked.setdefault(key.tenant, Counter())[assignee] += 1
    judgements = await _judge(connection, asked, thresholds, now)
    for key, assignee in intake.removals:
        if assignee in judgements[key.tenant].parked:
            _hold(intake, (key, assignee))
    await _store_parking(connection, intake, current, EVENTS)
    return [
        Alarm(tenant, EVENTS, _count(asked[tenant], judgement.parked), judgement.trips)
        for tenant, judgement in judgements.items()
        if judgement.trips
    ]


async def hold_for_replan(connection: Connection, intake: Intake, current: Iterable[Entry], replan: Replan) -> None:
    """Hold all removals of a chunk until the whole re-plan can be judged. Needs the caller's transaction."""
    for name in intake.removals:
        _hold(intake, name)
    await _store_parking(connection, intake, current, cause_of(replan.setting), replan.replan_id)


async def judge_replan(connection: Connection, replan: Replan, thresholds: Thresholds, now: datetime) -> list[Alarm]:
    """Judge all that a re-plan would remove, at its end, and record that it is due from now on, or waits on.

    Needs the caller's transaction, with the re-plan locked: nobody else adds to what it holds. Counts before it locks
    breakers, and locks no entry. Each entry follows when `Watch` comes to it; the re-plan itself can end at once.
    """
    tenant = replan.setting.tenant
    asked = await removals.count_held(connection, tenant, replan.replan_id)
    if not asked:
        return []
    judgement = (await _judge(connection, {tenant: asked}, thresholds, now))[tenant]
    await removals.begin_judged(connection, tenant, replan.replan_id, judgement.parked, now)
    if not judgement.trips:
        return []
    return [Alarm(tenant, cause_of(replan.setting), _count(asked, judgement.parked), judgement.trips)]


async def confirm(pool: asyncpg.Pool, request: RemovalsConfirmed, published_at: datetime, now: datetime) -> None:
    """Take in that removals are wanted: those parked until what was shown, or until the request was published.

    Durable when it returns, and repeating it lets nothing more go; `Watch` carries it out.
    """
    before = request.until + CLOCK_STEP if request.until is not None else published_at + TIMESTAMP_STEP
    await removals.begin_confirmed(pool, request.tenant, request.user, parked_before=before, now=now)


def tell(alarms: Iterable[Alarm]) -> None:
    """Say that breakers tripped: how much, why, and whose move it is; a mailbox by no name at all."""
    for alarm in alarms:
        of_tenant = next((trip for trip in alarm.trips if trip.name == TENANT), None)
        worst = of_tenant or max(alarm.trips, key=lambda trip: trip.asked)
        log.error(
            "so many entries would leave calendars that removal waits for a confirmation",
            reason=Reason.REMOVAL_PARKED.value,
            tenant=alarm.tenant,
            cause=_without_user(alarm.cause),
            parked=alarm.parked,
            tripped="tenant" if of_tenant else "mailbox",
            mailboxes_tripped=sum(trip.name != TENANT for trip in alarm.trips),
            would_remove=worst.asked,
            limit=worst.limit,
            standing=worst.standing,
            next_actor=explain(Reason.REMOVAL_PARKED).next_actor.value,
            remedy=f"calbus confirm-removals {alarm.tenant}",
        )


class Watch:
    """Carries out what was judged and confirmed, and shows how much waits for a confirmation."""

    def __init__(self, pool: asyncpg.Pool, *, postgres: Dependency) -> None:
        self._pool = pool
        self._postgres = postgres
        self._count = asyncio.Event()
        self._settle = asyncio.Event()

    def wake(self) -> None:
        """Say that something was parked, judged or confirmed, so that nothing need wait for the next look."""
        self._count.set()
        self._settle.set()

    async def run(self) -> None:
        """Settle and count until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_settling())
            tasks.create_task(self._keep_counting())

    async def settle(self) -> bool:
        """Carry out one chunk; False if there was nothing to do. Several processes share the settlements."""
        step = await self._postgres.insist(lambda: removals.settle(self._pool, datetime.now(UTC), per_s=RELEASED_PER_S))
        if step is None:
            return False
        if step.ended:
            self._count.set()
            if step.confirmed:
                log.info("removals were confirmed and are released", tenant=step.tenant, entries=step.freed)
        return True

    async def _keep_settling(self) -> None:
        while True:
            self._settle.clear()
            while await self.settle():
                pass
            await _woken(self._settle, IDLE_S)

    async def _keep_counting(self) -> None:
        while True:
            self._count.clear()
            counts = await self._postgres.insist(lambda: removals.look(self._pool))
            REMOVALS_PARKED.set(counts.parked)
            REMOVAL_BREAKERS_TRIPPED.set(counts.tripped)
            await _woken(self._count, COUNT_INTERVAL_S)


async def _judge(
    connection: Connection, asked: Mapping[str, Mapping[str, int]], thresholds: Thresholds, now: datetime
) -> dict[str, Judgement]:
    """Judge removals by tenant and user, and store what their breakers have seen."""
    if not asked:
        return {}
    wanted = [(tenant, name) for tenant, users in asked.items() for name in (TENANT, *users)]
    breakers = await removals.lock_breakers(connection, wanted)
    stale = [named for named, breaker in breakers.items() if not is_current(breaker, thresholds, now)]
    if stale:
        standing = await removals.count_standing(connection, stale)
        breakers |= {named: opened(breakers[named], standing[named], now) for named in stale}
    judgements = {}
    after: dict[removals.Named, Breaker] = {}
    for tenant, users in asked.items():
        own = {name: breakers[tenant, name] for name in (TENANT, *users)}
        judgements[tenant] = judge(users, own, thresholds, now)
        after |= {(tenant, name): breaker for name, breaker in judgements[tenant].breakers.items()}
    await removals.put_breakers(connection, after)
    return judgements


async def _woken(event: asyncio.Event, at_most_s: float) -> None:
    try:
        await at_most(at_most_s, event.wait())
    except TimeoutError:
        return


def _hold(intake: Intake, name: tuple[ItemKey, str]) -> None:
    planned = intake.planned[name]
    intake.planned[name] = replace(planned, entry=replace(planned.entry, parked=True), due_at=None)


async def _store_parking(
    connection: Connection,
    intake: Intake,
    current: Iterable[Entry],
    cause: str,
    judged_by: int | None = None,
) -> None:
    """Store which of the planned entries wait; those that waited before do so as before, or no more."""
    before = {entry.entry_id for entry in current if entry.parked}
    planned = [planned.entry for planned in intake.planned.values()]
    fresh = [entry.entry_id for entry in planned if entry.parked and entry.entry_id not in before]
    if fresh:
        await removals.park(connection, fresh, cause, judged_by)
    freed = [entry.entry_id for entry in planned if not entry.parked and entry.entry_id in before]
    if freed:
        await removals.unpark(connection, freed)


def _count(asked: Mapping[str, int], users: Iterable[str]) -> int:
    return sum(asked[user] for user in users)


def _without_user(cause: str) -> str:
    """A user's id may be an address, and has no place in a log."""
    return Scope.ACCOUNT.value if cause.startswith(f"{Scope.ACCOUNT}/") else cause
