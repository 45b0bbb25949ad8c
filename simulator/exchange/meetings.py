"""Writes to a calendar that concern others too: guests get copies, organisers get answers, and mails are counted.

Everything of one write, in every mailbox of the tenant, happens in one step of the event loop, without a lock and
without waiting: nobody sees half of it, and no two can wait for each other. Whatever is refused is refused by the
mailbox that is written first, before any other is touched. People are found in the writer's tenant only.
Sources: Microsoft docs "event-update", "event-delete", "event-cancel", "event-accept", "event-forward"; choices are in
the README.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from simulator.errors import GraphError, invalid_request
from simulator.exchange import ids, invitation, series
from simulator.exchange.event import Event
from simulator.exchange.invitation import Guests, address_of, guests
from simulator.exchange.mailbox import Calendar, Created, Mailbox, MailboxKind
from simulator.exchange.user import User
from simulator.limits import Limits

JsonObject = dict[str, Any]

# A mailbox that a policy keeps applications out of is there all the same.
_DELIVERABLE = frozenset({MailboxKind.OK, MailboxKind.BLOCKED_BY_POLICY})
_ACTIONS = {"accepted": "Accept", "tentativelyAccepted": "Tentative", "declined": "Decline"}


class House(Protocol):
    """The tenant, as far as mail needs it."""

    users: dict[str, User]
    limits: Limits

    def now(self) -> float:
        """Seconds since 1970 on the tenant's clock."""


