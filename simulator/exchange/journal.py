"""What delta rounds need to know of the past: the order of writes, and what is no longer there.

An event carries the number of its last write itself; the journal keeps the newest removals.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulator.exchange.event import Event


@dataclass(frozen=True, slots=True)
class Tombstone:
    """Something that was removed: an event, an occurrence, or the times that a series had before it was changed.

    `series` is a master as it was: of its occurrences then, those that it has no longer are gone too.
    `stands` is true if the item itself is still there and only the series' times are gone.
    """

    seq: int
    id: str
    immutable_id: str
    calendar_id: str
    series: "Event | None" = None
    stands: bool = False


@dataclass(slots=True)
class Journal:
    """The numbers of a mailbox's writes and its newest removals.

    `generation` rises when the mailbox forgets all sync states; removals up to `trimmed_seq` are no longer known.
    """

    seq: int = 0
    generation: int = 1
    trimmed_seq: int = 0
    tombstones: deque[Tombstone] = field(default_factory=deque)

    def next_seq(self) -> int:
        """The number of the next write."""
        self.seq += 1
        return self.seq

    def removed(self, event: "Event", tombstones_max: int) -> None:
        """An event or an occurrence is removed."""
        series = event if event.wire["recurrence"] is not None else None
        self._bury(Tombstone(self.next_seq(), event.id, event.immutable_id, event.calendar_id, series), tombstones_max)

    def series_moved(self, master: "Event", tombstones_max: int) -> None:
        """The occurrences of a series are about to get other times. Call it before the change."""
        before = replace(master)
        self._bury(
            Tombstone(self.next_seq(), master.id, master.immutable_id, master.calendar_id, before, stands=True),
            tombstones_max,
        )

    def _bury(self, tombstone: Tombstone, tombstones_max: int) -> None:
        self.tombstones.append(tombstone)
        while len(self.tombstones) > tombstones_max:
            self.trimmed_seq = self.tombstones.popleft().seq
