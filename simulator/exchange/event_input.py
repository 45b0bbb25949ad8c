"""What a request body may say about an event: each property's type, and what becomes of the others.

Reading is strict, as OData is: an unknown property, a wrong type or an unknown enum value refuses the whole body.
Sources: Microsoft metadata v1.0 "microsoft.graph.event"; Microsoft docs "event", "user-post-events".
"""

from collections.abc import Callable
from typing import Any

from simulator.errors import not_held, unknown_property, unreadable_body
from simulator.exchange.body import read_body
from simulator.exchange.extended_properties import read_properties
from simulator.exchange.open_extensions import read_extensions
from simulator.exchange.recurrence import read_recurrence
from simulator.exchange.times import read_moment

JsonObject = dict[str, Any]
Reader = Callable[[str, Any], Any]

_INT32_MAX = 2**31 - 1

# Known to the type, but made by the server: a body that was read and is sent back is not refused for them.
READ_ONLY = frozenset(
    {
        "bodyPreview", "cancelledOccurrences", "changeKey", "createdDateTime", "hasAttachments", "iCalUId", "id",
        "isCancelled", "isDraft", "isOrganizer", "lastModifiedDateTime", "onlineMeeting", "onlineMeetingUrl",
        "organizer", "originalEndTimeZone", "originalStart", "originalStartTimeZone", "responseStatus",
        "seriesMasterId", "type", "webLink",
    }
)  # fmt: skip
_NOT_HELD = frozenset({"attachments", "calendar", "exceptionOccurrences", "instances", "multiValueExtendedProperties"})


def _wrong_type(name: str, edm_type: str) -> Exception:
    return unreadable_body(f"Cannot convert the value of '{name}' to the expected type '{edm_type}'.")


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    if type(value) is not str:
        raise _wrong_type(name, "Edm.String")
    return value


def _optional_text(name: str, value: Any) -> str | None:
    return _text(name, value) or None


# python-o365 writes truth as text, and the real service reads it.
_TRUTH_AS_TEXT = {"true": True, "false": False}


def _boolean(name: str, value: Any) -> bool:
    if type(value) is str:
        value = _TRUTH_AS_TEXT.get(value)
    if type(value) is not bool:
        raise _wrong_type(name, "Edm.Boolean")
    return value


def _int32(name: str, value: Any) -> int:
    if type(value) is not int or not -_INT32_MAX <= value <= _INT32_MAX:
        raise _wrong_type(name, "Edm.Int32")
    return value


def _one_of(*values: str) -> Reader:
    known = frozenset(values)

    def read(name: str, value: Any) -> str:
        if type(value) is not str:
            raise _wrong_type(name, "Edm.String")
        if value not in known:
            raise unreadable_body(f"Requested value '{value}' was not found.")
        return value

    return read


def _categories(name: str, value: Any) -> list[str]:
    if type(value) is not list or not all(type(item) is str for item in value):
        raise _wrong_type(name, "Collection(Edm.String)")
    return value


def _object(name: str, value: Any, members: frozenset[str], type_name: str) -> JsonObject:
    if type(value) is not dict:
        raise _wrong_type(name, type_name)
    for member in value:
        if member not in members and "@" not in member:
            raise unknown_property(member, type_name)
    return value


_EMAIL_MEMBERS = frozenset({"name", "address"})
_ATTENDEE_MEMBERS = frozenset({"emailAddress", "type", "status", "proposedNewTime"})
_attendee_type = _one_of("required", "optional", "resource")


def _attendee(name: str, value: Any) -> JsonObject:
    given = _object(name, value, _ATTENDEE_MEMBERS, "microsoft.graph.attendee")
    email = _object(f"{name}.emailAddress", given.get("emailAddress"), _EMAIL_MEMBERS, "microsoft.graph.emailAddress")
    address = _text("address", email.get("address"))
    return {
        "type": _attendee_type("type", given.get("type", "required")),
        "status": {"response": "none", "time": "0001-01-01T00:00:00Z"},
        "emailAddress": {"name": _text("name", email.get("name")) or address, "address": address},
    }


def _attendees(name: str, value: Any) -> list[JsonObject]:
    if type(value) is not list:
        raise _wrong_type(name, "Collection(microsoft.graph.attendee)")
    return [_attendee(name, item) for item in value]


