"""The entry: one item in one assignee's calendar, as planned by ingest and applied by a writer.

Values and pure functions over them; both services and the store speak in these.
"""

from dataclasses import asdict, fields
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2b, sha1
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import orjson
from asyncpg.pgproto.pgproto import UUID as QuickUUID  # noqa: N811 (a UUID, made without Python's own work)

from calbus.recurrence import Recurrence, StandingSeries
from calbus.values import value
from schemas.items import Kind
from schemas.reasons import Reason

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

_NAMESPACE = sha1(UUID("6f1c0b52-6a0b-5e0e-9c53-0c1e6f1b7a57").bytes, usedforsecurity=False)


class Intent(StrEnum):
    """What should stand in the calendar."""

    PRESENT = "present"
    ABSENT = "absent"
    HOLD = "hold"
    """Whatever stands there stays as it is: nothing is written, nothing is removed."""


class ShowAs(StrEnum):
    FREE = "free"
    BUSY = "busy"


_SHOW_AS = {one.value: one for one in ShowAs}


class ItemKey(NamedTuple):
    """Names an item across all tenants. A tuple, since it is hashed and compared more often than all else."""

    tenant: str
    source: str
    kind: Kind
    id: str


@value
class Content:
    """What an entry says, in no calendar system's words.

    `start` and `end` are wall-clock times in `time_zone` (IANA); `end` is exclusive and after `start`. All-day
    entries run from midnight to midnight.
    """

    subject: str
    body: str
    start: datetime
    end: datetime
    time_zone: str
    all_day: bool
    show_as: ShowAs
    importance: str
    private: bool
    category: str
    reminder_minutes: int | None
    place: str
    color: str = "none"
    """The category's colour as Outlook names it: preset0 to preset24, or none."""
    recurrence: Recurrence | None = None
    """How it recurs, from the day of `start` on; the occurrences keep its wall-clock times."""

    def to_json(self) -> bytes:
        """The stored form: keys in a fixed order, so that equal contents have equal bytes."""
        # Written out, and sorted as they stand here: this runs for every entry of every re-plan.
        stored = {
            "all_day": self.all_day,
            "body": self.body,
            "category": self.category,
            "color": self.color,
            "end": self.end,
            "importance": self.importance,
            "place": self.place,
            "private": self.private,
            "recurrence": None,
            "reminder_minutes": self.reminder_minutes,
            "show_as": self.show_as,
            "start": self.start,
            "subject": self.subject,
            "time_zone": self.time_zone,
        }
        if self.recurrence is None:
            return orjson.dumps(stored)
        stored["recurrence"] = asdict(self.recurrence)
        return orjson.dumps(stored, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, stored: str | bytes) -> "Content":
        """The inverse of `to_json`. Raises TypeError if it says more than is known here, as a later version might."""
        said: dict[str, Any] = orjson.loads(stored)
        recurrence = said.get("recurrence")
        if not said.keys() <= _CONTENT:
            raise TypeError(f"unknown in a content: {', '.join(sorted(said.keys() - _CONTENT))}")
        # In order and by position: this runs for whatever is written, and names cost more than the values.
        return cls(
            said["subject"],
            said["body"],
            datetime.fromisoformat(said["start"]),
            datetime.fromisoformat(said["end"]),
            said["time_zone"],
            said["all_day"],
            _SHOW_AS[said["show_as"]],
            said["importance"],
            said["private"],
            said["category"],
            said["reminder_minutes"],
            said["place"],
            said.get("color", "none"),
            None if recurrence is None else Recurrence.from_json(recurrence),
        )


_CONTENT = frozenset(one.name for one in fields(Content))


@lru_cache(maxsize=2_048)
def content_of(stored: bytes) -> Content:
    """What a stored form says. Whoever works on an entry asks several times, and more often than it has contents."""
    return Content.from_json(stored)


def frame_of(content: Content) -> str:
    """Tells whether two series have the same occurrences, before exceptions."""
    assert content.recurrence is not None
    times = (content.start, content.end, content.time_zone, content.all_day)
    pattern = asdict(content.recurrence.pattern), asdict(content.recurrence.range)
    return blake2b(orjson.dumps([*times, *pattern]), digest_size=16).hexdigest()


