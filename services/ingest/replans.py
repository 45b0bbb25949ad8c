"""Planning anew what a changed setting touches: a chunk at a time, beside the live events.

The cursor moves in the transaction that stores the plans, so that a crash repeats nothing and skips nothing.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from aiokafka import AIOKafkaProducer

from calbus.budget import MailboxBudget
from calbus.bus.kafka import topic_name
from calbus.bus.outbox import Relay
from calbus.bus.wakeups import send_wakeups
from calbus.entry import ItemKey
from calbus.lifecycle import at_most
from calbus.outage import Dependency
from calbus.settings import KafkaSettings
from calbus.store import entries, items, outbox, switches
from calbus.store.connection import Connection
from calbus.store.entries import Due, Planned
from calbus.store.touched import end_overrides, overrides_of
from calbus.telemetry import PLANS, REPLAN_ITEMS_LEFT, REPLAN_PENDING, REPLANNED_ITEMS, log
from schemas.events import Topic
from schemas.items import Kind
from services.ingest import removals
from services.ingest.breaker import Thresholds
from services.ingest.handler import UnplannableError, count_outcomes, due, planning, tell_at_fault
from services.ingest.intake import Intake, plan_anew, settings_needed
from services.ingest.pacing import Pace
from services.ingest.spans import follow

# One item among those of a chunk is at fault: refused by the database, by our own models, or planning fails at it.
_AT_FAULT = (ValueError, asyncpg.DataError, UnplannableError)
# Live events wait for a chunk at most: planning holds the event loop, and the chunk's items are locked.
CHUNK_MAX_ITEMS = 1_000
IDLE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Chunk:
    """What became of one. `ended`: nothing was left to plan anew."""

    replan: switches.Replan
    items: int
    intake: Intake
    ended: bool = False
    woken: tuple[Due, ...] = ()
    alarms: tuple[removals.Alarm, ...] = ()


class Replanner:
    """Works through the re-plans that settings changes ask for; several processes share them."""

    def __init__(
        self,
        settings: KafkaSettings,
        pool: asyncpg.Pool,
        producer: AIOKafkaProducer,
        relay: Relay,
        thresholds: Thresholds,
        watch: removals.Watch,
        budget: MailboxBudget,
        *,
        postgres: Dependency,
        kafka: Dependency,
    ) -> None:
        self._topic = topic_name(settings, Topic.COMMANDS)
        self._pool = pool
        self._producer = producer
        self._relay = relay
        self._thresholds = thresholds
        self._watch = watch
        self._pace = Pace(budget)
        self._postgres = postgres
        self._kafka = kafka
        self._wake = asyncio.Event()
        self._chunk_max_items = CHUNK_MAX_ITEMS

    def wake(self) -> None:
        """Say that a setting changed, so that the re-plan need not wait for the next look."""
        self._wake.set()

    async def run(self) -> None:
        """Plan anew until cancelled; looks every second for what a crashed process left."""
        while True:
            self._wake.clear()
            while await self.step():
                pass
            try:
                await at_most(IDLE_S, self._wake.wait())
            except TimeoutError:
                continue

    async def step(self) -> bool:
        """Plan one chunk; False if there was nothing to do.

        An item that cannot be planned is found by halving the chunk, and stays as it is; behind it chunks grow again.
        """
        try:
            chunk = await self._postgres.insist(self._plan_chunk)
        except _AT_FAULT:
            if self._chunk_max_items == 1:
                raise
            self._chunk_max_items //= 2
            return True
        self._chunk_max_items = min(self._chunk_max_items * 2, CHUNK_MAX_ITEMS)
        if chunk is None:
            return False
        if chunk.intake.outcomes:
            self._relay.wake()
        if chunk.woken:
            await self._kafka.insist(lambda: send_wakeups(self._producer, self._topic, list(chunk.woken)))
        return True

    async def _plan_chunk(self) -> _Chunk | None:
        async with self._pool.acquire() as connection:
            async with connection.transaction():
                replan = await switches.next_replan(connection)
                chunk = await self._plan(connection, replan) if replan is not None else None
            # Another process may be at work on what this one found nothing to do for.
            progress = await switches.replan_progress(connection)
        REPLAN_PENDING.set(progress.pending)
        REPLAN_ITEMS_LEFT.set(progress.items_left)
        if chunk is not None:
            self._tell(chunk)
        return chunk

    def _tell(self, chunk: _Chunk) -> None:
        """Log, count and show what a chunk came to, once it has committed."""
        replan = chunk.replan
        about = {"tenant": replan.setting.tenant, "scope": replan.setting.scope.value, "replan": replan.replan_id}
        if replan.begins:
            log.info("planning anew what a changed setting touches", items=replan.total_items, **about)
        if chunk.ended:
            took_s = (datetime.now(UTC) - replan.begun_at).total_seconds()
            log.info("planned anew", items=replan.done_items, took_s=round(took_s, 1), **about)
        REPLANNED_ITEMS.inc(chunk.items)
        removals.tell(chunk.alarms)
        if chunk.ended or chunk.intake.removals:
            self._watch.wake()
        count_outcomes(chunk.intake.outcomes)
        PLANS.labels("replan").inc(chunk.intake.plans)

    async def _plan(self, connection: Connection, replan: switches.Replan) -> _Chunk:
        now = datetime.now(UTC)
        touched = await switches.touched_items(connection, replan, self._chunk_max_items)
        if not touched:
            # What the change removes is known as a whole only now; until here nothing of it went.
            alarms = await removals.judge_replan(connection, replan, self._thresholds, now)
            await switches.finish_replan(connection, replan)
            return _Chunk(replan, 0, Intake(), ended=True, alarms=tuple(alarms))
        try:
            if self._chunk_max_items > 1:
                return await self._plan_items(connection, replan, touched, now)
            async with connection.transaction():
                return await self._plan_items(connection, replan, touched, now)
        except _AT_FAULT as error:
            if self._chunk_max_items > 1:
                raise
            says = "an item cannot be planned anew; it stays as it is"
            tell_at_fault(says, "replan", error, tenant=replan.setting.tenant, item=touched[0][2])
            await switches.advance_replan(connection, replan, touched[-1], len(touched))
            return _Chunk(replan, len(touched), Intake())

    async def _plan_items(
        self, connection: Connection, replan: switches.Replan, touched: list[tuple[str, Kind, str]], now: datetime
    ) -> _Chunk:
        tenant = replan.setting.tenant
        stored = await items.lock(connection, [ItemKey(tenant, *item) for item in touched])
        current = await entries.lock_of_items(connection, stored)
        needed = settings_needed([one.item for one in stored.values() if one.item is not None], current, [tenant])
        settings = await switches.fetch(connection, needed)
        overrides = await overrides_of(connection, [entry.entry_id for entry in current])
        with planning():
            intake = plan_anew(stored, current, settings, now, overrides)
        await end_overrides(connection, intake.overrides_ended)
        await removals.hold_for_replan(connection, intake, current, replan)
        left = self._leave_to_sweeper(intake, replan, now)
        await entries.put_desired(connection, list(intake.planned.values()))
        await outbox.add_told(connection, intake.outcomes, now, await follow(connection, intake, current))
        await switches.advance_replan(connection, replan, touched[-1], len(touched))
        woken = tuple(one for one in due(intake) if not left or one.entry_id not in left)
        return _Chunk(replan, len(touched), intake, woken=woken)

    def _leave_to_sweeper(self, intake: Intake, replan: switches.Replan, now: datetime) -> set[UUID]:
        """Let what is more than a mailbox takes at once come due later; gives what needs no wake-up now."""
        left = set()
        for name, planned in intake.planned.items():
            target = planned.entry.target
            if planned.due_at is None or target is None:
                continue
            due_at = self._pace.due_at(target.lane, replan.setting, replan.begun_at, now)
            if due_at is not None:
                intake.planned[name] = Planned(planned.entry, due_at, planned.published_at, planned.correlation)
                left.add(planned.entry.entry_id)
        return left
