"""When a calendar is asked for again: intervals, windows, faults and a mailbox's budget."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from calbus.budget import WINDOW_S, MailboxBudget
from calbus.graph.errors import Fault, Scope
from schemas.reasons import Reason
from services.puller.pace import Allowance, Pace, Span, wait_after

PACE = Pace(120, 1_800, 5, 900, 300, 3_600, 3, 30)
NOW = datetime(2026, 11, 21, 13, 30, tzinfo=UTC)


def test_a_calendar_is_pulled_often_after_a_change_and_ever_more_seldom_without() -> None:
    waits = [PACE.next_interval_s(0.0, changed=True)]
    for _ in range(6):
        waits.append(PACE.next_interval_s(waits[-1], changed=False))
    assert waits == [120, 240, 480, 960, 1_800, 1_800, 1_800]
    assert PACE.next_interval_s(1_800, changed=True) == 120


def test_a_throttled_mailbox_rests_as_long_as_it_is_asked_to() -> None:
    wait = wait_after(Fault(Reason.THROTTLED, Scope.MAILBOX, 42.0), 3, PACE)
    assert (wait.wait_s, wait.soonest_s, wait.rests_s) == (42.0, 42.0, 42.0)


def test_a_passing_fault_is_waited_out_briefly_and_what_somebody_must_mend_for_longer() -> None:
    passing = Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY)
    assert [wait_after(passing, failures, PACE).wait_s for failures in (0, 1, 2, 50)] == [5, 10, 20, 900]
    assert wait_after(passing, 0, PACE).rests_s is None
    denied = Fault(Reason.ACCESS_DENIED, Scope.MAILBOX)
    assert [wait_after(denied, failures, PACE).wait_s for failures in (0, 1, 2, 50)] == [30, 300, 600, 3_600]


def test_who_has_mended_it_need_not_wait_and_microsoft_s_word_holds_for_the_whole_mailbox() -> None:
    denied = wait_after(Fault(Reason.ACCESS_DENIED, Scope.MAILBOX), 9, PACE)
    assert (denied.soonest_s, denied.rests_s) == (5, 0)
    told_to_wait = wait_after(Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, 60.0), 0, PACE)
    assert (told_to_wait.wait_s, told_to_wait.soonest_s, told_to_wait.rests_s) == (60, 60, 60)


def test_a_directory_that_keeps_us_out_is_not_asked_again_soon() -> None:
    assert wait_after(Fault(Reason.CONSENT_MISSING, Scope.DIRECTORY), 0, PACE).wait_s == 300


def test_the_window_is_whole_days_and_moves_on_when_its_time_has_come() -> None:
    span = Span(30, 180, 86_400)
    window = span.window(NOW)
    assert window == (datetime(2026, 10, 22, tzinfo=UTC), datetime(2027, 5, 21, tzinfo=UTC))
    assert window[1] >= NOW + timedelta(days=180)
    assert span.has_moved((None, None), None, NOW)
    assert not span.has_moved(window, NOW, NOW + timedelta(hours=23))
    assert span.has_moved(window, NOW, NOW + timedelta(hours=24))


@given(st.lists(st.floats(0, 60), max_size=300), st.integers(20, 1_000))
def test_no_ten_minutes_hold_more_requests_than_the_budget(gaps_s: list[float], limit: int) -> None:
    allowance, now, sent = Allowance(MailboxBudget(limit), None), NOW, []
    for gap_s in [*gaps_s, *[0.0] * (2 * limit)]:
        now += timedelta(seconds=gap_s)
        now += timedelta(seconds=allowance.wait_s(now))
        allowance.spend(now)
        sent.append(now)
    first = 0
    for last, moment in enumerate(sent):
        while (moment - sent[first]).total_seconds() >= WINDOW_S:
            first += 1
        assert last - first + 1 <= limit + 1
