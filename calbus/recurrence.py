"""How an entry recurs: the pattern, the range, and the occurrences that are not as the pattern says.

Values only, in the terms that calendars share; Microsoft Graph's `patternedRecurrence` knows no others. How an RFC 5545
rule becomes one is ingest's business, how one is written to a calendar the writer's.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date, datetime
from enum import StrEnum
from hashlib import blake2b
from typing import Any

import orjson


class Weekday(StrEnum):
    """In the order of `date.weekday()`."""

    MONDAY = "monday"
    TUESDAY = "tuesday"
    WEDNESDAY = "wednesday"
    THURSDAY = "thursday"
    FRIDAY = "friday"
    SATURDAY = "saturday"
    SUNDAY = "sunday"


EVERY_DAY = tuple(Weekday)


class Index(StrEnum):
    """Which of the days in a month that a relative pattern names."""

    FIRST = "first"
    SECOND = "second"
    THIRD = "third"
    FOURTH = "fourth"
    LAST = "last"


class PatternType(StrEnum):
    """What a pattern counts; an absolute one names a day by its number, a relative one by its weekday."""

    DAILY = "daily"
    WEEKLY = "weekly"
    ABSOLUTE_MONTHLY = "absoluteMonthly"
    RELATIVE_MONTHLY = "relativeMonthly"
    ABSOLUTE_YEARLY = "absoluteYearly"
    RELATIVE_YEARLY = "relativeYearly"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Every `interval` days, weeks, months or years, on the days that its type asks for; the other members are None.

    `weekdays`: weekly and relative patterns. `first_weekday`: weekly, where it tells which week a day is in.
    `day_of_month`: absolute. `index`: relative, and one day only, even if `weekdays` names several. `month`: yearly.
    """

    type: PatternType
    interval: int
    weekdays: tuple[Weekday, ...] = ()
    first_weekday: Weekday | None = None
    day_of_month: int | None = None
    index: Index | None = None
    month: int | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """From the day of the first occurrence up to and including the day `until`, or without end.

    Where the series is counted, `count` says how often, and `until` is the day of the last occurrence.
    """

    start: date
    until: date | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """The occurrence that the pattern has on `day` takes place at another time: wall-clock, in a zone of its own.

    `end` is exclusive and after `start`.
    """

    day: date
    start: datetime
    end: datetime
    time_zone: str


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A series. `cancelled` and `moved` are in the order of their days, each of which the pattern has, and disjoint."""

    pattern: Pattern
    range: Range
    cancelled: tuple[date, ...] = ()
    moved: tuple[Moved, ...] = ()

    def exceptions(self) -> Iterator[date | Moved]:
        """Cancelled days and moved occurrences, in an order in which each can be brought about.

        A calendar lets no occurrence pass another. So those that are cancelled go out of the way first; of those that
        move to a later day the last goes first, of the others the first.
        """
        yield from self.cancelled
        yield from (move for move in reversed(self.moved) if move.start.date() > move.day)
        yield from (move for move in self.moved if move.start.date() <= move.day)

    @property
    def frame(self) -> bytes:
        """Tells whether two series have the same pattern and range."""
        return blake2b(orjson.dumps([asdict(self.pattern), asdict(self.range)]), digest_size=16).digest()

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> "Recurrence":
        """The inverse of what JSON makes of `asdict`."""
        pattern, span = fields["pattern"], fields["range"]
        return cls(
            pattern=Pattern(
                type=PatternType(pattern["type"]),
                interval=pattern["interval"],
                weekdays=tuple(map(Weekday, pattern["weekdays"])),
                first_weekday=Weekday(pattern["first_weekday"]) if pattern["first_weekday"] else None,
                day_of_month=pattern["day_of_month"],
                index=Index(pattern["index"]) if pattern["index"] else None,
                month=pattern["month"],
            ),
            range=Range(
                start=date.fromisoformat(span["start"]),
                until=date.fromisoformat(span["until"]) if span["until"] else None,
                count=span["count"],
            ),
            cancelled=tuple(map(date.fromisoformat, fields["cancelled"])),
            moved=tuple(
                Moved(
                    day=date.fromisoformat(move["day"]),
                    start=datetime.fromisoformat(move["start"]),
                    end=datetime.fromisoformat(move["end"]),
                    time_zone=move["time_zone"],
                )
                for move in fields["moved"]
            ),
        )


@dataclass(frozen=True, slots=True)
class StandingSeries:
    """What a writer knows of a series with exceptions that stands in a calendar, beside its master.

    It is recorded before the first exception is sent, so that whoever comes later knows what may deviate.
    """

    frame: str
    """Which times, pattern and range the master has; see `calbus.entry.frame_of`."""
    cancelled: tuple[date, ...]
    moved: tuple[date, ...]
    """The days that deviate, or may, on our account."""
    created: bool
    """The master was created for this content: nothing in the series is older than it."""
    done: int = 0
    """So many of the content's exceptions are brought about, in the order of `Recurrence.exceptions`."""
    stale: bool = False
    """The calendar would not take an exception: the series is to be written anew."""
    found: str | None = None
    """The id of the occurrence that is the next exception's; known for a moment only, and not stored."""

    def to_json(self) -> str:
        """The stored form."""
        fields = asdict(self)
        del fields["found"]
        return orjson.dumps(fields).decode()

    @classmethod
    def from_json(cls, stored: str) -> "StandingSeries":
        """The inverse of `to_json`, without what was found."""
        fields: dict[str, Any] = orjson.loads(stored)
        fields["cancelled"] = tuple(map(date.fromisoformat, fields["cancelled"]))
        fields["moved"] = tuple(map(date.fromisoformat, fields["moved"]))
        return cls(**fields)
