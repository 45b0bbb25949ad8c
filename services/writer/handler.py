"""What is done with jobs: load, decide, effect, record. No connection to PostgreSQL is held across a call to Graph.

The decisions stand in reconciler.py and retries.py; here are the effects. Which jobs go together, and when, is
pipeline.py's business.
"""

from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

import asyncpg

from calbus import tracing
from calbus.entry import Entry, Intent, Place
from calbus.graph.calls import Response
from calbus.graph.client import GraphClient
from calbus.graph.errors import Fault, Scope
from calbus.outage import Dependency
from calbus.outcomes import Told, ending_without_writing, told
from calbus.store import entries, outbox, pulls, traces
from calbus.store.accounts import Account
from calbus.store.entries import Due, Loaded, Result
from calbus.store.pulls import Lost
from calbus.telemetry import APPLY_SECONDS, OUTCOMES, PLANS, log
from calbus.touches import Loss
from schemas.reasons import Reason
from schemas.results import Ending
from services.writer import spans
from services.writer.accounts import Accounts, Admission
from services.writer.calendars import Calendars
from services.writer.gates import Gate, Passage, is_gated
from services.writer.lanes import Job
from services.writer.reconciler import Circumstances, Step, advance, next_step, request_for
from services.writer.retries import GiveUp, RetryPolicy, decide_retry
from services.writer.troubles import Finding

if TYPE_CHECKING:
    from calbus.spans import Span

# find, read, update is the longest way there is; more means that the world moves while we look. A series with many
# exceptions takes several looks, so that its neighbours need not wait for it.
STEPS_MAX = 4
# Whoever has the row of an account that a result says something of is waited for no longer.
LOCK_MAX_S = 0.2
# Upstream hears that one calendar shows what no plan wants there.
LEFT_BEHIND = "The entry could not be removed from the account's former mailbox and was left there."
_WRITING = (Step.CREATE, Step.UPDATE, Step.DELETE, Step.MOVE, Step.CANCEL)


@dataclass(slots=True)
class Report:
    """What became of a job.

    `again`: look at it at once. `park_s`: the whole mailbox should rest for so long. `elsewhere`: its work is in
    another mailbox's lane now. `settled`: nothing is left to do for now. `locked`: somebody else has the entry, or what
    it may rest for, and nothing was done.
    """

    job: Job
    requests: int = 1
    again: bool = False
    park_s: float | None = None
    elsewhere: Due | None = None
    settled: bool = False
    locked: bool = False

    @property
    def result(self) -> str:
        """In a word, for a metric."""
        if self.elsewhere is not None:
            return "moved"
        return "settled" if self.settled else "again" if self.again else "retried"


@dataclass(slots=True)
class Work:
    """A job under way. It is `over` when nothing more will be asked for it, and then only has to be recorded."""

    job: Job
    loaded: Loaded
    entry: Entry
    requests: int = 0
    wrote: bool = False
    written_in: Place | None = None
    calendar_id: str | None = None
    repeat: Fault | None = None
    fault: Fault | None = None
    failed: Reason | None = None
    refusal: Reason | None = None
    # The refusal of an earlier look no longer holds: the plan is opened anew before anything is written.
    reopens: bool = False
    # The event that it stood as, if somebody removed that and it is to stand on.
    lost: Lost | None = None
    retry_after_s: float | None = None
    # The step that is ready to be sent, or under way.
    step: Step | None = None
    steps: int = 0
    admitted: bool = False
    over: bool = False
    # What its account or tenant suffers, and how often the mailbox was found unknown for it.
    probes: tuple[Account, ...] = ()
    misses: int = 0
    worked: bool = False
    bears_roles: bool | None = None
    rests: bool = False
    # As it is recorded: nothing is left to do for the plan.
    settled: bool = False
    # What it says of its account is stored, though its own result may not be.
    heard: bool = False
    trace: "Span | None" = None

    @property
    def directory(self) -> str:
        """Whose token the next step needs."""
        return _place(self).directory

    @property
    def bears_news(self) -> bool:
        """Whether it may say something of its account or tenant."""
        return self.fault is not None or bool(self.probes)

    @property
    def goes_alone(self) -> bool:
        """Whether it has failed before, and may hang whoever is sent together with it."""
        return self.job.alone or self.loaded.attempts > 0


class AccountsHeldError(Exception):
    """Somebody else has had the row of an account for too long; nothing was recorded."""


