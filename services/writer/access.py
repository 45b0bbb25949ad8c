"""The access decision: who owns an item, and how the assignee's calendar is shared, give whether it may be assigned.

Pure; access_check.py finds out what this needs.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum

from calbus.graph.permissions import Group, Permission

# "custom" may be anything, and counts as not editable; so does every role that Microsoft may add.
EDITING_ROLES = frozenset(("write", "delegateWithoutPrivateEventAccess", "delegateWithPrivateEventAccess"))


class Verdict(StrEnum):
    """Whether the owner may edit the calendar."""

    GRANTED = "granted"
    DENIED = "denied"
    ASK_GROUPS = "ask_groups"
    """Only the owner's groups tell."""
    HIDDEN = "hidden"
    """Only groups tell that calbus is not shown."""


def judge(owner: frozenset[str], permissions: Sequence[Permission], groups: Iterable[Group] | None) -> Verdict:
    """Judge by the owner's addresses in lower case, the calendar's sharing, and the owner's groups, None if not asked.

    What is given by name decides alone, as in Exchange: whom the assignee lets only read, no group and no
    "My Organization" lets write. Otherwise either of these is enough.
    """
    by_name = [permission.role in EDITING_ROLES for permission in permissions if permission.address in owner]
    if by_name:
        return Verdict.GRANTED if any(by_name) else Verdict.DENIED
    if any(permission.everybody for permission in permissions if permission.role in EDITING_ROLES):
        return Verdict.GRANTED
    candidates = editors(permissions)
    if not candidates:
        return Verdict.DENIED
    if groups is None:
        return Verdict.ASK_GROUPS
    hidden = False
    for group in groups:
        if group.address in candidates:
            return Verdict.GRANTED
        hidden = hidden or not group.seen
    return Verdict.HIDDEN if hidden else Verdict.DENIED


def editors(permissions: Iterable[Permission]) -> frozenset[str]:
    """The addresses that may edit. Nothing says which are groups; those outside are none of this directory's."""
    return frozenset(
        permission.address
        for permission in permissions
        if permission.role in EDITING_ROLES and permission.inside and permission.address is not None
    )
