"""The retry decision: a fault and the attempts so far give when to try again, or that it is over. Pure."""

from dataclasses import dataclass

from calbus.graph.errors import Fault
from schemas.reasons import NextActor, Reason, explain
from services.writer.reconciler import Step

# So many times a conflict is simply looked at again; then it waits like any passing fault.
RELOADS_AT_ONCE_MAX = 3
_DOUBLINGS_MAX = 30
_REFUSABLE = (Step.CREATE, Step.UPDATE, Step.LOOK, Step.MOVE, Step.CANCEL)


@dataclass(frozen=True, slots=True)
class Backoff:
    """The first wait, and the longest, in seconds."""

    first_s: float
    max_s: float

    def wait_s(self, attempts: int, spread: float) -> float:
        """Doubles with each attempt; `spread` between 0 and 1 takes up to half of it away, lest all return at once."""
        full = min(self.first_s * 2.0 ** min(attempts, _DOUBLINGS_MAX), self.max_s)
        return full * (1 - spread / 2)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """`passing`: the fault goes away by itself. `reprobe`: somebody else must act first."""

    passing: Backoff
    reprobe: Backoff


@dataclass(frozen=True, slots=True)
class Retry:
    """Try again after this many seconds; zero is at once."""

    after_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The plan has failed: as it is, it would be refused again."""

    reason: Reason


def decide_retry(
    fault: Fault, step: Step, attempts: int, policy: RetryPolicy, *, spread: float, reload: bool
) -> Retry | GiveUp:
    """What to do about a fault after `attempts` earlier ones. Never waits less than Microsoft asked for.

    Only a refusal of what we wrote ends a plan. Everything else is tried for as long as the plan stands.
    """
    if fault.reason is Reason.EVENT_REJECTED and step in _REFUSABLE:
        return GiveUp(fault.reason)
    asked_s = fault.retry_after_s or 0.0
    if fault.reason is Reason.THROTTLED:
        # Told to wait no time (a date that our clock has passed, say), we wait a little: refused calls count too.
        return Retry(max(asked_s, policy.passing.first_s))
    if fault.reason is Reason.IN_DOUBT:
        return Retry(asked_s)
    if reload and attempts < RELOADS_AT_ONCE_MAX:
        return Retry(asked_s)
    passing = explain(fault.reason).next_actor is NextActor.CALBUS
    backoff = policy.passing if passing else policy.reprobe
    return Retry(max(backoff.wait_s(attempts, spread), asked_s))
