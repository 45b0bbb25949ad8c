"""Entries in the words of Graph: paths, bodies, and times that any mailbox understands."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tzlocal.windows_tz import win_tz

from calbus.entry import ItemKey, Place, ShowAs, entry_id_of, transaction_id_of
from calbus.graph import events
from calbus.graph.client import Request
from calbus.graph.events import MARKER, event_of, graph_times
from calbus.recurrence import Pattern, PatternType, Range, Recurrence
from schemas.items import Kind
from tests.unit import strategies as some
from tests.unit.strategies import content

PLACE = Place("contoso.example", "anna@contoso.example")
ENTRY_ID = entry_id_of(ItemKey("contoso", "planner", Kind.ACTION, "A-1"), "anna")
TRANSACTION_ID = transaction_id_of(ENTRY_ID, 0)


def requests_about(place: Place, event_id: str) -> list[Request]:
    return [
        events.update(place, event_id, 'W/"1"', content()),
        events.delete(place, event_id, 'W/"1"'),
        events.read(place, event_id),
    ]


def body_of(request: Request) -> dict[str, Any]:
    assert request.body is not None
    return request.body


# -- requests ---------------------------------------------------------------------------------------------------------


@given(some.mailboxes | st.just("o'brien+x@contoso.example"), st.text("aZ09/+=-_%?# é", min_size=1))
def test_mailbox_and_id_are_one_path_segment_each(mailbox: str, event_id: str) -> None:
    for request in requests_about(Place("contoso.example", mailbox), event_id):
        segments = urlsplit(request.path).path.split("/")
        assert [unquote(segment) for segment in segments] == ["", "users", mailbox, "events", event_id]
        assert "'" not in request.path


@given(some.mailboxes)
def test_new_events_go_into_the_main_calendar(mailbox: str) -> None:
    request = events.create(Place("contoso.example", mailbox), ENTRY_ID, TRANSACTION_ID, content())
    assert [unquote(part) for part in request.path.split("/")] == ["", "users", mailbox, "calendar", "events"]


def test_a_search_asks_for_the_mark_of_this_entry() -> None:
    query = urlsplit(events.find(PLACE, ENTRY_ID).path).query
    assert unquote(query) == (
        f"$filter=singleValueExtendedProperties/Any(ep: ep/id eq '{MARKER}' and ep/value eq '{ENTRY_ID}')"
        "&$select=id,changeKey,transactionId"
    )
    assert "+" not in query


def test_a_create_bears_the_mark_and_the_transaction_id() -> None:
    body = body_of(events.create(PLACE, ENTRY_ID, TRANSACTION_ID, content()))
    assert body["transactionId"] == str(TRANSACTION_ID)
    assert body["singleValueExtendedProperties"] == [{"id": MARKER, "value": str(ENTRY_ID)}]


def test_an_update_leaves_mark_and_transaction_id_alone() -> None:
    body = body_of(events.update(PLACE, "E1", 'W/"1"', content()))
    assert not {"transactionId", "singleValueExtendedProperties"} & set(body)


@pytest.mark.parametrize(
    "request_", [events.update(PLACE, "E1", 'W/"1"', content()), events.delete(PLACE, "E1", 'W/"1"')]
)
def test_a_write_is_refused_if_the_event_was_changed_meanwhile(request_: Request) -> None:
    assert request_.headers["If-Match"] == 'W/"1"'


@pytest.mark.parametrize(
    "request_",
    [
        *requests_about(PLACE, "E1"),
        events.find(PLACE, ENTRY_ID),
        events.create(PLACE, ENTRY_ID, TRANSACTION_ID, content()),
    ],
    ids=lambda request: request.operation,
)
def test_every_request_speaks_of_immutable_ids(request_: Request) -> None:
    assert request_.headers["Prefer"] == 'IdType="ImmutableId"'


# -- bodies -----------------------------------------------------------------------------------------------------------


def test_an_update_names_everything_that_a_create_does() -> None:
    created = set(body_of(events.create(PLACE, ENTRY_ID, TRANSACTION_ID, content())))
    updated = set(body_of(events.update(PLACE, "E1", 'W/"1"', content())))
    assert created - updated == {"transactionId", "singleValueExtendedProperties"}


def test_an_update_says_that_an_event_does_not_recur() -> None:
    assert body_of(events.update(PLACE, "E1", 'W/"1"', content()))["recurrence"] is None


def test_a_series_says_its_zone_with_its_times_and_with_its_range() -> None:
    pattern = Pattern(PatternType.DAILY, 2)
    daily = content(recurrence=Recurrence(pattern, Range(date(2026, 11, 23))), time_zone="Antarctica/Troll")
    for event in (event_of(daily), body_of(events.update(PLACE, "E1", 'W/"1"', daily))):
        assert event["start"] == {"dateTime": "2026-11-23T09:00:00", "timeZone": "Antarctica/Troll"}
        assert event["recurrence"] == {
            "pattern": {"type": "daily", "interval": 2},
            "range": {"type": "noEnd", "startDate": "2026-11-23", "recurrenceTimeZone": "Antarctica/Troll"},
        }


def test_an_event_invites_nobody() -> None:
    assert "attendees" not in event_of(content())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"subject": "✔ Done"}, {"subject": "✔ Done"}),
        ({"body": "Ask."}, {"body": {"contentType": "text", "content": "Ask."}}),
        ({"show_as": ShowAs.FREE}, {"showAs": "free"}),
        ({"importance": "high"}, {"importance": "high"}),
        ({"private": True}, {"sensitivity": "private"}),
        ({"private": False}, {"sensitivity": "normal"}),
        ({"category": "Open"}, {"categories": ["Open"]}),
        ({"reminder_minutes": 15}, {"isReminderOn": True, "reminderMinutesBeforeStart": 15}),
        ({"reminder_minutes": 0}, {"isReminderOn": True, "reminderMinutesBeforeStart": 0}),
        ({"reminder_minutes": None}, {"isReminderOn": False, "reminderMinutesBeforeStart": 0}),
        ({"place": "Room 2"}, {"location": {"displayName": "Room 2"}}),
        ({"all_day": False}, {"isAllDay": False}),
    ],
)
def test_an_event_says_what_the_entry_says(fields: dict[str, Any], said: dict[str, Any]) -> None:
    event = event_of(content(**fields))
    assert {name: event[name] for name in said} == said


# -- times ------------------------------------------------------------------------------------------------------------


def instant(moment: datetime, zone: str) -> datetime:
    return moment.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def as_graph_reads(moment: datetime, zone: str) -> datetime:
    """The instant that Graph understands: Windows' names stand for the zones that CLDR says they do."""
    return instant(moment, "UTC" if zone == "UTC" else win_tz[zone])


