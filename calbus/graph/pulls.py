"""Reading a calendar as it changes: the requests of a delta round, and of one event by its id. Pure.

Links are opaque: they are followed as Graph gave them, whole, and never to another host than Graph's own
(graph-facts 4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from calbus.entry import Place
from calbus.graph.calls import Request, Response

# Under either status, and whatever the letters' case.
_SYNC_STATE_CODES = frozenset(("syncstatenotfound", "syncstateinvalid", "resyncrequired"))
_GONE_STATUS = 410
DEFAULT_CALENDAR = ""
"""Stands for the mailbox's default calendar, which has a path of its own."""


class ForeignLinkError(Exception):
    """A link leads somewhere else than to Graph: it is not followed, since the token would go there too."""


@dataclass(frozen=True, slots=True)
class DeltaPage:
    """One page: what it shows, the ids that it says are gone, and one of the two links, or neither if it is no page."""

    items: tuple[Mapping[str, Any], ...]
    removed: tuple[str, ...]
    next_link: str | None
    delta_link: str | None


def first_page(place: Place, calendar_id: str | None, begin: datetime, end: datetime, page_items: int) -> Request:
    """The first page of a full round over the events of a calendar that touch the time between `begin` and `end`."""
    calendar = "" if calendar_id is None else f"/calendars/{quote(calendar_id, safe='')}"
    window = f"startDateTime={_instant(begin)}&endDateTime={_instant(end)}"
    path = f"/users/{quote(place.mailbox, safe='')}{calendar}/calendarView/delta?{window}"
    return Request("delta", "GET", path, _prefer(page_items))


def follow(graph_url: str, link: str, page_items: int) -> Request:
    """The page that a link leads to. Raises ForeignLinkError if that is not below `graph_url`."""
    base = urlsplit(graph_url)
    there = urlsplit(link)
    inside = there.path.startswith(f"{base.path}/")
    if (there.scheme, there.netloc.lower()) != (base.scheme, base.netloc.lower()) or not inside:
        raise ForeignLinkError
    query = f"?{there.query}" if there.query else ""
    return Request("delta", "GET", f"{there.path.removeprefix(base.path)}{query}", _prefer(page_items))


def read_event(place: Place, event_id: str, calendar_id: str | None = None) -> Request:
    """One event with everything that a page shows of it; gone if it is not in the calendar, where one is named.

    `calendar_id` may be `DEFAULT_CALENDAR`; None looks in the whole mailbox.
    """
    calendar = ""
    if calendar_id is not None:
        calendar = "/calendar" if calendar_id == DEFAULT_CALENDAR else f"/calendars/{quote(calendar_id, safe='')}"
    path = f"/users/{quote(place.mailbox, safe='')}{calendar}/events/{quote(event_id, safe='')}"
    return Request("read_event", "GET", path, _PREFER_READ)


def delta_page(body: Any) -> DeltaPage:
    """Read a page; what is no event is left out. Of an event that comes twice the last stands, in its place."""
    given = body if isinstance(body, dict) else {}
    shown: dict[str, Mapping[str, Any]] = {}
    removed: dict[str, None] = {}
    value = given.get("value")
    for item in value if isinstance(value, list) else []:
        event_id = item.get("id") if isinstance(item, dict) else None
        if not isinstance(event_id, str) or not event_id:
            continue
        shown.pop(event_id, None)
        removed.pop(event_id, None)
        if "@removed" in item:
            removed[event_id] = None
        else:
            shown[event_id] = item
    return DeltaPage(
        tuple(shown.values()), tuple(removed), _link(given, "@odata.nextLink"), _link(given, "@odata.deltaLink")
    )


def sync_state_lost(response: Response) -> bool:
    """Whether Graph no longer knows the round that a link belongs to: only a full round helps."""
    if response.fault is None:
        return False
    return response.status == _GONE_STATUS or response.fault.code.lower() in _SYNC_STATE_CODES


def _link(body: Mapping[str, Any], name: str) -> str | None:
    link = body.get(name)
    return link if isinstance(link, str) and link else None


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _prefer(page_items: int) -> dict[str, str]:
    # Without another wish times come in UTC (graph-facts 1.4), and bodies are not looked at.
    return {"Prefer": f'IdType="ImmutableId", odata.maxpagesize={page_items}'}


_PREFER_READ = {"Prefer": 'IdType="ImmutableId"'}
