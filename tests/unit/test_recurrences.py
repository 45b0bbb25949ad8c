"""Rules of RFC 5545 as series of Outlook: dateutil reads the rule, the simulator the series, and they must agree."""

from datetime import date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import orjson
import pytest
from dateutil import rrule
from hypothesis import given
from hypothesis import strategies as st

from calbus.entry import Content, ShowAs
from calbus.graph.series import patterned, zone_of_series
from calbus.recurrence import Recurrence
from services.ingest.recurrences import (
    ENDLESS_FROM_YEAR,
    EXCEPTIONS_MAX,
    LOOKED_AT_MAX_OCCURRENCES,
    NUMBERED_MAX_OCCURRENCES,
    Deviation,
    Refusal,
    Series,
    series_of,
    translate,
)
from services.ingest.times import Slot
from simulator.exchange.expansion import dates
from simulator.exchange.recurrence import read_recurrence
from tests.unit.strategies import upserted

MONDAY = datetime(2026, 11, 23, 9)
HOUR = timedelta(hours=1)
AMSTERDAM = "Europe/Amsterdam"


def slot(start: datetime = MONDAY, length: timedelta = HOUR, zone: str = AMSTERDAM) -> Slot:
    return Slot(start, start + length, zone)


def whole_day(start: datetime = MONDAY, days: int = 1) -> Slot:
    begin = datetime.combine(start.date(), time())
    return Slot(begin, begin + timedelta(days=days), AMSTERDAM)


def series(text: str, first: Slot | None = None, *deviations: Deviation, all_day: bool = False) -> Series:
    translated = translate(text, first or slot(), deviations, all_day=all_day)
    assert isinstance(translated, Series), translated
    return translated


def refusal(text: str, first: Slot | None = None, *deviations: Deviation, all_day: bool = False) -> str:
    translated = translate(text, first or slot(), deviations, all_day=all_day)
    assert isinstance(translated, Refusal), translated
    return translated.says


def pattern(text: str, first: Slot | None = None) -> dict:
    return patterned(series(text, first).recurrence, "UTC")["pattern"]


def days_in_outlook(recurrence: Recurrence, number: int) -> list[date]:
    """The first days of the series as the simulator, which knows nothing of RFC 5545, expands it."""
    read = read_recurrence("recurrence", patterned(recurrence, "UTC"))
    assert read is not None
    return list(islice(dates(read), number))


# --- What is translated ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=DAILY", {"type": "daily", "interval": 1}),
        ("FREQ=DAILY;INTERVAL=3", {"type": "daily", "interval": 3}),
        ("FREQ=DAILY;BYDAY=SU,MO,TU,WE,TH,FR,SA;INTERVAL=2", {"type": "daily", "interval": 2}),
        (
            "FREQ=WEEKLY",
            {"type": "weekly", "interval": 1, "daysOfWeek": ["monday"], "firstDayOfWeek": "monday"},
        ),
        (
            "freq=weekly;interval=2;byday=tu,mo;wkst=su",
            {"type": "weekly", "interval": 2, "daysOfWeek": ["monday", "tuesday"], "firstDayOfWeek": "sunday"},
        ),
        (
            "FREQ=DAILY;BYDAY=MO,FR",
            {"type": "weekly", "interval": 1, "daysOfWeek": ["monday", "friday"], "firstDayOfWeek": "monday"},
        ),
        (
            "FREQ=MONTHLY;BYDAY=MO",
            {"type": "weekly", "interval": 1, "daysOfWeek": ["monday"], "firstDayOfWeek": "monday"},
        ),
        ("FREQ=MONTHLY", {"type": "absoluteMonthly", "interval": 1, "dayOfMonth": 23}),
        ("FREQ=MONTHLY;BYMONTHDAY=28", {"type": "absoluteMonthly", "interval": 1, "dayOfMonth": 28}),
        (
            "FREQ=MONTHLY;BYDAY=4MO",
            {"type": "relativeMonthly", "interval": 1, "daysOfWeek": ["monday"], "index": "fourth"},
        ),
        (
            "FREQ=MONTHLY;BYDAY=-1FR",
            {"type": "relativeMonthly", "interval": 1, "daysOfWeek": ["friday"], "index": "last"},
        ),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1",
            {
                "type": "relativeMonthly",
                "interval": 1,
                "daysOfWeek": ["monday", "tuesday", "wednesday", "thursday", "friday"],
                "index": "first",
            },
        ),
        ("FREQ=YEARLY", {"type": "absoluteYearly", "interval": 1, "dayOfMonth": 23, "month": 11}),
        (
            "FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU",
            {"type": "relativeYearly", "interval": 1, "daysOfWeek": ["sunday"], "index": "last", "month": 3},
        ),
        # The item's own time of day, said once more.
        ("FREQ=DAILY;BYHOUR=9;BYMINUTE=0;BYSECOND=0", {"type": "daily", "interval": 1}),
    ],
)
def test_a_rule_becomes_a_pattern(rule: str, expected: dict) -> None:
    assert pattern(f"RRULE:{rule}") == expected


