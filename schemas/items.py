"""What upstream systems publish: actions and contacts, as they now stand or as gone.

A message always carries the whole item; the newest revision wins, in whatever order messages arrive.
"""

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Self

from pydantic import Field, StringConstraints, model_validator

from schemas.fields import (
    ASSIGNEES_MAX,
    DURATION_MAX_MINUTES,
    REMINDER_MAX_MINUTES,
    Identifier,
    Link,
    LongText,
    Model,
    Moment,
    Revision,
    ShortText,
    TimeZone,
    Title,
)


class Kind(StrEnum):
    """What an item is: planned, outstanding or done work, or a meeting with a client."""

    ACTION = "action"
    CONTACT = "contact"


class Status(StrEnum):
    OPEN = "open"
    ACTIVE = "active"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


class ContactKind(StrEnum):
    MEETING = "meeting"
    CALL = "call"
    VISIT = "visit"
    OTHER = "other"


class Client(Model):
    """The person or organisation that a contact is with."""

    id: Identifier | None = None
    """The client's id in the source system."""
    name: Annotated[ShortText, Field(min_length=1)]
    """As it should be read in the calendar."""


class _Item(Model):
    """What actions and contacts have in common."""

    kind: ClassVar[Kind]

    tenant: Identifier
    """The customer that the item belongs to. Nothing ever crosses from one tenant to another."""
    source: Identifier
    """The business system that owns the item."""
    id: Identifier
    """The item's id, unique within tenant, source and kind."""
    revision: Revision
    """Rises with every change of the item. A message with a revision already seen, or an older one, changes nothing."""


class _ItemDeleted(_Item):
    """The item is gone: its entries leave the calendars. A later revision brings it back."""


class _ItemUpserted(_Item):
    title: Title
    """What the entry is called."""
    description: LongText = ""
    """Plain text, shown in the entry's body."""
    link: Link | None = None
    """Leads back to the item in the source system."""
    start: Moment | None = None
    """When it begins. Without an offset: wall-clock time in `time_zone`. With one: that instant. For an all-day item: a date. An item without a start is kept, and stands in no calendar."""
    end: Moment | None = None
    """When it ends, exclusive, as in iCalendar. An all-day item of one day ends on the next date, or has no end."""
    duration: timedelta | None = Field(default=None, json_schema_extra={"format": "duration"})
    """Instead of `end`: the time it takes, ISO 8601 (PT45M). Without both, the default of the project or tenant."""
    all_day: bool = False
    """Takes whole days; times of day are ignored."""
    time_zone: TimeZone | None = None
    """IANA name. The tenant's zone if left out."""
    status: Status = Status.OPEN
    project: Identifier | None = None
    """The project (environment) that groups the item; it must be enabled. An item without one has only the tenant's switch."""
    owner: Identifier | None = None
    """The user who made or assigned the item."""
    assignees: tuple[Identifier, ...] = Field(default=(), max_length=ASSIGNEES_MAX)
    """The users who carry it out: it appears in the calendar of each who has an account."""
    place: ShortText = ""
    priority: Priority = Priority.NORMAL
    reminder_minutes: Annotated[int, Field(ge=0, le=REMINDER_MAX_MINUTES)] | None = None
    """Minutes before the start at which Outlook reminds; no reminder if left out."""
    private: bool = False
    """Others who can see the calendar see only that the time is taken."""
    recurrence: Annotated[str, StringConstraints(max_length=2_000)] | None = None
    """An RFC 5545 recurrence: RRULE, and EXDATE lines if any."""

    @model_validator(mode="after")
    def _times_make_sense(self) -> Self:
        if self.start is None:
            return self
        if self.end is not None and self.duration is not None:
            raise ValueError("give `end` or `duration`, not both")
        if self.duration is not None and not (
            timedelta(0) <= self.duration <= timedelta(minutes=DURATION_MAX_MINUTES)
        ):
            raise ValueError("`duration` must lie between zero and 366 days")
        if not self.all_day and not isinstance(self.start, datetime):
            raise ValueError("`start` is a date without a time: set `all_day`, or give a time")
        if self.end is not None:
            _check_end(self.start, self.end, all_day=self.all_day)
        return self

    @model_validator(mode="after")
    def _assignees_once(self) -> Self:
        if len(set(self.assignees)) != len(self.assignees):
            raise ValueError("`assignees` names a user twice")
        return self


def _check_end(start: date | datetime, end: date | datetime, *, all_day: bool) -> None:
    if all_day:
        start_day, end_day = _day(start), _day(end)
        if end_day < start_day:
            raise ValueError("`end` lies before `start`")
        if (end_day - start_day).days * 24 * 60 > DURATION_MAX_MINUTES:
            raise ValueError("the item is longer than 366 days")
        return
    if not isinstance(start, datetime) or not isinstance(end, datetime):
        raise ValueError("`end` is a date without a time: set `all_day`, or give a time")
    if (start.tzinfo is None) != (end.tzinfo is None):
        raise ValueError("`start` and `end` must both have an offset, or neither")
    if end < start:
        raise ValueError("`end` lies before `start`")
    if end - start > timedelta(minutes=DURATION_MAX_MINUTES):
        raise ValueError("the item is longer than 366 days")


def _day(moment: date | datetime) -> date:
    return moment.date() if isinstance(moment, datetime) else moment


class ActionUpserted(_ItemUpserted):
    """An action as it now stands: planned, outstanding or done work."""

    kind: ClassVar[Kind] = Kind.ACTION


class ContactUpserted(_ItemUpserted):
    """A contact as it now stands: a meeting, call or visit with a client."""

    kind: ClassVar[Kind] = Kind.CONTACT

    contact_kind: ContactKind = ContactKind.MEETING
    client: Client | None = None
    """Whom the contact is with."""


class ActionDeleted(_ItemDeleted):
    """An action is gone."""

    kind: ClassVar[Kind] = Kind.ACTION


class ContactDeleted(_ItemDeleted):
    """A contact is gone."""

    kind: ClassVar[Kind] = Kind.CONTACT


ItemUpserted = ActionUpserted | ContactUpserted
ItemDeleted = ActionDeleted | ContactDeleted
ItemEvent = ItemUpserted | ItemDeleted
