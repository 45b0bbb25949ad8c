"""From method and path to an operation and the names it is about. Keywords in any case, ids exactly as they are."""

import urllib.parse
from dataclasses import dataclass

from simulator.errors import bad_request, method_not_allowed
from simulator.graph.operations import OPERATIONS, Operation


@dataclass(frozen=True, slots=True)
class Route:
    """What a path means. `calendar_id` is None for the default calendar, or for none if not `in_calendar`."""

    operation: Operation
    user: str
    in_calendar: bool = False
    calendar_id: str | None = None
    event_id: str | None = None


def find_route(method: str, path: str) -> Route:
    """The route of a percent-encoded path below `/v1.0`. Raises GraphError (400, 405)."""
    segments = [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
    if segments[0].lower() == "me":
        raise bad_request("/me request is only valid with delegated authentication flow.")
    if segments[0].lower() != "users" or len(segments) < 2 or not segments[1]:
        raise _no_segment(segments[0])
    resource, in_calendar, calendar_id, event_id = _resource(segments[2:])
    operation = OPERATIONS[resource].get(method)
    if operation is None:
        raise method_not_allowed()
    return Route(operation, segments[1], in_calendar, calendar_id, event_id)


def _resource(rest: list[str]) -> tuple[str, bool, str | None, str | None]:
    if not rest:
        return "user", False, None, None
    in_calendar, calendar_id = False, None
    if rest[0].lower() == "calendar":
        in_calendar, rest = True, rest[1:]
    elif rest[0].lower() == "calendars":
        if len(rest) == 1:
            return "calendars", False, None, None
        in_calendar, calendar_id, rest = True, rest[1], rest[2:]
    if not rest:
        return "calendar", in_calendar, calendar_id, None
    if rest[0].lower() != "events":
        raise _no_segment(rest[0])
    if len(rest) > 2:
        raise _no_segment(rest[2])
    if len(rest) == 1:
        return "events", in_calendar, calendar_id, None
    return "event", in_calendar, calendar_id, rest[1]


def _no_segment(name: str) -> Exception:
    return bad_request(f"Resource not found for the segment '{name}'.")
