"""How fast an endpoint answers, and what the service does to slow ones. Decisions on numbers; no clock of its own.

Source: Microsoft docs "change-notifications-delivery-webhooks" (2026-04): of the answers in ten minutes, more than 10 %
over 3 s make an endpoint slow, more than 15 % over 10 s make notifications drop; either lasts ten minutes.
"""

import math
from collections import deque
from dataclasses import dataclass, field

from simulator.limits import Limits

WINDOW_S = 600.0
SLOW_SHARE = 0.10
DROP_SHARE = 0.15
SAMPLES_MAX = 1000


@dataclass(slots=True)
class Pace:
    """The answers of one endpoint within the window, at most the newest thousand, and what follows from them."""

    slow_until_s: float = -math.inf
    drop_until_s: float = -math.inf
    _samples: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=SAMPLES_MAX))

    def note(self, now: float, took_ms: float, limits: Limits) -> None:
        """Counts an answer, or a time-out, that took so long, and judges the endpoint anew."""
        self._samples.append((now, took_ms))
        while self._samples[0][0] <= now - WINDOW_S:
            self._samples.popleft()
        count = len(self._samples)
        if count < limits.notification_judged_min:
            return
        if self._over(limits.notification_drop_ms) > DROP_SHARE * count:
            self.drop_until_s = now + WINDOW_S
        elif self._over(limits.notification_slow_ms) > SLOW_SHARE * count:
            self.slow_until_s = now + WINDOW_S

    def _over(self, limit_ms: float) -> int:
        return sum(1 for _, took_ms in self._samples if took_ms > limit_ms)

    def drops(self, now: float) -> bool:
        """Whether a new notification is discarded."""
        return now < self.drop_until_s

    def delay_s(self, now: float) -> float:
        """How much later than usual is sent what is not discarded."""
        if self.drops(now):
            return self.drop_until_s - now
        return WINDOW_S if now < self.slow_until_s else 0.0