def test_the_last_day_of_a_month_is_the_last_of_all_days() -> None:
    recurrence = series("RRULE:FREQ=MONTHLY;BYMONTHDAY=-1").recurrence
    assert days_in_outlook(recurrence, 4) == [
        date(2026, 11, 30),
        date(2026, 12, 31),
        date(2027, 1, 31),
        date(2027, 2, 28),
    ]


def test_the_31st_is_no_problem_where_every_month_has_one() -> None:
    translated = series("RRULE:FREQ=MONTHLY;INTERVAL=12", slot(datetime(2026, 12, 31, 9)))
    assert days_in_outlook(translated.recurrence, 2) == [date(2026, 12, 31), date(2027, 12, 31)]


def test_lines_may_be_folded_and_end_as_anybody_ends_them() -> None:
    translated = series("RRULE:FREQ=DAILY;\r\n COUNT=3\r\nEXDATE;VALUE=DATE:2026\r\n 1124\r\n")
    assert translated.recurrence.range.count == 3
    assert translated.recurrence.cancelled == (date(2026, 11, 24),)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=DAILY", {"type": "noEnd"}),
        ("FREQ=DAILY;COUNT=10", {"type": "numbered", "numberOfOccurrences": 10}),
        ("FREQ=DAILY;UNTIL=20261231", {"type": "endDate", "endDate": "2026-12-31"}),
        ("FREQ=DAILY;UNTIL=20261231T090000", {"type": "endDate", "endDate": "2026-12-31"}),
        ("FREQ=DAILY;UNTIL=20261231T080000Z", {"type": "endDate", "endDate": "2026-12-31"}),
        ("FREQ=DAILY;UNTIL=20261231T075959Z", {"type": "endDate", "endDate": "2026-12-30"}),
        ("FREQ=DAILY;UNTIL=20261231T233000Z", {"type": "endDate", "endDate": "2026-12-31"}),
        # In summer nine o'clock is seven in UTC.
        ("FREQ=DAILY;UNTIL=20270701T070000Z", {"type": "endDate", "endDate": "2027-07-01"}),
        ("FREQ=DAILY;UNTIL=99991231T235959Z", {"type": "noEnd"}),
        ("FREQ=YEARLY;COUNT=900", {"type": "noEnd"}),
        # More than Exchange numbers.
        ("FREQ=DAILY;COUNT=1000", {"type": "endDate", "endDate": "2029-08-18"}),
    ],
)
def test_the_end_of_a_rule(rule: str, expected: dict) -> None:
    span = patterned(series(f"RRULE:{rule}").recurrence, "W. Europe Standard Time")["range"]
    assert span == {"startDate": "2026-11-23", "recurrenceTimeZone": "W. Europe Standard Time", **expected}
    assert NUMBERED_MAX_OCCURRENCES == 999


def test_a_start_that_is_no_day_of_the_rule_gives_way_to_the_first_that_is() -> None:
    translated = series("RRULE:FREQ=WEEKLY;BYDAY=WE;INTERVAL=2;COUNT=2")
    assert translated.slot.start == datetime(2026, 11, 25, 9)
    assert translated.slot.end == datetime(2026, 11, 25, 10)
    assert translated.recurrence.range.start == date(2026, 11, 25)
    assert days_in_outlook(translated.recurrence, 9) == [date(2026, 11, 25), date(2026, 12, 9)]


