"""When to ask again: the decisions about intervals, windows, faults and a mailbox's budget. Pure."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from calbus.budget import MailboxBudget
from calbus.graph.errors import Fault, Scope
from schemas.reasons import NextActor, Reason, explain

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a calendar is pulled, and how long faults are waited out."""

    busy_s: float
    idle_s: float
    retry_first_s: float
    retry_max_s: float
    reprobe_first_s: float
    reprobe_max_s: float
    later_s: float
    confirm_s: float = 30.0
    """What somebody else must mend is looked at once more, after so long, before it is believed."""

    def next_interval_s(self, last_s: float, *, changed: bool) -> float:
        """Short after a change, then doubling up to the idle interval."""
        if changed or last_s <= 0:
            return min(self.busy_s, self.idle_s)
        return min(max(last_s, self.busy_s) * 2, self.idle_s)

    def later_again_s(self, attempts: int) -> float:
        """Until an event that could not be told is read again."""
        return min(self.later_s * 2.0 ** min(attempts, 20), max(self.retry_max_s, self.later_s))


@dataclass(frozen=True, slots=True)
class Wait:
    """For how long a calendar is left alone; `soonest_s`: no shorter, even if somebody asks for it meanwhile.

    `rests_s`: so long nothing else of the mailbox is asked for either; None if its other calendars may go on.
    """

    wait_s: float
    soonest_s: float
    rests_s: float | None


def wait_after(fault: Fault, failures: int, pace: Pace) -> Wait:
    """How long to leave a calendar, or its mailbox, alone after a fault. Never shorter than Microsoft asked for.

    `failures`: how often in a row it met the like of it before.
    """
    asked_s = fault.retry_after_s or 0.0
    if fault.reason is Reason.THROTTLED:
        wait_s = max(asked_s, 1.0)
        return Wait(wait_s, wait_s, wait_s)
    if is_passing(fault.reason):
        first_s, max_s, doublings = pace.retry_first_s, pace.retry_max_s, failures
    elif failures == 0 and fault.scope is not Scope.DIRECTORY:
        first_s, max_s, doublings = pace.confirm_s, pace.reprobe_max_s, 0
    else:
        first_s, max_s, doublings = pace.reprobe_first_s, pace.reprobe_max_s, max(failures - 1, 0)
    wait_s = max(min(first_s * 2.0 ** min(doublings, 30), max_s), asked_s)
    # Somebody who has mended it may ask at once: the mailbox itself rests only for as long as Microsoft wants.
    soonest_s = max(min(wait_s, pace.retry_first_s), asked_s)
    return Wait(wait_s, soonest_s, asked_s if fault.scope is not Scope.ENTRY or asked_s else None)


def is_passing(reason: Reason) -> bool:
    """Whether it goes away without anybody but calbus."""
    return explain(reason).next_actor in (NextActor.CALBUS, NextActor.NOBODY)


@dataclass(frozen=True, slots=True)
class Span:
    """How far back and ahead appointments are told, and how often that moves on."""

    back_days: int
    ahead_days: int
    roll_s: float

    def window(self, now: datetime) -> tuple[datetime, datetime]:
        """Whole days in UTC, so that it is the same for as long as possible."""
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        return today - self.back_days * _DAY, today + (self.ahead_days + 1) * _DAY

    def has_moved(
        self, window: tuple[datetime | None, datetime | None], rolled_at: datetime | None, now: datetime
    ) -> bool:
        """Whether it is time for a full round over a newer window."""
        if rolled_at is None or None in window:
            return True
        return window != self.window(now) and (now - rolled_at).total_seconds() >= self.roll_s


class Allowance:
    """What may still be asked of one mailbox: a token bucket whose only state is a time, which outlives the process."""

    def __init__(self, budget: MailboxBudget, spent_until: datetime | None) -> None:
        self._budget = budget
        self.spent_until = spent_until

    def wait_s(self, now: datetime) -> float:
        """Seconds until a request may be sent; 0 if it may now."""
        if self.spent_until is None:
            return 0.0
        ahead_s = (self.spent_until - now).total_seconds()
        return max(ahead_s - (self._budget.burst_requests - 1) * self._budget.interval_s, 0.0)

    def spend(self, now: datetime) -> None:
        """A request is sent."""
        begin = now if self.spent_until is None else max(self.spent_until, now)
        self.spent_until = begin + timedelta(seconds=self._budget.interval_s)
