"""Operations on calendars and their groups.

Sources: Microsoft docs "user-post-calendars", "calendar-update", "calendar-delete", "user-list-calendargroups".
"""

from typing import Any

from simulator.errors import item_not_found, unknown_property, unreadable_body
from simulator.exchange.mailbox import Calendar
from simulator.graph.call import Answer
from simulator.graph.few import item_answer, list_answer
from simulator.graph.representation import show_calendar
from simulator.graph.task import Task

JsonObject = dict[str, Any]

_COLORS = frozenset(
    {
        "auto", "lightBlue", "lightGreen", "lightOrange", "lightGray", "lightYellow", "lightTeal", "lightPink",
        "lightBrown", "lightRed", "maxColor",
    }
)  # fmt: skip
_READ_ONLY = frozenset(
    {
        "id", "changeKey", "canShare", "canViewPrivateItems", "canEdit", "hexColor", "isDefaultCalendar",
        "allowedOnlineMeetingProviders", "defaultOnlineMeetingProvider", "isTallyingResponses", "isRemovable", "owner",
    }
)  # fmt: skip


_TYPE = "microsoft.graph.calendar"
_CONTEXT = "calendars/$entity"


def _shown(task: Task, calendar: Calendar) -> JsonObject:
    return show_calendar(calendar, task.user, task.role_on(calendar))


def _answer(task: Task, status: int, calendar: Calendar) -> Answer:
    return Answer(status, {"@odata.context": task.context(_CONTEXT), **_shown(task, calendar)})


def get_calendar(task: Task) -> Answer:
    """GET .../calendar or .../calendars/{id}."""
    return item_answer(task, _CONTEXT, _TYPE, _shown(task, task.calendar()))


def list_calendars(task: Task) -> Answer:
    """GET .../calendars, also of the one group. Mailboxes have few, so there is one page unless `$top` cuts it."""
    if task.target and task.target != task.mailbox.calendar_group_id:
        raise item_not_found()
    calendars = [_shown(task, calendar) for calendar in task.mailbox.calendars.values() if task.may_see(calendar.id)]
    return list_answer(task, "calendars", _TYPE, calendars)


def _read(document: Any) -> JsonObject:
    if type(document) is not dict:
        raise unreadable_body("The request body must be a JSON object.")
    for member in document:
        if member not in ("name", "color") and member not in _READ_ONLY and "@" not in member:
            raise unknown_property(member, _TYPE)
    if "name" in document and (type(document["name"]) is not str or not document["name"]):
        raise unreadable_body("A calendar needs a 'name' of type 'Edm.String'.")
    color = document.get("color", "auto")
    if type(color) is not str or color not in _COLORS:
        raise unreadable_body(f"Requested value '{color}' was not found.")
    return document


def create_calendar(task: Task) -> Answer:
    """POST .../calendars."""
    task.no_options()
    given = _read(task.call.json())
    if "name" not in given:
        raise unreadable_body("A calendar needs a 'name' of type 'Edm.String'.")
    calendar = task.mailbox.create_calendar(given["name"], given.get("color", "auto"))
    task.effect.mutation = True
    return _answer(task, 201, calendar)


def update_calendar(task: Task) -> Answer:
    """PATCH .../calendar or .../calendars/{id}: name and colour."""
    task.no_options()
    calendar = task.calendar()
    given = _read(task.call.json())
    task.mailbox.change_calendar(calendar, given.get("name", calendar.name), given.get("color", calendar.color))
    task.effect.mutation = True
    return _answer(task, 200, calendar)


def delete_calendar(task: Task) -> Answer:
    """DELETE .../calendars/{id}, with its events; the default one cannot be deleted."""
    task.no_options()
    task.mailbox.remove_calendar(task.calendar(), task.tenant.limits, task.tenant.now())
    task.effect.mutation = True
    return Answer(204)


def list_calendar_groups(task: Task) -> Answer:
    """GET .../calendarGroups: the one that every mailbox has."""
    group = {
        "id": task.mailbox.calendar_group_id, "name": "My Calendars", "classId": "0006f0b7-0000-0000-c000-000000000046",
        "changeKey": task.mailbox.default_calendar.change_key,
    }  # fmt: skip
    return list_answer(task, "calendarGroups", "microsoft.graph.calendarGroup", [group])
