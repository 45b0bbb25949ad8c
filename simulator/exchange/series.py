"""A recurring event and its occurrences: which there are, how one looks, and where it may be moved.

An occurrence is made when it is looked at; only what deviates from the pattern is kept, with the series' master.
Sources: Microsoft docs "event", "event-update"; choices are in the README.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple

from simulator.errors import GraphError, invalid_request
from simulator.exchange import ids
from simulator.exchange.expansion import dates, shortest_period_days
from simulator.exchange.open_extensions import with_extension
from simulator.exchange.times import Moment, find_zone, show, timestamp, to_utc

if TYPE_CHECKING:
    from simulator.exchange.event import Composition, Event

JsonObject = dict[str, Any]

# An occurrence may begin this long before its day in UTC, or end after it: zones differ by up to 14 hours.
_ZONE_MARGIN = timedelta(days=2)
# The occurrence before another is at most so many of its pattern's shortest periods away.
_PERIODS_BACK = 3


@dataclass(slots=True, eq=False)
class Deviation:
    """What makes one occurrence an exception: the changes laid over its master, and the stamp of the last write.

    An extension that is None is one of the series that this occurrence has no longer.
    """

    changes: JsonObject
    stamp: JsonObject
    properties: dict[str, str]
    changed_seq: int
    writes: int = 1
    extensions: dict[str, JsonObject | None] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Series:
    """What deviates from a pattern, by the day an occurrence has in it."""

    exceptions: dict[date, Deviation] = field(default_factory=dict)
    cancelled: set[date] = field(default_factory=set)


class Slot(NamedTuple):
    """One occurrence's place in time, in naive UTC; an all-day one counts from UTC midnight."""

    begins: datetime
    ends: datetime
    day: date


def has_day(master: "Event", day: date) -> bool:
    """True if the pattern of the series has this day, even if the occurrence was removed."""
    return master.wire["recurrence"] is not None and next(dates(master.wire["recurrence"], day), None) == day


def occurs(master: "Event", day: date) -> bool:
    """True if the series has an occurrence for this day of its pattern, wherever that was moved to."""
    return (master.series is None or day not in master.series.cancelled) and has_day(master, day)


def _shifted(moment: Moment, days: timedelta, name: str) -> Moment:
    try:
        local = moment.local + days
    except OverflowError:
        raise invalid_request(f"The date and time of property '{name}' are out of range.") from None
    return Moment(local, moment.zone_name, to_utc(local, find_zone(moment.zone_name), name))


def _times(master: "Event", day: date) -> tuple[Moment, Moment]:
    """The same wall-clock times on another day, which may be another span of UTC."""
    days = day - master.start.local.date()
    return _shifted(master.start, days, "start"), _shifted(master.end, days, "end")


def _regular_slot(master: "Event", day: date) -> Slot:
    start, end = _times(master, day)
    if master.wire["isAllDay"]:
        return Slot(start.local, end.local, day)
    return Slot(start.utc, end.utc, day)


def regular(master: "Event", day: date) -> "Event":
    """The occurrence as the pattern has it."""
    start, end = _times(master, day)
    occurrence_id = ids.occurrence_id(master.id, day)
    wire = master.wire.copy()
    wire.pop("transactionId", None)
    wire["id"] = occurrence_id
    wire["iCalUId"] = ids.occurrence_uid(master.wire["iCalUId"], day)
    wire["webLink"] = ids.web_link(occurrence_id)
    wire["type"], wire["seriesMasterId"], wire["recurrence"] = "occurrence", master.id, None
    wire["originalStart"] = timestamp(start.utc.replace(tzinfo=UTC).timestamp())
    floating = wire["isAllDay"]
    wire["start"] = show(start.local if floating else start.utc, "UTC")
    wire["end"] = show(end.local if floating else end.utc, "UTC")
    return type(master)(
        occurrence_id,
        ids.occurrence_id(master.immutable_id, day),
        master.calendar_id,
        wire,
        start,
        end,
        master.body,
        master.properties,
        None,
        master.writes,
        master.changed_seq,
        master=master,
        day=day,
        extensions=master.extensions,
    )


def occurrence(master: "Event", day: date) -> "Event":
    """The occurrence of this day, an exception or not. It must occur."""
    event = regular(master, day)
    deviation = master.series.exceptions.get(day) if master.series else None
    if deviation is not None:
        # The changes were checked when they were written.
        composed = event.laid_over(deviation.changes)
        settle_exception(event, composed, deviation)
    return event


def settle_exception(event: "Event", composed: "Composition", deviation: Deviation) -> None:
    """Makes a regular occurrence the exception that the deviation describes."""
    event.wire = {**composed.wire, **deviation.stamp, "type": "exception"}
    event.start, event.end, event.body = composed.start, composed.end, composed.body
    event.properties = {**event.properties, **deviation.properties}
    for name, values in deviation.extensions.items():
        event.extensions = with_extension(event.extensions, name, values)
    event.writes, event.changed_seq = deviation.writes, deviation.changed_seq


def slots(master: "Event", begin: datetime, end: datetime) -> Iterator[Slot]:
    """Every occurrence that overlaps the naive UTC span, in the order of the pattern."""
    series = master.series or Series()
    length = master.end.local - master.start.local
    try:
        since = (begin - length - _ZONE_MARGIN).date()
    except OverflowError:
        since = date.min
    try:
        until = (end + _ZONE_MARGIN).date()
    except OverflowError:
        until = date.max
    days = dates(master.wire["recurrence"], since)
    for day in takewhile(lambda day: day <= until, days):
        if day not in series.cancelled and day not in series.exceptions:
            try:
                slot = _regular_slot(master, day)
            except GraphError:
                # The calendar ends before this occurrence does.
                break
            if overlaps(slot.begins, slot.ends, begin, end):
                yield slot
    for day in series.exceptions:
        moved = occurrence(master, day)
        if overlaps(moved.begins, moved.ends, begin, end):
            yield Slot(moved.begins, moved.ends, day)


def overlaps(begins: datetime, ends: datetime, begin: datetime, end: datetime) -> bool:
    """Whether a time touches the span from `begin` up to, but without, `end`."""
    return begins < end and (ends > begin or begins == begin)


def check_neighbours(master: "Event", day: date, start: Moment, end: Moment) -> None:
    """Refuses (400) to move an occurrence to or past the day of the one before or after it."""
    cancelled = master.series.cancelled if master.series else frozenset[date]()
    before, after = None, None
    period_days = shortest_period_days(master.wire["recurrence"]["pattern"])
    try:
        since = day - timedelta(days=period_days * (_PERIODS_BACK + len(cancelled)))
    except OverflowError:
        since = date.min
    for other in dates(master.wire["recurrence"], since):
        if other in cancelled or other == day:
            continue
        if other > day:
            after = other
            break
        before = other
    crosses = (before is not None and start.local.date() <= occurrence(master, before).start.local.date()) or (
        after is not None
        and (
            start.local.date() >= (following := occurrence(master, after)).start.local.date()
            or end.utc > following.start.utc
        )
    )
    if crosses:
        raise GraphError(
            400,
            "ErrorOccurrenceCrossingBoundary",
            "Your request can't be completed. Modified occurrence is crossing or overlapping adjacent occurrence.",
        )
