"""An RFC 5545 recurrence in the terms of a calendar, or in words why that cannot be. Pure.

Outlook's series know fewer rules than iCalendar. What they can express is translated so that the same days come out;
what they cannot is refused, for an occurrence on a wrong day is worse than none. What a rule means is read off
python-dateutil; that the translation means the same is what the tests prove.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, pairwise, takewhile
from typing import Literal, NoReturn
from zoneinfo import ZoneInfo

from dateutil import rrule

from calbus.recurrence import EVERY_DAY, Index, Moved, Pattern, PatternType, Range, Recurrence, Weekday
from schemas.fields import EARLIEST_YEAR
from schemas.items import ItemUpserted, Occurrence
from services.ingest.times import Slot, slot_of

# Exchange's own limits (Exchange Web Services, `Interval` and `NumberOfOccurrences`); it keeps years as months.
INTERVAL_MAX = {"DAILY": 999, "WEEKLY": 99, "MONTHLY": 99, "YEARLY": 8}
NUMBERED_MAX_OCCURRENCES = 999
# So many occurrences from the first are looked at: ten years of days. What would need more is refused.
LOOKED_AT_MAX_OCCURRENCES = 3_660
# Each costs a request or two of its own.
EXCEPTIONS_MAX = 200
# Publishers write such years for "never ends", and no calendar shows them. A series that is counted beyond goes on.
ENDLESS_FROM_YEAR = 2200
QUOTED_MAX_CHARACTERS = 40

_Frequency = Literal[0, 1, 2, 3, 4, 5, 6]
_FREQUENCIES: dict[str, _Frequency] = {
    "DAILY": rrule.DAILY,
    "WEEKLY": rrule.WEEKLY,
    "MONTHLY": rrule.MONTHLY,
    "YEARLY": rrule.YEARLY,
}
_WITHIN_DAYS = frozenset(("HOURLY", "MINUTELY", "SECONDLY"))
_TIMES = {"BYHOUR": 23, "BYMINUTE": 59, "BYSECOND": 59}
_PARTS = frozenset(
    ("FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", "BYMONTHDAY", "BYMONTH", "BYSETPOS", *_TIMES)
)
_NEVER_EXPRESSIBLE = {
    "BYWEEKNO": "Outlook cannot count the weeks of a year",
    "BYYEARDAY": "Outlook cannot count the days of a year",
    "RSCALE": "Outlook's series are written in the Gregorian calendar",
    "SKIP": "Outlook cannot be told what to do where a month is too short",
}
_LINES_REFUSED = {
    "RDATE": "RDATE: Outlook's series have no dates beside their rule. Publish them as items of their own.",
    "EXRULE": "EXRULE: Outlook's series have no rule of exceptions.",
    "DTSTART": "DTSTART: the item's `start` says when the first occurrence begins.",
    "DTEND": "DTEND: the item's `end` or `duration` says how long an occurrence takes.",
    "DURATION": "DURATION: the item's `end` or `duration` says how long an occurrence takes.",
}
_WEEKDAYS = dict(zip(("MO", "TU", "WE", "TH", "FR", "SA", "SU"), Weekday, strict=True))
_RULE_DAYS = dict(zip(Weekday, (rrule.MO, rrule.TU, rrule.WE, rrule.TH, rrule.FR, rrule.SA, rrule.SU), strict=True))
_INDEXES = {1: Index.FIRST, 2: Index.SECOND, 3: Index.THIRD, 4: Index.FOURTH, -1: Index.LAST}
# The sets of which Outlook's forms offer "the first": any day, weekday, day of the weekend.
_SETS = (EVERY_DAY, EVERY_DAY[:5], EVERY_DAY[5:])
_BYDAY = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)")
_MOMENT = re.compile(r"(\d{8})(?:T(\d{6})(Z?))?")
_MONTH_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LEAP_DAY = (2, 29)
# No two months' occurrences of one pattern are nearer, the first weekday's and the last day's among them.
_MONTH_MIN_DAYS = 28


@dataclass(frozen=True, slots=True)
class Deviation:
    """An occurrence that is not as the rule says, named by when the rule has it begin.

    `instead` is when it takes place; None if it is cancelled.
    """

    original_start: datetime | date
    instead: Slot | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A recurring entry: the first occurrence, and how it recurs. The slot begins on the first day of the range.

    Unlike that of a single entry it may lie in the hour that happens twice, as an occurrence on that night always may.
    """

    slot: Slot
    recurrence: Recurrence


