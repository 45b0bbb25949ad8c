"""What a person does to an event on the page, as the changes a mailbox takes. Bad input raises pydantic's error.

Source of what Outlook sets: an event made by hand is busy and has a reminder 15 minutes before.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from simulator.exchange.event import Event
from simulator.exchange.event_input import read_changes

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Edit:
    """The fields that were touched; times are wall-clock times in the mailbox's zone.

    An all-day event ends at the midnight after its last day. With an `etag`, only that version is changed.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    subject: str | None = None
    start: datetime | None = None
    end: datetime | None = None
    all_day: bool | None = None
    show_as: Literal["free", "tentative", "busy", "oof", "workingElsewhere", "unknown"] | None = None
    private: bool | None = None
    categories: Annotated[tuple[str, ...], Field(max_length=25)] | None = None
    etag: str | None = None


def changes_of(edit: Edit, event: Event | None, time_zone: str) -> JsonObject:
    """The changes as a mailbox takes them; `event` is what they are for, None for a new one. Raises ValueError."""
    given: JsonObject = {}
    for name, value in (("subject", edit.subject), ("showAs", edit.show_as), ("isAllDay", edit.all_day)):
        if value is not None:
            given[name] = value
    for name, moment in (("start", edit.start), ("end", edit.end)):
        if moment is not None:
            given[name] = {"dateTime": _wall_clock(moment), "timeZone": time_zone}
    if edit.categories is not None:
        given["categories"] = list(edit.categories)
    if edit.private is not None and (event is None or edit.private is not (event.wire["sensitivity"] != "normal")):
        given["sensitivity"] = "private" if edit.private else "normal"
    return read_changes(given)


def _wall_clock(moment: datetime) -> str:
    if moment.tzinfo is not None:
        raise ValueError("The times of the page have no offset.")
    try:
        moment + timedelta(days=2), moment - timedelta(days=2)
    except OverflowError:
        raise ValueError("There is no such time.") from None
    return moment.isoformat(timespec="seconds")
