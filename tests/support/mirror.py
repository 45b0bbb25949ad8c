"""Calendars as a plain reader of `changes.v1` knows them: an example for whoever consumes that topic.

Values and arithmetic only: the consumer around it hands over every record in the order of its partition, with the
CloudEvents id, and does nothing else. What upstream planned it knows itself; here stands what users did to it.
"""

from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from schemas.changes import AppointmentRemoved, AppointmentUpserted, EntryEdited, EntryRemoved, EntryRescheduled
from schemas.results import Ending, Outcome

Change = EntryRescheduled | EntryEdited | EntryRemoved | AppointmentUpserted | AppointmentRemoved
EntryChange = EntryRescheduled | EntryEdited | EntryRemoved
Moment = datetime | date


@dataclass(frozen=True, slots=True)
class Deviation:
    """In what an entry, or an occurrence of it, stands otherwise than it was planned."""

    removed: bool = False
    times: tuple[Moment, Moment] | None = None
    edited: dict[str, Any] = field(default_factory=dict)
    """By field; None where the account's detail does not let the value out."""


@dataclass(slots=True)
class Mirror:
    """What stands in the calendars of one tenant, as far as `changes.v1` and `outcomes.v1` tell.

    It may be fed the same records again, and the two topics in any order to each other: a CloudEvents id counts once,
    and which of a change and an outcome is the later one is decided by what they say, when it is asked for.
    """

    _ids: set[str] = field(default_factory=set)
    _appointments: dict[tuple[str, str], dict[str, AppointmentUpserted]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    _touched: dict[UUID, list[EntryChange]] = field(default_factory=lambda: defaultdict(list))
    _applied: dict[UUID, Outcome] = field(default_factory=dict)

    def take_change(self, event_id: str, change: Change) -> None:
        """A record of `changes.v1`. `event_id`: its CloudEvents id; a real consumer keeps those of some days."""
        if event_id in self._ids:
            return
        self._ids.add(event_id)
        match change:
            case AppointmentUpserted():
                self._appointments[change.user, change.calendar][change.event_id] = change
            case AppointmentRemoved():
                self._appointments[change.user, change.calendar].pop(change.event_id, None)
            case _:
                self._touched[change.entry_id].append(change)

    def take_outcome(self, outcome: Outcome) -> None:
        """A record of `outcomes.v1`: a revision that was applied stands as it was planned."""
        before = self._applied.get(outcome.entry_id)
        if outcome.ending is Ending.APPLIED and (before is None or before.plan < outcome.plan):
            self._applied[outcome.entry_id] = outcome

    def appointments(self, user: str, calendar: str = "") -> dict[str, AppointmentUpserted]:
        """The user's own appointments in a calendar, by their id."""
        return dict(self._appointments[user, calendar])

    def deviations(self, entry_id: UUID) -> dict[Moment | None, Deviation]:
        """How an entry deviates from its newest applied revision: None is the whole of it, else occurrences."""
        found: dict[Moment | None, Deviation] = {}
        for change in self._touched[entry_id]:
            if not self._is_overwritten(change):
                before = found.get(change.occurrence, Deviation())
                found[change.occurrence] = _after(before, change)
        return found

    def _is_overwritten(self, change: EntryChange) -> bool:
        """Whether a revision was written after the change was seen.

        A change names the newest revision that was known, which may have been on its way into the calendar: if it was
        applied after that, it is what stands.
        """
        applied = self._applied.get(change.entry_id)
        if applied is None:
            return False
        return (change.revision, change.seen_at) < (applied.revision, applied.decided_at)


def _after(before: Deviation, change: EntryChange) -> Deviation:
    match change:
        case EntryRemoved():
            return Deviation(removed=True)
        case EntryRescheduled():
            return replace(before, removed=False, times=(change.start, change.end))
        case _:
            told = {name: getattr(change, name, None) for name in change.fields}
            return replace(before, removed=False, edited=before.edited | told)
