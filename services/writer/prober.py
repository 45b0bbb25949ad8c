"""The prober: looks at accounts and tenants in trouble, one entry at a time, at the pace that troubles.py sets.

Where no entry is at rest that could be tried, it reads the mailbox; such reads go out one at a time in each directory,
so that one that hangs holds up no other.

Several probers share the work: whoever claims a trouble's time has it alone. A claim of which nothing comes, because
its writer died or its wake-up was lost, runs out.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
from aiokafka import AIOKafkaProducer

from calbus.bus.wakeups import send_wakeups
from calbus.graph.calendars import ask_default
from calbus.graph.calls import Response
from calbus.outage import Dependency
from calbus.store import accounts, entries
from calbus.store.accounts import Account, Claim, DueProbe
from calbus.store.entries import Due
from calbus.telemetry import ACCOUNTS_TROUBLED, log
from schemas.reasons import OF_CREDENTIAL, Reason
from services.writer.accounts import Accounts, Judgement
from services.writer.side_calls import Graph

BATCH_MAX_PROBES = 200
# Reads of one directory that wait for their turn. What finds no room is claimed again when its claim has run out.
DIRECTORY_MAX_READS = BATCH_MAX_PROBES
# Directories that are read at a time: so many have to hang at once before another waits. Each is a connection.
READS_MAX_CALLS = 32
COUNT_INTERVAL_S = 15.0
WOKEN_MAX_ENTRIES = int(COUNT_INTERVAL_S * accounts.WOKEN_PER_S)
# An account's own trouble is looked at so long after that of its tenant.
AFTER_TENANT = timedelta(seconds=1)


# A tenant's door can be tried without a mailbox: that Graph does not know this one says that the door is open.
NO_MAILBOX = "00000000-0000-0000-0000-000000000000"


class Prober:
    """Has one entry of each trouble tried when its time has come."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        producer: AIOKafkaProducer,
        topic: str,
        graph: Graph,
        known: Accounts,
        *,
        interval_s: float,
        claim_s: float,
        postgres: Dependency,
        kafka: Dependency,
    ) -> None:
        self._pool = pool
        self._producer = producer
        self._topic = topic
        self._graph = graph
        self._known = known
        # By directory: what is to be read, and is claimed.
        self._to_read: dict[str, dict[Account, DueProbe]] = {}
        self._calls = asyncio.Semaphore(READS_MAX_CALLS)
        self._interval_s = interval_s
        self._claim_s = claim_s
        self._postgres = postgres
        self._kafka = kafka

    async def run(self) -> None:
        """Probe until cancelled. What another credential may mend is looked at at once: this process may have it."""
        await self._postgres.insist(lambda: accounts.probe_tenants(self._pool, OF_CREDENTIAL))
        async with asyncio.TaskGroup() as tasks:
            while True:
                claimed, due, bare = await self._postgres.insist(self._claim)
                for probe in bare:
                    if (directory := self._queue(probe)) is not None:
                        tasks.create_task(self._read(directory))
                if due:
                    await self._kafka.insist(lambda due=due: send_wakeups(self._producer, self._topic, due))  # type: ignore[misc]
                if claimed < BATCH_MAX_PROBES:
                    await asyncio.sleep(self._interval_s)

    def _queue(self, probe: DueProbe) -> str | None:
        """Put off the read until it is its turn in its directory; gives the directory if nothing is read there yet."""
        directory = probe.place.directory.casefold()
        waiting = self._to_read.get(directory)
        if waiting is not None:
            if len(waiting) < DIRECTORY_MAX_READS:
                waiting[probe.account] = probe  # what waited for so long that it is claimed again may have changed
            return None
        self._to_read[directory] = {probe.account: probe}
        return directory

    async def _read(self, directory: str) -> None:
        """Read the mailboxes of a directory's troubles that no entry rests for, one after the other."""
        waiting = self._to_read[directory]
        while waiting:
            probe = next(iter(waiting.values()))
            response: Response | None = None
            if not probe.unlinked:
                request = ask_default(probe.place.mailbox or NO_MAILBOX)
                async with self._calls:
                    (response,) = await self._graph.send(probe.place.directory, [request])
            self._known.remember(
                await self._postgres.insist(lambda probe=probe, response=response: self._record(probe, response))  # type: ignore[misc]
            )
            if waiting[probe.account] is probe:
                del waiting[probe.account]
        del self._to_read[directory]

    async def _record(self, probe: DueProbe, response: Response | None) -> Judgement:
        async with self._pool.acquire() as connection, connection.transaction():
            return await self._known.look(connection, probe, response, datetime.now(UTC))

    async def _claim(self) -> tuple[int, list[Due], list[DueProbe]]:
        """Claim what is to be looked at; gives how much that is, the entries to wake, and what has none."""
        now = datetime.now(UTC)
        async with self._pool.acquire() as connection, connection.transaction():
            probes = await accounts.due_probes(connection, now, BATCH_MAX_PROBES)
            await accounts.claim(connection, [self._decide(probe, now) for probe in probes])
            chosen = [probe.entry_id for probe in probes if probe.entry_id is not None]
            bare = [probe for probe in probes if probe.entry_id is None and probe.covered_until is None]
            return len(probes), await entries.due_of(connection, chosen), bare

    def _decide(self, probe: DueProbe, now: datetime) -> Claim:
        if probe.covered_until is not None:
            return Claim(probe.account, max(probe.covered_until, now) + AFTER_TENANT, None)
        return Claim(probe.account, now + timedelta(seconds=self._claim_s), probe.entry_id)

    async def count(self) -> None:
        """Show how many accounts and tenants are in trouble, and see to it that nothing rests for none; for ever."""
        shown: set[Reason] = set()
        while True:
            woken = await self._postgres.insist(lambda: accounts.wake_forgotten(self._pool, WOKEN_MAX_ENTRIES))
            if woken:
                log.info("entries are woken whose trouble is over", entries=woken)
            counts = await self._postgres.insist(lambda: accounts.count_troubled(self._pool))
            for reason in shown | set(counts):
                ACCOUNTS_TROUBLED.labels(reason).set(counts.get(reason, 0))
            shown |= set(counts)
            await asyncio.sleep(COUNT_INTERVAL_S)
