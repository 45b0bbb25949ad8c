"""Lanes under load and in any course of events: the budget kept and used, nothing lost. Time is virtual throughout."""

from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from calbus.budget import WINDOW_S
from services.writer.lanes import Job, LaneLimits, Lanes
from tests.support.examples import shown
from tests.unit.test_lanes import job

# -- the budget -------------------------------------------------------------------------------------------------------


def requests_under_greedy_load(limits: LaneLimits, *, call_s: float, each: int, until_s: float) -> list[float]:
    """When a mailbox with endless work is sent requests; each job takes so many, evenly spread over its time."""
    lanes = Lanes(limits)
    now_s, number = 0.0, 0
    flying: deque[tuple[float, Job]] = deque()
    sent: list[float] = []
    while now_s < until_s:
        while len(flying) + lanes.queued < 2 * limits.max_in_flight:
            number += 1
            lanes.offer(job(number), now_s)
        for one in lanes.take(now_s, 20):
            flying.append((now_s + call_s, one))
            sent += [now_s + call_s * at / each for at in range(each)]
        landings = [flying[0][0]] if flying else []
        timers = [at_s for at_s in (lanes.next_at_s(),) if at_s is not None and len(flying) < limits.max_in_flight]
        now_s = max(now_s, min(landings + timers))
        while flying and flying[0][0] <= now_s:
            lanes.done(flying.popleft()[1], now_s, requests=each)
    return sorted(sent)


def most_in_any_window(sent: list[float]) -> int:
    most, first = 0, 0
    for last, at_s in enumerate(sent):
        while sent[first] <= at_s - WINDOW_S:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("limit", [20, 100, 1_000])
@pytest.mark.parametrize("call_s", [0.001, 0.5, 20.0])
def test_no_ten_minutes_see_more_requests_than_allowed(limit: int, call_s: float) -> None:
    sent = requests_under_greedy_load(LaneLimits(3, limit, 100, 100_000), call_s=call_s, each=1, until_s=4 * WINDOW_S)
    assert most_in_any_window(sent) <= limit


@pytest.mark.parametrize("limit", [20, 100, 1_000])
def test_nineteen_twentieths_of_what_is_allowed_are_used(limit: int) -> None:
    windows = 10
    limits = LaneLimits(3, limit, 100, 100_000)
    sent = requests_under_greedy_load(limits, call_s=0.01, each=1, until_s=windows * WINDOW_S)
    assert len(sent) >= 0.95 * limit * windows


@pytest.mark.parametrize("limit", [1_000])
@pytest.mark.parametrize("call_s", [0.05, 5.0])
def test_jobs_of_several_requests_go_over_by_no_more_than_is_in_flight(limit: int, call_s: float) -> None:
    sent = requests_under_greedy_load(LaneLimits(3, limit, 100, 100_000), call_s=call_s, each=4, until_s=4 * WINDOW_S)
    assert most_in_any_window(sent) <= limit + 3 * 3


@given(st.lists(st.floats(0.0, 700.0), min_size=60, max_size=120), st.integers(20, 40))
def test_no_ten_minutes_see_more_than_allowed_however_work_comes(pauses: list[float], limit: int) -> None:
    lanes = Lanes(LaneLimits(4, limit, 1_000, 100_000))
    now_s, sent = 0.0, []
    for number, pause_s in enumerate(pauses):
        now_s += pause_s if pause_s > 600 else pause_s / 20
        for more in range(3):
            lanes.offer(job(3 * number + more), now_s)
        for one in lanes.take(now_s, 20):
            sent.append(now_s)
            lanes.done(one, now_s, requests=1)
    assert most_in_any_window(sent) <= limit


# -- any course of events ---------------------------------------------------------------------------------------------

LANES = {"a": "contoso", "b": "contoso", "c": "fabrikam"}
LIMITS = LaneLimits(max_in_flight=2, max_requests_per_10_min=200, max_entries=2, max_entries_of_all=100_000)


