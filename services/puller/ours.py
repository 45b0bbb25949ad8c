"""How one of our entries, or one occurrence of it, should look when it is seen, and in what it differs. Pure."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from calbus.entry import Content
from calbus.graph.events import event_of
from schemas.changes import EditedField
from services.puller.pattern import falls_on
from services.puller.seen import Seen, recurrence_of, zone_of


@dataclass(frozen=True, slots=True)
class Look:
    """What of an event can be compared with what calbus wrote. Never its body: Exchange rewrites it."""

    start: datetime | date
    end: datetime | date
    all_day: bool
    subject: str
    place: str
    categories: tuple[str, ...]
    shown_as: str
    importance: str
    private: bool
    reminder_minutes: int | None
    recurrence: dict[str, Any] | None


_TEXTS = ((EditedField.SUBJECT, "subject"), (EditedField.PLACE, "place"))
_PLAIN = (
    (EditedField.SHOWN_AS, "shown_as"),
    (EditedField.IMPORTANCE, "importance"),
    (EditedField.PRIVATE, "private"),
    (EditedField.REMINDER, "reminder_minutes"),
    (EditedField.RECURRENCE, "recurrence"),
)


def expected(content: Content) -> Look:
    """The event as the writer writes it: a single one, or the master of a series."""
    event = event_of(content)
    return Look(
        start=_moment(event["start"], all_day=content.all_day),
        end=_moment(event["end"], all_day=content.all_day),
        all_day=content.all_day,
        subject=event["subject"],
        place=event["location"]["displayName"],
        categories=tuple(event["categories"]),
        shown_as=event["showAs"],
        importance=event["importance"],
        private=content.private,
        reminder_minutes=content.reminder_minutes,
        recurrence=recurrence_of(event.get("recurrence")),
    )


def expected_occurrence(content: Content, day: date) -> Look:
    """The occurrence that the pattern has on `day`, which `content` must have."""
    assert content.recurrence is not None
    moved = next((one for one in content.recurrence.moved if one.day == day), None)
    if moved is not None:
        start, end, zone = moved.start, moved.end, moved.time_zone
    else:
        start = datetime.combine(day, content.start.time())
        end, zone = start + (content.end - content.start), content.time_zone
    return expected(replace(content, start=start, end=end, time_zone=zone, recurrence=None))


def day_of(content: Content, original_start: datetime | None) -> date | None:
    """The day that the pattern of `content` has an occurrence on that begins then; None if it has none."""
    if content.recurrence is None or original_start is None:
        return None
    zone = ZoneInfo(content.time_zone)
    days = [original_start.astimezone(zone).date()]
    if content.all_day:
        # Days float; by which midnight Graph tells the original start of one is not documented.
        days = [original_start.date()] if original_start.time() == time() else days
    elif datetime.combine(days[0], content.start.time(), zone).astimezone(UTC) != original_start:
        return None
    return next((day for day in days if falls_on(content.recurrence, day)), None)


def moved(seen: Seen | Look, other: Seen | Look) -> bool:
    """Whether the two take place at different times."""
    return (seen.all_day, seen.start, seen.end) != (other.all_day, other.start, other.end)


def edited(seen: Seen | Look, other: Seen | Look) -> set[EditedField]:
    """In what else the two differ; in the body only if both were seen."""
    fields = {field for field, name in _PLAIN if getattr(seen, name) != getattr(other, name)}
    # White space at the ends of texts, and the order of categories, are not Exchange's to keep.
    fields |= {field for field, name in _TEXTS if _words(getattr(seen, name)) != _words(getattr(other, name))}
    if {*map(_words, seen.categories)} != {*map(_words, other.categories)}:
        fields.add(EditedField.CATEGORIES)
    if isinstance(seen, Seen) and isinstance(other, Seen) and seen.body_preview != other.body_preview:
        fields.add(EditedField.BODY)
    return fields


def _words(text: str) -> str:
    return " ".join(text.split())


def _moment(given: dict[str, str], *, all_day: bool) -> datetime | date:
    wall_clock = datetime.fromisoformat(given["dateTime"])
    return wall_clock.date() if all_day else wall_clock.replace(tzinfo=zone_of(given["timeZone"])).astimezone(UTC)
