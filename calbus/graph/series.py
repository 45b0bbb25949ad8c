"""How an entry recurs, in the words of Microsoft Graph: the `patternedRecurrence` and the zone of a series. Pure."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from tzlocal.windows_tz import tz_win, win_tz

from calbus.entry import Content
from calbus.recurrence import Pattern, PatternType, Range, Recurrence

# How far ahead two zones are compared. What daylight saving will be in later years nobody knows today.
ZONE_HORIZON_YEARS = 10
_DAY = timedelta(days=1)
# The finest step at which a zone has ever changed its clocks.
_QUARTER = timedelta(minutes=15)


def patterned(recurrence: Recurrence, zone_name: str) -> dict[str, Any]:
    """The `recurrence` member of an event whose start and end are given in `zone_name`.

    Only the members that the pattern's type has: Graph refuses others (Microsoft docs "recurrencepattern").
    """
    return {"pattern": _pattern(recurrence.pattern), "range": _range(recurrence.range, zone_name)}


def _pattern(pattern: Pattern) -> dict[str, Any]:
    members: dict[str, Any] = {"type": pattern.type.value, "interval": pattern.interval}
    if pattern.weekdays:
        members["daysOfWeek"] = [day.value for day in pattern.weekdays]
    if pattern.first_weekday is not None and pattern.type is PatternType.WEEKLY:
        members["firstDayOfWeek"] = pattern.first_weekday.value
    if pattern.day_of_month is not None:
        members["dayOfMonth"] = pattern.day_of_month
    if pattern.index is not None:
        members["index"] = pattern.index.value
    if pattern.month is not None:
        members["month"] = pattern.month
    return members


def _range(span: Range, zone_name: str) -> dict[str, Any]:
    members: dict[str, Any] = {"startDate": span.start.isoformat(), "recurrenceTimeZone": zone_name}
    if span.count is not None:
        return {"type": "numbered", "numberOfOccurrences": span.count, **members}
    if span.until is not None:
        return {"type": "endDate", "endDate": span.until.isoformat(), **members}
    return {"type": "noEnd", **members}


def zone_of_series(content: Content) -> str:
    """The name under which Graph is told the zone of a series.

    The Windows name, which every mailbox understands, if that zone keeps the same time as the entry's own for as long
    as the series goes on, or the next ten years; else the IANA name. Never UTC in its stead: the occurrences would
    shift with daylight saving.
    """
    name = tz_win.get(content.time_zone)
    if content.all_day:  # days have no instant, so that any zone says the same
        return name or "UTC"
    assert content.recurrence is not None
    first, last = content.start.year, _last_year(content.start.date(), content.recurrence)
    if name is not None and all(agree_in(year, content.time_zone, win_tz[name]) for year in range(first, last + 1)):
        return name
    return content.time_zone


def _last_year(start: date, recurrence: Recurrence) -> int:
    horizon = start.year + ZONE_HORIZON_YEARS
    until = recurrence.range.until
    return min(horizon, until.year) if until is not None else horizon


@lru_cache(maxsize=4_096)
def agree_in(year: int, one: str, other: str) -> bool:
    """Whether two zones keep the same time all through a year."""
    if one == other:
        return True
    here, there = ZoneInfo(one), ZoneInfo(other)

    def agree(moment: datetime) -> bool:
        return moment.astimezone(here).utcoffset() == moment.astimezone(there).utcoffset()

    begin, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    return all(
        # Between two moments at which neither has changed, neither differs.
        agree(day) and (not _changes(day, here, there) or all(map(agree, _steps(day, day + _DAY, _QUARTER))))
        for day in _steps(begin, end, _DAY)
    )


def _changes(day: datetime, *zones: ZoneInfo) -> bool:
    return any(day.astimezone(zone).utcoffset() != (day + _DAY).astimezone(zone).utcoffset() for zone in zones)


def _steps(begin: datetime, end: datetime, step: timedelta) -> Iterator[datetime]:
    moment = begin
    while moment < end:
        yield moment
        moment += step
