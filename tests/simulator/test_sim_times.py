"""Times: zones by Windows and IANA names, conversion by preference, all-day rules."""

import pytest

WINTER_UTC = {"dateTime": "2026-12-01T08:00:00.0000000", "timeZone": "UTC"}


async def test_times_are_shown_in_utc_whatever_zone_they_were_written_in(lab, make_event, moment):
    event = await lab.create(
        make_event(
            start=moment("2026-12-01T09:00:00", "Romance Standard Time"), end=moment("2026-12-01T08:30:00", "UTC")
        )
    )
    assert event["start"] == WINTER_UTC
    assert event["end"] == {"dateTime": "2026-12-01T08:30:00.0000000", "timeZone": "UTC"}
    assert (event["originalStartTimeZone"], event["originalEndTimeZone"]) == ("Romance Standard Time", "UTC")


@pytest.mark.parametrize(
    ("zone", "local"),
    [
        ("Europe/Paris", "2026-12-01T09:00:00.0000000"),
        ("Eastern Standard Time", "2026-12-01T03:00:00.0000000"),
        ("Asia/Kolkata", "2026-12-01T13:30:00.0000000"),
    ],
)
async def test_a_preferred_zone_converts_times(lab, zone, local):
    prefer = f'outlook.timezone="{zone}"'
    created = await lab.create(Prefer=prefer)
    assert created["start"] == {"dateTime": local, "timeZone": zone}
    reply = await lab.graph("GET", lab.event_path(created["id"]), headers={"Prefer": prefer})
    assert reply.body["start"] == created["start"]
    assert reply.headers["Preference-Applied"] == prefer


async def test_daylight_saving_time_is_respected(lab, make_event, moment):
    event = await lab.create(make_event(start=moment("2026-07-01T09:00:00"), end=moment("2026-07-01T10:00:00")))
    assert event["start"]["dateTime"] == "2026-07-01T07:00:00.0000000"


async def test_fractions_of_seconds_are_taken(lab, make_event, moment):
    event = await lab.create(make_event(start=moment("2026-12-01T09:00:00.0000000")))
    assert event["start"] == WINTER_UTC


@pytest.mark.parametrize("zone", ["Mars/Base", "", "tzone://Microsoft/Custom", "localtime"])
async def test_an_unknown_zone_is_refused(lab, make_event, moment, zone):
    in_body = await lab.graph("POST", lab.events_path, make_event(start=moment("2026-12-01T09:00:00", zone)))
    in_header = await lab.graph("GET", lab.events_path, headers={"Prefer": f'outlook.timezone="{zone}"'})
    for reply in (in_body, in_header):
        assert (reply.status, reply.code) == (400, "TimeZoneNotSupportedException")
        assert reply.message.endswith(f"not supported: '{zone}'.")


@pytest.mark.parametrize(
    "local",
    ["2026-12-01T09:00:00Z", "2026-12-01T09:00:00+01:00", "2026-13-01T09:00:00", "tomorrow", "0001-01-01T00:00:00"],
)
async def test_a_time_that_is_not_local_is_refused(lab, make_event, moment, local):
    reply = await lab.graph("POST", lab.events_path, make_event(start=moment(local)))
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")


@pytest.mark.parametrize("missing", ["start", "end"])
async def test_a_new_event_needs_its_times(lab, make_event, missing):
    event = make_event()
    del event[missing]
    assert (await lab.graph("POST", lab.events_path, event)).code == "ErrorInvalidRequest"


async def test_an_event_cannot_end_before_it_starts(lab, make_event, moment):
    reply = await lab.graph("POST", lab.events_path, make_event(end=moment("2026-12-01T08:59:59")))
    assert reply.code == "ErrorInvalidRequest"
    created = await lab.create()
    reply = await lab.graph("PATCH", lab.event_path(created["id"]), {"start": moment("2026-12-01T11:00:00")})
    assert reply.code == "ErrorInvalidRequest"


@pytest.fixture
def day(make_event, moment):
    return make_event(isAllDay=True, start=moment("2026-12-01T00:00:00"), end=moment("2026-12-02T00:00:00"))


async def test_an_all_day_event_floats(lab, day):
    created = await lab.create(day)
    assert created["start"] == {"dateTime": "2026-12-01T00:00:00.0000000", "timeZone": "UTC"}
    headers = {"Prefer": 'outlook.timezone="America/New_York"'}
    read = (await lab.graph("GET", lab.event_path(created["id"]), headers=headers)).body
    assert read["start"] == {"dateTime": "2026-12-01T00:00:00.0000000", "timeZone": "America/New_York"}
    assert read["end"]["dateTime"] == "2026-12-02T00:00:00.0000000"


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (("2026-12-01T09:00:00", "UTC"), ("2026-12-02T00:00:00", "UTC"), "Event.Start"),
        (("2026-12-01T00:00:00", "UTC"), ("2026-12-02T10:00:00", "UTC"), "Event.End"),
        (("2026-12-01T00:00:00", "UTC"), ("2026-12-01T00:00:00", "UTC"), "24 hours"),
        (("2026-12-01T00:00:00", "UTC"), ("2026-12-02T00:00:00", "Europe/Paris"), "same time zone"),
    ],
)
async def test_all_day_rules(lab, day, moment, start, end, said):
    reply = await lab.graph("POST", lab.events_path, {**day, "start": moment(*start), "end": moment(*end)})
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")
    assert said in reply.message


async def test_a_timed_patch_of_an_all_day_event_fails_unless_it_says_so(lab, day, moment):
    path = lab.event_path((await lab.create(day))["id"])
    times = {"start": moment("2026-12-01T09:00:00"), "end": moment("2026-12-01T10:00:00")}
    refused = await lab.graph("PATCH", path, times)
    assert refused.message == "The Event.Start property for an all-day event needs to be set to midnight."
    assert (await lab.graph("PATCH", path, {**times, "isAllDay": False})).status == 200