@dataclass(slots=True)
class Meetings:
    """Writes events of one mailbox. `mails` counts what the real service would send for it, to whomever."""

    house: House
    mailbox: Mailbox
    mails: int = 0

    def create(self, calendar: Calendar, changes: JsonObject, body_fingerprint: bytes = b"") -> Created:
        """A new event, with which its guests are invited; a repeated create invites nobody. Raises GraphError (400)."""
        created = self.mailbox.create(calendar, changes, body_fingerprint, self.house.limits, self.house.now())
        if created.is_new and created.event.wire["attendees"]:
            self._publish(created.event, {}, anew=True)
        return created

    def change(self, event: Event, changes: JsonObject) -> None:
        """The organiser's changes go to all guests, old and new; a guest's stay in their copy. Raises GraphError."""
        limits, now = self.house.limits, self.house.now()
        before, deviating = guests(event), _deviating(event)
        if not event.wire["isOrganizer"] or not (before or deviating or changes.get("attendees")):
            self.mailbox.change(event, changes, limits, now)
            return
        anew = invitation.asks_anew(event, changes)
        self.mailbox.change(event, invitation.with_standing_answers(event, changes, anew=anew), limits, now)
        present = guests(event)
        added = {address: guest for address, guest in present.items() if address not in before}
        self._spread(event, added, before.keys() - present.keys())
        self._publish(event, before, anew=anew)
        kept = {exception.id: guests(exception) for exception in _deviating(event)}
        for exception in deviating:
            lost = guests(exception).keys() - kept.get(exception.id, {}).keys() - present.keys() - before.keys()
            self._uninvite(exception, lost)

    def remove(self, event: Event) -> None:
        """Deletes an event; if it is the organiser's, it is called off for its guests."""
        invited: list[tuple[Event, set[str]]] = []
        if event.wire["isOrganizer"]:
            of_all = set(guests(event))
            invited = [(event, of_all)]
            invited += [(exception, guests(exception).keys() - of_all) for exception in _deviating(event)]
        self.mailbox.remove(event, self.house.limits, self.house.now())
        for called_off, addresses in invited:
            self._uninvite(called_off, addresses)

    def respond(self, event: Event, response: str, *, sends: bool, proposed: JsonObject | None = None) -> None:
        """The guest answers, and the organiser hears of it if the answer is sent; a declined copy is gone.

        Raises GraphError (400) for the organiser's own event, or one that was called off.
        """
        if event.wire["isOrganizer"]:
            raise invalid_request(
                "Your request can't be completed. You can't respond to this meeting because you're the meeting "
                "organizer."
            )
        if event.wire["isCancelled"]:
            code = f"ErrorCalendarIsCancelledFor{_ACTIONS[response]}"
            raise GraphError(400, code, "Your request can't be completed. The meeting has been canceled.")
        status = invitation.answer(response, self.house.now())
        original = self._original(event)
        if response == "declined":
            self.mailbox.remove(event, self.house.limits, self.house.now())
        else:
            self._answer_copy(event, status, original)
        if sends:
            self.mails += 1
            self._tell_organizer(original, status, proposed)

    def forward(self, event: Event, recipients: list[JsonObject]) -> None:
        """Others are invited too and are among the organiser's attendees from then on. Raises GraphError (400).

        If it is a guest who forwards, the organiser is told by a mail of its own.
        """
        asked = {address_of(recipient): recipient for recipient in recipients}
        self.mails += len(asked) + (not event.wire["isOrganizer"])
        original = event if event.wire["isOrganizer"] else self._original(event)
        source = event if original is None else original
        known = guests(source)
        organizer = address_of(source.wire["organizer"])
        added: Guests = {
            address: invitation.attendee(recipient)
            for address, recipient in asked.items()
            if address not in known and address != organizer
        }
        if original is not None and added:
            people = [*original.wire["attendees"], *added.values()]
            holder = self._holder(original)
            if holder is not None:
                holder.change(original, {"attendees": people}, self.house.limits, self.house.now())
                self._spread(original, added, ())
        said = invitation.carried(source)
        for address in added:
            self._put(source, address, said, anew=True)

    # What reaches the guests.

    def _find(self, address: str) -> Mailbox | None:
        user = self.house.users.get(address.lower())
        return user.mailbox if user is not None and user.kind in _DELIVERABLE else None

    def _publish(self, event: Event, before: Guests, *, anew: bool) -> None:
        """Invites and updates all guests, and calls the event off for those who are none any more."""
        present = guests(event)
        self.mails += len(present)
        said = invitation.carried(event)
        for address in present:
            self._put(event, address, said, anew=anew)
        self._uninvite(event, before.keys() - present.keys())
        for exception in _exceptions(event):
            self._align(event, exception)

    def _put(self, event: Event, address: str, said: JsonObject, *, anew: bool) -> None:
        """One guest's copy becomes what was said. Who declined is not asked again without a reason."""
        mailbox = self._find(address)
        if mailbox is None:
            return
        seen = invitation.seen_by(address, said)
        copy = copy_of(mailbox, event)
        limits, now = self.house.limits, self.house.now()
        if copy is None or _is_gone(copy):
            if not anew and guests(event).get(address, {}).get("status", {}).get("response") == "declined":
                return
            if copy is None:
                seen = {**seen, **invitation.reminder_of(event)}
                copy = mailbox.admit(seen, invitation.head_of_copy(event), limits, now)
            else:
                mailbox.overwrite(copy, {**seen, **invitation.unanswered()}, limits, now)
        elif anew or copy.wire["isCancelled"]:
            mailbox.overwrite(copy, {**seen, **invitation.unanswered()}, limits, now)
        else:
            mailbox.overwrite(copy, {**seen, **invitation.standing(event, copy)}, limits, now)
        if event.wire["recurrence"] is not None:
            self._settle_series(mailbox, copy, event)

    def _settle_series(self, mailbox: Mailbox, copy: Event, event: Event) -> None:
        """What a guest had changed in single occurrences is overwritten too; what is called off is not there."""
        limits, now = self.house.limits, self.house.now()
        own = event.series or series.Series()
        for day in sorted(own.exceptions):
            for lone in mailbox.with_ical_uid(ids.occurrence_uid(event.wire["iCalUId"], day)):
                mailbox.remove(lone, limits, now)
        for changed in _exceptions(copy):
            if changed.day is not None and changed.day not in own.exceptions and series.occurs(event, changed.day):
                regular = series.occurrence(event, changed.day)
                seen = invitation.seen_by(address_of(mailbox.organizer), invitation.carried(regular))
                mailbox.overwrite(changed, {**seen, **invitation.standing(regular, changed)}, limits, now)
        for day in sorted(own.cancelled):
            if series.occurs(copy, day) and not (occurrence := series.occurrence(copy, day)).wire["isCancelled"]:
                mailbox.remove(occurrence, limits, now)

    def _align(self, event: Event, exception: Event) -> None:
        """The copies of an exception follow a write to its series; what a guest removed stays away."""
        present, of_series = guests(exception), guests(event)
        said = invitation.carried(exception)
        self.mails += len(present.keys() - of_series.keys())
        for address in present:
            mailbox = self._find(address)
            copy = copy_of(mailbox, exception) if mailbox is not None else None
            if copy is None or not _is_gone(copy):
                self._put(exception, address, said, anew=False)
        for address in of_series.keys() - present.keys():
            self._call_off(exception, address)

    def _spread(self, event: Event, added: Guests, gone: Iterable[str]) -> None:
        """Occurrences with attendees of their own get and lose the same people as their series."""
        gone = set(gone)
        if not added and not gone:
            return
        holder = self._holder(event)
        for exception in _deviating(event):
            people = invitation.with_others(exception.wire["attendees"], added, gone)
            if holder is not None and people != exception.wire["attendees"]:
                holder.overwrite(exception, {"attendees": people}, self.house.limits, self.house.now())

    def _uninvite(self, event: Event, addresses: Iterable[str]) -> None:
        """A cancellation goes to everybody named."""
        for address in sorted(addresses):
            self.mails += 1
            self._call_off(event, address)

    def _call_off(self, event: Event, address: str) -> None:
        mailbox = self._find(address)
        copy = copy_of(mailbox, event) if mailbox is not None else None
        if mailbox is None or copy is None or _is_gone(copy) or copy.wire["isCancelled"]:
            return
        limits, now = self.house.limits, self.house.now()
        for exception in _exceptions(copy):
            if not exception.wire["isCancelled"]:
                mailbox.overwrite(exception, invitation.called_off(exception.wire["subject"]), limits, now)
        seen = invitation.seen_by(address, invitation.carried(event))
        mailbox.overwrite(copy, {**seen, **invitation.called_off(event.wire["subject"])}, limits, now)

    # What reaches the organiser.

    def _holder(self, original: Event) -> Mailbox | None:
        """The organiser's mailbox; that of an event of one's own is open whatever becomes of its user."""
        if self.mailbox.events.get((original.master or original).id) is (original.master or original):
            return self.mailbox
        return self._find(address_of(original.wire["organizer"]))

    def _original(self, copy: Event) -> Event | None:
        """The organiser's event that this is a copy of; None if it is gone or outside the tenant."""
        holder = self._find(address_of(copy.wire["organizer"]))
        found = copy_of(holder, copy, of_organizer=True) if holder is not None else None
        return None if found is None or _is_gone(found) else found

    def _answer_copy(self, event: Event, status: JsonObject, original: Event | None) -> None:
        limits, now = self.house.limits, self.house.now()
        shown = "tentative"
        if status["response"] == "accepted":
            shown = original.wire["showAs"] if original is not None else _as_accepted(event.wire["showAs"])
        answered = {"responseStatus": status, "showAs": shown}
        for exception in _exceptions(event):
            if not exception.wire["isCancelled"]:
                self.mailbox.overwrite(exception, answered, limits, now)
        self.mailbox.overwrite(event, answered, limits, now)

    def _tell_organizer(self, original: Event | None, status: JsonObject, proposed: JsonObject | None) -> None:
        holder = self._holder(original) if original is not None else None
        if original is None or holder is None:
            return
        me = address_of(self.mailbox.organizer)
        for event in (*_deviating(original), original):
            if me in guests(event):
                people = invitation.with_answer(event.wire["attendees"], me, status, proposed)
                holder.overwrite(event, {"attendees": people}, self.house.limits, self.house.now())


