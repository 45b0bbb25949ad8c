"""Applies the options of a query to the events of a mailbox: filter, order, page."""

import operator
from collections.abc import Callable, Container, Iterable
from datetime import datetime
from typing import Any

from simulator.errors import unparsable_uri
from simulator.exchange.event import Event
from simulator.exchange.mailbox import Mailbox
from simulator.graph.odata import Comparison, PropertyTest, Query

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq, "ne": operator.ne, "gt": operator.gt, "ge": operator.ge, "lt": operator.lt,
    "le": operator.le,
}  # fmt: skip
_TIMES: dict[str, Callable[[Event], datetime]] = {
    "start/dateTime": lambda event: event.begins,
    "end/dateTime": lambda event: event.ends,
}


def select_events(
    mailbox: Mailbox, calendar_ids: Container[str], query: Query, seen: Callable[[Event], Event]
) -> list[Event]:
    """The events of some calendars that pass the filter, in order. Raises GraphError (400)."""
    held = _candidates(mailbox, query)
    return narrow((event for event in held if event.calendar_id in calendar_ids), query, seen)


def narrow(events: Iterable[Event], query: Query, seen: Callable[[Event], Event]) -> list[Event]:
    """The events that pass the filter as they are seen, in order. Raises GraphError (400)."""
    whole = {event.id: event for event in events}
    return [whole[event.id] for event in _narrow((seen(event) for event in whole.values()), query)]


def _narrow(events: Iterable[Event], query: Query) -> list[Event]:
    kept = [event for event in events if all(_has(event, test) for test in query.property_tests)]
    for name in query.extension_tests:
        kept = [event for event in kept if name in event.extensions]
    for comparison in query.comparisons:
        kept = _compare(kept, comparison)
    for path, descending in reversed(query.order_by):
        kept.sort(key=_key(path), reverse=descending)
    return kept


def _candidates(mailbox: Mailbox, query: Query) -> Iterable[Event]:
    for test in query.property_tests:
        if test.operator == "eq" and test.number is None:
            return mailbox.with_property(test.property_id, test.value)
    for comparison in query.comparisons:
        if comparison.path == "iCalUId" and comparison.operator == "eq":
            return mailbox.with_ical_uid(comparison.value)
    return mailbox.events.values()


def _has(event: Event, test: PropertyTest) -> bool:
    held = event.properties.get(test.property_id)
    if held is None:
        return False
    if test.number is not None:
        try:
            return _COMPARE[test.operator](float(held), test.number)
        except ValueError:
            return False
    value, wanted = held.casefold(), test.value.casefold()
    if test.operator == "contains":
        return wanted in value
    if test.operator == "startswith":
        return value.startswith(wanted)
    return _COMPARE[test.operator](value, wanted)


def _key(path: str) -> Callable[[Event], Any]:
    return _TIMES.get(path) or (lambda event: event.wire[path])


def _compare(events: list[Event], comparison: Comparison) -> list[Event]:
    key, compare = _key(comparison.path), _COMPARE[comparison.operator]
    if comparison.instant is not None:
        instant = comparison.instant
        return [event for event in events if compare(datetime.fromisoformat(key(event)), instant)]
    wanted: Any = comparison.value
    if comparison.path in _TIMES:
        try:
            wanted = datetime.fromisoformat(comparison.value.removesuffix("Z"))
        except ValueError:
            wanted = None
        if wanted is None or wanted.tzinfo is not None:
            raise unparsable_uri(f"'{comparison.value}' is not a date and time in UTC.")
    return [event for event in events if compare(key(event), wanted)]
