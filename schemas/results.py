"""What calbus publishes: how each plan of a revision ended, and what could not be read.

Also the wake-up that ingest sends to the writers, which no one outside calbus should read.
"""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field, WithJsonSchema

from schemas.fields import REVISION_MAX, Identifier, Model, Revision
from schemas.items import Kind
from schemas.reasons import NextActor, Reason


class Ending(StrEnum):
    """How a revision ended for one assignee."""

    APPLIED = "applied"
    """The calendar shows it."""
    SUPERSEDED = "superseded"
    """Something newer took its place before it was known to be in the calendar, where it may have stood briefly."""
    WITHDRAWN = "withdrawn"
    """By plan it does not stand in this calendar: nothing was written, or what was there is gone."""
    REFUSED = "refused"
    """Upstream must change something; nothing was written."""
    FAILED = "failed"
    """Microsoft 365 refused it for good."""


Words = Annotated[str, Field(max_length=1_000)]
OpenReason = Annotated[
    Reason,
    Field(
        description="Why, as a word for programs. The list grows: treat a word that you do not know by the "
        "fields beside it."
    ),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^[a-z][a-z0-9_]*$",
            "maxLength": 64,
            "x-extensible-enum": [reason.value for reason in Reason],
        }
    ),
]
"""A reason, declared to readers as an open list: a new one does not break them."""


class Outcome(Model):
    """How one revision of an item ended for one assignee: decided exactly once per plan, published at
    least once. The CloudEvents `id` is the same each time."""

    tenant: Identifier
    """The item's tenant."""
    source: Identifier
    """The business system that owns the item."""
    kind: Kind
    """What the item is."""
    id: Identifier
    """The item's id."""
    revision: Revision
    """The revision that ended."""
    assignee: Identifier
    """The user in whose calendar it ended."""
    entry_id: UUID
    """The item in this assignee's calendar; the same for all revisions."""
    plan: Annotated[int, Field(ge=1, le=REVISION_MAX)]
    """Counts the plans made for this entry: one for each accepted revision, and one more when a setting
    changes what the newest revision means."""
    ending: Ending
    """How it ended."""
    reason: OpenReason
    message: Words
    """The reason in words."""
    next_actor: NextActor
    """Who has to act, if anybody."""
    remedy: Words = ""
    """What the next actor can do; empty if there is nothing to do."""
    notice: Words = ""
    """What else there is to say of this plan: which part of a rule Outlook cannot express, or why something was
    done another way than asked (a template that failed). Empty if there is nothing."""
    decided_at: AwareDatetime
    """When the ending was known."""


class Way(StrEnum):
    """Which half of an account's synchronisation."""

    UP = "up"
    DOWN = "down"


class AccountState(StrEnum):
    """Whether an account can synchronise."""

    WORKING = "working"
    TROUBLED = "troubled"
    """It cannot, until the next actor has acted; calbus looks again from time to time."""


class AccountStatus(Model):
    """Whether an account, or every account of a tenant, can synchronise; published when that changes."""

    tenant: Identifier
    """The account's tenant."""
    user: Identifier | None = None
    """The account's user; without one it is about the tenant as a whole."""
    way: Way
    """Which half of the synchronisation."""
    state: AccountState
    """Whether it works."""
    reason: OpenReason
    message: Words
    """The reason in words."""
    next_actor: NextActor
    """Who has to act, if anybody."""
    remedy: Words = ""
    """What the next actor can do; empty if there is nothing to do."""
    since: AwareDatetime
    """When the state began."""


class AccessRecheckRequested(Model):
    """Asks calbus to look at once whether refused assignments are allowed now, because a right was given."""

    tenant: Identifier
    """Whose assignments."""
    assignee: Identifier | None = None
    """Only those into this user's calendar; all if left out."""
    owner: Identifier | None = None
    """Only those by this owner; all if left out."""


class SyncRequested(Model):
    """Asks calbus to pull calendars now, instead of when they are due."""

    tenant: Identifier
    """Whose calendars."""
    user: Identifier | None = None
    """Only this user's; all of the tenant's if left out."""


class RemovalsConfirmed(Model):
    """Somebody has looked at removals that calbus held back because they were so many, and wants them."""

    tenant: Identifier
    """Whose removals."""
    user: Identifier | None = None
    """Only those from this user's calendar; all of the tenant's if left out."""
    until: AwareDatetime | None = None
    """Only those parked until then, as calbus told when it showed them; if left out, until this was published."""


class DeadLetter(Model):
    """What is wrong with a message that could not be understood. The record's value and key are the
    original's own, and this stands in a header beside its headers: it can be replayed as it was."""

    reason: OpenReason
    detail: Annotated[str, Field(max_length=2_000)]
    """What is wrong, field by field; never the values themselves."""
    topic: Annotated[str, Field(max_length=249)]
    """Where the original was read; partition and offset say the place."""
    partition: Annotated[int, Field(ge=0, le=2**31 - 1)]
    """Of that topic."""
    offset: Annotated[int, Field(ge=0, le=2**63 - 1)]
    """In that partition."""
    timestamp_ms: Annotated[int, Field(ge=-1, le=2**63 - 1)]
    """The original's Kafka timestamp in milliseconds since 1970; -1 if it has none."""
    original_bytes: Annotated[int, Field(ge=0, le=2**53)]
    """Size of the original's value and headers."""
    original_kept: bool
    """False if the original was too large: then it stands at its position only, while its topic keeps it."""
    consumer_group: Annotated[str, Field(max_length=255)]
    """Who could not read it."""
    dead_at: AwareDatetime
    """When it was given up."""


class Wakeup(Model):
    """Names an entry that may have work. It carries no state: the writer reads the newest from PostgreSQL."""

    tenant: Identifier
    """The entry's tenant."""
    entry_id: UUID
    """The entry to look at."""
