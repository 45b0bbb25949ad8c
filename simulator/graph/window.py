"""The span of time a call asks for: `startDateTime` and `endDateTime`, with the limits Exchange puts on them.

Sources: Microsoft docs "calendar-list-calendarview"; the longest span as public issue threads show it.
"""

import re
import urllib.parse
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from simulator.errors import GraphError, invalid_request

RANGE_MAX_DAYS = 1825

_INSTANT = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d{1,7})?)?)?(Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)


class Window(NamedTuple):
    """Naive UTC; the end is exclusive."""

    begin: datetime
    end: datetime


def parameters(query: str) -> dict[str, str]:
    """The parameters of a raw query string that are not `$` options, by lower-case name; `+` is a plus."""
    found: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        name = urllib.parse.unquote(name).lower()
        if name and not name.startswith("$"):
            found[name] = urllib.parse.unquote(value)
    return found


def read_instant(name: str, text: str) -> datetime:
    """The naive UTC datetime of an ISO 8601 parameter: its own offset counts, without one it is UTC."""
    if _INSTANT.fullmatch(text):
        try:
            given = datetime.fromisoformat(text)
            return given if given.tzinfo is None else given.astimezone(UTC).replace(tzinfo=None)
        except (ValueError, OverflowError):
            pass
    raise GraphError(400, "ErrorInvalidParameter", f"The value '{text}' of parameter '{name}' is invalid.")


def read_window(query: str) -> Window:
    """The span both parameters name. Raises GraphError (400)."""
    given = parameters(query)
    if not given.get("startdatetime") or not given.get("enddatetime"):
        raise GraphError(
            400,
            "ErrorInvalidParameter",
            "This request requires a time window specified by the query string parameters "
            "StartDateTime and EndDateTime.",
        )
    begin = read_instant("StartDateTime", given["startdatetime"])
    end = read_instant("EndDateTime", given["enddatetime"])
    if end < begin:
        raise invalid_request("Your request can't be completed. The end of the range is before its start.")
    if end - begin > timedelta(days=RANGE_MAX_DAYS):
        raise invalid_request(
            "Your request can't be completed. The range between the start and end dates is greater than the allowed "
            f"range. Maximum number of days: {RANGE_MAX_DAYS}"
        )
    return Window(begin, end)
