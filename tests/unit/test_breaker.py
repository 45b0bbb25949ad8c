"""The breaker: whatever is asked for, and whenever, no window lets more go than it may, and nothing waits for ever.

A tenant in miniature stands around the pure decision: what stands, what waits, and what the store does between calls.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbus.store.removals import Breaker
from services.ingest.breaker import TENANT, Judgement, Thresholds, Trip, is_current, judge, opened

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
DEFAULT = Thresholds()
USERS = ("ann", "bob", "cas")


def fresh(standing: dict[str, int]) -> dict[str, Breaker]:
    """Breakers whose windows open now."""
    sizes = {TENANT: sum(standing.values()), **standing}
    return {name: opened(Breaker(), size, NOW) for name, size in sizes.items()}


def judged(asked: dict[str, int], standing: dict[str, int], thresholds: Thresholds = DEFAULT) -> Judgement:
    return judge(asked, fresh(standing), thresholds, NOW)


@pytest.mark.parametrize(
    ("standing", "limit"), [(0, 50), (100, 50), (250, 50), (255, 51), (1_000, 200), (100_000, 20_000)]
)
def test_a_fifth_may_go_and_always_fifty(standing: int, limit: int) -> None:
    assert DEFAULT.limit(standing) == limit


@pytest.mark.parametrize(("asked", "waits"), [(40, False), (50, False), (51, True), (60, True)])
def test_the_limit_itself_may_go(asked: int, *, waits: bool) -> None:
    judgement = judged({"ann": asked}, {"ann": 100})
    assert (judgement.parked == {"ann"}, bool(judgement.trips)) == (waits, waits)
    assert judgement.breakers["ann"].removed == (0 if waits else asked)


def test_what_is_asked_for_together_waits_together() -> None:
    judgement = judged({"ann": 60, "bob": 3}, {"ann": 100, "bob": 900})
    assert judgement.trips == (Trip("ann", 60, 50, 100),)
    assert judgement.parked == {"ann"}
    assert (judgement.breakers["bob"].removed, judgement.breakers[TENANT].removed) == (3, 3)


def test_many_mailboxes_with_few_removals_each_trip_the_tenant() -> None:
    asked = {f"u{number}": 10 for number in range(30)}
    judgement = judged(asked, dict.fromkeys(asked, 40))
    assert judgement.trips == (Trip(TENANT, 300, 240, 1_200),)
    assert judgement.parked == set(asked)
    assert all(breaker.removed == 0 for breaker in judgement.breakers.values())


def test_a_tripped_breaker_holds_the_least_removal_without_tripping_again() -> None:
    tripped = fresh({"ann": 100, "bob": 900}) | {"ann": Breaker(NOW, 100, 0, tripped_at=NOW)}
    judgement = judge({"ann": 1, "bob": 1}, tripped, DEFAULT, NOW)
    assert (judgement.parked, judgement.trips) == ({"ann"}, ())


def test_a_window_ends() -> None:
    breaker = opened(Breaker(), 100, NOW)
    assert is_current(breaker, DEFAULT, NOW + timedelta(minutes=10, microseconds=-1))
    assert not is_current(breaker, DEFAULT, NOW + timedelta(minutes=10))
    assert not is_current(Breaker(), DEFAULT, NOW)
    tripped = replace(breaker, removed=7, tripped_at=NOW)
    assert opened(tripped, 90, NOW) == Breaker(NOW, 90, 0, tripped_at=NOW)


# -- over time ---------------------------------------------------------------------------------------------------------


@dataclass
class Miniature:
    """A tenant's calendars, as the store keeps them between judgements."""

    thresholds: Thresholds
    standing: Counter[str]
    now: datetime = NOW
    waiting: Counter[str] = field(default_factory=Counter)
    breakers: dict[str, Breaker] = field(default_factory=dict)
    # How many went unconfirmed in each breaker's window, and how many may.
    gone: Counter[tuple[str, datetime]] = field(default_factory=Counter)
    limits: dict[tuple[str, datetime], int] = field(default_factory=dict)

    def held_by(self, name: str) -> int:
        return self.waiting.total() if name == TENANT else self.waiting[name]

    def rearm(self, *, afresh: bool = False) -> None:
        """What the store does: a breaker behind which nothing waits is armed."""
        for name, breaker in self.breakers.items():
            if breaker.tripped_at is not None and not self.held_by(name):
                self.breakers[name] = replace(breaker, tripped_at=None, opened_at=None if afresh else breaker.opened_at)

    def remove(self, asked: Counter[str]) -> None:
        """A batch of messages, or a whole re-plan, would take away so many of what stands and does not wait yet."""
        asked = Counter({user: min(count, self.standing[user] - self.waiting[user]) for user, count in asked.items()})
        asked = +asked
        if not asked:
            return
        self.rearm()
        for name in (TENANT, *asked):
            breaker = self.breakers.get(name, Breaker())
            if not is_current(breaker, self.thresholds, self.now):
                size = self.standing.total() if name == TENANT else self.standing[name]
                breaker = opened(breaker, size, self.now)
                self.limits[name, self.now] = max(self.thresholds.floor_entries, int(self.thresholds.share * size))
                self.gone[name, self.now] = 0
            self.breakers[name] = breaker
        judgement = judge(asked, {name: self.breakers[name] for name in (TENANT, *asked)}, self.thresholds, self.now)
        self.breakers |= judgement.breakers
        for user, count in asked.items():
            if user in judgement.parked:
                self.waiting[user] += count
            else:
                self.standing[user] -= count
                for name in (TENANT, user):
                    opened_at = self.breakers[name].opened_at
                    assert opened_at is not None
                    self.gone[name, opened_at] += count

    def come_back(self, user: str, count: int) -> None:
        """Items that wait to go are published again: they stand, and nothing happened."""
        self.waiting[user] -= min(count, self.waiting[user])

    def confirm(self, user: str | None) -> None:
        for one in USERS if user is None else (user,):
            self.standing[one] -= self.waiting[one]
            self.waiting[one] = 0
        self.rearm(afresh=True)

    def check(self) -> None:
        for window, count in self.gone.items():
            assert count <= self.limits[window]
        for user in USERS:
            if self.waiting[user]:
                # Whatever waits, waits behind a breaker that is seen to be open.
                assert any(self.breakers[name].tripped_at is not None for name in (TENANT, user))


