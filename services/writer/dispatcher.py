"""Moves wake-ups from Kafka into lanes, jobs from lanes to the handler, and offsets on when work is durable.

All state here may be lost at any moment: what is desired and not applied stands in PostgreSQL with the time it is due.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from uuid import UUID

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from calbus.bus.offsets import Offsets
from calbus.bus.wakeups import read_wakeup
from calbus.lifecycle import at_most
from calbus.store.entries import Due
from calbus.telemetry import BUDGET_LEFT, JOB_SECONDS, LANE_QUEUE, LANES, RECORDS, THROTTLED_SECONDS, log
from schemas.events import Topic
from services.writer.handler import Handler, Report
from services.writer.lanes import Job, Lanes
from services.writer.pipeline import Pipeline

COMMIT_INTERVAL_S = 0.5
COMMIT_TIMEOUT_S = 5.0
# What calls that were broken off came to is recorded within this; what is not is found in doubt by whoever looks next.
RECORD_S = 5.0
# So many jobs of one tenant are taken before it is the next one's turn.
TURN_MAX_JOBS = 20
SHED_MAX_ENTRIES = 1_000
# A job that breaks our own code is looked at again after this, in case it was the moment and not the job.
BROKEN_JOB_S = 60.0


class LaneRests:
    """What a handler learns of throttling, put into the lanes at once."""

    def __init__(self, lanes: Lanes, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lanes = lanes
        self._clock = clock
        self._shed: list[tuple[float, list[Job]]] = []
        self._last_until_s = 0.0

    def begin(self, lane: str, wait_s: float) -> None:
        """Park the lane; what waited in it is given out by `take_shed`."""
        until_s = self._clock() + wait_s
        THROTTLED_SECONDS.inc(max(wait_s - self.left_s(lane), 0.0))
        self._last_until_s = max(self._last_until_s, until_s)
        self._shed.append((wait_s, self._lanes.park(lane, until_s)))

    def left_s(self, lane: str) -> float:
        """Seconds until the lane is no longer parked."""
        if self._last_until_s == 0.0:
            return 0.0
        now_s = self._clock()
        if now_s >= self._last_until_s:
            self._last_until_s = 0.0
        return max(self._lanes.rests_until_s(lane) - now_s, 0.0)

    def take_shed(self) -> list[tuple[float, list[Job]]]:
        """What parking turned out since the last time, and for how long."""
        shed, self._shed = self._shed, []
        return shed


class Dispatcher:
    """One writer's work in hand."""

    def __init__(
        self,
        lanes: Lanes,
        rests: LaneRests,
        handler: Handler,
        *,
        max_calls: int,
        max_in_flight: int,
        postpone: Callable[[dict[UUID, float]], Awaitable[None]],
        send_elsewhere: Callable[[list[Due]], Awaitable[None]],
        settled: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`postpone`: let entries come due again after so many seconds. `clock`: steady seconds, the same as of
        `rests`; `calbus capacity` has one of its own."""
        self._lanes = lanes
        self._clock = clock
        self._rests = rests
        self._pipeline = Pipeline(
            handler,
            max_calls=max_calls,
            max_in_flight=max_in_flight,
            answered=self._answered,
            reported=self._take_reports,
            broken=self._give_up,
            changed=self._look_again,
            to_come=lambda: lanes.queued,
        )
        self._postpone = postpone
        self._send_elsewhere = send_elsewhere
        self._settled = settled
        self._offsets = Offsets()
        self._left_lane_s: dict[UUID, float] = {}
        self._changed = asyncio.Event()
        self._accepting = True

    @property
    def accepting(self) -> bool:
        """Whether wake-ups may be read: not while mailboxes change hands. Full lanes are no reason to stop."""
        return self._accepting

    async def accept(self, records: list[ConsumerRecord]) -> None:
        """Queue wake-ups."""
        jobs: list[Job] = []
        for record in records:
            position = self._offsets.received(TopicPartition(record.topic, record.partition), record.offset)
            wakeup = read_wakeup(record)
            if wakeup is None:
                log.error("a record on the commands topic is no wake-up", partition=record.partition)
                RECORDS.labels(Topic.COMMANDS, "unreadable").inc()
                self._offsets.finished(position)
                continue
            lane, tenant, entry_id = wakeup
            jobs.append(Job(entry_id, lane, tenant, [position]))
        RECORDS.labels(Topic.COMMANDS, "accepted").inc(len(records))
        await self.queue(jobs)

    async def queue(self, jobs: Iterable[Job]) -> None:
        """Put jobs into their lanes. Those whose lane rests, or is full, are left to the sweeper."""
        now_s = self._clock()
        refused = [
            (self._lanes.room_at_s(job.lane, now_s) - now_s, job) for job in jobs if not self._lanes.offer(job, now_s)
        ]
        self._changed.set()
        await self._shed(refused)

    async def run(self) -> None:
        """Hand out jobs until cancelled."""
        while True:
            self._changed.clear()
            if self._accepting and self._pipeline.may_begin and (jobs := self._take()):
                self._pipeline.begin(jobs)
            await self._wait()

    def _take(self) -> list[Job]:
        """Jobs of as many tenants as there are, a few of each in turn.

        If there is no room because one has it all: of those that have next to nothing in hand.
        """
        now_s, limit = self._clock(), self._pipeline.room
        jobs: list[Job] = []
        while len(jobs) < limit and (more := self._lanes.take(now_s, min(limit - len(jobs), TURN_MAX_JOBS))):
            jobs += more
        if not limit and self._pipeline.is_one_tenants:
            jobs = self._lanes.take(now_s, TURN_MAX_JOBS, self._pipeline.has_room_for)
        self._left_lane_s.update((job.entry_id, now_s) for job in jobs)
        return jobs

    async def _wait(self) -> None:
        next_at_s = self._lanes.next_at_s()
        wait_s = None if next_at_s is None else max(next_at_s - self._clock(), 0.001)
        if not self._pipeline.may_begin or not self._accepting:
            wait_s = None  # only a group that is through lets others begin, only an assignment makes work
        with suppress(TimeoutError):
            await at_most(wait_s, self._changed.wait())

    def _look_again(self) -> None:
        self._changed.set()

    def _answered(self, job: Job) -> None:
        self._lanes.answered(job, self._clock())
        self._changed.set()

    async def _give_up(self, job: Job) -> None:
        self._left_lane_s.pop(job.entry_id, None)
        self._lanes.done(job, self._clock(), requests=1)
        self._changed.set()
        await self._shed([(BROKEN_JOB_S, job)])

    async def _take_reports(self, reports: list[Report]) -> None:
        if not reports:
            return
        self._settled()
        elsewhere = [report.elsewhere for report in reports if report.elsewhere is not None]
        if elsewhere:
            await self._send_elsewhere(elsewhere)
        await self._finish(reports)

    async def _finish(self, reports: list[Report]) -> None:
        now_s = self._clock()
        self._changed.set()
        took_s: dict[str, list[float]] = {}
        for report in reports:
            began_s = self._left_lane_s.pop(report.job.entry_id, now_s)
            took_s.setdefault(report.result, []).append(now_s - began_s)
            self._lanes.done(report.job, now_s, requests=report.requests)
            if report.park_s is not None:
                self._rests.begin(report.job.lane, report.park_s)
        for result, durations_s in took_s.items():
            JOB_SECONDS.labels(result).observe_all(durations_s)
        for report in reports:
            if report.locked:
                continue  # its wake-up comes again, to whoever has the mailbox then
            if not (report.again and self._is_ours(report.job) and self._lanes.offer(report.job, now_s)):
                self._finished(report.job)
        await self._shed([(wait_s, job) for wait_s, jobs in self._rests.take_shed() for job in jobs])

    def _is_ours(self, job: Job) -> bool:
        """Whether its mailbox is still this writer's, as far as it knows."""
        return self._accepting and all(position.assignment == self._offsets.assignment for position in job.positions)

    async def _shed(self, jobs: list[tuple[float, Job]]) -> None:
        """Give jobs back to PostgreSQL, each due again after so many seconds."""
        for at in range(0, len(jobs), SHED_MAX_ENTRIES):
            part = jobs[at : at + SHED_MAX_ENTRIES]
            await self._postpone({job.entry_id: wait_s for wait_s, job in part})
            for _, job in part:
                self._finished(job)

    def _finished(self, job: Job) -> None:
        for position in job.positions:
            self._offsets.finished(position)

    async def drain(self, wait_s: float) -> bool:
        """Hand out nothing more, give back what waits, and wait for the calls in flight, at most `wait_s` seconds.

        Gives whether nothing is in flight any more.
        """
        self._accepting = False
        self._lanes.clear()
        try:
            await at_most(wait_s, self._pipeline.drain())
        except TimeoutError:
            return False
        return True

    def resume(self) -> None:
        """Begin afresh with the partitions that were assigned now."""
        self._offsets.reassigned()
        self._lanes.clear()
        self._accepting = True
        self._changed.set()

    async def abandon(self) -> None:
        """End calls that outlasted the drain; whoever looks next finds them in doubt and asks the calendar."""
        await self._pipeline.abandon()

    async def commit(self, consumer: AIOKafkaConsumer) -> None:
        """Commit what is durable. A commit that fails is made up for by the next: repeating work changes nothing."""
        mine = consumer.assignment()
        offsets = {partition: mark for partition, mark in self._offsets.to_commit().items() if partition in mine}
        if not offsets:
            return
        try:
            # While the broker is away a commit waits without end; what it would say can be said later.
            await at_most(COMMIT_TIMEOUT_S, consumer.commit(offsets))
        except TimeoutError:
            log.warning("offsets not committed", error="no answer")
        except (CommitFailedError, IllegalStateError):
            log.info("offsets not committed: the group was rebalanced")
        except KafkaError as error:
            log.warning("offsets not committed", error=type(error).__name__)
        else:
            self._offsets.committed(offsets)

    @property
    def in_hand(self) -> int:
        """Records that were read, and are not done."""
        return self._offsets.in_hand()

    def show(self) -> None:
        """Set the gauges. Takes time for every lane: not for each job."""
        BUDGET_LEFT.set(self._lanes.budget_left(self._clock()))
        LANE_QUEUE.set(self._lanes.queued)
        for state, count in self._lanes.counts(self._clock()).items():
            LANES.labels(state).set(count)


class HandOver(ConsumerRebalanceListener):  # type: ignore[misc]
    """Gives mailboxes up in good order: what is in flight is finished and committed first.

    A call that outlasts that is broken off, lest the next owner's calls come on top of it: together they would be more
    than a mailbox takes. It ends as any call that took too long: marked before it was sent, recorded as unanswered, and
    looked up or repeated by whoever comes next. Only what waits for a token in that moment is sent afterwards, and is
    such a call on top; what it writes does no harm either, by the same marks.
    """

    def __init__(self, dispatcher: Dispatcher, break_off: Callable[[], None], drain_s: float) -> None:
        self._dispatcher = dispatcher
        self._break_off = break_off
        self._drain_s = drain_s
        self.consumer: AIOKafkaConsumer | None = None

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Called before the group assigns anew, and always with all partitions."""
        if revoked and self.consumer is not None:
            if not await self._dispatcher.drain(self._drain_s):
                self._break_off()
                await self._dispatcher.drain(RECORD_S)
            await self._dispatcher.commit(self.consumer)

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Called when the group has agreed."""
        self._dispatcher.resume()
        log.info("mailboxes assigned", partitions=len(assigned))
