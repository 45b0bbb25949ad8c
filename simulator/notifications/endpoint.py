"""One address that notifications go to: what waits for it, in which order, and how fast it answers. State only."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from simulator.notifications.deliveries import Told
from simulator.notifications.pace import Pace
from simulator.notifications.subscription import Subscription


@dataclass(slots=True, eq=False)
class Item:
    """A notification on its way. `born_s` is when it was first due; `attempt` how often it was sent."""

    subscription: Subscription
    kind: str
    body: dict[str, Any]
    told: Told
    born_s: float
    attempt: int = 0


@dataclass(slots=True, eq=False)
class Endpoint:
    """Notifications to one address, sent one POST at a time, earliest first. Times are seconds of one clock."""

    url: str
    pace: Pace = field(default_factory=Pace)
    busy: bool = False
    _waiting: list[tuple[float, int, Item]] = field(default_factory=list)
    _held: list[tuple[float, Item]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    def __len__(self) -> int:
        return len(self._waiting) + len(self._held)

    def put(self, item: Item, due_s: float) -> None:
        """Sends the item at this time; what was held to be overtaken goes right after it."""
        self._push(item, due_s)
        for _, held in self._held:
            self._push(held, due_s)
        self._held.clear()

    def hold(self, item: Item, until_s: float) -> None:
        """Sends the item after the next one, or at this time if none comes."""
        self._held.append((until_s, item))

    def _push(self, item: Item, due_s: float) -> None:
        heapq.heappush(self._waiting, (due_s, next(self._numbers), item))

    def take(self, now: float, items_max: int) -> list[Item]:
        """Removes what is due, at most so many, and all of one kind."""
        for until_s, item in self._held:
            if until_s <= now:
                self._push(item, until_s)
        self._held = [(until_s, item) for until_s, item in self._held if until_s > now]
        return list(self._due(now, items_max))

    def _due(self, now: float, items_max: int) -> Iterator[Item]:
        kind = self._waiting[0][2].kind if self._waiting else ""
        while items_max and self._waiting and self._waiting[0][0] <= now and self._waiting[0][2].kind == kind:
            items_max -= 1
            yield heapq.heappop(self._waiting)[2]

    def next_due_s(self) -> float | None:
        """When something is to be sent, None if nothing waits."""
        times = [until_s for until_s, _ in self._held]
        if self._waiting:
            times.append(self._waiting[0][0])
        return min(times, default=None)
