"""What a week of a mailbox looks like in the mailbox's own time zone: wall-clock times, without offsets. No HTTP.

A day that is 23 or 25 hours long is drawn with 24, as Outlook does; times are those a clock on the wall would show.
"""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from simulator.exchange import settings
from simulator.exchange.event import Event
from simulator.exchange.times import Moment, find_zone, in_zone
from simulator.exchange.user import User
from simulator.exchange.view import view

JsonObject = dict[str, Any]

DAYS = 7
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_PRIVATE = ("private", "confidential")
# A zone's midnight is at most 14 hours from that of UTC; all-day events count from UTC midnight.
_MARGIN = timedelta(days=1)


def monday_of(day: date) -> date:
    """The first day of the day's week. Raises ValueError for weeks at the edge of the calendar."""
    try:
        monday = day - timedelta(days=day.weekday())
        monday + timedelta(days=DAYS + 1), monday - timedelta(days=2)
    except OverflowError:
        raise ValueError("There is no such week.") from None
    return monday


def local_now(user: User, now: float) -> datetime:
    """The wall-clock time in the user's zone."""
    return datetime.fromtimestamp(now, UTC).astimezone(find_zone(user.time_zone)).replace(tzinfo=None)


def show_week(user: User, monday: date, now: float) -> JsonObject:
    """Everything the page draws of the week that begins on this Monday."""
    begins = datetime(monday.year, monday.month, monday.day)  # noqa: DTZ001 - wall-clock times have no zone
    ends = begins + timedelta(days=DAYS)
    zone = find_zone(user.time_zone)
    mailbox = user.mailbox
    found = view(mailbox, mailbox.default_calendar.id, begins - _MARGIN, ends + _MARGIN)
    shown = (show_event(one.event(), zone) for one in found)
    first, last = begins.isoformat(timespec="minutes"), ends.isoformat(timespec="minutes")
    return {
        "name": user.display_name,
        "upn": user.upn,
        "time_zone": user.time_zone,
        "monday": monday.isoformat(),
        "now": local_now(user, now).isoformat(timespec="minutes"),
        "working": _working(user, monday, zone),
        "categories": [
            {"name": category.name, "color": category.color} for category in mailbox.categories.by_id.values()
        ],
        "events": [
            event
            for event in shown
            if event["start"] < last and (event["end"] > first or event["start"] == event["end"] == first)
        ],
    }


def show_event(event: Event, zone: ZoneInfo) -> JsonObject:
    """One event as the page draws it. `start` and `end` are wall-clock times to the minute."""
    wire = event.wire
    return {
        "id": event.id,
        "etag": event.etag,
        "subject": wire["subject"],
        "start": _wall_clock(event, event.start, zone),
        "end": _wall_clock(event, event.end, zone),
        "all_day": wire["isAllDay"],
        "show_as": wire["showAs"],
        "private": wire["sensitivity"] in _PRIVATE,
        "categories": wire["categories"],
        "location": wire["location"]["displayName"],
        "recurring": event.master is not None,
    }


def _wall_clock(event: Event, moment: Moment, zone: ZoneInfo) -> str:
    local = moment.local if event.wire["isAllDay"] else in_zone(moment, zone)
    return local.isoformat(timespec="minutes")


def _working(user: User, monday: date, zone: ZoneInfo) -> JsonObject:
    """Working days from Monday as 0, and the minutes of the day between which there is work."""
    hours = settings.shown(user.mailbox.settings, user.time_zone)["workingHours"]
    own = find_zone(hours["timeZone"]["name"])

    def minute(text: str) -> int:
        there = datetime.fromisoformat(f"{monday.isoformat()}T{text[:8]}").replace(tzinfo=own)
        here = there.astimezone(zone)
        return here.hour * 60 + here.minute

    return {
        "days": sorted(_WEEKDAYS.index(day) for day in hours["daysOfWeek"]),
        "from_minute": minute(hours["startTime"]),
        "to_minute": minute(hours["endTime"]),
    }
