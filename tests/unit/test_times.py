"""When entries begin and end: daylight saving, zones, whole days."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.times import Slot, _steady_clock, slot_of
from tests.unit import strategies as some
from tests.unit.strategies import upserted

AMSTERDAM = "Europe/Amsterdam"
DEFAULT_MINUTES = 30


def slot(tenant_zone: str = AMSTERDAM, default_minutes: int = DEFAULT_MINUTES, **fields: Any) -> Slot:
    item = upserted(**fields)
    assert item.start is not None
    return slot_of(item, item.start, tenant_zone, default_minutes)


def instants(slot: Slot) -> tuple[datetime, datetime]:
    """What a reader who takes the first of two equal wall-clock times understands."""
    zone = ZoneInfo(slot.time_zone)
    start, end = (moment.replace(tzinfo=zone).astimezone(UTC) for moment in (slot.start, slot.end))
    return start, end


def utc(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)  # type: ignore[misc,arg-type]


def test_a_wall_clock_time_stands_in_the_items_own_zone() -> None:
    planned = slot(start="2026-11-23T09:00", end="2026-11-23T10:00", time_zone="Asia/Kolkata")
    assert planned == Slot(datetime(2026, 11, 23, 9), datetime(2026, 11, 23, 10), "Asia/Kolkata")


def test_an_item_without_a_zone_takes_the_tenants() -> None:
    planned = slot("Africa/Casablanca", start="2026-11-23T09:00", end="2026-11-23T10:00")
    assert planned == Slot(datetime(2026, 11, 23, 9), datetime(2026, 11, 23, 10), "Africa/Casablanca")


@pytest.mark.parametrize(
    ("zone", "wall_clock"),
    [
        (AMSTERDAM, datetime(2026, 11, 23, 10, 0)),
        ("Asia/Kolkata", datetime(2026, 11, 23, 14, 30)),
        ("Asia/Kathmandu", datetime(2026, 11, 23, 14, 45)),
        ("Australia/Lord_Howe", datetime(2026, 11, 23, 20, 0)),
        ("America/St_Johns", datetime(2026, 11, 23, 5, 30)),
        ("Africa/Casablanca", datetime(2026, 11, 23, 10, 0)),
    ],
)
def test_a_given_offset_is_that_instant_on_the_zones_clock(zone: str, wall_clock: datetime) -> None:
    planned = slot(start="2026-11-23T09:00Z", time_zone=zone)
    assert (planned.start, planned.time_zone) == (wall_clock, zone)


def test_casablanca_goes_back_an_hour_for_ramadan() -> None:
    planned = slot(start="2026-02-20T09:00Z", time_zone="Africa/Casablanca")
    assert planned.start == datetime(2026, 2, 20, 9, 0)


def test_start_and_end_may_have_different_offsets() -> None:
    planned = slot(start="2026-11-23T09:00+01:00", end="2026-11-23T09:00Z")
    assert (planned.start, planned.end) == (datetime(2026, 11, 23, 9), datetime(2026, 11, 23, 10))


def test_a_time_that_daylight_saving_skips_moves_forward_by_the_gap() -> None:
    planned = slot(start="2027-03-28T02:30", duration="PT1H")
    assert planned == Slot(datetime(2027, 3, 28, 3, 30), datetime(2027, 3, 28, 4, 30), AMSTERDAM)


def test_a_time_that_happens_twice_is_the_first() -> None:
    planned = slot(start="2026-10-25T02:30", end="2026-10-25T04:00")
    assert instants(planned) == (utc(2026, 10, 25, 0, 30), utc(2026, 10, 25, 3, 0))


def test_a_start_in_the_second_pass_is_said_in_utc() -> None:
    planned = slot(start="2026-10-25T02:30+01:00", end="2026-10-25T04:00+01:00")
    assert planned == Slot(datetime(2026, 10, 25, 1, 30), datetime(2026, 10, 25, 3, 0), "UTC")


def test_an_end_in_the_second_pass_is_said_in_utc() -> None:
    planned = slot(start="2026-10-25T01:30", duration="PT1H45M")
    assert planned == Slot(datetime(2026, 10, 24, 23, 30), datetime(2026, 10, 25, 1, 15), "UTC")


def test_a_duration_over_the_change_to_summer_is_elapsed_time() -> None:
    assert slot(start="2027-03-27T12:00", duration="P1D").end == datetime(2027, 3, 28, 13, 0)


def test_a_duration_over_the_change_to_winter_is_elapsed_time() -> None:
    assert slot(start="2026-10-24T12:00", duration="P1D").end == datetime(2026, 10, 25, 11, 0)


def test_without_end_and_duration_the_default_counts() -> None:
    planned = slot(default_minutes=45, start="2026-11-23T09:00")
    assert planned.end == datetime(2026, 11, 23, 9, 45)


@pytest.mark.parametrize("empty", [{"end": "2026-11-23T09:00"}, {"duration": "PT0S"}])
def test_what_would_be_empty_takes_the_default(empty: dict[str, str]) -> None:
    assert slot(start="2026-11-23T09:00", **empty).end == datetime(2026, 11, 23, 9, 30)


def test_an_end_that_the_gap_leaves_before_the_start_takes_the_default() -> None:
    planned = slot(start="2027-03-28T02:30", end="2027-03-28T03:00")
    assert planned == Slot(datetime(2027, 3, 28, 3, 30), datetime(2027, 3, 28, 4, 0), AMSTERDAM)


@pytest.mark.parametrize(
    ("fields", "first", "after"),
    [
        ({"start": "2026-11-23"}, date(2026, 11, 23), date(2026, 11, 24)),
        ({"start": "2026-11-23", "end": "2026-11-25"}, date(2026, 11, 23), date(2026, 11, 25)),
        ({"start": "2026-11-23", "end": "2026-11-23"}, date(2026, 11, 23), date(2026, 11, 24)),
        ({"start": "2026-11-23T09:00"}, date(2026, 11, 23), date(2026, 11, 24)),
        ({"start": "2026-11-23T09:00", "end": "2026-11-24T00:00"}, date(2026, 11, 23), date(2026, 11, 24)),
        ({"start": "2026-11-23T09:00", "end": "2026-11-24T00:01"}, date(2026, 11, 23), date(2026, 11, 25)),
        ({"start": "2026-11-23T09:00", "end": "2026-11-24"}, date(2026, 11, 23), date(2026, 11, 24)),
        ({"start": "2026-11-22T23:30Z"}, date(2026, 11, 23), date(2026, 11, 24)),
        ({"start": "2026-11-22T23:00Z", "end": "2026-11-24T23:00Z"}, date(2026, 11, 23), date(2026, 11, 25)),
        ({"start": "2026-11-23", "end": "2026-11-24T23:00Z"}, date(2026, 11, 23), date(2026, 11, 25)),
        ({"start": "2026-11-23T23:59-12:00"}, date(2026, 11, 24), date(2026, 11, 25)),
        ({"start": "2026-11-23", "duration": "PT0S"}, date(2026, 11, 23), date(2026, 11, 24)),
        ({"start": "2026-11-23", "duration": "PT8H"}, date(2026, 11, 23), date(2026, 11, 24)),
        ({"start": "2026-11-23", "duration": "P2D"}, date(2026, 11, 23), date(2026, 11, 25)),
        ({"start": "2026-10-25", "duration": "P1D"}, date(2026, 10, 25), date(2026, 10, 26)),
        ({"start": "2026-11-23", "duration": "P366D"}, date(2026, 11, 23), date(2027, 11, 24)),
    ],
)
def test_whole_days_run_from_midnight_to_midnight(fields: dict[str, str], first: date, after: date) -> None:
    midnight = time()
    expected = Slot(datetime.combine(first, midnight), datetime.combine(after, midnight), AMSTERDAM)
    assert slot(all_day=True, **fields) == expected


@given(some.timed(), some.zones, st.integers(5, 10_000))
def test_an_entry_always_ends_after_it_starts(fields: dict[str, Any], zone: str, minutes: int) -> None:
    planned = slot(zone, minutes, **fields)
    start, end = instants(planned)
    assert planned.start < planned.end
    assert start < end


@given(some.timed(), some.zones)
def test_both_wall_clock_times_exist_in_their_zone(fields: dict[str, Any], zone: str) -> None:
    planned = slot(zone, **fields)
    here = ZoneInfo(planned.time_zone)
    seen = [instant.astimezone(here).replace(tzinfo=None) for instant in instants(planned)]
    assert seen == [planned.start, planned.end]


@given(some.timed(), some.zones)
def test_a_given_instant_is_kept(fields: dict[str, Any], zone: str) -> None:
    start, end = instants(slot(zone, **fields))
    if fields["start"].tzinfo is not None:
        assert start == fields["start"]
        if "end" in fields and fields["end"] > fields["start"]:
            assert end == fields["end"]
    if fields.get("duration"):
        assert end - start == fields["duration"]


@given(some.timed(), some.zones)
def test_a_wall_clock_time_that_exists_is_kept(fields: dict[str, Any], zone_name: str) -> None:
    planned = slot(zone_name, **fields)
    asked = fields["start"]
    zone = ZoneInfo(fields["time_zone"] or zone_name)
    instant = asked.replace(tzinfo=zone).astimezone(UTC)
    if asked.tzinfo is None and instant.astimezone(zone).replace(tzinfo=None) == asked:
        assert instants(planned)[0] == instant


@given(some.whole_days(), some.zones)
def test_any_whole_days_run_from_midnight_to_midnight_for_a_day_at_least(fields: dict[str, Any], zone: str) -> None:
    planned = slot(zone, **fields)
    assert planned.start.time() == planned.end.time() == time()
    assert planned.end - planned.start >= timedelta(days=1)
    assert planned.time_zone == (fields["time_zone"] or zone)


@pytest.mark.parametrize(
    ("length", "after"),
    [
        ("P2DT0.000001S", date(2026, 11, 26)),
        ("P1DT12H", date(2026, 11, 25)),
        ("PT25H", date(2026, 11, 25)),
    ],
)
def test_a_duration_is_rounded_up_to_whole_days(length: str, after: date) -> None:
    assert slot(all_day=True, start="2026-11-23", duration=length).end.date() == after


@given(some.timed(), some.zones)
def test_neither_time_is_ambiguous_in_its_zone(fields: dict[str, Any], zone: str) -> None:
    planned = slot(zone, **fields)
    here = ZoneInfo(planned.time_zone)
    for moment in (planned.start, planned.end):
        first, second = (moment.replace(tzinfo=here, fold=fold).utcoffset() for fold in (0, 1))
        assert first == second


def test_a_time_that_happens_twice_is_the_first_and_said_in_utc() -> None:
    planned = slot(start="2026-10-25T02:30", end="2026-10-25T04:00")
    assert planned == Slot(datetime(2026, 10, 25, 0, 30), datetime(2026, 10, 25, 3, 0), "UTC")


@given(
    st.builds(lambda change, shift: (change[0], change[1] + shift), st.sampled_from(some.CHANGES), some.around)
    | st.tuples(some.zones, some.wall_clocks)
)
def test_a_clock_that_is_called_steady_shows_every_time_of_the_day_once(place: tuple[str, datetime]) -> None:
    zone, day = ZoneInfo(place[0]), place[1].date()
    midnight = datetime.combine(day, time(), zone)
    clocks = [(midnight + timedelta(minutes=minutes)).replace(fold=fold) for minutes in range(1_440) for fold in (0, 1)]
    if _steady_clock(place[0], day):
        assert len({clock.utcoffset() for clock in clocks}) == 1


def test_a_clock_is_steady_but_for_the_days_around_a_change() -> None:
    unsteady = [day for day in range(1, 32) if not _steady_clock(AMSTERDAM, date(2026, 10, day))]
    assert unsteady == [24, 25]
