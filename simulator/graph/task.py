"""What an operation gets and what it is: the task with everything the path and the caller named, and the table's row.

Values and look-ups only; the operations themselves are in the modules that `operations.py` lists.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from simulator.errors import access_denied, directory_not_found, item_not_found
from simulator.exchange.event import Event
from simulator.exchange.mailbox import Calendar, Mailbox
from simulator.exchange.meetings import Meetings
from simulator.exchange.sharing import OWNER, Rights, Sight, rights_of
from simulator.exchange.user import User
from simulator.graph.call import Answer, Call
from simulator.graph.odata import Query, options_of, read_query
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
    `basic` is true for callers who may read events without their content only.
    """

    call: Call
    addressee: User | None
    in_calendar: bool
    calendar_id: str | None
    event_id: str | None
    effect: Effect
    target: str = ""
    basic: bool = False

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

    def rights(self, calendar: Calendar) -> Rights:
        """What the caller may do in the calendar."""
        role = self.role_on(calendar)
        rights = OWNER if role is None else rights_of(role)
        return rights.at_most(Sight.BASIC) if self.basic else rights

    def may_see(self, calendar_id: str) -> bool:
        """True for a calendar that is open to the caller; to its owner those that were deleted are too."""
        if self.sees_as_owner:
            return True
        calendar = self.mailbox.calendars.get(calendar_id)
        return calendar is not None and self.rights(calendar).sees > Sight.NONE

    def rights_on(self, event: Event) -> Rights:
        """What the caller may do in the event's calendar."""
        return self.rights(self.mailbox.calendars[event.calendar_id])

    def seen(self, event: Event) -> Event:
        """The event as the caller sees it."""
        return self.rights_on(event).seen(event)

    def query(self, allowed: frozenset[str]) -> Query:
        """The query options. Raises GraphError (400, or 403 for what a basic reader cannot ask for)."""
        query = read_query(self.call.query, allowed)
        asks = query.expand or query.property_tests or query.extension_tests or query.expand_extensions is not None
        if self.basic and asks:
            raise access_denied()
        return query

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

    An `unaddressed` one has a path that names no user, and checks itself what its caller may. A `spanning` one is about
    all calendars of the mailbox if its path names none. One `of_owner` is not shared with anybody. A `full` one reads
    what is kept from basic readers.

    `roles` are the application roles of which one is needed; None stands for those of calendars or the directory.
    """

    name: str
    perform: Callable[[Task], Answer | Awaitable[Answer]]
    writes: bool = False
    directory: bool = False
    unaddressed: bool = False
    spanning: bool = False
    of_owner: bool = False
    full: bool = False
    roles: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """What a path means. `calendar_id` is None for the default calendar, or for none if not `in_calendar`.

    `user` is empty for a path that addresses none. `target` is what else the path names.
    """

    operation: Operation
    user: str
    in_calendar: bool = False
    calendar_id: str | None = None
    event_id: str | None = None
    target: str = ""
