"""`calbus restored`: the two things to do, in this order, after the database was restored from a backup.

`--reread-from TIME`, while nothing runs: what upstream published since the backup is read again. `--look-up`, when
ingest has read it and before a writer runs: what was written after the backup is looked for before it is created.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from rich.console import Console

from calbus.bus.asking import asking_kafka
from calbus.bus.kafka import client_options, topic_name
from calbus.command import CommandError, command_of
from calbus.lifecycle import EXIT_USAGE, at_most
from calbus.outage import postgres
from calbus.settings import KafkaSettings, PostgresSettings
from calbus.store import recovery
from calbus.store.asking import asking_postgres
from calbus.store.connection import Connection
from calbus.store.migrate import require_schema
from calbus.store.pool import connect
from calbus.telemetry import configure_logging
from schemas.events import Topic
from services.ingest.handler import GROUP

KAFKA_TIMEOUT_S = 60.0
POSTGRES_TIMEOUT_S = 3_600.0
# Requests are not read again: what somebody asked for or confirmed then was for what stood then.
REREAD = (Topic.SETTINGS, Topic.ACTIONS, Topic.CONTACTS)

T = TypeVar("T")

out = Console(highlight=False, soft_wrap=True)


class RestoredSettings(KafkaSettings, PostgresSettings):
    """Settings of `calbus restored`."""


def restored(settings: RestoredSettings, reread_from: datetime | None = None, look_up: bool | None = None) -> None:
    """After PostgreSQL was restored from a backup: first --reread-from, then --look-up. See docs/operations.md."""
    if (reread_from is None) == (not look_up):
        raise CommandError("give --reread-from TIME or --look-up, one after the other", EXIT_USAGE)
    if reread_from is not None:
        asyncio.run(_reread(settings, reread_from.replace(tzinfo=reread_from.tzinfo or UTC)))
    else:
        asyncio.run(_look_up(settings))


async def _reread(settings: RestoredSettings, since: datetime) -> None:
    await _require_nobody(settings, "ingest", "writer")
    # The numbers first: if this breaks off, it is run again, and more numbers are skipped.
    await _store(settings, recovery.skip_numbers)
    with asking_kafka(settings):
        count = await at_most(KAFKA_TIMEOUT_S, _rewind(settings, since))
    out.print(f"{count:,} messages since {since.isoformat(' ', 'seconds')} are read again: start ingest, and no writer")


async def _look_up(settings: RestoredSettings) -> None:
    await _require_nobody(settings, "writer")
    with asking_kafka(settings):
        left = await at_most(KAFKA_TIMEOUT_S, _left(settings))
    if left:
        raise CommandError(f"ingest has {left:,} messages before it: wait until it has read them, then run this again")
    count = await _store(settings, recovery.doubt_creates)
    out.print(f"{count:,} entries are looked up in their calendars before they are created: start the writers")


async def _require_nobody(settings: RestoredSettings, *services: str) -> None:
    """Raises CommandError while a member of one of these groups is there."""
    with asking_kafka(settings):
        states = await at_most(KAFKA_TIMEOUT_S, _states(settings, services))
    for service, state in states.items():
        if state not in ("Empty", "Dead"):
            raise CommandError(
                f"{service} is running, or was until a moment ago: stop it, wait for its session time-out, "
                "and run this again",
                EXIT_USAGE,
            )


async def _states(settings: RestoredSettings, services: Sequence[str]) -> dict[str, str]:
    """How Kafka says that each service's group is."""
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        responses = {
            service: (await admin.describe_consumer_groups([f"{settings.topic_prefix}.{service}"]))[0]
            for service in services
        }
    finally:
        await admin.close()
    return {service: state for service, one in responses.items() for _, _, state, *_ in one.groups}


async def _rewind(settings: RestoredSettings, since: datetime) -> int:
    """Let ingest go on at what was published then; gives how many messages that is."""
    async with _Offsets(settings) as (consumer, partitions):
        at_ms = int(since.timestamp() * 1_000)
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, at_ms))
        ends = await consumer.end_offsets(partitions)
        begins = {one: found[one].offset if found[one] is not None else ends[one] for one in partitions}
        await consumer.commit(begins)
        return sum(ends[one] - begins[one] for one in partitions)


async def _left(settings: RestoredSettings) -> int:
    async with _Offsets(settings) as (consumer, partitions):
        ends = await consumer.end_offsets(partitions)
        return sum([ends[one] - (await consumer.committed(one) or 0) for one in partitions if ends[one]])


class _Offsets:
    """A consumer that only looks at offsets of ingest's group, or sets them, and its partitions."""

    def __init__(self, settings: RestoredSettings) -> None:
        self._names = [topic_name(settings, topic) for topic in REREAD]
        self._consumer = AIOKafkaConsumer(
            **client_options(settings), group_id=f"{settings.topic_prefix}.{GROUP}", enable_auto_commit=False
        )

    async def __aenter__(self) -> tuple[AIOKafkaConsumer, list[TopicPartition]]:
        await self._consumer.start()
        partitions = []
        for name in self._names:
            metadata = await self._consumer._client.fetch_all_metadata()  # noqa: SLF001 - it knows no topic before
            partitions += [TopicPartition(name, one) for one in sorted(metadata.partitions_for_topic(name) or ())]
        self._consumer.assign(partitions)
        return self._consumer, partitions

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()


async def _store(settings: RestoredSettings, do: Callable[[Connection], Awaitable[T]]) -> T:
    async def work() -> T:
        async with connect(settings, postgres()) as pool:
            await require_schema(pool)
            async with pool.acquire() as connection, connection.transaction():
                return await do(connection)

    with asking_postgres():
        return await at_most(POSTGRES_TIMEOUT_S, work())


command = command_of(
    "restored",
    RestoredSettings,
    restored,
    configure_logging,
    reread_from=Annotated[
        datetime | None,
        typer.Option(
            "--reread-from",
            formats=["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S"],
            help="Read again what was published since then (UTC): some minutes before the backup began.",
        ),
    ],
    look_up=Annotated[bool | None, typer.Option("--look-up", help="Look for each entry before it is created.")],
)
