"""A user's mailbox: calendars, events and the indexes that make every look-up independent of their number.

State only. Every change goes through `create`, `change` and `remove`, which refuse before they touch anything.
"""

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from simulator.errors import (
    GraphError,
    duplicate_transaction,
    folder_exists,
    item_not_found,
    malformed_id,
    stale_change_key,
)
from simulator.exchange import ids
from simulator.exchange.event import Composition, Event, compose, web_link
from simulator.exchange.times import timestamp
from simulator.limits import Limits

JsonObject = dict[str, Any]


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
    _by_immutable_id: dict[str, Event] = field(default_factory=dict)
    _by_ical_uid: dict[str, Event] = field(default_factory=dict)
    _by_property: dict[str, dict[str, dict[Event, None]]] = field(default_factory=dict)
    _transactions: dict[str, Transaction] = field(default_factory=dict)

    @classmethod
    def open(cls, guid: str, display_name: str, address: str) -> "Mailbox":
        """A new mailbox with its default calendar."""
        organizer = {"emailAddress": {"name": display_name, "address": address}}
        mailbox = cls(guid, organizer, ids.IdMaker(guid))
        mailbox._add_calendar("Calendar", "auto", is_default=True)
        return mailbox

    @property
    def default_calendar(self) -> Calendar:
        """The primary calendar; it is always there."""
        return next(iter(self.calendars.values()))

    def _add_calendar(self, name: str, color: str, *, is_default: bool) -> Calendar:
        calendar = Calendar(self.ids.calendar_id(), name, color, self.ids.change_key(), is_default)
        self.calendars[calendar.id] = calendar
        return calendar

    def create_calendar(self, name: str, color: str) -> Calendar:
        """A further calendar. Raises ErrorFolderExists (409)."""
        if any(known.name.casefold() == name.casefold() for known in self.calendars.values()):
            raise folder_exists()
        return self._add_calendar(name, color, is_default=False)

    def calendar(self, calendar_id: str) -> Calendar:
        """Raises ErrorInvalidIdMalformed (400) or ErrorItemNotFound (404)."""
        if found := self.calendars.get(calendar_id):
            return found
        raise item_not_found() if ids.is_well_formed(calendar_id) else malformed_id()

    def event(self, event_id: str) -> Event:
        """By either id. Raises ErrorInvalidIdMalformed (400) or ErrorItemNotFound (404)."""
        if found := self.events.get(event_id) or self._by_immutable_id.get(event_id):
            return found
        raise item_not_found() if ids.is_well_formed(event_id) else malformed_id()

    def with_ical_uid(self, uid: str) -> list[Event]:
        """The event with this iCalendar uid, if there is one."""
        found = self._by_ical_uid.get(uid)
        return [found] if found else []

    def with_property(self, property_id: str, value: str) -> list[Event]:
        """Events whose extended property has this value, in any case."""
        return list(self._by_property.get(property_id, {}).get(value.casefold(), ()))

    def create(
        self, calendar: Calendar, changes: JsonObject, body_fingerprint: bytes, limits: Limits, now: float
    ) -> Created:
        """A new event, or the one that the same transactionId made of an identical body.

        Raises GraphError (400), among them ErrorDuplicateTransactionId.
        """
        transaction_id = changes.get("transactionId")
        if transaction_id is not None and (used := self._transactions.get(transaction_id)):
            standing = self.events.get(used.event_id)
            if standing is None or used.fingerprint != body_fingerprint:
                raise duplicate_transaction(used.event_id)
            return Created(standing, is_new=False)
        composed = self._compose(changes, None, calendar, limits)
        event_id, immutable_id = self.ids.event_ids()
        wire = composed.wire
        wire["id"] = event_id
        wire["iCalUId"] = ids.ical_uid()
        wire["webLink"] = web_link(event_id)
        wire["organizer"] = self.organizer
        if transaction_id is not None:
            wire["transactionId"] = transaction_id
            self._transactions[transaction_id] = Transaction(event_id, body_fingerprint)
        self._stamp(wire, now)
        wire["createdDateTime"] = wire["lastModifiedDateTime"]
        event = Event(
            event_id, immutable_id, calendar.id, wire, composed.start, composed.end, composed.body, {}, transaction_id
        )
        self.events[event_id] = event
        self._by_immutable_id[immutable_id] = event
        self._by_ical_uid[wire["iCalUId"]] = event
        self._set_properties(event, changes.get("singleValueExtendedProperties", {}))
        self.created_count += 1
        return Created(event, is_new=True)

    def change(self, event: Event, changes: JsonObject, limits: Limits, now: float) -> None:
        """Applies the changes; the change key is a new one even if nothing differs. Raises GraphError (400)."""
        if "transactionId" in changes and changes["transactionId"] != event.transaction_id:
            raise GraphError(400, "ErrorInvalidPropertySet", "The transactionId of an event cannot be changed.")
        composed = self._compose(changes, event, self.calendars[event.calendar_id], limits)
        self._stamp(composed.wire, now)
        event.wire, event.start, event.end = composed.wire, composed.start, composed.end
        event.body = composed.body
        event.writes += 1
        self._set_properties(event, changes.get("singleValueExtendedProperties", {}))

    def remove(self, event: Event, limits: Limits) -> None:
        """Deletes the event for good."""
        del self.events[event.id]
        del self._by_immutable_id[event.immutable_id]
        del self._by_ical_uid[event.wire["iCalUId"]]
        for property_id, value in event.properties.items():
            self._unlist(event, property_id, value)
        if event.transaction_id is not None and not limits.transaction_ids_outlive_events:
            del self._transactions[event.transaction_id]
        self.deleted_count += 1

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
