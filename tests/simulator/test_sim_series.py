"""Series over Graph: occurrences, their ids, exceptions, cancellations, and daylight saving time."""

from datetime import date, timedelta

import pytest

from simulator.exchange.ids import is_well_formed

DAILY = {"type": "daily", "interval": 1}
WEEKLY = {"type": "weekly", "interval": 1, "daysOfWeek": ["tuesday"], "firstDayOfWeek": "monday"}
SOURCE = "String {66f5a359-4659-4830-9070-00040ec6ac6e} Name SourceId"
IMMUTABLE = {"Prefer": 'IdType="ImmutableId"'}
DECEMBER = {"startDateTime": "2026-12-01T00:00:00Z", "endDateTime": "2027-01-01T00:00:00Z"}


def every(pattern, number=4, start="2026-12-01"):
    return {"pattern": pattern, "range": {"type": "numbered", "startDate": start, "numberOfOccurrences": number}}


@pytest.fixture
async def series(lab, make_event):
    """Four Tuesdays in December, at nine in Paris."""
    return await lab.create(make_event(recurrence=every(WEEKLY), body={"contentType": "text", "content": "weekly"}))


async def instances(lab, master, span=None, **options):
    query = {**(span or DECEMBER), "$top": "100"}
    reply = await lab.graph("GET", f"{lab.event_path(master['id'])}/instances", query=query, **options)
    assert reply.status == 200, reply.body
    return reply.body["value"]


def starts(events):
    return [event["start"]["dateTime"][:16] for event in events]


async def test_a_series_has_its_occurrences(lab, series):
    found = await instances(lab, series)
    assert starts(found) == [f"2026-12-{day:02}T08:00" for day in (1, 8, 15, 22)]
    for event in found:
        assert (event["type"], event["seriesMasterId"], event["recurrence"]) == ("occurrence", series["id"], None)
        assert (event["subject"], event["originalStart"][:16]) == ("Leave", event["start"]["dateTime"][:16])
        assert event["bodyPreview"] == "weekly"
    assert len({event["id"] for event in [series, *found]}) == 5
    assert len({event["iCalUId"] for event in [series, *found]}) == 5
    assert all(is_well_formed(event["id"]) for event in found)


async def test_the_list_of_events_has_the_master_only(lab, series):
    assert [event["id"] for event in (await lab.graph("GET", lab.events_path)).body["value"]] == [series["id"]]


async def test_the_id_of_an_occurrence_stays_and_resolves(lab, series):
    found = await instances(lab, series)
    assert [event["id"] for event in await instances(lab, series)] == [event["id"] for event in found]
    read = (await lab.graph("GET", lab.event_path(found[1]["id"]))).body
    assert {name: read[name] for name in found[1]} == found[1]
    immutable = await instances(lab, series, headers=IMMUTABLE)
    assert immutable[1]["id"] != found[1]["id"]
    assert immutable[1]["seriesMasterId"] != series["id"]
    assert (await lab.graph("GET", lab.event_path(immutable[1]["id"]))).body["id"] == found[1]["id"]


async def test_wall_clock_times_stay_over_daylight_saving_time(lab, make_event, moment):
    times = {"start": moment("2027-03-27T09:00:00"), "end": moment("2027-03-27T10:00:00")}
    master = await lab.create(make_event(recurrence=every(DAILY, 3, "2027-03-27"), **times))
    span = {"startDateTime": "2027-03-01T00:00:00Z", "endDateTime": "2027-04-01T00:00:00Z"}
    assert starts(await instances(lab, master, span)) == ["2027-03-27T08:00", "2027-03-28T07:00", "2027-03-29T07:00"]
    local = await instances(lab, master, span, headers={"Prefer": 'outlook.timezone="Europe/Paris"'})
    assert starts(local) == [f"2027-03-{day}T09:00" for day in (27, 28, 29)]


async def test_a_changed_occurrence_is_an_exception(lab, series, moment):
    second = (await instances(lab, series))[1]
    times = {"start": moment("2026-12-09T14:00:00"), "end": moment("2026-12-09T15:00:00")}
    reply = await lab.graph("PATCH", lab.event_path(second["id"]), {"subject": "Moved", **times})
    assert (reply.status, reply.body["type"], reply.body["id"]) == (200, "exception", second["id"])
    assert reply.body["originalStart"] == second["originalStart"]
    assert reply.body["@odata.etag"] != second["@odata.etag"]
    found = await instances(lab, series)
    assert starts(found) == ["2026-12-01T08:00", "2026-12-09T13:00", "2026-12-15T08:00", "2026-12-22T08:00"]
    assert [event["type"] for event in found] == ["occurrence", "exception", "occurrence", "occurrence"]
    # The series itself was written too.
    assert (await lab.graph("GET", lab.event_path(series["id"]))).body["@odata.etag"] != series["@odata.etag"]