# --- What is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no RRULE line"),
        ("EXDATE:20261124T090000", "no RRULE line"),
        ("FREQ=DAILY", "neither an RRULE: nor an EXDATE: line"),
        ("RRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY", "Several RRULE lines"),
        ("RRULE;X-A=1:FREQ=DAILY", "no parameters"),
        ("RRULE:FREQ=DAILY\nRDATE:20261201T090000", "no dates beside their rule"),
        ("RRULE:FREQ=DAILY\nEXRULE:FREQ=WEEKLY", "no rule of exceptions"),
        ("DTSTART:20261201T090000\nRRULE:FREQ=DAILY", "the item's `start`"),
        ("RRULE:FREQ=SECONDLY", "at most one occurrence a day"),
        ("RRULE:FREQ=MINUTELY;INTERVAL=15", "at most one occurrence a day"),
        ("RRULE:FREQ=HOURLY", "at most one occurrence a day"),
        ("RRULE:FREQ=SOMETIMES", "FREQ must be"),
        ("RRULE:INTERVAL=2", "FREQ must be"),
        ("RRULE:FREQ", "not a part of a rule"),
        ("RRULE:FREQ=", "not a part of a rule"),
        ("RRULE:FREQ=DAILY;FREQ=WEEKLY", "FREQ is given twice"),
        ("RRULE:FREQ=DAILY;COLOUR=RED", "COLOUR is not a part of a rule that RFC 5545 knows"),
        ("RRULE:FREQ=DAILY;INTERVAL=0", "INTERVAL=0 is not a whole number"),
        ("RRULE:FREQ=DAILY;INTERVAL=x", "INTERVAL=X is not a whole number"),
        ("RRULE:FREQ=DAILY;INTERVAL=1000", "Outlook counts to 999"),
        ("RRULE:FREQ=WEEKLY;INTERVAL=100", "Outlook counts to 99"),
        ("RRULE:FREQ=DAILY;COUNT=0", "COUNT=0 is not a whole number"),
        ("RRULE:FREQ=DAILY;COUNT=3;UNTIL=20261231", "COUNT and UNTIL exclude each other"),
        ("RRULE:FREQ=DAILY;COUNT=3661", f"more than {LOOKED_AT_MAX_OCCURRENCES} occurrences"),
        ("RRULE:FREQ=DAILY;UNTIL=tomorrow", "UNTIL=TOMORROW is not a date"),
        ("RRULE:FREQ=DAILY;UNTIL=20260230", "UNTIL=20260230 is not a date"),
        ("RRULE:FREQ=DAILY;UNTIL=20261122", "ends before its first occurrence"),
        ("RRULE:FREQ=DAILY;WKST=XX", "WKST must be a day"),
        ("RRULE:FREQ=DAILY;BYHOUR=9,17", "BYHOUR: every occurrence"),
        ("RRULE:FREQ=DAILY;BYHOUR=10", "BYHOUR: every occurrence"),
        ("RRULE:FREQ=DAILY;BYMINUTE=30", "BYMINUTE: every occurrence"),
        ("RRULE:FREQ=DAILY;BYHOUR=24", "BYHOUR=24 is not a whole number"),
        ("RRULE:FREQ=DAILY;BYMONTH=1", "BYMONTH with FREQ=DAILY"),
        ("RRULE:FREQ=DAILY;BYMONTHDAY=1", "BYMONTHDAY with FREQ=DAILY"),
        ("RRULE:FREQ=DAILY;BYDAY=1MO", "takes no numbers"),
        ("RRULE:FREQ=DAILY;BYDAY=MO;INTERVAL=2", "not both"),
        ("RRULE:FREQ=DAILY;BYSETPOS=1", "BYSETPOS with FREQ=DAILY"),
        ("RRULE:FREQ=WEEKLY;BYDAY=2MO", "takes no numbers"),
        ("RRULE:FREQ=WEEKLY;BYDAY=XX", "BYDAY=XX is not a day"),
        ("RRULE:FREQ=WEEKLY;BYDAY=0MO", "BYDAY=0MO is not a day"),
        ("RRULE:FREQ=WEEKLY;BYMONTH=1", "BYMONTH with FREQ=WEEKLY"),
        ("RRULE:FREQ=WEEKLY;BYDAY=MO,TU;BYSETPOS=1", "BYSETPOS with FREQ=WEEKLY"),
        ("RRULE:FREQ=MONTHLY;BYMONTHDAY=1,15", "Several days in BYMONTHDAY"),
        ("RRULE:FREQ=MONTHLY;BYMONTHDAY=-2", "only its last day"),
        ("RRULE:FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY=0 names no day"),
        ("RRULE:FREQ=MONTHLY;BYMONTHDAY=29", "Day 29 of every month"),
        ("RRULE:FREQ=MONTHLY;BYMONTHDAY=31", "Outlook takes its last day"),
        ("RRULE:FREQ=MONTHLY;BYMONTHDAY=13;BYDAY=FR", "BYDAY together with BYMONTHDAY"),
        ("RRULE:FREQ=MONTHLY;BYMONTHDAY=1;BYSETPOS=1", "BYSETPOS without BYDAY"),
        ("RRULE:FREQ=MONTHLY;BYDAY=5MO", "not number 5"),
        ("RRULE:FREQ=MONTHLY;BYDAY=-2MO", "not number -2"),
        ("RRULE:FREQ=MONTHLY;BYDAY=1MO,3MO", "Several days in a numbered BYDAY"),
        ("RRULE:FREQ=MONTHLY;BYDAY=1MO;BYSETPOS=1", "together with a number"),
        ("RRULE:FREQ=MONTHLY;BYDAY=MO;BYSETPOS=1,3", "Several numbers in BYSETPOS"),
        ("RRULE:FREQ=MONTHLY;BYDAY=MO;BYSETPOS=5", "not number 5"),
        ("RRULE:FREQ=MONTHLY;BYDAY=MO,TH;BYSETPOS=1", "BYSETPOS of these days"),
        ("RRULE:FREQ=MONTHLY;BYDAY=MO;INTERVAL=2", "not both"),
        ("RRULE:FREQ=MONTHLY;BYMONTH=1,2", "BYMONTH with FREQ=MONTHLY"),
        ("RRULE:FREQ=YEARLY;BYWEEKNO=20", "weeks of a year"),
        ("RRULE:FREQ=YEARLY;BYYEARDAY=100", "days of a year"),
        ("RRULE:FREQ=YEARLY;BYMONTH=1,7", "Several months"),
        ("RRULE:FREQ=YEARLY;BYDAY=20MO", "needs BYMONTH"),
        ("RRULE:FREQ=YEARLY;BYMONTHDAY=1", "needs BYMONTH"),
        ("RRULE:FREQ=YEARLY;BYMONTH=1;BYDAY=MO", "one day a year"),
        ("RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "29 February"),
        ("RRULE:FREQ=YEARLY;BYMONTH=4;BYMONTHDAY=31", "BYMONTH=4 has no day 31"),
        ("RRULE:FREQ=YEARLY;RSCALE=CHINESE", "Gregorian"),
        ("RRULE:FREQ=DAILY\nEXDATE:soon", "EXDATE=soon is not a date"),
        # There is no such instant on the wall clocks of zones east of UTC, or west of it.
        ("RRULE:FREQ=DAILY;COUNT=3\nEXDATE:99991231T235959Z", "EXDATE=99991231T235959Z: no calendar shows the years"),
        ("RRULE:FREQ=DAILY;COUNT=3\nEXDATE:00010101T000000Z", "EXDATE=00010101T000000Z: no item is from before 1970"),
        ("RRULE:FREQ=DAILY;UNTIL=00010101T000000Z", "UNTIL=00010101T000000Z: no item is from before 1970"),
        ("RRULE:FREQ=DAILY;UNTIL=00010101", "UNTIL=00010101: no item is from before 1970"),
        ("RRULE:FREQ=DAILY\nEXDATE;TZID=Nowhere/Land:20261124T090000", "not an IANA time zone name"),
        ("RRULE:FREQ=DAILY\nEXDATE;X-WHAT=1:20261124T090000", "only TZID and VALUE"),
        ("RRULE:FREQ=DAILY;COUNT=2\nEXDATE;VALUE=DATE:20261123,20261124", "Every occurrence is cancelled"),
        ("RRULE:FREQ=DAILY\nEXDATE;VALUE=DATE:20380101", "occurrences ahead"),
    ],
)
def test_what_outlook_cannot_express_is_refused_in_words(text: str, words: str) -> None:
    assert words in refusal(text)


