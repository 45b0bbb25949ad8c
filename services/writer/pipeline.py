"""Jobs on their way through the handler: loaded in groups, sent in batches, recorded in groups.

Groups form by themselves: while one is being loaded or recorded, the next gathers. So a job that comes alone waits for
nobody, and a thousand that come together cost a few transactions. What is slow holds up only itself: works leave a
group as soon as they are loaded, and each call to Graph goes on by itself.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from calbus.graph.calls import BATCH_AT_A_TIME, BATCH_MAX_REQUESTS
from calbus.telemetry import log
from services.writer.handler import AccountsHeldError, Handler, Report, Work
from services.writer.lanes import Job
from services.writer.locked import Locked

T = TypeVar("T", Job, Work)

GROUP_MAX_ENTRIES = 400
# Groups that are loaded, and that are recorded, at a time. The second begins when the first takes long (it waits for a
# lock, say) or is as large as may be.
GROUPS_MAX = 3
YOUNG_S = 0.05
# Few requests go alone and side by side: a batch answers only when its slowest item does.
SINGLES_MAX = 4
# Batches are small where so many rounds of calls take all that is to be sent. Large ones take five turns of Microsoft's
# for their twenty requests, and a third less of our own processor.
SMALL_ROUNDS_MAX = 2
# Works that only wait for what must be known first take nobody's place, up to so many: few of them send anything.
LINGERING_MAX_WORKS = 5_000
# What cannot be recorded since somebody else has locked it is tried again after this. For an entry nobody but its own
# result waits; for an account what else its tenant's results say of accounts, in order.
RECORD_AGAIN_FIRST_S = 0.02
RECORD_AGAIN_MAX_S = 1.0
# So many tenants are tried at a time: however many wait, they take no more connections, and one that takes long leaves
# another way.
HELD_MAX_TENANTS = 2
# Where one tenant has more than half of what is in hand, so many jobs of each other may begin however little room there
# is, and one call for each other directory: one that hangs holds up only itself.
TENANT_LEAST_JOBS = BATCH_MAX_REQUESTS


def calls_at_most(max_calls: int) -> int:
    """How many calls a pipeline of so many may have under way, with those for other directories than one that hangs."""
    return 2 * max_calls


class _Groups:
    """How many groups are under way in one stage, and whether another may begin."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._under_way: set[object] = set()
        self._young: set[object] = set()

    def may_begin(self, *, full: bool) -> bool:
        """Whether a group may begin now, or should gather more."""
        return len(self._under_way) < GROUPS_MAX and (full or not self._young)

    def begin(self, work: Coroutine[Any, Any, None]) -> Coroutine[Any, Any, None]:
        """Count this group from now on, until it is through."""
        group = object()
        self._under_way.add(group)
        self._young.add(group)
        timer = asyncio.get_running_loop().call_later(YOUNG_S, self._age, group)
        return self._run(work, group, timer)

    async def _run(self, work: Coroutine[Any, Any, None], group: object, timer: asyncio.TimerHandle) -> None:
        try:
            await work
        finally:
            timer.cancel()
            self._under_way.discard(group)
            self._age(group)

    def _age(self, group: object) -> None:
        self._young.discard(group)
        self._changed()


