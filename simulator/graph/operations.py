"""The operations on a mailbox and the directory: what each needs, does, and answers.

Each is a plain function from a `Task` to an `Answer`; it neither waits nor knows about limits, faults or HTTP.
Sources: Microsoft docs "user-post-events", "event-update", "event-delete", "user-list-events", "user-post-calendars".
"""

from collections.abc import Callable

from simulator.errors import unparsable_uri
from simulator.exchange.event import Event
from simulator.exchange.event_input import read_changes
from simulator.exchange.mailbox import fingerprint
from simulator.graph import actions, calendars, extensions, membership, outlook, sharing
from simulator.graph.call import Answer
from simulator.graph.delta import events_delta, view_delta
from simulator.graph.odata import ITEM_OPTIONS, LIST_OPTIONS, NO_QUERY, WITH_EXTENSIONS, Query, options_of
from simulator.graph.pages import page_answer
from simulator.graph.prefer import Preferences
from simulator.graph.representation import show_event
from simulator.graph.schedule import get_schedule
from simulator.graph.selection import select_events
from simulator.graph.subscriptions import SUBSCRIPTION_OPERATIONS
from simulator.graph.task import Operation, Task
from simulator.graph.views import list_instances, list_view


def _event_answer(task: Task, status: int, event: Event, preferences: Preferences, query: Query) -> Answer:
    body = {
        "@odata.context": task.context("calendar/events/$entity"),
        **show_event(event, preferences, query, task.rights_on(event)),
    }
    headers = {"ETag": event.etag}
    if preferences.applied:
        headers["Preference-Applied"] = preferences.applied
    return Answer(status, body, headers)


def create_event(task: Task) -> Answer:
    """POST .../events; attendees are invited."""
    task.no_options()
    preferences = task.preferences()
    document = task.call.json()
    changes = read_changes(document)
    body_print = fingerprint(task.call.canonical_json()) if "transactionId" in changes else b""
    meetings = task.meetings()
    created = meetings.create(task.calendar(), changes, body_print)
    event = created.event
    task.effect.event_id = event.id
    task.effect.mutation = created.is_new
    task.effect.invitations = meetings.mails
    return _event_answer(task, 201, event, preferences, WITH_EXTENSIONS if "extensions" in changes else NO_QUERY)


def get_event(task: Task) -> Answer:
    """GET .../events/{id}."""
    preferences = task.preferences()
    query = task.query(ITEM_OPTIONS)
    return _event_answer(task, 200, task.event(), preferences, query)


def update_event(task: Task) -> Answer:
    """PATCH .../events/{id}; attendees, old and new, are told of every change of the organiser's."""
    task.no_options()
    preferences = task.preferences()
    event = task.event()
    changes = read_changes(task.call.json())
    task.mailbox.check_etag(event, task.call.headers.get("if-match"))
    meetings = task.meetings()
    meetings.change(event, changes)
    task.effect.mutation = True
    task.effect.invitations = meetings.mails
    return _event_answer(task, 200, event, preferences, NO_QUERY)


def delete_event(task: Task) -> Answer:
    """DELETE .../events/{id}; if it is the organiser's, attendees get a cancellation."""
    task.no_options()
    event = task.event()
    task.mailbox.check_etag(event, task.call.headers.get("if-match"))
    actions.remove(task, event)
    return Answer(204)


def list_events(task: Task) -> Answer:
    """GET .../events: single instances and series masters, a page at a time."""
    preferences = task.preferences()
    query = task.query(LIST_OPTIONS)
    listed = [task.calendar().id] if task.in_calendar else filter(task.may_see, task.mailbox.calendars)
    events = select_events(task.mailbox, frozenset(listed), query, task.seen)
    return page_answer(
        task.call,
        task.context("events"),
        events,
        query,
        preferences,
        lambda event: show_event(event, preferences, query, task.rights_on(event)),
    )


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


def _membership(name: str, perform: Callable[[Task], Answer]) -> Operation:
    return Operation(name, perform, directory=True, roles=membership.MEMBERSHIP_ROLES)


def _of_group(name: str, perform: Callable[[Task], Answer]) -> Operation:
    return Operation(name, perform, directory=True, roles=membership.GROUP_ROLES)