def test_the_leap_day_and_the_31st_are_refused_when_the_start_implies_them() -> None:
    assert "29 February" in refusal("RRULE:FREQ=YEARLY", slot(datetime(2028, 2, 29, 9)))
    assert "Day 31" in refusal("RRULE:FREQ=MONTHLY", slot(datetime(2026, 12, 31, 9)))


@pytest.mark.parametrize(
    ("rule", "length", "fits"),
    [
        ("FREQ=DAILY", timedelta(days=1), True),
        ("FREQ=DAILY", timedelta(days=1, minutes=1), False),
        ("FREQ=WEEKLY;BYDAY=MO,TH", timedelta(days=3), True),
        ("FREQ=WEEKLY;BYDAY=MO,TH", timedelta(days=3, minutes=1), False),
        ("FREQ=WEEKLY;BYDAY=MO,SU;WKST=SU;INTERVAL=2", timedelta(days=1), True),
        ("FREQ=MONTHLY", timedelta(days=28), True),
        ("FREQ=MONTHLY;BYDAY=4MO", timedelta(days=29), False),
        ("FREQ=YEARLY", timedelta(days=300), True),
    ],
)
def test_occurrences_may_not_overlap(rule: str, length: timedelta, fits: bool) -> None:
    translated = translate(f"RRULE:{rule}", slot(length=length))
    assert isinstance(translated, Series) is fits
    if isinstance(translated, Refusal):
        assert "lasts longer" in translated.says