@dataclass(frozen=True, slots=True)
class Refusal:
    """What cannot be expressed, or read, in words for whoever published it."""

    says: str


class _RefusedError(Exception):
    """Carries the words of a refusal to the border of this module."""


def series_of(item: ItemUpserted, start: datetime | date, tenant_zone: str, default_minutes: int) -> Series | Refusal:
    """The series of an item that has a recurrence and starts at `start`."""
    assert item.recurrence is not None
    try:
        slot = _first_slot(item, start, tenant_zone, default_minutes)
        exceptions = [
            Deviation(
                one.original_start,
                _moved_slot(item, one, slot.end - slot.start, tenant_zone, default_minutes),
            )
            for one in item.occurrences
        ]
        return _series(item.recurrence, slot, exceptions, all_day=item.all_day)
    except _RefusedError as refused:
        return Refusal(str(refused))


def translate(
    text: str, slot: Slot, exceptions: Iterable[Deviation] = (), *, all_day: bool = False
) -> Series | Refusal:
    """The series of a recurrence whose first occurrence, as the item says, takes the time of `slot`.

    * An occurrence keeps its wall-clock time, in the slot's zone and across daylight saving.
    * A start that is not itself a day of the rule gives way to the rule's first day after it.
    * An EXDATE, or a cancelled occurrence, that is no occurrence changes nothing, as RFC 5545 has it. A moved one that
      is none is refused, since it would be lost. A date alone names the occurrence of that day.
    """
    try:
        return _series(text, slot, exceptions, all_day=all_day)
    except _RefusedError as refused:
        return Refusal(str(refused))


def _moved_slot(
    item: ItemUpserted, one: Occurrence, length: timedelta, tenant_zone: str, default_minutes: int
) -> Slot | None:
    """When a moved occurrence takes place; None for one that is cancelled."""
    if one.start is None:
        return None
    duration = one.duration if one.end is not None else one.duration or length
    moved = item.model_copy(update={"start": one.start, "end": one.end, "duration": duration})
    return slot_of(moved, one.start, tenant_zone, default_minutes)


def _refuse(says: str) -> NoReturn:
    raise _RefusedError(says)


def _quoted(text: str) -> str:
    return text if len(text) <= QUOTED_MAX_CHARACTERS else f"{text[:QUOTED_MAX_CHARACTERS]}…"


# --- The first occurrence's time -------------------------------------------------------------------------------------


def _first_slot(item: ItemUpserted, start: datetime | date, tenant_zone: str, default_minutes: int) -> Slot:
    """The time of the first occurrence on the wall clock, where all occurrences are alike.

    Not `slot_of`, which tells one entry's instants: there a night shift is longer when the clocks go back, and what
    cannot be said on the wall clock is said in UTC. A series in UTC would shift by an hour twice a year.
    """
    if item.all_day:
        return slot_of(item, start, tenant_zone, default_minutes)
    zone_name = item.time_zone or tenant_zone
    zone = ZoneInfo(zone_name)
    begin = _wall_clock(start, zone)
    end = begin
    if item.end is not None:
        elapsed = _elapsed(start, item.end)
        end = begin + elapsed if elapsed is not None else _wall_clock(item.end, zone)
    elif item.duration is not None:
        end = begin + item.duration
    if end <= begin:
        end = begin + timedelta(minutes=default_minutes)
    return Slot(begin, end, zone_name)


