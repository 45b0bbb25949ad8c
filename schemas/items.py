"""What upstream systems publish: actions and contacts, as they now stand or as gone.

A message always carries the whole item; the newest revision wins, in whatever order messages arrive.
"""

from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

import orjson
from pydantic import AwareDatetime, Field, TypeAdapter, model_validator

from schemas.fields import (
    ASSIGNEES_MAX,
    DURATION_MAX_MINUTES,
    OCCURRENCES_MAX,
    REMINDER_MAX_MINUTES,
    Duration,
    Flag,
    Identifier,
    Link,
    LongText,
    Model,
    Moment,
    Name,
    Recurrence,
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


_DURATION = TypeAdapter(Duration)


def _part_to_json(part: Any) -> Any:
    """What orjson does not know: parts that are models, and durations."""
    return _DURATION.dump_python(part, mode="json") if isinstance(part, timedelta) else part.__dict__


class Client(Model):
    """The person or organisation that a contact is with."""

    id: Identifier | None = None
    """The client's id in the source system."""
    name: Name
    """As it should be read in the calendar."""


class Occurrence(Model):
    """One occurrence of a recurring item that is not as the rule says: cancelled, or at another time."""

    original_start: Moment
    """When the rule has it begin, written as the item's `start` is."""
    cancelled: Flag = False
    """It does not take place. Otherwise it has a `start`."""
    start: Moment | None = None
    """When it begins instead."""
    end: Moment | None = None
    """When it ends instead, exclusive. Without `end` and `duration` it is as long as the others."""
    duration: Duration | None = None
    """Instead of `end`: the time it takes."""

    @model_validator(mode="after")
    def _cancelled_or_moved(self) -> Self:
        if self.cancelled == (self.start is not None):
            raise ValueError("an occurrence is either `cancelled` or has a `start`")
        if self.end is not None and self.duration is not None:
            raise ValueError("give `end` or `duration`, not both")
        if self.start is None and (self.end is not None or self.duration is not None):
            raise ValueError("a cancelled occurrence takes no time")
        return self


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
    """Rises with every change of the item. A message with a revision already seen, or an older one, changes
    nothing."""

    def to_json(self) -> bytes:
        """What `model_dump_json` says, byte for byte, in a sixth of the time: this is done for every message."""
        fields = self.__dict__
        if (made_at := fields.get("created_at")) is not None:
            fields = {**fields, "created_at": made_at.isoformat().replace("+00:00", "Z")}
        return orjson.dumps(fields, default=_part_to_json)


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
    """When it begins. Without an offset: wall-clock time in `time_zone`. With one: that instant. For an
    all-day item: a date. An item without a start is kept, and stands in no calendar."""
    end: Moment | None = None
    """When it ends, exclusive, as in iCalendar. An all-day item of one day ends on the next date, or has no
    end."""
    duration: Duration | None = None
    """Instead of `end`: the time it takes, ISO 8601 in weeks, days, hours, minutes and seconds (PT45M), at
    most 366 days. Without both, the default of the project or tenant."""
    all_day: Flag = False
    """Takes whole days; times of day are ignored."""
    time_zone: TimeZone | None = None
    """IANA name. The tenant's zone if left out."""
    status: Status = Status.OPEN
    """How far it is. Shown in the entry's title; completed and cancelled items leave the time free."""
    project: Identifier | None = None
    """The project (environment) that groups the item; it must be enabled. An item without one has only the
    tenant's switch."""
    owner: Identifier | None = None
    """The user who made or assigned the item."""
    assignees: tuple[Identifier, ...] = Field(
        default=(), max_length=ASSIGNEES_MAX, json_schema_extra={"uniqueItems": True}
    )
    """The users who carry it out, each once: it appears in the calendar of each who has an account."""
    place: ShortText = ""
    """Where it happens."""
    priority: Priority = Priority.NORMAL
    """Becomes the importance of the entry."""
    reminder_minutes: Annotated[int, Field(strict=True, ge=0, le=REMINDER_MAX_MINUTES)] | None = None
    """Minutes before the start at which Outlook reminds; no reminder if left out."""
    private: Flag = False
    """Others who can see the calendar see only that the time is taken."""
    recurrence: Recurrence | None = None
    """An RFC 5545 recurrence: RRULE, and EXDATE lines if any."""
    occurrences: Annotated[tuple[Occurrence, ...], Field(max_length=OCCURRENCES_MAX)] = ()
    """Of a recurring item: the occurrences that are cancelled or moved."""
    created_at: AwareDatetime | None = None
    """When the item was made in the source system. Items from before an account's activation are not written
    unless the tenant asks for it; left out, the item is as old as its first message."""

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        # One validator for all of it: pydantic goes out of its way for each.
        if self.start is not None:
            _check_times(self.start, self.end, self.duration, all_day=self.all_day)
        if self.occurrences:
            self._check_occurrences()
        if len(self.assignees) > 1 and len(set(self.assignees)) != len(self.assignees):
            raise ValueError("`assignees` names a user twice")
        return self

    def _check_occurrences(self) -> None:
        if self.recurrence is None:
            raise ValueError("`occurrences` needs a `recurrence`")
        if len({occurrence.original_start for occurrence in self.occurrences}) != len(self.occurrences):
            raise ValueError("`occurrences` names one twice")


_LONGEST = timedelta(minutes=DURATION_MAX_MINUTES)


def _check_times(
    start: date | datetime, end: date | datetime | None, duration: timedelta | None, *, all_day: bool
) -> None:
    if end is None:
        end = start
    elif duration is not None:
        raise ValueError("give `end` or `duration`, not both")
    if all_day:
        start, end = _day(start), _day(end)
    elif not (isinstance(start, datetime) and isinstance(end, datetime)):
        raise ValueError("`start` or `end` is a date without a time: set `all_day`, or give a time")
    elif (start.tzinfo is None) != (end.tzinfo is None):
        raise ValueError("`start` and `end` must both have an offset, or neither")
    if end < start:
        raise ValueError("`end` lies before `start`")
    if end - start > _LONGEST:
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
    """How the client is met."""
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
