"""Entries in the words of Microsoft Graph: the requests that create, find, read, update and delete one. Pure."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from uuid import UUID
from zoneinfo import ZoneInfo

from tzlocal.windows_tz import tz_win, win_tz

from calbus.entry import Content, Place
from calbus.graph.calls import Request
from calbus.graph.series import agree_in, patterned, zone_of_series

# Marks an event as ours and says which entry it is. Only a hint: a copy that the user makes bears it too.
MARKER = "String {6d9f6c1e-2f0b-4f0e-8f43-5d7f0a3e9b11} Name CalbusEntry"

IMMUTABLE = {"Prefer": 'IdType="ImmutableId"'}
_FIELDS = "$select=id,changeKey,transactionId"
# More than a window around one occurrence ever holds.
INSTANCES_MAX = 100
_DAY = timedelta(days=1)


def create(
    place: Place, entry_id: UUID, transaction_id: UUID, content: Content, calendar_id: str | None = None
) -> Request:
    """Create the event: repeated with the same transaction id it creates nothing twice."""
    body = event_of(content)
    body["transactionId"] = str(transaction_id)
    body["singleValueExtendedProperties"] = [{"id": MARKER, "value": str(entry_id)}]
    return Request("create", "POST", _events(place, calendar_id), IMMUTABLE, body)


def update(place: Place, event_id: str, etag: str, content: Content) -> Request:
    """Make the event equal to `content`, unless it was changed since `etag`. Moves and edits a whole event."""
    # What is not named stays: only an explicit null makes a series a single event again.
    body = {"recurrence": None, **event_of(content)}
    return Request("update", "PATCH", _event(place, event_id), {**IMMUTABLE, "If-Match": etag}, body)


def delete(place: Place, event_id: str, etag: str) -> Request:
    """Delete the event, unless it was changed since `etag`. It has no attendees: nobody is sent a cancellation."""
    return Request("delete", "DELETE", _event(place, event_id), {**IMMUTABLE, "If-Match": etag})


def read(place: Place, event_id: str) -> Request:
    """Read the event's id and etag."""
    return Request("read", "GET", f"{_event(place, event_id)}?{_FIELDS}", IMMUTABLE)


def find(place: Place, entry_id: UUID, calendar_id: str | None = None) -> Request:
    """Find the events in this calendar, or the default one, that bear our mark for this entry."""
    condition = f"singleValueExtendedProperties/Any(ep: ep/id eq '{MARKER}' and ep/value eq '{entry_id}')"
    query = f"$filter={quote(condition, safe='')}&{_FIELDS}"
    return Request("find", "GET", f"{_events(place, calendar_id)}?{query}", IMMUTABLE)


def instances(place: Place, master_id: str, begin: datetime, end: datetime) -> Request:
    """Read the occurrences of a series between two times in UTC: their ids, and when the pattern has them begin."""
    window = f"startDateTime={begin.isoformat()}Z&endDateTime={end.isoformat()}Z"
    query = f"{window}&$select=id,originalStart,type&$top={INSTANCES_MAX}"
    return Request("instances", "GET", f"{_event(place, master_id)}/instances?{query}", IMMUTABLE)


def update_occurrence(place: Place, occurrence_id: str, content: Content) -> Request:
    """Make one occurrence of a series equal to `content`, which itself does not recur.

    No etag is asked for: each write to an occurrence changes those of all the others.
    """
    return Request("update_occurrence", "PATCH", _event(place, occurrence_id), IMMUTABLE, event_of(content))


def cancel_occurrence(place: Place, occurrence_id: str) -> Request:
    """Delete one occurrence; its series goes on."""
    return Request("cancel_occurrence", "DELETE", _event(place, occurrence_id), IMMUTABLE)


def event_of(content: Content) -> dict[str, Any]:
    """The event as Graph wants it. Everything that calbus decides is named, so that an update leaves nothing over."""
    reminds = content.reminder_minutes is not None
    start, end, zone = graph_times(content)
    recurrence = {} if content.recurrence is None else {"recurrence": patterned(content.recurrence, zone)}
    return {
        "subject": content.subject,
        "body": {"contentType": "text", "content": content.body},
        "start": {"dateTime": start.isoformat(), "timeZone": zone},
        "end": {"dateTime": end.isoformat(), "timeZone": zone},
        # A timed update of an all-day event, or the reverse, is refused unless this is said with the times.
        "isAllDay": content.all_day,
        "showAs": content.show_as.value,
        "importance": content.importance,
        "sensitivity": "private" if content.private else "normal",
        "categories": [content.category],
        "isReminderOn": reminds,
        "reminderMinutesBeforeStart": content.reminder_minutes or 0,
        "location": {"displayName": content.place},
        **recurrence,
    }


def graph_times(content: Content) -> tuple[datetime, datetime, str]:
    """Wall-clock start and end, and the Windows name of their zone, which every mailbox understands.

    In UTC where Windows has no zone that shows these instants at these wall-clock times; but a series keeps its zone.
    """
    if content.recurrence is not None:
        return content.start, content.end, zone_of_series(content)
    name = tz_win.get(content.time_zone)
    if name is not None and (content.all_day or _agree(content, win_tz[name])):
        return content.start, content.end, name
    if content.all_day:  # days have no instant, so that any zone says the same
        return content.start, content.end, "UTC"
    here = ZoneInfo(content.time_zone)
    start, end = (moment.replace(tzinfo=here).astimezone(UTC) for moment in (content.start, content.end))
    return start.replace(tzinfo=None), end.replace(tzinfo=None), "UTC"


def _agree(content: Content, other: str) -> bool:
    """Whether the zone that Windows' name stands for keeps the same time as the entry's own, at its start and end."""
    if _agree_from_to(content.start.year - 1, content.end.year + 1, content.time_zone, other):
        return True
    zones = ZoneInfo(content.time_zone), ZoneInfo(other)
    return all(
        len({moment.replace(tzinfo=zone).utcoffset() for zone in zones}) == 1 for moment in (content.start, content.end)
    )


@lru_cache(maxsize=2_048)
def _agree_from_to(first_year: int, last_year: int, one: str, other: str) -> bool:
    return all(agree_in(year, one, other) for year in range(first_year, last_year + 1))


def _events(place: Place, calendar_id: str | None) -> str:
    calendar = "calendar" if calendar_id is None else f"calendars/{quote(calendar_id, safe='')}"
    return f"{_user(place.mailbox)}/{calendar}/events"


def _event(place: Place, event_id: str) -> str:
    return f"{_user(place.mailbox)}/events/{quote(event_id, safe='')}"


@lru_cache(maxsize=20_000)
def _user(mailbox: str) -> str:
    return f"/users/{quote(mailbox, safe='')}"
