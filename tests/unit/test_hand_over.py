"""A hand-over of mailboxes: what is in flight is waited for, what hangs is broken off, and only then is it over."""

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from aiokafka import TopicPartition

from calbus.bus.offsets import Position
from calbus.entry import Applied
from calbus.lifecycle import at_most
from services.writer.dispatcher import Dispatcher, HandOver, LaneRests
from services.writer.handler import Handler, Report, Work, _settled
from services.writer.lanes import Job, LaneLimits, Lanes
from services.writer.reconciler import Step
from tests.support.waiting import until
from tests.unit.test_pipeline import loaded

PARTITION = TopicPartition("commands", 0)


class Hanging(Handler):
    """One call, which lasts until it is broken off."""

    def __init__(self) -> None:
        self.broken_off = asyncio.Event()
        self.under_way = 0

    async def load(self, jobs: Sequence[Job]) -> tuple[list[Report], list[Work]]:
        return [], [Work(one, (found := loaded(one)), found.entry) for one in jobs]

    def prepare(self, work: Work) -> Coroutine[Any, Any, None] | None:
        work.step = Step.CREATE
        return None

    async def send(self, works: Sequence[Work]) -> None:
        self.under_way += 1
        await self.broken_off.wait()
        self.under_way -= 1
        for work in works:
            work.step, work.over, work.retry_after_s = None, True, 1.0

    async def record(self, works: Sequence[Work], *, waits: bool) -> list[Report]:  # noqa: ARG002
        return [Report(work.job) for work in works]


class Reader:
    """Notes what is committed."""

    def __init__(self) -> None:
        self.committed: dict[TopicPartition, int] = {}

    def assignment(self) -> set[TopicPartition]:
        return {PARTITION}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.committed |= offsets


async def nothing(_: Any) -> None:
    return None


async def test_a_call_that_hangs_does_not_outlast_a_hand_over() -> None:
    lanes = Lanes(LaneLimits(3, 9_000, 1_000, 20_000))
    handler, reader = Hanging(), Reader()
    dispatcher = Dispatcher(
        lanes,
        LaneRests(lanes),
        handler,
        max_calls=4,
        max_in_flight=3,
        postpone=nothing,
        send_elsewhere=nothing,
        settled=lambda: None,
    )
    hand_over = HandOver(dispatcher, handler.broken_off.set, 0.05)
    hand_over.consumer = reader
    working = asyncio.create_task(dispatcher.run())
    try:
        position: Position = dispatcher._offsets.received(PARTITION, 41)
        await dispatcher.queue([Job(UUID(int=1), "directory/mailbox", "t", [position])])

        async def sent() -> bool:
            return bool(handler.under_way)

        await until(sent, "the call to be under way")
        await at_most(20.0, hand_over.on_partitions_revoked({PARTITION}))
        assert handler.broken_off.is_set()
        assert handler.under_way == 0
        # Its end is recorded and its offset committed before others may have the mailbox.
        assert reader.committed == {PARTITION: 42}
        assert dispatcher.in_hand == 0
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def test_what_was_given_back_before_its_new_owner_was_checked_is_not_done() -> None:
    """The words are the same, so that there is nothing to write: but whether the owner may assign was to be asked."""
    one = Job(UUID(int=1), "t/mailbox", "t")
    before = loaded(one)
    place = before.entry.desired.place
    desired = replace(before.entry.desired, assigner="boss@example.org")
    stands = Applied(plan=1, place=place, content_hash=desired.content_hash, event_id="e", etag="1", grant="another")
    work = Work(one, before, replace(before.entry, desired=desired, applied=stands))
    assert not _settled(work)
    work.entry = work.entry.with_applied(replace(stands, grant=desired.grant))
    assert _settled(work)
