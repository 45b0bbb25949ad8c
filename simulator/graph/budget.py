"""The budget each application has per mailbox: concurrent calls, calls in a window, bytes in a window.

A budget decides and counts; it neither waits nor answers. Source: Microsoft docs "throttling-limits".
"""

import math
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from simulator.limits import Limits

_UPLOAD_SLOT_S = 0.1


@dataclass(frozen=True, slots=True)
class Excess:
    """A call over a limit: which (as Exchange names it, and as the violation is counted) and how long to wait."""

    limit: str
    violation: str
    retry_after_s: int


class _Upload(NamedTuple):
    """What was uploaded within one slot of time: it leaves the window with the last of it."""

    first_at: float
    last_at: float
    size_bytes: int


def _seconds(now: float, until: float) -> int:
    """The least number of whole seconds after which it is not before `until`; 0 if it is not before it now."""
    if until <= now:
        return 0
    seconds = math.ceil(until - now)
    return seconds if now + seconds >= until else seconds + 1


@dataclass(slots=True)
class Budget:
    """What one application may do to one mailbox, and what it has done. Times are seconds of one clock.

    A refused call counts against the windows like any other, but holds no place among the concurrent ones. Who is
    refused and waits as told passes, if nothing else is called meanwhile and the call is not larger than the limit.
    """

    in_flight: int = 0
    in_flight_seen_max: int = 0
    # Only the newest `window_max_requests` times and one more can decide whether the window is full.
    _calls: deque[float] = field(default_factory=deque)
    _uploads: deque[_Upload] = field(default_factory=deque)
    _uploaded_bytes: int = 0

    @property
    def times_held(self) -> int:
        """How many calls and uploads are in memory."""
        return len(self._calls) + len(self._uploads)

    def enter(self, now: float, upload_bytes: int, limits: Limits) -> Excess | None:
        """Counts a call that begins now. If it is not refused, `leave` must follow."""
        self.in_flight_seen_max = max(self.in_flight_seen_max, self.in_flight + 1)
        self.leave_behind(now, limits)
        self._count_call(now, limits.window_max_requests)
        if upload_bytes:
            self._count_upload(now, upload_bytes)
        excess = self._excess(upload_bytes, limits)
        if excess is None:
            self.in_flight += 1
            return None
        limit, violation = excess
        until = max(self._window_free_at(limits), self._upload_free_at(upload_bytes, limits))
        wait_s = max(limits.concurrency_retry_after_s if violation == "over_concurrency" else 1, _seconds(now, until))
        return Excess(limit, violation, wait_s)

    def leave(self) -> None:
        """The call has ended."""
        self.in_flight -= 1

    def leave_behind(self, now: float, limits: Limits) -> None:
        """Forgets what is older than the windows."""
        while self._calls and self._calls[0] + limits.window_s <= now:
            self._calls.popleft()
        while self._uploads and self._uploads[0].last_at + limits.upload_window_s <= now:
            self._uploaded_bytes -= self._uploads.popleft().size_bytes

    def _count_call(self, now: float, window_max_requests: int) -> None:
        if self._calls.maxlen != window_max_requests + 1:
            self._calls = deque(self._calls, maxlen=window_max_requests + 1)
        self._calls.append(now)

    def _excess(self, upload_bytes: int, limits: Limits) -> tuple[str, str] | None:
        """The first limit that this call, counted already, is over."""
        if self.in_flight >= limits.concurrent_max:
            return "MailboxConcurrency", "over_concurrency"
        if len(self._calls) > limits.window_max_requests:
            return "MailboxRequests", "over_window"
        if upload_bytes and self._uploaded_bytes > limits.upload_max_bytes:
            return "MailboxUpload", "over_upload"
        return None

    def _window_free_at(self, limits: Limits) -> float:
        """When there is room for the same call again, beside the refused one."""
        too_many = len(self._calls) + 1 - limits.window_max_requests
        return self._calls[too_many - 1] + limits.window_s if too_many > 0 else -math.inf

    def _upload_free_at(self, upload_bytes: int, limits: Limits) -> float:
        """When there is room for the same bytes again, beside the refused ones."""
        free_at, over_bytes = -math.inf, self._uploaded_bytes + upload_bytes - limits.upload_max_bytes
        for upload in self._uploads if upload_bytes else ():
            if over_bytes <= 0:
                break
            over_bytes -= upload.size_bytes
            free_at = upload.last_at + limits.upload_window_s
        return free_at

    def _count_upload(self, now: float, upload_bytes: int) -> None:
        # Uploads of the same tenth of a second are one entry, which bounds the queue.
        if self._uploads and now - self._uploads[-1].first_at < _UPLOAD_SLOT_S:
            slot = self._uploads[-1]
            self._uploads[-1] = _Upload(slot.first_at, now, slot.size_bytes + upload_bytes)
        else:
            self._uploads.append(_Upload(now, now, upload_bytes))
        self._uploaded_bytes += upload_bytes