def _elapsed(start: datetime | date, end: datetime | date) -> timedelta | None:
    """The time between two instants; None for wall-clock times."""
    if isinstance(start, datetime) and isinstance(end, datetime) and start.tzinfo and end.tzinfo:
        return end - start
    return None


def _wall_clock(moment: datetime | date, zone: ZoneInfo) -> datetime:
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time())
    if moment.tzinfo is not None:
        return moment.astimezone(zone).replace(tzinfo=None, fold=0)
    return moment


def _is_skipped(moment: datetime, zone: ZoneInfo) -> bool:
    return moment.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moment


# --- Reading the text ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Rule:
    """A rule as it was read: what its parts say, before anybody asks whether Outlook can."""

    frequency: str
    interval: int
    count: int | None
    until: datetime | date | None
    week_start: Weekday
    days: tuple[tuple[int | None, Weekday], ...]
    month_days: tuple[int, ...]
    months: tuple[int, ...]
    positions: tuple[int, ...]
    times: dict[str, tuple[int, ...]]

    @property
    def weekdays(self) -> tuple[Weekday, ...]:
        """The days of the week it names, in order."""
        named = {day for _, day in self.days}
        return tuple(day for day in Weekday if day in named)

    @property
    def ordinals(self) -> tuple[int, ...]:
        """The numbers before days, such as the 2 of 2TU."""
        return tuple(number for number, _ in self.days if number is not None)


def _read(text: str, zone: ZoneInfo) -> tuple[_Rule, list[datetime | date]]:
    """The one rule of the text, and its EXDATEs."""
    rules: list[_Rule] = []
    excluded: list[datetime | date] = []
    unfolded = re.sub(r"\r?\n[ \t]", "", text)
    for line in filter(None, (line.strip() for line in unfolded.splitlines())):
        head, colon, value = line.partition(":")
        name, *parameters = head.upper().split(";")
        if name in _LINES_REFUSED:
            _refuse(_LINES_REFUSED[name])
        if not colon or name not in ("RRULE", "EXDATE"):
            _refuse(f"“{_quoted(line)}” is neither an RRULE: nor an EXDATE: line.")
        if name == "EXDATE":
            # Names of zones are told apart by case, which `parameters` has lost.
            excluded += _read_excluded(value, head.split(";")[1:], zone)
        elif parameters:
            _refuse("RRULE: it takes no parameters before the colon.")
        else:
            rules.append(_read_rule(value, zone))
    if not rules:
        _refuse("There is no RRULE line.")
    if len(rules) > 1:
        _refuse("Several RRULE lines: a series in Outlook has one rule.")
    return rules[0], excluded


def _read_rule(value: str, zone: ZoneInfo) -> _Rule:
    parts: dict[str, str] = {}
    for part in filter(None, value.upper().split(";")):
        name, equals, content = part.partition("=")
        if not equals or not content:
            _refuse(f"“{_quoted(part)}” is not a part of a rule such as FREQ=WEEKLY.")
        if name in parts:
            _refuse(f"{_quoted(name)} is given twice.")
        if name in _NEVER_EXPRESSIBLE:
            _refuse(f"{name}: {_NEVER_EXPRESSIBLE[name]}.")
        if name not in _PARTS:
            _refuse(f"{_quoted(name)} is not a part of a rule that RFC 5545 knows.")
        parts[name] = content
    frequency = parts.get("FREQ", "")
    if frequency in _WITHIN_DAYS:
        _refuse(f"FREQ={frequency}: a series in Outlook has at most one occurrence a day.")
    if frequency not in _FREQUENCIES:
        _refuse("FREQ must be DAILY, WEEKLY, MONTHLY or YEARLY.")
    if "COUNT" in parts and "UNTIL" in parts:
        _refuse("COUNT and UNTIL exclude each other.")
    interval = _number(parts.get("INTERVAL", "1"), "INTERVAL", 1, 9_999)
    if interval > INTERVAL_MAX[frequency]:
        _refuse(f"INTERVAL={interval}: with FREQ={frequency} Outlook counts to {INTERVAL_MAX[frequency]}.")
    week_start = parts.get("WKST", "MO")
    if week_start not in _WEEKDAYS:
        _refuse("WKST must be a day such as MO.")
    return _Rule(
        frequency=frequency,
        interval=interval,
        count=_number(parts["COUNT"], "COUNT", 1, 999_999) if "COUNT" in parts else None,
        until=_read_moment(parts["UNTIL"], "UNTIL", zone) if "UNTIL" in parts else None,
        week_start=_WEEKDAYS[week_start],
        days=_read_days(parts["BYDAY"]) if "BYDAY" in parts else (),
        month_days=_numbers(parts, "BYMONTHDAY", -31, 31),
        months=_numbers(parts, "BYMONTH", 1, 12),
        positions=_numbers(parts, "BYSETPOS", -366, 366),
        times={name: _numbers(parts, name, 0, high) for name, high in _TIMES.items() if name in parts},
    )