class Pipeline:
    """All jobs that one writer has in hand. Never two with the same entry: that is for the caller to see to."""

    def __init__(
        self,
        handler: Handler,
        *,
        max_calls: int,
        max_in_flight: int,
        answered: Callable[[Job], None],
        reported: Callable[[list[Report]], Awaitable[None]],
        broken: Callable[[Job], Awaitable[None]],
        changed: Callable[[], None],
        to_come: Callable[[], int],
    ) -> None:
        """`max_in_flight`: so many jobs of one lane ask at a time; others of it are loaded meanwhile, lest the mailbox
        wait for PostgreSQL. `answered`: nothing more is asked of this job's mailbox. `reported`: what became of jobs,
        durably. `broken`: a job fails for a fault of ours. `changed`: there may be room again. `to_come`: how many jobs
        wait to begin."""
        self._handler = handler
        self._max_calls = max_calls
        self._max_in_flight = max_in_flight
        self._asking: Counter[str] = Counter()
        self._held: dict[str, deque[Work]] = {}
        self._answered = answered
        self._reported = reported
        self._broken = broken
        self._changed = changed
        self._to_come = to_come
        self._jobs = 0
        self._jobs_of: Counter[str] = Counter()
        self._lingering = 0
        self._calls = 0
        self._calls_of: Counter[str] = Counter()
        self._sent = 0
        self._loading = _Groups(changed)
        self._locked = Locked()
        self._trying_locked = False
        self._recording = _Groups(self._go_on_soon)
        # Apart, since what concerns a whole tenant (it works again, say) takes its time in PostgreSQL.
        self._recording_news = _Groups(self._go_on_soon)
        # What can be sent, by directory: a batch carries one directory's token.
        self._ready: OrderedDict[str, deque[Work]] = OrderedDict()
        self._waiting = 0
        self._over: deque[Work] = deque()
        self._over_with_news: deque[Work] = deque()
        # What could not be recorded: because of its entry; because of an account of its tenant.
        self._entry_held: deque[Work] = deque()
        self._accounts_held: dict[str, deque[Work]] = {}
        self._trying_entries = False
        self._held_turns = asyncio.Semaphore(HELD_MAX_TENANTS)
        # A drain ends a turn: what it began may be loaded, answered or let through a gate later, and asks no more.
        self._turn = 0
        self._patiences: set[asyncio.Timeout] = set()
        # Lanes in which a place became free.
        self._left: deque[str] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._going_on = False

    @property
    def room(self) -> int:
        """How many jobs may begin now."""
        lingering = min(self._lingering + len(self._locked) + self._held_results, LINGERING_MAX_WORKS)
        room = self._max_calls * BATCH_MAX_REQUESTS - self._jobs + lingering
        return max(min(room, GROUP_MAX_ENTRIES), 0)

    @property
    def _held_results(self) -> int:
        return len(self._entry_held) + sum(map(len, self._accounts_held.values()))

    @property
    def may_begin(self) -> bool:
        """Whether jobs may begin now: not while a group is being loaded that more could join by waiting."""
        return self._loading.may_begin(full=False)

    @property
    def is_one_tenants(self) -> bool:
        """Whether one tenant has most of what is in hand."""
        return _has_most(self._jobs_of, self._jobs)

    def has_room_for(self, tenant: str) -> bool:
        """Whether a job of this tenant may begin if there is no room because of another."""
        return self._jobs_of[tenant] < TENANT_LEAST_JOBS

    async def drain(self) -> None:
        """Begin no more calls, and wait until nothing is in hand: what was not asked yet is given back, due at once.

        What has not come back when this is cancelled is given back when it does, whatever was begun since.
        """
        self._turn += 1
        while self._patiences:
            # What gates learn is not waited for; a category that was made all the same is found by the next look.
            self._patiences.pop().reschedule(asyncio.get_running_loop().time())
        held, self._held = self._held, {}
        for works in held.values():
            for work in works:
                self._asking[work.job.lane] += 1  # for a moment: that it is placed takes it off again
                self._place(work)
        for works in self._ready.values():
            for work in works:
                self._place(work)
        self._ready.clear()
        self._waiting = 0
        self._set_aside(self._locked.clear())
        while self._jobs and (self._tasks or self._going_on):
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED) if self._tasks else None
            await asyncio.sleep(0)  # what ends lets others begin: answers are still to be recorded

    async def abandon(self) -> None:
        """End everything where it stands, for good."""
        self._held.clear()
        self._locked.clear()
        self._ready.clear()
        self._over.clear()
        self._over_with_news.clear()
        self._entry_held.clear()
        self._accounts_held.clear()
        while tasks := set(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def begin(self, jobs: Sequence[Job]) -> None:
        """Take these jobs up, together."""
        self._jobs += len(jobs)
        self._jobs_of.update(job.tenant for job in jobs)
        for job in jobs:
            job.turn = self._turn
        self._start(self._loading.begin(self._load(jobs)))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a group of jobs broke off", exc_info=error)
        self._changed()

    async def _load(self, jobs: Sequence[Job]) -> None:
        try:
            reports, works = await self._handler.load(jobs)
        except Exception as error:  # noqa: BLE001
            await self._again(jobs, error)
            return
        for work in works:
            self._enter(work)
        if any(report.locked for report in reports):
            self._set_aside([report.job for report in reports if report.locked])
            reports = [report for report in reports if not report.locked]
        if reports:
            await self._report(reports)

    def _set_aside(self, jobs: Sequence[Job]) -> None:
        """Keep what somebody else has locked, to be loaded again; or let it go to whoever has its mailbox next."""
        self._locked.hold(job for job in jobs if job.turn == self._turn)
        if self._locked and not self._trying_locked:
            self._trying_locked = True
            self._start(self._try_locked())
        if ended := [job for job in jobs if job.turn != self._turn]:
            self._start(self._report([Report(job, requests=0, locked=True) for job in ended]))

    async def _try_locked(self) -> None:
        try:
            while self._locked:
                await asyncio.sleep(self._locked.wait_s)
                jobs, given_up = self._locked.take()
                waiting = deque(jobs)
                while waiting:
                    # A group that breaks off must not take along those behind it.
                    await asyncio.wait([self._start(self._load(_group(waiting, _as_it_is)))])
                self._locked.tried(jobs)
                if given_up:
                    log.warning("entries are locked for long; left to the sweeper", entries=len(given_up))
                    self._start(self._report([Report(job, requests=0) for job in given_up]))
        finally:
            self._trying_locked = False

    def _enter(self, work: Work) -> None:
        """Let a loaded work ask its mailbox, or wait for its turn there."""
        lane = work.job.lane
        if self._asking[lane] < self._max_in_flight:
            self._asking[lane] += 1
            self._prepare(work)
        else:
            self._held.setdefault(lane, deque()).append(work)

    def _leave(self, lane: str) -> None:
        """One that asked is done with it: the next may."""
        self._asking[lane] -= 1
        self._left.append(lane)
        if len(self._left) > 1:
            return  # the next may be over at once, and so on: whoever came first sees to them all
        while self._left:
            lane = self._left[0]
            if (held := self._held.get(lane)) is not None:
                work = held.popleft()
                if not held:
                    del self._held[lane]
                self._enter(work)
            elif not self._asking[lane]:
                del self._asking[lane]
            self._left.popleft()

    def _prepare(self, work: Work) -> None:
        if work.job.turn != self._turn:
            self._place(work)
            return
        try:
            asking = self._handler.prepare(work)
        except Exception as error:  # noqa: BLE001
            self._leave(work.job.lane)
            self._start(self._again([work.job], error))
            return
        if asking is None:
            self._place(work)
        else:
            self._start(self._ask(work, asking))

    async def _ask(self, work: Work, asking: Coroutine[Any, Any, None]) -> None:
        if work.job.turn != self._turn:  # since it was started
            asking.close()
            self._place(work)
            return
        self._lingering += 1
        patience = asyncio.timeout(None)
        try:
            async with patience:
                self._patiences.add(patience)
                try:
                    await asking
                finally:
                    self._patiences.discard(patience)  # one that is over cannot be cut short
        except Exception as error:  # noqa: BLE001
            if patience.expired():
                self._place(work)
                return
            self._leave(work.job.lane)
            await self._again([work.job], error)
        else:
            self._place(work)
        finally:
            self._lingering -= 1

    def _place(self, work: Work) -> None:
        """Put a prepared work where it goes on."""
        if work.job.turn != self._turn:
            self._handler.give_back(work)
        if work.over:
            (self._over_with_news if work.bears_news else self._over).append(work)
            self._answered(work.job)
            self._leave(work.job.lane)
        elif work.step is None:
            self._prepare(work)
            return
        else:
            self._ready.setdefault(work.directory, deque()).append(work)
            self._waiting += 1
        self._go_on_soon()

    def _go_on_soon(self) -> None:
        # What becomes ready in the same turn of the loop goes together.
        if not self._going_on:
            self._going_on = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        limit = self._batch_max_requests()
        while (directory := self._next_directory()) is not None:
            works = self._ready.pop(directory)
            packed = self._pack(works, limit)
            if works:
                self._ready[directory] = works  # at the end: the others' turn comes first
            self._calls += 1
            self._calls_of[directory] += 1
            self._sent += len(packed)
            self._waiting -= len(packed)
            self._start(self._send(directory, packed))
        for groups, over in ((self._recording, self._over), (self._recording_news, self._over_with_news)):
            while over and groups.may_begin(full=len(over) >= GROUP_MAX_ENTRIES):
                self._start(groups.begin(self._record(_group(over, _job_of))))

    def _batch_max_requests(self) -> int:
        """How many requests go together now: few, as long as that sends all that is in hand soon.

        Not only what waits for a call in this moment counts: small batches come back in small groups, which would go on
        as such however much there is to do. What is at Microsoft does not, since large batches stay there for longer.
        """
        if self._waiting <= SINGLES_MAX and self._calls < self._max_calls // 4:
            return 1
        # Beyond what Microsoft works on at a time, requests in a batch only wait for each other.
        over = self._sent + len(self._over) + len(self._over_with_news) + self._held_results
        to_do = self._jobs - self._lingering - over + self._to_come()
        return BATCH_AT_A_TIME if to_do <= SMALL_ROUNDS_MAX * self._max_calls * BATCH_AT_A_TIME else BATCH_MAX_REQUESTS

    def _next_directory(self) -> str | None:
        """Whose turn it is to be called, if a call may begin."""
        if self._calls < self._max_calls:
            return next(iter(self._ready), None)
        if self._calls >= calls_at_most(self._max_calls) or not _has_most(self._calls_of, self._calls):
            return None
        return next((directory for directory in self._ready if not self._calls_of[directory]), None)

    def _pack(self, works: deque[Work], limit: int) -> list[Work]:
        """Pack what is many and healthy. What has failed before goes alone, lest it hang its neighbours."""
        packed = [works.popleft()]
        while works and len(packed) < limit and not (packed[0].goes_alone or works[0].goes_alone):
            packed.append(works.popleft())
        return packed

    async def _send(self, directory: str, works: list[Work]) -> None:
        try:
            try:
                await self._handler.send(works)
            finally:
                self._calls -= 1
                self._sent -= len(works)
                self._calls_of[directory] -= 1
                if not self._calls_of[directory]:
                    del self._calls_of[directory]
                self._go_on_soon()
        except Exception as error:  # noqa: BLE001
            for work in works:
                self._leave(work.job.lane)
            await self._again([work.job for work in works], error)
            return
        for work in works:
            self._place(work)

    async def _record(self, works: list[Work]) -> None:
        if self._accounts_held:
            self._accounts_are_held([work for work in works if self._is_behind(work)])
            works = [work for work in works if not self._is_behind(work)]
        if not works or await self._try_to_record(works):
            return
        self._accounts_are_held([work for work in works if self._handler.says_something(work)])
        # Those that say nothing of accounts have nothing to wait for.
        silent = [work for work in works if not self._handler.says_something(work)]
        if silent and not await self._try_to_record(silent):
            self._accounts_are_held(silent)

    def _is_behind(self, work: Work) -> bool:
        """Whether others of its tenant wait to say something of accounts, as it would."""
        return work.job.tenant in self._accounts_held and self._handler.says_something(work)

    async def _try_to_record(self, works: list[Work]) -> bool:
        """False if accounts are held, and nothing was recorded; what else may come of it is seen to."""
        try:
            reports = await self._handler.record(works)
        except AccountsHeldError:
            return False
        except Exception as error:  # noqa: BLE001
            await self._again([work.job for work in works], error)
            return True
        if len(reports) < len(works):
            recorded = {report.job.entry_id for report in reports}
            self._entries_are_held([work for work in works if work.job.entry_id not in recorded])
        if reports:
            await self._report(reports)
        return True

    def _entries_are_held(self, works: list[Work]) -> None:
        self._entry_held.extend(works)
        if not self._trying_entries:
            self._trying_entries = True
            self._start(self._try_entries())

    async def _try_entries(self) -> None:
        wait_s = RECORD_AGAIN_FIRST_S
        try:
            while before := len(self._entry_held):
                await asyncio.sleep(wait_s)
                held, self._entry_held = self._entry_held, deque()
                while held:
                    works = _group(held, _job_of)
                    if not await self._try_once_more(works):
                        self._entry_held.extend(works)
                wait_s = RECORD_AGAIN_FIRST_S if len(self._entry_held) < before else _longer(wait_s)
        finally:
            self._trying_entries = False

    def _accounts_are_held(self, works: list[Work]) -> None:
        for work in works:
            tenant = work.job.tenant
            if tenant not in self._accounts_held:
                self._accounts_held[tenant] = deque()
                self._start(self._try_tenant(tenant))
            self._accounts_held[tenant].append(work)

    async def _try_tenant(self, tenant: str) -> None:
        waiting = self._accounts_held[tenant]
        wait_s = RECORD_AGAIN_FIRST_S
        while waiting:
            await asyncio.sleep(wait_s)
            async with self._held_turns:  # after each group it is another's turn
                works = _group(waiting, _job_of)
                if await self._try_once_more(works):
                    wait_s = 0.0
                else:
                    waiting.extendleft(reversed(works))
                    wait_s = _longer(wait_s)
        del self._accounts_held[tenant]

    async def _try_once_more(self, works: list[Work]) -> bool:
        try:
            return await self._try_to_record(works)
        except Exception as error:  # noqa: BLE001 (those behind them must not be lost with them)
            log.error("a group of jobs broke off", exc_info=error)
            return True

    async def _report(self, reports: list[Report]) -> None:
        self._forget([report.job for report in reports])
        await self._reported(reports)

    def _forget(self, jobs: Sequence[Job]) -> None:
        self._jobs -= len(jobs)
        for job in jobs:
            self._jobs_of[job.tenant] -= 1
            if not self._jobs_of[job.tenant]:
                del self._jobs_of[job.tenant]

    async def _again(self, jobs: Iterable[Job], error: Exception) -> None:
        """A fault of ours. One job must not take its neighbours along: each is tried once more, alone."""
        for job in jobs:
            if not job.alone:
                job.alone = True
                await self._load([job])
                continue
            log.error("a job broke off", exc_info=error, entry_id=str(job.entry_id), lane=job.lane)
            self._forget([job])
            try:
                await self._broken(job)
            except Exception as further:  # noqa: BLE001 (the jobs after it must not be forgotten with it)
                log.error("a job is left to the sweeper", exc_info=further, entry_id=str(job.entry_id))


def _longer(wait_s: float) -> float:
    return min(max(2 * wait_s, RECORD_AGAIN_FIRST_S), RECORD_AGAIN_MAX_S)


def _has_most(shares: Counter[str], of_all: int) -> bool:
    return any(2 * share > of_all for share in shares.values())


def _group(waiting: deque[T], job_of: Callable[[T], Job]) -> list[T]:
    """What goes together: many, but whoever is tried alone goes alone."""
    group = [waiting.popleft()]
    while waiting and len(group) < GROUP_MAX_ENTRIES and not (job_of(group[0]).alone or job_of(waiting[0]).alone):
        group.append(waiting.popleft())
    return group


def _job_of(work: Work) -> Job:
    return work.job


def _as_it_is(job: Job) -> Job:
    return job
