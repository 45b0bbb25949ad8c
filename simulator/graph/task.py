"""What an operation gets and what it is: the task with everything the path and the caller named, and the table's row.

Values and look-ups only; the operations themselves are in the modules that `operations.py` lists.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from simulator.errors import directory_not_found, item_not_found
from simulator.exchange.event import Event
from simulator.exchange.mailbox import Calendar, Mailbox
from simulator.exchange.meetings import Meetings
from simulator.exchange.user import User
from simulator.graph.call import Answer, Call
from simulator.graph.odata import options_of
from simulator.graph.prefer import Preferences, read_preferences
from simulator.tenant import Tenant

JsonObject = dict[str, Any]


@dataclass(slots=True)
class Effect:
    """What an operation did, for the ledger. `invitations` are all mails the real service would send for it."""

    event_id: str | None = None
    mutation: bool = False
    invitations: int = 0


@dataclass(slots=True)
class Task:
    """An operation to be done. `calendar_id` is None where the path names none: the whole mailbox.

    `addressee` is None only for operations that address no user. `target` is the last thing the path names that is
    neither user, calendar nor event: a permission, a category, an extension, a group, the argument of a function.
    """

    call: Call
    addressee: User | None
    in_calendar: bool
    calendar_id: str | None
    event_id: str | None
    effect: Effect
    target: str = ""

    @property
    def tenant(self) -> Tenant:
        """The caller's tenant, which is also that of everything the call can reach."""
        return self.call.identity.tenant

    @property
    def user(self) -> User:
        """The user the path addresses."""
        if self.addressee is None:
            raise directory_not_found(self.target)
        return self.addressee

    @property
    def mailbox(self) -> Mailbox:
        """The addressed user's mailbox."""
        return self.user.mailbox

    def calendar(self) -> Calendar:
        """The calendar the path names; the default one if it names none."""
        if self.calendar_id is None:
            return self.mailbox.default_calendar
        return self.mailbox.calendar(self.calendar_id)

    @property
    def sees_as_owner(self) -> bool:
        """True for the mailbox's owner, and for an application of its own: both are shown the owner's view."""
        caller = self.call.identity.user
        return caller is None or caller is self.user

    def role_on(self, calendar: Calendar) -> str | None:
        """What the caller was given on the calendar; None for its owner."""
        caller = self.call.identity.user
        return None if caller is None or caller is self.user else calendar.shares.role_of(caller.upn)

    def meetings(self) -> Meetings:
        """Writes to the mailbox of which others may have to hear."""
        return Meetings(self.tenant, self.mailbox)

    def event(self) -> Event:
        """The event the path names, which must be in the calendar the path names. Raises GraphError (400, 404)."""
        event = self.mailbox.event(self.event_id or "")
        if self.in_calendar and event.calendar_id != self.calendar().id:
            raise item_not_found()
        self.effect.event_id = event.id
        return event

    def preferences(self) -> Preferences:
        """The honoured preferences. Raises TimeZoneNotSupportedException (400)."""
        header = self.call.headers.get("prefer")
        return read_preferences(header) if header else Preferences()

    def context(self, what: str) -> str:
        """The `@odata.context` of an answer about the user."""
        return f"{self.call.origin}/v1.0/$metadata#users('{self.user.id}')/{what}"

    def no_options(self) -> None:
        """Refuses (400) every query option."""
        if self.call.query:
            options_of(self.call.query, frozenset())


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation by its name in ledger and faults. `directory` operations need no mailbox and spend no budget.

    An `unaddressed` one has a path that names no user, and checks itself what its caller may.

    `roles` are the application roles of which one is needed; None stands for those of calendars or the directory.
    """

    name: str
    perform: Callable[[Task], Answer | Awaitable[Answer]]
    writes: bool = False
    directory: bool = False
    unaddressed: bool = False
    roles: frozenset[str] | None = None
