"""Writing series: whatever was written before and wherever a writer died, the calendar ends up as the rule says.

The simulator's mailbox, in this process, is the calendar; a row in miniature keeps what PostgreSQL keeps.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4

import orjson
import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from calbus.entry import Applied, Content, Desired, Entry, Intent, ItemKey, Place, content_hash_of, entry_id_of
from calbus.graph.calls import Request, Response
from calbus.graph.errors import Fault, Scope, fault_of
from calbus.recurrence import Moved, StandingSeries
from schemas.items import Kind
from schemas.reasons import Reason
from services.ingest.recurrences import Deviation, Series, translate
from services.ingest.times import Slot
from services.writer.handler import STEPS_MAX
from services.writer.reconciler import MISSING_BEFORE_GONE, Circumstances, Step, advance, next_step, request_for
from services.writer.retries import Backoff, GiveUp, RetryPolicy, decide_retry
from simulator.errors import GraphError
from simulator.exchange.event_input import read_changes
from simulator.exchange.mailbox import Mailbox, fingerprint
from simulator.exchange.view import showings, view
from simulator.limits import Limits
from tests.support.examples import shown
from tests.unit.strategies import content

ITEM = ItemKey("contoso", "planner", Kind.ACTION, "A-1")
ENTRY_ID = entry_id_of(ITEM, "anna")
HERE = Place("contoso.example", "anna@contoso.example")
POLICY = RetryPolicy(Backoff(1.0, 300.0), Backoff(60.0, 3_600.0))
NOW = datetime(2026, 11, 1)
MONDAY = date(2026, 11, 23)
HOUR = timedelta(hours=1)
ZONE = "Europe/Amsterdam"
LIMITS = Limits()


def at(day: int, hour: int = 9) -> datetime:
    """So many days after the first Monday."""
    return datetime.combine(MONDAY + timedelta(days=day), time(hour))


@dataclass(frozen=True)
class Wish:
    """What upstream wants: a rule, None for a single event, and by day what is cancelled (None) or moved where."""

    rule: str | None = "FREQ=DAILY;COUNT=6"
    hour: int = 9
    instead: tuple[tuple[int, datetime | None], ...] = ()
    words: str = "one"
    all_day: bool = False

    def content(self) -> Content:
        length = timedelta(days=1) if self.all_day else HOUR
        begin = at(0, 0 if self.all_day else self.hour)
        single = content(subject=self.words, start=begin, end=begin + length, time_zone=ZONE, all_day=self.all_day)
        if self.rule is None:
            return single
        deviations = [
            Deviation(at(day).date(), Slot(there, there + length, ZONE) if there else None)
            for day, there in self.instead
        ]
        series = translate(f"RRULE:{self.rule}", Slot(begin, begin + length, ZONE), deviations, all_day=self.all_day)
        assert isinstance(series, Series), series
        return replace(single, recurrence=series.recurrence)

    def shown(self, days: Iterable[int]) -> list[tuple[datetime, str]]:
        """What stands in the calendar on these days of the rule."""
        instead = dict(self.instead)
        begins = [instead.get(day, at(day, 0 if self.all_day else self.hour)) for day in days]
        return sorted((begin, self.words) for begin in begins if begin is not None)


class Calendar:
    """A mailbox of the simulator, asked as Graph is. `spoiled` answers are lost after the work is done."""

    def __init__(self) -> None:
        self.mailbox = Mailbox.open(str(uuid4()), "Anna", "anna@contoso.example")
        self.operations: list[str] = []
        self.seconds = 0.0

    def answer(self, request: Request) -> Response:
        self.operations.append(request.operation)
        self.seconds += 1
        try:
            status, body = self._perform(request)
        except GraphError as error:
            body = {"error": {"code": error.code, "message": error.message}}
            return Response(error.status, body, fault_of(error.status, {}, body, now=NOW))
        return Response(status, orjson.loads(orjson.dumps(body)), None)

    def _perform(self, request: Request) -> tuple[int, Any]:
        path = urlsplit(request.path)
        *_, last = path.path.split("/")
        mailbox, changes = self.mailbox, read_changes(request.body or {})
        if request.operation == "create":
            body_print = fingerprint(orjson.dumps(request.body, option=orjson.OPT_SORT_KEYS))
            made = mailbox.create(mailbox.default_calendar, changes, body_print, LIMITS, self.seconds).event
            return 201, self._shown(made)
        if request.operation == "find":
            return 200, {"value": [self._shown(event) for event in mailbox.events.values() if event.properties]}
        if request.operation == "instances":
            master = mailbox.event(unquote(path.path.split("/")[-2]))
            query = parse_qs(path.query)
            begin, end = (
                datetime.fromisoformat(query[name][0]).replace(tzinfo=None) for name in ("startDateTime", "endDateTime")
            )
            if master.wire["recurrence"] is None:
                raise GraphError(400, "ErrorInvalidRequest", "no series")
            return 200, {"value": [self._shown(one.event()) for one in showings(master, begin, end)]}
        event = mailbox.event(unquote(last))
        mailbox.check_etag(event, request.headers.get("If-Match"))
        match request.method:
            case "PATCH":
                mailbox.change(event, changes, LIMITS, self.seconds)
            case "DELETE":
                mailbox.remove(event, LIMITS, self.seconds)
                return 204, None
        return 200, self._shown(event)

    def _shown(self, event: Any) -> dict[str, Any]:
        return {
            "id": event.id,
            "@odata.etag": event.etag,
            "transactionId": event.transaction_id,
            "originalStart": event.wire.get("originalStart"),
        }

    def view(self) -> list[tuple[datetime, str]]:
        begin = datetime.combine(MONDAY, time()) - timedelta(days=400)
        shown = view(self.mailbox, self.mailbox.default_calendar.id, begin, begin + timedelta(days=1_000))
        return sorted((one.event().start.local, one.event().wire["subject"]) for one in shown)

    def occurrence(self, day: int) -> Any:
        [master] = self.mailbox.events.values()
        begin = at(day, 0)
        return next(one.event() for one in showings(master, begin, begin + timedelta(days=1)))


@dataclass
class Writer:
    """One entry's row, and writers that work on it until they are done, or die."""

    calendar: Calendar = field(default_factory=Calendar)
    applied: Applied = field(default_factory=Applied)
    desired: Desired | None = None
    attempts: int = 0
    failed: Reason | None = None

    def want(self, wish: Wish | None) -> None:
        plan = self.desired.plan + 1 if self.desired else 1
        self.attempts, self.failed = 0, None
        if wish is None:
            self.desired = Desired(plan, plan, Intent.ABSENT, Reason.DELETED, None, None, None)
        else:
            stored = wish.content().to_json()
            self.desired = Desired(plan, plan, Intent.PRESENT, Reason.WRITTEN, HERE, stored, content_hash_of(stored))

    def entry(self) -> Entry:
        assert self.desired is not None
        return Entry(ENTRY_ID, ITEM, "anna", self.desired, self.applied, owed=True)

    def work(self, *, answers: int | None = None, lost: bool = False) -> bool:
        """Look at the entry until it is settled; True then. After so many answers the writer dies.

        With `lost`, the work of the last request is done, but the writer does not live to see the answer.
        """
        for _ in range(200):
            before = self.entry()
            if next_step(before) is Step.NOTHING or self.failed:
                return True
            state = before
            self._mark(before)
            for _ in range(STEPS_MAX):
                step = next_step(state)
                if step is Step.NOTHING:
                    break
                if answers == 0:
                    if lost:
                        self.calendar.answer(request_for(state, step))
                    return False
                answers = answers - 1 if answers is not None else None
                response = self.calendar.answer(request_for(state, step))
                after = advance(state, step, response, Circumstances(attempts=self.attempts))
                state = after.entry
                if after.fault is not None:
                    decision = decide_retry(after.fault, step, self.attempts, POLICY, spread=0.0, reload=after.reload)
                    self.failed = decision.reason if isinstance(decision, GiveUp) else None
                    self.attempts += 1
                    break
                if after.reload:
                    break
            self.applied = stored(state.applied)
        raise AssertionError("it does not come to an end")

    def _mark(self, before: Entry) -> None:
        """As the statement that loads an entry marks it."""
        applied, desired = before.applied, before.desired
        if applied.event_id is None:
            if desired.intent is Intent.PRESENT:
                self.applied = replace(applied, in_doubt=True, place=HERE)
        elif (applied.content_hash or applied.master_hash) != desired.content_hash:
            self.applied = replace(applied, content_hash=None, master_hash=None)


