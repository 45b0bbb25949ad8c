"""Partitions that nobody reads, though their group is at rest: found, and shared out.

A group's leader notices when a topic has grown. With static membership there may be none that does: brokers tell a
leader that comes back under its name that it is only a member (KIP-814; the client does not know of it). The group then
keeps to the partitions that there were, and the mailboxes of the new ones would wait for ever.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError, for_code

from calbus.lifecycle import at_most
from calbus.telemetry import log

LOOK_INTERVAL_S = 20.0
LOOK_TIMEOUT_S = 10.0


async def adopt_orphans(reader: AIOKafkaConsumer, options: dict[str, Any], group: str, topics: list[str]) -> None:
    """Look now and then, until cancelled; if there are orphans two times in a row, ask the group to assign anew.

    `options` are what a client needs to reach the brokers.

    Whoever the brokers take for the leader gets a rebalance by asking; any other member gets its own partitions again.
    """
    before: set[TopicPartition] = set()
    while True:
        await asyncio.sleep(LOOK_INTERVAL_S)
        found: set[TopicPartition] = set()
        with suppress(KafkaError, TimeoutError, OSError):  # an outage shows elsewhere
            found = _all(reader, topics) - await at_most(LOOK_TIMEOUT_S, assigned(options, group))
        if found and found == before:
            log.warning("partitions that nobody reads: the group is asked to share them out", partitions=len(found))
            reader._coordinator.request_rejoin()  # noqa: SLF001 - there is no other way
            found = set()
        before = found


def _all(reader: AIOKafkaConsumer, topics: Iterable[str]) -> set[TopicPartition]:
    return {TopicPartition(topic, one) for topic in topics for one in reader.partitions_for_topic(topic) or ()}


async def assigned(options: dict[str, Any], group: str) -> set[TopicPartition]:
    """What the members of a group have together. Raises KafkaError if it is not at rest, or not to be had."""
    admin = AIOKafkaAdminClient(**options)
    try:
        await admin.start()
        [response] = await admin.describe_consumer_groups([group])
    finally:
        await admin.close()
    [(code, _, state, _, _, members, *_)] = response.groups
    if code:
        raise for_code(code)(group)
    if state != "Stable":
        raise KafkaError(f"the group is not at rest: {state}")
    shares = [ConsumerProtocol.ASSIGNMENT.decode(member[-1]).partitions() for member in members if member[-1]]
    return {partition for share in shares for partition in share}