NO_LOCATION: JsonObject = {
    "displayName": "", "locationType": "default", "uniqueIdType": "unknown", "address": {}, "coordinates": {}
}  # fmt: skip
_LOCATION_TEXTS = ("displayName", "locationEmailAddress", "locationUri", "uniqueId")
_location_type = _one_of(
    "default", "conferenceRoom", "homeAddress", "businessAddress", "geoCoordinates", "streetAddress", "hotel",
    "restaurant", "localBusiness", "postalAddress",
)  # fmt: skip
_unique_id_type = _one_of("unknown", "locationStore", "directory", "private", "bing")
_ADDRESS_MEMBERS = frozenset({"city", "countryOrRegion", "postalCode", "state", "street"})
_COORDINATE_MEMBERS = frozenset({"accuracy", "altitude", "altitudeAccuracy", "latitude", "longitude"})
_LOCATION_MEMBERS = frozenset({*_LOCATION_TEXTS, "locationType", "uniqueIdType", "address", "coordinates"})


def _location(name: str, value: Any) -> JsonObject:
    if value is None:
        return NO_LOCATION
    given = _object(name, value, _LOCATION_MEMBERS, "microsoft.graph.location")
    location: JsonObject = dict(NO_LOCATION)
    for member in _LOCATION_TEXTS:
        if given.get(member) is not None:
            location[member] = _text(f"{name}.{member}", given[member])
    if given.get("locationType") is not None:
        location["locationType"] = _location_type(name, given["locationType"])
    if given.get("address") is not None:
        location["address"] = _object(name, given["address"], _ADDRESS_MEMBERS, "microsoft.graph.physicalAddress")
    if given.get("coordinates") is not None:
        location["coordinates"] = _object(
            name, given["coordinates"], _COORDINATE_MEMBERS, "microsoft.graph.outlookGeoCoordinates"
        )
    if given.get("uniqueIdType") is not None:
        location["uniqueIdType"] = _unique_id_type(name, given["uniqueIdType"])
    elif location["displayName"]:
        location["uniqueId"] = location["displayName"]
        location["uniqueIdType"] = "private"
    return location


def _locations(name: str, value: Any) -> list[JsonObject]:
    if type(value) is not list:
        raise _wrong_type(name, "Collection(microsoft.graph.location)")
    return [_location(name, item) for item in value]


READERS: dict[str, Reader] = {
    "allowNewTimeProposals": _boolean,
    "attendees": _attendees,
    "body": read_body,
    "categories": _categories,
    "end": read_moment,
    "extensions": read_extensions,
    "hideAttendees": _boolean,
    "importance": _one_of("low", "normal", "high"),
    "isAllDay": _boolean,
    "isOnlineMeeting": _boolean,
    "isReminderOn": _boolean,
    "location": _location,
    "locations": _locations,
    "onlineMeetingProvider": _one_of("unknown", "skypeForBusiness", "skypeForConsumer", "teamsForBusiness"),
    "recurrence": read_recurrence,
    "reminderMinutesBeforeStart": _int32,
    "responseRequested": _boolean,
    "sensitivity": _one_of("normal", "personal", "private", "confidential"),
    "showAs": _one_of("free", "tentative", "busy", "oof", "workingElsewhere", "unknown"),
    "singleValueExtendedProperties": read_properties,
    "start": read_moment,
    "subject": _text,
    "transactionId": _optional_text,
}
KNOWN_PROPERTIES = frozenset(READERS) | READ_ONLY | _NOT_HELD


def read_changes(document: Any) -> JsonObject:
    """The writable properties that the body names, each checked and in the form it is kept in.

    Read-only properties and annotations are skipped. Raises GraphError (400, or 501 for what is not held).
    """
    if type(document) is not dict:
        raise unreadable_body("The request body must be a JSON object.")
    changes: JsonObject = {}
    for name, value in document.items():
        reader = READERS.get(name)
        if reader is not None:
            changes[name] = reader(name, value)
        elif name in _NOT_HELD:
            raise not_held(f"the property '{name}'")
        elif name not in READ_ONLY and "@" not in name:
            raise unknown_property(name, "microsoft.graph.event")
    return changes
