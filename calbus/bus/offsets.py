"""Which offsets may be committed when work finishes out of order. Pure bookkeeping, no client."""

from dataclasses import dataclass
from typing import NamedTuple

from aiokafka import TopicPartition


class Position(NamedTuple):
    """One record's place in one assignment; positions of an assignment that is over are ignored."""

    partition: TopicPartition
    offset: int
    assignment: int


@dataclass(slots=True)
class _Partition:
    name: TopicPartition
    # offset -> finished; in the order received, which is ascending
    open: dict[int, bool]
    next_offset: int
    committed: int


class Offsets:
    """Tracks received and finished records per partition; gives the offsets below which all is finished."""

    def __init__(self) -> None:
        self.assignment = 0
        self._partitions: dict[TopicPartition, _Partition] = {}

    def received(self, partition: TopicPartition, offset: int) -> Position:
        """Note that a record was handed out for work."""
        tracked = self._partitions.get(partition)
        if tracked is None:
            tracked = self._partitions[partition] = _Partition(partition, {}, offset, offset)
        tracked.open[offset] = False
        tracked.next_offset = offset + 1
        # Not the one that was given: a hundred thousand may be in hand, and they share it.
        return Position(tracked.name, offset, self.assignment)

    def finished(self, position: Position) -> None:
        """Note that a record's work is durable; repeating it, or naming an older assignment, does nothing."""
        if position.assignment != self.assignment:
            return
        tracked = self._partitions.get(position.partition)
        if tracked is not None and position.offset in tracked.open:
            tracked.open[position.offset] = True

    def in_hand(self) -> int:
        """How many records were received and are not finished."""
        return sum(not finished for tracked in self._partitions.values() for finished in tracked.open.values())

    def to_commit(self) -> dict[TopicPartition, int]:
        """The next offset to read for each partition that moved since the last `committed`."""
        ready = {}
        for partition, tracked in self._partitions.items():
            while (oldest := next(iter(tracked.open), None)) is not None and tracked.open[oldest]:
                del tracked.open[oldest]
            mark = tracked.next_offset if oldest is None else oldest
            if mark > tracked.committed:
                ready[partition] = mark
        return ready

    def committed(self, offsets: dict[TopicPartition, int]) -> None:
        """Note what the broker acknowledged."""
        for partition, offset in offsets.items():
            if partition in self._partitions:
                self._partitions[partition].committed = offset

    def reassigned(self) -> None:
        """Forget everything: the partitions were taken away, and what is unfinished comes again."""
        self.assignment += 1
        self._partitions.clear()
