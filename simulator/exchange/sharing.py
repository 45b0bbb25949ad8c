"""What a caller sees of a calendar and may change in it, by the role it is shared with. Decisions and masks only.

Source: Microsoft docs "calendarpermission", "outlook-share-or-delegate-calendar"; choices are in the README.
"""

from dataclasses import dataclass, replace
from enum import IntEnum

from simulator.exchange.body import EMPTY
from simulator.exchange.event import NO_EXTENSIONS, Event, without_content

PRIVATE = frozenset({"private", "confidential"})

_TIMES = frozenset(
    {
        "@odata.etag", "id", "changeKey", "createdDateTime", "lastModifiedDateTime", "start", "end", "isAllDay",
        "isCancelled", "originalStart", "originalStartTimeZone", "originalEndTimeZone", "recurrence",
        "seriesMasterId", "sensitivity", "showAs", "type",
    }
)  # fmt: skip
_TITLES = _TIMES | {"subject", "location", "locations"}


class Sight(IntEnum):
    """What is seen of an event. `BASIC` is all but body, attachments, extensions and extended properties."""

    NONE = 0
    FREE_BUSY = 1
    TITLES = 2
    BASIC = 3
    FULL = 4


@dataclass(frozen=True, slots=True)
class Rights:
    """What somebody may do in one calendar, apart for private events."""

    sees: Sight
    sees_private: Sight
    edits: bool = False
    edits_private: bool = False

    def at_most(self, sight: Sight) -> "Rights":
        """The same for somebody who is to see no more than this of any event, and to change none."""
        return Rights(min(self.sees, sight), min(self.sees_private, sight))

    def may_change(self, event: Event) -> bool:
        """True if the event may be changed, by what it is now."""
        return self.edits_private if _is_private(event) else self.edits

    def seen(self, event: Event) -> Event:
        """The event as it is seen; what is not seen is as if it had never been set, for filters too."""
        sight = self.sees_private if _is_private(event) else self.sees
        if sight is Sight.FULL:
            return event
        if sight is Sight.BASIC:
            wire = {name: value for name, value in event.wire.items() if name not in ("body", "bodyPreview")}
        else:
            wire = without_content(event.wire, _TITLES if sight is Sight.TITLES else _TIMES)
        return replace(event, wire=wire, body=EMPTY, properties={}, extensions=NO_EXTENSIONS)


OWNER = Rights(Sight.FULL, Sight.FULL, edits=True, edits_private=True)
# For a role that is not listed Graph does not open the calendar: free and busy times are asked for by getSchedule.
_CLOSED = Rights(Sight.NONE, Sight.NONE)
_RIGHTS = {
    "limitedRead": Rights(Sight.TITLES, Sight.FREE_BUSY),
    "read": Rights(Sight.FULL, Sight.FREE_BUSY),
    "write": Rights(Sight.FULL, Sight.FREE_BUSY, edits=True),
    "delegateWithoutPrivateEventAccess": Rights(Sight.FULL, Sight.FREE_BUSY, edits=True),
    "delegateWithPrivateEventAccess": OWNER,
}


def rights_of(role: str) -> Rights:
    """What a role on a calendar lets a person do."""
    return _RIGHTS.get(role, _CLOSED)


def _is_private(event: Event) -> bool:
    return event.wire["sensitivity"] in PRIVATE