class LanesMachine(RuleBasedStateMachine):
    """Wake-ups come, jobs are taken and finished, mailboxes are parked, partitions are lost, time passes."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes(LIMITS)
        self.now_s = 1_000_000.1
        self.offsets = 0
        self.waiting: dict[int, int] = {}
        """Wake-up to entry, of those that lanes hold and have not handed out."""
        self.flying: dict[int, Job] = {}
        self.sent: dict[str, list[float]] = {lane: [] for lane in LANES}

    @staticmethod
    def lane_of(entry: int) -> str:
        return "abc"[entry % 3]

    @rule(entry=st.integers(0, 8))
    def offer(self, entry: int) -> None:
        self.offsets += 1
        lane = self.lane_of(entry)
        rests = self.lanes.rests_until_s(lane) > self.now_s
        taken = self.lanes.offer(job(entry, lane, LANES[lane], self.offsets), self.now_s)
        if taken:
            self.waiting[self.offsets] = entry
        entries = {one for one in self.waiting.values() if self.lane_of(one) == lane}
        assert taken != (rests or (entry not in entries and len(entries) >= LIMITS.max_entries))

    @rule(limit=st.integers(1, 5))
    def take(self, limit: int) -> None:
        jobs = self.lanes.take(self.now_s, limit)
        assert len(jobs) <= limit
        assert len({one.tenant for one in jobs}) <= 1
        for one in jobs:
            entry = one.entry_id.int
            assert entry not in self.flying
            assert self.lanes.rests_until_s(one.lane) <= self.now_s
            self.flying[entry] = one
            self.sent[one.lane].append(self.now_s)
            expected = sorted(offset for offset, woken in self.waiting.items() if woken == entry)
            assert [position.offset for position in one.positions] == expected
            for offset in expected:
                del self.waiting[offset]

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(list(self.flying)))
        self.lanes.done(self.flying.pop(entry), self.now_s, requests=1)

    @rule(lane=st.sampled_from(list(LANES)), rest_s=st.floats(0.1, 100.0))
    def park(self, lane: str, rest_s: float) -> None:
        shed = self.lanes.park(lane, self.now_s + rest_s)
        given = sorted(position.offset for one in shed for position in one.positions)
        mine = sorted(offset for offset, entry in self.waiting.items() if self.lane_of(entry) == lane)
        assert given == mine
        for offset in mine:
            del self.waiting[offset]

    @rule()
    def clear(self) -> None:
        self.lanes.clear()
        self.waiting.clear()

    @rule(pause_s=st.floats(0.0, 50.0) | st.just(WINDOW_S))
    def let_time_pass(self, pause_s: float) -> None:
        self.now_s += pause_s

    @rule()
    def wait_as_told(self) -> None:
        """What can go sooner or later does, by the times that the lanes themselves name."""
        for _ in range(50):
            if self._stuck() or self.lanes._ready:
                return
            at_s = self.lanes.next_at_s()
            assert at_s is not None
            self.now_s = max(self.now_s, at_s)
            self.take(5)
            if self.lanes._ready:
                return
        raise AssertionError("work waits, and no time named lets it go")

    def _stuck(self) -> bool:
        """Whether nothing can go before something is finished."""
        flying = Counter(one.lane for one in self.flying.values())
        return all(
            flying[self.lane_of(entry)] >= LIMITS.max_in_flight or entry in self.flying
            for entry in self.waiting.values()
        )

    @invariant()
    def no_lane_has_more_in_flight_than_it_may(self) -> None:
        assert max(Counter(one.lane for one in self.flying.values()).values(), default=0) <= LIMITS.max_in_flight

    @invariant()
    def no_window_has_more_requests_than_allowed(self) -> None:
        for sent in self.sent.values():
            assert most_in_any_window(sent) <= LIMITS.max_requests_per_10_min

    @invariant()
    def the_counts_are_right(self) -> None:
        assert self.lanes.queued == len(set(self.waiting.values()))
        assert self.lanes.in_flight == len(self.flying)

    def teardown(self) -> None:
        """Left alone, everything held comes out, and no lane stays in memory."""
        for _ in range(2_000):
            for entry in list(self.flying):
                self.lanes.done(self.flying.pop(entry), self.now_s, requests=1)
            self.take(20)
            if not self.flying:
                at_s = self.lanes.next_at_s()
                if at_s is None:
                    break
                self.now_s = max(self.now_s, at_s)
        assert self.waiting == {}
        assert self.lanes._lanes == {}


TestLanes = LanesMachine.TestCase
TestLanes.settings = settings(max_examples=shown(100), stateful_step_count=40)
