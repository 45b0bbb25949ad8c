"""The operations on a mailbox and the directory: what each needs, does, and answers.

Each is a plain function from a `Task` to an `Answer`; it neither waits nor knows about limits, faults or HTTP.
Sources: Microsoft docs "user-post-events", "event-update", "event-delete", "user-list-events", "user-post-calendars".
"""

from typing import Any

from simulator.errors import unknown_property, unparsable_uri, unreadable_body
from simulator.exchange.event import Event
from simulator.exchange.event_input import read_changes
from simulator.exchange.mailbox import fingerprint
from simulator.graph.call import Answer
from simulator.graph.delta import events_delta, view_delta
from simulator.graph.odata import ITEM_OPTIONS, LIST_OPTIONS, NO_QUERY, Query, options_of, read_query
from simulator.graph.pages import page_answer
from simulator.graph.prefer import Preferences
from simulator.graph.representation import show_calendar, show_event
from simulator.graph.selection import select_events
from simulator.graph.task import Operation, Task
from simulator.graph.views import list_instances, list_view

JsonObject = dict[str, Any]


def _event_answer(task: Task, status: int, event: Event, preferences: Preferences, query: Query) -> Answer:
    body = {"@odata.context": task.context("calendar/events/$entity"), **show_event(event, preferences, query)}
    headers = {"ETag": event.etag}
    if preferences.applied:
        headers["Preference-Applied"] = preferences.applied
    return Answer(status, body, headers)


def create_event(task: Task) -> Answer:
    """POST .../events."""
    task.no_options()
    preferences = task.preferences()
    document = task.call.json()
    changes = read_changes(document)
    body_print = fingerprint(task.call.canonical_json()) if "transactionId" in changes else b""
    tenant = task.tenant
    created = task.mailbox.create(task.calendar(), changes, body_print, tenant.limits, tenant.now())
    event = created.event
    task.effect.event_id = event.id
    if created.is_new:
        task.effect.mutation = True
        task.effect.invitations = len(event.wire["attendees"])
    return _event_answer(task, 201, event, preferences, NO_QUERY)


def get_event(task: Task) -> Answer:
    """GET .../events/{id}."""
    preferences = task.preferences()
    query = read_query(task.call.query, ITEM_OPTIONS)
    return _event_answer(task, 200, task.event(), preferences, query)


def update_event(task: Task) -> Answer:
    """PATCH .../events/{id}; attendees, old and new, are told of every change."""
    task.no_options()
    preferences = task.preferences()
    event = task.event()
    changes = read_changes(task.call.json())
    task.mailbox.check_etag(event, task.call.headers.get("if-match"))
    told = {person["emailAddress"]["address"] for person in event.wire["attendees"]}
    tenant = task.tenant
    task.mailbox.change(event, changes, tenant.limits, tenant.now())
    told.update(person["emailAddress"]["address"] for person in event.wire["attendees"])
    task.effect.mutation = True
    task.effect.invitations = len(told)
    return _event_answer(task, 200, event, preferences, NO_QUERY)


def delete_event(task: Task) -> Answer:
    """DELETE .../events/{id}; attendees get a cancellation."""
    task.no_options()
    event = task.event()
    task.mailbox.check_etag(event, task.call.headers.get("if-match"))
    task.mailbox.remove(event, task.tenant.limits, task.tenant.now())
    task.effect.mutation = True
    task.effect.invitations = len(event.wire["attendees"])
    return Answer(204)


def list_events(task: Task) -> Answer:
    """GET .../events: single instances and series masters, a page at a time."""
    preferences = task.preferences()
    query = read_query(task.call.query, LIST_OPTIONS)
    calendar_id = task.calendar().id if task.in_calendar else None
    events = select_events(task.mailbox, calendar_id, query)
    return page_answer(
        task.call,
        task.context("events"),
        events,
        query,
        preferences,
        lambda event: show_event(event, preferences, query),
    )


def get_calendar(task: Task) -> Answer:
    """GET .../calendar or .../calendars/{id}."""
    task.no_options()
    body = {"@odata.context": task.context("calendars/$entity"), **show_calendar(task.calendar(), task.user)}
    return Answer(200, body)


def list_calendars(task: Task) -> Answer:
    """GET .../calendars. Mailboxes have few, so there is one page."""
    task.no_options()
    calendars = [show_calendar(calendar, task.user) for calendar in task.mailbox.calendars.values()]
    return Answer(200, {"@odata.context": task.context("calendars"), "value": calendars})


_COLORS = frozenset(
    {
        "auto", "lightBlue", "lightGreen", "lightOrange", "lightGray", "lightYellow", "lightTeal", "lightPink",
        "lightBrown", "lightRed", "maxColor",
    }
)  # fmt: skip
_CALENDAR_READ_ONLY = frozenset(
    {
        "id", "changeKey", "canShare", "canViewPrivateItems", "canEdit", "hexColor", "isDefaultCalendar",
        "allowedOnlineMeetingProviders", "defaultOnlineMeetingProvider", "isTallyingResponses", "isRemovable", "owner",
    }
)  # fmt: skip


def create_calendar(task: Task) -> Answer:
    """POST .../calendars."""
    task.no_options()
    document = task.call.json()
    if type(document) is not dict:
        raise unreadable_body("The request body must be a JSON object.")
    for member in document:
        if member not in ("name", "color") and member not in _CALENDAR_READ_ONLY and "@" not in member:
            raise unknown_property(member, "microsoft.graph.calendar")
    name, color = document.get("name"), document.get("color", "auto")
    if type(name) is not str or not name:
        raise unreadable_body("A calendar needs a 'name' of type 'Edm.String'.")
    if type(color) is not str or color not in _COLORS:
        raise unreadable_body(f"Requested value '{color}' was not found.")
    calendar = task.mailbox.create_calendar(name, color)
    task.effect.mutation = True
    body = {"@odata.context": task.context("calendars/$entity"), **show_calendar(calendar, task.user)}
    return Answer(201, body)


def get_user(task: Task) -> Answer:
    """GET /users/{id}, from the directory."""
    shown = task.user.show()
    selected = options_of(task.call.query, frozenset({"$select"})).get("$select")
    if selected is not None:
        names = [name.strip() for name in selected.split(",")]
        for name in names:
            if name not in shown:
                raise unparsable_uri(f"Could not find a property named '{name}' on type 'microsoft.graph.user'.")
        shown = {name: shown[name] for name in names}
    return Answer(200, {"@odata.context": f"{task.call.origin}/v1.0/$metadata#users/$entity", **shown})


OPERATIONS: dict[str, dict[str, Operation]] = {
    "user": {"GET": Operation("get_user", get_user, directory=True)},
    "events": {
        "GET": Operation("list", list_events),
        "POST": Operation("create", create_event, writes=True),
    },
    "event": {
        "GET": Operation("get", get_event),
        "PATCH": Operation("update", update_event, writes=True),
        "DELETE": Operation("delete", delete_event, writes=True),
    },
    "view_delta": {"GET": Operation("delta", view_delta)},
    "events_delta": {"GET": Operation("delta", events_delta)},
    "view": {"GET": Operation("list_view", list_view)},
    "instances": {"GET": Operation("instances", list_instances)},
    "calendars": {
        "GET": Operation("list_calendars", list_calendars),
        "POST": Operation("create_calendar", create_calendar, writes=True),
    },
    "calendar": {"GET": Operation("get_calendar", get_calendar)},
}
