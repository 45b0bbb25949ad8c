"""Facts: what was read from Graph, kept for a while. One read at a time for each, however many wait for it.

Nothing here knows what a fact says; whoever asks says how old it may be.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from calbus.graph.errors import Fault

# A fault answers for others who ask in the same moment. Shorter than any wait before a retry.
FAULT_KEPT_S = 0.5
# Clocks of the database and of this process may differ by so much.
CLOCK_SKEW_MAX = timedelta(seconds=60)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Reading(Generic[V]):
    """What came of a read, and how many requests it took. A fault is kept for `fault_kept_s` at least."""

    value: V | Fault
    requests: int = 1
    fault_kept_s: float = FAULT_KEPT_S


@dataclass(frozen=True, slots=True)
class Demand:
    """How fresh a fact must be: read at most `max_age_s` ago, and after `asked_at` was written to the database."""

    max_age_s: float
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Fact(Generic[V]):
    reading: Reading[V]
    read_s: float
    read_at: datetime
    asked_at: datetime | None

    def is_after(self, asked_at: datetime | None) -> bool:
        """Whether it was read after that. By a reader who knew of it, or by clocks that agree well enough."""
        if asked_at is None or self.read_at - CLOCK_SKEW_MAX > asked_at:
            return True
        return self.asked_at is not None and self.asked_at >= asked_at


@dataclass(slots=True)
class _Slot(Generic[V]):
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    known: _Fact[V] | None = None
    failed: _Fact[V] | None = None


class Facts(Generic[K, V]):
    """Facts of one kind, by key; at most `limit`, those that were not asked for longest go first."""

    def __init__(self, limit: int, clock: Callable[[], float]) -> None:
        self._limit = limit
        self._clock = clock
        self._slots: OrderedDict[K, _Slot[V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._slots)

    async def get(self, key: K, demand: Demand, read: Callable[[], Awaitable[Reading[V]]]) -> Reading[V]:
        """The fact, read now if none that is held is fresh enough; `requests` is what this call sent.

        A fault that has just been met, or that asked to be left alone for a while, answers without a read.
        """
        slot = self._slot(key)
        if (held := self._held(slot, demand)) is not None:
            return held
        async with slot.lock:
            if (held := self._held(slot, demand)) is not None:
                return held
            read_s, read_at = self._clock(), datetime.now(UTC)
            reading = await read()
            before = slot.known.asked_at if slot.known is not None else None
            asked_at = max((at for at in (before, demand.asked_at) if at is not None), default=None)
            fact = _Fact(reading, read_s, read_at, asked_at)
            if isinstance(reading.value, Fault):
                slot.failed = fact
            else:
                slot.known, slot.failed = fact, None
            return reading

    def peek(self, key: K, demand: Demand) -> V | None:
        """The fact, if one is held that is fresh enough; None also for one that could not be read."""
        slot = self._slots.get(key)
        if slot is None or (held := self._held(slot, demand)) is None or isinstance(held.value, Fault):
            return None
        self._slots.move_to_end(key)
        return held.value

    def _held(self, slot: _Slot[V], demand: Demand) -> Reading[V] | None:
        now_s = self._clock()
        known = slot.known
        if known is not None and now_s - known.read_s < demand.max_age_s and known.is_after(demand.asked_at):
            return replace(known.reading, requests=0)
        failed = slot.failed
        if failed is None or not isinstance(fault := failed.reading.value, Fault):
            return None
        age_s = now_s - failed.read_s
        if fault.retry_after_s is not None and age_s < fault.retry_after_s:
            # Whoever asks inside a Retry-After is counted against us.
            return Reading(replace(fault, retry_after_s=fault.retry_after_s - age_s), requests=0)
        if age_s < failed.reading.fault_kept_s and failed.is_after(demand.asked_at):
            return replace(failed.reading, requests=0)
        return None

    def _slot(self, key: K) -> _Slot[V]:
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = _Slot()
            if len(self._slots) > self._limit:
                self._slots.popitem(last=False)
        self._slots.move_to_end(key)
        return slot
