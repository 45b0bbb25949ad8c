"""Consumer groups: who owns what, who may commit, and what comes again after a crash."""

import asyncio
import sys
from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError

from devstack.settings import REPOSITORY
from tests.contract.bus import Bus, new_group, partitions_of, read, settled
from tests.support.waiting import until

PARTITIONS = 6
LONG_SESSION_MS = 30_000  # longer than a test waits for anything


Membership = AbstractAsyncContextManager[AIOKafkaConsumer]


class Witness(ConsumerRebalanceListener):
    """Counts the rebalances that a member takes part in."""

    def __init__(self) -> None:
        self.rebalances = 0

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """A rebalance begins."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:  # noqa: ARG002 (their names)
        """A rebalance has ended."""
        self.rebalances += 1


async def publish(bus: Bus, topic: str, rounds: Iterable[int], *, partitions: int = 1) -> set[tuple[int, bytes]]:
    """One message a round into each partition; gives (partition, value)."""
    messages = {(partition, b"%d" % number) for number in rounds for partition in range(partitions)}
    async with bus.producer() as producer:
        for partition, value in sorted(messages, key=lambda message: (message[0], int(message[1]))):
            await producer.send_and_wait(topic, value, partition=partition)
    return messages


async def collect(members: list[AIOKafkaConsumer], messages: set[tuple[int, bytes]]) -> None:
    """Read with all members until all messages are seen; each partition's by its owner, and by nobody else."""
    seen: set[tuple[int, bytes]] = set()

    async def all_seen() -> bool:
        batches = await asyncio.gather(*(member.getmany(timeout_ms=50) for member in members))
        for member, batch in zip(members, batches, strict=True):
            assert batch.keys() <= member.assignment()
            seen.update((record.partition, record.value) for records in batch.values() for record in records)
        return seen >= messages

    await until(all_seen, f"{len(messages)} messages", timeout_s=15)
    assert seen == messages


def hang(member: AIOKafkaConsumer) -> None:
    """Let a member neither beat nor rejoin any more, as one whose process is stuck."""
    member._coordinator._coordination_task.cancel()
    member._coordinator._heartbeat_task.cancel()


async def test_the_first_member_owns_everything_and_reads_from_the_beginning(bus: Bus) -> None:
    topic = await bus.topic(partitions=PARTITIONS)
    messages = await publish(bus, topic, range(3), partitions=PARTITIONS)
    async with bus.member(new_group(), topic) as member:
        await settled([member], partitions_of(topic, PARTITIONS))
        await collect([member], messages)


async def test_members_that_come_and_go_share_every_partition(bus: Bus) -> None:
    topic, group = await bus.topic(partitions=PARTITIONS), new_group()
    everything = partitions_of(topic, PARTITIONS)
    async with bus.member(group, topic) as first:
        async with bus.member(group, topic) as second:
            await settled([first, second], everything)
            async with bus.member(group, topic) as third:
                await settled([first, second, third], everything)
                await collect([first, second, third], await publish(bus, topic, range(5), partitions=PARTITIONS))
                for member in (first, second, third):
                    await member.commit()
            await settled([first, second], everything)
            await collect([first, second], await publish(bus, topic, range(5, 10), partitions=PARTITIONS))
        await settled([first], everything)


async def test_two_groups_read_independently(bus: Bus) -> None:
    topic = await bus.topic(partitions=PARTITIONS)
    messages = await publish(bus, topic, range(2), partitions=PARTITIONS)
    async with bus.member(new_group(), topic) as one, bus.member(new_group(), topic) as other:
        await collect([one], messages)
        await collect([other], messages)


async def test_a_successor_goes_on_from_the_committed_offset(bus: Bus) -> None:
    topic, group = await bus.topic(), new_group()
    partition = TopicPartition(topic, 0)
    await publish(bus, topic, range(10))
    async with bus.member(group, topic) as member:
        await read(member, 10)
        await member.commit({partition: 4})
        assert await member.committed(partition) == 4
    async with bus.member(group, topic) as member:
        assert [record.offset for record in await read(member, 6)] == [4, 5, 6, 7, 8, 9]


async def test_what_a_crashed_member_did_not_commit_comes_again(bus: Bus) -> None:
    topic, group = await bus.topic(), new_group()
    await publish(bus, topic, range(3))
    crashing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.contract.crashing_member"),
        *(bus.kafka.bootstrap, str(bus.session_timeout_ms), group, topic),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
    )
    assert crashing.stdout is not None
    assert [await crashing.stdout.readline() for _ in range(3)] == [b"0\n", b"1\n", b"2\n"]
    crashing.kill()
    await crashing.communicate()
    async with bus.member(group, topic) as member:
        assert [record.offset for record in await read(member, 3)] == [0, 1, 2]


async def test_a_static_member_that_comes_back_in_time_disturbs_nobody(bus: Bus) -> None:
    topic, group = await bus.topic(partitions=PARTITIONS), new_group()
    everything, witness = partitions_of(topic, PARTITIONS), Witness()

    def member(instance: str, listener: ConsumerRebalanceListener | None = None) -> Membership:
        return bus.member(group, topic, instance=instance, listener=listener, session_timeout_ms=LONG_SESSION_MS)

    async def two_rebalances() -> bool:
        return witness.rebalances == 2

    async with member("writer-0", witness) as staying:
        async with member("writer-1") as leaving:
            await settled([staying, leaving], everything)
            await until(two_rebalances, "the staying member to be told: when it came, and when the other did")
            owned = leaving.assignment()
        assert staying.assignment() == set(everything) - owned
        async with member("writer-1") as back:
            await settled([staying, back], everything)
            assert back.assignment() == owned
            await collect([staying, back], await publish(bus, topic, range(2), partitions=PARTITIONS))
            assert witness.rebalances == 2


async def test_a_replacement_of_a_stuck_static_member_takes_over_at_once(bus: Bus) -> None:
    topic, group = await bus.topic(), new_group()
    partition = TopicPartition(topic, 0)
    await publish(bus, topic, range(5))
    async with bus.member(group, topic, instance="writer-0", session_timeout_ms=LONG_SESSION_MS) as stuck:
        await read(stuck, 5)
        # Both alive with one name would push each other out by turns: a name is for one process at a time.
        hang(stuck)
        async with bus.member(group, topic, instance="writer-0", session_timeout_ms=LONG_SESSION_MS) as replacement:
            await read(replacement, 5)
            await replacement.commit({partition: 5})
            with pytest.raises(CommitFailedError):
                await stuck.commit({partition: 1})
            assert await replacement.committed(partition) == 5


async def test_a_member_that_lost_its_partition_cannot_commit(bus: Bus) -> None:
    topic, group = await bus.topic(), new_group()
    partition = TopicPartition(topic, 0)
    await publish(bus, topic, range(5))
    async with bus.member(group, topic) as stuck:
        await read(stuck, 5)
        hang(stuck)
        async with bus.member(group, topic) as successor:
            await read(successor, 5)
            await successor.commit({partition: 5})
            with pytest.raises(CommitFailedError):
                await stuck.commit({partition: 1})
            assert await successor.committed(partition) == 5
