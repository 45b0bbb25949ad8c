"""The exceptions of a series: what is due of them next, how it is asked for, and what an answer means. Pure.

A series is one master, and exceptions that are brought about one by one after it stands. Each is looked up by when the
pattern has it begin, wherever it is now, and then moved or cancelled. All of that can be repeated: what is moved
already is moved to the same place, what is cancelled already is not found.
"""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from calbus.entry import Applied, Content, Place, frame_of
from calbus.graph import events
from calbus.graph.calls import Request
from calbus.recurrence import Moved, StandingSeries

# An occurrence that somebody moved is looked for so many days around its own day. It never passes its neighbours.
LOOK_AROUND_MAX_DAYS = 31
# Graph's own limit for a window (observed: a window of more days is refused).
WINDOW_MAX_DAYS = 1_825


def due(content: Content, standing: StandingSeries) -> date | Moved | None:
    """The next exception to bring about; None if all are."""
    if content.recurrence is None:
        return None
    return next((one for number, one in enumerate(content.recurrence.exceptions()) if number >= standing.done), None)


def standing_of(content: Content, *, created: bool) -> StandingSeries | None:
    """What is to be known once the master of `content` stands; None if it has no exceptions."""
    recurrence = content.recurrence
    if recurrence is None or not (recurrence.cancelled or recurrence.moved):
        return None
    days = tuple(move.day for move in recurrence.moved)
    return StandingSeries(frame_of(content), recurrence.cancelled, days, created)


def must_be_anew(content: Content, standing: StandingSeries) -> bool:
    """Whether the series that stands cannot become `content` by changing it.

    No call takes a cancellation back, and what becomes of exceptions when a series gets other times is not documented.
    An occurrence that was moved may be moved elsewhere, or be cancelled.
    """
    recurrence = content.recurrence
    if standing.stale or recurrence is None or standing.frame != frame_of(content):
        return True
    cancelled = set(recurrence.cancelled)
    moved = {move.day for move in recurrence.moved}
    return not (cancelled.issuperset(standing.cancelled) and (cancelled | moved).issuperset(standing.moved))


def look(place: Place, master_id: str, content: Content, exception: date | Moved) -> Request:
    """Ask for the occurrences around the exception's own day, and where it is to be."""
    day = exception.day if isinstance(exception, Moved) else exception
    midnight = datetime.combine(day, time())
    begin, end = midnight, midnight + (content.end - content.start)
    if isinstance(exception, Moved):
        begin, end = min(begin, exception.start), max(end, exception.end)
    around = timedelta(days=1 + min(_days_between(content), LOOK_AROUND_MAX_DAYS))
    begin -= around
    return events.instances(place, master_id, begin, min(end + around, begin + timedelta(days=WINDOW_MAX_DAYS)))


def _days_between(content: Content) -> int:
    """About how many days lie between neighbouring occurrences; no fewer than there are, save by exceptions."""
    assert content.recurrence is not None
    pattern = content.recurrence.pattern
    kind = pattern.type.value
    return pattern.interval * (1 if kind == "daily" else 7 if kind == "weekly" else LOOK_AROUND_MAX_DAYS)


def found_in(content: Content, exception: date | Moved, shown: list[dict[str, Any]]) -> str | None:
    """The id of the exception's occurrence among those that an answer shows; None if it is not there."""
    day = exception.day if isinstance(exception, Moved) else exception
    zone = ZoneInfo(content.time_zone)
    begins = {datetime.combine(day, content.start.time(), zone).astimezone(UTC)}
    if content.all_day:
        # Days float; by which midnight Graph tells the original start of one is not documented.
        begins.add(datetime.combine(day, time(), UTC))
    return next((one["id"] for one in shown if _original_start(one) in begins), None)


def _original_start(occurrence: dict[str, Any]) -> datetime | None:
    text = occurrence.get("originalStart")
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC) if moment is not None else None


def move(place: Place, occurrence_id: str, content: Content, moved: Moved) -> Request:
    """Let the occurrence take place at another time, and say what the series says."""
    there = replace(content, start=moved.start, end=moved.end, time_zone=moved.time_zone, recurrence=None)
    return events.update_occurrence(place, occurrence_id, there)


def one_done(applied: Applied) -> Applied:
    """An exception is brought about. The master's etag is another then, with each of its occurrences."""
    assert applied.series is not None
    return replace(applied, etag=None, series=replace(applied.series, done=applied.series.done + 1, found=None))
