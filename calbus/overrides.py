"""The times that a user gave an entry in Outlook, and that planning keeps. Pure.

They hold for as long as upstream's own times stay as they were when the user changed them: new ones win.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from hashlib import blake2b
from uuid import UUID
from zoneinfo import ZoneInfo

import orjson

from calbus.entry import Content
from calbus.recurrence import Moved
from calbus.touches import Times


@dataclass(frozen=True, slots=True)
class Override:
    """The user's times of an entry, or (`day`) of the occurrence that its pattern has on that day.

    Without times the user removed the occurrence.
    """

    entry_id: UUID
    day: date | None
    times: Times | None
    upstream: bytes
    """The digest of upstream's own times."""


def times_digest(content: Content) -> bytes:
    """Tells whether two contents take place at the same times, exceptions of a series included."""
    times = (content.start, content.end, content.time_zone, content.all_day, content.recurrence)
    return blake2b(orjson.dumps(times), digest_size=16).digest()


def overridden(content: Content, overrides: Iterable[Override]) -> Content:
    """Upstream's content at the user's times. The overrides must be of these very times of upstream's."""
    for override in overrides:
        content = with_override(content, override.day, override.times) or content
    return content


def with_override(content: Content, day: date | None, times: Times | None) -> Content | None:
    """The content as the user has it; None if it has no words for that."""
    return without(content, day) if times is None else with_times(content, day, times)


def without(content: Content, day: date | None) -> Content | None:
    """The series without the occurrence of `day`; None if it has none then."""
    recurrence = content.recurrence
    if recurrence is None or day is None or day in recurrence.cancelled:
        return None
    cancelled = tuple(sorted((*recurrence.cancelled, day)))
    moved = tuple(one for one in recurrence.moved if one.day != day)
    return replace(content, recurrence=replace(recurrence, cancelled=cancelled, moved=moved))


def with_times(content: Content, day: date | None, times: Times) -> Content | None:
    """The content with the whole, or the occurrence of `day`, at other times; None if it has no words for that.

    A series as a whole keeps its days: other ones would be another pattern.
    """
    if content.recurrence is None:
        if day is not None:
            return None
        start, end, zone = _wall_clock(times, content.time_zone)
        return replace(content, start=start, end=end, time_zone=zone, all_day=times.all_day)
    if times.all_day is not content.all_day:
        return None
    start, end, zone = _wall_clock(times, content.time_zone)
    if day is None:
        stays = start.date() == content.start.date() and zone == content.time_zone
        return replace(content, start=start, end=end) if stays else None
    if day in content.recurrence.cancelled:
        return None
    others = (one for one in content.recurrence.moved if one.day != day)
    moved = sorted((*others, Moved(day, start, end, zone)), key=lambda one: one.day)
    return replace(content, recurrence=replace(content.recurrence, moved=tuple(moved)))


def _wall_clock(times: Times, zone_name: str) -> tuple[datetime, datetime, str]:
    """In the entry's zone; in UTC if a time happens twice there, since a wall clock does not tell which is meant."""
    if not isinstance(times.start, datetime) or not isinstance(times.end, datetime):
        return datetime.combine(times.start, time()), datetime.combine(times.end, time()), zone_name
    zone = ZoneInfo(zone_name)
    local = [moment.astimezone(zone) for moment in (times.start, times.end)]
    if any(moment.replace(fold=0).utcoffset() != moment.replace(fold=1).utcoffset() for moment in local):
        local, zone_name = [moment.astimezone(UTC) for moment in (times.start, times.end)], "UTC"
    start, end = (moment.replace(tzinfo=None) for moment in local)
    return start, end, zone_name
