"""One writer in virtual time: the real dispatcher, lanes, budgets and pipeline; what they wait for is simulated.

The handler here does nothing, and takes the time, and of the processor the part, that the real one was measured to
take. PostgreSQL, Kafka and the sweeper are delays; Microsoft Graph is `capacity_graph.py`.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from heapq import heapreplace
from itertools import islice
from math import floor, inf
from random import Random
from typing import Any
from uuid import UUID

from calbus.budget import MailboxBudget
from calbus.entry import Applied, Desired, Entry, Intent, ItemKey, Place
from calbus.store.entries import Due, Loaded
from schemas.items import Kind
from schemas.reasons import Reason
from services.writer.capacity_costs import Costs
from services.writer.capacity_graph import Latency, Request, SimulatedGraph
from services.writer.capacity_load import Change
from services.writer.capacity_time import VirtualLoop
from services.writer.dispatcher import Dispatcher, LaneRests
from services.writer.handler import Handler, Report, Work
from services.writer.lanes import Job, LaneLimits, Lanes
from services.writer.reconciler import Step

# As the writer reads Kafka.
READ_MAX_RECORDS = 2_000


@dataclass(frozen=True, slots=True)
class Pod:
    """What one writer is. `requests_per_entry`: to Graph, on average; what is above one comes one after the other."""

    limits: LaneLimits
    max_calls: int
    sweep_interval_s: float
    requests_per_entry: float
    latency: Latency
    costs: Costs

    @property
    def overhead_s(self) -> float:
        """What an entry takes in an idle system besides Graph."""
        return self.costs.idle_s


@dataclass(slots=True)
class Fate:
    """What became of a change. `alone_s`: its lag if its mailbox had a writer, of boundless speed, for itself."""

    change: Change
    graph_s: float
    alone_s: float
    # How long each request still to come will last; the first that is throttled comes again.
    left_s: list[float]
    lag_s: float = inf


@dataclass(slots=True)
class _Alone:
    """A mailbox by itself: its slots and its budget."""

    free_s: list[float]
    tat_s: float = 0.0


class SimulatedPod:
    """Runs changes through one writer."""

    def __init__(self, pod: Pod, seed: int) -> None:
        self._pod = pod
        self._random = Random(seed)  # noqa: S311
        budget = MailboxBudget(pod.limits.max_requests_per_10_min)
        self._interval_s = budget.interval_s
        self._burst_s = (budget.burst_requests - 1) * budget.interval_s
        self._alone: dict[int, _Alone] = {}
        self._fates: list[Fate] = []
        self.graph = SimulatedGraph()

    def run(self, changes: Iterable[Change]) -> list[Fate]:
        """What became of each change, in the order they came; `changes` are in the order of their times.

        Ends when all is written, however long that takes: nothing is lost on the way. Not to be called where an event
        loop runs.
        """
        loop = VirtualLoop()
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._run(changes, loop))
        return self._fates

    async def _run(self, changes: Iterable[Change], loop: VirtualLoop) -> None:
        pod = self._pod
        lanes = Lanes(pod.limits.ahead)
        rests = LaneRests(lanes, clock=loop.time)
        postgres = _Postgres(self._fates, pod, loop)
        dispatcher = Dispatcher(
            lanes,
            rests,
            _SimulatedHandler(pod.costs, self._fates, self.graph, rests, postgres, loop),
            max_calls=pod.max_calls,
            max_in_flight=pod.limits.max_in_flight,
            postpone=postgres.postpone,
            send_elsewhere=_nowhere,
            settled=lambda: None,
            clock=loop.time,
        )
        postgres.dispatcher = dispatcher
        working = asyncio.create_task(dispatcher.run())
        try:
            await self._read(changes, dispatcher, loop)
            await postgres.settled(len(self._fates))
        finally:
            working.cancel()
            with suppress(asyncio.CancelledError):
                await working

    async def _read(self, changes: Iterable[Change], dispatcher: Dispatcher, loop: VirtualLoop) -> None:
        """What has come at one moment is one read from Kafka: it is queued before any of it goes."""
        costs = self._pod.costs
        coming = iter(changes)
        upcoming = next(coming, None)
        while upcoming is not None:
            await asyncio.sleep(max(upcoming.at_s + costs.way_s - loop.time(), 0.0))
            jobs: list[Job] = []
            while upcoming is not None and upcoming.at_s + costs.way_s <= loop.time() and len(jobs) < READ_MAX_RECORDS:
                jobs.append(self._job(upcoming, upcoming.at_s + costs.way_s))
                upcoming = next(coming, None)
            loop.work(len(jobs) * costs.wakeup_cpu_s)
            await dispatcher.queue(jobs)

    def _job(self, change: Change, now_s: float) -> Job:
        requests = self._requests()
        graph_s = sum(requests)
        alone_s = self._alone_until(change.mailbox, now_s, graph_s, len(requests)) - now_s + self._pod.overhead_s
        self._fates.append(Fate(change, graph_s, alone_s, requests))
        return _job_of(change, len(self._fates) - 1)

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


class _Postgres:
    """What is not settled, and when it is swept up; and who waits until nothing is left."""

    def __init__(self, fates: list[Fate], pod: Pod, loop: VirtualLoop) -> None:
        self.dispatcher: Dispatcher | None = None
        self._fates = fates
        self._sweep_interval_s = pod.sweep_interval_s
        self._loop = loop
        self._settled = 0
        self._progress = asyncio.Event()
        self._sweeps: dict[float, list[Job]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def settle(self, number: int) -> None:
        """This change is written, and that is durable."""
        fate = self._fates[number]
        fate.lag_s = self._loop.time() - fate.change.at_s
        self._settled += 1
        self._progress.set()

    async def settled(self, changes: int) -> None:
        """Wait until so many are."""
        while self._settled < changes:
            self._progress.clear()
            await self._progress.wait()

    async def postpone(self, waits_s: dict[UUID, float]) -> None:
        """Each is woken by the first sweep after it is due."""
        for entry_id, wait_s in waits_s.items():
            due_s = self._loop.time() + wait_s
            at_s = (floor(due_s / self._sweep_interval_s) + 1) * self._sweep_interval_s
            swept = self._sweeps.get(at_s)
            if swept is None:
                swept = self._sweeps[at_s] = []
                self._loop.call_at(at_s, self._sweep, at_s)
            swept.append(_job_of(self._fates[entry_id.int].change, entry_id.int))

    def _sweep(self, at_s: float) -> None:
        assert self.dispatcher is not None
        task = asyncio.create_task(self.dispatcher.queue(self._sweeps.pop(at_s)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


@dataclass(slots=True)
class _Work(Work):
    """A real work whose entry is anybody's of its tenant."""

    fate: Fate = field(default_factory=lambda: Fate(Change(0.0, 0, 0), 0.0, 0.0, []))