def copy_of(mailbox: Mailbox, event: Event, *, of_organizer: bool = False) -> Event | None:
    """The event of another mailbox that is the same meeting, or the same occurrence of it, even a removed one.

    Whoever was invited to one occurrence only has it as an event of its own.
    """
    uid = event.wire["iCalUId"]
    for held in mailbox.with_ical_uid(uid):
        return held if held.wire["isOrganizer"] is of_organizer else None
    parts = ids.split_occurrence_uid(uid)
    for master in mailbox.with_ical_uid(parts[0]) if parts is not None else ():
        if master.wire["isOrganizer"] is of_organizer and parts is not None and series.has_day(master, parts[1]):
            return series.occurrence(master, parts[1])
    return None


def _is_gone(occurrence: Event) -> bool:
    master = occurrence.master
    return master is not None and master.series is not None and occurrence.day in master.series.cancelled


def _exceptions(master: Event) -> list[Event]:
    """The exceptions of a series, in order; an event that is none has none."""
    if master.wire["recurrence"] is None or master.series is None:
        return []
    return [series.occurrence(master, day) for day in sorted(master.series.exceptions)]


def _deviating(master: Event) -> list[Event]:
    """The exceptions that have attendees of their own."""
    if master.wire["recurrence"] is None or master.series is None:
        return []
    known = master.series.exceptions
    return [series.occurrence(master, day) for day in sorted(known) if "attendees" in known[day].changes]


def _as_accepted(show_as: str) -> str:
    """What an accepted invitation from outside is shown as; it does not tell what its organiser meant."""
    return "busy" if show_as == "tentative" else show_as