async def test_an_exception_keeps_its_own_and_follows_the_series_in_the_rest(lab, series):
    second = (await instances(lab, series))[1]
    path = lab.event_path(second["id"])
    marks = [{"id": SOURCE, "value": "second"}]
    await lab.graph("PATCH", path, {"subject": "Mine", "singleValueExtendedProperties": marks})
    await lab.graph("PATCH", path, {"categories": ["HR"]})
    await lab.graph("PATCH", lab.event_path(series["id"]), {"subject": "Ours", "showAs": "oof"})
    event = (await lab.graph("GET", path)).body
    assert (event["subject"], event["categories"], event["showAs"]) == ("Mine", ["HR"], "oof")
    expand = {"$expand": f"singleValueExtendedProperties($filter=id eq '{SOURCE}')"}
    assert (await lab.graph("GET", path, query=expand)).body["singleValueExtendedProperties"] == marks
    assert [event["subject"] for event in await instances(lab, series)] == ["Ours", "Mine", "Ours", "Ours"]


async def test_an_occurrence_cannot_cross_its_neighbours(lab, series, moment):
    second = (await instances(lab, series))[1]
    for day in ("2026-12-15", "2026-12-16", "2026-12-01", "2026-11-30"):
        times = {"start": moment(f"{day}T14:00:00"), "end": moment(f"{day}T15:00:00")}
        reply = await lab.graph("PATCH", lab.event_path(second["id"]), times)
        assert (reply.status, reply.code) == (400, "ErrorOccurrenceCrossingBoundary")
    overlapping = {"start": moment("2026-12-14T09:00:00"), "end": moment("2026-12-15T09:30:00")}
    reply = await lab.graph("PATCH", lab.event_path(second["id"]), overlapping)
    assert reply.code == "ErrorOccurrenceCrossingBoundary"
    assert [event["type"] for event in await instances(lab, series)] == ["occurrence"] * 4


async def test_a_cancelled_neighbour_can_be_passed(lab, series, moment):
    found = await instances(lab, series)
    assert (await lab.graph("DELETE", lab.event_path(found[2]["id"]))).status == 204
    times = {"start": moment("2026-12-16T09:00:00"), "end": moment("2026-12-16T10:00:00")}
    assert (await lab.graph("PATCH", lab.event_path(found[1]["id"]), times)).status == 200


async def test_a_deleted_occurrence_is_cancelled(lab, series):
    found = await instances(lab, series)
    path = lab.event_path(found[1]["id"])
    assert (await lab.graph("DELETE", path)).status == 204
    assert starts(await instances(lab, series)) == [f"2026-12-{day:02}T08:00" for day in (1, 15, 22)]
    again = await lab.graph("DELETE", path)
    assert (again.status, again.code) == (404, "ErrorItemNotFound")
    assert (await lab.graph("PATCH", path, {"subject": "x"})).status == 404


async def test_what_deviates_is_told_of_a_master_on_request_only(lab, series):
    found = await instances(lab, series)
    await lab.graph("DELETE", lab.event_path(found[1]["id"]))
    await lab.graph("PATCH", lab.event_path(found[2]["id"]), {"subject": "Mine"})
    path = lab.event_path(series["id"])
    plain = (await lab.graph("GET", path)).body
    assert not {"cancelledOccurrences", "exceptionOccurrences"} & set(plain)
    query = {"$select": "subject,cancelledOccurrences,exceptionOccurrences", "$expand": "exceptionOccurrences"}
    event = (await lab.graph("GET", path, query=query)).body
    assert event["cancelledOccurrences"] == [f"OID.{series['id']}.2026-12-08"]
    assert [exception["subject"] for exception in event["exceptionOccurrences"]] == ["Mine"]
    assert event["exceptionOccurrences"][0]["type"] == "exception"
    single = await lab.create()
    assert "cancelledOccurrences" not in (await lab.graph("GET", lab.event_path(single["id"]), query=query)).body


