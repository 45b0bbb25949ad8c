"""The operations that expand series: calendar views and the instances of one series.

Sources: Microsoft docs "calendar-list-calendarview", "event-list-instances".
"""

from collections.abc import Sequence

from simulator.errors import invalid_request, unparsable_uri
from simulator.exchange.sharing import Rights
from simulator.exchange.view import Showing, showings, view
from simulator.graph.call import Answer
from simulator.graph.odata import LIST_OPTIONS, Query
from simulator.graph.pages import page_answer
from simulator.graph.representation import show_event
from simulator.graph.selection import narrow
from simulator.graph.task import Task
from simulator.graph.window import read_window

# Documented: a calendar view cannot select them.
_NOT_SELECTABLE = ("createdDateTime", "lastModifiedDateTime")


def list_view(task: Task) -> Answer:
    """GET .../calendarView: single events, occurrences and exceptions, by start."""
    window = read_window(task.call.query)
    query = task.query(LIST_OPTIONS)
    for name in _NOT_SELECTABLE:
        if query.select is not None and name in query.select:
            raise unparsable_uri(f"The property '{name}' cannot be selected in a calendar view.")
    calendar = task.calendar()
    found = view(task.mailbox, calendar.id, window.begin, window.end)
    return _answer(task, "calendarView", found, query, task.rights(calendar))


def list_instances(task: Task) -> Answer:
    """GET .../events/{id}/instances: the occurrences and exceptions of a series master."""
    window = read_window(task.call.query)
    query = task.query(LIST_OPTIONS)
    master = task.event()
    if master.wire["recurrence"] is None:
        raise invalid_request("Your request can't be completed. The event is not the master of a series.")
    found = sorted(showings(master, window.begin, window.end), key=lambda shown: (shown.begins, shown.ends))
    return _answer(task, f"events('{master.id}')/instances", found, query, task.rights_on(master))


def _answer(task: Task, what: str, found: Sequence[Showing], query: Query, rights: Rights) -> Answer:
    preferences = task.preferences()
    context = task.context(what)
    if query.comparisons or query.property_tests or query.extension_tests or query.order_by:
        events = narrow((shown.event() for shown in found), query, task.seen)
        return page_answer(
            task.call, context, events, query, preferences, lambda event: show_event(event, preferences, query, rights)
        )
    return page_answer(
        task.call,
        context,
        found,
        query,
        preferences,
        lambda shown: show_event(shown.event(), preferences, query, rights),
    )
