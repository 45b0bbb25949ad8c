"""Which event types there are, on which topic each travels, and how topics are made.

The one register of the bus: codec, ingest, generated documents and tests read it.
"""

from dataclasses import dataclass
from enum import StrEnum

from schemas.changes import AppointmentRemoved, AppointmentUpserted, EntryEdited, EntryRemoved, EntryRescheduled
from schemas.fields import Model
from schemas.items import ActionDeleted, ActionUpserted, ContactDeleted, ContactUpserted
from schemas.results import (
    AccessRecheckRequested,
    AccountStatus,
    DeadLetter,
    Outcome,
    RemovalsConfirmed,
    SyncRequested,
    Wakeup,
)
from schemas.switches import AccountSettings, AccountUnlinked, ProjectSettings, TenantSettings


class Topic(StrEnum):
    """Topic names without the deployment's prefix."""

    ACTIONS = "actions.v1"
    CONTACTS = "contacts.v1"
    SETTINGS = "settings.v1"
    COMMANDS = "commands.v1"
    OUTCOMES = "outcomes.v1"
    CHANGES = "changes.v1"
    ACCOUNT_STATUS = "account-status.v1"
    REQUESTS = "requests.v1"
    DEAD_LETTERS = "dead-letters.v1"


@dataclass(frozen=True, slots=True)
class TopicShape:
    """How a topic is made. Its partition count comes from the settings."""

    says: str
    key: str
    """What the message key is, for whoever publishes or reads."""
    compacted: bool = False
    retention_days: int | None = 7
    max_message_bytes: int = 1_000_000


TOPICS: dict[Topic, TopicShape] = {
    Topic.ACTIONS: TopicShape(
        "Actions, as upstream systems publish them.",
        key="Anything that stays the same for an item, such as its id.",
    ),
    Topic.CONTACTS: TopicShape(
        "Contacts, as upstream systems publish them.",
        key="Anything that stays the same for an item, such as its id.",
    ),
    Topic.SETTINGS: TopicShape(
        "Tenants, projects and accounts; the last message of a key stands.",
        key="tenant/{tenant}, project/{tenant}/{project} or account/{tenant}/{user}.",
        compacted=True,
        retention_days=None,
    ),
    Topic.COMMANDS: TopicShape(
        "Wake-ups for writers. Internal: nobody else reads or writes it.",
        key="A digest of the mailbox.",
        retention_days=1,
    ),
    Topic.OUTCOMES: TopicShape("How each revision ended for each assignee.", key="The entry's id, `entry_id`."),
    Topic.CHANGES: TopicShape("What people change in Outlook.", key="account/{tenant}/{user}."),
    Topic.ACCOUNT_STATUS: TopicShape(
        "Whether accounts can synchronise; the last message of a key stands.",
        key="tenant/{tenant}/{way} or account/{tenant}/{user}/{way}.",
        compacted=True,
        retention_days=None,
    ),
    Topic.REQUESTS: TopicShape("What others ask of calbus.", key="The tenant."),
    # An original of the largest size must still fit beside the headers that say what is wrong with it.
    Topic.DEAD_LETTERS: TopicShape(
        "Messages that could not be understood.",
        key="The original's key.",
        retention_days=30,
        max_message_bytes=1_100_000,
    ),
}


@dataclass(frozen=True, slots=True)
class EventType:
    """A CloudEvents `type`, its data model, its topic, and who writes it."""

    name: str
    model: type[Model]
    topic: Topic
    from_upstream: bool


EVENT_TYPES: dict[str, EventType] = {
    event.name: event
    for event in (
        EventType("calbus.action.upserted.v1", ActionUpserted, Topic.ACTIONS, from_upstream=True),
        EventType("calbus.action.deleted.v1", ActionDeleted, Topic.ACTIONS, from_upstream=True),
        EventType("calbus.contact.upserted.v1", ContactUpserted, Topic.CONTACTS, from_upstream=True),
        EventType("calbus.contact.deleted.v1", ContactDeleted, Topic.CONTACTS, from_upstream=True),
        EventType("calbus.tenant.settings.v1", TenantSettings, Topic.SETTINGS, from_upstream=True),
        EventType("calbus.project.settings.v1", ProjectSettings, Topic.SETTINGS, from_upstream=True),
        EventType("calbus.account.settings.v1", AccountSettings, Topic.SETTINGS, from_upstream=True),
        EventType("calbus.account.unlinked.v1", AccountUnlinked, Topic.SETTINGS, from_upstream=True),
        EventType("calbus.access-recheck.requested.v1", AccessRecheckRequested, Topic.REQUESTS, from_upstream=True),
        EventType("calbus.sync.requested.v1", SyncRequested, Topic.REQUESTS, from_upstream=True),
        EventType("calbus.removals.confirmed.v1", RemovalsConfirmed, Topic.REQUESTS, from_upstream=True),
        EventType("calbus.entry.rescheduled.v1", EntryRescheduled, Topic.CHANGES, from_upstream=False),
        EventType("calbus.entry.edited.v1", EntryEdited, Topic.CHANGES, from_upstream=False),
        EventType("calbus.entry.removed.v1", EntryRemoved, Topic.CHANGES, from_upstream=False),
        EventType("calbus.appointment.upserted.v1", AppointmentUpserted, Topic.CHANGES, from_upstream=False),
        EventType("calbus.appointment.removed.v1", AppointmentRemoved, Topic.CHANGES, from_upstream=False),
        EventType("calbus.account-status.v1", AccountStatus, Topic.ACCOUNT_STATUS, from_upstream=False),
        EventType("calbus.outcome.v1", Outcome, Topic.OUTCOMES, from_upstream=False),
        EventType("calbus.dead-letter.v1", DeadLetter, Topic.DEAD_LETTERS, from_upstream=False),
        EventType("calbus.wakeup.v1", Wakeup, Topic.COMMANDS, from_upstream=False),
    )
}

TYPE_NAMES: dict[type[Model], str] = {event.model: event.name for event in EVENT_TYPES.values()}
