"""Operations on group membership, from the directory: who is in what, directly and through other groups.

Sources: Microsoft docs "directoryobject-checkmembergroups", "directoryobject-getmembergroups", "user-list-memberof",
"user-list-transitivememberof", "group-list-members", "group-list-transitivemembers".
"""

import urllib.parse
from typing import Any

from simulator.entra.groups import Group
from simulator.errors import bad_request, directory_not_found, unparsable_uri, unreadable_body
from simulator.graph.call import Answer
from simulator.graph.odata import options_of
from simulator.graph.task import Task

JsonObject = dict[str, Any]

CHECKED_MAX = 20
PAGE_DEFAULT_OBJECTS = 100
PAGE_MAX_OBJECTS = 999
MEMBERSHIP_ROLES = frozenset(
    {
        "User.Read.All", "User.ReadWrite.All", "GroupMember.Read.All", "Group.Read.All", "Directory.Read.All",
        "Directory.ReadWrite.All",
    }
)  # fmt: skip
GROUP_ROLES = MEMBERSHIP_ROLES - {"User.Read.All", "User.ReadWrite.All"}
_LIST_OPTIONS = frozenset({"$top", "$select", "$skiptoken"})
_GROUP, _USER = "#microsoft.graph.group", "#microsoft.graph.user"


def _asked_ids(task: Task, member: str) -> list[str]:
    task.no_options()
    document = task.call.json()
    ids = document.get(member) if type(document) is dict else None
    if type(ids) is not list or not all(type(item) is str for item in ids):
        raise unreadable_body(f"The property '{member}' needs an array of 'Edm.String'.")
    if len(ids) > CHECKED_MAX:
        raise bad_request(f"The number of values in '{member}' exceeds the limit of {CHECKED_MAX}.")
    return ids


def _ids_answer(task: Task, ids: list[str]) -> Answer:
    context = f"{task.call.origin}/v1.0/$metadata#Collection(Edm.String)"
    return Answer(200, {"@odata.context": context, "value": ids})


def _all_groups_of_user(task: Task) -> list[Group]:
    return task.tenant.groups.holding_at_any_depth(task.user.id)


def check_member_groups(task: Task) -> Answer:
    """POST .../checkMemberGroups: which of these groups the user is in, at any depth."""
    asked = {group_id.lower() for group_id in _asked_ids(task, "groupIds")}
    return _ids_answer(task, [group.id for group in _all_groups_of_user(task) if group.id.lower() in asked])


def check_member_objects(task: Task) -> Answer:
    """POST .../checkMemberObjects: the same; the simulator has no roles or administrative units to be in."""
    asked = {object_id.lower() for object_id in _asked_ids(task, "ids")}
    return _ids_answer(task, [group.id for group in _all_groups_of_user(task) if group.id.lower() in asked])


def get_member_groups(task: Task) -> Answer:
    """POST .../getMemberGroups: every group the user is in, at any depth."""
    task.no_options()
    document = task.call.json()
    security_only = document.get("securityEnabledOnly") if type(document) is dict else None
    if type(security_only) is not bool:
        raise unreadable_body("The property 'securityEnabledOnly' must be of type 'Edm.Boolean'.")
    groups = [group for group in _all_groups_of_user(task) if group.security_enabled or not security_only]
    return _ids_answer(task, [group.id for group in groups])


def list_member_of(task: Task) -> Answer:
    """GET .../memberOf, also with `/microsoft.graph.group`: the groups that name the user."""
    groups = task.tenant.groups.holding(task.user.id)
    return _objects_answer(task, [_shown_group(group) for group in groups])


def list_transitive_member_of(task: Task) -> Answer:
    """GET .../transitiveMemberOf, also with `/microsoft.graph.group`: the groups that hold the user at any depth."""
    return _objects_answer(task, [_shown_group(group) for group in _all_groups_of_user(task)])


def _group(task: Task) -> Group:
    group = task.tenant.groups.get(task.target)
    if group is None:
        raise directory_not_found(task.target)
    return group


def get_group(task: Task) -> Answer:
    """GET /groups/{id}."""
    task.no_options()
    return Answer(200, {"@odata.context": f"{task.call.origin}/v1.0/$metadata#groups/$entity", **_group(task).show()})


def list_members(task: Task) -> Answer:
    """GET /groups/{id}/members: users and groups it names."""
    return _objects_answer(task, _members(task, list(_group(task).members)))


def list_transitive_members(task: Task) -> Answer:
    """GET /groups/{id}/transitiveMembers: users and groups in it at any depth."""
    return _objects_answer(task, _members(task, task.tenant.groups.members_at_any_depth(_group(task))))


def _shown_group(group: Group) -> JsonObject:
    return {"@odata.type": _GROUP, **group.show()}


def _members(task: Task, ids: list[str]) -> list[JsonObject]:
    shown: list[JsonObject] = []
    for member_id in ids:
        if group := task.tenant.groups.get(member_id):
            shown.append(_shown_group(group))
        elif user := task.tenant.user(member_id):
            shown.append({"@odata.type": _USER, **user.show()})
    return shown


def _whole(options: dict[str, str], name: str, default: int, low: int, high: int) -> int:
    text = options.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or not low <= int(text) <= high:
        raise bad_request(f"Invalid value '{text}' for {name} query option found.")
    return int(text)


def _objects_answer(task: Task, shown: list[JsonObject]) -> Answer:
    options = options_of(task.call.query, _LIST_OPTIONS)
    top = _whole(options, "$top", PAGE_DEFAULT_OBJECTS, 1, PAGE_MAX_OBJECTS)
    begin = _whole(options, "$skiptoken", 0, 0, 10**9 - 1)
    page = shown[begin : begin + top]
    if (selected := options.get("$select")) is not None:
        names = [name.strip() for name in selected.split(",")]
        if not all(name.isidentifier() for name in names):
            raise unparsable_uri(f"The $select expression '{selected}' is not supported.")
        page = [{name: item[name] for name in ("@odata.type", *names) if name in item} for item in page]
    body: JsonObject = {"@odata.context": f"{task.call.origin}/v1.0/$metadata#directoryObjects", "value": page}
    if len(shown) > begin + top:
        kept = {name: text for name, text in options.items() if name != "$skiptoken"}
        query = urllib.parse.urlencode(
            {**kept, "$skiptoken": str(begin + top)}, safe="$,", quote_via=urllib.parse.quote
        )
        body["@odata.nextLink"] = f"{task.call.origin}/v1.0{task.call.path}?{query}"
    return Answer(200, body)
