"""A user's mailbox: calendars, events and the indexes that make every look-up independent of their number.

State only. Every change goes through `create`, `change` and `remove`, which refuse before they touch anything.
"""

import hashlib
import sys
import uuid
from dataclasses import dataclass, field, replace
from datetime import date
from enum import StrEnum
from typing import Any

from simulator.errors import (
    GraphError,
    duplicate_transaction,
    folder_exists,
    invalid_request,
    item_not_found,
    malformed_id,
    stale_change_key,
)
from simulator.exchange import ids
from simulator.exchange import series as occurrences
from simulator.exchange.categories import Categories
from simulator.exchange.event import Composition, Event, compose
from simulator.exchange.journal import Journal
from simulator.exchange.memo import Memo
from simulator.exchange.open_extensions import with_extension
from simulator.exchange.permissions import Shares
from simulator.exchange.series import Deviation, Series
from simulator.exchange.times import timestamp
from simulator.exchange.watch import Watcher, Written
from simulator.limits import Limits

JsonObject = dict[str, Any]

_NOT_OF_OCCURRENCES = frozenset({"recurrence", "singleValueExtendedProperties", "transactionId"})
_ONLINE_MEETING = frozenset({"isOnlineMeeting", "onlineMeetingProvider"})
_NEVER = "0001-01-01T00:00:00Z"
_STAMP = ("@odata.etag", "changeKey", "lastModifiedDateTime")


class MailboxKind(StrEnum):
    """What stands behind a user principal name."""

    OK = "ok"
    UNLICENSED = "unlicensed"
    ON_PREMISES = "on_premises"
    SOFT_DELETED = "soft_deleted"
    MISSING = "missing"
    BLOCKED_BY_POLICY = "blocked_by_policy"


