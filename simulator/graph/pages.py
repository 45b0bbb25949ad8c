"""Answers that list things a page at a time, with a link to the next page."""

import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from simulator.graph.call import Answer, Call
from simulator.graph.odata import Query
from simulator.graph.prefer import Preferences

JsonObject = dict[str, Any]
T = TypeVar("T")


def page_answer(
    call: Call,
    context: str,
    found: Sequence[T],
    query: Query,
    preferences: Preferences,
    show: Callable[[T], JsonObject],
) -> Answer:
    """One page of what was found. Only what is on it is shown, so that making the rest costs nothing."""
    end = query.skip + query.top
    body: JsonObject = {"@odata.context": context}
    if query.count:
        body["@odata.count"] = len(found)
    body["value"] = [show(one) for one in found[query.skip : end]]
    if len(found) > end:
        body["@odata.nextLink"] = _next_link(call, end)
    headers = {"Preference-Applied": preferences.applied} if preferences.applied else {}
    return Answer(200, body, headers)


def _next_link(call: Call, skip: int) -> str:
    kept = [part for part in call.query.split("&") if part and urllib.parse.unquote(part.partition("=")[0]) != "$skip"]
    return f"{call.origin}/v1.0{call.path}?{'&'.join([*kept, f'$skip={skip}'])}"
