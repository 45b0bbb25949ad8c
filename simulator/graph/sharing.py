"""Operations on the permissions of a calendar. Only its owner sees them; an application is shown the owner's view.

Sources: Microsoft docs "calendarpermission-get", "calendarpermission-update", "calendar-allowedcalendarsharingroles".
"""

import re
from typing import Any

from simulator.errors import access_denied, item_not_found, unreadable_body
from simulator.exchange.permissions import Share, allowed_roles, read_sharing
from simulator.graph.call import Answer
from simulator.graph.few import item_answer, list_answer
from simulator.graph.task import Task

JsonObject = dict[str, Any]

_TYPE = "microsoft.graph.calendarPermission"
_CONTEXT = "calendar/calendarPermissions/$entity"
_QUOTED = re.compile(r"'((?:[^']|'')*)'")


def _shown(task: Task, share: Share) -> JsonObject:
    return share.show(primary=task.calendar().is_default)


def _one(task: Task, status: int, share: Share) -> Answer:
    return Answer(status, {"@odata.context": task.context(_CONTEXT), **_shown(task, share)})


def _share(task: Task) -> Share:
    share = task.calendar().shares.get(task.target)
    if not task.sees_as_owner:
        raise item_not_found()
    return share


def list_permissions(task: Task) -> Answer:
    """GET .../calendarPermissions: empty for anybody but the owner."""
    shares = task.calendar().shares.all() if task.sees_as_owner else []
    return list_answer(task, "calendar/calendarPermissions", _TYPE, [_shown(task, share) for share in shares])


def get_permission(task: Task) -> Answer:
    """GET .../calendarPermissions/{id}."""
    return item_answer(task, _CONTEXT, _TYPE, _shown(task, _share(task)))


def create_permission(task: Task) -> Answer:
    """POST .../calendarPermissions."""
    task.no_options()
    if not task.sees_as_owner:
        raise access_denied()
    sharing = read_sharing(task.call.json())
    share = task.calendar().shares.give(sharing, inside=_is_inside(task, sharing.address or ""))
    task.effect.mutation = True
    return _one(task, 201, share)


def update_permission(task: Task) -> Answer:
    """PATCH .../calendarPermissions/{id}: the role."""
    task.no_options()
    share = task.calendar().shares.change(_share(task), read_sharing(task.call.json()))
    task.effect.mutation = True
    return _one(task, 200, share)


def delete_permission(task: Task) -> Answer:
    """DELETE .../calendarPermissions/{id}."""
    task.no_options()
    task.calendar().shares.remove(_share(task))
    task.effect.mutation = True
    return Answer(204)


def list_sharing_roles(task: Task) -> Answer:
    """GET .../allowedCalendarSharingRoles(User='...'): what this person can be given."""
    task.no_options()
    quoted = _QUOTED.fullmatch(task.target)
    if quoted is None:
        raise unreadable_body("The parameter 'User' must be of type 'Edm.String'.")
    inside = _is_inside(task, quoted.group(1).replace("''", "'"))
    roles = allowed_roles(inside=inside, primary=task.calendar().is_default)
    context = f"{task.call.origin}/v1.0/$metadata#Collection(microsoft.graph.calendarRoleType)"
    return Answer(200, {"@odata.context": context, "value": list(roles)})


def _is_inside(task: Task, address: str) -> bool:
    return task.tenant.is_inside(address)