def _number(text: str, name: str, low: int, high: int) -> int:
    if not re.fullmatch(r"[+-]?\d{1,6}", text, re.ASCII) or not low <= int(text) <= high:
        _refuse(f"{name}={_quoted(text)} is not a whole number from {low} to {high}.")
    return int(text)


def _numbers(parts: dict[str, str], name: str, low: int, high: int) -> tuple[int, ...]:
    numbers = {_number(text, name, low, high) for text in parts[name].split(",")} if name in parts else set()
    if low < 0 and 0 in numbers:
        _refuse(f"{name}=0 names no day.")
    return tuple(sorted(numbers))


def _read_days(text: str) -> tuple[tuple[int | None, Weekday], ...]:
    days: dict[tuple[int | None, Weekday], None] = {}
    for part in text.split(","):
        found = _BYDAY.fullmatch(part)
        if found is None or (found[1] and int(found[1]) == 0):
            _refuse(f"BYDAY={_quoted(part)} is not a day such as MO, or 2MO for the second.")
        days[int(found[1]) if found[1] else None, _WEEKDAYS[found[2]]] = None
    return tuple(days)


def _read_moment(text: str, name: str, zone: ZoneInfo) -> datetime | date:
    """A date, or a wall-clock time in `zone`, with a zone where the text names an instant (Z).

    Refuses years before those of any item: near the ends of the calendar a time has no equal in some zones.
    """
    found = _MOMENT.fullmatch(text.strip().upper())
    moment: datetime | date | None = None
    try:
        if found is not None and found[2] is None:
            moment = datetime.strptime(found[1], "%Y%m%d").date()  # noqa: DTZ007 - a date
        elif found is not None:
            clock = datetime.strptime(found[1] + found[2], "%Y%m%d%H%M%S")  # noqa: DTZ007 - a wall-clock time
            moment = clock.replace(tzinfo=UTC if found[3] else zone)
    except ValueError:
        pass
    if moment is None:
        _refuse(f"{name}={_quoted(text)} is not a date (20261231) or a time (20261231T170000Z).")
    if moment.year < EARLIEST_YEAR:
        _refuse(f"{name}={_quoted(text)}: no item is from before {EARLIEST_YEAR}.")
    return moment


def _read_excluded(value: str, parameters: list[str], zone: ZoneInfo) -> Iterator[datetime | date]:
    for parameter in parameters:
        name, _, content = parameter.partition("=")
        if name.upper() == "TZID":
            try:
                zone = ZoneInfo(content.strip('"'))
            except (KeyError, ValueError, OSError):
                _refuse(f"EXDATE;TZID={_quoted(content)}: this is not an IANA time zone name such as Europe/Amsterdam.")
        elif name.upper() != "VALUE" or content.upper() not in ("DATE", "DATE-TIME"):
            _refuse(f"EXDATE;{_quoted(parameter)}: only TZID and VALUE=DATE or DATE-TIME are understood.")
    for text in value.split(","):
        moment = _read_moment(text, "EXDATE", zone)
        if moment.year >= ENDLESS_FROM_YEAR:
            _refuse(f"EXDATE={_quoted(text)}: no calendar shows the years from {ENDLESS_FROM_YEAR} on.")
        yield moment


