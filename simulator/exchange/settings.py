"""A mailbox's settings: what there is, what a request may change, and in which form it is kept.

The time zone is the user's own and is not held here. Source: Microsoft docs "user-get-mailboxsettings",
"user-update-mailboxsettings".
"""

import re
from typing import Any

from simulator.errors import unknown_property, unreadable_body
from simulator.exchange.times import find_zone, read_moment, show

JsonObject = dict[str, Any]

TYPE = "microsoft.graph.mailboxSettings"
_WEEKDAYS = frozenset({"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"})
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,7})?")
_CHOICES = {
    "delegateMeetingMessageDeliveryOptions": frozenset(
        {"sendToDelegateAndInformationToPrincipal", "sendToDelegateAndPrincipal", "sendToDelegateOnly"}
    ),
    "status": frozenset({"disabled", "alwaysEnabled", "scheduled"}),
    "externalAudience": frozenset({"none", "contactsOnly", "all"}),
}
_READ_ONLY = frozenset({"archiveFolder", "userPurpose", "displayName"})
_NO_TIME = {"dateTime": "2026-01-01T00:00:00.0000000", "timeZone": "UTC"}
_DEFAULTS: JsonObject = {
    "archiveFolder": "",
    "automaticRepliesSetting": {
        "status": "disabled", "externalAudience": "none", "internalReplyMessage": "", "externalReplyMessage": "",
        "scheduledStartDateTime": _NO_TIME, "scheduledEndDateTime": _NO_TIME,
    },
    "dateFormat": "M/d/yyyy",
    "delegateMeetingMessageDeliveryOptions": "sendToDelegateOnly",
    "language": {"locale": "en-US", "displayName": "English (United States)"},
    "timeFormat": "h:mm tt",
    "userPurpose": "user",
    "workingHours": {
        "daysOfWeek": ["monday", "tuesday", "wednesday", "thursday", "friday"], "startTime": "08:00:00.0000000",
        "endTime": "17:00:00.0000000", "timeZone": None,
    },
}  # fmt: skip


def shown(settings: JsonObject, time_zone: str) -> JsonObject:
    """All settings: those that were changed over the defaults. Working hours are in the user's zone unless they say."""
    merged = {**_DEFAULTS, **settings, "timeZone": time_zone}
    hours = merged["workingHours"]
    merged["workingHours"] = {**hours, "timeZone": hours["timeZone"] or {"name": time_zone}}
    return merged


def _read_member(name: str, value: Any) -> Any:
    if name in ("scheduledStartDateTime", "scheduledEndDateTime"):
        moment = read_moment(name, value)
        return show(moment.local, moment.zone_name)
    if name == "daysOfWeek":
        if type(value) is not list or not all(type(day) is str and day in _WEEKDAYS for day in value):
            raise unreadable_body("The property 'daysOfWeek' needs days of the week.")
        return value
    if name == "timeZone":
        zone_name = value.get("name") if type(value) is dict else None
        if type(zone_name) is not str:
            raise unreadable_body("The property 'timeZone' needs an object with a 'name'.")
        find_zone(zone_name)
        return {"name": zone_name}
    if type(value) is not str:
        raise unreadable_body(f"Cannot convert the value of '{name}' to the expected type 'Edm.String'.")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise unreadable_body(f"Requested value '{value}' was not found.")
    if name in ("startTime", "endTime") and not _TIME_OF_DAY.fullmatch(value):
        raise unreadable_body(f"Cannot convert the value of '{name}' to the expected type 'Edm.TimeOfDay'.")
    return value


def read_settings(document: Any, settings: JsonObject) -> tuple[JsonObject, str | None]:
    """The settings after a request's changes, and its time zone if it names one. Raises GraphError (400)."""
    if type(document) is not dict:
        raise unreadable_body("The request body must be a JSON object.")
    changed, time_zone = dict(settings), None
    for name, value in document.items():
        if "@" in name or name in _READ_ONLY:
            continue
        if name == "timeZone":
            if type(value) is not str:
                raise unreadable_body("Cannot convert the value of 'timeZone' to the expected type 'Edm.String'.")
            find_zone(value)
            time_zone = value
        elif name not in _DEFAULTS:
            raise unknown_property(name, TYPE)
        elif type(_DEFAULTS[name]) is dict:
            changed[name] = _read_object(name, value, changed.get(name) or _DEFAULTS[name])
        else:
            changed[name] = _read_member(name, value)
    return changed, time_zone


def _read_object(name: str, value: Any, known: JsonObject) -> JsonObject:
    if type(value) is not dict:
        raise unreadable_body(f"The property '{name}' needs an object.")
    read: JsonObject = {}
    for member, content in value.items():
        if member not in known and "@" not in member:
            raise unknown_property(member, f"microsoft.graph.{name}")
        if member not in _READ_ONLY and "@" not in member:
            read[member] = _read_member(member, content)
    return {**known, **read}
