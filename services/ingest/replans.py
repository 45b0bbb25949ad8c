"""Planning anew what a changed setting touches: a chunk at a time, beside the live events.

The cursor moves in the transaction that stores the plans, so that a crash repeats nothing and skips nothing.
"""

import asyncio
from datetime import UTC, datetime

import asyncpg
from aiokafka import AIOKafkaProducer

from calbus.bus.kafka import topic_name
from calbus.bus.outbox import Relay
from calbus.bus.wakeups import send_wakeups
from calbus.entry import ItemKey
from calbus.outage import Dependency
from calbus.settings import KafkaSettings
from calbus.store import entries, items, outbox, switches
from calbus.store.connection import Connection
from calbus.telemetry import REPLAN_PENDING, log
from schemas.events import Topic
from schemas.items import Kind
from services.ingest import removals
from services.ingest.breaker import Thresholds
from services.ingest.handler import count_outcomes, due
from services.ingest.intake import Intake, plan_anew, settings_needed

CHUNK_MAX_ITEMS = 500
IDLE_S = 1.0


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
                await asyncio.wait_for(self._wake.wait(), IDLE_S)
            except TimeoutError:
                continue

    async def step(self) -> bool:
        """Plan one chunk; False if there was nothing to do."""
        try:
            intake = await self._postgres.insist(self._plan_chunk)
        except Exception:
            if self._chunk_max_items == 1:
                raise
            # One item among them breaks the planning: find it by going one at a time.
            self._chunk_max_items = 1
            return True
        if intake is None:
            self._chunk_max_items = CHUNK_MAX_ITEMS
            return False
        self._relay.wake()
        await self._kafka.insist(lambda: send_wakeups(self._producer, self._topic, due(intake)))
        return True

    async def _plan_chunk(self) -> Intake | None:
        async with self._pool.acquire() as connection:
            async with connection.transaction():
                replan = await switches.next_replan(connection)
                if replan is None:
                    REPLAN_PENDING.set(0)
                    return None
                intake, alarms = await self._plan(connection, replan)
            REPLAN_PENDING.set(await connection.fetchval("SELECT count(*) FROM replan"))
        removals.tell(alarms)
        self._watch.wake()
        count_outcomes(intake.outcomes)
        return intake

    async def _plan(self, connection: Connection, replan: switches.Replan) -> tuple[Intake, list[removals.Alarm]]:
        now = datetime.now(UTC)
        tenant = replan.setting.tenant
        touched = await switches.touched_items(connection, replan, self._chunk_max_items)
        if not touched:
            # What the change removes is known as a whole only now; until here nothing of it went.
            alarms = await removals.judge_replan(connection, replan, self._thresholds, now)
            await switches.finish_replan(connection, replan)
            return Intake(), alarms
        if self._chunk_max_items == 1:
            try:
                async with connection.transaction():
                    return await self._plan_items(connection, replan, touched, now), []
            except (ValueError, asyncpg.DataError):
                log.exception("an item cannot be planned anew; it stays as it is", tenant=tenant, item=touched[0][2])
                await switches.advance_replan(connection, replan, touched[-1])
                return Intake(), []
        return await self._plan_items(connection, replan, touched, now), []

    async def _plan_items(
        self, connection: Connection, replan: switches.Replan, touched: list[tuple[str, Kind, str]], now: datetime
    ) -> Intake:
        tenant = replan.setting.tenant
        stored = await items.lock(connection, [ItemKey(tenant, *item) for item in touched])
        current = await entries.lock_of_items(connection, stored)
        needed = settings_needed({key: [item.item] for key, item in stored.items() if item.item}, current, [tenant])
        intake = plan_anew(stored, current, await switches.fetch(connection, needed), now)
        await removals.hold_for_replan(connection, intake, current, replan, now)
        await entries.put_desired(connection, list(intake.planned.values()))
        await outbox.add(connection, intake.outcomes, now)
        await switches.advance_replan(connection, replan, touched[-1])
        return intake
