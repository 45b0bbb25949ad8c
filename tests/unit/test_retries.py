"""When a fault is tried again, and which one ends a plan."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbus.graph import errors
from calbus.graph.errors import Fault, Scope
from schemas.reasons import NextActor, Reason, explain
from services.writer.reconciler import Step
from services.writer.retries import RELOADS_AT_ONCE_MAX, Backoff, GiveUp, Retry, RetryPolicy, decide_retry

POLICY = RetryPolicy(passing=Backoff(1.0, 300.0), reprobe=Backoff(60.0, 3_600.0))
STEPS = [step for step in Step if step is not Step.NOTHING]
# What an answer of Graph or Entra, or its absence, can come to.
POSSIBLE = {
    Reason.THROTTLED,
    Reason.GRAPH_UNAVAILABLE,
    Reason.GRAPH_UNREACHABLE,
    Reason.TOKEN_REJECTED,
    Reason.ACCESS_DENIED,
    Reason.ACCESS_POLICY,
    Reason.EVENT_GONE,
    Reason.CONFLICT,
    Reason.EVENT_REJECTED,
    Reason.ENTRA_UNAVAILABLE,
    *errors._MAILBOX_404.values(),
    *errors._AADSTS.values(),
    *errors._OAUTH.values(),
}

attempts = st.integers(0, 2**31 - 1)
spreads = st.floats(0, 1)
waits = st.none() | st.floats(0, errors.RETRY_AFTER_MAX_S)
faults = st.builds(Fault, reason=st.sampled_from(sorted(POSSIBLE)), scope=st.sampled_from(Scope), retry_after_s=waits)


def decided(fault: Fault, step: Step = Step.UPDATE, attempts: int = 0, *, reload: bool = False) -> Retry | GiveUp:
    return decide_retry(fault, step, attempts, POLICY, spread=0.0, reload=reload)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("reason", sorted(POSSIBLE))
def test_only_a_refusal_of_what_was_written_ends_a_plan(reason: Reason, step: Step) -> None:
    over = isinstance(decided(Fault(reason, Scope.ENTRY), step), GiveUp)
    refusable = (Step.CREATE, Step.UPDATE, Step.LOOK, Step.MOVE, Step.CANCEL)
    assert over == (reason is Reason.EVENT_REJECTED and step in refusable)


def test_a_plan_that_ends_tells_its_reason() -> None:
    assert decided(Fault(Reason.EVENT_REJECTED, Scope.ENTRY)) == GiveUp(Reason.EVENT_REJECTED)


def test_a_throttled_mailbox_waits_as_long_as_microsoft_asked() -> None:
    assert decided(Fault(Reason.THROTTLED, Scope.MAILBOX, 17.0), attempts=9) == Retry(17.0)


@pytest.mark.parametrize("reason", sorted(POSSIBLE - {Reason.EVENT_REJECTED, Reason.THROTTLED}))
def test_what_others_must_mend_is_tried_at_the_slow_pace(reason: Reason) -> None:
    first_s = 1.0 if explain(reason).next_actor is NextActor.CALBUS else 60.0
    assert decided(Fault(reason, Scope.ENTRY)) == Retry(first_s)


def test_a_conflict_is_looked_at_again_at_once_a_few_times_and_then_waits() -> None:
    fault = Fault(Reason.CONFLICT, Scope.ENTRY)
    waits = [decided(fault, attempts=attempts, reload=True) for attempts in range(RELOADS_AT_ONCE_MAX + 1)]
    assert waits == [Retry(0.0)] * RELOADS_AT_ONCE_MAX + [Retry(8.0)]


@given(faults, st.sampled_from(STEPS), attempts, spreads, st.booleans())
def test_no_wait_is_shorter_than_microsoft_asked(
    fault: Fault, step: Step, attempts: int, spread: float, reload: bool
) -> None:
    decision = decide_retry(fault, step, attempts, POLICY, spread=spread, reload=reload)
    if isinstance(decision, Retry):
        assert decision.after_s >= (fault.retry_after_s or 0.0)


@given(faults, st.sampled_from(STEPS), attempts, spreads, st.booleans())
def test_every_wait_is_bounded(fault: Fault, step: Step, attempts: int, spread: float, reload: bool) -> None:
    decision = decide_retry(fault, step, attempts, POLICY, spread=spread, reload=reload)
    if isinstance(decision, Retry):
        assert 0.0 <= decision.after_s <= max(POLICY.reprobe.max_s, errors.RETRY_AFTER_MAX_S)


@given(st.floats(0.001, 600), st.floats(0.001, 86_400), attempts, spreads)
def test_waits_grow_with_the_attempts_up_to_the_longest(
    first_s: float, max_s: float, attempts: int, spread: float
) -> None:
    backoff = Backoff(first_s, max_s)
    waits = [backoff.wait_s(number, spread) for number in (attempts, attempts + 1)]
    assert waits == sorted(waits)
    assert waits[1] <= max_s


@given(st.floats(0.001, 600), st.floats(0.001, 86_400), attempts, spreads)
def test_the_spread_takes_away_half_at_most(first_s: float, max_s: float, attempts: int, spread: float) -> None:
    backoff = Backoff(first_s, max_s)
    assert backoff.wait_s(attempts, 0.0) / 2 <= backoff.wait_s(attempts, spread) <= backoff.wait_s(attempts, 0.0)


def test_waits_double() -> None:
    assert [Backoff(1.0, 300.0).wait_s(number, 0.0) for number in (0, 1, 2, 8, 9)] == [1.0, 2.0, 4.0, 256.0, 300.0]


def test_a_throttled_mailbox_is_never_asked_again_at_once() -> None:
    assert decided(Fault(Reason.THROTTLED, Scope.MAILBOX, 0.0)) == Retry(POLICY.passing.first_s)