# --- From rule to pattern --------------------------------------------------------------------------------------------


def _pattern(rule: _Rule, start: datetime) -> Pattern:
    for name, values in rule.times.items():
        # Some publishers repeat the time of the start; all else would be several a day, or another time.
        if values != (getattr(start, name.removeprefix("BY").lower()),):
            _refuse(f"{name}: every occurrence in Outlook begins at the item's own time of day.")
    match rule.frequency:
        case "DAILY":
            return _daily(rule)
        case "WEEKLY":
            return _weekly(rule, start)
        case "MONTHLY":
            return _monthly(rule, start)
        case _:
            return _yearly(rule, start)


def _without(rule: _Rule, *names: str) -> None:
    given = {"BYMONTH": rule.months, "BYMONTHDAY": rule.month_days, "BYSETPOS": rule.positions, "BYDAY": rule.days}
    for name in names:
        if given[name]:
            _refuse(f"{name} with FREQ={rule.frequency}: Outlook has no such series.")


def _daily(rule: _Rule) -> Pattern:
    _without(rule, "BYMONTH", "BYMONTHDAY", "BYSETPOS")
    if rule.ordinals:
        _refuse("BYDAY with FREQ=DAILY takes no numbers.")
    if not rule.days or rule.weekdays == EVERY_DAY:
        return Pattern(PatternType.DAILY, rule.interval)
    return _every_week(rule, "FREQ=DAILY")


def _every_week(rule: _Rule, what: str) -> Pattern:
    """Every so many days or months, but only on some days of the week: that is weekly, if it is every one of them."""
    if rule.interval > 1:
        _refuse(f"BYDAY with {what} and INTERVAL={rule.interval}: Outlook can leave out days, or weekdays, not both.")
    return Pattern(PatternType.WEEKLY, 1, rule.weekdays, rule.week_start)


def _weekly(rule: _Rule, start: datetime) -> Pattern:
    _without(rule, "BYMONTH", "BYMONTHDAY", "BYSETPOS")
    if rule.ordinals:
        _refuse("BYDAY with FREQ=WEEKLY takes no numbers.")
    days = rule.weekdays or (EVERY_DAY[start.weekday()],)
    return Pattern(PatternType.WEEKLY, rule.interval, days, rule.week_start)


def _monthly(rule: _Rule, start: datetime) -> Pattern:
    _without(rule, "BYMONTH")
    if rule.days and not rule.ordinals and not rule.positions and not rule.month_days:
        return _every_week(rule, "FREQ=MONTHLY")
    if rule.days:
        index, weekdays = _nth_weekday(rule)
        return Pattern(PatternType.RELATIVE_MONTHLY, rule.interval, weekdays, index=index)
    day = _day_of_month(rule, start)
    if day < 0:
        return Pattern(PatternType.RELATIVE_MONTHLY, rule.interval, EVERY_DAY, index=Index.LAST)
    months = {(start.month - 1 + number * rule.interval) % 12 for number in range(12)}
    if day > min(_MONTH_LENGTHS[month] for month in months):
        _refuse(
            f"Day {day} of every month: where a month is shorter, RFC 5545 leaves it out and Outlook takes its last "
            "day. BYMONTHDAY=-1 names the last day of every month."
        )
    return Pattern(PatternType.ABSOLUTE_MONTHLY, rule.interval, day_of_month=day)


