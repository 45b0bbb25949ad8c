"""Who was told to stay away from what, and from when on a call is disobedience. It decides and counts, nothing else.

Whatever an answer's Retry-After was about is a place: one mailbox, the directory, subscriptions, batches, tokens.
"""

import math
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

# As the violation is counted.
INSIDE_RETRY_AFTER = "inside_retry_after"
# From so many places on, those whose time has passed are forgotten.
SWEPT_FROM = 1_000

Kind = Literal["mailbox", "directory", "subscriptions", "batch", "token"]


class Place(NamedTuple):
    """What an application was told to stay away from in a tenant. `mailbox` is a user's id, or the name called."""

    client_id: str
    kind: Kind
    mailbox: str = ""


class Wait(NamedTuple):
    """A Retry-After that is in an answer; it counts from the moment that this answer goes out."""

    place: Place
    retry_after_s: int


@dataclass(slots=True)
class Told:
    """Times are seconds of one clock."""

    _retry_from: float = -math.inf
    _retry_until: float = -math.inf

    def inside_retry_after(self, now: float) -> bool:
        """True if we had asked the application to stay away until later."""
        return self._retry_from <= now < self._retry_until

    def has_passed(self, now: float) -> bool:
        """True if the application may come again."""
        return self._retry_until <= now

    def told_to_wait(self, now: float, retry_after_s: float, grace_s: float) -> None:
        """Remembers a Retry-After that goes out now."""
        if now >= self._retry_until:
            self._retry_from = now + grace_s
        self._retry_until = max(self._retry_until, now + retry_after_s)


@dataclass(slots=True)
class ToldToWait:
    """All that applications were told in one tenant."""

    _by_place: dict[Place, Told] = field(default_factory=dict)

    def inside(self, place: Place, now: float) -> bool:
        """True if a call to this place comes too early."""
        told = self._by_place.get(place)
        return told is not None and told.inside_retry_after(now)

    def tell(self, wait: Wait, now: float, grace_s: float) -> None:
        """Remembers what goes out now."""
        if len(self._by_place) >= SWEPT_FROM:
            self._by_place = {place: told for place, told in self._by_place.items() if not told.has_passed(now)}
        self._by_place.setdefault(wait.place, Told()).told_to_wait(now, wait.retry_after_s, grace_s)

    def __len__(self) -> int:
        """How many places are in memory."""
        return len(self._by_place)
