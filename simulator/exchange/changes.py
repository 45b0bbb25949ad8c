"""What changed in a mailbox since a point in its order of writes, as seen through a window that stays the same.

Pure: a `Reading` and a mailbox give changes in order. Sources: Microsoft docs "event-delta", "delta-query-events".
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from simulator.exchange import ids, series
from simulator.exchange.event import Event
from simulator.exchange.journal import Tombstone
from simulator.exchange.mailbox import Mailbox


@dataclass(frozen=True, slots=True)
class Scope:
    """What is watched: a calendar (None: all), between two naive UTC times, with series expanded or not."""

    calendar_id: str | None
    begin: datetime
    end: datetime
    expand: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a round has come.

    The round tells the writes after `base`; those up to `cursor` are told. It began when the mailbox was at `started`.
    A first round tells what is there; what went away before it began, nobody had heard of.
    """

    base: int
    cursor: int
    started: int
    first: bool

    @property
    def removals_after(self) -> int:
        """Only removals after this write are worth telling."""
        return max(self.cursor, self.started if self.first else self.base)


class Told(NamedTuple):
    """An event as it is now, or (`event` is None) the ids of one that is gone or out of sight."""

    event: Event | None
    id: str
    immutable_id: str


class Change(NamedTuple):
    """One write and what it makes to tell."""

    seq: int
    source: Event | Tombstone
    deviates: bool


def changes(mailbox: Mailbox, scope: Scope, reading: Reading) -> Iterator[Change]:
    """The writes that are still to be told, in order. Those of the whole round are kept until the next write."""
    whole = replace(reading, cursor=reading.base)
    key = ("changes", scope, whole)
    found = mailbox.memo.get(key, mailbox.journal.seq, lambda: _changes(mailbox, scope, whole))
    # Which writes the round tells does not depend on how far it has come.
    return islice(found, bisect_right(found, reading.cursor, key=lambda change: change.seq), None)


def _changes(mailbox: Mailbox, scope: Scope, reading: Reading) -> list[Change]:
    found: list[Change] = []
    for event in mailbox.events.values():
        if scope.calendar_id is not None and event.calendar_id != scope.calendar_id:
            continue
        if event.changed_seq > reading.cursor:
            found.append(Change(event.changed_seq, event, deviates=False))
        if event.series is not None:
            # A series that is told in this round tells its exceptions, but for those made after the round began.
            known = reading.base if event.changed_seq <= reading.base else reading.started
            after = max(reading.cursor, known)
            found += (
                Change(deviation.changed_seq, series.occurrence(event, day), deviates=True)
                for day, deviation in event.series.exceptions.items()
                if deviation.changed_seq > after
            )
    found += (
        Change(tombstone.seq, tombstone, deviates=False)
        for tombstone in mailbox.journal.tombstones
        if tombstone.seq > reading.removals_after
        and (scope.calendar_id is None or tombstone.calendar_id == scope.calendar_id)
    )
    found.sort(key=lambda change: change.seq)
    return found


def told(mailbox: Mailbox, scope: Scope, reading: Reading, change: Change) -> Iterator[Told]:
    """What one change makes to tell: events in sight, and removals of what is not."""
    if isinstance(change.source, Tombstone):
        yield from _told_of_tombstone(mailbox, scope, change.source)
    elif change.deviates:
        yield from _told_of_exception(scope, change.source)
    else:
        yield from _told_of_event(scope, change.source, worth_removing=change.seq > reading.removals_after)


def _event(event: Event) -> Told:
    return Told(event, event.id, event.immutable_id)


def _gone(event: Event) -> Told:
    return Told(None, event.id, event.immutable_id)


def _in_sight(scope: Scope, event: Event) -> bool:
    return series.overlaps(event.begins, event.ends, scope.begin, scope.end)


def _told_of_event(scope: Scope, event: Event, *, worth_removing: bool) -> Iterator[Told]:
    if event.wire["recurrence"] is None:
        if _in_sight(scope, event):
            yield _event(event)
        elif worth_removing:
            # The real service says so of whatever is written out of sight, even if it was never told.
            yield _gone(event)
        return
    slots = series.slots(event, scope.begin, scope.end)
    first = next(slots, None)
    if first is None:
        if worth_removing:
            yield _gone(event)
        return
    yield _event(event)
    if scope.expand:
        yield _event(series.occurrence(event, first.day))
        for slot in slots:
            yield _event(series.occurrence(event, slot.day))
    elif event.series is not None:
        for day in sorted(event.series.exceptions):
            yield from _told_of_exception(scope, series.occurrence(event, day))


def _told_of_exception(scope: Scope, event: Event) -> Iterator[Told]:
    yield _event(event) if _in_sight(scope, event) else _gone(event)


def _told_of_tombstone(mailbox: Mailbox, scope: Scope, tombstone: Tombstone) -> Iterator[Told]:
    if not tombstone.stands:
        yield Told(None, tombstone.id, tombstone.immutable_id)
    if tombstone.series is None or not scope.expand:
        return
    master = mailbox.events.get(tombstone.id)
    for slot in series.slots(tombstone.series, scope.begin, scope.end):
        elsewhere = master is not None and master.calendar_id != tombstone.calendar_id
        if master is None or elsewhere or not series.occurs(master, slot.day):
            yield Told(
                None,
                ids.occurrence_id(tombstone.id, slot.day),
                ids.occurrence_id(tombstone.immutable_id, slot.day),
            )
