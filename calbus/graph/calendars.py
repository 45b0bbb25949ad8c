"""A mailbox's calendars: finding one by its name, since ids change when a calendar is made anew or moved. Pure."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from calbus.entry import Place
from calbus.graph.calls import Request

_PAGE_CALENDARS = 100


@dataclass(frozen=True, slots=True)
class Calendar:
    """One calendar of a mailbox; `can_edit` as Graph tells it of the mailbox's owner."""

    id: str
    name: str
    can_edit: bool
    is_default: bool = False


def list_calendars(place: Place) -> Request:
    """The mailbox's calendars: its own and those that others share with it."""
    query = f"$select=id,name,canEdit,isDefaultCalendar&$top={_PAGE_CALENDARS}"
    return Request("list_calendars", "GET", f"/users/{quote(place.mailbox, safe='')}/calendars?{query}")


def ask_default(mailbox: str) -> Request:
    """Ask for no more than the id of the mailbox's default calendar: whether it can be had is what is asked."""
    return Request("probe_calendar", "GET", f"/users/{quote(mailbox, safe='')}/calendar?$select=id")


def next_page(place: Place, body: Any) -> Request | None:
    """The request for the page after this one; None if it was the last, or the link leads elsewhere."""
    link = body.get("@odata.nextLink") if isinstance(body, dict) else None
    if not isinstance(link, str):
        return None
    query = urlsplit(link).query
    return Request("list_calendars", "GET", f"/users/{quote(place.mailbox, safe='')}/calendars?{query}")


def calendars_of(body: Any) -> list[Calendar]:
    """The calendars of a page; what is not one is left out."""
    found = body.get("value") if isinstance(body, dict) else None
    return [
        Calendar(one["id"], one["name"], one.get("canEdit") is not False, one.get("isDefaultCalendar") is True)
        for one in (found if isinstance(found, list) else [])
        if isinstance(one, dict) and isinstance(one.get("id"), str) and isinstance(one.get("name"), str)
    ]


def named(calendars: list[Calendar], name: str) -> Calendar | None:
    """The calendar of that name, whatever its case; of several one that can be written to, in Graph's order."""
    alike = [calendar for calendar in calendars if calendar.name.casefold() == name.casefold()]
    return next((calendar for calendar in alike if calendar.can_edit), alike[0] if alike else None)
