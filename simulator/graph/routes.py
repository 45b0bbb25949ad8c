"""From method and path to an operation and the names it is about. Keywords in any case, ids exactly as they are.

`PATHS` lists every path; a new one is a line in it. Matching walks a tree made of it once.
"""

import re
import urllib.parse
from dataclasses import dataclass, field

from simulator.errors import bad_request, method_not_allowed
from simulator.graph.operations import OPERATIONS
from simulator.graph.task import Route

_USER = ("users/{user}",)
_NAMED_CALENDAR = ("users/{user}/calendars/{calendar}", "users/{user}/calendarGroups/{target}/calendars/{calendar}")
_CALENDAR = ("users/{user}/calendar", *_NAMED_CALENDAR)
_EVENTS = (*_USER, *_CALENDAR)
# The resource, a key of OPERATIONS, by the end of its paths, and what these ends may follow.
PATHS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("", _USER, "user"),
    ("calendars", _USER, "calendars"),
    ("calendar", _USER, "default_calendar"),
    ("", _NAMED_CALENDAR, "calendar"),
    ("calendarGroups", _USER, "calendar_groups"),
    ("calendarGroups/{target}/calendars", _USER, "calendars"),
    ("calendarPermissions", _CALENDAR, "permissions"),
    ("calendarPermissions/{target}", _CALENDAR, "permission"),
    ("allowedCalendarSharingRoles(User)", _CALENDAR, "sharing_roles"),
    ("getSchedule", _CALENDAR, "schedule"),
    ("events", _EVENTS, "events"),
    ("events/{event}", _EVENTS, "event"),
    ("events/{event}/instances", _EVENTS, "instances"),
    ("events/{event}/extensions", _EVENTS, "extensions"),
    ("events/{event}/extensions/{target}", _EVENTS, "extension"),
    ("events/{event}/cancel", _EVENTS, "cancel"),
    ("events/{event}/accept", _EVENTS, "accept"),
    ("events/{event}/tentativelyAccept", _EVENTS, "tentatively_accept"),
    ("events/{event}/decline", _EVENTS, "decline"),
    ("events/{event}/forward", _EVENTS, "forward"),
    ("events/{event}/dismissReminder", _EVENTS, "dismiss_reminder"),
    ("events/{event}/snoozeReminder", _EVENTS, "snooze_reminder"),
    ("events/{event}/permanentDelete", _EVENTS, "permanent_delete"),
    ("events/delta", _EVENTS, "events_delta"),
    ("calendarView", _EVENTS, "view"),
    ("", ("subscriptions",), "subscriptions"),
    ("", ("subscriptions/{target}",), "subscription"),
    ("reauthorize", ("subscriptions/{target}",), "reauthorize"),
    ("calendarView/delta", _EVENTS, "view_delta"),
    ("outlook/masterCategories", _USER, "categories"),
    ("outlook/masterCategories/{target}", _USER, "category"),
    ("outlook/supportedTimeZones", _USER, "time_zones"),
    ("outlook/supportedTimeZones(TimeZoneStandard)", _USER, "time_zones"),
    ("mailboxSettings", _USER, "settings"),
    ("mailboxSettings/{target}", _USER, "setting"),
    ("translateExchangeIds", _USER, "translate_ids"),
    ("checkMemberGroups", _USER, "check_member_groups"),
    ("checkMemberObjects", _USER, "check_member_objects"),
    ("getMemberGroups", _USER, "get_member_groups"),
    ("memberOf", _USER, "member_of"),
    ("memberOf/microsoft.graph.group", _USER, "member_of"),
    ("memberOf/graph.group", _USER, "member_of"),
    ("transitiveMemberOf", _USER, "transitive_member_of"),
    ("transitiveMemberOf/microsoft.graph.group", _USER, "transitive_member_of"),
    ("transitiveMemberOf/graph.group", _USER, "transitive_member_of"),
    ("groups/{target}", ("",), "group"),
    ("groups/{target}/members", ("",), "group_members"),
    ("groups/{target}/transitiveMembers", ("",), "group_transitive_members"),
)
_FUNCTION = re.compile(r"(\w+)\((?:(\w+)=(.*))?\)", re.DOTALL)


@dataclass(slots=True)
class _Node:
    """A place in the tree of paths: what may follow, by keyword or as a name, and what ends here."""

    keywords: dict[str, "_Node"] = field(default_factory=dict)
    name: str = ""
    named: "_Node | None" = None
    resource: str | None = None


def _tree() -> _Node:
    root = _Node()
    for end, starts, resource in PATHS:
        for start in starts:
            node = root
            for part in f"{start}/{end}".strip("/").split("/"):
                if part.startswith("{"):
                    node.name = part[1:-1]
                    node.named = node.named or _Node()
                    node = node.named
                else:
                    node = node.keywords.setdefault(part.lower(), _Node())
            node.resource = resource
    return root


_ROOT = _tree()


def find_route(method: str, path: str, me: str | None) -> Route:
    """The route of a percent-encoded path below `/v1.0`; `me` is who `/me` stands for. Raises GraphError (400, 405)."""
    segments = [urllib.parse.unquote(part) for part in path.strip("/").split("/")]
    if segments[0].lower() == "me":
        if me is None:
            raise bad_request("/me request is only valid with delegated authentication flow.")
        segments[0:1] = ["users", me]
    node, names, in_calendar = _ROOT, dict[str, str](), False
    for segment in segments:
        if (following := _keyword(node, segment, names)) is not None:
            in_calendar = in_calendar or segment.lower() == "calendar"
            node = following
        elif node.named is not None and segment:
            names[node.name] = segment
            node = node.named
        else:
            raise _no_segment(segment)
    if node.resource is None:
        raise _no_segment(segments[-1])
    operation = OPERATIONS[node.resource].get(method)
    if operation is None:
        raise method_not_allowed()
    user, calendar_id, target = names.get("user", ""), names.get("calendar"), names.get("target", "")
    in_calendar = in_calendar or calendar_id is not None
    return Route(operation, user, in_calendar, calendar_id, names.get("event"), target)


def _keyword(node: _Node, segment: str, names: dict[str, str]) -> _Node | None:
    """What follows under a keyword; a function may be written with `()`, and its argument becomes the target."""
    key = segment.lower()
    if (following := node.keywords.get(key)) is not None or not key.endswith(")"):
        return following
    called = _FUNCTION.fullmatch(segment.removeprefix("microsoft.graph."))
    if called is None:
        return None
    function, parameter, argument = called.groups()
    if parameter is None:
        return node.keywords.get(function.lower())
    if (following := node.keywords.get(f"{function}({parameter})".lower())) is not None:
        names["target"] = argument
    return following


def _no_segment(name: str) -> Exception:
    return bad_request(f"Resource not found for the segment '{name}'.")
