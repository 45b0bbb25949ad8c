"""Who may edit a calendar, in the words of Microsoft Graph: the requests that ask, and what their answers say. Pure.

Sources: Microsoft docs "calendarpermission", "outlook-share-or-delegate-calendar", "user-list-transitivememberof".
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from calbus.graph.calls import Request, Response
from calbus.graph.errors import Fault, Scope
from schemas.reasons import Reason

GROUPS_PER_PAGE = 500

_ORGANIZATION_ID = "RGVmYXVsdA=="  # "Default" in base64
_BELOW_VERSION = re.compile(r"https?://[^?#]*?/(?:v1\.0|beta)(/.+)")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Permission:
    """One line of a calendar's sharing: a person's, a group's, or that of everybody in the organisation."""

    role: str
    address: str | None
    """In lower case; None for everybody in the organisation, and for who can no longer be resolved."""
    inside: bool
    """Whether it belongs to the organisation."""
    everybody: bool = False
    """Whether it is the line "My Organization"."""


@dataclass(frozen=True, slots=True)
class Group:
    """A group that somebody is in. A group that may not be seen is shown without its address."""

    address: str | None
    seen: bool


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list, and the path of the next part if there is one."""

    items: tuple[T, ...]
    next_path: str | None = None


PageReader = Callable[[Response], Page[T] | Fault]


def ask_permissions(mailbox: str, calendar_id: str | None = None) -> Request:
    """Ask who may do what in a calendar, the default one if none is named. An application is shown the owner's view."""
    calendar = "calendar" if calendar_id is None else f"calendars/{quote(calendar_id, safe='')}"
    return Request("list_permissions", "GET", f"/users/{quote(mailbox, safe='')}/{calendar}/calendarPermissions")


def ask_owner(mailbox: str) -> Request:
    """Ask for a mailbox's default calendar, which names its owner by the primary address."""
    return Request("get_calendar", "GET", f"/users/{quote(mailbox, safe='')}/calendar")


def ask_groups(user: str) -> Request:
    """Ask for all groups that hold the user, at any depth. Needs a permission on the directory."""
    path = f"/users/{quote(user, safe='')}/transitiveMemberOf/microsoft.graph.group"
    return Request("list_groups", "GET", f"{path}?$select=id,displayName,mail&$top={GROUPS_PER_PAGE}")


def ask_next(request: Request, path: str) -> Request:
    """Ask for the next part of the list that `request` began."""
    return Request(request.operation, "GET", path, request.headers)


def read_permissions(response: Response) -> Page[Permission] | Fault:
    """The lines of one page, or why there is none."""
    return _read_page(response, _permission)


def read_groups(response: Response) -> Page[Group] | Fault:
    """The groups of one page, or why there is none."""
    return _read_page(response, _group)


def read_owner(response: Response) -> str | Fault:
    """The owner's primary address in lower case, or why it is not known."""
    if response.fault is not None:
        return response.fault
    owner = response.body.get("owner") if isinstance(response.body, dict) else None
    address = _address(owner)
    return unclear("a calendar without owner") if address is None else address


def unclear(what: str) -> Fault:
    """An answer that is not what was asked for says nothing, least of all no."""
    return Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, code=what)


def _read_page(response: Response, read: Callable[[dict[str, Any]], T | None]) -> Page[T] | Fault:
    if response.fault is not None:
        return response.fault
    body = response.body
    value = body.get("value") if isinstance(body, dict) else None
    if not isinstance(value, list):
        return unclear("a list without value")
    items: list[T] = []
    for item in value:
        found = read(item) if isinstance(item, dict) else None
        if found is None:
            return unclear("a list with something else in it")
        items.append(found)
    link = body.get("@odata.nextLink")
    if link is None:
        return Page(tuple(items))
    # Only what follows the version counts: a token never goes where an answer says.
    matched = _BELOW_VERSION.fullmatch(link) if isinstance(link, str) else None
    if matched is None:
        return unclear("a next link that leads nowhere")
    return Page(tuple(items), matched.group(1))


def _permission(item: dict[str, Any]) -> Permission | None:
    role, inside = item.get("role"), item.get("isInsideOrganization")
    if not isinstance(role, str):
        return None
    address = _address(item.get("emailAddress"))
    everybody = address is None and (item.get("id") == _ORGANIZATION_ID or (inside is True and not _removable(item)))
    return Permission(role, address, inside is True, everybody)


def _removable(item: dict[str, Any]) -> bool:
    return item.get("isRemovable") is not False


def _group(item: dict[str, Any]) -> Group | None:
    if not isinstance(item.get("id"), str):
        return None
    mail = item.get("mail")
    # Without the right to read a group, Graph gives its id and nothing else; every group has a display name.
    return Group(mail.lower() if isinstance(mail, str) and mail else None, item.get("displayName") is not None)


def _address(email: Any) -> str | None:
    address = email.get("address") if isinstance(email, dict) else None
    return address.lower() if isinstance(address, str) and address else None