def test_long_quotations_are_cut() -> None:
    assert len(refusal("RRULE:FREQ=DAILY;UNTIL=" + "9" * 1_500)) < 200


# --- Cancelled and moved occurrences ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "excluded",
    [
        "EXDATE:20261125T090000",
        "EXDATE:20261125T080000Z",
        "EXDATE;VALUE=DATE:20261125",
        "EXDATE;TZID=Europe/Amsterdam:20261125T090000",
        "EXDATE;TZID=America/New_York:20261125T030000",
        "exdate:20261125t090000,20261125T090000",
    ],
)
def test_an_exdate_cancels_however_it_names_the_occurrence(excluded: str) -> None:
    assert series(f"RRULE:FREQ=DAILY;COUNT=5\n{excluded}").recurrence.cancelled == (date(2026, 11, 25),)


@pytest.mark.parametrize(
    "excluded", ["EXDATE:20261125T100000", "EXDATE;VALUE=DATE:20261122", "EXDATE;VALUE=DATE:20270101"]
)
def test_an_exdate_that_is_no_occurrence_changes_nothing(excluded: str) -> None:
    assert series(f"RRULE:FREQ=DAILY;COUNT=5\n{excluded}").recurrence.cancelled == ()


def test_an_occurrence_may_move_up_to_its_neighbours() -> None:
    later = Deviation(datetime(2026, 11, 30, 9), slot(datetime(2026, 12, 2, 14), 2 * HOUR))
    gone = Deviation(datetime(2026, 12, 7, 9))
    recurrence = series("RRULE:FREQ=WEEKLY", None, later, gone).recurrence
    [moved] = recurrence.moved
    assert (moved.day, moved.start, moved.end) == (
        date(2026, 11, 30),
        datetime(2026, 12, 2, 14),
        datetime(2026, 12, 2, 16),
    )
    assert recurrence.cancelled == (date(2026, 12, 7),)


@pytest.mark.parametrize(
    ("to", "length", "allowed"),
    [
        (datetime(2026, 11, 24, 23), HOUR, True),
        (datetime(2026, 11, 24, 23), 10 * HOUR, True),
        (datetime(2026, 11, 24, 23), 11 * HOUR, False),
        (datetime(2026, 11, 25, 8), HOUR, False),
        (datetime(2026, 11, 23, 18), HOUR, False),
    ],
)
def test_an_occurrence_may_not_pass_or_overlap_its_neighbours(to: datetime, length: timedelta, allowed: bool) -> None:
    translated = translate("RRULE:FREQ=DAILY", slot(), [Deviation(datetime(2026, 11, 24, 9), slot(to, length))])
    assert isinstance(translated, Series) is allowed
    if isinstance(translated, Refusal):
        assert "neighbours" in translated.says


def test_a_neighbour_that_is_cancelled_or_moves_too_makes_room() -> None:
    onto = Deviation(datetime(2026, 11, 24, 9), slot(datetime(2026, 11, 25, 9)))
    assert series("RRULE:FREQ=DAILY", None, onto, Deviation(date(2026, 11, 25)))
    further = Deviation(datetime(2026, 11, 25, 9), slot(datetime(2026, 11, 26, 9)))
    assert "neighbours" in refusal("RRULE:FREQ=DAILY", None, onto, further)
    both = series("RRULE:FREQ=DAILY", None, onto, further, Deviation(date(2026, 11, 26)))
    assert list(both.recurrence.exceptions()) == [
        date(2026, 11, 26),
        both.recurrence.moved[1],
        both.recurrence.moved[0],
    ]


