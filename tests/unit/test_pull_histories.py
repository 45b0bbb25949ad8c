"""Histories of a calendar, with a puller in miniature: the mirror equals the calendar, and no echo is ever told."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import orjson
from hypothesis import given, note, settings
from hypothesis import strategies as st

from schemas.changes import AppointmentUpserted, EntryEdited, EntryRemoved, EntryRescheduled
from schemas.events import TYPE_NAMES
from schemas.switches import Detail
from services.puller.classify import View
from services.writer.reconciler import Step as WriterStep
from services.writer.reconciler import next_step
from simulator.errors import GraphError
from simulator.exchange.event_input import read_changes
from simulator.exchange.mailbox import Mailbox, fingerprint
from simulator.exchange.view import view as shown_of
from simulator.limits import Limits
from tests.unit.pulling import BEGIN, END, Puller, view
from tests.unit.strategies import ASSIGNEE, TENANT
from tests.unit.test_series_writing import ITEM, Wish, Writer, at

CONTRACT = (Path(__file__).parents[2] / "docs" / "event-contract.md").read_text()
LIMITS = Limits()
ZONE = "Europe/Amsterdam"
HOUR = timedelta(hours=1)

Step = tuple[str, Any]


def times(begin: datetime, length: timedelta, *, all_day: bool = False) -> dict[str, Any]:
    moments = (begin, begin + length)
    start, end = ({"dateTime": moment.isoformat(), "timeZone": ZONE} for moment in moments)
    return {"start": start, "end": end, "isAllDay": all_day}


hours = st.builds(at, st.integers(0, 20), st.integers(8, 16))
days = st.builds(at, st.integers(0, 20), st.just(0))
# Also far out of the window, whence an event may come back.
anywhere = hours | st.just(datetime(2028, 1, 5, 9))
when = st.builds(times, anywhere, st.sampled_from((HOUR, 2 * HOUR))) | st.builds(
    times, days, st.sampled_from((timedelta(days=1), timedelta(days=2))), all_day=st.just(True)
)
looks = st.fixed_dictionaries(
    {},
    optional={
        "subject": st.sampled_from(("Lunch", "Dentist", "")),
        "sensitivity": st.sampled_from(("normal", "private", "confidential")),
        "showAs": st.sampled_from(("free", "busy", "oof")),
        "categories": st.sampled_from(([], ["Red"], ["Red", "Blue"])),
        "location": st.sampled_from(({"displayName": "Home"}, {"displayName": ""})),
        "body": st.sampled_from(({"contentType": "html", "content": "<p>x</p>"}, {"content": "y"})),
    },
)


def daily(begin: datetime, count: int, interval: int) -> dict[str, Any]:
    span = {"type": "numbered", "startDate": begin.date().isoformat(), "numberOfOccurrences": count}
    recurrence = {"pattern": {"type": "daily", "interval": interval}, "range": span}
    return {**times(begin, HOUR), "recurrence": recurrence}


series = st.builds(daily, hours, st.integers(1, 6), st.integers(1, 3))
which = st.integers(0, 50)
foreign_steps = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.builds(dict.__or__, when | series, looks)),
        st.tuples(st.just("change"), st.tuples(which, when | looks | series | st.just({"recurrence": None}))),
        st.tuples(st.just("noise"), which),
        st.tuples(st.just("delete"), which),
        st.tuples(st.just("change occurrence"), st.tuples(which, looks | st.builds(times, hours, st.just(HOUR)))),
        st.tuples(st.just("delete occurrence"), which),
        st.tuples(st.just("pull"), st.none()),
        st.tuples(st.just("replay"), st.integers(0, 20)),
    ),
    max_size=25,
)


class Hand:
    """Somebody who works in Outlook; what Outlook refuses is not done."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox

    def do(self, step: str, given: Any) -> None:
        try:
            self._do(step, given)
        except GraphError as error:
            note(f"refused: {error.code}")

    def _do(self, step: str, given: Any) -> None:
        mailbox = self.mailbox
        match step:
            case "create":
                printed = fingerprint(orjson.dumps(given))
                mailbox.create(mailbox.default_calendar, read_changes(given), printed, LIMITS, 0.0)
            case "change":
                number, changes = given
                self._with(self._masters(), number, lambda event: self._change(event, changes))
            case "noise":
                self._with(self._masters(), given, lambda event: self._change(event, {}))
            case "delete":
                self._with(self._masters(), given, lambda event: mailbox.remove(event, LIMITS, 0.0))
            case "change occurrence":
                number, changes = given
                self._with(self._occurrences(), number, lambda event: self._change(event, changes))
            case "delete occurrence":
                self._with(self._occurrences(), given, lambda event: mailbox.remove(event, LIMITS, 0.0))

    def _change(self, event: Any, changes: dict[str, Any]) -> None:
        self.mailbox.change(event, read_changes(changes), LIMITS, 0.0)

    def _masters(self) -> list[Any]:
        return list(self.mailbox.events.values())

    def _occurrences(self) -> list[Any]:
        begin, end = (moment.replace(tzinfo=None) for moment in (BEGIN, END))
        shown = shown_of(self.mailbox, self.mailbox.default_calendar.id, begin, end)
        return [one.event() for one in shown if one.slot is not None]

    @staticmethod
    def _with(events: list[Any], number: int, do: Callable[[Any], None]) -> None:
        if events:
            do(events[number % len(events)])


