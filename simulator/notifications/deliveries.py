"""The ledger of notifications: every POST to an endpoint with its result, and what was never sent. Bounded."""

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

ENTRIES_MAX = 20_000


class Fate(StrEnum):
    """What became of a POST, or of a notification that was not sent.

    Refused, timed out and unreachable are tried again. Lost is the switch's doing; dropped, because the endpoint is
    too slow; overflowed, because too many wait for it; given up, after hours of trying; unauthorized, because the
    application may no longer read the mailbox; gone, because the subscription ended before.
    """

    DELIVERED = "delivered"
    REFUSED = "refused"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    LOST = "lost"
    DROPPED = "dropped"
    OVERFLOWED = "overflowed"
    GIVEN_UP = "given_up"
    UNAUTHORIZED = "unauthorized"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Told:
    """One notification in an entry: its change type or lifecycle event, and the event's id if it is about one."""

    subscription_id: str
    what: str
    event_id: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One POST, or notifications that were never sent. `at` is seconds since 1970 on the tenant's clock.

    `kind` is `validation`, `notification` or `lifecycle`. `attempt` counts from 1, the highest in the POST; 0 was not
    sent. `status` is None where no answer came.
    """

    seq: int
    at: float
    kind: str
    url: str
    fate: Fate
    status: int | None
    took_ms: float
    attempt: int
    told: tuple[Told, ...]


class Deliveries:
    """The newest entries of one tenant, numbered from 1."""

    __slots__ = ("_changed", "_entries", "_last_seq", "fallen_off")

    def __init__(self) -> None:
        self._entries: deque[Delivery] = deque(maxlen=ENTRIES_MAX)
        self._last_seq = 0
        self._changed = asyncio.Event()
        self.fallen_off = 0

    def add(
        self,
        at: float,
        kind: str,
        url: str,
        fate: Fate,
        told: tuple[Told, ...],
        *,
        status: int | None = None,
        took_ms: float = 0.0,
        attempt: int = 0,
    ) -> None:
        """Adds at the end; the oldest entry falls off when there is no room, and is counted."""
        if len(self._entries) == ENTRIES_MAX:
            self.fallen_off += 1
        self._last_seq += 1
        self._entries.append(Delivery(self._last_seq, at, kind, url, fate, status, took_ms, attempt, told))
        self._changed.set()
        self._changed = asyncio.Event()

    def after(self, seq: int) -> Iterator[Delivery]:
        """The entries with a number above `seq`, oldest first."""
        return (entry for entry in self._entries if entry.seq > seq)

    async def more(self, timeout_s: float) -> None:
        """Returns when the next entry is there, or after the time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return
