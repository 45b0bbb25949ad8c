"""The bus as calbus uses it: topics, producers and group members with the settings that its guarantees rest on.
Written with aiokafka alone, so that the suite proves the broker and not calbus. No test lives here."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from devstack.kafka import Kafka
from tests.support.waiting import until

HEARTBEAT_INTERVAL_MS = 200
REBALANCE_TIMEOUT_MS = 5_000
REQUEST_MAX_BYTES = 1_200_000
FETCH_WAIT_MS = 100
READ_TIMEOUT_S = 15.0


class Bus:
    """One broker, and what a test needs of it. Every topic and group is the test's own.

    `session_timeout_ms` is the shortest that the broker allows: so long a crash goes unnoticed.
    """

    def __init__(self, kafka: Kafka, session_timeout_ms: int) -> None:
        self.kafka = kafka
        self.session_timeout_ms = session_timeout_ms

    async def topic(self, *, partitions: int = 1, **configs: str) -> str:
        """A new topic; `configs` are its settings, with `_` for `.`."""
        name = f"contract-{uuid4().hex}"
        wanted = {setting.replace("_", "."): value for setting, value in configs.items()}
        async with self.admin() as admin:
            made = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=wanted)])
        assert [(error[0], error[1]) for error in made.topic_errors] == [(name, 0)]
        return name

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """A client for topics and their settings."""
        client = AIOKafkaAdminClient(bootstrap_servers=self.kafka.bootstrap)
        await client.start()
        try:
            yield client
        finally:
            await client.close()

    @asynccontextmanager
    async def producer(self, **options: Any) -> AsyncIterator[AIOKafkaProducer]:
        """A producer that never loses, doubles or reorders what the broker acknowledged."""
        settings = {"enable_idempotence": True, "acks": "all", "linger_ms": 0, "max_request_size": REQUEST_MAX_BYTES}
        async with AIOKafkaProducer(bootstrap_servers=self.kafka.bootstrap, **{**settings, **options}) as client:
            yield client

    @asynccontextmanager
    async def member(
        self,
        group: str,
        topic: str,
        *,
        instance: str | None = None,
        listener: ConsumerRebalanceListener | None = None,
        session_timeout_ms: int | None = None,
    ) -> AsyncIterator[AIOKafkaConsumer]:
        """A group member; it commits nothing by itself, and reads from the beginning where nothing is committed."""
        client = AIOKafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap,
            group_id=group,
            group_instance_id=instance,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=session_timeout_ms or self.session_timeout_ms,
            heartbeat_interval_ms=HEARTBEAT_INTERVAL_MS,
            rebalance_timeout_ms=REBALANCE_TIMEOUT_MS,
            max_poll_interval_ms=60_000,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        client.subscribe([topic], listener=listener)
        await client.start()
        try:
            yield client
        finally:
            await client.stop()


def new_group() -> str:
    """A group that nobody has used."""
    return f"group-{uuid4().hex}"


async def read(member: AIOKafkaConsumer, count: int) -> list[ConsumerRecord[bytes, bytes]]:
    """The next `count` messages that this member gets."""
    records: list[ConsumerRecord[bytes, bytes]] = []

    async def enough() -> bool:
        batches = await member.getmany(timeout_ms=FETCH_WAIT_MS)
        records.extend(record for batch in batches.values() for record in batch)
        return len(records) >= count

    await until(enough, f"{count} messages (got {len(records)})", timeout_s=READ_TIMEOUT_S)
    assert len(records) == count
    return records


async def settled(members: Sequence[AIOKafkaConsumer], partitions: Iterable[TopicPartition]) -> None:
    """Wait until every partition is owned by exactly one of the members, and every member owns some."""
    everything = sorted(partitions)

    async def shared_out() -> bool:
        owned = [member.assignment() for member in members]
        return all(owned) and sorted(partition for part in owned for partition in part) == everything

    await until(shared_out, f"{len(members)} members to share {len(everything)} partitions", timeout_s=READ_TIMEOUT_S)


def partitions_of(topic: str, count: int) -> list[TopicPartition]:
    """The partitions of a topic."""
    return [TopicPartition(topic, number) for number in range(count)]
