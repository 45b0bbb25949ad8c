"""Who may see and change a calendar: its shares, the roles they can have, and what a role lets a person do.

Sources: Microsoft docs "calendarpermission", "outlook-share-or-delegate-calendar".
"""

import base64
from dataclasses import dataclass, field
from typing import Any

from simulator.errors import invalid_request, item_not_found, unknown_property, unreadable_body

JsonObject = dict[str, Any]

ORGANIZATION_ID = base64.b64encode(b"Default").decode()
_ORGANIZATION_NAME = "My Organization"
_SHARING_ROLES = ("freeBusyRead", "limitedRead", "read", "write")
_DELEGATE_ROLES = ("delegateWithoutPrivateEventAccess", "delegateWithPrivateEventAccess")
_ORGANIZATION_ROLES = ("none", *_SHARING_ROLES)
_OUTSIDE_ROLES = ("freeBusyRead", "limitedRead", "read")
_ROLES = frozenset({"none", "custom", *_SHARING_ROLES, *_DELEGATE_ROLES})
_EDITING_ROLES = frozenset({"write", *_DELEGATE_ROLES})
_MEMBERS = frozenset({"id", "role", "emailAddress", "isRemovable", "isInsideOrganization", "allowedRoles"})


def may_edit(role: str) -> bool:
    """True if the role lets a person change events."""
    return role in _EDITING_ROLES


def may_see_private(role: str) -> bool:
    """True if the role shows private events in full."""
    return role == "delegateWithPrivateEventAccess"


@dataclass(slots=True)
class Share:
    """One person's permission, or that of everybody in the organisation. `address` is empty for the latter."""

    id: str
    name: str
    address: str
    role: str
    inside: bool

    def show(self, *, primary: bool) -> JsonObject:
        """The permission on the wire."""
        email = {"name": self.name, "address": self.address} if self.address else {"name": self.name}
        return {
            "id": self.id, "isRemovable": bool(self.address), "isInsideOrganization": self.inside, "role": self.role,
            "allowedRoles": list(self.allowed_roles(primary=primary)), "emailAddress": email,
        }  # fmt: skip

    def allowed_roles(self, *, primary: bool) -> tuple[str, ...]:
        """What may be put in place of the role."""
        return allowed_roles(inside=self.inside, primary=primary) if self.address else _ORGANIZATION_ROLES


def allowed_roles(*, inside: bool, primary: bool) -> tuple[str, ...]:
    """The roles a person can be given: delegates are colleagues, and of the primary calendar."""
    if not inside:
        return _OUTSIDE_ROLES
    return _SHARING_ROLES + _DELEGATE_ROLES if primary else _SHARING_ROLES


@dataclass(frozen=True, slots=True)
class Sharing:
    """What a request says about a permission; a member it does not name is None."""

    role: str | None
    name: str | None
    address: str | None


def read_sharing(document: Any) -> Sharing:
    """A `calendarPermission` from a request body. Raises GraphError (400)."""
    if type(document) is not dict:
        raise unreadable_body("The request body must be a JSON object.")
    for member in document:
        if member not in _MEMBERS and "@" not in member:
            raise unknown_property(member, "microsoft.graph.calendarPermission")
    role = document.get("role")
    if role is not None and (type(role) is not str or role not in _ROLES):
        raise unreadable_body(f"Requested value '{role}' was not found.")
    email = document.get("emailAddress")
    if email is None:
        return Sharing(role, None, None)
    if type(email) is not dict or not all(type(text) is str for text in email.values() if text is not None):
        raise unreadable_body("Cannot convert the value of 'emailAddress' to 'microsoft.graph.emailAddress'.")
    return Sharing(role, email.get("name"), email.get("address"))


@dataclass(slots=True)
class Shares:
    """All permissions of one calendar, by id; that of the organisation is always there, and last."""

    primary: bool
    organization_role: str = "freeBusyRead"
    _people: dict[str, Share] = field(default_factory=dict)

    def all(self) -> list[Share]:
        """People first, then the organisation."""
        return [*self._people.values(), self._organization()]

    def _organization(self) -> Share:
        return Share(ORGANIZATION_ID, _ORGANIZATION_NAME, "", self.organization_role, inside=True)

    def get(self, share_id: str) -> Share:
        """Raises ErrorItemNotFound (404)."""
        if share_id == ORGANIZATION_ID:
            return self._organization()
        if (found := self._people.get(share_id)) is None:
            raise item_not_found()
        return found

    def role_of(self, address: str) -> str:
        """What a person of the organisation may do: what was given to them, else what everybody may."""
        found = self._people.get(_share_id(address))
        return found.role if found else self.organization_role

    def give(self, sharing: Sharing, *, inside: bool) -> Share:
        """Shares the calendar with one more person. Raises GraphError (400)."""
        if not sharing.address or sharing.role is None:
            raise invalid_request("A calendar permission needs 'emailAddress' with an 'address', and a 'role'.")
        share_id = _share_id(sharing.address)
        if share_id in self._people:
            raise invalid_request("The calendar is shared with this person already.")
        share = Share(share_id, sharing.name or sharing.address, sharing.address, sharing.role, inside)
        self._check_role(share, sharing.role)
        self._people[share_id] = share
        return share

    def change(self, share: Share, sharing: Sharing) -> Share:
        """Another role. Raises GraphError (400)."""
        if sharing.role is None or sharing.address not in (None, share.address):
            raise invalid_request("Only the 'role' of a calendar permission can be changed.")
        self._check_role(share, sharing.role)
        if share.id == ORGANIZATION_ID:
            self.organization_role = sharing.role
        share.role = sharing.role
        return share

    def put(self, address: str, name: str, role: str, *, inside: bool) -> None:
        """What an administrator sets: any role, in place of what there was; no address is the organisation."""
        if role not in _ROLES:
            raise ValueError(f"There is no calendar role {role}.")
        if address:
            self._people[_share_id(address)] = Share(_share_id(address), name or address, address, role, inside)
        else:
            self.organization_role = role

    def remove(self, share: Share) -> None:
        """Raises GraphError (400) for the organisation's."""
        if share.id == ORGANIZATION_ID:
            raise invalid_request("The permission of the organization cannot be removed.")
        del self._people[share.id]

    def _check_role(self, share: Share, role: str) -> None:
        if role not in share.allowed_roles(primary=self.primary):
            raise invalid_request(f"The role '{role}' is not allowed for this person on this calendar.")


def _share_id(address: str) -> str:
    return base64.b64encode(f"/o=ExchangeLabs/cn={address.lower()}".encode()).decode()
