"""What a mailbox shows of a span of time: single events and the occurrences of series that overlap it."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from simulator.exchange import series
from simulator.exchange.event import Event
from simulator.exchange.mailbox import Mailbox


class Showing(NamedTuple):
    """Something that overlaps the span; an occurrence is made only when it is looked at."""

    begins: datetime
    ends: datetime
    slot: series.Slot | None
    source: Event

    def event(self) -> Event:
        """The single event or the occurrence."""
        return self.source if self.slot is None else series.occurrence(self.source, self.slot.day)


def showings(event: Event, begin: datetime, end: datetime) -> Iterator[Showing]:
    """An event, or the occurrences of a series, where they overlap the naive UTC span."""
    if event.wire["recurrence"] is not None:
        for slot in series.slots(event, begin, end):
            yield Showing(slot.begins, slot.ends, slot, event)
    elif series.overlaps(event.begins, event.ends, begin, end):
        yield Showing(event.begins, event.ends, None, event)


def view(mailbox: Mailbox, calendar_id: str, begin: datetime, end: datetime) -> Sequence[Showing]:
    """Everything of one calendar that overlaps the naive UTC span, by start. It is kept until the next write."""
    key = ("view", calendar_id, begin, end)
    return mailbox.memo.get(key, mailbox.journal.seq, lambda: _view(mailbox, calendar_id, begin, end))


def _view(mailbox: Mailbox, calendar_id: str, begin: datetime, end: datetime) -> list[Showing]:
    found = [
        shown
        for event in mailbox.events.values()
        if event.calendar_id == calendar_id
        for shown in showings(event, begin, end)
    ]
    found.sort(key=lambda shown: (shown.begins, shown.ends))
    return found
