"""The budget as a value: exact edges of its windows, without a server or a clock."""

from hypothesis import given
from hypothesis import strategies as st

from simulator.exchange.mailbox import MailboxKind
from simulator.graph.budget import Budget
from simulator.graph.told import SWEPT_FROM, Place, Told, ToldToWait, Wait
from simulator.limits import Limits
from simulator.world import World


def test_the_window_opens_exactly_when_the_oldest_call_leaves_it():
    budget, limits = Budget(), Limits(window_max_requests=3, window_s=10)
    for at in (0.0, 1.0, 2.0):
        assert budget.enter(at, 0, limits) is None
        budget.leave()
    assert budget.enter(10.0, 0, limits) is None
    budget.leave()
    excess = budget.enter(10.9, 0, limits)
    assert excess is not None
    assert (excess.limit, excess.retry_after_s) == ("MailboxRequests", 2)
    assert budget.enter(12.0, 0, limits) is None


@given(
    st.lists(st.tuples(st.floats(0, 40), st.integers(0, 100), st.integers(0, 3)), max_size=60),
    st.integers(1, 4),
    st.integers(1, 6),
)
def test_waiting_as_told_is_always_enough(steps, concurrent_max, window_max_requests):
    """Whatever was called and refused before, the refused call passes when it comes again as it was told to."""
    limits = Limits(
        concurrent_max=concurrent_max,
        window_max_requests=window_max_requests,
        window_s=60,
        upload_max_bytes=100,
        upload_window_s=30,
    )
    budget, now = Budget(), 1_795_000_000.0
    for pause_s, upload_bytes, left in steps:
        now += pause_s
        for _ in range(min(left, budget.in_flight)):
            budget.leave()
        excess = budget.enter(now, upload_bytes, limits)
        if excess is None:
            continue
        while budget.in_flight:
            budget.leave()
        now += excess.retry_after_s
        assert budget.enter(now, upload_bytes, limits) is None


def test_a_refused_upload_is_waited_for_too():
    budget, limits = Budget(), Limits(upload_max_bytes=100, upload_window_s=30)
    assert budget.enter(0.0, 80, limits) is None
    excess = budget.enter(10.0, 60, limits)
    # Both are in the window: the first until 30, the refused one, beside which it would not fit either, until 40.
    assert excess is not None
    assert (excess.limit, excess.retry_after_s) == ("MailboxUpload", 30)
    assert budget.enter(40.0, 60, limits) is None


def test_uploads_of_one_moment_never_leave_early():
    budget, limits = Budget(), Limits(upload_max_bytes=100, upload_window_s=30)
    assert budget.enter(0.0, 50, limits) is None
    assert budget.enter(0.09, 50, limits) is None
    assert budget.enter(30.05, 1, limits) is not None


def test_what_is_older_than_the_windows_is_let_go():
    budget, limits = Budget(), Limits()
    for call in range(12_000):
        assert budget.enter(call * 10.0, 100, limits) is None
        budget.leave()
        assert budget.times_held <= limits.window_s / 10 + limits.upload_window_s / 10 + 1
    budget.leave_behind(12_000 * 10.0 + limits.window_s, limits)
    assert budget.times_held == 0


def test_a_mailbox_nobody_calls_lets_go_too():
    world = World()
    tenant = world.put_tenant("t", None)
    quiet, busy = (tenant.put_user(name, None, None, MailboxKind.OK, "UTC") for name in ("quiet", "busy"))
    budget = tenant.budget("app", quiet)
    budget.enter(tenant.now(), 0, tenant.limits)
    tenant.clock_offset_s += tenant.limits.window_s + 1
    tenant.budget("app", busy)
    assert budget.times_held == 0


def test_a_refused_call_holds_no_place():
    budget, limits = Budget(), Limits(concurrent_max=1)
    assert budget.enter(0.0, 0, limits) is None
    assert budget.enter(0.1, 0, limits) is not None
    budget.leave()
    assert budget.in_flight == 0
    assert budget.enter(0.2, 0, limits) is None
    assert budget.in_flight_seen_max == 2


def test_a_window_can_be_widened_and_narrowed():
    budget = Budget()
    narrow, wide = Limits(window_max_requests=1, window_s=100), Limits(window_max_requests=3, window_s=100)
    outcomes = [budget.enter(float(at), 0, limits) is None for at, limits in enumerate((wide, wide, narrow, wide))]
    assert outcomes == [True, True, False, True]


def test_a_retry_after_has_a_beginning_and_an_end():
    told = Told()
    told.told_to_wait(100.0, 10, 0.5)
    assert [told.inside_retry_after(at) for at in (100.4, 100.5, 109.9, 110.0)] == [False, True, True, False]
    told.told_to_wait(105.0, 10, 0.5)
    assert [told.inside_retry_after(at) for at in (105.1, 114.9, 115.0)] == [True, True, False]


def test_places_are_told_apart_and_forgotten():
    told = ToldToWait()
    for number in range(3 * SWEPT_FROM):
        told.tell(Wait(Place("app", "mailbox", str(number)), 10), float(number), 0.0)
    assert len(told) <= SWEPT_FROM
    now = 3.0 * SWEPT_FROM
    assert told.inside(Place("app", "mailbox", str(3 * SWEPT_FROM - 1)), now)
    others = [Place("other", "mailbox", "0"), Place("app", "directory"), Place("app", "batch")]
    assert not any(told.inside(place, now) for place in others)


def test_the_documented_number_of_calls_in_ten_minutes():
    budget, limits = Budget(), Limits()
    for call in range(10_000):
        assert budget.enter(call * 0.06, 0, limits) is None
        budget.leave()
    excess = budget.enter(599.99, 0, limits)
    assert excess is not None
    assert (excess.limit, excess.retry_after_s) == ("MailboxRequests", 1)


def test_the_documented_upload_in_five_minutes():
    budget, limits, four_mb = Budget(), Limits(), 4 * 1024 * 1024
    for upload in range(37):
        assert budget.enter(upload * 8.0, four_mb, limits) is None
        budget.leave()
    assert budget.enter(299.0, four_mb // 2, limits) is None
    budget.leave()
    excess = budget.enter(299.5, 1, limits)
    assert excess is not None
    assert (excess.limit, excess.retry_after_s) == ("MailboxUpload", 1)
    assert budget.enter(299.6, 0, limits) is None
    budget.leave()
    assert budget.enter(300.0, four_mb - 1, limits) is None
