"""One event: the values Exchange keeps and the representation Graph shows, made once per write.

Composing is a pure step from (previous representation, changes) to a new one, so that a refused write leaves no trace.
Sources: Microsoft docs "user-post-events" example 1 (defaults), "event-update".
"""

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any

from simulator.errors import GraphError, invalid_request
from simulator.exchange.body import EMPTY, Body
from simulator.exchange.event_input import NO_LOCATION
from simulator.exchange.expansion import shortest_period_days
from simulator.exchange.recurrence import check_start
from simulator.exchange.series import Series
from simulator.exchange.times import Moment, find_zone, in_zone, show

JsonObject = dict[str, Any]

_MIDNIGHT = time(0)
# Values inside a representation are shared between events and are replaced, never changed in place.
_DEFAULTS: JsonObject = {
    "@odata.etag": "", "id": "", "createdDateTime": "", "lastModifiedDateTime": "", "changeKey": "",
    "categories": [], "originalStartTimeZone": "", "originalEndTimeZone": "", "iCalUId": "",
    "reminderMinutesBeforeStart": 15, "isReminderOn": True, "hasAttachments": False, "subject": "",
    "bodyPreview": "", "importance": "normal", "sensitivity": "normal", "isAllDay": False, "isCancelled": False,
    "isOrganizer": True, "isDraft": False, "responseRequested": True, "seriesMasterId": None, "showAs": "busy",
    "type": "singleInstance", "webLink": "", "onlineMeetingUrl": None, "isOnlineMeeting": False,
    "onlineMeetingProvider": "unknown", "onlineMeeting": None, "allowNewTimeProposals": True,
    "hideAttendees": False, "recurrence": None, "attendees": [],
    "responseStatus": {"response": "organizer", "time": "0001-01-01T00:00:00Z"},
    "body": {"contentType": "html", "content": ""}, "start": {}, "end": {}, "location": NO_LOCATION,
    "locations": [], "organizer": {},
}  # fmt: skip
# An occurrence has it beside the others.
_MASKABLE = frozenset(_DEFAULTS) | {"originalStart"}

# Most events have none and share this one; an event's extensions are replaced, never changed in place.
NO_EXTENSIONS: dict[str, JsonObject] = {}


@dataclass(slots=True, eq=False)
class Event:
    """An event of one mailbox. Compared by identity; `wire` is the representation in UTC, HTML, ordinary id.

    `changed_seq` is the mailbox's number of the last write. A series' master has a `series` once an occurrence
    deviates; an occurrence has its `master` and the `day` it has in the pattern, and is made for the moment.
    """

    id: str
    immutable_id: str
    calendar_id: str
    wire: JsonObject
    start: Moment
    end: Moment
    body: Body
    properties: dict[str, str]
    transaction_id: str | None
    writes: int = 1
    changed_seq: int = 0
    series: Series | None = None
    master: "Event | None" = None
    day: date | None = None
    extensions: dict[str, JsonObject] = field(default_factory=lambda: NO_EXTENSIONS)

    @property
    def etag(self) -> str:
        """The current entity tag, which every write changes."""
        return str(self.wire["@odata.etag"])

    @property
    def begins(self) -> datetime:
        """Naive UTC of the start; an all-day event counts as UTC midnight whatever its zone."""
        return self.start.local if self.wire["isAllDay"] else self.start.utc

    @property
    def ends(self) -> datetime:
        """Naive UTC of the exclusive end; an all-day event counts as UTC midnight whatever its zone."""
        return self.end.local if self.wire["isAllDay"] else self.end.utc

    def laid_over(self, changes: JsonObject) -> "Composition":
        """This event with changes that were checked before."""
        return compose(changes, self, subject_max_chars=None, attendees_max=None, online_meetings=True)


def without_content(wire: JsonObject, kept: frozenset[str]) -> JsonObject:
    """A representation in which everything but what is kept is as if nobody had ever set it."""
    return {name: value if name in kept else _DEFAULTS[name] for name, value in wire.items() if name in _MASKABLE}


@dataclass(frozen=True, slots=True)
class Composition:
    """What a write makes of an event, before ids and change keys."""

    wire: JsonObject
    start: Moment
    end: Moment
    body: Body


