"""What crosses the administrative interface, in both directions: read by the server, used by the client."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import ConfigDict, Field

from simulator.control.ledger import Entry
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

    `roles` are consented for the whole tenant. `certificates` are PEM. `scoped_mailboxes` (names or ids) are those
    for which Exchange's RBAC for Applications grants Calendars.ReadWrite, whatever the roles say.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    client_id: str
    secret: str | None = None
    roles: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    certificates: tuple[str, ...] = ()
    scoped_mailboxes: tuple[str, ...] = ()
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class TenantSettings:
    """The body of a tenant's PUT. The apps replace those the tenant had."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    apps: tuple[App, ...] = ()
    domain: str | None = None


@dataclass(frozen=True, slots=True)
class UserSettings:
    """The body of a user's PUT. Without an id, one is derived from tenant and name, always the same."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    id: str | None = None
    display_name: str | None = None
    mailbox: MailboxKind = MailboxKind.OK
    time_zone: str = "UTC"


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


@dataclass(frozen=True, slots=True)
class SeedTenant:
    """A tenant in a seed file."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    id: str
    domain: str | None = None
    apps: tuple[App, ...] = ()
    users: tuple[SeedUser, ...] = ()
    limits: dict[str, Any] = field(default_factory=dict)


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
    `violations` are `inside_retry_after`, `over_concurrency`, `over_window`, `over_upload`; `max_in_flight` is by user
    principal name, the most calls one application had under way at once, refused ones included.
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
