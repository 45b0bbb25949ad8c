"""A mailbox's categories: the list that gives them their colours. Needs MailboxSettings.ReadWrite. Pure."""

from typing import Any
from urllib.parse import quote

from calbus.entry import Place
from calbus.graph.calls import Request, Response
from schemas.reasons import Reason


def list_categories(place: Place) -> Request:
    """The categories that the mailbox has."""
    return Request("list_categories", "GET", _master(place))


def create_category(place: Place, name: str, color: str) -> Request:
    """Add a category; refused if there is one of that name, in any case."""
    return Request("create_category", "POST", _master(place), body={"displayName": name, "color": color})


def names_of(body: Any) -> set[str]:
    """The names in an answer to `list_categories`, casefolded; none where it is not what it should be."""
    found = body.get("value") if isinstance(body, dict) else None
    return {
        one["displayName"].casefold()
        for one in (found if isinstance(found, list) else [])
        if isinstance(one, dict) and isinstance(one.get("displayName"), str)
    }


def is_there_already(response: Response) -> bool:
    """Whether a create was refused because somebody was quicker. How Exchange says so is not documented."""
    fault = response.fault
    return fault is not None and (
        fault.reason is Reason.CONFLICT or any(word in fault.code.lower() for word in ("duplicate", "alreadyexists"))
    )


def _master(place: Place) -> str:
    return f"/users/{quote(place.mailbox, safe='')}/outlook/masterCategories"
