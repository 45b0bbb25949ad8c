"""Jobs on their way through the pipeline: what a hanging tenant, a hand-over and a fault of ours do to the others."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from calbus.entry import Applied, Desired, Entry, Intent, ItemKey, Place
from calbus.lifecycle import at_most
from calbus.store.entries import Loaded
from schemas.items import Kind
from schemas.reasons import Reason
from services.writer.handler import AccountsHeldError, Handler, Report, Work
from services.writer.lanes import Job
from services.writer.pipeline import TENANT_LEAST_JOBS, Pipeline, calls_at_most
from services.writer.reconciler import Step
from tests.support.waiting import until

CALLS = 4
IN_FLIGHT = 3


def job(number: int, tenant: str, mailbox: str) -> Job:
    return Job(UUID(int=number), f"{tenant}/{mailbox}", tenant)


def loaded(one: Job) -> Loaded:
    place = Place(f"directory-of-{one.tenant}", one.lane)
    desired = Desired(1, 1, Intent.PRESENT, Reason.WRITTEN, place, b"{}", b"hash")
    item = ItemKey(one.tenant, "planner", Kind.ACTION, str(one.entry_id))
    entry = Entry(one.entry_id, item, "user", desired, Applied(), owed=True)
    return Loaded(entry, 1, 0, None, None)


class Calls(Handler):
    """Each work takes one call, which lasts until its tenant is let go."""

    def __init__(self, *hanging: str) -> None:
        self.gates = {tenant: asyncio.Event() for tenant in hanging}
        self.begun: Counter[str] = Counter()
        self.under_way: Counter[str] = Counter()
        self.most_under_way = 0
        self.sizes: list[int] = []
        self.records_fail = False
        # What somebody else holds: when it is to be loaded, when it is to be recorded.
        self.locked: set[UUID] = set()
        self.held: set[UUID] = set()
        self.gone: set[UUID] = set()
        self.loads: list[list[UUID]] = []

    async def load(self, jobs: Sequence[Job]) -> tuple[list[Report], list[Work]]:
        self.loads.append([one.entry_id for one in jobs])
        locked = [Report(one, requests=0, locked=True) for one in jobs if one.entry_id in self.locked]
        gone = [Report(one, requests=0, settled=True) for one in jobs if one.entry_id in self.gone - self.locked]
        free = [one for one in jobs if one.entry_id not in self.locked | self.gone]
        return locked + gone, [Work(one, (found := loaded(one)), found.entry) for one in free]

    def prepare(self, work: Work) -> Coroutine[Any, Any, None] | None:
        if work.wrote:
            work.over = True
        else:
            work.step = Step.CREATE
        return None

    async def send(self, works: Sequence[Work]) -> None:
        self.sizes.append(len(works))
        for work in works:
            self.begun[work.job.tenant] += 1
            self.under_way[work.job.lane] += 1
            self.most_under_way = max(self.most_under_way, self.under_way[work.job.lane])
        if (gate := self.gates.get(works[0].job.tenant)) is not None:
            await gate.wait()
        else:
            await asyncio.sleep(0)
        for work in works:
            self.under_way[work.job.lane] -= 1
            work.wrote, work.step = True, None

    async def record(self, works: Sequence[Work]) -> list[Report]:
        if self.records_fail:
            raise ValueError("a fault of ours")
        return [
            Report(work.job, settled=work.wrote, again=not work.wrote)
            for work in works
            if work.job.entry_id not in self.held
        ]


class Bench:
    """A pipeline and what it told."""

    def __init__(self, handler: Calls, broken: Exception | None = None) -> None:
        self.reports: list[Report] = []
        self.broken: list[Job] = []
        self.answered: list[Job] = []
        self.to_come = 0
        self.told_fails = 0
        self._error = broken
        self.pipeline = Pipeline(
            handler,
            max_calls=CALLS,
            max_in_flight=IN_FLIGHT,
            answered=self.answered.append,
            reported=self._reported,
            broken=self._broken,
            changed=lambda: None,
            to_come=lambda: self.to_come,
        )

    async def _reported(self, reports: list[Report]) -> None:
        if self.told_fails:
            self.told_fails -= 1
            raise ValueError("a fault of ours")
        self.reports += reports

    async def _broken(self, one: Job) -> None:
        self.broken.append(one)
        if self._error is not None:
            raise self._error

    async def turns(self, number: int = 50) -> None:
        """Let everything happen that waits for nothing."""
        for _ in range(number):
            await asyncio.sleep(0)

    async def told_of(self, number: int) -> None:
        """Wait until so many jobs are through, one way or the other."""

        async def through() -> bool:
            return len(self.reports) + len(self.broken) >= number

        await until(through, f"{number} jobs to be through", timeout_s=20.0)


async def test_what_was_not_sent_is_given_back_when_mailboxes_change_hands() -> None:
    handler = Calls("slow")
    bench = Bench(handler)
    # In some mailboxes there is one, in one there are more than may ask at a time.
    jobs = [job(number, "slow", str(max(number, 20))) for number in range(200)]
    bench.pipeline.begin(jobs)
    await bench.turns()
    begun = handler.begun["slow"]
    assert begun <= CALLS * 20
    with pytest.raises(TimeoutError):
        await at_most(0.2, bench.pipeline.drain())
    given_back = [report for report in bench.reports if report.again]
    assert len(given_back) == len(jobs) - begun
    # Only what was under way is left; nothing is begun when it ends.
    handler.gates["slow"].set()
    await at_most(10.0, bench.pipeline.drain())
    assert handler.begun["slow"] == begun
    assert sorted(str(report.job.entry_id) for report in bench.reports) == sorted(str(one.entry_id) for one in jobs)
    # Afterwards it works as before.
    bench.pipeline.begin([job(1_000, "other", "a")])
    await bench.turns()
    assert handler.begun["other"] == 1


async def test_a_hanging_tenant_leaves_calls_to_the_others() -> None:
    handler = Calls("slow")
    bench = Bench(handler)
    bench.pipeline.begin([job(number, "slow", str(number)) for number in range(CALLS * 20 * 2)])
    await bench.turns()
    assert handler.begun["slow"] == CALLS * 20
    assert bench.pipeline.room == 0
    assert bench.pipeline.is_one_tenants
    assert bench.pipeline.has_room_for("quick")
    assert not bench.pipeline.has_room_for("slow")
    bench.pipeline.begin([job(1_000 + number, "quick", str(number)) for number in range(TENANT_LEAST_JOBS)])
    await bench.turns()
    assert handler.begun["quick"] == TENANT_LEAST_JOBS
    assert handler.begun["slow"] == CALLS * 20
    handler.gates["slow"].set()
    await at_most(10.0, bench.pipeline.drain())


async def test_many_tenants_together_have_no_more_calls_than_are_set() -> None:
    names = [f"t{number}" for number in range(3 * CALLS)]
    handler = Calls(*names)
    bench = Bench(handler)
    bench.pipeline.begin([job(number, name, "a") for number, name in enumerate(names)])
    await bench.turns()
    assert sum(handler.begun.values()) == CALLS
    for gate in handler.gates.values():
        gate.set()
    await at_most(10.0, bench.pipeline.drain())


async def test_calls_for_others_beside_a_hanging_tenant_have_a_limit_too() -> None:
    names = [f"t{number}" for number in range(3 * CALLS)]
    handler = Calls("slow", *names)
    bench = Bench(handler)
    bench.pipeline.begin([job(number, "slow", str(number)) for number in range(CALLS * 20)])
    await bench.turns()
    bench.pipeline.begin([job(1_000 + number, name, "a") for number, name in enumerate(names)])
    await bench.turns()
    assert sum(handler.begun[name] for name in names) == calls_at_most(CALLS) - CALLS
    for gate in handler.gates.values():
        gate.set()
    await at_most(10.0, bench.pipeline.drain())


async def test_what_somebody_else_holds_waits_for_nobody_and_nobody_for_it() -> None:
    handler = Calls()
    bench = Bench(handler)
    jobs = [job(number, "t", str(number)) for number in range(CALLS * 20)]
    handler.locked = {one.entry_id for one in jobs[:-1]}
    bench.pipeline.begin(jobs)
    await bench.told_of(1)
    assert [report.job for report in bench.reports] == jobs[-1:]
    # It takes nobody's place, and is asked for again and again, apart from the others.
    assert bench.pipeline.room == CALLS * 20
    bench.pipeline.begin([job(1_000, "other", "a")])
    await bench.told_of(2)

    async def asked_for() -> bool:
        return len(handler.loads) >= 4

    await until(asked_for, "what is locked to be asked for again")
    assert all(set(one) in (handler.locked, {UUID(int=1_000)}) for one in handler.loads[1:])
    freed = handler.locked
    handler.locked = set()
    await bench.told_of(len(jobs) + 1)
    assert all(report.settled and not report.locked for report in bench.reports)
    assert {report.job.entry_id for report in bench.reports} >= freed


async def test_what_somebody_else_holds_is_left_to_the_next_owner_of_its_mailbox() -> None:
    handler = Calls()
    bench = Bench(handler)
    jobs = [job(number, "t", str(number)) for number in range(10)]
    handler.locked = {one.entry_id for one in jobs[:4]}
    bench.pipeline.begin(jobs)
    await bench.told_of(6)
    await at_most(10.0, bench.pipeline.drain())
    assert [report.job for report in bench.reports if report.locked] == jobs[:4]
    assert len(bench.reports) == len(jobs)
    # The next time around it is work like any other.
    handler.locked = set()
    bench.pipeline.begin(jobs[:4])
    await bench.told_of(len(jobs) + 4)
    assert all(report.settled for report in bench.reports[len(jobs) :])


async def test_what_stays_locked_is_given_up_and_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.writer.locked.GIVE_UP_S", 0.0)
    handler = Calls()
    bench = Bench(handler)
    jobs = [job(number, "t", str(number)) for number in range(3)]
    handler.locked = {jobs[0].entry_id}
    bench.pipeline.begin(jobs)
    await bench.told_of(3)
    [given_up] = [report for report in bench.reports if report.job is jobs[0]]
    # Left to the sweeper: its wake-up is acknowledged.
    assert (given_up.locked, given_up.settled, given_up.again) == (False, False, False)
    assert bench.pipeline.room == CALLS * 20


async def test_a_fault_among_what_is_locked_forgets_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.writer.pipeline.GROUP_MAX_ENTRIES", 1)
    handler = Calls()
    bench = Bench(handler)
    jobs = [job(number, "t", str(number)) for number in range(3)]
    handler.locked = {one.entry_id for one in jobs}
    bench.pipeline.begin(jobs[:1])
    bench.pipeline.begin(jobs[1:])
    await bench.turns()
    bench.told_fails = 1
    handler.gone = {one.entry_id for one in jobs}
    handler.locked = set()
    with capture_logs() as logs:
        await bench.told_of(2)
    assert [entry["event"] for entry in logs] == ["a group of jobs broke off"]


async def test_a_gate_that_hangs_does_not_outlast_a_hand_over_and_nothing_is_sent_after_it() -> None:
    class Gated(Calls):
        async def wait(self) -> None:
            await asyncio.Event().wait()

        def prepare(self, work: Work) -> Coroutine[Any, Any, None] | None:  # noqa: ARG002
            return self.wait()

    bench = Bench(handler := Gated())
    jobs = [job(number, "t", str(number)) for number in range(5)]
    bench.pipeline.begin(jobs)
    await bench.turns()
    await at_most(10.0, bench.pipeline.drain())
    assert [report.again for report in bench.reports] == [True] * 5
    assert not handler.begun


async def test_a_gate_that_was_not_asked_yet_is_not_asked_during_a_hand_over() -> None:
    class Gated(Calls):
        asked = 0

        async def wait(self) -> None:
            self.asked += 1
            await asyncio.Event().wait()

        def prepare(self, work: Work) -> Coroutine[Any, Any, None] | None:  # noqa: ARG002
            return self.wait()

    bench = Bench(handler := Gated())
    bench.pipeline.begin([job(1, "t", "a")])
    while not bench.pipeline._asking:  # noqa: ASYNC110 (a turn later the gate has been asked)
        await asyncio.sleep(0)
    await at_most(10.0, bench.pipeline.drain())
    assert [report.again for report in bench.reports] == [True]
    assert not handler.asked


async def test_a_fault_at_a_gate_does_not_stop_a_hand_over() -> None:
    class Failing(Calls):
        def __init__(self) -> None:
            super().__init__()
            self.loads_end = asyncio.Event()

        async def load(self, jobs: Sequence[Job]) -> tuple[list[Report], list[Work]]:
            if self.loads:
                await self.loads_end.wait()
            return await super().load(jobs)

        async def fail(self) -> None:
            await asyncio.sleep(0)
            raise ValueError("a fault of ours")

        def prepare(self, work: Work) -> Coroutine[Any, Any, None] | None:
            return self.fail() if not work.job.alone else super().prepare(work)

    bench = Bench(handler := Failing())
    bench.pipeline.begin([job(1, "t", "a")])
    await bench.turns()
    asyncio.get_running_loop().call_later(0.05, handler.loads_end.set)
    await at_most(10.0, bench.pipeline.drain())
    assert [report.again for report in bench.reports] == [True]


async def test_what_was_loaded_before_a_hand_over_is_sent_by_nobody_after_it() -> None:
    class Slow(Calls):
        def __init__(self) -> None:
            super().__init__()
            self.loads_end = asyncio.Event()

        async def load(self, jobs: Sequence[Job]) -> tuple[list[Report], list[Work]]:
            await self.loads_end.wait()
            return await super().load(jobs)

    bench = Bench(handler := Slow())
    bench.pipeline.begin([job(1, "before", "a")])
    with pytest.raises(TimeoutError):
        await at_most(0.05, bench.pipeline.drain())
    bench.pipeline.begin([job(2, "after", "b")])
    handler.loads_end.set()
    await bench.told_of(2)
    assert handler.begun == {"after": 1}
    assert {report.job.tenant: report.again for report in bench.reports} == {"before": True, "after": False}


async def test_no_more_of_one_mailbox_ask_at_a_time_than_may() -> None:
    handler = Calls()
    bench = Bench(handler)
    bench.pipeline.begin([job(number, "t", "one") for number in range(CALLS * 20)])
    await bench.told_of(CALLS * 20)
    assert handler.most_under_way == IN_FLIGHT
    assert all(report.settled for report in bench.reports)


async def test_what_waits_for_a_mailbox_that_goes_to_rest_is_over_however_much_it_is() -> None:
    class Resting(Calls):
        rests = False

        def prepare(self, work: Work) -> Coroutine[Any, Any, None] | None:
            if self.rests:
                work.over = True
                return None
            return super().prepare(work)

    handler = Resting("t")
    bench = Bench(handler)
    for at in range(0, 4_000, 400):
        bench.pipeline.begin([job(at + number, "t", "one") for number in range(400)])
    await bench.turns()
    handler.rests = True
    handler.gates["t"].set()
    await bench.told_of(4_000)
    assert bench.broken == []


async def test_a_fault_in_giving_up_one_job_forgets_no_other() -> None:
    handler = Calls()
    handler.records_fail = True
    bench = Bench(handler, broken=ValueError("and another"))
    jobs = [job(number, "t", str(number)) for number in range(30)]
    with capture_logs() as logged:
        bench.pipeline.begin(jobs)
        await bench.told_of(len(jobs))
    assert sum(line["event"] == "a job is left to the sweeper" for line in logged) == len(jobs)
    await at_most(10.0, bench.pipeline.drain())
    assert bench.pipeline.room == CALLS * 20
    assert {one.entry_id for one in bench.broken} == {one.entry_id for one in jobs}


async def test_a_result_that_somebody_holds_is_recorded_later_and_holds_up_nobody() -> None:
    handler = Calls()
    handler.held = {UUID(int=7), UUID(int=11)}
    bench = Bench(handler)
    bench.pipeline.begin([job(number, "t", str(number)) for number in range(20)])
    await bench.told_of(18)
    assert {one.job.entry_id for one in bench.reports}.isdisjoint(handler.held)
    assert bench.pipeline.room == CALLS * 20
    # A drain waits for them: they were sent, and nobody else knows what came of it.
    draining = asyncio.create_task(bench.pipeline.drain())
    await bench.turns()
    assert not draining.done()
    handler.held.clear()
    await at_most(10.0, draining)
    assert Counter(one.job.entry_id.int for one in bench.reports) == Counter(range(20))


class Stuck(Calls):
    """Every work says something of its account; those of a tenant are held."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck = True
        self.under_way_now = 0
        self.most_at_a_time = 0
        self.failed: list[set[str]] = []
        self.recorded: list[int] = []

    def says_something(self, work: Work) -> bool:
        return work.wrote

    async def record(self, works: Sequence[Work]) -> list[Report]:
        tenants = {work.job.tenant for work in works}
        if self.stuck and "stuck" in tenants:
            self.failed.append(tenants)
            self.under_way_now += 1
            self.most_at_a_time = max(self.most_at_a_time, self.under_way_now)
            await asyncio.sleep(0.01)
            self.under_way_now -= 1
            raise AccountsHeldError
        self.recorded += [work.job.entry_id.int for work in works]
        return await super().record(works)