class _SimulatedHandler(Handler):
    """Takes its time and does nothing: what the pipeline asks of a handler, and nothing else of it."""

    def __init__(
        self,
        costs: Costs,
        fates: list[Fate],
        graph: SimulatedGraph,
        rests: LaneRests,
        postgres: _Postgres,
        loop: VirtualLoop,
    ) -> None:
        self._costs = costs
        self._fates = fates
        self._simulated = graph
        self._lane_rests = rests
        self._storage = postgres
        self._loop = loop
        self._templates: dict[str, Loaded] = {}

    async def load(self, jobs: Sequence[Job]) -> tuple[list[Report], list[Work]]:
        """Works of all of them."""
        await asyncio.sleep(self._costs.load.waits_s(len(jobs)))
        self._loop.work(self._costs.load.cpu_s(len(jobs)))
        works: list[Work] = []
        for job in jobs:
            loaded = self._templates.get(job.tenant)
            if loaded is None:
                loaded = self._templates[job.tenant] = _template(job)
            works.append(_Work(job, loaded, loaded.entry, fate=self._fates[job.entry_id.int]))
        return [], works

    def prepare(self, work: Work) -> Coroutine[Any, Any, None] | None:
        """The next request, unless the mailbox rests."""
        if left_s := self._lane_rests.left_s(work.job.lane):
            work.retry_after_s, work.over = left_s, True
        elif _fate(work).left_s:
            work.step = Step.CREATE
        else:
            work.over = True
        return None

    async def send(self, works: Sequence[Work]) -> None:
        """One call; what is refused rests with its mailbox."""
        cpu_s = self._costs.send.cpu_s(len(works))
        self._loop.work(cpu_s / 2)
        requests = [Request(_fate(work).change.mailbox, _fate(work).left_s[0]) for work in works]
        answered_s, retries_s = self._simulated.send(requests, self._loop.time())
        await asyncio.sleep(answered_s - self._loop.time() + self._costs.send.waits_s(len(works)))
        self._loop.work(cpu_s / 2)
        for work, retry_s in zip(works, retries_s, strict=True):
            work.step = None
            work.requests += 1
            if retry_s:
                work.retry_after_s, work.over = retry_s, True
                self._lane_rests.begin(work.job.lane, retry_s)
            else:
                _fate(work).left_s.pop(0)

    async def record(self, works: Sequence[Work]) -> list[Report]:
        """Who has nothing left is settled; the others come again when it is time. Nobody else locks anything."""
        self._loop.work(self._costs.record.cpu_s(len(works)))
        await asyncio.sleep(self._costs.record.waits_s(len(works)))
        waits_s: dict[UUID, float] = {}
        for work in works:
            if work.retry_after_s is None:
                self._storage.settle(work.job.entry_id.int)
            else:
                waits_s[work.job.entry_id] = work.retry_after_s
        await self._storage.postpone(waits_s)
        return [
            Report(work.job, requests=work.requests, settled=work.retry_after_s is None, park_s=work.retry_after_s)
            for work in works
        ]


def _fate(work: Work) -> Fate:
    assert isinstance(work, _Work)
    return work.fate


def _job_of(change: Change, number: int) -> Job:
    return Job(UUID(int=number), str(change.mailbox), str(change.tenant))


def _template(job: Job) -> Loaded:
    """An entry of this job's tenant: the pipeline asks it for nothing but whose token its call needs."""
    place = Place(job.tenant, job.lane)
    desired = Desired(1, 1, Intent.PRESENT, Reason.WRITTEN, place, None, None)
    entry = Entry(job.entry_id, ItemKey(job.tenant, "", Kind.ACTION, ""), "", desired, Applied(), owed=True)
    return Loaded(entry, write_version=1, attempts=0, published_at=None, doubted_at=None)


async def _nowhere(due: list[Due]) -> None:
    raise AssertionError(f"{len(due)} entries of mailboxes that no simulated entry has")


def saturating(changes: Iterator[Change], entries: int) -> Iterator[Change]:
    """The same mailboxes, all at once."""
    for change in islice(changes, entries):
        yield Change(0.0, change.mailbox, change.tenant)
