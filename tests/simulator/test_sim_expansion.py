"""The days of a recurrence, compared with dateutil's independent reading of the same rule (RFC 5545)."""

from datetime import date, datetime, timedelta
from itertools import islice

import pytest
from dateutil import rrule
from hypothesis import given
from hypothesis import strategies as st

from simulator.exchange.expansion import dates

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
INDEXES = {"first": 1, "second": 2, "third": 3, "fourth": 4, "last": -1}
UNUSED = {"dayOfMonth": 0, "month": 0, "daysOfWeek": [], "firstDayOfWeek": "sunday", "index": "first"}

some_days = st.lists(st.sampled_from(DAYS), min_size=1, max_size=7, unique=True)
first_day = st.sampled_from(DAYS)
day_of_month = st.integers(1, 31)
month = st.integers(1, 12)
index = st.sampled_from(sorted(INDEXES))


def of_kind(kind, **members):
    return st.fixed_dictionaries({"type": st.just(kind), "interval": st.integers(1, 60), **members})


patterns = st.one_of(
    of_kind("daily"),
    of_kind("weekly", daysOfWeek=some_days, firstDayOfWeek=first_day),
    of_kind("absoluteMonthly", dayOfMonth=day_of_month),
    of_kind("relativeMonthly", daysOfWeek=some_days, index=index),
    of_kind("absoluteYearly", dayOfMonth=day_of_month, month=month),
    of_kind("relativeYearly", daysOfWeek=some_days, month=month, index=index),
)
starts = st.dates(date(1970, 1, 1), date(2100, 1, 1))


def in_a_short_month_the_last_day(day):
    """What Exchange does with day 31 of a month of 30, said in RFC 5545."""
    if day <= 28:
        return {"bymonthday": day}
    return {"bymonthday": tuple(range(28, day + 1)), "bysetpos": -1}


def as_rule(pattern, start):
    kind = pattern["type"]
    frequency = {
        "daily": rrule.DAILY,
        "weekly": rrule.WEEKLY,
        "absoluteMonthly": rrule.MONTHLY,
        "relativeMonthly": rrule.MONTHLY,
        "absoluteYearly": rrule.YEARLY,
        "relativeYearly": rrule.YEARLY,
    }[kind]
    members = {}
    if kind == "weekly":
        members = {"byweekday": [DAYS.index(name) for name in pattern["daysOfWeek"]]}
        members["wkst"] = DAYS.index(pattern["firstDayOfWeek"])
    elif kind.startswith("absolute"):
        members = in_a_short_month_the_last_day(pattern["dayOfMonth"])
    elif kind.startswith("relative"):
        members = {"byweekday": [DAYS.index(name) for name in pattern["daysOfWeek"]]}
        members["bysetpos"] = INDEXES[pattern["index"]]
    if kind.endswith("Yearly"):
        members["bymonth"] = pattern["month"]
    return rrule.rrule(
        frequency, dtstart=datetime(start.year, start.month, start.day), interval=pattern["interval"], **members
    )


def recurrence(pattern, start, kind="noEnd", end=None, number=0):
    span = {"type": kind, "startDate": start.isoformat(), "endDate": "0001-01-01", "numberOfOccurrences": number}
    if end:
        span["endDate"] = end.isoformat()
    return {"pattern": {**UNUSED, **pattern}, "range": span}


@given(patterns, starts, st.integers(1, 30))
def test_a_counted_series_has_the_days_of_the_same_rule(pattern, start, number):
    expected = [at.date() for at in islice(as_rule(pattern, start), number)]
    assert list(dates(recurrence(pattern, start, "numbered", number=number))) == expected


@given(patterns, starts, st.integers(0, 4000), st.integers(0, 1000))
def test_a_series_can_be_read_from_any_day(pattern, start, skipped_days, days):
    since = start + timedelta(days=skipped_days)
    end = since + timedelta(days=days)
    begin = datetime(since.year, since.month, since.day)
    expected = [at.date() for at in as_rule(pattern, start).between(begin, begin + timedelta(days=days), inc=True)]
    assert list(dates(recurrence(pattern, start, "endDate", end=end), since)) == expected


@given(patterns, starts, st.integers(1, 30), st.integers(0, 4000))
def test_counting_begins_at_the_start_whatever_is_asked_for(pattern, start, number, skipped_days):
    since = start + timedelta(days=skipped_days)
    all_of_them = list(dates(recurrence(pattern, start, "numbered", number=number)))
    found = list(dates(recurrence(pattern, start, "numbered", number=number), since))
    assert found == [day for day in all_of_them if day >= since]


@pytest.mark.parametrize("kind", ["daily", "absoluteMonthly", "absoluteYearly"])
def test_an_endless_series_ends_with_the_calendar(kind):
    pattern = {"type": kind, "interval": 1, "dayOfMonth": 31, "month": 12}
    assert list(dates(recurrence(pattern, date(9999, 12, 1))))[-1] == date(9999, 12, 31)


def test_the_first_week_of_the_calendar_has_no_day_before_it():
    pattern = {"type": "weekly", "interval": 1, "daysOfWeek": ["monday"], "firstDayOfWeek": "sunday"}
    assert list(dates(recurrence(pattern, date(1, 1, 1), "numbered", number=2))) == []