def _yearly(rule: _Rule, start: datetime) -> Pattern:
    if len(rule.months) > 1:
        _refuse("Several months in BYMONTH: a yearly series in Outlook has one.")
    if not rule.months and (rule.days or rule.month_days):
        _refuse("FREQ=YEARLY with BYDAY or BYMONTHDAY needs BYMONTH: Outlook counts days within a month.")
    month = rule.months[0] if rule.months else start.month
    if rule.days:
        if not rule.ordinals and not rule.positions:
            _refuse("FREQ=YEARLY with every such BYDAY: a yearly series in Outlook has one day a year.")
        index, weekdays = _nth_weekday(rule)
        return Pattern(PatternType.RELATIVE_YEARLY, rule.interval, weekdays, index=index, month=month)
    day = _day_of_month(rule, start)
    if day < 0:
        return Pattern(PatternType.RELATIVE_YEARLY, rule.interval, EVERY_DAY, index=Index.LAST, month=month)
    if (month, day) == _LEAP_DAY:
        _refuse("29 February: in other years RFC 5545 leaves it out and Outlook takes the 28th.")
    if day > _MONTH_LENGTHS[month - 1]:
        _refuse(f"BYMONTH={month} has no day {day}.")
    return Pattern(PatternType.ABSOLUTE_YEARLY, rule.interval, day_of_month=day, month=month)


def _day_of_month(rule: _Rule, start: datetime) -> int:
    """The day of the month that the rule is about, -1 for the last."""
    if rule.positions:
        _refuse("BYSETPOS without BYDAY: Outlook has no such series.")
    if len(rule.month_days) > 1:
        _refuse("Several days in BYMONTHDAY: a monthly or yearly series in Outlook has one.")
    day = rule.month_days[0] if rule.month_days else start.day
    if day < -1:
        _refuse(f"BYMONTHDAY={day}: from the end of a month Outlook knows only its last day.")
    return day


def _nth_weekday(rule: _Rule) -> tuple[Index, tuple[Weekday, ...]]:
    """Which of which days of the month, from BYDAY=2TU or from BYDAY=TU;BYSETPOS=2."""
    if rule.month_days:
        _refuse("BYDAY together with BYMONTHDAY: Outlook has no such series.")
    if rule.ordinals:
        if rule.positions:
            _refuse("BYSETPOS together with a number in BYDAY: Outlook has no such series.")
        if len(rule.days) > 1:
            _refuse("Several days in a numbered BYDAY: Outlook takes one.")
        number, what = rule.ordinals[0], "BYDAY"
    else:
        if len(rule.positions) > 1:
            _refuse("Several numbers in BYSETPOS: Outlook takes one.")
        if len(rule.weekdays) > 1 and rule.weekdays not in _SETS:
            _refuse("BYSETPOS of these days: Outlook takes one day, MO to FR, SA and SU, or all seven.")
        number, what = rule.positions[0], "BYSETPOS"
    if number not in _INDEXES:
        _refuse(f"{what}: Outlook knows the first to the fourth and the last, not number {number}.")
    return _INDEXES[number], rule.weekdays


# --- From rule to series ---------------------------------------------------------------------------------------------


