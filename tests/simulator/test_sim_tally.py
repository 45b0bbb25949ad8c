"""The tally as a value: what it lets pass in any window, how long it has callers wait, how little it holds."""

import random
from dataclasses import replace

from simulator.graph.application_budget import APPLICATIONS_SWEPT_FROM, ApplicationBudgets
from simulator.graph.directory_budget import directory_units_max
from simulator.graph.tally import SLOTS_PER_WINDOW, Tally
from simulator.limits import Limits

DOCUMENTED = Limits()


def test_no_stretch_of_a_windows_length_gets_more_than_allowed():
    dice = random.Random(7)
    tally, now, spent, refused = Tally(), 1000.0, [], 0
    for _ in range(1_500):
        now += dice.choice((0.0, 0.001, 0.02, 0.3, 1.7))
        amount = dice.randint(1, 5)
        refused += tally.spend(now, amount, 60, 10.0) is not None
        spent.append((now, amount))
        in_window = sum(size for at, size in spent if at > now - 10.0)
        assert tally.total >= in_window
        # What is held longer than the window is no older than a slot more.
        assert tally.total <= sum(size for at, size in spent if at > now - 10.0 * (1 + 1 / SLOTS_PER_WINDOW) - 1e-6)
    assert 0 < refused < 1_500


def test_waiting_as_told_is_always_enough():
    tally, now, refused = Tally(), 0.0, 0
    for step in range(500):
        now += (step * 7 % 13) / 50
        wait_s = tally.spend(now, 1 + step % 5, 40, 10.0)
        if wait_s is not None:
            refused += 1
            now += wait_s
            assert tally.spend(now, 1 + step % 5, 40, 10.0) is None
    assert refused > 5


def test_what_never_fits_waits_a_window():
    assert Tally().spend(0.0, 6, 5, 10.0) == 10


def test_the_documented_number_fills_few_slots():
    tally, number, window_s = Tally(), DOCUMENTED.application_max_requests, DOCUMENTED.application_window_s
    outcomes = {tally.spend(call * window_s / number, 1, number, window_s) for call in range(number)}
    assert outcomes == {None}
    wait_s = tally.spend(window_s - 0.001, 1, number, window_s)
    assert (tally.total, wait_s) == (number + 1, 1)
    assert tally.slots_held <= SLOTS_PER_WINDOW + 2


def test_silent_applications_are_forgotten():
    budgets = ApplicationBudgets()
    for number in range(3 * APPLICATIONS_SWEPT_FROM):
        budgets.count(number * 1.0, f"app-{number}", DOCUMENTED)
    assert len(budgets.tallies) <= APPLICATIONS_SWEPT_FROM
    assert budgets.count(1e6, "app", replace(DOCUMENTED, application_max_requests=None)) is None


def test_the_units_of_a_tenant_go_by_its_size():
    sizes = (0, 49, 50, 500, 501)
    assert [directory_units_max(DOCUMENTED, users) for users in sizes] == [3_500, 3_500, 5_000, 5_000, 8_000]
