"""Times that a user gave an entry stand until upstream changes its own, whatever else upstream says meanwhile."""

from dataclasses import replace
from datetime import UTC, date, datetime
from uuid import uuid4

import pytest
from hypothesis import given

from calbus.entry import Content
from calbus.overrides import Override, overridden, times_digest, with_times
from calbus.recurrence import Moved, Pattern, PatternType, Range, Recurrence
from calbus.touches import Times
from services.ingest.planner import Decision, Standing, Switches, decide
from tests.unit.strategies import ASSIGNEE, account, content, items, tenant, upserted

DAILY = content(
    recurrence=Recurrence(
        Pattern(PatternType.DAILY, 1),
        Range(date(2026, 11, 23), until=date(2026, 11, 27)),
        cancelled=(date(2026, 11, 24),),
    )
)
NOON = Times(datetime(2026, 11, 23, 11, tzinfo=UTC), datetime(2026, 11, 23, 12, tzinfo=UTC))
ALL_DAY = Times(date(2026, 11, 30), date(2026, 12, 1))
THURSDAY = Times(datetime(2026, 11, 26, 11, tzinfo=UTC), datetime(2026, 11, 26, 12, tzinfo=UTC))
SWITCHES = Switches(tenant(), None, account())


def plan(*overrides: Override, **fields: object) -> Decision:
    item = upserted(**{"start": "2026-11-23T09:00", "time_zone": "Europe/Amsterdam", **fields})
    return decide(item, ASSIGNEE, SWITCHES, Standing(overrides=overrides))


def planned(*overrides: Override, **fields: object) -> Content:
    found = plan(*overrides, **fields).content
    assert found is not None
    return found


def of(upstream: Content, times: Times, day: date | None = None) -> Override:
    return Override(uuid4(), day, times, times_digest(upstream))


def test_a_later_title_keeps_the_users_times() -> None:
    kept = of(planned(), NOON)
    after = planned(kept, title="Call again")
    assert (after.start, after.end) == (datetime(2026, 11, 23, 12), datetime(2026, 11, 23, 13))
    assert "Call again" in after.subject
    assert not plan(kept, title="Call again").overrides_end


@pytest.mark.parametrize("change", [{"start": "2026-11-24T09:00"}, {"duration": "PT2H"}, {"time_zone": "Asia/Tokyo"}])
def test_new_times_of_upstreams_win_and_end_the_users(change: dict[str, str]) -> None:
    decision = plan(of(planned(), NOON), **change)
    assert decision.content == planned(**change)
    assert decision.overrides_end


def test_an_entry_that_is_not_to_stand_ends_nothing() -> None:
    item = upserted(start="2026-11-23T09:00", assignees=())
    assert not decide(item, ASSIGNEE, SWITCHES, Standing(overrides=(of(planned(), NOON),))).overrides_end


@given(items())
def test_without_the_users_times_nothing_is_another(item: object) -> None:
    given_ = decide(item, ASSIGNEE, SWITCHES)  # type: ignore[arg-type]
    assert decide(item, ASSIGNEE, SWITCHES, Standing(overrides=())) == given_  # type: ignore[arg-type]


def test_the_user_may_make_it_whole_days() -> None:
    after = with_times(content(), None, ALL_DAY)
    assert after is not None
    assert (after.all_day, after.start, after.end) == (True, datetime(2026, 11, 30), datetime(2026, 12, 1))


def test_a_time_that_happens_twice_is_kept_in_utc() -> None:
    twice = Times(datetime(2026, 10, 25, 1, tzinfo=UTC), datetime(2026, 10, 25, 2, tzinfo=UTC))
    after = with_times(content(), None, twice)
    assert after is not None
    assert (after.time_zone, after.start) == ("UTC", datetime(2026, 10, 25, 1))


def test_an_occurrence_becomes_a_moved_one() -> None:
    after = overridden(DAILY, [of(DAILY, THURSDAY, date(2026, 11, 26))])
    assert after.recurrence is not None
    there = Moved(date(2026, 11, 26), datetime(2026, 11, 26, 12), datetime(2026, 11, 26, 13), "Europe/Amsterdam")
    assert after.recurrence.moved == (there,)
    assert replace(after, recurrence=DAILY.recurrence) == DAILY


def test_a_series_as_a_whole_keeps_its_days() -> None:
    after = with_times(DAILY, None, NOON)
    assert after is not None
    assert (after.start, after.recurrence) == (datetime(2026, 11, 23, 12), DAILY.recurrence)
    assert with_times(DAILY, None, THURSDAY) is None


@pytest.mark.parametrize(
    ("day", "times"),
    [(date(2026, 11, 26), ALL_DAY), (None, ALL_DAY), (date(2026, 11, 24), THURSDAY)],
)
def test_what_a_series_has_no_words_for_is_not_kept(day: date | None, times: Times) -> None:
    assert with_times(DAILY, day, times) is None