counts = st.dictionaries(st.sampled_from(USERS), st.integers(1, 120), min_size=1).map(Counter)
steps = st.one_of(
    st.tuples(st.just("remove"), counts),
    st.tuples(st.just("back"), st.sampled_from(USERS), st.integers(1, 200)),
    st.tuples(st.just("confirm"), st.none() | st.sampled_from(USERS)),
    st.tuples(st.just("wait"), st.integers(1, 700)),
)
thresholds = st.builds(Thresholds, st.floats(0, 1), st.integers(0, 80), st.just(timedelta(seconds=600))) | st.just(
    DEFAULT
)


@given(
    thresholds,
    st.fixed_dictionaries(dict.fromkeys(USERS, st.integers(0, 500))).map(Counter),
    st.lists(steps, max_size=30),
)
def test_never_more_than_the_limit_goes_unconfirmed_and_nothing_waits_for_ever(
    thresholds: Thresholds, standing: Counter[str], taken: list[tuple]
) -> None:
    tenant = Miniature(thresholds, standing)
    for step in taken:
        match step:
            case ("remove", asked):
                tenant.remove(asked)
            case ("back", user, count):
                tenant.come_back(user, count)
            case ("confirm", user):
                tenant.confirm(user)
            case ("wait", seconds):
                tenant.now += timedelta(seconds=seconds)
        tenant.check()
    tenant.confirm(None)
    assert not tenant.waiting.total()
    assert all(breaker.tripped_at is None for breaker in tenant.breakers.values())
