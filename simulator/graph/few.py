"""Answers about things of which a mailbox has few (calendars, permissions, categories, settings), with query options.

Whatever the options, a property that the type does not have is refused. Source: Microsoft docs "query-parameters".
"""

from collections.abc import Sequence
from typing import Any

from simulator.graph.call import Answer
from simulator.graph.odata import read_few_query
from simulator.graph.pages import page_answer
from simulator.graph.prefer import Preferences
from simulator.graph.task import Task

JsonObject = dict[str, Any]

ITEM_OPTIONS = frozenset({"$select"})
LIST_OPTIONS = frozenset({"$select", "$top", "$skip", "$count"})
# The properties by the name of the type, also where a list has nothing to take them from.
_PROPERTIES: dict[str, frozenset[str]] = {
    "microsoft.graph.calendar": frozenset(
        {
            "allowedOnlineMeetingProviders", "canEdit", "canShare", "canViewPrivateItems", "changeKey", "color",
            "defaultOnlineMeetingProvider", "hexColor", "id", "isDefaultCalendar", "isRemovable",
            "isTallyingResponses", "name", "owner",
        }
    ),
    "microsoft.graph.calendarGroup": frozenset({"changeKey", "classId", "id", "name"}),
    "microsoft.graph.calendarPermission": frozenset(
        {"allowedRoles", "emailAddress", "id", "isInsideOrganization", "isRemovable", "role"}
    ),
    "microsoft.graph.mailboxSettings": frozenset(
        {
            "archiveFolder", "automaticRepliesSetting", "dateFormat", "delegateMeetingMessageDeliveryOptions",
            "language", "timeFormat", "timeZone", "userPurpose", "workingHours",
        }
    ),
    "microsoft.graph.outlookCategory": frozenset({"color", "displayName", "id"}),
}  # fmt: skip


def item_answer(task: Task, context: str, type_name: str, shown: JsonObject) -> Answer:
    """200 with one thing, or what `$select` names of it and its id. Raises GraphError (400)."""
    query = read_few_query(task.call.query, ITEM_OPTIONS, type_name, _PROPERTIES[type_name])
    return Answer(200, {"@odata.context": task.context(context), **_selected(shown, query.select)})


def list_answer(task: Task, context: str, type_name: str, shown: Sequence[JsonObject]) -> Answer:
    """200 with a page of things; all are on it unless `$top` cuts it, and then it links to the next.

    Raises GraphError (400).
    """
    query = read_few_query(task.call.query, LIST_OPTIONS, type_name, _PROPERTIES[type_name])
    return page_answer(
        task.call, task.context(context), shown, query, Preferences(), lambda one: _selected(one, query.select)
    )


def _selected(shown: JsonObject, names: frozenset[str] | None) -> JsonObject:
    if names is None:
        return shown
    return {name: value for name, value in shown.items() if name in names or name == "id"}