async def test_what_says_something_of_a_held_account_waits_with_its_own_tenants_alone() -> None:
    handler = Stuck()
    bench = Bench(handler)
    bench.pipeline.begin([job(number, ("stuck", "one", "two")[number % 3], str(number)) for number in range(18)])
    await bench.told_of(12)
    assert {one.job.tenant for one in bench.reports} == {"one", "two"}
    # From now on those of the others do not come near it, and it takes one connection however many there are.
    handler.failed.clear()
    handler.most_at_a_time = 0
    for more in range(2, 6):
        numbers = range(more * 100, more * 100 + 18)
        bench.pipeline.begin([job(number, ("stuck", "one", "two")[number % 3], str(number)) for number in numbers])
        await bench.told_of(12 * more)
    tries = len(handler.failed)
    await until(lambda: _are_more(handler.failed, tries + 3), "a few more tries")
    assert all(tenants == {"stuck"} for tenants in handler.failed)
    assert handler.most_at_a_time == 1
    handler.stuck = False
    await bench.told_of(18 * 5)
    numbers_of_stuck = [number for number in handler.recorded if number % 3 == 0]
    assert sorted(numbers_of_stuck) == sorted({*range(0, 18, 3), *(n for m in range(2, 6) for n in _thirds(m))})
    # In order: whoever comes to an account first is heard first.
    assert [number // 100 for number in numbers_of_stuck] == sorted(number // 100 for number in numbers_of_stuck)
    assert bench.pipeline.room == CALLS * 20


async def test_what_says_nothing_of_accounts_waits_for_none() -> None:
    class OneSpeaks(Stuck):
        def says_something(self, work: Work) -> bool:
            return work.job.entry_id.int == 7

        async def record(self, works: Sequence[Work]) -> list[Report]:
            if self.stuck and any(map(self.says_something, works)):
                raise AccountsHeldError
            return await Calls.record(self, works)

    handler = OneSpeaks()
    bench = Bench(handler)
    bench.pipeline.begin([job(number, "stuck", str(number)) for number in range(18)])
    await bench.told_of(17)
    assert {one.job.entry_id.int for one in bench.reports} == set(range(18)) - {7}
    handler.stuck = False
    await bench.told_of(18)


def _thirds(more: int) -> list[int]:
    return [number for number in range(more * 100, more * 100 + 18) if number % 3 == 0]


async def _are_more(failed: list[set[str]], number: int) -> bool:
    return len(failed) >= number


async def test_who_is_tried_alone_is_recorded_alone() -> None:
    class Choosy(Calls):
        def __init__(self) -> None:
            super().__init__()
            self.groups: list[list[bool]] = []

        async def record(self, works: Sequence[Work]) -> list[Report]:
            self.groups.append([work.job.alone for work in works])
            await asyncio.sleep(0.01)
            if any(work.job.entry_id.int == 7 for work in works):
                raise ValueError("a fault of ours")
            return await super().record(works)

    handler = Choosy()
    bench = Bench(handler)
    with capture_logs():
        bench.pipeline.begin([job(number, "t", str(number)) for number in range(20)])
        await bench.told_of(20)
    assert [one.entry_id.int for one in bench.broken] == [7]
    assert all(len(group) == 1 for group in handler.groups if any(group))


@pytest.mark.parametrize(
    ("waits", "to_come", "sizes"),
    [
        pytest.param(1, 0, [1], id="one alone"),
        pytest.param(4, 0, [1, 1, 1, 1], id="few alone"),
        pytest.param(10, 0, [4, 4, 2], id="as many as Microsoft works on at a time, while there are calls for all"),
        pytest.param(17, 0, [4, 4, 4, 4, 1], id="and also when some have to wait for a call"),
        pytest.param(40, 0, [20, 20], id="as many as may be, when many have to wait"),
        pytest.param(10, 100, [10], id="as many as may be, when more is to come"),
        pytest.param(50, 0, [20, 20, 10], id="never more than a batch may hold"),
    ],
)
async def test_batches_are_as_small_as_there_are_calls_for(waits: int, to_come: int, sizes: list[int]) -> None:
    handler = Calls()
    bench = Bench(handler)
    bench.to_come = to_come
    bench.pipeline.begin([job(number, "tenant", str(number)) for number in range(waits)])
    await bench.told_of(waits)
    assert handler.sizes == sizes