class Rests(Protocol):
    """Which mailboxes rest, known at once to all batches under way: a call inside a Retry-After counts against us."""

    def begin(self, lane: str, wait_s: float) -> None:
        """Microsoft asked to leave this mailbox alone for so long."""

    def left_s(self, lane: str) -> float:
        """How much of it is left; 0 if the mailbox may be called."""


class Handler:
    """Carries out jobs. Several batches may be under way, never two with the same entry."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        graph: GraphClient,
        policy: RetryPolicy,
        rests: Rests,
        *,
        calendars: Calendars,
        accounts: Accounts,
        gates: Sequence[Gate] = (),
        doubt_s: float,
        recheck_s: float,
        postgres: Dependency,
    ) -> None:
        self._pool = pool
        self._graph = graph
        self._policy = policy
        self._rests = rests
        self._calendars = calendars
        self._accounts = accounts
        self._gates = gates
        self._doubt_s = doubt_s
        self._recheck_s = recheck_s
        self._postgres = postgres

    async def load(self, jobs: Sequence[Job]) -> tuple[list[Report], list[Work]]:
        """Take the jobs up: works to go on with, and reports of those that there is nothing to do for here.

        What may be created is marked as such, durably, when this returns.
        """
        since_ns = time_ns()
        loaded, admission, locked = await self._postgres.insist(lambda: self._load([job.entry_id for job in jobs]))
        reports: list[Report] = []
        works: list[Work] = []
        for job in jobs:
            found = loaded.get(job.entry_id)
            if job.entry_id in locked:
                reports.append(Report(job, requests=0, locked=True))
                continue
            if found is None or found.entry.parked:
                # Whatever woke it, a parked removal stays as it is: it is owed, and not due until it is released.
                reports.append(Report(job, requests=0, settled=True))
                continue
            target = found.entry.target
            if target is not None and target.lane != job.lane:
                reports.append(Report(job, requests=0, elsewhere=Due(job.entry_id, job.tenant, target)))
                continue
            # A series under way was begun to be written in an earlier look.
            work = Work(job, found, found.entry, wrote=found.entry.applied.master_hash is not None)
            work.probes = admission.probes.get(job.entry_id, ())
            work.misses = admission.misses.get(job.entry_id, 0)
            works.append(work)
        if works and tracing.is_on():
            spans.begin(works, await self._postgres.insist(lambda: traces.of(self._pool, loaded)), since_ns)
        return reports, works

    async def _load(self, entry_ids: list[UUID]) -> tuple[dict[UUID, Loaded], Admission, set[UUID]]:
        """What may be worked on now, and what somebody else holds; what rests because of its account is neither.

        Waits for no lock, lest one tenant's long transaction hold up everybody in the group.
        """
        async with self._pool.acquire() as connection:
            if await self._accounts.are_well(connection, entry_ids):
                admission = Admission(entry_ids)
                # One statement is a transaction of its own, without two more round trips.
                found = await entries.load_for_work(connection, entry_ids)
            else:
                async with connection.transaction():
                    admission = await self._accounts.admit(connection, entry_ids)
                    found = await entries.load_for_work(connection, admission.entry_ids)
            loaded = {one.entry.entry_id: one for one in found}
            locked: set[UUID] = set()
            if len(loaded) + len(admission.resting) < len(entry_ids):
                seen = loaded.keys() | set(admission.resting)
                locked = await entries.locked_of(connection, [each for each in entry_ids if each not in seen])
            return loaded, admission, locked

    def prepare(self, work: Work) -> Coroutine[Any, Any, None] | None:
        """Find out the next step: leaves `step` to be sent, or the work `over`.

        Gives something to wait for where more has to be known before, which may take calls to this or other mailboxes.
        """
        step = next_step(work.entry)
        self._rest(work)
        if work.over:
            return None
        if not work.admitted and is_gated(work.entry, step):
            if shut := [gate for gate in self._gates if not gate.lets_pass(work.loaded)]:
                return self._ask(work, step, shut)
            self._admit(work)
        if step in (Step.CREATE, Step.FIND) and _place(work).calendar is not None and not work.over:
            return self._ask(work, step, [])
        self._decide(work, step)
        return None

    def give_back(self, work: Work) -> None:
        """Nothing more is asked for a work whose mailbox is somebody else's soon: what is left to do is due at once."""
        if not work.over:
            work.step, work.retry_after_s, work.over = None, 0.0, True

    async def _ask(self, work: Work, step: Step, gates: Sequence[Gate]) -> None:
        if gates:
            await self._pass_gates(work, gates)
        if not work.over and step in (Step.CREATE, Step.FIND):
            await self._find_calendar(work)
        self._rest(work)
        # What was learned meanwhile may leave nothing to do.
        self._decide(work, step if next_step(work.entry) is step else Step.NOTHING)

    def _decide(self, work: Work, step: Step) -> None:
        if work.steps >= STEPS_MAX or step is Step.NOTHING:
            work.over = True
        elif not work.over:
            work.step = step

    def _rest(self, work: Work) -> None:
        if not work.over and (left_s := self._rests.left_s(work.job.lane)):
            work.retry_after_s, work.over = left_s, True

    async def _find_calendar(self, work: Work) -> None:
        where = await self._calendars.whereabouts(_place(work))
        work.requests += where.requests
        work.calendar_id = where.calendar_id
        if where.fault is None:
            return
        leaves = work.entry.desired.intent is not Intent.PRESENT
        if leaves and where.fault.reason is Reason.CALENDAR_MISSING:
            # The calendar went, and took along what may have stood there.
            work.entry = work.entry.with_applied(replace(work.entry.applied, in_doubt=False))
        else:
            self._stop(work, Step.READ, where.fault, reload=False)

    async def _pass_gates(self, work: Work, gates: Sequence[Gate]) -> None:
        for gate in gates:
            passage: Passage = await gate.admit(work.loaded)
            work.requests += passage.requests
            work.worked = work.worked or passage.answered
            if passage.fault is not None:
                self._stop(work, Step.READ, passage.fault, reload=False)
                return
            if passage.refusal is not None:
                work.refusal, work.over = passage.refusal, True
                return
        self._admit(work)

    def _admit(self, work: Work) -> None:
        work.admitted = True
        grant = work.entry.desired.grant
        if work.entry.applied.grant != grant:
            work.entry = work.entry.with_applied(replace(work.entry.applied, grant=grant))
        if work.loaded.refusal is not None:
            work.reopens = work.over = True

    async def send(self, works: Sequence[Work]) -> None:
        """Send the step of each, in one call. Those that are not over then are to be prepared once more."""
        for work in works:
            self._rest(work)  # it may have waited for its turn since it was prepared
        steps = [(work, work.step) for work in works if work.step is not None and not work.over]
        if not steps:
            return
        requests = [
            request_for(work.entry, step, work.calendar_id).because_of(work.loaded.correlation) for work, step in steps
        ]
        calls = spans.call((work for work, _ in steps), requests)
        responses = await self._graph.send(_place(works[0]).directory, requests)
        calls.end(responses)
        for (work, step), response in zip(steps, responses, strict=True):
            work.step = None
            work.steps += 1
            self._take_answer(work, step, response)

    def _take_answer(self, work: Work, step: Step, response: Response) -> None:
        place = _place(work)
        attempts = max(work.loaded.attempts, work.misses)
        if any(account.is_tenant for account in work.probes):
            attempts = 0  # what this mailbox says is the whole tenant's affair
        circumstances = Circumstances(work.repeat, attempts, self._doubt_left_s(work))
        after = advance(work.entry, step, response, circumstances)
        if step in _WRITING and (response.fault is None or response.fault.may_be_applied):
            work.written_in = place
        if after.entry.applied.left_behind != work.entry.applied.left_behind:
            log.warning(
                "an event is left behind in a mailbox that is closed to us",
                entry_id=str(work.entry.entry_id),
                lane=place.lane,
                reason=response.fault.reason if response.fault is not None else None,
            )
        if after.fault is not None and after.fault.reason is Reason.EVENT_GONE:
            work.lost = _lost(work.entry, after.entry, datetime.now(UTC)) or work.lost
        work.entry = after.entry
        work.requests += 1
        work.repeat = response.fault if step is Step.CREATE else None
        work.wrote = work.wrote or (response.fault is None and step in _WRITING)
        work.worked, work.bears_roles = work.worked or response.fault is None, response.bears_roles
        if response.fault is not None and response.fault.reason is Reason.EVENT_GONE:
            self._calendars.forget(place)
        if after.fault is None:
            if after.reload:
                work.retry_after_s, work.over = 0.0, True
            return
        self._stop(work, step, after.fault, reload=after.reload)

    def _stop(self, work: Work, step: Step, fault: Fault, *, reload: bool) -> None:
        work.fault, work.over = fault, True
        attempts = work.loaded.attempts
        spread = _spread(work.entry.entry_id, attempts)
        decision = decide_retry(fault, step, attempts, self._policy, spread=spread, reload=reload)
        if isinstance(decision, GiveUp):
            work.failed = decision.reason
            work.entry = work.entry.with_applied(replace(work.entry.applied, in_doubt=False))
        else:
            work.retry_after_s = decision.after_s
            if fault.reason is Reason.THROTTLED or (fault.scope is not Scope.ENTRY and fault.retry_after_s):
                self._rests.begin(work.job.lane, decision.after_s)
        log.info(
            "graph fault",
            entry_id=str(work.entry.entry_id),
            lane=work.job.lane,
            step=step,
            reason=fault.reason,
            code=fault.code,
            request_id=fault.request_id,
            client_request_id=fault.client_request_id,
            correlation=work.loaded.correlation,
            retry_after_s=work.retry_after_s,
        )

    def _doubt_left_s(self, work: Work) -> float:
        """For how long a create of this entry may still arrive."""
        doubted_at = work.loaded.doubted_at
        if doubted_at is None:
            return 0.0
        return max(self._doubt_s - (datetime.now(UTC) - doubted_at).total_seconds(), 0.0)

    async def record(self, works: Sequence[Work]) -> list[Report]:
        """Store results and the outcomes they decide, durably and in one transaction; a report for each that is.

        Those are left out whose entries somebody else has locked; what they say of their accounts is stored all the
        same, and once. Raises AccountsHeldError if nothing was stored, since the rows of accounts are locked.
        """
        since_ns = time_ns()
        try:
            recorded, held = await self._postgres.insist(lambda: self._record(works))
        except asyncpg.LockNotAvailableError:
            raise AccountsHeldError from None
        done = [work for work in works if work.entry.entry_id not in held] if held else works
        spans.end(done, since_ns)
        return [self._report(work, recorded) for work in done]

    async def _record(self, works: Sequence[Work]) -> tuple[dict[UUID, bool], set[UUID]]:
        """What was stored, and whether as the newest plan; and what could not be, because somebody holds it."""
        now = datetime.now(UTC)
        for work in works:
            work.settled = _settled(work)
        findings = self._findings(works)
        async with self._pool.acquire() as connection, connection.transaction():
            if findings:
                await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_MAX_S}s'")
            judgement = await self._accounts.judge(connection, findings, now)
            # Heard before, when its entry was held. Should its trouble be over, `wake_forgotten` finds it.
            judgement.resting.update(work.entry.entry_id for work in works if work.rests)
            results = [self._result(work, now) for work in works]
            recorded = await entries.record(connection, results)
            left_out = [work for work in works if work.entry.entry_id not in recorded]
            held: set[UUID] = set()
            if left_out:
                held = await entries.held_of(
                    connection, [(work.entry.entry_id, work.loaded.write_version) for work in left_out]
                )
            overtaken = [
                (work.entry.entry_id, work.written_in)
                for work in left_out
                if work.entry.entry_id not in held and work.written_in is not None
            ]
            await entries.disturb(connection, overtaken)
            reopened = [
                (work.entry.entry_id, work.entry.desired.plan)
                for work in works
                if work.reopens and work.entry.entry_id not in held
            ]
            opened = await entries.reopen(connection, reopened)
            # Whoever is overtaken finds it removed again.
            await pulls.put_lost(
                connection, [work.lost for work in works if work.lost and work.job.entry_id in recorded]
            )
            # An overtaken work must not end the newer plan's trace, and says nothing of how that ended.
            current = [work for work in works if recorded.get(work.entry.entry_id)]
            outcomes = [decided for work in current if (decided := _outcome(work, now)) is not None]
            await outbox.add_told(connection, outcomes, now, spans.contexts_of(works))
            await traces.forget(connection, spans.over(current))
            await self._accounts.carry_out(connection, judgement, recorded)
        self._accounts.remember(judgement)
        for work in works:
            work.heard = True
        PLANS.labels("reopened").inc(opened)
        for labels, number in Counter((decided.ending, decided.reason) for decided in outcomes).items():
            OUTCOMES.labels(*labels).inc(number)
        for work in works if judgement.resting else ():
            work.rests = work.entry.entry_id in judgement.resting
        APPLY_SECONDS.observe_all(
            [
                (now - work.loaded.published_at).total_seconds()
                for work in current
                # What was told before is only written again: it says nothing of how long a revision takes.
                if work.wrote and work.settled and work.loaded.entry.owed and work.loaded.published_at is not None
            ]
        )
        return recorded, held

    def _findings(self, works: Sequence[Work]) -> list[Finding]:
        """What this work said of the accounts it was for, as far as that is news."""
        return [
            Finding(
                work.loaded.entry,
                work.fault,
                work.worked,
                work.bears_roles,
                work.probes,
                retry_after_s=work.retry_after_s or 0.0,
            )
            for work in works
            if self.says_something(work)
        ]

    def says_something(self, work: Work) -> bool:
        """Whether its account, or its tenant as a whole, has to be looked at because of it."""
        # A gate may tell of a fault that somebody else's request met.
        news = work.fault is not None or bool(work.probes) or (bool(work.requests) and self._says_more(work))
        return news and not work.heard and work.loaded.entry.target is not None

    def _says_more(self, work: Work) -> bool:
        entry = work.loaded.entry
        return work.worked and not self._accounts.is_known(entry, work.bears_roles)

    def _result(self, work: Work, now: datetime) -> Result:
        settled = work.settled
        faulted = work.fault is not None and not settled
        due_at = None if settled else now + timedelta(seconds=work.retry_after_s or 0.0)
        if work.refusal is not None:
            # Nobody tells us that a right was given: it is looked at again from time to time, not all at one moment.
            wait_s = self._recheck_s * (1 - _spread(work.entry.entry_id, work.loaded.write_version) / 2)
            due_at = now + timedelta(seconds=wait_s)
        # A mailbox that asks us to slow down says nothing about the entry: that is no attempt.
        counts = faulted and work.fault is not None and work.fault.reason is not Reason.THROTTLED
        return Result(
            entry_id=work.entry.entry_id,
            write_version=work.loaded.write_version,
            plan=work.entry.desired.plan,
            applied=work.entry.applied,
            settled=settled,
            attempts=work.loaded.attempts + 1 if counts else 0 if settled else work.loaded.attempts,
            last_error=work.fault.reason if work.fault else None,
            due_at=due_at,
            # What cannot be told now lifts nothing: the plan stays refused until it is opened anew.
            refusal=work.refusal or work.loaded.refusal,
            access_asked_at=work.loaded.access_asked_at,
        )

    def _report(self, work: Work, recorded: dict[UUID, bool]) -> Report:
        if work.reopens or not recorded.get(work.entry.entry_id):
            # Another writer recorded meanwhile, or a newer plan was made: look again.
            return Report(work.job, requests=work.requests, again=True)
        if work.settled:
            return Report(work.job, requests=work.requests, settled=True)
        fault = work.fault
        # In trouble, what waits in the lane goes to rest as it comes up, and the lane is free for the probe.
        parks = fault is not None and fault.scope is not Scope.ENTRY and not work.rests
        park_s = work.retry_after_s if parks else None
        return Report(work.job, requests=work.requests, again=not work.retry_after_s, park_s=park_s)