async def test_a_series_with_other_times_begins_anew(lab, series, moment):
    found = await instances(lab, series)
    await lab.graph("PATCH", lab.event_path(found[2]["id"]), {"subject": "Mine"})
    await lab.graph("DELETE", lab.event_path(found[1]["id"]))
    path = lab.event_path(series["id"])
    await lab.graph("PATCH", path, {"recurrence": every({**WEEKLY, "interval": 2}, 2)})
    fresh = await instances(lab, series)
    assert starts(fresh) == ["2026-12-01T08:00", "2026-12-15T08:00"]
    assert {event["type"] for event in fresh} == {"occurrence"}
    # The day that is in both patterns keeps its id; the one that is not is gone.
    assert fresh[1]["id"] == found[2]["id"]
    assert (await lab.graph("GET", lab.event_path(found[3]["id"]))).status == 404
    times = {"start": moment("2026-12-01T11:00:00"), "end": moment("2026-12-01T12:00:00")}
    await lab.graph("PATCH", path, times)
    assert starts(await instances(lab, series)) == ["2026-12-01T10:00", "2026-12-15T10:00"]


async def test_an_occurrence_has_no_recurrence_of_its_own(lab, series):
    second = (await instances(lab, series))[1]
    path = lab.event_path(second["id"])
    assert (await lab.graph("PATCH", path, {"recurrence": every(DAILY)})).code == "ErrorInvalidRequest"
    # A body that was read can be sent back.
    assert (await lab.graph("PATCH", path, {"recurrence": None, "subject": "x"})).status == 200


async def test_a_deleted_series_takes_its_occurrences_with_it(lab, series):
    second = (await instances(lab, series))[1]
    await lab.graph("DELETE", lab.event_path(series["id"]))
    assert (await lab.graph("GET", lab.event_path(second["id"]))).status == 404


async def test_instances_need_a_master_and_a_window(lab, series):
    path = f"{lab.event_path(series['id'])}/instances"
    assert (await lab.graph("GET", path)).code == "ErrorInvalidParameter"
    single = await lab.create()
    reply = await lab.graph("GET", f"{lab.event_path(single['id'])}/instances", query=DECEMBER)
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")


async def test_if_match_guards_an_occurrence(lab, series):
    second = (await instances(lab, series))[1]
    path = lab.event_path(second["id"])
    old = {"If-Match": second["@odata.etag"]}
    assert (await lab.graph("PATCH", path, {"subject": "x"}, headers=old)).status == 200
    assert (await lab.graph("PATCH", path, {"subject": "y"}, headers=old)).code == "ErrorIrresolvableConflict"


async def test_an_occurrence_is_over_before_the_next_one(lab, make_event, moment):
    times = {"start": moment("2026-12-01T09:00:00"), "end": moment("2026-12-02T09:01:00")}
    reply = await lab.graph("POST", lab.events_path, make_event(recurrence=every(DAILY), **times))
    assert (reply.status, reply.code) == (400, "ErrorCalendarDurationIsTooLong")
    assert (await lab.graph("POST", lab.events_path, make_event(recurrence=every(WEEKLY), **times))).status == 201


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25"], ids=["23 hours", "25 hours"])
async def test_a_day_is_a_day_when_the_clocks_change(lab, make_event, moment, day):
    following = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    recurrence = {"pattern": DAILY, "range": {"type": "numbered", "startDate": day, "numberOfOccurrences": 3}}

    async def create(begin, end, **members):
        times = {"start": moment(f"{day}T{begin}"), "end": moment(f"{following}T{end}")}
        return await lab.graph("POST", lab.events_path, make_event(recurrence=recurrence, **times, **members))

    for reply in (await create("00:00:00", "00:00:00", isAllDay=True), await create("00:00:00", "00:00:00")):
        assert reply.status == 201, reply.body
        window = {"startDateTime": f"{day}T12:00:00Z", "endDateTime": "2026-12-01"}
        path = f"{lab.event_path(reply.body['id'])}/instances"
        assert len((await lab.graph("GET", path, query=window)).body["value"]) == 3
    longer = await create("00:00:00", "00:30:00")
    assert (longer.status, longer.code) == (400, "ErrorCalendarDurationIsTooLong")


async def test_a_series_ends_with_the_calendar(lab, make_event, moment):
    times = {"start": moment("9999-12-29T23:00:00", "UTC"), "end": moment("9999-12-30T01:00:00", "UTC")}
    span = {"type": "noEnd", "startDate": "9999-12-29"}
    master = await lab.create(make_event(recurrence={"pattern": DAILY, "range": span}, **times))
    window = {"startDateTime": "9999-12-01", "endDateTime": "9999-12-31T23:59:59"}
    assert starts(await instances(lab, master, window)) == ["9999-12-29T23:00", "9999-12-30T23:00"]
    assert starts(await instances(lab, master, window, headers={"Prefer": 'outlook.timezone="Asia/Tokyo"'}))