def compose(
    changes: JsonObject,
    previous: Event | None,
    *,
    subject_max_chars: int | None,
    attendees_max: int | None,
    online_meetings: bool,
) -> Composition:
    """The event after the changes. Raises GraphError (400) if it would break a rule; touches nothing."""
    wire = dict(_DEFAULTS) if previous is None else dict(previous.wire)
    for name, value in changes.items():
        if name in wire:
            wire[name] = value
    start, end = _times(changes, previous)
    _check_times(start, end, wire["isAllDay"])
    if subject_max_chars is not None and len(wire["subject"]) > subject_max_chars:
        raise GraphError(400, "ErrorInvalidRequest", f"The subject is longer than {subject_max_chars} characters.")
    if attendees_max is not None and len(wire["attendees"]) > attendees_max:
        raise invalid_request(f"An event can have at most {attendees_max} attendees.")
    recurrence = wire["recurrence"]
    if recurrence is None:
        wire["type"] = "singleInstance"
    else:
        check_start(recurrence, start.local.date())
        # On the clock of the start's zone: the day on which the clocks go back has 25 hours and is one day.
        lasts = in_zone(end, find_zone(start.zone_name)) - start.local
        if lasts > timedelta(days=shortest_period_days(recurrence["pattern"])):
            raise GraphError(
                400,
                "ErrorCalendarDurationIsTooLong",
                "Your request can't be completed. An occurrence lasts longer than the time to the next one.",
            )
        wire["type"] = "seriesMaster"
        if recurrence["range"]["recurrenceTimeZone"] is None:
            span = {**recurrence["range"], "recurrenceTimeZone": start.zone_name}
            wire["recurrence"] = {**recurrence, "range": span}
    _show_times(wire, start, end)
    _settle_locations(wire, changes)
    _settle_online_meeting(wire, previous, allowed=online_meetings)
    body: Body = changes.get("body", previous.body if previous else EMPTY)
    wire["body"] = {"contentType": "html", "content": body.html}
    wire["bodyPreview"] = body.preview
    return Composition(wire, start, end, body)


def _times(changes: JsonObject, previous: Event | None) -> tuple[Moment, Moment]:
    start: Moment | None = changes.get("start", previous.start if previous else None)
    end: Moment | None = changes.get("end", previous.end if previous else None)
    # Whether the real service would invent missing times is not documented; nobody should depend on it.
    if start is None or end is None:
        raise invalid_request("The properties 'start' and 'end' are required.")
    return start, end


def _check_times(start: Moment, end: Moment, all_day: bool) -> None:
    if end.utc < start.utc:
        raise invalid_request("Your request can't be completed. The end of the event is before its start.")
    if not all_day:
        return
    for name, moment in (("Start", start), ("End", end)):
        if moment.local.time() != _MIDNIGHT:
            raise invalid_request(f"The Event.{name} property for an all-day event needs to be set to midnight.")
    if start.zone_name.lower() != end.zone_name.lower():
        raise invalid_request("The Event.Start and Event.End of an all-day event need the same time zone.")
    if end.local - start.local < timedelta(days=1):
        raise invalid_request("The duration of an event marked as all-day must be at least 24 hours.")


def _show_times(wire: JsonObject, start: Moment, end: Moment) -> None:
    # An all-day event floats: every reader sees its own dates from midnight to midnight.
    if wire["isAllDay"]:
        wire["start"], wire["end"] = show(start.local, "UTC"), show(end.local, "UTC")
    else:
        wire["start"], wire["end"] = show(start.utc, "UTC"), show(end.utc, "UTC")
    wire["originalStartTimeZone"] = start.zone_name
    wire["originalEndTimeZone"] = end.zone_name


def _settle_locations(wire: JsonObject, changes: JsonObject) -> None:
    if changes.get("locations"):
        names = [place["displayName"] for place in changes["locations"]]
        wire["location"] = {**changes["locations"][0], "displayName": "; ".join(names)}
    elif "location" in changes:
        wire["locations"] = [changes["location"]] if changes["location"]["displayName"] else []
    elif "locations" in changes:
        wire["location"] = NO_LOCATION


def _settle_online_meeting(wire: JsonObject, previous: Event | None, *, allowed: bool) -> None:
    # Once an event is an online meeting it stays one; without a provider the wish is silently ignored.
    if previous is not None and previous.wire["isOnlineMeeting"]:
        for name in ("isOnlineMeeting", "onlineMeetingProvider", "onlineMeeting"):
            wire[name] = previous.wire[name]
    elif wire["isOnlineMeeting"] and allowed:
        wire["onlineMeetingProvider"] = "teamsForBusiness"
        wire["onlineMeeting"] = {"joinUrl": "https://teams.microsoft.com/l/meetup-join/simulated"}
    else:
        wire["isOnlineMeeting"], wire["onlineMeetingProvider"] = False, "unknown"