OPERATIONS: dict[str, dict[str, Operation]] = {
    **SUBSCRIPTION_OPERATIONS,
    "user": {"GET": Operation("get_user", get_user, directory=True)},
    "events": {
        "GET": Operation("list", list_events, spanning=True),
        "POST": Operation("create", create_event, writes=True),
    },
    "event": {
        "GET": Operation("get", get_event),
        "PATCH": Operation("update", update_event, writes=True),
        "DELETE": Operation("delete", delete_event, writes=True),
    },
    "extensions": {"POST": Operation("create_extension", extensions.create_extension, writes=True)},
    "extension": {
        "GET": Operation("get_extension", extensions.get_extension, full=True),
        "PATCH": Operation("update_extension", extensions.update_extension, writes=True),
        "DELETE": Operation("delete_extension", extensions.delete_extension, writes=True),
    },
    "cancel": {"POST": Operation("cancel", actions.cancel, writes=True)},
    "accept": {"POST": Operation("accept", actions.accept, writes=True)},
    "tentatively_accept": {"POST": Operation("tentatively_accept", actions.tentatively_accept, writes=True)},
    "decline": {"POST": Operation("decline", actions.decline, writes=True)},
    "forward": {"POST": Operation("forward", actions.forward, writes=True)},
    "dismiss_reminder": {"POST": Operation("dismiss_reminder", actions.dismiss_reminder, writes=True)},
    "snooze_reminder": {"POST": Operation("snooze_reminder", actions.snooze_reminder, writes=True)},
    "permanent_delete": {"POST": Operation("permanent_delete", actions.permanently_delete, writes=True)},
    "view_delta": {"GET": Operation("delta", view_delta)},
    "events_delta": {"GET": Operation("delta", events_delta, spanning=True)},
    "view": {"GET": Operation("list_view", list_view)},
    "instances": {"GET": Operation("instances", list_instances)},
    "calendars": {
        "GET": Operation("list_calendars", calendars.list_calendars, spanning=True),
        "POST": Operation("create_calendar", calendars.create_calendar, writes=True, of_owner=True),
    },
    "default_calendar": {
        "GET": Operation("get_calendar", calendars.get_calendar),
        "PATCH": Operation("update_calendar", calendars.update_calendar, writes=True, of_owner=True),
    },
    "calendar": {
        "GET": Operation("get_calendar", calendars.get_calendar),
        "PATCH": Operation("update_calendar", calendars.update_calendar, writes=True, of_owner=True),
        "DELETE": Operation("delete_calendar", calendars.delete_calendar, writes=True, of_owner=True),
    },
    "calendar_groups": {"GET": Operation("list_calendar_groups", calendars.list_calendar_groups, spanning=True)},
    "permissions": {
        "GET": Operation("list_permissions", sharing.list_permissions),
        "POST": Operation("create_permission", sharing.create_permission, writes=True),
    },
    "permission": {
        "GET": Operation("get_permission", sharing.get_permission),
        "PATCH": Operation("update_permission", sharing.update_permission, writes=True),
        "DELETE": Operation("delete_permission", sharing.delete_permission, writes=True),
    },
    "sharing_roles": {"GET": Operation("list_sharing_roles", sharing.list_sharing_roles)},
    "schedule": {"POST": Operation("get_schedule", get_schedule)},
    "categories": {
        "GET": Operation("list_categories", outlook.list_categories, roles=outlook.SETTINGS_READ_ROLES),
        "POST": Operation("create_category", outlook.create_category, writes=True, roles=outlook.SETTINGS_WRITE_ROLES),
    },
    "category": {
        "GET": Operation("get_category", outlook.get_category, roles=outlook.SETTINGS_READ_ROLES),
        "PATCH": Operation("update_category", outlook.update_category, writes=True, roles=outlook.SETTINGS_WRITE_ROLES),
        "DELETE": Operation(
            "delete_category", outlook.delete_category, writes=True, roles=outlook.SETTINGS_WRITE_ROLES
        ),
    },
    "settings": {
        "GET": Operation("get_settings", outlook.get_settings, roles=outlook.SETTINGS_READ_ROLES),
        "PATCH": Operation("update_settings", outlook.update_settings, writes=True, roles=outlook.SETTINGS_WRITE_ROLES),
    },
    "setting": {"GET": Operation("get_settings", outlook.get_setting, roles=outlook.SETTINGS_READ_ROLES)},
    "time_zones": {"GET": Operation("list_time_zones", outlook.list_time_zones, roles=outlook.ZONE_ROLES)},
    "translate_ids": {"POST": Operation("translate_ids", outlook.translate_ids, roles=outlook.TRANSLATE_ROLES)},
    "check_member_groups": {"POST": _membership("check_member_groups", membership.check_member_groups)},
    "check_member_objects": {"POST": _membership("check_member_objects", membership.check_member_objects)},
    "get_member_groups": {"POST": _membership("get_member_groups", membership.get_member_groups)},
    "member_of": {"GET": _membership("list_member_of", membership.list_member_of)},
    "transitive_member_of": {"GET": _membership("list_member_of", membership.list_transitive_member_of)},
    "group": {"GET": _of_group("get_group", membership.get_group)},
    "group_members": {"GET": _of_group("list_members", membership.list_members)},
    "group_transitive_members": {"GET": _of_group("list_members", membership.list_transitive_members)},
}
