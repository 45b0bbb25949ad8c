"""What came up last is known, and the memory is bounded; against a model that keeps everything in order."""

from hypothesis import given
from hypothesis import strategies as st

from calbus.recent import Recent

KEYS = st.integers(0, 30)
STEPS = st.lists(st.tuples(st.sampled_from(["put", "get", "forget"]), KEYS), max_size=300)


@given(steps=STEPS, max_entries=st.integers(1, 20))
def test_the_last_half_is_known_and_never_more_than_all(steps: list[tuple[str, int]], max_entries: int) -> None:
    recent = Recent[int, str](max_entries)
    order: list[int] = []  # the key that came up last stands last
    values: dict[int, str] = {}
    for number, (step, key) in enumerate(steps):
        known = recent.get(key) if step == "get" else None
        if step == "put":
            values[key] = f"{key} at {number}"
            recent.put(key, values[key])
        elif step == "forget":
            values.pop(key, None)
            recent.forget(key)
        if key in order:
            order.remove(key)
        if step == "put" or known is not None:
            order.append(key)
        assert known in (None, values.get(key))
        assert len(recent) <= max(max_entries, 2)
    for key in order[-max(max_entries // 2, 1) :][::-1][: max_entries // 2]:
        assert recent.get(key) == values[key]


def test_what_is_forgotten_is_not_known() -> None:
    recent = Recent[str, int](4)
    for name in ("a", "b", "c"):
        recent.put(name, 1)
    recent.forget("a")
    recent.forget("c")
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == (None, 1, None)