def test_what_is_moved_and_cancelled_is_cancelled() -> None:
    there = Deviation(datetime(2026, 11, 24, 9), slot(datetime(2026, 11, 24, 14)))
    recurrence = series("RRULE:FREQ=DAILY\nEXDATE;VALUE=DATE:20261124", None, there).recurrence
    assert (recurrence.cancelled, recurrence.moved) == ((date(2026, 11, 24),), ())


def test_a_moved_occurrence_that_the_rule_does_not_have_is_refused() -> None:
    there = Deviation(datetime(2026, 11, 24, 10), slot(datetime(2026, 11, 24, 14)))
    assert "the rule has none at 2026-11-24T10:00" in refusal("RRULE:FREQ=DAILY", None, there)


def test_too_many_exceptions_are_refused() -> None:
    days = [Deviation(date(2026, 11, 24) + timedelta(days=number)) for number in range(EXCEPTIONS_MAX + 1)]
    assert series("RRULE:FREQ=DAILY", None, *days[1:]).recurrence.cancelled
    assert f"more than {EXCEPTIONS_MAX}" in refusal("RRULE:FREQ=DAILY", None, *days)


def test_an_occurrence_at_a_skipped_time_is_found_by_its_instant() -> None:
    nights = slot(datetime(2027, 3, 1, 2, 30))
    skipped = "EXDATE:20270328T013000Z"  # half past two that is half past three
    assert series(f"RRULE:FREQ=DAILY\n{skipped}", nights).recurrence.cancelled == (date(2027, 3, 28),)


# --- Whole days ------------------------------------------------------------------------------------------------------


def test_whole_days() -> None:
    translated = series(
        "RRULE:FREQ=WEEKLY;UNTIL=20261207T000000Z\nEXDATE;VALUE=DATE:20261130", whole_day(days=2), all_day=True
    )
    assert translated.slot == whole_day(days=2)
    assert translated.recurrence.cancelled == (date(2026, 11, 30),)
    assert days_in_outlook(translated.recurrence, 9) == [date(2026, 11, 23), date(2026, 11, 30), date(2026, 12, 7)]
    assert "lasts longer" in refusal("RRULE:FREQ=DAILY", whole_day(days=2), all_day=True)


# --- Items -----------------------------------------------------------------------------------------------------------


def item_series(zone: str = AMSTERDAM, **fields: object) -> Series | Refusal:
    item = upserted(**{"recurrence": "RRULE:FREQ=DAILY", "time_zone": zone, **fields})
    assert item.start is not None
    return series_of(item, item.start, "UTC", 60)


def item_slot(**fields: object) -> Slot:
    translated = item_series(**fields)
    assert isinstance(translated, Series), translated
    return translated.slot


def test_a_series_keeps_its_zone_and_its_wall_clock() -> None:
    assert item_slot(start="2026-11-23T09:00") == slot()
    assert item_slot(start="2026-11-23T08:00:00Z") == slot()
    assert item_slot(start="2026-11-23T09:00", duration="PT2H") == slot(length=2 * HOUR)
    assert item_slot(start="2026-11-23T09:00", end="2026-11-23T10:30") == slot(length=1.5 * HOUR)


def test_a_night_shift_that_begins_when_clocks_change_is_as_long_as_the_others() -> None:
    night = Slot(datetime(2026, 10, 24, 22), datetime(2026, 10, 25, 6), AMSTERDAM)
    assert item_slot(start="2026-10-24T22:00", duration="PT8H") == night
    assert item_slot(start="2026-10-24T22:00", end="2026-10-25T06:00") == night
    assert item_slot(start="2026-10-24T20:00:00Z", end="2026-10-25T04:00:00Z") == night


def test_a_series_that_begins_at_a_time_that_happens_twice_stays_in_its_zone() -> None:
    assert item_slot(start="2026-10-25T02:30") == slot(datetime(2026, 10, 25, 2, 30))


def test_a_series_that_begins_at_a_time_that_is_skipped_is_refused() -> None:
    translated = item_series(start="2027-03-28T02:30")
    assert isinstance(translated, Refusal)
    assert "2027-03-28 02:30, which daylight saving skips" in translated.says


