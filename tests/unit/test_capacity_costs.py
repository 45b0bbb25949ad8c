"""What the benchmark of capacity makes of its measurements. Made-up figures; no engine."""

import pytest

from bench.capacity import costs_of, stage_of


def sizes(**by_name: tuple[int, float, float]) -> dict[str, dict[str, float]]:
    return {
        name: {"entries": entries, "cpu_us": cpu_us, "clock_us": clock_us}
        for name, (entries, cpu_us, clock_us) in by_name.items()
    }


STAGE = sizes(one=(1, 550.0, 3_570.0), full=(401, 20_550.0, 31_570.0))
CALL = sizes(one=(1, 350.0, 9_000.0), full=(21, 1_350.0, 9_000.0))


def test_a_stage_is_the_line_through_one_and_many() -> None:
    stage = stage_of(STAGE)
    assert (stage.group_cpu_s, stage.each_cpu_s) == pytest.approx((0.000_5, 0.000_05))
    assert (stage.group_wait_s, stage.each_wait_s) == pytest.approx((0.003, 0.000_02))
    assert stage.cpu_s(401) == pytest.approx(0.020_55)
    assert stage.cpu_s(401) + stage.waits_s(401) == pytest.approx(0.031_57)


def test_a_stage_that_is_no_dearer_for_more_has_no_negative_part() -> None:
    stage = stage_of({"one": STAGE["full"], "full": STAGE["one"] | {"entries": 400}})
    assert min(stage.group_cpu_s, stage.each_cpu_s, stage.group_wait_s, stage.each_wait_s) >= 0


def test_what_the_stages_do_not_account_for_is_the_wakeups() -> None:
    costs = costs_of(
        {
            "stages": {"load": STAGE, "send": CALL, "record": STAGE},
            "writer": {"cpu_us_each": 250.0},
            "idle": {"calendar_p10_over_graph_ms": 14.0},
            "ingest": {"way_p10_ms": 20.0},
        }
    )
    # Two stages of 50 µs, a twentieth of a call's 300 and its item's 50 µs; and the groups' own, among 400.
    assert costs.entry_cpu_s(20) == pytest.approx(0.000_25, abs=0.000_003)
    assert costs.wakeup_cpu_s == pytest.approx(0.000_082_5)
    # Loading, and the call's processor, are no part of the way to the lane.
    assert costs.way_s == pytest.approx(0.020 + 0.014 - 0.003_57 - 0.000_35)
    assert costs.send.waits_s(20) == 0
