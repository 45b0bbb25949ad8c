"""Whether a caller may do something to a user: roles and scopes of the token, Exchange's RBAC, policies, sharing.

Decisions only. Sources: Microsoft docs "permissions-reference", "auth-limit-mailbox-access", "application-rbac",
"outlook-get-shared-events-calendars".
"""

from typing import NamedTuple

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
from simulator.exchange.mailbox import Calendar
from simulator.exchange.sharing import Sight, rights_of
from simulator.exchange.user import User
from simulator.graph.task import Operation, Route

_READ_ROLES = frozenset({"Calendars.Read", "Calendars.ReadWrite"})
# For an application on its own the second is what consents show; the documentation names both.
_BASIC_ROLES = frozenset({"Calendars.ReadBasic", "Calendars.ReadBasic.All"})
_WRITE_ROLES = frozenset({"Calendars.ReadWrite"})
_SHARED_READ_SCOPES = frozenset({"Calendars.Read.Shared", "Calendars.ReadWrite.Shared"})
_SHARED_WRITE_SCOPES = frozenset({"Calendars.ReadWrite.Shared"})
_DIRECTORY_ROLES = frozenset({"User.Read.All", "User.ReadWrite.All", "Directory.Read.All", "Directory.ReadWrite.All"})
_OWN_PROFILE_SCOPES = frozenset({"User.Read"})
_PROFILE_SCOPES = frozenset({"User.ReadBasic.All"})
_GUID_LENGTH, _GUID_HYPHENS = 36, 4


class Permitted(NamedTuple):
    """Whom the call addresses, None if its path names nobody; and whether it may see events without content only."""

    user: User | None
    basic: bool = False


NOBODY = Permitted(None)


def permit(identity: Identity, route: Route, user: User | None) -> Permitted:
    """What the caller may do with the addressed user. Raises GraphError (400 for malformed ids, 403, 404)."""
    operation, name = route.operation, route.user
    if operation.directory:
        return Permitted(_permit_directory(identity, operation, name, user))
    if identity.user is None:
        basic = _permit_app(identity, operation, user)
    else:
        basic = _permit_delegated(identity, identity.user, route, user)
    if user is None:
        is_guid = len(name) == _GUID_LENGTH and name.count("-") == _GUID_HYPHENS
        raise resource_not_found() if is_guid else invalid_user(name)
    if (refusal := user.refusal()) is not None:
        raise refusal
    return Permitted(user, basic)


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


def _basic_is_enough(operation: Operation) -> bool:
    return operation.roles is None and not operation.writes and not operation.full


def _permit_app(identity: Identity, operation: Operation, user: User | None) -> bool:
    """True if it may read events without content only.

    A token without roles is no refusal yet: Exchange's own RBAC may grant what Entra ID does not show.
    """
    principal = identity.tenant.principals.get(identity.client_id)
    reach = None if principal is None else principal.reach(identity.tenant.now())
    if reach is not None and user is not None and operation.roles is None and reach.grants(user.names):
        return False
    basic = not identity.has_role(*_needed_roles(operation))
    if basic and not (_basic_is_enough(operation) and identity.has_role(*_BASIC_ROLES)):
        raise access_denied()
    if reach is not None and user is not None and reach.blocks(user.names):
        raise blocked_by_policy()
    return basic


def _permit_delegated(identity: Identity, caller: User, route: Route, user: User | None) -> bool:
    """True if it may read events without content only.

    In one's own mailbox the scope decides; in another's a `.Shared` scope, and then what its owner shares.
    """
    operation = route.operation
    shared = _SHARED_WRITE_SCOPES if operation.writes else _SHARED_READ_SCOPES
    if user is caller:
        needed = _needed_roles(operation)
        basic = not identity.has_scope(*(needed if operation.roles else needed | shared))
        if basic and not (_basic_is_enough(operation) and identity.has_scope(*_BASIC_ROLES)):
            raise access_denied()
        return basic
    if operation.roles is not None or not identity.has_scope(*shared):
        raise access_denied()
    if user is not None:
        _check_share(caller, route, user)
    return False


def _check_share(caller: User, route: Route, user: User) -> None:
    """By the role on the calendar that the path is about; on any of them, if it is about all."""
    open_to_caller = [calendar for calendar in user.mailbox.calendars.values() if _opens(calendar, caller)]
    if not open_to_caller:
        raise item_not_found()
    operation = route.operation
    if operation.of_owner:
        raise access_denied()
    event = user.mailbox.event(route.event_id) if route.event_id is not None else None
    if event is not None:
        calendar = user.mailbox.calendars[event.calendar_id]
    elif route.calendar_id is not None:
        calendar = user.mailbox.calendar(route.calendar_id)
    elif operation.spanning and not route.in_calendar:
        return
    else:
        calendar = user.mailbox.default_calendar
    if calendar not in open_to_caller:
        raise item_not_found()
    rights = rights_of(calendar.shares.role_of(caller.upn))
    if operation.writes and not (rights.edits if event is None else rights.may_change(event)):
        raise access_denied()


def _opens(calendar: Calendar, caller: User) -> bool:
    return rights_of(calendar.shares.role_of(caller.upn)).sees > Sight.NONE