def test_an_items_occurrences_are_moved_and_cancelled() -> None:
    translated = item_series(
        start="2026-11-23T09:00",
        duration="PT45M",
        occurrences=(
            {"original_start": "2026-11-24T09:00", "start": "2026-11-24T14:00"},
            {"original_start": "2026-11-25T08:00:00Z", "start": "2026-11-25T14:00:00Z", "duration": "PT2H"},
            {"original_start": "2026-11-26T09:00", "cancelled": True},
        ),
    )
    assert isinstance(translated, Series)
    assert [(move.start, move.end - move.start) for move in translated.recurrence.moved] == [
        (datetime(2026, 11, 24, 14), timedelta(minutes=45)),
        (datetime(2026, 11, 25, 15), 2 * HOUR),
    ]
    assert translated.recurrence.cancelled == (date(2026, 11, 26),)


def test_an_occurrence_of_whole_days_is_moved_by_its_date() -> None:
    translated = item_series(
        all_day=True,
        start="2026-11-23",
        recurrence="RRULE:FREQ=WEEKLY",
        occurrences=({"original_start": "2026-11-30", "start": "2026-12-01"},),
    )
    assert isinstance(translated, Series)
    [moved] = translated.recurrence.moved
    assert (moved.start, moved.end) == (datetime(2026, 12, 1), datetime(2026, 12, 2))


# --- Properties ------------------------------------------------------------------------------------------------------

DAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")


@st.composite
def rules(draw: st.DrawFn) -> str:
    """Rules with any of the parts that may be expressible, in combinations that often are not."""
    frequency = draw(st.sampled_from(("DAILY", "WEEKLY", "MONTHLY", "YEARLY")))
    parts = {"FREQ": frequency}
    if draw(st.booleans()):
        parts["INTERVAL"] = str(draw(st.integers(1, 14)))
    if draw(st.booleans()):
        parts["WKST"] = draw(st.sampled_from(DAYS))
    if draw(st.booleans()):
        sets = st.lists(st.sampled_from(DAYS), min_size=1, max_size=7, unique=True) | st.just(DAYS[:5])
        number = draw(st.sampled_from(("", "", "1", "2", "4", "5", "-1")))
        parts["BYDAY"] = ",".join(number + day for day in draw(sets))
    if draw(st.integers(0, 3)) == 0:
        parts["BYMONTHDAY"] = str(draw(st.sampled_from((1, 13, 28, 29, 30, 31, -1, -2))))
    if draw(st.integers(0, 3)) == 0 or (frequency == "YEARLY" and len(parts) > 1):
        parts["BYMONTH"] = str(draw(st.integers(1, 12)))
    if draw(st.integers(0, 3)) == 0:
        parts["BYSETPOS"] = str(draw(st.sampled_from((1, 2, 3, 4, 5, -1))))
    return ";".join(f"{name}={value}" for name, value in parts.items())


starts = st.dates(date(2020, 1, 1), date(2040, 1, 1)).map(lambda day: datetime.combine(day, time(9, 30)))
SEEN = 40


def days_of_rule(text: str, start: datetime, number: int) -> list[date]:
    rule = rrule.rrulestr(text, dtstart=start)
    return [moment.date() for moment in islice(rule, number)]


def in_our_time(days: list[date]) -> list[date]:
    """The days before the years for which nobody plans."""
    return [day for day in days if day.year < ENDLESS_FROM_YEAR]


@given(rules(), starts)
def test_a_translated_rule_has_the_days_of_the_rule(text: str, start: datetime) -> None:
    translated = translate(f"RRULE:{text}", slot(start))
    if isinstance(translated, Refusal):
        return  # that it is refused rightly is said above
    assert days_in_outlook(translated.recurrence, SEEN) == days_of_rule(text, start, SEEN)
    assert translated.slot.start.date() == translated.recurrence.range.start


@given(rules(), starts, st.integers(1, 30))
def test_a_counted_rule_has_as_many_days(text: str, start: datetime, count: int) -> None:
    text = f"{text};COUNT={count}"
    translated = translate(f"RRULE:{text}", slot(start))
    if isinstance(translated, Refusal):
        return  # that it is refused rightly is said above
    shown = days_in_outlook(translated.recurrence, SEEN)
    assert in_our_time(shown) == in_our_time(days_of_rule(text, start, SEEN))
    assert translated.recurrence.range.until in (shown[-1], None)