@dataclass(slots=True)
class Calendar:
    """One calendar folder. `online_meetings` says whether Teams may be asked for."""

    id: str
    name: str
    color: str
    change_key: str
    is_default: bool
    shares: Shares
    online_meetings: bool = True


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transactionId that was used: by which event, with which body."""

    event_id: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Created:
    """The result of a create. `is_new` is False when the transactionId showed it to be a repetition."""

    event: Event
    is_new: bool


def fingerprint(canonical_json: bytes) -> bytes:
    """Tells whether two request bodies are identical."""
    return hashlib.blake2b(canonical_json, digest_size=16).digest()


def _boundless(limits: Limits) -> Limits:
    return replace(limits, subject_max_chars=None, attendees_max=sys.maxsize)


def _moves_series(event: Event, composed: Composition) -> bool:
    """True if a change of the master gives its occurrences other times; what deviated from them is then lost."""
    return (event.start, event.end) != (composed.start, composed.end) or any(
        event.wire[name] != composed.wire[name] for name in ("recurrence", "isAllDay")
    )


@dataclass(slots=True, eq=False)
class Mailbox:
    """The calendars and events of one user. Events are listed in the order they were created."""

    guid: str
    organizer: JsonObject
    ids: ids.IdMaker
    calendars: dict[str, Calendar] = field(default_factory=dict)
    events: dict[str, Event] = field(default_factory=dict)
    created_count: int = 0
    deleted_count: int = 0
    journal: Journal = field(default_factory=Journal)
    memo: Memo = field(default_factory=Memo)
    watchers: list[Watcher] = field(default_factory=list)
    categories: Categories = field(default_factory=Categories)
    settings: JsonObject = field(default_factory=dict)
    _by_immutable_id: dict[str, Event] = field(default_factory=dict)
    _by_ical_uid: dict[str, Event] = field(default_factory=dict)
    _by_property: dict[str, dict[str, dict[Event, None]]] = field(default_factory=dict)
    _transactions: dict[str, Transaction] = field(default_factory=dict)

    @classmethod
    def open(cls, guid: str, display_name: str, address: str) -> "Mailbox":
        """A new mailbox with its default calendar."""
        organizer = {"emailAddress": {"name": display_name, "address": address}}
        mailbox = cls(guid, organizer, ids.IdMaker(guid))
        mailbox.categories = Categories.of_new_mailbox(guid)
        mailbox._add_calendar("Calendar", "auto", is_default=True)
        return mailbox

    @property
    def default_calendar(self) -> Calendar:
        """The primary calendar; it is always there."""
        return next(iter(self.calendars.values()))

    def _add_calendar(self, name: str, color: str, *, is_default: bool) -> Calendar:
        shares = Shares(primary=is_default)
        calendar = Calendar(self.ids.calendar_id(), name, color, self.ids.change_key(), is_default, shares)
        self.calendars[calendar.id] = calendar
        return calendar

    def create_calendar(self, name: str, color: str) -> Calendar:
        """A further calendar. Raises ErrorFolderExists (409)."""
        if any(known.name.casefold() == name.casefold() for known in self.calendars.values()):
            raise folder_exists()
        return self._add_calendar(name, color, is_default=False)

    def change_calendar(self, calendar: Calendar, name: str, color: str) -> None:
        """Another name or colour. Raises ErrorFolderExists (409)."""
        if any(known is not calendar and known.name.casefold() == name.casefold() for known in self.calendars.values()):
            raise folder_exists()
        calendar.name, calendar.color, calendar.change_key = name, color, self.ids.change_key()

    def remove_calendar(self, calendar: Calendar, limits: Limits, now: float) -> None:
        """Deletes the calendar with its events. Raises ErrorDeleteDistinguishedFolder (400) for the default one."""
        if calendar.is_default:
            raise GraphError(400, "ErrorDeleteDistinguishedFolder", "Distinguished folders cannot be deleted.")
        for event in [event for event in self.events.values() if event.calendar_id == calendar.id]:
            self.remove(event, limits, now)
        del self.calendars[calendar.id]

    @property
    def calendar_group_id(self) -> str:
        """The id of the one group that holds all calendars, always the same."""
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.guid}/calendars"))

    def calendar(self, calendar_id: str) -> Calendar:
        """Raises ErrorInvalidIdMalformed (400) or ErrorItemNotFound (404)."""
        if found := self.calendars.get(calendar_id):
            return found
        raise item_not_found() if ids.is_well_formed(calendar_id) else malformed_id()

    def event(self, event_id: str) -> Event:
        """By either id, an occurrence too. Raises ErrorInvalidIdMalformed (400) or ErrorItemNotFound (404)."""
        if found := self.events.get(event_id) or self._by_immutable_id.get(event_id):
            return found
        if (parts := ids.split_occurrence_id(event_id)) is not None:
            master_id, day = parts
            master = self.events.get(master_id) or self._by_immutable_id.get(master_id)
            if master is not None and occurrences.occurs(master, day):
                return occurrences.occurrence(master, day)
        raise item_not_found() if ids.is_well_formed(event_id) else malformed_id()

    def with_ical_uid(self, uid: str) -> list[Event]:
        """The event with this iCalendar uid, if there is one."""
        found = self._by_ical_uid.get(uid)
        return [found] if found else []

    def with_property(self, property_id: str, value: str) -> list[Event]:
        """Events whose extended property has this value, in any case."""
        return list(self._by_property.get(property_id, {}).get(value.casefold(), ()))

    def create(
        self,
        calendar: Calendar,
        changes: JsonObject,
        body_fingerprint: bytes,
        limits: Limits,
        now: float,
        *,
        invitation: JsonObject | None = None,
    ) -> Created:
        """A new event, or the one that the same transactionId made of an identical body in the same calendar.

        An `invitation` is what differs from the user's own events; those who watch see nothing without it.

        Raises GraphError (400), among them ErrorDuplicateTransactionId.
        """
        transaction_id = changes.get("transactionId")
        if transaction_id is not None and (used := self._transactions.get(transaction_id)):
            standing = self.events.get(used.event_id)
            elsewhere = standing is not None and standing.calendar_id != calendar.id
            if standing is None or elsewhere or used.fingerprint != body_fingerprint:
                raise duplicate_transaction(used.event_id)
            return Created(standing, is_new=False)
        composed = self._compose(changes, None, calendar, limits)
        event_id, immutable_id = self.ids.event_ids()
        wire = composed.wire
        wire["id"] = event_id
        wire["iCalUId"] = ids.ical_uid()
        wire["webLink"] = ids.web_link(event_id)
        wire["organizer"] = self.organizer
        wire.update(invitation or {})
        if transaction_id is not None:
            wire["transactionId"] = transaction_id
            self._transactions[transaction_id] = Transaction(event_id, body_fingerprint)
        self._stamp(wire, now)
        wire["createdDateTime"] = wire["lastModifiedDateTime"]
        event = Event(
            event_id, immutable_id, calendar.id, wire, composed.start, composed.end, composed.body, {}, transaction_id
        )
        if "extensions" in changes:
            event.extensions = changes["extensions"]
        event.changed_seq = self.journal.next_seq()
        self.events[event_id] = event
        self._by_immutable_id[immutable_id] = event
        self._by_ical_uid[wire["iCalUId"]] = event
        self._set_properties(event, changes.get("singleValueExtendedProperties", {}))
        self.created_count += 1
        self._tell("created", event)
        return Created(event, is_new=True)

    def receive(self, organizer: JsonObject, changes: JsonObject, limits: Limits, now: float) -> Event:
        """A new event that somebody else organises and that is not answered yet. Raises GraphError (400)."""
        invitation = {
            "organizer": {"emailAddress": organizer},
            "isOrganizer": False,
            "responseStatus": {"response": "notResponded", "time": _NEVER},
            "showAs": changes.get("showAs", "tentative"),
        }
        return self.create(self.default_calendar, changes, b"", limits, now, invitation=invitation).event

    def admit(self, changes: JsonObject, invitation: JsonObject, limits: Limits, now: float) -> Event:
        """A copy of a meeting that its organiser's mailbox took already: nothing about it is refused."""
        limits = _boundless(limits)
        return self.create(self.default_calendar, changes, b"", limits, now, invitation=invitation).event

    def overwrite(self, event: Event, changes: JsonObject, limits: Limits, now: float) -> None:
        """Applies what another mailbox took already, or what only the service writes: nothing about it is refused.

        An occurrence that was removed comes back.
        """
        self._apply(event, changes, _boundless(limits), now, anywhere=True)

    def change(self, event: Event, changes: JsonObject, limits: Limits, now: float) -> None:
        """Applies the changes; the change key is a new one even if nothing differs. Raises GraphError (400)."""
        if "transactionId" in changes and changes["transactionId"] != event.transaction_id:
            raise GraphError(400, "ErrorInvalidPropertySet", "The transactionId of an event cannot be changed.")
        if "extensions" in changes:
            raise invalid_request("The extensions of an event are changed one by one, at their own addresses.")
        self._apply(event, changes, limits, now, anywhere=False)

    def _apply(self, event: Event, changes: JsonObject, limits: Limits, now: float, *, anywhere: bool) -> None:
        if event.master is not None and event.day is not None:
            self._change_occurrence(event, event.master, event.day, changes, limits, now, anywhere=anywhere)
            return
        composed = self._compose(changes, event, self.calendars[event.calendar_id], limits)
        if event.wire["recurrence"] is not None and _moves_series(event, composed):
            self.journal.series_moved(event, limits.delta_removals_max)
            event.series = None
        self._stamp(composed.wire, now)
        event.wire, event.start, event.end = composed.wire, composed.start, composed.end
        event.body = composed.body
        event.writes += 1
        event.changed_seq = self.journal.next_seq()
        self._set_properties(event, changes.get("singleValueExtendedProperties", {}))
        self._tell("updated", event)

    def _change_occurrence(
        self,
        event: Event,
        master: Event,
        day: date,
        changes: JsonObject,
        limits: Limits,
        now: float,
        *,
        anywhere: bool,
    ) -> None:
        if changes.get("recurrence") is not None:
            raise invalid_request("Your request can't be completed. An occurrence cannot have a recurrence.")
        series = master.series or Series()
        known = series.exceptions.get(day)
        given = {name: value for name, value in changes.items() if name not in _NOT_OF_OCCURRENCES}
        merged = {**known.changes, **given} if known else given
        regular = occurrences.regular(master, day)
        composed = self._compose(merged, regular, self.calendars[master.calendar_id], limits)
        if not anywhere and not changes.keys().isdisjoint(("start", "end")):
            occurrences.check_neighbours(master, day, composed.start, composed.end)
        if not composed.wire["isOnlineMeeting"]:
            merged = {name: value for name, value in merged.items() if name not in _ONLINE_MEETING}
        master.wire = master.wire.copy()
        self._stamp(master.wire, now)
        stamp = {name: master.wire[name] for name in _STAMP}
        properties = {**(known.properties if known else {}), **changes.get("singleValueExtendedProperties", {})}
        writes = known.writes + 1 if known else 1
        extensions = known.extensions if known else {}
        series.exceptions[day] = Deviation(merged, stamp, properties, self.journal.next_seq(), writes, extensions)
        series.cancelled.discard(day)
        master.series = series
        occurrences.settle_exception(event, composed, series.exceptions[day])
        self._tell("updated", master)

    def keep_extension(self, event: Event, name: str, values: JsonObject | None, limits: Limits, now: float) -> None:
        """Gives the event an open extension, or (None) takes it away. An occurrence becomes an exception by it.

        Extensions are not tracked: that the occurrence becomes an exception is a write, the rest leaves no trace.
        """
        if event.master is None or event.day is None:
            event.extensions = with_extension(event.extensions, name, values)
            return
        series = event.master.series
        if series is None or event.day not in series.exceptions:
            self.change(event, {}, limits, now)
            series = event.master.series or Series()
        deviation = series.exceptions[event.day]
        deviation.extensions = {**deviation.extensions, name: values}
        event.extensions = with_extension(event.extensions, name, values)

    def remove(self, event: Event, limits: Limits, now: float) -> None:
        """Deletes the event for good; the deletion of an occurrence cancels it, and its series goes on."""
        if event.master is not None and event.day is not None:
            self._cancel_occurrence(event, event.master, event.day, limits, now)
            return
        self.journal.removed(event, limits.delta_removals_max)
        del self.events[event.id]
        del self._by_immutable_id[event.immutable_id]
        del self._by_ical_uid[event.wire["iCalUId"]]
        for property_id, value in event.properties.items():
            self._unlist(event, property_id, value)
        if event.transaction_id is not None and not limits.transaction_ids_outlive_events:
            del self._transactions[event.transaction_id]
        self.deleted_count += 1
        self._tell("deleted", event)

    def move(self, event: Event, calendar: Calendar, limits: Limits, now: float) -> None:
        """The user drags the event, or the series, to another calendar: it keeps its ids, and leaves the first."""
        self.journal.removed(event, limits.delta_removals_max)
        event.calendar_id = calendar.id
        event.wire = event.wire.copy()
        self._stamp(event.wire, now)
        event.changed_seq = self.journal.next_seq()
        self._tell("updated", event)

    def _cancel_occurrence(self, event: Event, master: Event, day: date, limits: Limits, now: float) -> None:
        series = master.series = master.series or Series()
        series.exceptions.pop(day, None)
        series.cancelled.add(day)
        self.journal.removed(event, limits.delta_removals_max)
        master.wire = master.wire.copy()
        self._stamp(master.wire, now)
        self._tell("updated", master)

    def _tell(self, change_type: str, event: Event) -> None:
        written = Written(change_type, event.id, event.immutable_id, event.etag)
        for watcher in tuple(self.watchers):
            watcher(written)

    @staticmethod
    def check_etag(event: Event, if_match: str | None) -> None:
        """Refuses (412) a change meant for another version of the event; `*` and nothing match any."""
        if if_match is None or if_match.strip() == "*":
            return
        if if_match.strip().removeprefix("W/") != event.etag.removeprefix("W/"):
            raise stale_change_key()

    def _compose(self, changes: JsonObject, previous: Event | None, calendar: Calendar, limits: Limits) -> Composition:
        return compose(
            changes,
            previous,
            subject_max_chars=limits.subject_max_chars,
            attendees_max=limits.attendees_max,
            online_meetings=calendar.online_meetings,
        )

    def _stamp(self, wire: JsonObject, now: float) -> None:
        change_key = self.ids.change_key()
        wire["changeKey"] = change_key
        wire["@odata.etag"] = f'W/"{change_key}"'
        wire["lastModifiedDateTime"] = timestamp(now)

    def _set_properties(self, event: Event, values: dict[str, str]) -> None:
        for property_id, value in values.items():
            if (old := event.properties.get(property_id)) is not None:
                self._unlist(event, property_id, old)
            event.properties[property_id] = value
            self._by_property.setdefault(property_id, {}).setdefault(value.casefold(), {})[event] = None

    def _unlist(self, event: Event, property_id: str, value: str) -> None:
        values = self._by_property[property_id]
        holders = values[value.casefold()]
        del holders[event]
        if not holders:
            del values[value.casefold()]
