"""The sweeper: anything that is unsettled and due is commanded again.

It heals lost wake-ups, and it is how a retry happens: the time stands in PostgreSQL, whoever is alive then acts on it.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
from aiokafka import AIOKafkaProducer

from calbus.bus.wakeups import send_wakeups
from calbus.outage import Dependency
from calbus.store import entries
from calbus.store.entries import Due
from calbus.telemetry import APPLY_OLDEST_SECONDS, ENTRIES_OPEN, ENTRIES_OWED, SWEPT

BATCH_MAX_ENTRIES = 1_000
COUNT_INTERVAL_S = 15.0


class Sweeper:
    """Looks for what is due; several sweepers share it."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        producer: AIOKafkaProducer,
        topic: str,
        *,
        interval_s: float,
        again_s: float,
        postgres: Dependency,
        kafka: Dependency,
    ) -> None:
        self._pool = pool
        self._producer = producer
        self._topic = topic
        self._interval_s = interval_s
        self._again_s = again_s
        self._postgres = postgres
        self._kafka = kafka

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            swept = await self._postgres.insist(self._take)
            if swept:
                await self._kafka.insist(lambda swept=swept: send_wakeups(self._producer, self._topic, swept))  # type: ignore[misc]
                SWEPT.inc(len(swept))
            if len(swept) < BATCH_MAX_ENTRIES:
                await asyncio.sleep(self._interval_s)

    async def _take(self) -> list[Due]:
        now = datetime.now(UTC)
        again_at = now + timedelta(seconds=self._again_s)
        return await entries.sweep(self._pool, now=now, again_at=again_at, limit=BATCH_MAX_ENTRIES)

    async def count(self) -> None:
        """Show how many entries still owe an outcome, and for how long, until cancelled."""
        while True:
            found = await self._postgres.insist(lambda: entries.count_open(self._pool))
            for state, number in found.by_state.items():
                ENTRIES_OPEN.labels(state).set(number)
            ENTRIES_OWED.set(sum(found.by_state[state] for state in ("due", "waiting", "resting")))
            APPLY_OLDEST_SECONDS.set(found.oldest_s)
            await asyncio.sleep(COUNT_INTERVAL_S)
