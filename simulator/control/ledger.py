"""The ledger: what every request that addressed a user did, in the order it ended. Append-only and bounded."""

from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

ENTRIES_MAX = 200_000


class Entry(NamedTuple):
    """One request, or one item of a batch. `at` is seconds since 1970 on the tenant's clock."""

    seq: int
    at: float
    tenant: str
    user: str
    app: str
    operation: str
    event_id: str | None
    status: int
    code: str | None
    in_flight: int
    mutation: bool
    invitations: int
    via_batch: bool
    dropped: bool


class Ledger:
    """The newest entries of one tenant. Sequence numbers rise over all tenants of a service."""

    __slots__ = ("_entries", "_next_seq", "fallen_off")

    def __init__(self, sequence: "count[int]") -> None:
        self._entries: deque[Entry] = deque(maxlen=ENTRIES_MAX)
        self._next_seq = sequence
        self.fallen_off = 0

    def next_seq(self) -> int:
        """The number for the next entry."""
        return next(self._next_seq)

    def append(self, entry: Entry) -> None:
        """Adds at the end; the oldest entry falls off when there is no room, and is counted."""
        if len(self._entries) == ENTRIES_MAX:
            self.fallen_off += 1
        self._entries.append(entry)

    def newest_first(self, after: int) -> Iterator[Entry]:
        """The entries with a number above `after`, from the end."""
        for entry in reversed(self._entries):
            if entry.seq <= after:
                return
            yield entry
