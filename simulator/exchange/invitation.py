"""What a meeting looks like in a guest's calendar, and what an answer makes of it. Pure: events in, changes out.

A guest is an attendee with an address who is not the organiser. Sources: Microsoft docs "event" (hideAttendees,
responseStatus), "attendee"; MS-OXOCAL for what meeting messages carry; choices are in the README.
"""

from collections.abc import Iterable
from typing import Any

from simulator.exchange.event import Event
from simulator.exchange.times import Moment, show, timestamp

JsonObject = dict[str, Any]
Guests = dict[str, JsonObject]

CANCELED_PREFIX = "Canceled: "
NOT_RESPONDED: JsonObject = {"response": "notResponded", "time": "0001-01-01T00:00:00Z"}
_NO_STATUS: JsonObject = {"response": "none", "time": "0001-01-01T00:00:00Z"}
# What a meeting message carries; categories, reminders, extensions and extended properties are each calendar's own.
_CARRIED = (
    "subject", "importance", "sensitivity", "isAllDay", "responseRequested", "allowNewTimeProposals", "hideAttendees",
    "isOnlineMeeting", "location", "locations", "recurrence",
)  # fmt: skip


def address_of(recipient: JsonObject) -> str:
    """The address of an attendee or organiser, in the case that people are told apart by."""
    return str(recipient.get("emailAddress", {}).get("address", "")).casefold()


def guests(event: Event) -> Guests:
    """Who gets mail about the event, by address; each person once."""
    organizer = address_of(event.wire["organizer"])
    found = {address_of(attendee): attendee for attendee in event.wire["attendees"]}
    return {address: attendee for address, attendee in found.items() if address not in ("", organizer)}


def carried(event: Event) -> JsonObject:
    """What an invitation or an update says to every guest; nobody else's answer is among it."""
    people = [
        {"type": attendee["type"], "status": _NO_STATUS, "emailAddress": attendee["emailAddress"]}
        for attendee in event.wire["attendees"]
    ]
    said = {name: event.wire[name] for name in _CARRIED}
    return {**said, "start": event.start, "end": event.end, "body": event.body, "attendees": people}


def seen_by(address: str, said: JsonObject) -> JsonObject:
    """What was said, as one guest sees it: themselves only, if the attendees are hidden."""
    if not said["hideAttendees"]:
        return said
    return {**said, "attendees": [attendee for attendee in said["attendees"] if address_of(attendee) == address]}


def head_of_copy(event: Event) -> JsonObject:
    """What only the service sets of a new copy: whose meeting it is, and that it is not answered."""
    names = ("organizer", "iCalUId")
    return {**{name: event.wire[name] for name in names}, "isOrganizer": False, **unanswered()}


def reminder_of(event: Event) -> JsonObject:
    """The reminder that a new copy begins with."""
    return {name: event.wire[name] for name in ("isReminderOn", "reminderMinutesBeforeStart")}


def unanswered() -> JsonObject:
    """A copy that waits for an answer."""
    return {"isCancelled": False, "responseStatus": NOT_RESPONDED, "showAs": "tentative"}


def standing(event: Event, copy: Event) -> JsonObject:
    """A copy whose answer stands: accepted, it is shown as the organiser has it."""
    accepted = copy.wire["responseStatus"]["response"] == "accepted"
    return {"isCancelled": False, "showAs": event.wire["showAs"] if accepted else "tentative"}


def called_off(subject: str) -> JsonObject:
    """A copy of a meeting that will not be, or not with this guest."""
    return {"isCancelled": True, "subject": CANCELED_PREFIX + subject, "showAs": "free"}


def asks_anew(event: Event, changes: JsonObject) -> bool:
    """True if the changes give the meeting other times, so that earlier answers mean nothing."""
    if any(name in changes and changes[name].utc != getattr(event, name).utc for name in ("start", "end")):
        return True
    if changes.get("isAllDay", event.wire["isAllDay"]) != event.wire["isAllDay"]:
        return True
    return event.master is None and _pattern(changes.get("recurrence", event.wire["recurrence"])) != _pattern(
        event.wire["recurrence"]
    )


def _pattern(recurrence: JsonObject | None) -> Any:
    # The zone of a range is filled in where none was given.
    return recurrence and {**recurrence, "range": {**recurrence["range"], "recurrenceTimeZone": None}}


def with_standing_answers(event: Event, changes: JsonObject, *, anew: bool) -> JsonObject:
    """The organiser's changes with the answers that are known, or, where guests are asked anew, with none."""
    people: list[JsonObject] = changes["attendees"] if "attendees" in changes else event.wire["attendees"]
    if anew:
        asked = [_answering(attendee, _NO_STATUS) for attendee in people]
        return {**changes, "attendees": asked} if asked != event.wire["attendees"] else changes
    if "attendees" not in changes:
        return changes
    known = guests(event)
    return {**changes, "attendees": [{**person, **_answer_of(known.get(address_of(person)))} for person in people]}


def _answering(attendee: JsonObject, status: JsonObject, proposal: JsonObject | None = None) -> JsonObject:
    plain = {name: value for name, value in attendee.items() if name != "proposedNewTime"}
    return {**plain, "status": status, **({"proposedNewTime": proposal} if proposal else {})}


def _answer_of(known: JsonObject | None) -> JsonObject:
    return {name: known[name] for name in ("status", "proposedNewTime") if name in known} if known else {}


def attendee(recipient: JsonObject) -> JsonObject:
    """Somebody to whom a meeting was forwarded, as an attendee."""
    email = recipient["emailAddress"]
    name, address = email.get("name"), email["address"]
    shown = {"name": name if type(name) is str and name else address, "address": address}
    return {"type": "required", "status": _NO_STATUS, "emailAddress": shown}


def answer(response: str, now: float) -> JsonObject:
    """A `responseStatus`."""
    return {"response": response, "time": timestamp(now)}


def proposal(start: Moment, end: Moment) -> JsonObject:
    """A `timeSlot` that a guest proposes."""
    return {"start": show(start.utc, "UTC"), "end": show(end.utc, "UTC")}


def with_answer(
    people: Iterable[JsonObject], address: str, status: JsonObject, proposed: JsonObject | None
) -> list[JsonObject]:
    """The organiser's attendees after one of them answered."""
    return [_answering(one, status, proposed) if address_of(one) == address else one for one in people]


def with_others(people: Iterable[JsonObject], added: Guests, gone: Iterable[str]) -> list[JsonObject]:
    """Attendees without some, and with others who are not among them yet."""
    left = set(gone)
    kept = [one for one in people if address_of(one) not in left]
    known = {address_of(one) for one in kept}
    return [*kept, *(one for address, one in added.items() if address not in known)]
