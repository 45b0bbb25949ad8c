"""The budget each application has per mailbox: concurrent calls, calls in a window, bytes in a window.

A budget decides and counts; it neither waits nor answers. Source: Microsoft docs "throttling-limits".
"""

import math
from collections import deque
from dataclasses import dataclass, field

from simulator.limits import Limits

_UPLOAD_SLOT_S = 0.1


@dataclass(frozen=True, slots=True)
class Excess:
    """A call over a limit: which (as Exchange names it, and as the violation is counted) and how long to wait."""

    limit: str
    violation: str
    retry_after_s: int


@dataclass(slots=True)
class Told:
    """Who was told to stay away for a time, and from when on a call is disobedience."""

    _retry_from: float = -math.inf
    _retry_until: float = -math.inf

    def inside_retry_after(self, now: float) -> bool:
        """True if we had asked the application to stay away until later."""
        return self._retry_from <= now < self._retry_until

    def told_to_wait(self, now: float, retry_after_s: float, grace_s: float) -> None:
        """Remembers a Retry-After that goes out now."""
        if now >= self._retry_until:
            self._retry_from = now + grace_s
        self._retry_until = max(self._retry_until, now + retry_after_s)


@dataclass(slots=True)
class Budget(Told):
    """What one application may do to one mailbox, and what it has done. Times are seconds of one clock.

    A refused call counts against the window like any other, but holds no place among the concurrent ones.
    """

    in_flight: int = 0
    in_flight_seen_max: int = 0
    # Only the newest `window_max_requests` times and one more can decide whether the window is full.
    _calls: deque[float] = field(default_factory=deque)
    _uploads: deque[tuple[float, int]] = field(default_factory=deque)
    _uploaded_bytes: int = 0

    def enter(self, now: float, upload_bytes: int, limits: Limits) -> Excess | None:
        """Counts a call that begins now. If it is not refused, `leave` must follow."""
        self.in_flight_seen_max = max(self.in_flight_seen_max, self.in_flight + 1)
        self._count_call(now, limits.window_max_requests)
        excess = (
            self._over_concurrency(limits)
            or self._over_window(now, limits)
            or self._over_upload(now, upload_bytes, limits)
        )
        if upload_bytes:
            self._count_upload(now, upload_bytes)
        if excess is None:
            self.in_flight += 1
        return excess

    def leave(self) -> None:
        """The call has ended."""
        self.in_flight -= 1

    def _count_call(self, now: float, window_max_requests: int) -> None:
        if self._calls.maxlen != window_max_requests + 1:
            self._calls = deque(self._calls, maxlen=window_max_requests + 1)
        self._calls.append(now)

    def _over_concurrency(self, limits: Limits) -> Excess | None:
        if self.in_flight < limits.concurrent_max:
            return None
        return Excess("MailboxConcurrency", "over_concurrency", limits.concurrency_retry_after_s)

    def _over_window(self, now: float, limits: Limits) -> Excess | None:
        if len(self._calls) <= limits.window_max_requests or self._calls[0] + limits.window_s <= now:
            return None
        # The next call pushes the oldest out; it passes once the second oldest has left the window.
        wait_s = self._calls[1] + limits.window_s - now
        return Excess("MailboxRequests", "over_window", max(1, math.ceil(wait_s)))

    def _over_upload(self, now: float, upload_bytes: int, limits: Limits) -> Excess | None:
        while self._uploads and self._uploads[0][0] + limits.upload_window_s <= now:
            self._uploaded_bytes -= self._uploads.popleft()[1]
        over_bytes = self._uploaded_bytes + upload_bytes - limits.upload_max_bytes
        if not upload_bytes or over_bytes <= 0:
            return None
        wait_s = limits.upload_window_s
        for at, size in self._uploads:
            over_bytes -= size
            if over_bytes <= 0:
                wait_s = at + limits.upload_window_s - now
                break
        return Excess("MailboxUpload", "over_upload", max(1, math.ceil(wait_s)))

    def _count_upload(self, now: float, upload_bytes: int) -> None:
        # Uploads of the same tenth of a second are one entry, which bounds the queue.
        if self._uploads and now - self._uploads[-1][0] < _UPLOAD_SLOT_S:
            at, size = self._uploads[-1]
            self._uploads[-1] = (at, size + upload_bytes)
        else:
            self._uploads.append((now, upload_bytes))
        self._uploaded_bytes += upload_bytes
