"""Recurrence: which members a pattern and a range need, which they may not have, and the full form Exchange stores.

Source: Microsoft docs "recurrencepattern", "recurrencerange".
"""

from datetime import date
from typing import Any

from simulator.errors import invalid_request, unknown_property, unreadable_body
from simulator.exchange.times import find_zone

JsonObject = dict[str, Any]

_DAYS = frozenset({"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"})
_INDEXES = frozenset({"first", "second", "third", "fourth", "last"})
_NEEDED = {
    "daily": frozenset[str](),
    "weekly": frozenset({"daysOfWeek", "firstDayOfWeek"}),
    "absoluteMonthly": frozenset({"dayOfMonth"}),
    "relativeMonthly": frozenset({"daysOfWeek"}),
    "absoluteYearly": frozenset({"dayOfMonth", "month"}),
    "relativeYearly": frozenset({"daysOfWeek", "month"}),
}
_ALSO_ALLOWED = {
    "relativeMonthly": frozenset({"index", "firstDayOfWeek"}),
    "relativeYearly": frozenset({"index", "firstDayOfWeek"}),
}
# What a read shows for a member that the pattern's type does not use; sending it back is not an error.
_UNUSED: JsonObject = {
    "dayOfMonth": 0, "month": 0, "daysOfWeek": [], "firstDayOfWeek": "sunday", "index": "first"
}  # fmt: skip
_RANGE_MEMBERS = frozenset({"type", "startDate", "endDate", "numberOfOccurrences", "recurrenceTimeZone"})
_NO_DATE = "0001-01-01"


def _object(name: str, value: Any, members: frozenset[str], type_name: str) -> JsonObject:
    if type(value) is not dict:
        raise unreadable_body(f"The property '{name}' needs an object.")
    for member in value:
        if member not in members and "@" not in member:
            raise unknown_property(member, type_name)
    return value


def _integer(value: Any, name: str, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise invalid_request(f"The recurrence member '{name}' needs a whole number from {low} to {high}.")
    return value


def _date(value: Any, name: str) -> date:
    if type(value) is str and len(value) == len(_NO_DATE):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise invalid_request(f"The recurrence member '{name}' needs a date such as 2026-12-01.")


def _check_member(name: str, value: Any) -> None:
    if name == "dayOfMonth":
        _integer(value, name, 1, 31)
    elif name == "month":
        _integer(value, name, 1, 12)
    elif name == "daysOfWeek":
        if type(value) is not list or not value or not all(type(d) is str and d in _DAYS for d in value):
            raise invalid_request("The recurrence member 'daysOfWeek' needs at least one day of the week.")
    elif name == "firstDayOfWeek":
        if type(value) is not str or value not in _DAYS:
            raise unreadable_body(f"Requested value '{value}' was not found.")
    elif type(value) is not str or value not in _INDEXES:
        raise unreadable_body(f"Requested value '{value}' was not found.")


def _read_pattern(value: Any) -> JsonObject:
    known = frozenset({"type", "interval", *_UNUSED})
    given = _object("recurrence.pattern", value, known, "microsoft.graph.recurrencePattern")
    kind = given.get("type")
    if type(kind) is not str or kind not in _NEEDED:
        raise unreadable_body(f"Requested value '{kind}' was not found.")
    _integer(given.get("interval"), "interval", 1, 999)
    needed = _NEEDED[kind]
    used = needed | _ALSO_ALLOWED.get(kind, frozenset())
    for name in sorted(needed):
        if given.get(name) is None:
            raise invalid_request(f"The recurrence pattern '{kind}' needs the member '{name}'.")
    pattern: JsonObject = {"type": kind, "interval": given["interval"], **_UNUSED}
    for name in sorted(_UNUSED):
        if (content := given.get(name)) is None:
            continue
        if name in used:
            _check_member(name, content)
            pattern[name] = content
        elif content != _UNUSED[name]:
            raise invalid_request(f"The recurrence pattern '{kind}' cannot have the member '{name}'.")
    return pattern


def _read_range(value: Any) -> JsonObject:
    given = _object("recurrence.range", value, _RANGE_MEMBERS, "microsoft.graph.recurrenceRange")
    kind = given.get("type")
    start = _date(given.get("startDate"), "startDate")
    zone_name = given.get("recurrenceTimeZone")
    if zone_name is not None:
        if type(zone_name) is not str:
            raise unreadable_body("The recurrence member 'recurrenceTimeZone' must be of type 'Edm.String'.")
        find_zone(zone_name)
    kept: JsonObject = {
        "type": kind, "startDate": start.isoformat(), "endDate": _NO_DATE, "recurrenceTimeZone": zone_name,
        "numberOfOccurrences": 0,
    }  # fmt: skip
    if kind == "endDate":
        end = _date(given.get("endDate"), "endDate")
        if end < start:
            raise invalid_request("The recurrence ends before it starts.")
        kept["endDate"] = end.isoformat()
    elif kind == "numbered":
        kept["numberOfOccurrences"] = _integer(given.get("numberOfOccurrences"), "numberOfOccurrences", 1, 999)
    elif kind != "noEnd":
        raise unreadable_body(f"Requested value '{kind}' was not found.")
    return kept


def read_recurrence(name: str, value: Any) -> JsonObject | None:
    """A `patternedRecurrence` from a request body, in the full form that a read shows; None for null."""
    if value is None:
        return None
    given = _object(name, value, frozenset({"pattern", "range"}), "microsoft.graph.patternedRecurrence")
    return {"pattern": _read_pattern(given.get("pattern")), "range": _read_range(given.get("range"))}


def check_start(recurrence: JsonObject, start: date) -> None:
    """Refuses (400) a range that does not start on the day of the event's own start."""
    if recurrence["range"]["startDate"] != start.isoformat():
        raise invalid_request("The recurrence's startDate must be the date of the event's start.")