@pytest.mark.parametrize(
    ("zone", "windows"),
    [
        ("Europe/Amsterdam", "W. Europe Standard Time"),
        ("Asia/Kolkata", "India Standard Time"),
        ("Asia/Calcutta", "India Standard Time"),
        ("America/St_Johns", "Newfoundland Standard Time"),
        ("Africa/Casablanca", "Morocco Standard Time"),
        ("UTC", "UTC"),
    ],
)
def test_a_zone_that_windows_has_goes_by_its_name_there(zone: str, windows: str) -> None:
    start, end, name = graph_times(content(time_zone=zone))
    assert (start, end, name) == (datetime(2026, 11, 23, 9, 0), datetime(2026, 11, 23, 9, 30), windows)


def test_a_zone_that_windows_does_not_have_is_said_in_utc() -> None:
    start, end, name = graph_times(content(time_zone="Antarctica/Troll"))
    assert (start, end, name) == (datetime(2026, 11, 23, 9, 0), datetime(2026, 11, 23, 9, 30), "UTC")


def test_times_carry_no_offset() -> None:
    assert event_of(content())["start"] == {"dateTime": "2026-11-23T09:00:00", "timeZone": "W. Europe Standard Time"}


@given(some.zones, some.wall_clocks, st.timedeltas(timedelta(minutes=1), timedelta(days=2)))
@example("Antarctica/Troll", datetime(2026, 7, 1, 9, 0), timedelta(hours=1))
def test_graph_understands_the_same_instants_in_every_zone(zone: str, start: datetime, length: timedelta) -> None:
    begin = start.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    local_begin, local_end = (moment.astimezone(ZoneInfo(zone)) for moment in (begin, begin + length))
    if local_begin.fold or local_end.fold:
        return  # planning says these in UTC
    entry = content(time_zone=zone, start=local_begin.replace(tzinfo=None), end=local_end.replace(tzinfo=None))
    graph_start, graph_end, name = graph_times(entry)
    assert as_graph_reads(graph_start, name) == begin
    assert as_graph_reads(graph_end, name) == begin + length


def test_whole_days_keep_their_dates_in_every_zone() -> None:
    for zone in some.ZONES:
        entry = content(time_zone=zone, all_day=True, start=datetime(2026, 10, 25), end=datetime(2026, 10, 26))
        start, end, name = graph_times(entry)
        assert (start, end) == (entry.start, entry.end)
        assert name == "UTC" or name in win_tz


@given(some.zones, some.wall_clocks)
def test_the_zone_is_always_one_that_windows_has(zone: str, start: datetime) -> None:
    name = graph_times(content(time_zone=zone, start=start, end=start + timedelta(hours=1)))[2]
    assert name == "UTC" or name in win_tz
