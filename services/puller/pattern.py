"""The days that a series falls on: arithmetic on dates, without times or zones. Pure.

A month that is too short has the occurrence on its last day (Exchange Web Services, "AbsoluteMonthlyRecurrence").
"""

from calendar import monthrange
from datetime import date, timedelta

from calbus.recurrence import Index, Pattern, PatternType, Recurrence, Weekday

_WEEKDAYS = tuple(Weekday)
_POSITIONS = {Index.FIRST: 0, Index.SECOND: 1, Index.THIRD: 2, Index.FOURTH: 3, Index.LAST: -1}
_MONTHS = 12
_WEEK_DAYS = 7


def falls_on(recurrence: Recurrence, day: date) -> bool:
    """Whether the pattern has an occurrence on this day, wherever that takes place and even if it is cancelled."""
    span = recurrence.range
    if day < span.start or (span.until is not None and day > span.until):
        return False
    pattern = recurrence.pattern
    match pattern.type:
        case PatternType.DAILY:
            return (day - span.start).days % pattern.interval == 0
        case PatternType.WEEKLY:
            weeks = (_week_of(day, pattern) - _week_of(span.start, pattern)).days // _WEEK_DAYS
            return weeks % pattern.interval == 0 and _WEEKDAYS[day.weekday()] in pattern.weekdays
        case PatternType.ABSOLUTE_MONTHLY | PatternType.RELATIVE_MONTHLY:
            months = (day.year - span.start.year) * _MONTHS + day.month - span.start.month
            return months % pattern.interval == 0 and _day_in_month(pattern, day) == day
        case _:
            years = day.year - span.start.year
            return years % pattern.interval == 0 and day.month == pattern.month and _day_in_month(pattern, day) == day


def _week_of(day: date, pattern: Pattern) -> date:
    begins = _WEEKDAYS.index(pattern.first_weekday or Weekday.SUNDAY)
    return day - timedelta(days=(day.weekday() - begins) % _WEEK_DAYS)


def _day_in_month(pattern: Pattern, day: date) -> date:
    """The one day that an absolute or relative pattern has in the month of `day`."""
    length = monthrange(day.year, day.month)[1]
    if pattern.day_of_month is not None:
        return day.replace(day=min(pattern.day_of_month, length))
    days = (day.replace(day=number) for number in range(1, length + 1))
    fitting = [one for one in days if _WEEKDAYS[one.weekday()] in pattern.weekdays]
    return fitting[_POSITIONS[pattern.index or Index.FIRST]]
