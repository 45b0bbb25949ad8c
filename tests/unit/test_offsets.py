"""Which offsets may be committed, against a model that remembers every record."""

from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from calbus.bus.offsets import Offsets, Position
from tests.support.examples import shown

PARTITIONS = [TopicPartition("commands", number) for number in range(2)]
FIRST = PARTITIONS[0]


def test_nothing_is_committed_before_its_work_is_done() -> None:
    offsets = Offsets()
    offsets.received(FIRST, 5)
    assert offsets.to_commit() == {}


def test_a_finished_record_waits_for_those_before_it() -> None:
    offsets = Offsets()
    first, second = offsets.received(FIRST, 5), offsets.received(FIRST, 6)
    offsets.finished(second)
    assert offsets.to_commit() == {}
    offsets.finished(first)
    assert offsets.to_commit() == {FIRST: 7}


def test_the_mark_stands_at_the_oldest_unfinished_record() -> None:
    offsets = Offsets()
    positions = [offsets.received(FIRST, offset) for offset in (5, 8, 9)]
    offsets.finished(positions[0])
    offsets.finished(positions[2])
    assert offsets.to_commit() == {FIRST: 8}


def test_what_was_committed_is_not_committed_again() -> None:
    offsets = Offsets()
    offsets.finished(offsets.received(FIRST, 5))
    offsets.committed(offsets.to_commit())
    assert offsets.to_commit() == {}


def test_what_could_not_be_committed_is_offered_again() -> None:
    offsets = Offsets()
    offsets.finished(offsets.received(FIRST, 5))
    assert offsets.to_commit() == offsets.to_commit() == {FIRST: 6}


def test_work_of_an_assignment_that_is_over_commits_nothing() -> None:
    offsets = Offsets()
    earlier = offsets.received(FIRST, 5)
    offsets.reassigned()
    offsets.received(FIRST, 5)
    offsets.finished(earlier)
    assert offsets.to_commit() == {}


class OffsetsMachine(RuleBasedStateMachine):
    """Records come in order, with gaps, and finish in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.offsets = Offsets()
        self.next = dict.fromkeys(PARTITIONS, 0)
        self.records: dict[Position, bool] = {}
        self.past: list[Position] = []
        self.committed: dict[TopicPartition, int] = {}

    @rule(partition=st.sampled_from(PARTITIONS), gap=st.integers(0, 3))
    def receive(self, partition: TopicPartition, gap: int) -> None:
        offset = self.next[partition] + gap
        self.next[partition] = offset + 1
        self.records[self.offsets.received(partition, offset)] = False

    @precondition(lambda self: self.records)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        position = data.draw(st.sampled_from(list(self.records)))
        self.offsets.finished(position)
        self.records[position] = True

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def finish_of_the_past(self, data: st.DataObject) -> None:
        self.offsets.finished(data.draw(st.sampled_from(self.past)))

    @rule()
    def commit(self) -> None:
        marks = self.offsets.to_commit()
        self.offsets.committed(marks)
        self.committed |= marks

    @rule()
    def reassign(self) -> None:
        """Another process may have had the partitions; work begins at what was committed."""
        self.past += self.records
        self.records = {}
        self.next = {partition: self.committed.get(partition, 0) for partition in PARTITIONS}
        self.offsets.reassigned()

    @invariant()
    def everything_before_a_mark_is_finished_and_the_record_at_it_is_not(self) -> None:
        marks = self.offsets.to_commit()
        for partition in PARTITIONS:
            mine = {position.offset: done for position, done in self.records.items() if position.partition == partition}
            open_offsets = [offset for offset, done in mine.items() if not done]
            expected = min(open_offsets, default=max(mine, default=-1) + 1)
            if mine and expected > max(min(mine), self.committed.get(partition, 0)):
                assert marks[partition] == expected
            else:
                assert partition not in marks


TestOffsets = OffsetsMachine.TestCase
TestOffsets.settings = settings(max_examples=shown(60), stateful_step_count=40)


@given(st.permutations(range(8)))
def test_when_all_is_finished_all_can_be_committed(order: list[int]) -> None:
    offsets = Offsets()
    positions = [offsets.received(FIRST, offset) for offset in range(8)]
    for index in order:
        offsets.finished(positions[index])
        offsets.committed(offsets.to_commit())
    assert offsets.to_commit() == {}
    offsets.finished(offsets.received(FIRST, 8))
    assert offsets.to_commit() == {FIRST: 9}
