"""What a metric takes in at once is what it takes in one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from calbus.metric import Histogram

BOUNDS = (0.1, 1.0, 5.0)
values = st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32) | st.sampled_from((*BOUNDS, float("inf"))))


def one(labels: tuple[str, ...] = ()) -> Histogram:
    return Histogram("took_seconds", "How long it took.", labels, buckets=BOUNDS, registry=CollectorRegistry())


def shown(histogram: Histogram) -> dict[tuple[str, str], float]:
    (family,) = histogram.collect()
    return {(each.name, each.labels.get("le", "")): each.value for each in family.samples if "created" not in each.name}


@given(st.lists(values))
def test_many_at_once_are_counted_as_each_alone(groups: list[list[float]]) -> None:
    together, alone = one(), one()
    for group in groups:
        together.observe_all(group)
        for each in group:
            alone.observe(each)
    assert shown(together) == pytest.approx(shown(alone), nan_ok=True)


def test_a_labelled_one_takes_in_many_and_its_parent_none() -> None:
    parent = one(("result",))
    parent.labels("settled").observe_all([0.05, 7.0])
    (family,) = parent.collect()
    counts = {each.labels["le"]: each.value for each in family.samples if each.name.endswith("_bucket")}
    assert counts == {"0.1": 1.0, "1.0": 1.0, "5.0": 1.0, "+Inf": 2.0}
    with pytest.raises(ValueError, match="label values"):
        parent.observe_all([0.05])
