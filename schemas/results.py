"""What calbus publishes: how each plan of a revision ended, and what could not be read.

Also the wake-up that ingest sends to the writers, which no one outside calbus should read.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field

from schemas.fields import Identifier, Model, Revision
from schemas.items import Kind
from schemas.reasons import NextActor, Reason


class Ending(StrEnum):
    """How a revision ended for one assignee."""

    APPLIED = "applied"
    """The calendar shows it."""
    SUPERSEDED = "superseded"
    """Something newer took its place before it was written."""
    WITHDRAWN = "withdrawn"
    """By plan it does not stand in this calendar: nothing was written, or what was there is gone."""
    REFUSED = "refused"
    """Upstream must change something; nothing was written."""
    FAILED = "failed"
    """Microsoft 365 refused it for good."""


class Outcome(Model):
    """How one revision of an item ended for one assignee: published exactly once per plan, at least once per message; the CloudEvents `id` is the same each time."""

    tenant: Identifier
    source: Identifier
    kind: Kind
    id: Identifier
    """The item's id."""
    revision: Revision
    assignee: Identifier
    entry_id: UUID
    """The item in this assignee's calendar; the same for all revisions."""
    plan: Annotated[int, Field(ge=1)]
    """Counts the plans made for this entry: one for each accepted revision, and one more when a setting changes what the newest revision means."""
    ending: Ending
    reason: Reason
    message: str
    """The reason in words."""
    next_actor: NextActor
    remedy: str = ""
    decided_at: datetime


class DeadLetter(Model):
    """A message that could not be understood. The original bytes follow in the record's value, its headers beside ours: it can be replayed as it was."""

    reason: Reason
    detail: Annotated[str, Field(max_length=2_000)]
    """What is wrong, field by field; never the values themselves."""
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    consumer_group: str
    dead_at: datetime


class Wakeup(Model):
    """Names an entry that may have work. It carries no state: the writer reads the newest from PostgreSQL."""

    tenant: Identifier
    entry_id: UUID
