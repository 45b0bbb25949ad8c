"""How events are read: what is seen of them, what is too little, and what Exchange does to them by itself."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbus.graph.series import patterned
from calbus.recurrence import Index, Pattern, PatternType, Range, Recurrence, Weekday
from services.puller.pattern import falls_on
from services.puller.seen import MASTER, OCCURRENCE, Seen, change_key_of, etag_of, recurrence_of, seen_of
from simulator.exchange.expansion import dates
from tests.unit.strategies import titles

MONDAY = date(2026, 11, 23)


def shown(**fields: Any) -> dict[str, Any]:
    """An event as Graph shows it."""
    return {
        "@odata.etag": 'W/"k1"', "id": "e1", "changeKey": "k1", "type": "singleInstance", "seriesMasterId": None,
        "lastModifiedDateTime": "2026-11-21T08:00:00Z", "subject": "Lunch", "bodyPreview": "at noon",
        "importance": "normal", "sensitivity": "normal", "isAllDay": False, "isCancelled": False, "showAs": "busy",
        "categories": ["Red"], "isReminderOn": True, "reminderMinutesBeforeStart": 15, "recurrence": None,
        "start": {"dateTime": "2026-11-23T11:00:00.0000000", "timeZone": "UTC"},
        "end": {"dateTime": "2026-11-23T12:00:00.0000000", "timeZone": "UTC"},
        "location": {"displayName": "Canteen"},
        **fields,
    }  # fmt: skip


def seen(**fields: Any) -> Seen:
    found = seen_of(shown(**fields))
    assert found is not None
    return found


def test_an_event_is_read_in_instants() -> None:
    event = seen()
    assert (event.start, event.end) == (datetime(2026, 11, 23, 11, tzinfo=UTC), datetime(2026, 11, 23, 12, tzinfo=UTC))
    assert (event.subject, event.place, event.categories, event.reminder_minutes) == ("Lunch", "Canteen", ("Red",), 15)
    there = {"dateTime": "2026-11-23T12:00:00.0000000", "timeZone": "W. Europe Standard Time"}
    assert seen(start=there).start == event.start


def test_whole_days_float() -> None:
    midnight = {"dateTime": "2026-11-23T00:00:00.0000000", "timeZone": "Pacific/Auckland"}
    following = {"dateTime": "2026-11-24T00:00:00.0000000", "timeZone": "Pacific/Auckland"}
    event = seen(isAllDay=True, start=midnight, end=following)
    assert (event.start, event.end) == (date(2026, 11, 23), date(2026, 11, 24))


@pytest.mark.parametrize("missing", ["subject", "showAs", "start", "sensitivity", "bodyPreview", "@odata.etag"])
def test_what_shows_only_what_changed_must_be_read(missing: str) -> None:
    item = shown()
    del item[missing]
    if missing == "@odata.etag":
        del item["changeKey"]
    assert seen_of(item) is None


def test_times_that_nobody_can_read_must_be_read_again() -> None:
    assert seen_of(shown(start={"dateTime": "2026-11-23T11:00:00", "timeZone": "tzone://Microsoft/Custom"})) is None


def test_an_occurrence_takes_from_its_series_what_delta_leaves_out() -> None:
    rule = {"pattern": {"type": "daily", "interval": 1}, "range": {"type": "noEnd", "startDate": "2026-11-23"}}
    master = seen(type=MASTER, id="m1", recurrence=rule)
    later = {"dateTime": "2026-11-24T11:00:00.0000000", "timeZone": "UTC"}
    end = {"dateTime": "2026-11-24T12:00:00.0000000", "timeZone": "UTC"}
    item = {"@odata.etag": 'W/"k2"', "id": "o1", "seriesMasterId": "m1", "type": OCCURRENCE, "start": later, "end": end}
    assert seen_of(item) is None
    assert seen_of(item, seen(type=MASTER, id="m2", recurrence=rule)) is None
    occurrence = seen_of(item, master)
    assert occurrence is not None
    assert (occurrence.subject, occurrence.series_id, occurrence.recurrence) == ("Lunch", "m1", None)
    assert occurrence.original_start == occurrence.start == datetime(2026, 11, 24, 11, tzinfo=UTC)


@pytest.mark.parametrize("sensitivity", ["private", "personal", "confidential", "secret"])
def test_all_but_normal_is_private(sensitivity: str) -> None:
    assert seen(sensitivity=sensitivity).private


def test_a_write_that_changes_nothing_leaves_no_trace() -> None:
    noise = seen(**{"@odata.etag": 'W/"k9"', "changeKey": "k9", "lastModifiedDateTime": "2026-11-22T08:00:00Z"})
    assert noise.change_key == "k9"
    assert noise.fingerprint == seen().fingerprint
    assert seen(subject="Dinner").fingerprint != seen().fingerprint


def test_change_keys_and_tags_are_two_forms_of_one() -> None:
    assert change_key_of(etag_of("a/+=")) == "a/+="
    assert change_key_of(None) is None


@given(titles | st.just("a\x00b\ud800c"), st.booleans())
def test_what_is_seen_can_be_stored(subject: str, all_day: bool) -> None:
    times = {}
    if all_day:
        times = {
            "isAllDay": True,
            "start": {"dateTime": "2026-11-23T00:00:00.0000000", "timeZone": "UTC"},
            "end": {"dateTime": "2026-11-24T00:00:00.0000000", "timeZone": "UTC"},
        }
    event = seen(subject=subject, **times)
    assert "\x00" not in event.subject
    assert Seen.from_json(event.to_json()) == event


def test_a_recurrence_is_the_same_whatever_graph_fills_in() -> None:
    sent = {
        "pattern": {"type": "weekly", "interval": 2, "daysOfWeek": ["monday", "friday"], "firstDayOfWeek": "monday"},
        "range": {"type": "numbered", "numberOfOccurrences": 4, "startDate": "2026-11-23", "recurrenceTimeZone": "UTC"},
    }
    filled = {
        "pattern": {**sent["pattern"], "daysOfWeek": ["friday", "monday"], "month": 0, "dayOfMonth": 0,
                    "index": "first"},
        "range": {**sent["range"], "endDate": "0001-01-01", "recurrenceTimeZone": "W. Europe Standard Time"},
    }  # fmt: skip
    assert recurrence_of(filled) == recurrence_of(sent)
    assert recurrence_of({**sent, "pattern": {**sent["pattern"], "interval": 1}}) != recurrence_of(sent)


weekdays = st.lists(st.sampled_from(Weekday), min_size=1, max_size=3, unique=True).map(tuple)


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    kind, interval = draw(st.sampled_from(PatternType)), draw(st.integers(1, 5))
    match kind:
        case PatternType.DAILY:
            return Pattern(kind, interval)
        case PatternType.WEEKLY:
            return Pattern(kind, interval, draw(weekdays), draw(st.sampled_from(Weekday)))
    month = draw(st.integers(1, 12)) if kind.value.endswith("Yearly") else None
    if kind.value.startswith("absolute"):
        return Pattern(kind, interval, day_of_month=draw(st.integers(1, 31)), month=month)
    return Pattern(kind, interval, draw(weekdays), index=draw(st.sampled_from(Index)), month=month)


@given(patterns(), st.integers(0, 3_000))
def test_a_series_falls_on_the_days_that_the_calendar_shows(pattern: Pattern, days: int) -> None:
    span = patterned(Recurrence(pattern, Range(MONDAY, until=date(2034, 1, 1))), "UTC")
    full = {"daysOfWeek": [], "firstDayOfWeek": "sunday", "dayOfMonth": 0, "month": 0, "index": "first"}
    span["pattern"] = full | span["pattern"]
    shown = set(dates(span))
    recurrence = Recurrence(pattern, Range(MONDAY, until=date(2034, 1, 1)))
    for day in (date.fromordinal(MONDAY.toordinal() + days + one) for one in range(-10, 40)):
        assert falls_on(recurrence, day) is (day in shown), day
