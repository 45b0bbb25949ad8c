"""One writer in virtual time: the real lanes, budget and packing, with a simulated processor, database and Graph.

A discrete-event simulation: no clock is read and nothing waits. What the handler does in order with `await` stands here
as events: load, send what is packed together, record what is over, send the next.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush, heapreplace
from itertools import count
from math import floor, inf
from random import Random
from uuid import UUID

from calbus.budget import MailboxBudget
from calbus.graph.calls import BATCH_MAX_REQUESTS
from services.writer.capacity_graph import Latency, Request, SimulatedGraph
from services.writer.capacity_load import Change
from services.writer.lanes import Job, LaneLimits, Lanes
from services.writer.packing import GRACE_S, pack


@dataclass(frozen=True, slots=True)
class Pod:
    """What one writer is.

    `entries_per_s`: what one core gets through when nothing else is in its way. `ingest_s`: from an event on the bus to
    the wake-up in the lane, `load_s` and `record_s`: the round trips to PostgreSQL before and after Graph, all in an
    idle system. `requests_per_entry`: to Graph, on average; what is above one comes one after the other.
    """

    limits: LaneLimits
    max_calls: int
    sweep_interval_s: float
    entries_per_s: float
    ingest_s: float
    load_s: float
    record_s: float
    requests_per_entry: float
    latency: Latency

    @property
    def overhead_s(self) -> float:
        """What an entry takes in an idle system besides Graph."""
        return self.ingest_s + self.load_s + self.record_s + 1 / self.entries_per_s


@dataclass(slots=True)
class Fate:
    """What became of a change. `alone_s`: its lag if its mailbox had a writer, of boundless speed, for itself."""

    change: Change
    graph_s: float
    alone_s: float
    lag_s: float = inf


@dataclass(slots=True)
class _Work:
    job: Job
    fate: Fate
    # How long each request still to come will last; the first that is throttled comes again.
    left_s: list[float]
    sent: int = 0
    retry_s: float = 0.0


@dataclass(slots=True)
class _Alone:
    """A mailbox by itself: its slots and its budget."""

    free_s: list[float]
    tat_s: float = 0.0


@dataclass(slots=True)
class _Call:
    """Jobs that were taken together: those that are under way, by when they are answered."""

    under_way: list[tuple[float, list[_Work]]] = field(default_factory=list)


class SimulatedPod:
    """Runs changes through one writer."""

    def __init__(self, pod: Pod, seed: int) -> None:
        self._pod = pod
        self._random = Random(seed)  # noqa: S311
        budget = MailboxBudget(pod.limits.max_requests_per_10_min)
        self._interval_s = budget.interval_s
        self._burst_s = (budget.burst_requests - 1) * budget.interval_s
        self._lanes = Lanes(pod.limits)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = count()
        self._works: list[_Work] = []
        self._alone: dict[int, _Alone] = {}
        self._calls = 0
        self._processor_free_s = 0.0
        self.processor_s = 0.0
        self.graph = SimulatedGraph()
        self.refused = 0

    def run(self, changes: Iterable[Change]) -> list[Fate]:
        """What became of each change, in the order they came; `changes` are in the order of their times.

        Ends when all is written, however long that takes: nothing is lost on the way.
        """
        coming = iter(changes)
        upcoming = next(coming, None)
        while True:
            arrives_s = upcoming.at_s + self._pod.ingest_s if upcoming is not None else inf
            happens_s = self._events[0][0] if self._events else inf
            timer_s = self._lanes.next_at_s() if self._has_room() else None
            now_s = min(arrives_s, happens_s, inf if timer_s is None else timer_s)
            if now_s == inf:
                break
            # What comes at one moment is one read from Kafka: it is queued before any of it goes.
            while upcoming is not None and upcoming.at_s + self._pod.ingest_s <= now_s:
                self._accept(upcoming, now_s)
                upcoming = next(coming, None)
            while self._events and self._events[0][0] <= now_s:
                heappop(self._events)[2](now_s)
            self._hand_out(now_s)
        return [work.fate for work in self._works]

    def _at(self, at_s: float, happens: Callable[[float], None]) -> None:
        heappush(self._events, (at_s, next(self._numbers), happens))

    # -- wake-ups come ------------------------------------------------------------------------------------------------

    def _accept(self, change: Change, now_s: float) -> None:
        requests = self._requests()
        graph_s = sum(requests)
        job = Job(UUID(int=len(self._works)), str(change.mailbox), str(change.tenant))
        alone_s = self._alone_until(change.mailbox, now_s, graph_s, len(requests)) - now_s + self._pod.overhead_s
        work = _Work(job, Fate(change, graph_s, alone_s), requests)
        self._works.append(work)
        self._offer(work, now_s)

    def _requests(self) -> list[float]:
        """How long each of the requests of an entry will take."""
        more = self._pod.requests_per_entry
        requests = floor(more) + (self._random.random() < more - floor(more))
        return [self._pod.latency.draw(self._random) for _ in range(max(requests, 1))]

    def _alone_until(self, mailbox: int, now_s: float, graph_s: float, requests: int) -> float:
        """When Graph would have answered if nothing but its own mailbox had held the entry up."""
        alone = self._alone.get(mailbox)
        if alone is None:
            alone = self._alone[mailbox] = _Alone([0.0] * self._pod.limits.max_in_flight)
        start_s = max(now_s, alone.free_s[0], alone.tat_s - self._burst_s)
        alone.tat_s = max(alone.tat_s, start_s) + requests * self._interval_s
        heapreplace(alone.free_s, start_s + graph_s)
        return start_s + graph_s

    def _offer(self, work: _Work, now_s: float) -> None:
        if not self._lanes.offer(work.job, now_s):
            self.refused += 1
            self._postpone(work, self._lanes.room_at_s(work.job.lane, now_s))

    def _postpone(self, work: _Work, due_s: float) -> None:
        """Back to PostgreSQL: the first sweep after it is due wakes it."""
        interval_s = self._pod.sweep_interval_s
        self._at((floor(due_s / interval_s) + 1) * interval_s, lambda now_s: self._offer(work, now_s))

    # -- jobs go ------------------------------------------------------------------------------------------------------

    def _has_room(self) -> bool:
        return self._calls < self._pod.max_calls

    def _hand_out(self, now_s: float) -> None:
        while self._has_room() and (jobs := self._lanes.take(now_s, BATCH_MAX_REQUESTS)):
            self._calls += 1
            works = [self._works[job.entry_id.int] for job in jobs]
            call = _Call()
            ready_s = self._process(len(works), now_s) + self._pod.load_s
            self._at(ready_s, lambda now_s, call=call, works=works: self._begin(call, works, now_s))  # type: ignore[misc]

    def _process(self, entries: int, now_s: float) -> float:
        """When the processor is done with half of what these entries cost it."""
        cost_s = entries / self._pod.entries_per_s / 2
        self._processor_free_s = max(self._processor_free_s, now_s) + cost_s
        self.processor_s += cost_s
        return self._processor_free_s

    def _begin(self, call: _Call, works: list[_Work], now_s: float) -> None:
        self._send(call, works, now_s)
        self._wait(call, now_s)

    def _send(self, call: _Call, works: list[_Work], now_s: float) -> None:
        for packed in pack(works, directory=lambda work: work.job.tenant, has_failed=lambda _: False):
            requests = [Request(work.fate.change.mailbox, work.left_s[0]) for work in packed]
            answered_s, retries_s = self.graph.send(requests, now_s)
            for work, retry_s in zip(packed, retries_s, strict=True):
                work.sent += 1
                work.retry_s = retry_s
                if not retry_s:
                    work.left_s.pop(0)
            call.under_way.append((answered_s, packed))

    def _wait(self, call: _Call, now_s: float) -> None:
        """As the handler does: until all are answered, or for a while, or else for the first."""
        if not call.under_way:
            self._calls -= 1
            return
        answers_s = [answered_s for answered_s, _ in call.under_way]
        last_s = max(answers_s)
        over_s = last_s if last_s <= now_s + GRACE_S else max(min(answers_s), now_s + GRACE_S)
        self._at(over_s, lambda now_s: self._take_answers(call, now_s))

    def _take_answers(self, call: _Call, now_s: float) -> None:
        answered = [work for at_s, works in call.under_way if at_s <= now_s for work in works]
        call.under_way = [(at_s, works) for at_s, works in call.under_way if at_s > now_s]
        over = [work for work in answered if work.retry_s or not work.left_s]
        for work in over:
            if work.retry_s:
                self._park(work, now_s + work.retry_s)
        self._send(call, [work for work in answered if not work.retry_s and work.left_s], now_s)
        if over:
            recorded_s = self._process(len(over), now_s) + self._pod.record_s
            self._at(recorded_s, lambda now_s: self._finish(call, over, now_s))
        else:
            self._wait(call, now_s)

    def _park(self, work: _Work, until_s: float) -> None:
        for shed in self._lanes.park(work.job.lane, until_s):
            self._postpone(self._works[shed.entry_id.int], until_s)

    def _finish(self, call: _Call, over: list[_Work], now_s: float) -> None:
        for work in over:
            self._lanes.done(work.job, now_s, requests=work.sent)
            work.sent = 0
            if work.retry_s:
                self._postpone(work, now_s + work.retry_s)
            else:
                work.fate.lag_s = now_s - work.fate.change.at_s
        self._wait(call, now_s)


def saturating(changes: Iterator[Change], entries: int) -> Iterator[Change]:
    """The same mailboxes, all at once."""
    for change, _ in zip(changes, range(entries), strict=False):
        yield Change(0.0, change.mailbox, change.tenant)
