"""The budget as a value: exact edges of its windows, without a server or a clock."""

from simulator.graph.budget import Budget
from simulator.limits import Limits


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


def test_waiting_as_told_is_always_enough():
    limits = Limits(window_max_requests=5, window_s=60, upload_max_bytes=100, upload_window_s=30)
    budget, now, refused = Budget(), 0.0, 0
    for step in range(500):
        now += (step * 7 % 13) / 3
        excess = budget.enter(now, step % 40, limits)
        if excess is None:
            budget.leave()
            continue
        refused += 1
        now += excess.retry_after_s
        again = budget.enter(now, 0, limits)
        assert again is None or again.limit != excess.limit
        if again is None:
            budget.leave()
    assert refused > 10


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
    budget = Budget()
    budget.told_to_wait(100.0, 10, 0.5)
    assert [budget.inside_retry_after(at) for at in (100.4, 100.5, 109.9, 110.0)] == [False, True, True, False]
    budget.told_to_wait(105.0, 10, 0.5)
    assert [budget.inside_retry_after(at) for at in (105.1, 114.9, 115.0)] == [True, True, False]


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
