"""Whether a caller may do something to a user: roles and scopes of the token, Exchange's RBAC, policies, sharing.

Decisions only. Sources: Microsoft docs "permissions-reference", "auth-limit-mailbox-access", "application-rbac",
"outlook-get-shared-events-calendars".
"""

from simulator.entra.tokens import Identity
from simulator.errors import (
    access_denied,
    blocked_by_policy,
    directory_denied,
    directory_not_found,
    invalid_user,
    item_not_found,
    resource_not_found,
)
from simulator.exchange.sharing import Access, access_of
from simulator.exchange.user import User
from simulator.graph.task import Operation

_READ_ROLES = frozenset({"Calendars.Read", "Calendars.ReadWrite"})
_WRITE_ROLES = frozenset({"Calendars.ReadWrite"})
_SHARED_READ_SCOPES = frozenset({"Calendars.Read.Shared", "Calendars.ReadWrite.Shared"})
_SHARED_WRITE_SCOPES = frozenset({"Calendars.ReadWrite.Shared"})
_DIRECTORY_ROLES = frozenset({"User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"})
_OWN_PROFILE_SCOPES = frozenset({"User.Read"})
_PROFILE_SCOPES = frozenset({"User.ReadBasic.All"})
_GUID_LENGTH, _GUID_HYPHENS = 36, 4


def permit(identity: Identity, operation: Operation, name: str, user: User | None) -> User | None:
    """The addressed user, if the caller may do this; None for a path that names none. Raises GraphError (403, 404)."""
    if operation.directory:
        return _permit_directory(identity, operation, name, user)
    if identity.user is None:
        _permit_app(identity, operation, user)
    else:
        _permit_delegated(identity, identity.user, operation, user)
    if user is None:
        is_guid = len(name) == _GUID_LENGTH and name.count("-") == _GUID_HYPHENS
        raise resource_not_found() if is_guid else invalid_user(name)
    if (refusal := user.refusal()) is not None:
        raise refusal
    return user


def _permit_directory(identity: Identity, operation: Operation, name: str, user: User | None) -> User | None:
    needed = operation.roles or _DIRECTORY_ROLES
    if identity.user is None:
        permitted = identity.has_role(*needed)
    elif operation.roles is not None:
        permitted = identity.has_scope(*needed)
    else:
        own = _OWN_PROFILE_SCOPES if user is identity.user else frozenset[str]()
        permitted = identity.has_scope(*(needed | _PROFILE_SCOPES | own))
    if not permitted:
        raise directory_denied()
    if name and user is None:
        raise directory_not_found(name)
    return user


def _needed_roles(operation: Operation) -> frozenset[str]:
    return operation.roles or (_WRITE_ROLES if operation.writes else _READ_ROLES)


def _permit_app(identity: Identity, operation: Operation, user: User | None) -> None:
    """A token without roles is no refusal yet: Exchange's own RBAC may grant what Entra ID does not show."""
    principal = identity.tenant.principals.get(identity.client_id)
    reach = None if principal is None else principal.reach(identity.tenant.now())
    if reach is not None and user is not None and operation.roles is None and reach.grants(user.names):
        return
    if not identity.has_role(*_needed_roles(operation)):
        raise access_denied()
    if reach is not None and user is not None and reach.blocks(user.names):
        raise blocked_by_policy()


def _permit_delegated(identity: Identity, caller: User, operation: Operation, user: User | None) -> None:
    """In one's own mailbox the scope decides; in another's a `.Shared` scope, and then what its owner shares."""
    shared = _SHARED_WRITE_SCOPES if operation.writes else _SHARED_READ_SCOPES
    if user is caller:
        needed = _needed_roles(operation)
        if not identity.has_scope(*(needed if operation.roles else needed | shared)):
            raise access_denied()
        return
    if operation.roles is not None or not identity.has_scope(*shared):
        raise access_denied()
    if user is None:
        return
    access = access_of(user, caller)
    if access is Access.NONE:
        raise item_not_found()
    if operation.writes and access < Access.WRITE:
        raise access_denied()
