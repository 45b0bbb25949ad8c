"""Recurrence: what a pattern and range need, and the full form that is stored."""

import pytest

RANGE = {"type": "noEnd", "startDate": "2026-12-01"}
DAILY = {"type": "daily", "interval": 1}


async def test_a_recurring_event_is_a_series_master(lab, make_event):
    pattern = {"type": "weekly", "interval": 2, "daysOfWeek": ["tuesday"], "firstDayOfWeek": "monday"}
    span = {"type": "endDate", "startDate": "2026-12-01", "endDate": "2027-01-31"}
    event = await lab.create(make_event(recurrence={"pattern": pattern, "range": span}))
    assert event["type"] == "seriesMaster"
    assert event["recurrence"] == {
        "pattern": {**pattern, "dayOfMonth": 0, "month": 0, "index": "first"},
        "range": {**span, "recurrenceTimeZone": "Europe/Paris", "numberOfOccurrences": 0},
    }
    path = lab.event_path(event["id"])
    assert (await lab.graph("PATCH", path, {"recurrence": event["recurrence"]})).body["type"] == "seriesMaster"
    assert (await lab.graph("PATCH", path, {"recurrence": None})).body["type"] == "singleInstance"


@pytest.mark.parametrize(
    "pattern",
    [
        DAILY,
        {"type": "weekly", "interval": 1, "daysOfWeek": ["monday", "friday"], "firstDayOfWeek": "sunday"},
        {"type": "absoluteMonthly", "interval": 1, "dayOfMonth": 31},
        {"type": "relativeMonthly", "interval": 1, "daysOfWeek": ["friday"], "index": "last"},
        {"type": "absoluteYearly", "interval": 1, "dayOfMonth": 29, "month": 2},
        {"type": "relativeYearly", "interval": 1, "daysOfWeek": ["monday"], "month": 9},
    ],
    ids=lambda pattern: pattern["type"],
)
async def test_all_patterns_are_taken(lab, make_event, pattern):
    event = await lab.create(make_event(recurrence={"pattern": pattern, "range": RANGE}))
    assert {name: event["recurrence"]["pattern"][name] for name in pattern} == pattern


@pytest.mark.parametrize(
    ("pattern", "span"),
    [
        ({"type": "daily"}, RANGE),
        ({"type": "daily", "interval": 0}, RANGE),
        ({"type": "hourly", "interval": 1}, RANGE),
        ({**DAILY, "dayOfMonth": 5}, RANGE),
        ({**DAILY, "every": 2}, RANGE),
        ({"type": "weekly", "interval": 1, "firstDayOfWeek": "monday"}, RANGE),
        ({"type": "weekly", "interval": 1, "daysOfWeek": ["tuesday"]}, RANGE),
        ({"type": "weekly", "interval": 1, "daysOfWeek": ["Freitag"], "firstDayOfWeek": "monday"}, RANGE),
        ({"type": "absoluteMonthly", "interval": 1, "dayOfMonth": 32}, RANGE),
        ({"type": "absoluteYearly", "interval": 1, "dayOfMonth": 1}, RANGE),
        ({"type": "relativeMonthly", "interval": 1, "daysOfWeek": ["monday"], "index": "fifth"}, RANGE),
        (DAILY, {"type": "noEnd", "startDate": "2026-12-02"}),
        (DAILY, {"type": "noEnd"}),
        (DAILY, {"type": "numbered", "startDate": "2026-12-01"}),
        (DAILY, {"type": "numbered", "startDate": "2026-12-01", "numberOfOccurrences": 0}),
        (DAILY, {"type": "endDate", "startDate": "2026-12-01"}),
        (DAILY, {"type": "endDate", "startDate": "2026-12-01", "endDate": "2026-11-30"}),
        (DAILY, {"type": "forever", "startDate": "2026-12-01"}),
        (DAILY, {**RANGE, "recurrenceTimeZone": "Mars/Base"}),
        (DAILY, None),
        (None, RANGE),
    ],
)
async def test_an_impossible_recurrence_is_refused(lab, make_event, pattern, span):
    reply = await lab.graph("POST", lab.events_path, make_event(recurrence={"pattern": pattern, "range": span}))
    assert reply.status == 400


async def test_moving_a_series_takes_its_range_along(lab, make_event, moment):
    created = await lab.create(make_event(recurrence={"pattern": DAILY, "range": RANGE}))
    times = {"start": moment("2026-12-03T09:00:00"), "end": moment("2026-12-03T10:00:00")}
    path = lab.event_path(created["id"])
    assert (await lab.graph("PATCH", path, times)).status == 400
    moved = {"pattern": DAILY, "range": {**RANGE, "startDate": "2026-12-03"}}
    assert (await lab.graph("PATCH", path, {**times, "recurrence": moved})).status == 200
