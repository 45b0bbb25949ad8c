"""The days a recurrence falls on: pure arithmetic on dates, without times, zones or exceptions.

Sources: Microsoft docs "recurrencepattern", "recurrencerange"; a month that is too short has the event on its last day
(Exchange Web Services, "AbsoluteMonthlyRecurrence").
"""

from calendar import monthrange
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import count
from typing import Any

JsonObject = dict[str, Any]

_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_POSITIONS = {"first": 0, "second": 1, "third": 2, "fourth": 3, "last": -1}
_SHORTEST_DAYS = {
    "daily": 1, "weekly": 7, "absoluteMonthly": 28, "relativeMonthly": 28, "absoluteYearly": 365,
    "relativeYearly": 365,
}  # fmt: skip
_MONTHS = 12
_WEEK_DAYS = 7


def dates(recurrence: JsonObject, since: date = date.min) -> Iterator[date]:
    """The days on or after `since`, in order; without end if the range has none and the calendar goes on.

    `recurrence` is in the full form of `read_recurrence`.
    """
    span = recurrence["range"]
    start = date.fromisoformat(span["startDate"])
    last = date.fromisoformat(span["endDate"]) if span["type"] == "endDate" else date.max
    left = span["numberOfOccurrences"] if span["type"] == "numbered" else None
    # Only counting needs the days before the first one wanted.
    first_period = _period_of(recurrence["pattern"], start, max(since, start)) if left is None else 0
    for period in count(first_period):
        try:
            days = _days_of(recurrence["pattern"], start, period)
        except (OverflowError, ValueError):
            return
        for day in days:
            if day < start:
                continue
            if day > last or left == 0:
                return
            if left is not None:
                left -= 1
            if day >= since:
                yield day


def shortest_period_days(pattern: JsonObject) -> int:
    """How many days the shortest period of the pattern has: what an occurrence may last at most."""
    return int(_SHORTEST_DAYS[pattern["type"]] * pattern["interval"])


def _week_of(day: date, first_day: str) -> date:
    return day - timedelta(days=(day.weekday() - _WEEKDAYS.index(first_day)) % _WEEK_DAYS)


def _period_of(pattern: JsonObject, start: date, day: date) -> int:
    """A period (day, week, month or year in which the pattern falls) that no wanted day comes before."""
    kind, interval = pattern["type"], pattern["interval"]
    if kind == "daily":
        steps = (day - start).days
    elif kind == "weekly":
        # A week may begin up to six days before the first day of the calendar, in which case counting starts at 0.
        offset = (start.weekday() - _WEEKDAYS.index(pattern["firstDayOfWeek"])) % _WEEK_DAYS
        steps = ((day - start).days + offset) // _WEEK_DAYS
    elif kind in ("absoluteMonthly", "relativeMonthly"):
        steps = (day.year - start.year) * _MONTHS + day.month - start.month
    else:
        steps = day.year - start.year
    return int(steps // interval)


def _days_of(pattern: JsonObject, start: date, period: int) -> list[date]:
    """The days of one period in order. Raises OverflowError or ValueError beyond the calendar."""
    kind, step = pattern["type"], period * pattern["interval"]
    if kind == "daily":
        return [start + timedelta(days=step)]
    if kind == "weekly":
        week = _week_of(start, pattern["firstDayOfWeek"]) + timedelta(weeks=step)
        wanted = {_WEEKDAYS.index(name) for name in pattern["daysOfWeek"]}
        days = (week + timedelta(days=number) for number in range(_WEEK_DAYS))
        return [day for day in days if day.weekday() in wanted]
    if kind in ("absoluteMonthly", "relativeMonthly"):
        year, month = divmod(start.year * _MONTHS + start.month - 1 + step, _MONTHS)
        month += 1
    else:
        year, month = start.year + step, pattern["month"]
    length = monthrange(year, month)[1]
    if kind in ("absoluteMonthly", "absoluteYearly"):
        return [date(year, month, min(pattern["dayOfMonth"], length))]
    wanted = {_WEEKDAYS.index(name) for name in pattern["daysOfWeek"]}
    days_of_month = (date(year, month, number) for number in range(1, length + 1))
    return [[day for day in days_of_month if day.weekday() in wanted][_POSITIONS[pattern["index"]]]]