@given(
    rules(), starts, st.timedeltas(timedelta(0), timedelta(days=900)), st.sampled_from((AMSTERDAM, "America/New_York"))
)
def test_a_rule_with_an_end_has_the_days_up_to_it(text: str, start: datetime, after: timedelta, zone: str) -> None:
    until = (start + after).replace(tzinfo=ZoneInfo(zone))
    text = f"{text};UNTIL={until.astimezone(ZoneInfo('UTC')):%Y%m%dT%H%M%SZ}"
    translated = translate(f"RRULE:{text}", slot(start, zone=zone))
    if isinstance(translated, Refusal):
        return  # that it is refused rightly is said above
    expected = rrule.rrulestr(text, dtstart=start.replace(tzinfo=ZoneInfo(zone)))
    assert days_in_outlook(translated.recurrence, SEEN) == [moment.date() for moment in islice(expected, SEEN)]


EXPRESSIBLE = ("FREQ=DAILY;INTERVAL=2", "FREQ=WEEKLY;BYDAY=MO,TH,FR", "FREQ=MONTHLY;BYDAY=-1FR", "FREQ=DAILY;COUNT=13")


@given(
    st.sampled_from(EXPRESSIBLE),
    starts,
    st.sets(st.integers(0, 11), max_size=5),
    st.sets(st.integers(0, 12), max_size=5),
)
def test_cancelled_and_moved_days_are_days_of_the_series(
    text: str, start: datetime, cancelled: set[int], moved: set[int]
) -> None:
    days = days_of_rule(text, start, 13)
    deviations = [Deviation(days[number]) for number in cancelled]
    for number in moved:
        at = datetime.combine(days[number], time(9, 30))
        deviations.append(Deviation(at, slot(at.replace(hour=15))))
    recurrence = series(f"RRULE:{text}", slot(start), *deviations).recurrence
    shown = set(days_in_outlook(recurrence, 13))
    assert set(recurrence.cancelled) == {days[number] for number in cancelled}
    assert {move.day for move in recurrence.moved} == {days[number] for number in moved - cancelled}
    assert shown.issuperset(recurrence.cancelled)
    assert len(list(recurrence.exceptions())) == len(recurrence.cancelled) + len(recurrence.moved)


@given(st.text(max_size=60) | st.text("RULEFQXDATINV=;:,0123456789\n -", max_size=80), starts, st.booleans())
def test_no_text_breaks_the_translation(text: str, start: datetime, rule: bool) -> None:
    assert isinstance(translate(f"RRULE:FREQ=DAILY;{text}" if rule else text, slot(start)), Series | Refusal)


@given(rules(), starts)
def test_a_recurrence_survives_being_stored(text: str, start: datetime) -> None:
    first = datetime.combine(start.date(), time(9, 30))
    moved = Deviation(first, slot(first.replace(hour=15)))
    translated = translate(f"RRULE:{text};UNTIL=20450101", slot(start), [Deviation(start.date()), moved])
    if isinstance(translated, Refusal):
        return  # that it is refused rightly is said above
    stored = orjson.loads(orjson.dumps(translated.recurrence))
    assert Recurrence.from_json(stored) == translated.recurrence


# --- The zone of a series --------------------------------------------------------------------------------------------


def content(zone: str, start: datetime = MONDAY, *, all_day: bool = False, until: str = "") -> Content:
    first = whole_day(start) if all_day else slot(start, zone=zone)
    translated = series(f"RRULE:FREQ=DAILY{until}", first, all_day=all_day)
    return Content(
        subject="",
        body="",
        start=first.start,
        end=first.end,
        time_zone=zone,
        all_day=all_day,
        show_as=ShowAs.BUSY,
        importance="normal",
        private=False,
        category="",
        reminder_minutes=None,
        place="",
        recurrence=translated.recurrence,
    )


def test_a_series_is_in_the_windows_zone_that_keeps_the_same_time_throughout() -> None:
    assert zone_of_series(content(AMSTERDAM)) == "W. Europe Standard Time"
    assert zone_of_series(content("Europe/Stockholm")) == "W. Europe Standard Time"
    assert zone_of_series(content("UTC")) == "UTC"


def test_where_windows_differs_a_series_keeps_its_own_zone_and_is_never_in_utc() -> None:
    # Windows takes Troll station for Greenwich, where summer is one hour of the station's two.
    assert zone_of_series(content("Antarctica/Troll")) == "Antarctica/Troll"
    winter = content("Antarctica/Troll", until=";COUNT=5")
    assert zone_of_series(winter) == "Antarctica/Troll"


def test_whole_days_float_in_any_zone() -> None:
    assert zone_of_series(content("Antarctica/Troll", all_day=True)) in ("UTC", "Greenwich Standard Time")
    assert zone_of_series(content(AMSTERDAM, all_day=True)) == "W. Europe Standard Time"
