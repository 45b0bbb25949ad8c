"""How this project talks to Kafka: clients with the settings that its guarantees rest on.

At-least-once throughout: no automatic commits, idempotent producers, acknowledgement by all replicas.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.helpers import create_ssl_context

from calbus.bus.orphans import adopt_orphans
from calbus.lifecycle import at_most
from calbus.outage import Dependency
from calbus.settings import KafkaSettings, SaslMechanism, SecurityProtocol, SettingsError
from calbus.telemetry import CONSUMER_LAG, CONSUMER_PARTITIONS
from schemas.events import Topic

MESSAGE_MAX_BYTES = 1_200_000
BATCH_MAX_BYTES = 256 * 1024
WATCH_INTERVAL_S = 5.0
STOP_TIMEOUT_S = 10.0
LAG_INTERVAL_S = 5.0
LAG_TIMEOUT_S = 5.0
REBALANCE_TIMEOUT_MS = 60_000
# A member hears of a rebalance by its heartbeat only, and must have time left for what it does then.
HEARTBEAT_INTERVAL_MAX_MS = 6_000
# A process that waits for PostgreSQL keeps its partitions for as long as it is alive; the liveness probe, not the
# group, decides when it is stuck.
POLL_INTERVAL_MAX_MS = 2**31 - 1

Client = TypeVar("Client", AIOKafkaProducer, AIOKafkaConsumer)


def topic_name(settings: KafkaSettings, topic: Topic) -> str:
    """The topic's full name in this deployment."""
    return f"{settings.topic_prefix}.{topic}"


def client_options(settings: KafkaSettings) -> dict[str, Any]:
    """What every client needs to reach the brokers. Raises SettingsError for certificates that cannot be read."""
    options: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap,
        "security_protocol": settings.kafka_security_protocol.value,
    }
    if settings.kafka_security_protocol in (SecurityProtocol.SSL, SecurityProtocol.SASL_SSL):
        try:
            options["ssl_context"] = create_ssl_context(
                cafile=_path(settings.kafka_ssl_ca_file),
                certfile=_path(settings.kafka_ssl_cert_file),
                keyfile=_path(settings.kafka_ssl_key_file),
            )
        except (OSError, ssl.SSLError) as error:
            raise SettingsError(f"CALBUS_KAFKA_SSL_…_FILE: cannot be read: {error}") from None
    if settings.kafka_security_protocol in (SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL):
        options |= {
            "sasl_mechanism": SaslMechanism(settings.kafka_sasl_mechanism).value,
            "sasl_plain_username": settings.kafka_sasl_username,
            "sasl_plain_password": settings.kafka_sasl_password.get_secret_value(),
        }
    return options


def _path(path: Any) -> str | None:
    return str(path) if path else None


@asynccontextmanager
async def producer(settings: KafkaSettings, kafka: Dependency) -> AsyncIterator[AIOKafkaProducer]:
    """A started idempotent producer; waits for the brokers if they are away."""

    def make() -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **client_options(settings),
            enable_idempotence=True,
            acks="all",
            linger_ms=0,
            max_batch_size=BATCH_MAX_BYTES,
            max_request_size=MESSAGE_MAX_BYTES,
        )

    client = await _start(make, kafka)
    try:
        yield client
    finally:
        await _stop(client)


async def _start(make: Callable[[], Client], kafka: Dependency) -> Client:
    """A started client; a new one for each attempt, since one that failed to start cannot be started again."""

    async def start() -> Client:
        client = make()
        try:
            await client.start()
        except BaseException:
            await client.stop()
            raise
        return client

    return await kafka.insist(start)


async def _stop(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    # Without a broker neither ever finishes; what is not acknowledged by then is sent again by whoever comes next.
    with suppress(TimeoutError):
        await at_most(STOP_TIMEOUT_S, client.stop())


async def watch_kafka(client: AIOKafkaProducer, kafka: Dependency) -> None:
    """Ask the brokers now and then whether they are there, so that an outage shows even while nothing is sent."""

    async def ask() -> None:
        try:
            await at_most(WATCH_INTERVAL_S, client.client.fetch_all_metadata())
        except KafkaError as error:
            raise KafkaConnectionError(str(error)) from None

    while True:
        await kafka.insist(ask)
        await asyncio.sleep(WATCH_INTERVAL_S)


@asynccontextmanager
async def consumer(
    settings: KafkaSettings,
    kafka: Dependency,
    *,
    group: str,
    topics: list[Topic],
    member: str | None = None,
    session_timeout_ms: int = 30_000,
    listener: ConsumerRebalanceListener | None = None,
) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer of `topics` in `group`; waits for the brokers if they are away.

    Offsets are committed by the caller only. `member` makes the membership static: a restart within the session
    timeout takes its partitions up again without a rebalance of the others.
    """
    names = [topic_name(settings, topic) for topic in topics]
    group_id = f"{settings.topic_prefix}.{group}"

    def make() -> AIOKafkaConsumer:
        client = AIOKafkaConsumer(
            **client_options(settings),
            group_id=group_id,
            group_instance_id=member,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # What a publisher took back in a transaction was never said.
            isolation_level="read_committed",
            session_timeout_ms=session_timeout_ms,
            heartbeat_interval_ms=min(max(session_timeout_ms // 10, 100), HEARTBEAT_INTERVAL_MAX_MS),
            max_poll_interval_ms=POLL_INTERVAL_MAX_MS,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            metadata_max_age_ms=30_000,
        )
        client.subscribe(names, listener=listener)
        return client

    client = await _start(make, kafka)
    # Without a static member there is always a leader that knows itself for one.
    watch = asyncio.create_task(adopt_orphans(client, client_options(settings), group_id, names)) if member else None
    try:
        yield client
    finally:
        if watch is not None:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
        await _stop(client)


async def watch_lag(
    reader: AIOKafkaConsumer, settings: KafkaSettings, topics: Sequence[Topic], in_hand: Callable[[], int] = lambda: 0
) -> None:
    """Show how far behind a consumer is, until cancelled; while Kafka is away what was seen last stands.

    `in_hand`: records that were read, and are not done.
    """
    while True:
        with suppress(KafkaError, TimeoutError):
            unread = await at_most(LAG_TIMEOUT_S, _unread(reader))
            for topic in topics:
                lags = [lag for partition, lag in unread.items() if partition.topic == topic_name(settings, topic)]
                CONSUMER_PARTITIONS.labels(topic).set(len(lags))
                CONSUMER_LAG.labels(topic).set(sum(lags) + in_hand())
        await asyncio.sleep(LAG_INTERVAL_S)


async def _unread(reader: AIOKafkaConsumer) -> dict[TopicPartition, int]:
    """How many records each assigned partition has ahead of what was read."""
    mine = reader.assignment()
    ends = await reader.end_offsets(mine) if mine else {}
    # A partition that was taken away meanwhile has no position, and is not waited for.
    at = {partition: await reader.position(partition) for partition in ends if partition in reader.assignment()}
    return {partition: max(ends[partition] - position, 0) for partition, position in at.items()}
