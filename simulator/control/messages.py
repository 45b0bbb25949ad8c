"""What crosses the administrative interface, in both directions: read by the server, used by the client."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from simulator.control.ledger import Entry
from simulator.entra.accounts import SignIn
from simulator.exchange.mailbox import MailboxKind

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Secret:
    """A client secret; without an expiry it lasts for ever."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    value: str
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class App:
    """An app registration in a tenant. `secret` is short for one secret that never expires.

    Consented for the whole tenant are `roles` and `scopes`, the application and delegated permissions; registered
    are those in `requested_roles` and `requested_scopes`. `certificates` are PEM. `scoped_mailboxes` (names or ids)
    are those for which Exchange's RBAC for Applications grants Calendars.ReadWrite, whatever the roles say;
    `allowed_mailboxes` and `denied_mailboxes` are application access policies. `assigned` are users' names or ids.
    An app without credentials is a public client.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    client_id: str
    secret: str | None = None
    roles: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    certificates: tuple[str, ...] = ()
    scoped_mailboxes: tuple[str, ...] = ()
    disabled: bool = False
    name: str | None = None
    scopes: tuple[str, ...] = ()
    redirect_uris: tuple[str, ...] = ()
    requested_roles: tuple[str, ...] = ()
    requested_scopes: tuple[str, ...] = ()
    multi_tenant: bool = False
    assignment_required: bool = False
    assigned: tuple[str, ...] = ()
    allowed_mailboxes: tuple[str, ...] | None = None
    denied_mailboxes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AppChange:
    """What an administrator changes about an app in a tenant; None leaves a thing as it is.

    `user_scopes` are what users granted for themselves, by name or id, and replace what those users granted before.
    `lift_allowed_mailboxes` removes the policy that `allowed_mailboxes` sets.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    roles: tuple[str, ...] | None = None
    scopes: tuple[str, ...] | None = None
    user_scopes: dict[str, tuple[str, ...]] | None = None
    disabled: bool | None = None
    assignment_required: bool | None = None
    assigned: tuple[str, ...] | None = None
    scoped_mailboxes: tuple[str, ...] | None = None
    allowed_mailboxes: tuple[str, ...] | None = None
    lift_allowed_mailboxes: bool = False
    denied_mailboxes: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class AppInfo:
    """An app as a tenant knows it: what is granted to it there. `user_scopes` is by user id."""

    client_id: str
    object_id: str
    home_tenant: str
    roles: list[str]
    scopes: list[str]
    user_scopes: dict[str, list[str]]
    disabled: bool
    assignment_required: bool
    assigned: list[str]
    scoped_mailboxes: list[str]
    allowed_mailboxes: list[str] | None
    denied_mailboxes: list[str]


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """The body of a tenant's PUT. The apps replace those made in the tenant, with the consents they had.

    `users_may_consent` False leaves every consent to administrators; `approval_by_request` lets users ask for one.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    apps: tuple[App, ...] = ()
    domain: str | None = None
    users_may_consent: bool = True
    approval_by_request: bool = False


@dataclass(frozen=True, slots=True)
class UserSettings:
    """The body of a user's PUT. Without an id, one is derived from tenant and name, always the same.

    `sign_in` is what signing in leads to; without a `password` any is accepted.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    id: str | None = None
    display_name: str | None = None
    mailbox: MailboxKind = MailboxKind.OK
    time_zone: str = "UTC"
    administrator: bool = False
    password: str | None = None
    sign_in: SignIn = SignIn.OK


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """The body of a group's PUT. Members are users by id or name, and groups by the name or id of their own PUT."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    display_name: str | None = None
    mail: str | None = None
    security_enabled: bool = True
    members: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group as the simulator holds it; `members` are object ids."""

    id: str
    display_name: str
    mail: str | None
    security_enabled: bool
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CalendarShare:
    """The body that shares a calendar: an empty address means the organisation, no id the default calendar."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    role: str
    address: str = ""
    name: str = ""
    calendar_id: str | None = None


@dataclass(frozen=True, slots=True)
class Invitation:
    """The body that brings a user an invitation. `event` is as Graph takes it, `organizer` an address."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    organizer: str
    event: dict[str, Any]
    organizer_name: str = ""


@dataclass(frozen=True, slots=True)
class StateFile:
    """The body that saves or loads the state: a path on the simulator's machine."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    file: str


@dataclass(frozen=True, slots=True)
class ClockAdvance:
    """The body that puts a tenant's clock forward."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    advance_s: Annotated[float, Field(ge=0, le=1e9)]


@dataclass(frozen=True, slots=True)
class SeedUser:
    """A user in a seed file."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    upn: str
    id: str | None = None
    display_name: str | None = None
    mailbox: MailboxKind = MailboxKind.OK
    time_zone: str = "UTC"
    administrator: bool = False
    password: str | None = None
    sign_in: SignIn = SignIn.OK


@dataclass(frozen=True, slots=True)
class SeedTenant:
    """A tenant in a seed file."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    id: str
    domain: str | None = None
    apps: tuple[App, ...] = ()
    users: tuple[SeedUser, ...] = ()
    limits: dict[str, Any] = field(default_factory=dict)
    users_may_consent: bool = True
    approval_by_request: bool = False


@dataclass(frozen=True, slots=True)
class Seed:
    """The content of a seed file: what there is when the simulator starts."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    tenants: tuple[SeedTenant, ...] = ()


@dataclass(frozen=True, slots=True)
class UserInfo:
    """A user as the simulator holds it."""

    id: str
    upn: str
    display_name: str
    mailbox: MailboxKind
    time_zone: str
    administrator: bool
    sign_in: SignIn


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """Everything the simulator holds of one event.

    `start` and `end` are local times in their zones as they were written; `start_utc` and `end_utc` are naive UTC,
    where an all-day event counts from UTC midnight. `graph` is the full representation in UTC with the ordinary id.
    """

    id: str
    immutable_id: str
    calendar_id: str
    etag: str
    writes: int
    subject: str
    start: datetime
    start_time_zone: str
    start_utc: datetime
    end: datetime
    end_time_zone: str
    end_utc: datetime
    is_all_day: bool
    body_text: str
    body_html: str
    categories: list[str]
    transaction_id: str | None
    extended_properties: dict[str, str]
    graph: dict[str, Any]


@dataclass(frozen=True, slots=True)
class StoredEvents:
    """A mailbox's content, and how many events were ever created and deleted in it."""

    value: list[StoredEvent]
    created_count: int
    deleted_count: int


@dataclass(frozen=True, slots=True)
class LedgerPage:
    """Ledger entries, oldest first. `fallen_off` counts entries of these tenants that are no longer held."""

    value: list[Entry]
    fallen_off: int


@dataclass(frozen=True, slots=True)
class AddedFault:
    """A fault rule with its id and the times it has struck."""

    id: str
    hits: int
    fault: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stats:
    """What happened in one tenant.

    `requests` are those that addressed a user, items of batches included; `refusals` are the 429s of its own limits;
    `violations` are `inside_retry_after`, `over_concurrency`, `over_window`, `over_upload`, `over_directory`,
    `over_application`, `token_loop`; `max_in_flight` is by user principal name, the most calls one application had
    under way at once, refused ones included.
    """

    requests: int
    batches: int
    mutations: int
    invitations: int
    refusals: int
    tokens_issued: int
    token_requests: int
    token_refusals: int
    operations: dict[str, int]
    statuses: dict[str, int]
    violations: dict[str, int]
    max_in_flight: dict[str, int]
