"""What administrators and users set: the tenant, its projects, and each user's account.

Published on the compacted settings topic under the key that `settings_key` gives; a null value under
such a key (a tombstone) takes the setting away.
"""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from schemas.fields import (
    DOWN_CALENDARS_MAX,
    DURATION_MAX_MINUTES,
    PROJECTS_MAX,
    Directory,
    Flag,
    Identifier,
    Mailbox,
    Model,
    Name,
    Revision,
    ShortText,
    TemplateText,
    TimeZone,
)

DEFAULT_DURATION_MINUTES = 30

DurationMinutes = Annotated[int, Field(strict=True, ge=5, le=DURATION_MAX_MINUTES)]


class Scope(StrEnum):
    """Whose setting it is; the first part of the message key."""

    TENANT = "tenant"
    PROJECT = "project"
    ACCOUNT = "account"


class Direction(StrEnum):
    """Which way an account synchronises: up is item to Outlook, down is Outlook to the bus."""

    UP = "up"
    DOWN = "down"
    BOTH = "both"
    NONE = "none"

    @property
    def writes(self) -> bool:
        """Whether items go up into the calendar."""
        return self is Direction.UP or self is Direction.BOTH

    @property
    def reads(self) -> bool:
        """Whether the user's own appointments come down."""
        return self in (Direction.DOWN, Direction.BOTH)


class Backfill(StrEnum):
    """Which items from before an account's activation are written."""

    NONE = "none"
    FUTURE = "future"
    """Those that end after the activation."""
    ALL = "all"


class Assigning(StrEnum):
    """Who may put items into somebody else's calendar."""

    EDIT_ACCESS = "edit_access"
    """The item's owner needs edit access to the assignee's calendar in Outlook."""
    ANYONE = "anyone"


class Locale(StrEnum):
    """The language of what calbus itself writes into calendars."""

    EN = "en"
    NL = "nl"
    SV = "sv"
    NB = "nb"


class Touched(StrEnum):
    """What calbus does about an entry that its user changed in Outlook."""

    REPORT = "report"
    """Tells upstream, and leaves it until the item's next revision."""
    ACCEPT = "accept"
    """The same, and later revisions keep the user's times unless upstream changed them."""
    RESTORE = "restore"
    """Tells upstream, and writes what upstream planned again."""


class Detail(StrEnum):
    """How much of a user's own appointments leaves the calendar."""

    FULL = "full"
    FREE_BUSY = "free_busy"
    """Times and how they are shown, nothing else."""


class Leftovers(StrEnum):
    """What becomes of the entries of an account that is unlinked."""

    KEEP = "keep"
    REMOVE = "remove"


class _Settings(Model):
    scope: ClassVar[Scope]

    tenant: Identifier
    """The customer whose setting it is."""
    revision: Revision
    """Rises with every change of this setting; an older one is ignored."""


class TenantSettings(_Settings):
    """One customer of calbus and its Microsoft 365 directory."""

    scope: ClassVar[Scope] = Scope.TENANT

    enabled: Flag
    """The first of the three switches: nothing is written for a tenant that is not enabled."""
    directory: Directory
    """Its Microsoft Entra directory (Microsoft's tenant): the id, a GUID, or a verified domain."""
    time_zone: TimeZone = "UTC"
    """IANA name, for items that have none of their own."""
    default_duration_minutes: DurationMinutes = DEFAULT_DURATION_MINUTES
    """For timed items that have neither end nor duration, and whose project sets none."""
    backfill: Backfill = Backfill.NONE
    """Which items from before an account's activation are written. Entries that stand are kept up in any case."""
    assigning: Assigning = Assigning.EDIT_ACCESS
    """Whether an item's owner needs edit access to the calendar of an assignee who is somebody else."""
    locale: Locale = Locale.EN
    """The language of labels and categories in calendars."""
    subject_template: TemplateText | None = None
    """How an entry's subject is made; calbus's own if left out. The event contract lists what it may use."""
    body_template: TemplateText | None = None
    """How an entry's body is made; calbus's own if left out."""
    touched: Touched = Touched.REPORT
    """What calbus does about entries that their users change in Outlook. It tells upstream in any case."""


class ProjectSettings(_Settings):
    """A group of items that is switched on as one."""

    scope: ClassVar[Scope] = Scope.PROJECT

    project: Identifier
    """The project's id, as items name it in `project`."""
    enabled: Flag
    """The second switch: items of a project that is not enabled stand in no calendar."""
    name: ShortText = ""
    """For people to read."""
    default_duration_minutes: DurationMinutes | None = None
    """For its timed items that have neither end nor duration; the tenant's default if left out."""


class AccountSettings(_Settings):
    """One user's link to a mailbox."""

    scope: ClassVar[Scope] = Scope.ACCOUNT

    user: Identifier
    """The user's id, as items name it in `assignees`."""
    mailbox: Mailbox
    """Its address or user principal name. May differ from the user's own address, and may change."""
    allowed: Flag
    """The third switch: the organisation lets this user synchronise."""
    blocked: Flag = False
    """The user is blocked in the business system: nothing is written for as long as that lasts."""
    direction: Direction = Direction.UP
    """Which way the account synchronises: up is item to Outlook, down is Outlook to the bus."""
    calendar: Name | None = None
    """The name of the calendar in that mailbox; the default calendar if left out. Another one moves the entries."""
    down_calendars: Annotated[tuple[Name, ...], Field(max_length=DOWN_CALENDARS_MAX)] | None = None
    """The names of the calendars whose appointments come down; the default calendar if left out."""
    detail: Detail = Detail.FREE_BUSY
    """How much of the user's own appointments comes down. Private ones never carry more than their times."""
    projects: Annotated[tuple[Identifier, ...], Field(max_length=PROJECTS_MAX)] | None = None
    """The projects that this user wants to see; all enabled ones if left out. Items without a project always
    show."""


class AccountUnlinked(_Settings):
    """One user's link to a mailbox is ended. Published under the account's key, in its place."""

    scope: ClassVar[Scope] = Scope.ACCOUNT

    user: Identifier
    """The user's id, as in the account."""
    entries: Leftovers
    """Whether what stands in the calendar stays there, or is removed. There is no default: somebody must say."""


SettingsEvent = TenantSettings | ProjectSettings | AccountSettings | AccountUnlinked


def settings_key(settings: SettingsEvent) -> str:
    """The Kafka message key under which this setting is published and compacted."""
    match settings:
        case ProjectSettings():
            parts = (settings.scope, settings.tenant, settings.project)
        case AccountSettings() | AccountUnlinked():
            parts = (settings.scope, settings.tenant, settings.user)
        case _:
            return f"{settings.scope}/{settings.tenant}"
    return "/".join(parts)
