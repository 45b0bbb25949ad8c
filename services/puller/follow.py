"""Which calendars are pulled follows the accounts' settings, and what is asked for on the bus is due at once."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import asyncpg
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from calbus.bus.cloudevents import UnreadableError, decode
from calbus.bus.kafka import consumer, watch_lag
from calbus.lifecycle import at_most
from calbus.outage import Dependency
from calbus.store import pulls
from calbus.telemetry import RECORDS, log
from schemas.events import Topic
from schemas.results import SyncRequested
from services.puller.leases import Leases
from services.puller.settings import PullerSettings
from services.puller.status import after_settings

GROUP = "puller"
POLL_MS = 500
POLL_MAX_RECORDS = 500


class Follower:
    """Keeps the calendars that are pulled in step with the settings, which ingest stores."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        leases: Leases,
        *,
        interval_s: float,
        postgres: Dependency,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        """`told` is called when something was stored to be published."""
        self._pool = pool
        self._told = told
        self._leases = leases
        self._interval_s = interval_s
        self._postgres = postgres
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            self._wake.clear()
            await self.follow()
            with suppress(TimeoutError):
                await at_most(self._interval_s, self._wake.wait())

    async def follow(self) -> None:
        """Look once."""
        steps = await self._postgres.insist(lambda: pulls.keep_in_step(self._pool))
        if await self._postgres.insist(self._end_statuses):
            self._told()
        if steps.any:
            log.info(
                "calendars that are pulled follow the settings",
                added=steps.added,
                removed=steps.removed,
                changed=steps.changed,
                paused=steps.paused,
            )
            self._leases.wake()

    async def _end_statuses(self) -> bool:
        async with self._pool.acquire() as connection, connection.transaction():
            return await after_settings(connection, datetime.now(UTC))


class Requests:
    """Reads what is asked of calbus, in a group of the puller's own; only SyncRequested is for it."""

    def __init__(
        self,
        settings: PullerSettings,
        pool: asyncpg.Pool,
        follower: Follower,
        leases: Leases,
        *,
        postgres: Dependency,
        kafka: Dependency,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._follower = follower
        self._leases = leases
        self._postgres = postgres
        self._kafka = kafka

    async def run(self) -> None:
        """Read until cancelled; offsets move when what was asked for stands in PostgreSQL.

        Joining the group may take as long as a member's session that died: nobody else waits for it.
        """
        member = self._settings.puller_member
        joining = consumer(
            self._settings,
            self._kafka,
            group=GROUP,
            topics=[Topic.REQUESTS],
            member=member,
            session_timeout_ms=self._settings.puller_session_timeout_ms,
        )
        async with joining as reader, asyncio.TaskGroup() as tasks:
            tasks.create_task(watch_lag(reader, self._settings, [Topic.REQUESTS]))
            tasks.create_task(self._read(reader))

    async def _read(self, reader: AIOKafkaConsumer) -> None:
        while True:
            fetched = await reader.getmany(timeout_ms=POLL_MS, max_records=POLL_MAX_RECORDS)
            records = [record for of_partition in fetched.values() for record in of_partition]
            if not records:
                continue
            asked = {(one.tenant, one.user) for one in map(_request, records) if one is not None}
            if asked:
                # An account that was set a moment ago should be there to be asked for.
                await self._follower.follow()
                for tenant, user in sorted(asked, key=str):
                    await self._postgres.insist(partial(pulls.ask, self._pool, tenant, user))
                self._leases.wake()
            offsets = {partition: of_partition[-1].offset + 1 for partition, of_partition in fetched.items()}
            await self._kafka.insist(partial(_commit, reader, offsets))


async def _commit(reader: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    try:
        await reader.commit(offsets)
    except (CommitFailedError, IllegalStateError):
        # Another member repeats them, which pulls once more than was asked for.
        log.info("offsets not committed: the group was rebalanced")
    except KafkaError as error:
        if error.retriable:
            raise
        log.warning("offsets not committed", error=type(error).__name__)


def _request(record: ConsumerRecord) -> SyncRequested | None:
    """None if it is for somebody else; what nobody can read becomes a dead letter of ingest's."""
    try:
        data = decode(record.headers, record.value).data
    except UnreadableError:
        return None
    if not isinstance(data, SyncRequested):
        return None
    RECORDS.labels(Topic.REQUESTS, "accepted").inc()
    return data