def _series(text: str, slot: Slot, exceptions: Iterable[Deviation], *, all_day: bool) -> Series:
    zone = ZoneInfo(slot.time_zone)
    rule, excluded = _read(text, zone)
    pattern = _pattern(rule, slot.start)
    until = _last_day(rule.until, slot, zone, all_day=all_day)
    occurrences = _Occurrences(rule, slot, until, zone, all_day=all_day)
    first = occurrences.first()
    length = slot.end - slot.start
    if length > _shortest_gap(pattern):
        _refuse("An occurrence lasts longer than the time to the next one.")
    count = rule.count
    if count is not None:
        until = occurrences.last_of(count)
        count = count if until is not None and count <= NUMBERED_MAX_OCCURRENCES else None
    cancelled: set[date] = set()
    moved: dict[date, Slot] = {}
    deviating = [*map(Deviation, excluded), *exceptions]
    if len(deviating) > EXCEPTIONS_MAX:
        _refuse(f"There are more than {EXCEPTIONS_MAX} cancelled and moved occurrences.")
    for deviation in deviating:
        day = occurrences.day_of(deviation.original_start)
        if deviation.instead is not None:
            if day is None:
                _refuse(f"A moved occurrence: the rule has none at {_shown(deviation.original_start)}.")
            moved[day] = deviation.instead
        elif day is not None:
            cancelled.add(day)
    # What is named twice, as moved and as cancelled, is cancelled: nobody should wait for a meeting that does not come.
    moved = {day: moved[day] for day in sorted(moved) if day not in cancelled}
    _check_order(occurrences, cancelled, moved, slot, zone)
    begin = datetime.combine(first, slot.start.time())
    for moment in (begin, begin + length):
        if not all_day and _is_skipped(moment, zone):
            _refuse(
                f"The first occurrence begins or ends at {moment:%Y-%m-%d %H:%M}, which daylight saving skips in "
                f"{slot.time_zone}: let the series begin on another day."
            )
    return Series(
        Slot(begin, begin + length, slot.time_zone),
        Recurrence(
            pattern,
            Range(first, until, count),
            tuple(sorted(cancelled)),
            tuple(Moved(day, move.start, move.end, move.time_zone) for day, move in moved.items()),
        ),
    )


def _shown(moment: datetime | date) -> str:
    return moment.isoformat(timespec="minutes") if isinstance(moment, datetime) else moment.isoformat()


def _last_day(until: datetime | date | None, slot: Slot, zone: ZoneInfo, *, all_day: bool) -> date | None:
    """The last day on which an occurrence may begin; None if it goes on for ever."""
    if until is None or until.year >= ENDLESS_FROM_YEAR:
        return None
    if not isinstance(until, datetime):
        return until
    day = until.astimezone(zone).date()
    if all_day or datetime.combine(day, slot.start.time(), zone).astimezone(UTC) <= until.astimezone(UTC):
        return day
    return day - timedelta(days=1)


def _shortest_gap(pattern: Pattern) -> timedelta:
    """The shortest time from one occurrence's beginning to the next one's."""
    every = pattern.interval
    match pattern.type:
        case PatternType.DAILY:
            return timedelta(days=every)
        case PatternType.WEEKLY:
            assert pattern.first_weekday is not None
            offset = EVERY_DAY.index(pattern.first_weekday)
            days = sorted((EVERY_DAY.index(day) - offset) % 7 for day in pattern.weekdays)
            return timedelta(days=min(after - before for before, after in pairwise([*days, days[0] + 7 * every])))
        case PatternType.ABSOLUTE_MONTHLY | PatternType.RELATIVE_MONTHLY:
            return timedelta(days=_MONTH_MIN_DAYS * every)
        case _:
            return timedelta(days=_MONTH_MIN_DAYS * 12 * every)


