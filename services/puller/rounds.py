"""A turn of one calendar: what is open is read, then a round goes on; every page is durable before the link moves.

The decisions stand in delta.py, classify.py and pace.py; here is the order of effects. No connection to PostgreSQL is
held while Graph is called, and nothing is written without the mailbox's lease.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TypeVar

import asyncpg

from calbus import tracing
from calbus.graph import call_spans
from calbus.graph.calendars import Calendar, calendars_of, list_calendars, named, next_page
from calbus.graph.calls import Request, Response
from calbus.graph.errors import Fault, Scope
from calbus.graph.pulls import DEFAULT_CALENDAR, DeltaPage, read_event
from calbus.outage import Dependency
from calbus.store import pulls
from calbus.store.connection import Connection
from calbus.store.pulls import Known, Pull
from calbus.telemetry import CHANGES, PULL_ITEMS, PULL_ROUNDS, PULL_SECONDS, THROTTLED_SECONDS, log
from schemas.reasons import Reason
from services.puller.classify import Gone, Removed
from services.puller.delta import (
    Answer,
    Ask,
    BeginFull,
    Compare,
    Comparison,
    Doubted,
    End,
    Ended,
    LookForUnnamed,
    Start,
    Step,
    Take,
    delta_round,
)
from services.puller.mailbox import LeasedMailbox, RestError
from services.puller.pace import Pace, Span, wait_after
from services.puller.seen import MASTER, Seen
from services.puller.sightings import Judged, Shown, Sighting, judge, seen_before, view_of
from services.puller.status import after_fault, after_round, is_alike

READ_BATCH_MAX_EVENTS = 100
UNNAMED_BATCH_MAX_EVENTS = 500
CALENDAR_PAGES_MAX = 10
# So many events are read by their ids in one turn; the rest in the next.
READS_MAX_PER_TURN = 500
# So many of them may fail on their own account before it looks like more than that.
READS_FAILED_MAX_PER_TURN = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RoundLimits:
    """How far a round goes."""

    graph_url: str
    page_items: int
    turn_max_pages: int
    round_max_pages: int
    well_filled_events: int
    empty_rounds: int


class _StopError(Exception):
    """A request could not be answered: the turn ends, and goes on later where it is."""

    def __init__(self, fault: Fault, *, anew: bool = False) -> None:
        super().__init__(fault.reason)
        self.fault = fault
        self.anew = anew


class _SameCalendarError(Exception):
    """The calendar's name is the default calendar's, which is pulled as that."""


class _PauseError(Exception):
    """The turn has had its pages; the round goes on in the next."""


class Rounds:
    """Gives calendars their turns."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        limits: RoundLimits,
        pace: Pace,
        span: Span,
        *,
        postgres: Dependency,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        """`told` is called when something was stored to be published."""
        self._pool = pool
        self._limits = limits
        self._pace = pace
        self._span = span
        self._postgres = postgres
        self._told = told

    async def turn(self, mailbox: LeasedMailbox, pull: Pull) -> None:
        """Pull the calendar as far as a turn goes, and store when it is due next.

        Raises RestError if the whole mailbox must be left alone, LeaseLostError if it is somebody else's now.
        """
        about: tracing.Attributes = {
            "calbus.tenant": pull.tenant,
            "calbus.lane": pull.place.lane,
            "calbus.pull_id": pull.pull_id,
        }
        with tracing.root("pull calendar", "internal", about):
            await self._give_turn(mailbox, pull)

    async def _give_turn(self, mailbox: LeasedMailbox, pull: Pull) -> None:
        turn = _Turn(self, mailbox, pull)
        try:
            with PULL_SECONDS.time():
                await turn.run()
        except _PauseError:
            PULL_ROUNDS.labels("paused").inc()
            await self.insist(lambda: pulls.put_off(self._pool, turn.pull, 0.0))
        except _SameCalendarError:
            PULL_ROUNDS.labels("same_calendar").inc()
            await self.insist(lambda: pulls.put_off(self._pool, turn.pull, self._pace.idle_s))
        except RestError as rest:
            wait_s = rest.wait_s
            PULL_ROUNDS.labels("budget").inc()
            await self.insist(
                lambda: pulls.put_off(self._pool, turn.pull, wait_s, failures=pull.failures, error=pull.last_error)
            )
            raise
        except _StopError as stop:
            tracing.fail(stop.fault.reason)
            await self._stopped(turn, stop)
        finally:
            tracing.note(pages=turn.pages, changes=turn.changes)

    async def broke(self, pull: Pull, wait_s: float) -> None:
        """A fault of ours ended the turn of this calendar: the others must not wait for it."""
        PULL_ROUNDS.labels("broken").inc()
        await self.insist(
            lambda: pulls.put_off(
                self._pool, pull, wait_s, soonest_s=wait_s, failures=pull.failures + 1, error="broken"
            )
        )

    async def _stopped(self, turn: "_Turn", stop: _StopError) -> None:
        fault, pull = stop.fault, turn.pull
        before = pull.failures if is_alike(pull.last_error, fault.reason) else 0
        wait = wait_after(fault, before, self._pace)
        # A mailbox that asks us to slow down says nothing about the calendar: that is no failure.
        failures = pull.failures if fault.reason is Reason.THROTTLED else before + 1
        PULL_ROUNDS.labels(fault.reason.value).inc()
        log.info(
            "pull stopped",
            pull_id=pull.pull_id,
            lane=pull.place.lane,
            reason=fault.reason,
            code=fault.code,
            request_id=fault.request_id,
            client_request_id=fault.client_request_id,
            again_in_s=wait.wait_s,
        )

        async def store(connection: Connection) -> bool:
            await pulls.put_off(
                connection,
                pull,
                wait.wait_s,
                soonest_s=wait.soonest_s,
                failures=failures,
                error=fault.reason.value,
                anew=stop.anew,
            )
            return await after_fault(connection, pull, fault, datetime.now(UTC))

        if await turn.store(store):
            self._told()
        if wait.rests_s is not None:
            if fault.retry_after_s is not None:
                THROTTLED_SECONDS.inc(wait.rests_s)
            raise RestError(wait.rests_s)

    async def insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Wait for PostgreSQL if it is away."""
        return await self._postgres.insist(attempt)

    @property
    def pool(self) -> asyncpg.Pool:
        return self._pool

    @property
    def limits(self) -> RoundLimits:
        return self._limits

    @property
    def pace(self) -> Pace:
        return self._pace

    @property
    def span(self) -> Span:
        return self._span

    def tell(self) -> None:
        """Something was stored to be published."""
        self._told()

    def count(self, judged: Judged) -> None:
        """Count what was told, once its transaction has committed."""
        for change, number in judged.changes.items():
            CHANGES.labels(change).inc(number)
        if judged.changes:
            self._told()


class _Turn:
    """One turn under way; `pull` is how far it is."""

    def __init__(self, rounds: Rounds, mailbox: LeasedMailbox, pull: Pull) -> None:
        self._rounds = rounds
        self._mailbox = mailbox
        self.pull = pull
        self._asked_at = datetime.now(UTC)
        self.pages = 0
        self.changes = 0
        self._window = rounds.span.window(datetime.now(UTC))

    async def run(self) -> None:
        # What is open was seen in an earlier round, and its turn comes first.
        if self.pull.window_start is not None:
            await self._read_open()
            await self._tell_lost()
        await self._find_calendar()
        end = await self._round(await self._start())
        if isinstance(end, Ended):
            link = end.delta_link
            self.pull = await self.store(lambda c: pulls.advance(c, self.pull, None, link, pages=0, items=0))
            await self._read_open()
            await self._finish()
        elif isinstance(end, Doubted):
            PULL_ROUNDS.labels("doubted").inc()
            log.warning("a well-filled calendar shows nothing; it is read again", pull_id=self.pull.pull_id)
            wait_s = self._rounds.pace.reprobe_first_s

            async def doubt(connection: Connection) -> None:
                await pulls.doubt(connection, self.pull)
                await pulls.put_off(connection, self.pull, wait_s, soonest_s=wait_s, error="doubted", anew=True)

            await self.store(doubt)
        elif end.fault.reason is Reason.EVENT_GONE and self.pull.calendar_id is not None:
            # What went is the calendar, with what stood in it. There may be another one of its name by now.
            self.pull = await self.store(lambda connection: pulls.lost_calendar(connection, self.pull))
            raise _StopError(Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, code=end.fault.code), anew=True)
        else:
            raise _StopError(end.fault, anew=end.anew)

    async def _start(self) -> Start:
        """Where the round begins or goes on."""
        pull, limits = self.pull, self._rounds.limits
        window = (pull.window_start, pull.window_end)
        moved = self._rounds.span.has_moved(window, pull.rolled_at, datetime.now(UTC))
        anew = pull.full_asked or (moved and pull.next_link is None)
        link = None if anew else pull.next_link or pull.delta_link
        if link is not None and pull.next_link is None:
            self.pull = await self.store(lambda connection: pulls.begin(connection, pull))
        return Start(
            place=pull.place,
            calendar_id=pull.calendar_id,
            window=self._window,
            link=link,
            full=pull.delta_link is None,
            graph_url=limits.graph_url,
            page_items=limits.page_items,
            pages_max=limits.round_max_pages,
            followed=pull.pages if pull.next_link is not None else 0,
            doubts=pull.empties,
            well_filled_events=limits.well_filled_events,
            empty_rounds=limits.empty_rounds,
        )

    async def _round(self, start: Start) -> End:
        steps = delta_round(start)
        answer: Answer = None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                ended: End = end.value
                return ended
            answer = await self._do(step)

    async def _do(self, step: Step) -> Answer:
        match step:
            case Ask(request):
                if self.pages >= self._rounds.limits.turn_max_pages:
                    raise _PauseError
                return await self._ask(request)
            case BeginFull():
                self.pull = await self.store(lambda c: pulls.begin_full(c, self.pull, *self._window))
            case Take(page):
                await self._take(page)
            case Compare():
                return Comparison(*await self.store(lambda c: pulls.known_and_named(c, self.pull)))
            case LookForUnnamed():
                await self._look_for_unnamed()
        return None

    async def _ask(self, request: Request) -> Response:
        pool = self._rounds.pool
        self._asked_at = await self._rounds.insist(lambda: pulls.moment(pool))
        with tracing.step(call_spans.name_of(request), "client", call_spans.about(request)) as span:
            response = await self._mailbox.ask(self.pull.place.directory, request)
            if span is not None:
                call_spans.tell_answer(span, response)
        return response

    async def _take(self, page: DeltaPage) -> None:
        """Judge a page; the place of the round moves with it, but for the last: that moves when all is done."""
        shown: list[Sighting] = [Shown(item["id"], item) for item in page.items]
        shown += [Removed(event_id) for event_id in page.removed]

        async def store(connection: Connection) -> Judged:
            judged = await self._judge(connection, shown)
            link = page.next_link if page.next_link is not None else self.pull.next_link
            moved = await pulls.advance(connection, self.pull, link, None, pages=1, items=len(shown))
            stored.append(moved)
            return judged

        stored: list[Pull] = []
        judged = await self.store(store)
        self.pull = stored[-1]
        self.pages += 1
        PULL_ITEMS.inc(len(shown))
        self._count(judged)

    async def _look_for_unnamed(self) -> None:
        """What a full round did not name is read, unless it is out of sight by growing old: that is forgotten."""
        view = view_of(self.pull)

        async def store(connection: Connection) -> tuple[int, Judged]:
            unnamed = await pulls.unnamed(connection, self.pull, UNNAMED_BATCH_MAX_EVENTS)
            old = [one.event_id for one in unnamed if _ended_before(seen_before(one), view.window.start)]
            ahead = [one for one in unnamed if _begins_after(seen_before(one), view.window.end)]
            await pulls.forget_events(connection, self.pull.pull_id, old)
            kept = [pulls.Kept(one.event_id, one.seen, one.entry_id) for one in ahead]
            await pulls.put_events(connection, self.pull.pull_id, self.pull.round, kept)
            left = {*old, *(one.event_id for one in ahead)}
            missing: list[Sighting] = [Removed(one.event_id) for one in unnamed if one.event_id not in left]
            return len(unnamed), await self._judge(connection, missing)

        while True:
            number, judged = await self.store(store)
            self._count(judged)
            if number < UNNAMED_BATCH_MAX_EVENTS:
                break
        while await self.store(self._look_for_unseen) == UNNAMED_BATCH_MAX_EVENTS:
            pass

    async def _look_for_unseen(self, connection: Connection) -> int:
        """What we wrote and no round ever named is read too; gives how many there were."""
        unseen = await pulls.unseen(connection, self.pull, UNNAMED_BATCH_MAX_EVENTS)
        await pulls.put_events(connection, self.pull.pull_id, self.pull.round, unseen)
        return len(unseen)

    async def _tell_lost(self) -> None:
        """Entries that a writer found removed, in this calendar."""

        async def store(connection: Connection) -> Judged:
            lost = await pulls.lost_in(connection, self.pull, READ_BATCH_MAX_EVENTS)
            return await self._judge(connection, [Gone(event_id) for event_id in lost])

        self._count(await self.store(store))

    async def _read_open(self) -> None:
        """Read what is open by its id, series first: with one that is gone its occurrences are too.

        One that cannot be read just now is read again later; the turn ends when that holds for many.
        """
        pool, reads, failed = self._rounds.pool, 0, 0
        gone: set[str] = set()
        while reads < READS_MAX_PER_TURN:
            open_ = await self._rounds.insist(lambda: pulls.pending(pool, self.pull.pull_id, READ_BATCH_MAX_EVENTS))
            if not open_:
                return
            for one, before in sorted(((one, seen_before(one)) for one in open_), key=_series_first):
                reads += 1
                if before is not None and before.series_id in gone:
                    sighting: Sighting = Removed(one.event_id, series_gone=True)
                else:
                    found = await self._read(one)
                    if isinstance(found, Fault):
                        failed += 1
                        await self._read_later(one)
                        if failed >= READS_FAILED_MAX_PER_TURN:
                            raise _StopError(found)
                        continue
                    sighting = found
                gone |= (await self._settle(sighting)).gone_series

    async def _read(self, one: Known) -> Sighting | Fault:
        """The event, or what stands in the way of reading just this one."""
        response = await self._ask(read_event(self.pull.place, one.event_id, self._calendar_of(one)))
        fault = response.fault
        if fault is None and isinstance(response.body, dict):
            return Shown(one.event_id, response.body, whole=True)
        if fault is None:
            return Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, code="no event")
        if fault.reason is Reason.EVENT_GONE:
            return Gone(one.event_id)
        if fault.scope is not Scope.ENTRY or fault.retry_after_s:
            raise _StopError(fault)
        return fault

    def _calendar_of(self, one: Known) -> str | None:
        """Where it must be found: one of the user's own in this calendar, ours wherever in the mailbox they are."""
        if one.seen is None or one.entry_id is not None:
            return None
        return DEFAULT_CALENDAR if self.pull.place.calendar is None else self.pull.calendar_id

    async def _read_later(self, one: Known) -> None:
        wait_s = self._rounds.pace.later_again_s(one.attempts)
        kept = pulls.Kept(one.event_id, one.seen, one.entry_id, wait_s, one.attempts + 1)
        await self.store(lambda connection: pulls.put_events(connection, self.pull.pull_id, self.pull.round, [kept]))

    async def _settle(self, sighting: Sighting) -> Judged:
        judged = await self.store(lambda connection: self._judge(connection, [sighting]))
        self._count(judged)
        return judged

    async def _judge(self, connection: Connection, sightings: list[Sighting]) -> Judged:
        pace = self._rounds.pace
        return await judge(connection, self.pull, sightings, self._asked_at, pace, datetime.now(UTC))

    async def _finish(self) -> None:
        pull, changed = self.pull, self.changes > 0
        interval_s = self._rounds.pace.next_interval_s(pull.interval_s, changed=changed)

        async def finish(connection: Connection) -> bool:
            await pulls.finish(connection, pull, interval_s)
            return await after_round(connection, pull, datetime.now(UTC))

        if await self.store(finish):
            self._rounds.tell()
        PULL_ROUNDS.labels("ended").inc()
        if pull.pulled_at is None:
            log.info("a calendar was pulled for the first time", pull_id=pull.pull_id, pages=pull.pages)

    async def _find_calendar(self) -> None:
        """Where a named calendar is; looked up when it is not known, or was not where it was."""
        place = self.pull.place
        if place.calendar is None or (self.pull.calendar_id is not None and not self.pull.is_default):
            return
        calendars: list[Calendar] = []
        request: Request | None = list_calendars(place)
        for _ in range(CALENDAR_PAGES_MAX):
            if request is None:
                break
            response = await self._ask(request)
            if response.fault is not None:
                raise _StopError(response.fault)
            calendars += calendars_of(response.body)
            request = next_page(place, response.body)
        found = named(calendars, place.calendar)
        if found is None:
            raise _StopError(Fault(Reason.CALENDAR_MISSING, Scope.ENTRY))
        await self.store(lambda connection: self._keep_calendar(connection, found))
        if self.pull.is_default:
            raise _SameCalendarError

    async def _keep_calendar(self, connection: Connection, found: Calendar) -> None:
        self.pull = await pulls.found_calendar(connection, self.pull, found.id, is_default=found.is_default)

    async def store(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do it in a transaction that holds the lease, while the settings still want what the turn was begun for."""

        async def attempt() -> T:
            async with self._rounds.pool.acquire() as connection, connection.transaction():
                await pulls.hold(connection, self._mailbox.owner, self.pull)
                return await work(connection)

        return await self._rounds.insist(attempt)

    def _count(self, judged: Judged) -> None:
        self.changes += judged.changes.total()
        self._rounds.count(judged)


def _ended_before(seen: Seen | None, moment: datetime) -> bool:
    """Whether it left the window by growing old. Of a series nobody knows when it ends."""
    return seen is not None and seen.type != MASTER and _at(seen.end) <= moment


def _begins_after(seen: Seen | None, moment: datetime) -> bool:
    """Whether no round over this window can name it: one of our entries far ahead."""
    return seen is not None and seen.entry_id is not None and seen.type != MASTER and _at(seen.start) >= moment


def _at(moment: datetime | date) -> datetime:
    return moment if isinstance(moment, datetime) else datetime.combine(moment, time(), UTC)


def _series_first(one: tuple[Known, Seen | None]) -> bool:
    return one[1] is not None and one[1].series_id is not None
