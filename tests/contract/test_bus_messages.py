"""What becomes of a message: order, identity, headers, tombstones, size, and the broker's death."""

import asyncio
from collections import defaultdict
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RequestTimedOutError
from aiokafka.protocol.produce import ProduceRequest

from tests.contract.bus import REQUEST_MAX_BYTES, Bus, new_group, read

MESSAGE_MAX_BYTES = 1_000_000
KEYS = 10
ROUNDS = 30


def lose_first_answer(producer: AIOKafkaProducer, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let the broker's first answer to a produce request get lost; gives the requests that were sent."""
    sent: list[Any] = []
    send = producer.client.send

    async def losing(node: int, request: Any, **options: Any) -> Any:
        answer = await send(node, request, **options)
        if isinstance(request, ProduceRequest):
            sent.append(request)
            if len(sent) == 1:
                raise RequestTimedOutError
        return answer

    monkeypatch.setattr(producer.client, "send", losing)
    return sent


async def test_messages_of_one_key_stay_in_order(bus: Bus) -> None:
    topic = await bus.topic(partitions=4)
    async with bus.producer() as producer:
        sent = [
            await producer.send(topic, key=b"key %d" % key, value=b"%d" % number)
            for number in range(ROUNDS)
            for key in range(KEYS)
        ]
        await asyncio.gather(*sent)
    seen = defaultdict(list)
    async with bus.member(new_group(), topic) as member:
        for record in await read(member, KEYS * ROUNDS):
            seen[record.key].append(int(record.value))
    assert seen == {b"key %d" % key: list(range(ROUNDS)) for key in range(KEYS)}


async def test_a_send_that_is_repeated_arrives_once(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = await bus.topic()
    async with bus.producer() as producer:
        sent = lose_first_answer(producer, monkeypatch)
        first = await producer.send_and_wait(topic, b"once")
        second = await producer.send_and_wait(topic, b"after")
    assert len(sent) == 3, "the first message went out twice"
    assert (first.offset, second.offset) == (0, 1)
    async with bus.member(new_group(), topic) as member:
        assert [record.value for record in await read(member, 2)] == [b"once", b"after"]


async def test_headers_arrive_as_they_were_sent(bus: Bus) -> None:
    topic = await bus.topic()
    headers = [
        ("content-type", b"application/json"),
        ("ce_id", "größer".encode()),
        ("binary", bytes(range(256))),
        ("twice", b"one"),
        ("twice", b"two"),
        ("empty", b""),
        ("none", None),
    ]
    async with bus.producer() as producer:
        await producer.send_and_wait(topic, b"value", key=b"key", headers=headers, timestamp_ms=1_700_000_000_123)
    async with bus.member(new_group(), topic) as member:
        (record,) = await read(member, 1)
    assert list(record.headers) == headers
    assert (record.key, record.value, record.timestamp) == (b"key", b"value", 1_700_000_000_123)


async def test_a_compacted_topic_takes_tombstones(bus: Bus) -> None:
    topic = await bus.topic(cleanup_policy="compact", min_cleanable_dirty_ratio="0.1")
    async with bus.producer() as producer:
        await producer.send_and_wait(topic, b"value", key=b"key")
        await producer.send_and_wait(topic, None, key=b"key")
    async with bus.member(new_group(), topic) as member:
        records = await read(member, 2)
    assert [(record.key, record.value) for record in records] == [(b"key", b"value"), (b"key", None)]


async def test_the_settings_of_a_topic_are_kept(bus: Bus) -> None:
    wanted = {"cleanup.policy": "compact", "max.message.bytes": "1500000", "retention.ms": "86400000"}
    topic = await bus.topic(**{name.replace(".", "_"): value for name, value in wanted.items()})
    async with bus.admin() as admin:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    ((code, _, _, _, entries),) = answer.resources
    assert code == 0
    kept = {entry[0]: entry[1] for entry in entries}
    assert {name: kept.get(name) for name in wanted} == wanted


async def test_a_compacted_topic_refuses_a_message_without_a_key(bus: Bus) -> None:
    topic = await bus.topic(cleanup_policy="compact")
    async with bus.producer() as producer:
        with pytest.raises(KafkaError):
            await producer.send_and_wait(topic, b"value")


async def test_a_large_message_arrives(bus: Bus) -> None:
    topic = await bus.topic()
    value = bytes(range(250)) * (MESSAGE_MAX_BYTES // 250)
    async with bus.producer() as producer:
        await producer.send_and_wait(topic, value, key=b"key", headers=[("h", b"v" * 1_000)])
    async with bus.member(new_group(), topic) as member:
        (record,) = await read(member, 1)
    assert record.value == value


async def test_a_message_larger_than_the_topic_allows_is_refused_by_name(bus: Bus) -> None:
    topic = await bus.topic(max_message_bytes="100000")
    async with bus.producer() as producer:
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(topic, b"v" * 110_000)
        await producer.send_and_wait(topic, b"v" * 90_000)


async def test_a_message_larger_than_the_broker_allows_is_refused_by_name(bus: Bus) -> None:
    topic = await bus.topic()
    async with bus.producer() as producer:
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(topic, b"v" * (REQUEST_MAX_BYTES - 1_000))


async def test_a_message_larger_than_the_client_allows_is_refused_before_it_is_sent(bus: Bus) -> None:
    topic = await bus.topic()
    async with bus.producer() as producer:
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send(topic, b"v" * REQUEST_MAX_BYTES)


async def test_what_was_acknowledged_survives_the_death_of_the_broker(bus: Bus) -> None:
    topic, group = await bus.topic(), new_group()
    async with bus.producer() as producer:
        for value in (b"one", b"two", b"three"):
            await producer.send_and_wait(topic, value)
    async with bus.member(group, topic) as member:
        await read(member, 3)
        await member.commit({TopicPartition(topic, 0): 1})
    await bus.kafka.kill()
    await bus.kafka.start()
    async with bus.member(group, topic) as member:
        assert [record.value for record in await read(member, 2)] == [b"two", b"three"]
