"""Microsoft Graph as far as capacity goes: how long calls last, and the 429s of its limits. Virtual time, no I/O.

It knows nothing of lanes: it is the witness that they keep to the limits.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from random import Random

from calbus.budget import WINDOW_S

# Of one application in one mailbox. Source: Microsoft docs "throttling-limits".
CONCURRENT_MAX = 4
WINDOW_MAX_REQUESTS = 10_000
# What the puller may have of it is taken to be used to the full: one request in flight, a thousand in ten minutes.
READS_CONCURRENT = 1
READS_WINDOW_REQUESTS = 1_000
# All tenants together, one application. The same source.
APPLICATION_MAX_REQUESTS_PER_S = 13_000
# So many items of a batch are worked on at once, whatever their mailboxes.
BATCH_CONCURRENT = 4
CONCURRENCY_RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a request lasts: log-normal. `spread` is the standard deviation of its logarithm; 0 is always alike."""

    median_s: float
    spread: float

    @property
    def mean_s(self) -> float:
        """On average."""
        return self.median_s * math.exp(self.spread**2 / 2)

    def draw(self, random: Random) -> float:
        """One request's."""
        return self.median_s * math.exp(random.gauss(0.0, self.spread)) if self.spread else self.median_s


@dataclass(slots=True)
class _Mailbox:
    ends_s: list[float] = field(default_factory=list)
    starts_s: deque[float] = field(default_factory=deque)


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a mailbox, and how long Graph will take for it."""

    mailbox: int
    seconds: float


class SimulatedGraph:
    """Answers requests, alone and in batches, and counts."""

    def __init__(self) -> None:
        self._mailboxes: dict[int, _Mailbox] = {}
        self.requests = 0
        self.calls = 0
        self.throttled = 0
        self.most_in_flight = 0
        self.most_in_window = 0

    def send(self, requests: Sequence[Request], now_s: float) -> tuple[float, list[float]]:
        """When the call is answered, and for each request its Retry-After in seconds; 0 where it did its work."""
        self.calls += 1
        free_s = [now_s] * BATCH_CONCURRENT
        heapify(free_s)
        retries_s, answered_s = [], now_s
        for request in requests:
            start_s = free_s[0]
            retry_s = self._enter(request, start_s, now_s)
            end_s = start_s if retry_s else start_s + request.seconds
            heapreplace(free_s, end_s)
            retries_s.append(retry_s)
            answered_s = max(answered_s, end_s)
        return answered_s, retries_s

    def _enter(self, request: Request, start_s: float, now_s: float) -> float:
        self.requests += 1
        mailbox = self._mailboxes.setdefault(request.mailbox, _Mailbox())
        mailbox.ends_s = [end_s for end_s in mailbox.ends_s if end_s > now_s]
        while mailbox.starts_s and mailbox.starts_s[0] <= now_s - WINDOW_S:
            mailbox.starts_s.popleft()
        mailbox.starts_s.append(start_s)
        in_flight = sum(end_s > start_s for end_s in mailbox.ends_s) + 1
        self.most_in_flight = max(self.most_in_flight, in_flight)
        self.most_in_window = max(self.most_in_window, len(mailbox.starts_s))
        if in_flight > CONCURRENT_MAX - READS_CONCURRENT:
            self.throttled += 1
            return CONCURRENCY_RETRY_AFTER_S
        if len(mailbox.starts_s) > WINDOW_MAX_REQUESTS - READS_WINDOW_REQUESTS:
            self.throttled += 1
            return max(mailbox.starts_s[0] + WINDOW_S - now_s, 1.0)
        mailbox.ends_s.append(start_s + request.seconds)
        return 0.0
