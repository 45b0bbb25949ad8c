"""What one user may do in another's calendar by the role it is shared with. Decisions only.

Source: Microsoft docs "calendarpermission", "outlook-share-or-delegate-calendar".
"""

from enum import IntEnum

from simulator.exchange.user import User


class Access(IntEnum):
    """What a caller gets of a calendar, from nothing to everything."""

    NONE = 0
    READ = 1
    WRITE = 2


# A role that is not listed shows free and busy times at most; Graph does not open the calendar for it.
_ACCESS = {
    "read": Access.READ,
    "write": Access.WRITE,
    "delegateWithoutPrivateEventAccess": Access.WRITE,
    "delegateWithPrivateEventAccess": Access.WRITE,
}


def role_of(owner: User, caller: User) -> str:
    """The caller's role on the owner's primary calendar, if only that of everybody in the organization."""
    return owner.mailbox.default_calendar.shares.role_of(caller.upn)


def access_of(owner: User, caller: User) -> Access:
    """What the caller may do in the owner's primary calendar."""
    return Access.WRITE if owner is caller else _ACCESS.get(role_of(owner, caller), Access.NONE)
