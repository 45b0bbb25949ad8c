"""The groups of a tenant's directory, which may hold users and other groups. State and look-ups only."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Group:
    """A group. `members` are the object ids, in lower case, of users and groups, in the order they were named."""

    id: str
    display_name: str
    mail: str | None = None
    security_enabled: bool = True
    members: dict[str, None] = field(default_factory=dict)

    def show(self) -> dict[str, Any]:
        """The default properties that matter here."""
        return {
            "id": self.id, "displayName": self.display_name, "description": None, "mail": self.mail,
            "mailEnabled": self.mail is not None, "mailNickname": self.display_name.replace(" ", ""),
            "securityEnabled": self.security_enabled, "groupTypes": [], "visibility": None,
        }  # fmt: skip


@dataclass(slots=True)
class Groups:
    """All groups of one tenant by id. Groups may hold each other in a circle."""

    _groups: dict[str, Group] = field(default_factory=dict)

    def put(self, group: Group) -> None:
        """Adds the group or replaces it, members included."""
        self._groups[group.id.lower()] = group

    def remove(self, group_id: str) -> None:
        """Removes the group, also from those it was in. Raises KeyError."""
        del self._groups[group_id.lower()]
        for group in self._groups.values():
            group.members.pop(group_id.lower(), None)

    def get(self, group_id: str) -> Group | None:
        """By id, in any case."""
        return self._groups.get(group_id.lower())

    def all(self) -> list[Group]:
        """Every group, the oldest first."""
        return list(self._groups.values())

    def holding(self, object_id: str) -> list[Group]:
        """The groups that the user or group is a direct member of."""
        key = object_id.lower()
        return [group for group in self._groups.values() if key in group.members]

    def holding_at_any_depth(self, object_id: str) -> list[Group]:
        """The groups that the user or group is a member of, directly or through other groups."""
        found: dict[str, Group] = {}
        waiting = self.holding(object_id)
        while waiting:
            group = waiting.pop(0)
            if group.id not in found:
                found[group.id] = group
                waiting += self.holding(group.id)
        return list(found.values())

    def members_at_any_depth(self, group: Group) -> list[str]:
        """The ids of everything in the group, and in the groups in it."""
        found: dict[str, None] = {}
        waiting: list[Iterable[str]] = [group.members]
        while waiting:
            for member_id in waiting.pop(0):
                if member_id not in found:
                    found[member_id] = None
                    if inner := self.get(member_id):
                        waiting.append(inner.members)
        return list(found)
