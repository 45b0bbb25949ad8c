"""The breaker's decision: how many entries may leave a mailbox, or a tenant, before somebody has to look.

Pure. A *removal* is a plan that takes away an entry which stands, for a cause other than a confirmed one. Each mailbox
has a breaker, and each tenant; a removal goes ahead if neither holds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from calbus.store.removals import Breaker

TENANT = ""
"""Names the tenant's own breaker among those of its users."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How much may go in one window without a word: a share of what stood when it opened, and always a few."""

    share: float = 0.2
    floor_entries: int = 50
    window: timedelta = timedelta(minutes=10)

    def limit(self, standing: int) -> int:
        """So many of `standing` entries may go."""
        return max(self.floor_entries, int(self.share * standing))


@dataclass(frozen=True, slots=True)
class Trip:
    """A breaker that opens now: whose, how many wanted to go in this window, and how many of how many may."""

    name: str
    asked: int
    limit: int
    standing: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What becomes of removals that are asked for together. `breakers` are those that changed, to be stored."""

    breakers: dict[str, Breaker]
    trips: tuple[Trip, ...]
    parked: frozenset[str]
    """The users whose removals wait."""


def is_current(breaker: Breaker, thresholds: Thresholds, now: datetime) -> bool:
    """Whether the breaker's window still runs; otherwise what stands must be counted anew."""
    return breaker.opened_at is not None and now < breaker.opened_at + thresholds.window


def opened(breaker: Breaker, standing: int, now: datetime) -> Breaker:
    """The breaker with a new window, in which nothing was removed yet; what has tripped stays so."""
    return replace(breaker, opened_at=now, standing=standing, removed=0)


def judge(
    asked: Mapping[str, int], breakers: Mapping[str, Breaker], thresholds: Thresholds, now: datetime
) -> Judgement:
    """Judge removals, counted by user, against the current breakers of these users and of their tenant.

    What is asked for together is judged as a whole: a mailbox's removals go ahead all, or wait all. The tenant's
    breaker counts what mailboxes' breakers hold too: a change that would empty them trips it whichever trip besides.
    In a window no breaker lets more pass than its limit.
    """
    total = sum(asked.values())
    trips = tuple(
        Trip(name, breaker.removed + count, thresholds.limit(breaker.standing), breaker.standing)
        for name, count in ((TENANT, total), *sorted(asked.items()))
        if (breaker := breakers[name]).tripped_at is None
        and breaker.removed + count > thresholds.limit(breaker.standing)
    )
    after = dict(breakers)
    for trip in trips:
        after[trip.name] = replace(after[trip.name], tripped_at=now)
    if after[TENANT].tripped_at is not None:
        return Judgement(after, trips, frozenset(asked))
    parked = frozenset(user for user in asked if after[user].tripped_at is not None)
    for user, count in asked.items():
        if user not in parked:
            after[user] = replace(after[user], removed=after[user].removed + count)
            after[TENANT] = replace(after[TENANT], removed=after[TENANT].removed + count)
    return Judgement(after, trips, parked)
