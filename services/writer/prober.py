"""The prober: looks at accounts and tenants in trouble, one entry at a time, at the pace that troubles.py sets.

Several probers share the work: whoever claims a trouble's time has it alone. A claim of which nothing comes, because
its writer died or its wake-up was lost, runs out.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
from aiokafka import AIOKafkaProducer

from calbus.bus.wakeups import send_wakeups
from calbus.outage import Dependency
from calbus.store import accounts, entries
from calbus.store.accounts import Claim, DueProbe
from calbus.store.entries import Due
from calbus.telemetry import ACCOUNTS_TROUBLED, log
from schemas.reasons import Reason
from services.writer.troubles import Pace

BATCH_MAX_PROBES = 200
COUNT_INTERVAL_S = 15.0
WOKEN_MAX_ENTRIES = 1_000
# An account's own trouble is looked at so long after that of its tenant.
AFTER_TENANT = timedelta(seconds=1)


class Prober:
    """Has one entry of each trouble tried when its time has come."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        producer: AIOKafkaProducer,
        topic: str,
        pace: Pace,
        *,
        interval_s: float,
        claim_s: float,
        postgres: Dependency,
        kafka: Dependency,
    ) -> None:
        self._pool = pool
        self._producer = producer
        self._topic = topic
        self._pace = pace
        self._interval_s = interval_s
        self._claim_s = claim_s
        self._postgres = postgres
        self._kafka = kafka

    async def run(self) -> None:
        """Probe until cancelled."""
        while True:
            claimed, due = await self._postgres.insist(self._claim)
            if due:
                await self._kafka.insist(lambda due=due: send_wakeups(self._producer, self._topic, due))  # type: ignore[misc]
            if claimed < BATCH_MAX_PROBES:
                await asyncio.sleep(self._interval_s)

    async def _claim(self) -> tuple[int, list[Due]]:
        """Claim what is to be looked at; gives how much that is, and the entries to wake."""
        now = datetime.now(UTC)
        async with self._pool.acquire() as connection, connection.transaction():
            probes = await accounts.due_probes(connection, now, BATCH_MAX_PROBES)
            await accounts.claim(connection, [self._decide(probe, now) for probe in probes])
            chosen = [probe.entry_id for probe in probes if probe.entry_id is not None]
            return len(probes), await entries.due_of(connection, chosen)

    def _decide(self, probe: DueProbe, now: datetime) -> Claim:
        if probe.covered_until is not None:
            return Claim(probe.account, max(probe.covered_until, now) + AFTER_TENANT, None)
        if probe.entry_id is None:
            # Nothing waits for it: there is nothing to probe with.
            return Claim(probe.account, now + self._pace.wait(probe.account, probe.attempts), None)
        return Claim(probe.account, now + timedelta(seconds=self._claim_s), probe.entry_id)

    async def count(self) -> None:
        """Show how many accounts and tenants are in trouble, and see to it that nothing rests for none; for ever."""
        shown: set[Reason] = set()
        while True:
            woken = await self._postgres.insist(lambda: accounts.wake_forgotten(self._pool, WOKEN_MAX_ENTRIES))
            if woken:
                log.warning("entries rested for no trouble", entries=woken)
            counts = await self._postgres.insist(lambda: accounts.count_troubled(self._pool))
            for reason in shown | set(counts):
                ACCOUNTS_TROUBLED.labels(reason).set(counts.get(reason, 0))
            shown |= set(counts)
            await asyncio.sleep(COUNT_INTERVAL_S)
