"""What people do in Outlook, as calbus tells it: to entries that it wrote, and to appointments of their own.

Published on the changes topic, in the order in which a calendar shows them; each once per event and change key, under a
CloudEvents id that is the same when it is published again.
"""

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field

from schemas.fields import Flag, Identifier, Model, Moment, Revision
from schemas.items import Kind
from schemas.switches import Detail, Touched

CATEGORIES_MAX = 100

GraphId = Annotated[str, Field(min_length=1, max_length=1_024)]
Text = Annotated[str, Field(max_length=1_000)]


class Shown(StrEnum):
    """How the time is shown to others."""

    FREE = "free"
    TENTATIVE = "tentative"
    BUSY = "busy"
    AWAY = "oof"
    ELSEWHERE = "workingElsewhere"
    UNKNOWN = "unknown"


class EditedField(StrEnum):
    """What of an entry was changed, other than its times."""

    SUBJECT = "subject"
    BODY = "body"
    PLACE = "place"
    CATEGORIES = "categories"
    SHOWN_AS = "shown_as"
    IMPORTANCE = "importance"
    PRIVATE = "private"
    REMINDER = "reminder"
    RECURRENCE = "recurrence"


class _Change(Model):
    tenant: Identifier
    """The account's tenant."""
    user: Identifier
    """The account's user, whose calendar it is."""
    calendar: Text
    """The calendar's name; empty for the default calendar."""
    event_id: GraphId
    """Names the event in Outlook; stays the same for as long as it is in the mailbox."""
    change_key: Text
    """Names this state of the event; empty for one that is gone."""
    seen_at: AwareDatetime
    """When calbus saw it."""


class _EntryChange(_Change):
    source: Identifier
    """The business system that owns the item."""
    kind: Kind
    """What the item is."""
    id: Identifier
    """The item's id."""
    entry_id: UUID
    """The item in this assignee's calendar."""
    revision: Revision
    """The item's newest revision that calbus knew."""
    occurrence: Moment | None = None
    """Of a recurring item: which occurrence, by when the rule has it begin; without it, the item as a whole."""
    policy: Touched
    """What calbus does about it, as the tenant set it."""


class EntryRescheduled(_EntryChange):
    """The user moved an entry, or changed how long it takes."""

    start: Moment
    """When it begins now, as an instant; a date if it takes whole days."""
    end: Moment
    """When it ends now, exclusive."""
    all_day: Flag
    """It takes whole days."""


class EntryEdited(_EntryChange):
    """The user changed an entry in another way than moving it."""

    fields: Annotated[tuple[EditedField, ...], Field(min_length=1, max_length=len(EditedField))]
    """What was changed."""
    subject: Text | None = None
    """The subject now, if it was changed and the account's detail is full."""
    place: Text | None = None
    """The place now, likewise."""
    categories: Annotated[tuple[Text, ...], Field(max_length=CATEGORIES_MAX)] | None = None
    """The categories now, likewise."""
    shown_as: Shown | None = None
    """How the time is shown now, if that was changed."""


class EntryRemoved(_EntryChange):
    """The user deleted an entry, or one occurrence of it."""


class AppointmentUpserted(_Change):
    """An appointment of the user's own, as it now stands; of a series each occurrence is one."""

    series_id: GraphId | None = None
    """The series that it is an occurrence of."""
    start: Moment
    """When it begins, as an instant; a date if it takes whole days."""
    end: Moment
    """When it ends, exclusive."""
    all_day: Flag
    """It takes whole days."""
    shown_as: Shown
    """What others see of the time."""
    private: Flag
    """Private appointments never carry more than their times."""
    detail: Detail
    """How much this event carries."""
    subject: Text | None = None
    """With full detail, and not private."""
    place: Text | None = None
    """With full detail, and not private."""
    categories: Annotated[tuple[Text, ...], Field(max_length=CATEGORIES_MAX)] | None = None
    """With full detail, and not private."""


class AppointmentRemoved(_Change):
    """An appointment of the user's own is gone, or left the time that calbus looks at."""

    series_id: GraphId | None = None
    """The series that it was an occurrence of."""
