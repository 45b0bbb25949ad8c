"""Capacity: what is foretold, and the properties that any simulated writer has. No clock, no I/O."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import orjson
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from calbus.budget import WINDOW_S
from calbus.graph.calls import BATCH_AT_A_TIME
from services.writer.capacity import Forecast, busiest_share, foretell
from services.writer.capacity_command import _capacity
from services.writer.capacity_costs import Costs, Stage, measured
from services.writer.capacity_graph import APPLICATION_MAX_REQUESTS_PER_S, Latency, Request, SimulatedGraph
from services.writer.capacity_load import Change, Crowd, Load
from services.writer.capacity_pod import Fate, Pod, SimulatedPod
from services.writer.lanes import LaneLimits
from services.writer.settings import LaneSettings
from tests.support.examples import shown

POD = Pod(
    limits=LaneLimits(max_in_flight=3, max_requests_per_10_min=9_000, max_entries=1_000, max_entries_of_all=20_000),
    max_calls=64,
    sweep_interval_s=1.0,
    requests_per_entry=1.0,
    latency=Latency(0.25, 0.5),
    costs=Costs(
        way_s=0.02,
        wakeup_cpu_s=0.000_1,
        load=Stage(0.000_5, 0.000_1, 0.003, 0.000_02),
        send=Stage(0.000_3, 0.000_1, 0.0, 0.0),
        record=Stage(0.000_5, 0.000_2, 0.004, 0.000_05),
    ),
)
STEADY = replace(POD, latency=Latency(0.1, 0.0))
SAMPLE = 1_200


def simulated(changes: list[Change], pod: Pod = POD) -> tuple[list[Fate], SimulatedGraph]:
    writer = SimulatedPod(pod, seed=1)
    return writer.run(changes), writer.graph


def told(users: int, pod: Pod = POD, **given: object) -> Forecast:
    load = {name: given.pop(name) for name in list(given) if name in Load.__dataclass_fields__}
    return foretell(Load(users, **load), pod, **{"sample_changes": SAMPLE, **given})  # type: ignore[arg-type]


def lag(fates: list[Fate], share: float) -> float:
    lags = sorted(fate.lag_s for fate in fates)
    return lags[int(share * (len(lags) - 1))]


# -- one change, one mailbox ------------------------------------------------------------------------------------------


def test_a_change_in_an_idle_system_takes_one_call_and_the_way_there_and_back() -> None:
    [fate], graph = simulated([Change(5.0, 1, 1)], STEADY)
    assert fate.lag_s == pytest.approx(0.1 + STEADY.overhead_s)
    assert fate.lag_s == pytest.approx(fate.alone_s)
    assert (graph.requests, graph.calls) == (1, 1)


def test_a_backlog_of_one_mailbox_goes_three_at_a_time() -> None:
    fates, graph = simulated([Change(0.0, 1, 1)] * 60, STEADY)
    at_best_s = 60 / 3 * 0.1
    assert at_best_s < max(fate.lag_s for fate in fates) < 1.5 * at_best_s
    assert graph.most_in_flight == 3


def test_changes_of_many_mailboxes_of_a_tenant_share_calls() -> None:
    _, graph = simulated([Change(0.0, mailbox, 1) for mailbox in range(400)], STEADY)
    assert graph.requests / graph.calls == BATCH_AT_A_TIME
    _, graph = simulated([Change(0.0, mailbox, 1) for mailbox in range(4_000)], STEADY)
    assert graph.requests / graph.calls > 8


def test_tenants_share_no_call() -> None:
    _, graph = simulated([Change(0.0, mailbox, mailbox) for mailbox in range(400)], STEADY)
    assert graph.calls == 400


def test_an_import_into_one_mailbox_delays_no_other() -> None:
    others = [Change(number / 10, 10 + number % 50, 1) for number in range(600)]
    with_import = sorted([*others, *[Change(1.0, 1, 1)] * 3_000], key=lambda change: change.at_s)
    fates, graph = simulated(with_import, STEADY)
    before, _ = simulated(others, STEADY)
    after = [fate for fate in fates if fate.change.mailbox != 1]
    assert lag(after, 0.99) < lag(before, 0.99) + 0.6
    assert graph.throttled == 0


def test_an_entry_of_two_requests_takes_both() -> None:
    [fate], graph = simulated([Change(0.0, 1, 1)], replace(STEADY, requests_per_entry=2.0))
    assert fate.lag_s == pytest.approx(0.2 + STEADY.overhead_s + STEADY.costs.send.cpu_s(1))
    assert graph.requests == 2


# -- the processor ----------------------------------------------------------------------------------------------------


def test_where_graph_is_quick_a_writer_gets_through_what_its_core_does() -> None:
    quick = replace(POD, latency=Latency(0.001, 0.0))
    at_best_s = 2_000 * POD.costs.entry_cpu_s(20)
    fates, _ = simulated([Change(0.0, mailbox, 1) for mailbox in range(2_000)], quick)
    assert at_best_s < max(fate.lag_s for fate in fates) < 1.3 * at_best_s


def test_calls_that_carry_one_entry_cost_the_core_more() -> None:
    quick = replace(POD, latency=Latency(0.001, 0.0))
    fates, _ = simulated([Change(0.0, mailbox, mailbox) for mailbox in range(1_000)], quick)
    took_s = max(fate.lag_s for fate in fates)
    assert POD.costs.entry_cpu_s(1) > 1.5 * POD.costs.entry_cpu_s(20)
    assert took_s > 1_000 * POD.costs.entry_cpu_s(1)


def test_a_core_half_as_fast_takes_twice_the_processor_and_waits_as_long() -> None:
    slow = POD.costs.on_a_core(2.0)
    assert slow.entry_cpu_s(20) == pytest.approx(2 * POD.costs.entry_cpu_s(20))
    assert slow.record.cpu_s(400) == pytest.approx(2 * POD.costs.record.cpu_s(400))
    assert slow.record.waits_s(400) == POD.costs.record.waits_s(400)
    assert slow.way_s == POD.costs.way_s


def test_the_measured_costs_are_some() -> None:
    costs = measured()
    assert 0.000_01 < costs.entry_cpu_s(20) < costs.entry_cpu_s(1) < 0.01
    assert 0.001 < costs.idle_s < 1.0


# -- the witness: what Graph would refuse -----------------------------------------------------------------------------


def test_graph_refuses_a_fourth_beside_the_pullers() -> None:
    graph = SimulatedGraph()
    for _ in range(3):
        assert graph.send([Request(1, 1.0)], 0.0)[1] == [0.0]
    assert graph.send([Request(1, 1.0)], 0.5)[1] == [1.0]
    assert graph.send([Request(1, 1.0)], 1.0)[1] == [0.0]
    assert (graph.throttled, graph.most_in_flight) == (1, 4)


def test_graph_works_on_four_items_of_a_batch_at_a_time() -> None:
    answered_s, _ = SimulatedGraph().send([Request(mailbox, 0.1) for mailbox in range(20)], 7.0)
    assert answered_s == pytest.approx(7.5)


def test_lanes_that_are_set_too_wide_are_throttled_and_all_is_written_nevertheless() -> None:
    wide = replace(STEADY, limits=replace(STEADY.limits, max_in_flight=4))
    fates, graph = simulated([Change(0.0, 1, 1)] * 100, wide)
    assert graph.throttled > 0
    assert max(fate.lag_s for fate in fates) < float("inf")


def test_a_mailbox_with_more_than_the_window_takes_waits_for_it_and_is_not_throttled() -> None:
    small = replace(STEADY, limits=replace(STEADY.limits, max_requests_per_10_min=200))
    fates, graph = simulated([Change(0.0, 1, 1)] * 600, small)
    assert graph.throttled == 0
    assert graph.most_in_window <= 200
    assert 2 * WINDOW_S < max(fate.lag_s for fate in fates) < 4 * WINDOW_S


# -- properties -------------------------------------------------------------------------------------------------------

changes_of_any_kind = st.lists(
    st.tuples(st.floats(0.0, 20.0), st.integers(0, 5), st.integers(1, 30)), min_size=1, max_size=40
).map(
    lambda drawn: sorted(
        (Change(at_s, mailbox, mailbox % 3) for at_s, mailbox, items in drawn for _ in range(items)),
        key=lambda change: change.at_s,
    )
)


@settings(max_examples=shown(40))
@given(changes_of_any_kind, st.sampled_from([1.0, 1.5, 3.0]), st.sampled_from([3, 20, 1_000]))
def test_all_that_comes_is_written_once_and_within_the_limits(
    changes: list[Change], requests: float, max_entries: int
) -> None:
    pod = replace(POD, requests_per_entry=requests, limits=replace(POD.limits, max_entries=max_entries))
    fates, graph = simulated(changes, pod)
    assert [fate.change for fate in fates] == changes
    assert all(POD.costs.way_s + fate.graph_s < fate.lag_s < float("inf") for fate in fates)
    assert len(changes) <= graph.requests <= 3 * len(changes)
    assert graph.most_in_flight <= 3
    assert graph.throttled == 0


@settings(max_examples=shown(20))
@given(changes_of_any_kind)
def test_the_same_seed_gives_the_same_answer(changes: list[Change]) -> None:
    first, _ = simulated(changes)
    second, _ = simulated(changes)
    assert [fate.lag_s for fate in first] == [fate.lag_s for fate in second]


@pytest.mark.parametrize("seed", range(3))
def test_mailboxes_shared_out_among_more_pods_are_never_served_worse(seed: int) -> None:
    random = Random(seed)
    crowd = Crowd(400, 3, 0.8, 1.0)
    slow = replace(POD, max_calls=8)
    changes = list(crowd.everyday(60.0, 30.0, random))
    means = []
    for pods in (1, 2, 4):
        fates = []
        for one in range(pods):
            fates += simulated([change for change in changes if change.mailbox % pods == one], slow)[0]
        assert len(fates) == len(changes)
        means.append(sum(fate.lag_s for fate in fates) / len(fates))
    assert means[1] <= 1.02 * means[0]
    assert means[2] <= 1.02 * means[1]


# -- the forecast -----------------------------------------------------------------------------------------------------


def test_the_same_seed_foretells_the_same() -> None:
    given = {"imports": 2, "import_items": 300}
    assert told(20_000, seed=7, **given) == told(20_000, seed=7, **given)
    assert told(20_000, seed=7).everyday_lag != told(20_000, seed=8).everyday_lag


def test_what_is_small_is_simulated_whole() -> None:
    forecast = told(500)
    assert forecast.sample.is_whole
    assert forecast.pods == 1
    assert forecast.sample.changes == pytest.approx(1_000, rel=0.1)


def test_what_is_large_is_sampled_and_scaled() -> None:
    forecast = told(50_000_000)
    assert not forecast.sample.is_whole
    assert forecast.sample.changes == pytest.approx(SAMPLE, rel=0.1)
    assert forecast.graph.requests_per_day == pytest.approx(500_000_000, rel=0.01)
    assert forecast.share_of_pod <= 0.7
    assert forecast.graph.applications == -(-forecast.graph.requests_per_s // APPLICATION_MAX_REQUESTS_PER_S) == 3


def test_more_pods_are_never_fuller_nor_later() -> None:
    forecasts = [told(600_000, pods=pods, partitions=48) for pods in (1, 2, 4, 8)]
    for fewer, more in pairwise(forecasts):
        assert more.share_of_pod <= fewer.share_of_pod
        assert more.everyday_lag.p99_s <= 1.05 * fewer.everyday_lag.p99_s


def test_a_pod_that_is_too_few_is_said_to_fall_behind_for_the_whole_hour() -> None:
    forecast = told(2_000_000, pods=1)
    assert not forecast.keeps_up
    behind_s = (forecast.share_of_pod - 1) * 3_600
    assert 0.8 * behind_s < forecast.everyday_lag.max_s < 1.2 * behind_s + 60
    assert forecast.backlog_hours > 0
    assert forecast.waits.pod > 0.5


def test_partitions_bound_the_pods() -> None:
    forecast = told(5_000_000, partitions=3)
    assert forecast.pods == 3
    assert forecast.share_of_pod > 0.7


def test_a_slower_graph_takes_more_pods() -> None:
    slow = replace(POD, latency=Latency(1.0, 0.5))
    assert told(2_000_000, slow).pods > told(2_000_000).pods


def test_imports_beyond_the_sample_still_are_the_pods_work() -> None:
    forecast = told(10_000, imports=100, import_items=1_000)
    assert forecast.sample.imports < 100
    assert forecast.sample.of_changes == pytest.approx(10_000 * 10 * 0.2 + 100_000, rel=0.02)
    assert forecast.import_lag is not None
    assert forecast.import_lag.p50_s > forecast.everyday_lag.p50_s


def test_nobody_with_nothing_to_do_takes_a_pod_and_no_calls() -> None:
    forecast = told(10, items_per_day=0.0)
    assert (forecast.pods, forecast.graph.requests_per_day, forecast.sample.changes) == (1, 0.0, 0)


@pytest.mark.parametrize(("pods", "partitions"), [(2, 12), (5, 12), (12, 12)])
def test_the_busiest_pod_has_whole_partitions_and_bad_luck(pods: int, partitions: int) -> None:
    random = Random(1)
    users = 3_000
    shares = []
    for _ in range(20):
        owned = Counter(random.randrange(partitions) % pods for _ in range(users))
        shares.append(max(owned.values()) / users)
    assert sum(shares) / len(shares) <= busiest_share(pods, partitions, users) <= 1.2 * max(shares)


@pytest.mark.slow
def test_the_tables_of_the_capacity_page_are_up_to_date() -> None:
    generator = Path(__file__).parents[2] / "bench" / "capacity_tables.py"
    checked = subprocess.run([sys.executable, generator, "--check"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_answers_machines(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    _capacity(LaneSettings(), users=2_000, imports=1, import_items=100, sample=1_000, pods=1, json=True)
    answer = orjson.loads(capsysbinary.readouterr().out)
    assert answer["load"]["users"] == 2_000
    assert answer["everyday_lag"]["p50_s"] <= answer["everyday_lag"]["p99_s"] <= answer["everyday_lag"]["max_s"]
    assert (answer["graph"]["throttled"], answer["sample"]["is_whole"]) == (0, False)


def test_the_command_warns_of_what_no_pod_mends(capsys: pytest.CaptureFixture[str]) -> None:
    _capacity(LaneSettings(), users=40_000_000, sample=1_000, pods=50, partitions=50)
    out = capsys.readouterr().out
    assert "do not keep up" in out
    assert "applications, each with a calbus of its own" in out


@pytest.mark.parametrize("given", [{}, {"users": 10, "pods": 4, "partitions": 2}])
def test_the_command_says_what_is_wrong_with_what_it_was_asked(given: dict[str, int]) -> None:
    with pytest.raises(typer.Exit) as ended:
        _capacity(LaneSettings(), **given)  # type: ignore[arg-type]
    assert ended.value.exit_code == 2


# -- the load ---------------------------------------------------------------------------------------------------------


def test_changes_come_at_the_rate_asked_for() -> None:
    changes = list(Crowd(1_000, 4, 0.8, 1.0).everyday(50.0, 100.0, Random(1)))
    assert len(changes) == pytest.approx(5_000, rel=0.1)
    assert all(0 <= change.at_s < 100 and 0 <= change.mailbox < 1_000 for change in changes)


@pytest.mark.parametrize(("skew", "share"), [(0.0, 0.01), (1.0, 0.092)])
def test_skew_makes_some_users_busier(skew: float, share: float) -> None:
    changes = list(Crowd(10_000, 4, 0.8, skew).everyday(100.0, 200.0, Random(1)))
    of_the_busiest_hundredth = sum(change.mailbox >= 9_900 for change in changes)
    assert of_the_busiest_hundredth / len(changes) == pytest.approx(share, rel=0.2)


def test_a_mailbox_is_always_of_the_same_tenant_and_large_tenants_have_more() -> None:
    crowd = Crowd(100_000, 50, 0.8, 0.0)
    sizes = Counter(crowd.tenant_of(mailbox) for mailbox in range(100_000))
    assert sizes == Counter(crowd.tenant_of(mailbox) for mailbox in range(100_000))
    assert len(sizes) == 50
    assert sizes[0] > 10 * sizes[49]