def stored(applied: Applied) -> Applied:
    series = applied.series
    return replace(applied, series=StandingSeries.from_json(series.to_json()) if series else None)


def written(*wishes: Wish | None) -> Writer:
    writer = Writer()
    for wish in wishes:
        writer.want(wish)
        assert writer.work()
        assert writer.failed is None
    return writer


CANCELLED = Wish(instead=((2, None),))
MOVED = Wish(instead=((3, at(3, 15)),))
BOTH = Wish(instead=((2, None), (3, at(3, 15))))


def test_a_series_is_one_create_and_two_calls_for_each_exception() -> None:
    writer = written(BOTH)
    assert writer.calendar.view() == BOTH.shown(range(6))
    assert writer.calendar.operations == [
        "create", "instances", "cancel_occurrence", "instances", "update_occurrence", "read",
    ]  # fmt: skip


def test_a_series_without_exceptions_is_one_call() -> None:
    assert written(Wish()).calendar.operations == ["create"]


def test_whole_days_are_cancelled_and_moved() -> None:
    wish = Wish(rule="FREQ=WEEKLY;COUNT=4", all_day=True, instead=((7, None), (14, at(16, 0))))
    assert written(wish).calendar.view() == wish.shown((0, 7, 14, 21))


def test_occurrences_that_follow_one_another_move_in_an_order_that_outlook_takes() -> None:
    wish = Wish(instead=((0, at(1)), (1, at(2)), (2, at(3)), (3, None), (4, None)))
    assert written(wish).calendar.view() == wish.shown(range(6))
    back = Wish(instead=((1, None), (2, at(1)), (3, at(2)), (4, at(3))))
    assert written(back).calendar.view() == back.shown(range(6))


