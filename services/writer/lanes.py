"""Lanes: one for each mailbox, with its own queue, requests in flight, budget and park; fair to all. Pure, no clock.

Times are seconds of any steady clock that the caller reads. A mailbox that is slow, throttled or broken holds up
nobody else: `take` passes over it in constant time.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from uuid import UUID

from calbus.budget import MailboxBudget
from calbus.bus.offsets import Position


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """What one mailbox may have, and what one writer holds."""

    max_in_flight: int
    max_requests_per_10_min: int
    max_entries: int
    max_entries_of_all: int

    @property
    def scarce_entries(self) -> int:
        """What a lane may still hold when all together hold too much: enough to keep it busy."""
        return 2 * self.max_in_flight

    @property
    def ahead(self) -> "LaneLimits":
        """Those of lanes that a pipeline takes jobs from: as many again are loaded while these ask their mailbox."""
        return replace(self, max_in_flight=2 * self.max_in_flight)


@dataclass(slots=True)
class Job:
    """An entry to look at, and the wake-ups that it answers.

    `alone`: it met a fault of ours beside others, and is tried without them. `turn`: of the pipeline that has it; what
    an earlier turn began is to be asked nothing more.
    """

    entry_id: UUID
    lane: str
    tenant: str
    positions: list[Position] = field(default_factory=list)
    answered: bool = False
    alone: bool = False
    turn: int = 0


@dataclass(slots=True)
class _Lane:
    # A writer may have a hundred thousand of these, most with a job or none: each holds what is smallest when empty.
    name: str
    tenant: str
    queue: dict[UUID, Job] = field(default_factory=dict)
    # Woken again while in flight: they queue when the work under way is done, since it may have read older state.
    waiting: dict[UUID, Job] | None = None
    # A few at most.
    flying: tuple[UUID, ...] = ()
    # Those of them that may still ask something of the mailbox.
    asking: int = 0
    # GCRA: the theoretical arrival time of the next request.
    tat_s: float = 0.0
    parked_until_s: float = 0.0
    # When the last entry that found no room will find some.
    overflow_at_s: float = 0.0
    listed: bool = False
    timer_at_s: float | None = None


class Lanes:
    """All mailboxes that this writer has work for."""

    def __init__(self, limits: LaneLimits) -> None:
        self._limits = limits
        budget = MailboxBudget(limits.max_requests_per_10_min)
        # Asked for with each request: not computed each time.
        self._interval_s = budget.interval_s
        self._burst_s = budget.burst_requests * budget.interval_s
        self._lanes: dict[str, _Lane] = {}
        # Lanes that can go now, by tenant: a batch carries one tenant's token.
        self._ready: OrderedDict[str, deque[_Lane]] = OrderedDict()
        self._timers: list[tuple[float, str]] = []
        self.queued = 0
        self.in_flight = 0

    def offer(self, job: Job, now_s: float) -> bool:
        """Queue a job; one for the same entry takes its wake-ups along. False if the lane is parked or full."""
        lane = self._lanes.get(job.lane)
        if lane is None:
            lane = self._lanes[job.lane] = _Lane(job.lane, job.tenant)
        if lane.parked_until_s > now_s:
            return False
        held = lane.queue
        if job.entry_id in lane.flying:
            held = lane.waiting = lane.waiting or {}
        if (earlier := held.get(job.entry_id)) is not None:
            earlier.positions += job.positions
            return True
        scarce = self.queued >= self._limits.max_entries_of_all
        room = self._limits.scarce_entries if scarce else self._limits.max_entries
        if len(lane.queue) + len(lane.waiting or ()) >= room:
            return False
        held[job.entry_id] = job
        self.queued += 1
        self._list(lane, now_s)
        return True

    def take(self, now_s: float, limit: int, may_go: Callable[[str], bool] | None = None) -> list[Job]:
        """Up to `limit` jobs of one tenant that may go now, a mailbox at a time in turn; they are in flight then.

        `may_go`: whether a tenant is considered; all are without it.
        """
        self._fire_timers(now_s)
        jobs: list[Job] = []
        while not jobs and (tenant := self._next_tenant(may_go)) is not None:
            ready = self._ready[tenant]
            while ready and len(jobs) < limit:
                lane = ready.popleft()
                lane.listed = False
                job = self._take_one(lane, now_s)
                if job is not None:
                    jobs.append(job)
                self._list(lane, now_s)
                self._forget_idle(lane, now_s)
            if ready:
                self._ready.move_to_end(tenant)
            else:
                del self._ready[tenant]
        return jobs

    def _next_tenant(self, may_go: Callable[[str], bool] | None) -> str | None:
        return next((tenant for tenant in self._ready if may_go is None or may_go(tenant)), None)

    def answered(self, job: Job, now_s: float) -> None:
        """A job that was taken asks its mailbox nothing more: another may. Its entry is in flight until `done`."""
        if job.answered:
            return
        job.answered = True
        lane = self._lanes[job.lane]
        lane.asking -= 1
        self._list(lane, now_s)

    def done(self, job: Job, now_s: float, *, requests: int) -> None:
        """A job that was taken is finished, or about to be offered again; it cost so many requests."""
        lane = self._lanes[job.lane]
        lane.flying = tuple(one for one in lane.flying if one != job.entry_id)
        lane.asking -= not job.answered
        self.in_flight -= 1
        # One was paid for when the job was taken.
        lane.tat_s += (requests - 1) * self._interval_s
        if lane.waiting and (woken := lane.waiting.pop(job.entry_id, None)) is not None:
            lane.queue[job.entry_id] = woken
        self._list(lane, now_s)
        self._forget_idle(lane, now_s)

    def park(self, name: str, until_s: float) -> list[Job]:
        """Let a lane rest; gives the jobs that waited in it, which are no longer here."""
        lane = self._lanes.get(name)
        if lane is None:
            return []
        lane.parked_until_s = max(lane.parked_until_s, until_s)
        shed = [*lane.queue.values(), *(lane.waiting or {}).values()]
        lane.queue.clear()
        lane.waiting = None
        self.queued -= len(shed)
        self._set_timer(lane, lane.parked_until_s)
        return shed

    def clear(self) -> None:
        """Forget what waits; what is in flight stays until it is done."""
        for lane in self._lanes.values():
            lane.queue.clear()
            lane.waiting = None
        self.queued = 0

    def room_at_s(self, name: str, now_s: float) -> float:
        """When an entry that `offer` refused should come again: each later than the one before, as the lane drains."""
        lane = self._lanes.get(name)
        if lane is None:
            return now_s
        drained_at_s = max(now_s, self._goes_at_s(lane)) + len(lane.queue) * self._interval_s
        lane.overflow_at_s = max(lane.overflow_at_s, drained_at_s, lane.parked_until_s) + self._interval_s
        return lane.overflow_at_s

    def rests_until_s(self, name: str) -> float:
        """When a lane is no longer parked; in the past if it is not."""
        lane = self._lanes.get(name)
        return lane.parked_until_s if lane is not None else 0.0

    def next_at_s(self) -> float | None:
        """When `take` may give something that it does not give now, if nothing else happens."""
        return self._timers[0][0] if self._timers else None

    def counts(self, now_s: float) -> dict[str, int]:
        """Lanes by state, for a gauge.

        Asked when everything was taken that there is room for: what could still go waits for this process.
        """
        counts = {"active": 0, "parked": 0, "mailbox_bound": 0, "pod_bound": 0}
        for lane in self._lanes.values():
            if lane.parked_until_s > now_s:
                counts["parked"] += 1
            elif lane.queue and (lane.asking >= self._limits.max_in_flight or self._goes_at_s(lane) > now_s):
                counts["mailbox_bound"] += 1
            elif lane.listed:
                counts["pod_bound"] += 1
            elif lane.queue or lane.flying:
                counts["active"] += 1
        return counts

    def budget_left(self, now_s: float) -> float:
        """What share of its burst the mailbox has left that is worse off than nine tenths of them; 1 if there are none.

        Mailboxes that nothing is asked of have all of it, and are not counted.
        """
        left = sorted(1 - min(max(lane.tat_s - now_s, 0.0) / self._burst_s, 1.0) for lane in self._lanes.values())
        return left[(len(left) - 1) // 10] if left else 1.0

    def _take_one(self, lane: _Lane, now_s: float) -> Job | None:
        if not lane.queue or lane.asking >= self._limits.max_in_flight or self._goes_at_s(lane) > now_s:
            return None
        entry_id = next(iter(lane.queue))
        job = lane.queue.pop(entry_id)
        lane.flying += (entry_id,)
        lane.asking += 1
        job.answered = False
        lane.tat_s = max(lane.tat_s, now_s) + self._interval_s
        self.queued -= 1
        self.in_flight += 1
        return job

    def _goes_at_s(self, lane: _Lane) -> float:
        # A point in time, not a wait: the timer that is set for it finds it reached, however it was rounded.
        return lane.tat_s - self._burst_s + self._interval_s

    def _list(self, lane: _Lane, now_s: float) -> None:
        """Put a lane that has work among the ready ones, or set the time at which it will be."""
        if lane.listed or not lane.queue or lane.asking >= self._limits.max_in_flight:
            return
        at_s = self._goes_at_s(lane)
        if at_s > now_s:
            self._set_timer(lane, at_s)
            return
        lane.listed = True
        self._ready.setdefault(lane.tenant, deque()).append(lane)

    def _set_timer(self, lane: _Lane, at_s: float) -> None:
        if lane.timer_at_s is None or at_s < lane.timer_at_s:
            # A later timer that is in the heap already finds itself outdated when it fires.
            lane.timer_at_s = at_s
            heappush(self._timers, (at_s, lane.name))

    def _fire_timers(self, now_s: float) -> None:
        while self._timers and self._timers[0][0] <= now_s:
            at_s, name = heappop(self._timers)
            lane = self._lanes.get(name)
            if lane is None or lane.timer_at_s != at_s:
                continue
            lane.timer_at_s = None
            if lane.parked_until_s > now_s:
                self._set_timer(lane, lane.parked_until_s)
                continue
            self._list(lane, now_s)
            self._forget_idle(lane, now_s)

    def _forget_idle(self, lane: _Lane, now_s: float) -> None:
        """A lane with nothing to do and its budget whole is not worth its memory."""
        if lane.queue or lane.waiting or lane.flying or lane.listed or lane.timer_at_s is not None:
            return
        if lane.tat_s > now_s:
            self._set_timer(lane, lane.tat_s)
        elif lane.parked_until_s <= now_s:
            del self._lanes[lane.name]