@value
class Place:
    """A calendar of a mailbox in a Microsoft Entra directory; without a name the mailbox's default calendar."""

    directory: str
    mailbox: str
    calendar: str | None = None

    @property
    def lane(self) -> str:
        """Names the mailbox in message keys and logs without giving the address away; the case does not matter."""
        return _lane(self.directory, self.mailbox)

    def is_same(self, other: "Place | None") -> bool:
        """Whether both are one calendar, however their names are written."""
        if other is None:
            return False
        if self is other or self == other:
            return True
        return self.lane == other.lane and _folded(self.calendar) == _folded(other.calendar)


@lru_cache(maxsize=20_000)
def _lane(directory: str, mailbox: str) -> str:
    address = f"{directory}\0{mailbox}".lower()
    return blake2b(address.encode(), digest_size=12).hexdigest()


def _folded(calendar: str | None) -> str | None:
    return calendar.casefold() if calendar is not None else None


@value
class Desired:
    """What ingest last planned for the entry."""

    revision: int
    plan: int
    intent: Intent
    reason: Reason
    place: Place | None
    content: bytes | None
    content_hash: bytes | None
    assigner: str | None = None
    """The mailbox whose owner must be allowed to edit the calendar at `place`; None if nobody has to be asked."""
    notice: str = ""
    """What else upstream should hear of this plan."""

    @property
    def grant(self) -> str | None:
        """Names what must be granted before this is written; None if nothing must."""
        if self.assigner is None or self.place is None:
            return None
        return f"{self.assigner}>{self.place.mailbox}/{self.place.calendar or ''}".casefold()


@value
class Applied:
    """What a writer last knew to stand in the calendar."""

    plan: int = 0
    place: Place | None = None
    content_hash: bytes | None = None
    event_id: str | None = None
    etag: str | None = None
    generation: int = 0
    in_doubt: bool = False
    grant: str | None = None
    """The last grant that was found to be given."""
    master_hash: bytes | None = None
    """Of a series whose exceptions are still due: the content whose master stands."""
    series: StandingSeries | None = None
    """Of a series with exceptions; None of everything else."""
    left_behind: str | None = None
    """The lane of a mailbox that was left with our event in it, since nobody lets us in; until that is told."""

    @property
    def may_exist(self) -> bool:
        """Whether an event stands, or may stand, in the calendar at `place`."""
        return self.event_id is not None or self.in_doubt


@value
class Entry:
    """Desired and applied, side by side."""

    entry_id: UUID
    item: ItemKey
    assignee: str
    desired: Desired
    applied: Applied
    owed: bool
    since: datetime | None = None
    """When the item came to this assignee, as its publishers tell."""
    parked: bool = False
    """The entry is to go, and must not go yet: so many would that somebody has to look first."""

    @property
    def target(self) -> Place | None:
        """The mailbox in which the next step happens; None if the entry never had one."""
        applied = self.applied
        # As `target_of`, in full: a writer asks this of an entry again and again.
        if applied.event_id is not None or applied.in_doubt:
            return applied.place
        return self.desired.place or applied.place

    def with_applied(self, applied: Applied) -> "Entry":
        """The same entry, with this applied."""
        # Said in full: `dataclasses.replace` takes several times as long, and every answer of Graph comes through here.
        return Entry(self.entry_id, self.item, self.assignee, self.desired, applied, self.owed, self.since, self.parked)


def target_of(desired: Place | None, applied: Place | None, *, may_exist: bool) -> Place | None:
    """Where the event is, before where it should be; where it was, if it should be nowhere.

    The last matters when a writer dies between removing an event and noticing that a newer plan wants it removed too:
    somebody must be woken to say so.
    """
    return applied if may_exist else desired or applied


def entry_id_of(item: ItemKey, assignee: str) -> UUID:
    """The entry's id: the same for all revisions of the item, different for every tenant."""
    # No part can contain a slash (schemas.fields.Identifier), so that two different entries never collide.
    return _uuid5(_NAMESPACE, f"{item.tenant}/{item.source}/{item.kind}/{item.id}/{assignee}".encode())


def transaction_id_of(entry_id: UUID, generation: int) -> UUID:
    """The id under which Graph recognises a repeated create; another one after the event is gone."""
    return _uuid5(sha1(entry_id.bytes, usedforsecurity=False), b"%d" % generation)


def _uuid5(namespace: "Hash", name: bytes) -> UUID:
    """What `uuid.uuid5` says, in a fifth of the time; `namespace` was taken in already, which is half of the work."""
    hashed = namespace.copy()
    hashed.update(name)
    digest = bytearray(hashed.digest())
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    return QuickUUID(bytes(digest[:16]))


def content_hash_of(content: bytes) -> bytes:
    """Tells whether two contents are the same."""
    return blake2b(content, digest_size=16).digest()