@pytest.mark.parametrize(
    ("before", "after", "anew"),
    [
        (Wish(), Wish(words="two"), False),
        (Wish(), CANCELLED, False),
        (CANCELLED, BOTH, False),
        (MOVED, Wish(instead=((3, at(3, 18)),)), False),
        (MOVED, Wish(instead=((3, None),)), False),
        (BOTH, replace(BOTH, words="two"), False),
        (Wish(), Wish(hour=11), False),
        (Wish(), Wish(rule="FREQ=WEEKLY;COUNT=6"), False),
        (Wish(), Wish(rule=None), False),
        (Wish(rule=None), BOTH, False),
        (Wish(), Wish(all_day=True), False),
        # What was cancelled comes back; what was moved goes back; exceptions and other times at once.
        (CANCELLED, Wish(), True),
        (CANCELLED, MOVED, True),
        (CANCELLED, Wish(instead=((2, at(2, 15)),)), True),
        (MOVED, Wish(), True),
        (BOTH, replace(BOTH, hour=8), True),
        (BOTH, Wish(rule=None), True),
    ],
)
def test_a_series_is_changed_where_that_is_enough_and_else_written_anew(before: Wish, after: Wish, anew: bool) -> None:
    writer = written(before, after)
    days = (0,) if after.rule is None else range(0, 42, 7) if after.rule.startswith("FREQ=WEEKLY") else range(6)
    assert writer.calendar.view() == after.shown(days)
    assert writer.calendar.operations.count("delete") == anew
    assert len(writer.calendar.mailbox.events) == 1


def test_a_series_that_leaves_takes_its_exceptions_along() -> None:
    assert written(BOTH, None).calendar.view() == []


def test_what_the_user_did_to_other_occurrences_stays() -> None:
    writer = written(CANCELLED)
    calendar = writer.calendar
    calendar.mailbox.remove(calendar.occurrence(5), LIMITS, 0.0)
    writer.want(BOTH)
    assert writer.work()
    assert calendar.view() == BOTH.shown(range(5))


def test_an_occurrence_that_the_user_moved_is_moved_where_upstream_says() -> None:
    writer = written(Wish())
    calendar = writer.calendar
    there = {"dateTime": at(3, 20).isoformat(), "timeZone": ZONE}
    later = {"dateTime": at(3, 21).isoformat(), "timeZone": ZONE}
    calendar.mailbox.change(calendar.occurrence(3), read_changes({"start": there, "end": later}), LIMITS, 0.0)
    writer.want(MOVED)
    assert writer.work()
    assert calendar.view() == MOVED.shown(range(6))


def test_an_occurrence_that_the_user_deleted_comes_back_when_upstream_moves_it() -> None:
    writer = written(Wish())
    writer.calendar.mailbox.remove(writer.calendar.occurrence(3), LIMITS, 0.0)
    writer.want(MOVED)
    assert writer.work()
    assert writer.calendar.view() == MOVED.shown(range(6))
    assert writer.calendar.operations.count("delete") == 1


