"""Sending many messages at once: by partition, in batches, with one acknowledgement for each batch.

A message of its own costs the client a future and a turn of its loop; in a batch it costs its bytes.
"""

from asyncio import Future
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from aiokafka import AIOKafkaProducer

Headers = Sequence[tuple[str, bytes]]


class Record(NamedTuple):
    """A message on its way."""

    key: bytes
    value: bytes
    headers: Headers = ()


async def send_all(producer: AIOKafkaProducer, topic: str, records: Iterable[Record]) -> None:
    """Send in order for each key; returns when all are acknowledged, raises if one is not.

    Where a key belongs is said here, for all programs of calbus alike, and not as Kafka's own clients would say it: the
    murmur2 that they use takes as long in Python as everything else that is done for a message. So this is for topics
    that nobody compacts and nobody else writes.
    """
    partitions = sorted(await producer.partitions_for(topic))
    of_partition: dict[int, list[Record]] = {partition: [] for partition in partitions}
    of_key: dict[bytes, list[Record]] = {}
    for record in records:
        key = record.key
        if (ours := of_key.get(key)) is None:
            ours = of_key[key] = of_partition[partitions[crc32(key) % len(partitions)]]
        ours.append(record)
    acknowledgements: list[Future[Any]] = []
    for partition, ours in of_partition.items():
        if not ours:
            continue
        batch = producer.create_batch()
        for record in ours:
            if batch.append(key=record.key, value=record.value, timestamp=None, headers=record.headers) is None:
                acknowledgements.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                # The first of a batch always finds room; what is too large for the topic the broker refuses.
                batch.append(key=record.key, value=record.value, timestamp=None, headers=record.headers)
        acknowledgements.append(await producer.send_batch(batch, topic, partition=partition))
    for acknowledgement in acknowledgements:
        await acknowledgement
