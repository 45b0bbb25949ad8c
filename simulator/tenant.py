"""One tenant: its users, apps, numbers, budgets and what happened in it. Nothing is shared between tenants."""

import time
import uuid
from collections import Counter
from dataclasses import InitVar, dataclass, field, replace
from functools import partial
from typing import Any

from simulator.control.ledger import Ledger
from simulator.entra.apps import AppRegistration, ServicePrincipal
from simulator.entra.groups import Groups
from simulator.entra.keys import SigningKey
from simulator.entra.loops import LoopWatch
from simulator.exchange.mailbox import Mailbox, MailboxKind
from simulator.exchange.user import User
from simulator.graph.budget import Budget
from simulator.graph.directory_budget import DirectoryBudget
from simulator.graph.told import ToldToWait
from simulator.limits import Limits
from simulator.notifications.courier import Courier
from simulator.notifications.outbox import Outbox
from simulator.notifications.sender import Sender

# A hundred years: far enough for every window and expiry, and far from the end of the calendar.
CLOCK_OFFSET_MAX_S = 100 * 366 * 86_400
_USER_NAMESPACE = uuid.UUID("6f1c2f0e-5f5b-4c5e-8f0a-0d6c6b1f2a77")


@dataclass(slots=True, eq=False)
class Tenant:
    """A tenant and everything countable in it.

    `registrations` are the applications made here, `principals` those known here, made here or consented to.
    `approval_by_request`: users may ask for a consent that only administrators can give. `incarnation` is in every
    token: those from before a reset, or before a state was loaded, are worth nothing.
    """

    id: str
    ledger: Ledger
    limits: Limits
    sender: InitVar[Sender]
    signing_key: InitVar[SigningKey]
    domain: str | None = None
    registrations: dict[str, AppRegistration] = field(default_factory=dict)
    principals: dict[str, ServicePrincipal] = field(default_factory=dict)
    users_may_consent: bool = True
    approval_by_request: bool = False
    users: dict[str, User] = field(default_factory=dict)
    groups: Groups = field(default_factory=Groups)
    own_limits: dict[str, Any] = field(default_factory=dict)
    clock_offset_s: float = 0.0
    incarnation: str = field(default_factory=lambda: uuid.uuid4().hex)
    counts: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    outbox: Outbox = field(init=False)
    courier: Courier = field(init=False)
    token_loops: LoopWatch = field(default_factory=LoopWatch)
    told: ToldToWait = field(default_factory=ToldToWait)
    _user_ids: dict[str, User] = field(default_factory=dict)
    _budgets: dict[tuple[str, str], Budget] = field(default_factory=dict)
    _budgets_swept_at: float = 0.0
    _directory_budgets: dict[str, DirectoryBudget] = field(default_factory=dict)

    def __post_init__(self, sender: Sender, signing_key: SigningKey) -> None:
        """Opens the outbox; nothing is sent before there is a subscription."""
        self.outbox = Outbox(self)
        self.courier = Courier(self, sender, signing_key)

    def advance_clock(self, seconds: float) -> None:
        """Puts the clock forward; what is due by then is done."""
        self.clock_offset_s += seconds
        self.outbox.look_again()

    def now(self) -> float:
        """Seconds since 1970 on this tenant's clock, which may have been put forward."""
        return time.time() + self.clock_offset_s

    def user(self, name: str) -> User | None:
        """By object id or user principal name, in any case."""
        key = name.lower()
        return self._user_ids.get(key) or self.users.get(key)

    def put_user(
        self, upn: str, user_id: str | None, display_name: str | None, kind: MailboxKind, time_zone: str
    ) -> User:
        """Adds the user, or changes all but the content of the mailbox. Raises ValueError on an id in use."""
        known = self.users.get(upn.lower())
        new_id = user_id or (known.id if known else str(uuid.uuid5(_USER_NAMESPACE, f"{self.id}/{upn.lower()}")))
        holder = self._user_ids.get(new_id.lower())
        if holder is not None and holder is not known:
            raise ValueError(f"The id {new_id} belongs to another user.")
        name = display_name or upn.partition("@")[0]
        if known is None:
            known = User(new_id, upn, name, kind, time_zone, Mailbox.open(new_id, name, upn))
            self.add_user(known)
        else:
            del self._user_ids[known.id.lower()]
            known.id, known.upn, known.display_name, known.kind = new_id, upn, name, kind
            known.time_zone = time_zone
            known.mailbox.organizer = {"emailAddress": {"name": name, "address": upn}}
        self._user_ids[new_id.lower()] = known
        self.outbox.look_again()
        return known

    def is_inside(self, address: str) -> bool:
        """True for the address of somebody of this tenant."""
        if self.user(address) is not None:
            return True
        return self.domain is not None and address.lower().endswith(f"@{self.domain}")

    def add_user(self, user: User) -> None:
        """Adds a user with a mailbox, whose writes are told of from now on."""
        user.mailbox.watchers.append(partial(self.outbox.written, user))
        self.users[user.upn.lower()] = user
        self._user_ids[user.id.lower()] = user

    def budget(self, client_id: str, user: User) -> Budget:
        """What this application may do to this user's mailbox. Once in a window all others forget what is older."""
        now = self.now()
        if now >= self._budgets_swept_at + max(self.limits.window_s, self.limits.upload_window_s):
            self._budgets_swept_at = now
            for budget in self._budgets.values():
                budget.leave_behind(now, self.limits)
        key = (client_id, user.id)
        found = self._budgets.get(key)
        if found is None:
            found = self._budgets[key] = Budget()
        return found

    def directory_budget(self, client_id: str) -> DirectoryBudget:
        """What this application may ask of this tenant's directory."""
        found = self._directory_budgets.get(client_id)
        if found is None:
            found = self._directory_budgets[client_id] = DirectoryBudget()
        return found

    def max_in_flight(self) -> dict[str, int]:
        """By user principal name: the most calls one application had in flight at once, refused ones included."""
        seen: dict[str, int] = {}
        for (_, user_id), budget in self._budgets.items():
            upn = self._user_ids[user_id.lower()].upn if user_id.lower() in self._user_ids else user_id
            seen[upn] = max(seen.get(upn, 0), budget.in_flight_seen_max)
        return seen

    def settle_limits(self, defaults: Limits) -> None:
        """The limits are the service's defaults with this tenant's own numbers laid over them."""
        self.limits = replace(defaults, **self.own_limits)