def test_an_occurrence_in_the_way_of_another_is_no_reason_to_fail() -> None:
    writer = written(Wish())
    calendar = writer.calendar
    there = {"dateTime": at(3, 7).isoformat(), "timeZone": ZONE}
    later = {"dateTime": at(3, 8).isoformat(), "timeZone": ZONE}
    calendar.mailbox.change(calendar.occurrence(3), read_changes({"start": there, "end": later}), LIMITS, 0.0)
    wish = Wish(instead=((2, at(2, 23)), (3, at(4, 7)), (4, at(4, 11))))
    wish = Wish(instead=((2, at(3, 8)), (3, at(4, 8)), (4, None)))
    writer.want(wish)
    assert writer.work()
    assert writer.failed is None
    assert calendar.view() == wish.shown(range(6))


def test_an_occurrence_that_is_missing_from_a_new_series_is_looked_for_again_and_then_left() -> None:
    writer = Writer()
    writer.want(MOVED)
    assert not writer.work(answers=1)
    calendar = writer.calendar
    calendar.mailbox.remove(calendar.occurrence(3), LIMITS, 0.0)
    assert writer.work()
    assert calendar.view() == Wish(instead=((3, None),)).shown(range(6))
    assert calendar.operations.count("instances") == MISSING_BEFORE_GONE + 1


def test_a_series_that_the_user_deleted_between_master_and_exceptions_is_created_again() -> None:
    writer = Writer()
    writer.want(BOTH)
    assert not writer.work(answers=1)
    [master] = writer.calendar.mailbox.events.values()
    writer.calendar.mailbox.remove(master, LIMITS, 0.0)
    assert writer.work()
    assert writer.calendar.view() == BOTH.shown(range(6))


def test_a_refused_exception_of_a_new_series_ends_the_plan() -> None:
    writer = Writer()
    writer.want(MOVED)
    assert not writer.work(answers=1)
    step = next_step(writer.entry())
    assert step is Step.LOOK
    refused = Response(400, None, Fault(Reason.EVENT_REJECTED, Scope.ENTRY))
    after = advance(writer.entry(), step, refused, Circumstances())
    assert after.fault is not None
    assert isinstance(decide_retry(after.fault, step, 0, POLICY, spread=0.0, reload=False), GiveUp)


def test_exceptions_come_in_an_order_in_which_each_fits() -> None:
    recurrence = BOTH.content().recurrence
    assert recurrence is not None
    first, second = recurrence.exceptions()
    assert (first, isinstance(second, Moved)) == (at(2).date(), True)


# -- any history ------------------------------------------------------------------------------------------------------

DAYS = range(6)


@st.composite
def wishes(draw: st.DrawFn) -> Wish | None:
    kind = draw(st.sampled_from(("gone", "single", "series", "series", "series", "series")))
    if kind == "gone":
        return None
    words = draw(st.sampled_from(("one", "two")))
    if kind == "single":
        return Wish(rule=None, words=words)
    hour = draw(st.sampled_from((9, 9, 11)))
    # A new start for each day, in order, or none: what is as the rule says is no exception.
    instead: dict[int, datetime | None] = {}
    last = at(0, 0) - timedelta(days=1)
    for day in DAYS:
        choice = draw(st.sampled_from(("as is", "as is", "as is", "cancelled", "moved")))
        if choice == "cancelled" and len(instead) < len(DAYS) - 1:
            instead[day] = None
            continue
        there = at(day, hour)
        if choice == "moved":
            there = at(day + draw(st.integers(-1, 1)), draw(st.integers(1, 20)))
        if there.date() <= last.date():
            there = datetime.combine(last.date() + timedelta(days=1), time(hour))
        if there != at(day, hour):
            instead[day] = there
        last = there
    return Wish(rule="FREQ=DAILY;COUNT=6", hour=hour, instead=tuple(sorted(instead.items())), words=words)


@settings(max_examples=shown(150))
@given(st.data(), st.lists(wishes(), min_size=1, max_size=4))
def test_whatever_was_written_and_wherever_writers_died_the_calendar_is_as_the_last_wish(
    data: st.DataObject, history: list[Wish | None]
) -> None:
    writer = Writer()
    for wish in history:
        writer.want(wish)
        for _ in range(data.draw(st.integers(0, 2), label="deaths")):
            writer.work(answers=data.draw(st.integers(0, 12)), lost=data.draw(st.booleans()))
    assert writer.work()
    note(str(writer.calendar.operations))
    assert writer.failed is None
    last = history[-1]
    expected = [] if last is None else last.shown((0,) if last.rule is None else DAYS)
    assert writer.calendar.view() == expected
    assert len(writer.calendar.mailbox.events) == (last is not None)