def _place(work: Work) -> Place:
    place = work.entry.target
    assert place is not None
    return place


def _lost(before: Entry, after: Entry, now: datetime) -> Lost | None:
    """The event that is gone from where it is to stand: nobody but its user removed it."""
    was = before.applied
    if was.event_id is None or was.place is None or after.applied.event_id is not None:
        return None
    if before.desired.intent is not Intent.PRESENT or not was.place.is_same(before.desired.place):
        return None
    key = (was.etag or "").removeprefix("W/").strip('"')
    loss = Loss(key, before.desired.revision, now)
    return Lost(was.event_id, before.entry_id, before.item.tenant, before.assignee, was.place, loss)


def _spread(entry_id: UUID, attempts: int) -> float:
    """Between 0 and 1: even over entries and attempts, and the same each time it is asked."""
    return ((entry_id.int >> (attempts % 96)) & 0xFFFFFFFF) / 2**32


def _settled(work: Work) -> bool:
    if work.failed is not None or work.refusal is not None:
        return True
    if work.reopens or work.fault is not None or next_step(work.entry) is not Step.NOTHING:
        return False
    # Given back, or at rest, before somebody could say whether its new owner may assign it.
    return not is_gated(work.entry, Step.NOTHING)


def _outcome(work: Work, now: datetime) -> Told | None:
    """The outcome that this result decides; None if there is none, or it was decided before."""
    if not work.loaded.entry.owed or not work.settled:
        return None
    desired = work.entry.desired
    notice = LEFT_BEHIND if work.entry.applied.left_behind is not None else ""
    if work.refusal is not None:
        return told(work.entry, Ending.REFUSED, work.refusal, now, notice=notice)
    if work.failed is not None:
        return told(work.entry, Ending.FAILED, work.failed, now, notice=notice)
    if desired.intent is Intent.PRESENT:
        reason = Reason.WRITTEN if work.wrote else Reason.UNCHANGED
        return told(work.entry, Ending.APPLIED, reason, now, notice=notice)
    return told(work.entry, ending_without_writing(desired.reason), desired.reason, now, notice=notice)
