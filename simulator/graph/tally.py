"""What was spent in a sliding window, counted in slots of time, so that its size does not grow with what it counts.

A tally counts; it neither waits nor answers.
"""

import math
from collections import deque
from dataclasses import dataclass, field

SLOTS_PER_WINDOW = 100


@dataclass(slots=True)
class Tally:
    """Amounts of one window; times are seconds of one clock.

    An amount stays at least the window's length, and at most one slot (a hundredth of it) longer: in no stretch of
    that length is more let pass than allowed. At most `SLOTS_PER_WINDOW` + 2 numbers are held per window length.
    """

    total: int = 0
    # Each slot with the moment it is closed, from which its whole amount is taken to date.
    _slots: deque[tuple[float, int]] = field(default_factory=deque)

    @property
    def slots_held(self) -> int:
        """How many slots are in memory."""
        return len(self._slots)

    def leave_behind(self, now: float, window_s: float) -> None:
        """Forgets what is older than the window."""
        while self._slots and self._slots[0][0] + window_s <= now:
            self.total -= self._slots.popleft()[1]

    def spend(self, now: float, amount: int, amount_max: int, window_s: float) -> int | None:
        """Counts an amount, refused or not. None if it is allowed, else the whole seconds after which it would be."""
        self.leave_behind(now, window_s)
        self.total += amount
        if self._slots and now < self._slots[-1][0]:
            closed_at, before = self._slots[-1]
            self._slots[-1] = (closed_at, before + amount)
        else:
            self._slots.append((now + window_s / SLOTS_PER_WINDOW, amount))
        return None if self.total <= amount_max else self._wait_s(now, amount, amount_max, window_s)

    def _wait_s(self, now: float, amount: int, amount_max: int, window_s: float) -> int:
        """Until the same amount passes, if nothing else is spent meanwhile."""
        left = self.total
        for closed_at, slot_amount in self._slots:
            left -= slot_amount
            if left + amount <= amount_max:
                return max(1, math.ceil(closed_at + window_s - now))
        return max(1, math.ceil(window_s))