class _Occurrences:
    """The days of a rule up to the endless years, looked at no farther than is asked, and than the limit."""

    def __init__(self, rule: _Rule, slot: Slot, until: date | None, zone: ZoneInfo, *, all_day: bool) -> None:
        self._begins = slot.start.time()
        self._zone = zone
        self._all_day = all_day
        self._days: list[date] = []
        self._complete = False
        moments = rrule.rrule(
            _FREQUENCIES[rule.frequency],
            dtstart=datetime.combine(slot.start.date(), time()),
            interval=rule.interval,
            wkst=_RULE_DAYS[rule.week_start],
            count=rule.count,
            until=datetime.combine(until, time()) if until is not None else None,
            bysetpos=rule.positions or None,
            bymonth=rule.months or None,
            bymonthday=rule.month_days or None,
            byweekday=[_RULE_DAYS[day](number) if number else _RULE_DAYS[day] for number, day in rule.days] or None,
        )
        days = (moment.date() for moment in moments)
        self._iterator = takewhile(lambda day: day.year < ENDLESS_FROM_YEAR, days)

    def first(self) -> date:
        """The first day. Refuses a rule without any."""
        self._look(1)
        if not self._days:
            _refuse("The rule ends before its first occurrence.")
        return self._days[0]

    def last_of(self, count: int) -> date | None:
        """The day of the last of so many occurrences; None if it lies in the endless years."""
        if count > LOOKED_AT_MAX_OCCURRENCES:
            _refuse(f"COUNT={count}: more than {LOOKED_AT_MAX_OCCURRENCES} occurrences.")
        self._look(count)
        return self._days[-1] if len(self._days) == count else None

    def day_of(self, original_start: datetime | date) -> date | None:
        """The day of the occurrence that begins then; None if the rule has none. A date alone tells the day."""
        if not isinstance(original_start, datetime):
            return original_start if self._has(original_start) else None
        local = _wall_clock(original_start, self._zone)
        if self._all_day or local.time() == self._begins:
            return local.date() if self._has(local.date()) else None
        if original_start.tzinfo is None:
            return None
        # A time that daylight saving skips is an instant all the same, an hour later on the wall clock.
        begins = datetime.combine(local.date(), self._begins, self._zone).astimezone(UTC)
        return local.date() if begins == original_start.astimezone(UTC) and self._has(local.date()) else None

    def before(self, day: date, cancelled: set[date]) -> date | None:
        """The last day before one that the rule has, of those that are not cancelled."""
        at = bisect_left(self._days, day)
        return next((other for other in reversed(self._days[:at]) if other not in cancelled), None)

    def after(self, day: date, cancelled: set[date]) -> date | None:
        """The first day after one that the rule has, of those that are not cancelled."""
        at = bisect_left(self._days, day)
        self._look(at + 2 + len(cancelled))
        return next((other for other in self._days[at + 1 :] if other not in cancelled), None)

    def all_within(self, days: set[date]) -> bool:
        """Whether the rule has no other days than these."""
        self._look(len(days) + 1)
        return self._complete and days.issuperset(self._days)

    def _has(self, day: date) -> bool:
        while not self._complete and (not self._days or self._days[-1] < day):
            if len(self._days) >= LOOKED_AT_MAX_OCCURRENCES:
                _refuse(
                    f"A cancelled or moved occurrence lies more than {LOOKED_AT_MAX_OCCURRENCES} occurrences ahead."
                )
            self._look(len(self._days) + 1)
        at = bisect_left(self._days, day)
        return at < len(self._days) and self._days[at] == day

    def _look(self, count: int) -> None:
        missing = count - len(self._days)
        if missing > 0 and not self._complete:
            found = list(islice(self._iterator, missing))
            self._days += found
            self._complete = len(found) < missing


def _check_order(
    occurrences: _Occurrences, cancelled: set[date], moved: dict[date, Slot], slot: Slot, zone: ZoneInfo
) -> None:
    """Refuse to let occurrences pass or overlap one another, or all be cancelled: Outlook takes none of that."""
    if cancelled and occurrences.all_within(cancelled):
        _refuse("Every occurrence is cancelled: delete the item, or cancel it as a whole.")
    length = slot.end - slot.start

    def span(day: date) -> tuple[datetime, datetime]:
        instead = moved.get(day)
        if instead is not None:
            return _local(instead.start, instead, zone), _local(instead.end, instead, zone)
        begins = datetime.combine(day, slot.start.time())
        return begins, begins + length

    for day in moved:
        for earlier, later in ((occurrences.before(day, cancelled), day), (day, occurrences.after(day, cancelled))):
            if earlier is None or later is None:
                continue
            (start, end), (next_start, _) = span(earlier), span(later)
            if start.date() >= next_start.date() or end > next_start:
                _refuse(
                    f"The occurrence of {day} is moved onto or past one of its neighbours: Outlook wants each on a day "
                    "of its own, and in order."
                )


def _local(moment: datetime, slot: Slot, zone: ZoneInfo) -> datetime:
    return moment.replace(tzinfo=ZoneInfo(slot.time_zone)).astimezone(zone).replace(tzinfo=None, fold=0)