def new_mailbox() -> Mailbox:
    return Mailbox.open(str(uuid4()), "Anna", "anna@contoso.example")


def followed(puller: Puller) -> dict[str, dict[str, Any]]:
    """The mirror that the event contract's own recipe builds, of events of which the last half comes twice."""
    [recipe] = [block for block in re.findall(r"```python\n(.*?)```", CONTRACT, re.DOTALL) if "def follow" in block]
    names: dict[str, Any] = {}
    exec(recipe, names)
    mirror: dict[Any, Any] = {}
    for change in puller.changes + puller.changes[len(puller.changes) // 2 :]:
        headers = [("ce_type", TYPE_NAMES[type(change)].encode())]
        names["follow"](mirror, SimpleNamespace(value=change.model_dump_json().encode(), headers=headers))
    kept = [AppointmentUpserted.model_validate(one) for one in mirror.values()]
    return {one.event_id: one.model_dump(exclude={"seen_at", "change_key"}) for one in kept}


@settings(deadline=None)
@given(foreign_steps, st.sampled_from(Detail))
def test_the_mirror_built_from_the_events_equals_the_calendar(steps: list[Step], detail: Detail) -> None:
    puller = Puller(new_mailbox(), view(detail=detail))
    hand = Hand(puller.mailbox)
    for step, given_ in steps:
        if step == "pull":
            puller.pull()
        elif step == "replay" and puller.reading is not None:
            back = max(0, puller.reading.base - given_)
            puller.reading = replace(puller.reading, base=back, cursor=back)
        else:
            hand.do(step, given_)
    puller.settle()
    assert puller.mirror() == puller.calendar()
    assert followed(puller) == puller.calendar()
    # Each state of an event under one id, and each id for one state.
    states = {(told_id, type(change), change.event_id, change.change_key) for told_id, change in puller.told}
    assert len({told_id for told_id, *_ in states}) == len(states)
    standing = [state for _, *state in states if state[-1]]
    assert len(set(map(tuple, standing))) == len(standing)
    # Nothing new is told of what did not change.
    before = len(puller.told)
    puller.reading = None
    puller.settle()
    assert len(puller.told) == before


# --- Ours ---


rules = st.sampled_from((None, "FREQ=DAILY;COUNT=6", "FREQ=DAILY;INTERVAL=2;COUNT=3", "FREQ=WEEKLY;COUNT=3"))


@st.composite
def wishes(draw: st.DrawFn) -> Wish:
    rule, words = draw(rules), draw(st.sampled_from(("one", "two")))
    wish = Wish(rule=rule, hour=draw(st.sampled_from((9, 11))), words=words)
    if rule == "FREQ=DAILY;COUNT=6":
        instead = draw(st.sampled_from(((), ((2, None),), ((3, at(3, 15)),), ((2, None), (3, at(3, 15))))))
        wish = replace(wish, instead=instead)
    elif draw(st.booleans()):
        wish = replace(wish, all_day=True)
    return wish


own_steps = st.lists(
    st.one_of(
        st.tuples(st.just("want"), wishes()),
        st.tuples(st.just("want"), wishes() | st.none()),
        st.tuples(st.just("work"), st.none() | st.integers(0, 4)),
        st.tuples(st.just("die"), st.integers(0, 4)),
        st.tuples(st.just("fetch"), st.none()),
        st.tuples(st.just("judge"), st.none()),
        st.tuples(st.just("pull"), st.none()),
        st.tuples(st.just("noise"), which),
    ),
    max_size=20,
)


def our_puller(writer: Writer) -> Puller:
    def entry() -> Any:
        if writer.desired is None:
            return None
        # A plan that is settled, or failed, owes nothing more, and nothing is under way for it.
        entry = writer.entry()
        return replace(entry, owed=writer.failed is None and next_step(entry) is not WriterStep.NOTHING)

    return Puller(writer.calendar.mailbox, our_view(), entry)


def our_view() -> View:
    return view(tenant=ITEM.tenant, user="anna")


@settings(deadline=None)
@given(own_steps)
def test_no_interleaving_of_write_record_and_delta_tells_our_own_writes(steps: list[Step]) -> None:
    assert (ITEM.tenant, "anna") == (TENANT, ASSIGNEE)
    writer = Writer()
    puller, hand = our_puller(writer), Hand(writer.calendar.mailbox)
    pages = []
    for step, given_ in steps:
        match step:
            case "want" if writer.desired is not None or given_ is not None:
                writer.want(given_)
            case "work" if writer.desired is not None:
                writer.work(answers=given_)
            case "die" if writer.desired is not None:
                writer.work(answers=given_, lost=True)
            case "fetch":
                pages.append(puller.fetch())
            case "judge" if pages:
                puller.judge(pages.pop(0))
            case "pull":
                while pages:
                    puller.judge(pages.pop(0))
                puller.pull()
            case "noise":
                hand.do(step, given_)
        assert puller.told == []
    while pages:
        puller.judge(pages.pop(0))
    if writer.desired is not None:
        assert writer.work()
    puller.settle()
    assert puller.told == []
    assert puller.touches == []


edits = st.lists(
    st.one_of(
        st.tuples(st.just("move"), st.integers(0, 3)),
        st.tuples(st.just("rename"), st.sampled_from(("mine", "yours"))),
        st.tuples(st.just("noise"), st.just(0)),
        st.tuples(st.just("want"), st.sampled_from(("one", "two", "three"))),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(edits)
def test_each_quiet_edit_of_an_entry_is_told_once_and_as_what_it_is(steps: list[Step]) -> None:
    writer = Writer()
    puller, hand = our_puller(writer), Hand(writer.calendar.mailbox)
    writer.want(Wish(rule=None))
    writer.work()
    puller.settle()
    hour, words = 9, "one"
    for step, given_ in steps:
        wanted: list[type] = []
        match step:
            case "move":
                wanted = [EntryRescheduled] if 9 + given_ != hour else []
                hour = 9 + given_
                hand.do("change", (0, times(at(0, hour), HOUR)))
            case "rename":
                wanted = [EntryEdited] if given_ != words else []
                words = given_
                hand.do("change", (0, {"subject": words}))
            case "noise":
                hand.do("noise", 0)
            case "want":
                before = writer.desired
                writer.want(Wish(rule=None, words=given_))
                if before is not None and writer.desired is not None:
                    overwrites = before.content_hash != writer.desired.content_hash
                    hour, words = (9, given_) if overwrites else (hour, words)
                writer.work()
        told = len(puller.told)
        puller.settle()
        assert [type(change) for change in puller.changes[told:]] == wanted
    assert len({told_id for told_id, _ in puller.told}) == len(puller.told)


def test_a_user_who_works_on_a_series_of_ours_is_told_day_by_day() -> None:
    writer = Writer()
    puller = our_puller(writer)
    mailbox = writer.calendar.mailbox
    writer.want(Wish(instead=((2, None),)))
    writer.work()
    puller.settle()
    mailbox.change(writer.calendar.occurrence(3), read_changes(times(at(3, 14), HOUR)), LIMITS, 0.0)
    puller.settle()
    mailbox.remove(writer.calendar.occurrence(4), LIMITS, 0.0)
    puller.settle()
    [moved, removed] = puller.changes
    assert isinstance(moved, EntryRescheduled)
    assert isinstance(removed, EntryRemoved)
    days = [change.occurrence.date() for change in (moved, removed) if isinstance(change.occurrence, datetime)]
    assert days == [date(2026, 11, 26), date(2026, 11, 27)]
    [master] = mailbox.events.values()
    mailbox.remove(master, LIMITS, 0.0)
    puller.settle()
    assert [(type(change), change.occurrence) for change in puller.changes[2:]] == [(EntryRemoved, None)]
