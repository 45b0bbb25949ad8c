"""Open extensions of events."""

import pytest

NAME = "Com.Contoso.Shift"
ID = f"microsoft.graph.openTypeExtension.{NAME}"
OLD_ID = f"Microsoft.OutlookServices.OpenTypeExtension.{NAME}"
EXTENSION = {"@odata.type": "microsoft.graph.openTypeExtension", "extensionName": NAME, "ward": "7B", "beds": 12}
SHOWN = {"@odata.type": "#microsoft.graph.openTypeExtension", "id": ID, "extensionName": NAME, "ward": "7B", "beds": 12}


@pytest.fixture
async def marked(lab, make_event):
    return await lab.create(make_event(extensions=[EXTENSION]))


async def test_an_extension_is_made_with_its_event(lab, marked):
    assert marked["extensions"] == [SHOWN]
    path = lab.event_path(marked["id"])
    assert "extensions" not in (await lab.graph("GET", path)).body
    for expand in ("extensions", f"extensions($filter=id eq '{ID}')", f"Extensions($filter=id eq '{OLD_ID}')"):
        assert (await lab.graph("GET", path, query={"$expand": expand})).body["extensions"] == [SHOWN]
    other = {"$expand": "extensions($filter=id eq 'Com.Contoso.Other')"}
    assert (await lab.graph("GET", path, query=other)).body["extensions"] == []


async def test_extensions_are_made_changed_and_deleted(lab):
    event = await lab.create()
    path = f"{lab.event_path(event['id'])}/extensions"
    made = await lab.graph("POST", path, EXTENSION)
    assert (made.status, made.body["id"], made.body["ward"]) == (201, ID, "7B")
    assert (await lab.graph("POST", path, EXTENSION)).status == 409
    changed = await lab.graph("PATCH", f"{path}/{ID}", {"ward": "8", "beds": None, "night": True})
    assert (changed.status, changed.body["ward"], "beds" in changed.body, changed.body["night"]) == (
        200,
        "8",
        False,
        True,
    )
    for name in (NAME, ID, OLD_ID):
        assert (await lab.graph("GET", f"{path}/{name}")).body["ward"] == "8"
    assert (await lab.graph("DELETE", f"{path}/{NAME}")).status == 204
    for method, body in (("GET", None), ("PATCH", {"x": 1}), ("DELETE", None)):
        assert (await lab.graph(method, f"{path}/{NAME}", body)).code == "ErrorItemNotFound"
    # Extensions are not tracked.
    assert (await lab.graph("GET", lab.event_path(event["id"]))).body["@odata.etag"] == event["@odata.etag"]


async def test_events_are_found_by_their_extension(lab, marked):
    await lab.create()
    for extension_id, number in ((ID, 1), (OLD_ID, 1), (NAME, 1), ("Com.Contoso.Other", 0)):
        query = {"$filter": f"Extensions/any(f:f/id eq '{extension_id}')", "$expand": "extensions"}
        assert len((await lab.graph("GET", lab.events_path, query=query)).body["value"]) == number


async def test_occurrences_show_the_extensions_of_their_series(lab, make_event):
    span = {"type": "numbered", "startDate": "2026-12-01", "numberOfOccurrences": 1}
    daily = {"pattern": {"type": "daily", "interval": 1}, "range": span}
    await lab.create(make_event(recurrence=daily, extensions=[EXTENSION]))
    query = {"startDateTime": "2026-12-01", "endDateTime": "2026-12-02", "$expand": "extensions"}
    occurrence = (await lab.graph("GET", f"/users/{lab.user}/calendarView", query=query)).body["value"][0]
    assert occurrence["extensions"] == [SHOWN]


@pytest.fixture
async def occurrences(lab, make_event):
    """Three occurrences of a series that has an extension."""
    span = {"type": "numbered", "startDate": "2026-12-01", "numberOfOccurrences": 3}
    daily = {"pattern": {"type": "daily", "interval": 1}, "range": span}
    await lab.create(make_event(recurrence=daily, extensions=[EXTENSION]))
    return await in_view(lab)


async def in_view(lab):
    query = {"startDateTime": "2026-12-01", "endDateTime": "2026-12-31", "$expand": "extensions"}
    return (await lab.graph("GET", f"/users/{lab.user}/calendarView", query=query)).body["value"]


async def test_an_occurrence_has_extensions_of_its_own(lab, occurrences):
    path = f"{lab.event_path(occurrences[1]['id'])}/extensions"
    made = await lab.graph("POST", path, {"extensionName": "Com.Contoso.Own", "x": 1})
    assert (made.status, made.body["x"]) == (201, 1)
    found = await in_view(lab)
    assert [event["type"] for event in found] == ["occurrence", "exception", "occurrence"]
    assert [[held["extensionName"] for held in event["extensions"]] for event in found] == [
        [NAME], [NAME, "Com.Contoso.Own"], [NAME]
    ]  # fmt: skip
    # By then it is an exception, and its extensions are not tracked.
    assert (await lab.graph("PATCH", f"{path}/Com.Contoso.Own", {"x": 2})).body["x"] == 2
    assert [event["@odata.etag"] for event in await in_view(lab)] == [event["@odata.etag"] for event in found]
    await lab.graph("PATCH", lab.event_path(found[1]["id"]), {"subject": "Mine"})
    assert (await lab.graph("GET", f"{path}/Com.Contoso.Own")).body["x"] == 2
    assert (await lab.graph("DELETE", f"{path}/Com.Contoso.Own")).status == 204
    assert (await lab.graph("GET", f"{path}/Com.Contoso.Own")).code == "ErrorItemNotFound"


async def test_an_occurrence_changes_and_loses_what_its_series_has(lab, occurrences):
    first, second = (f"{lab.event_path(event['id'])}/extensions" for event in occurrences[:2])
    assert (await lab.graph("POST", first, EXTENSION)).status == 409
    assert [event["type"] for event in await in_view(lab)] == ["occurrence"] * 3
    changed = await lab.graph("PATCH", f"{first}/{ID}", {"ward": "9"})
    assert (changed.body["ward"], changed.body["beds"]) == ("9", 12)
    assert (await lab.graph("DELETE", f"{second}/{NAME}")).status == 204
    assert (await lab.graph("GET", f"{second}/{NAME}")).status == 404
    found = await in_view(lab)
    assert [[held["ward"] for held in event.get("extensions", [])] for event in found] == [["9"], [], ["7B"]]
    made = await lab.graph("POST", second, {**EXTENSION, "ward": "1"})
    assert (made.status, made.body["ward"]) == (201, "1")


@pytest.mark.parametrize(
    "body", [{}, {"extensionName": ""}, {"extensionName": 1}, {"extensionName": "x" * 129}, [],
             {"extensionName": "x", "@odata.type": "microsoft.graph.user"}]
)  # fmt: skip
async def test_a_wrong_extension_is_refused(lab, make_event, body):
    path = lab.event_path((await lab.create())["id"])
    assert (await lab.graph("POST", f"{path}/extensions", body)).status == 400
    assert (await lab.graph("POST", lab.events_path, make_event(extensions=[body]))).status == 400


async def test_inline_extensions_belong_to_creation(lab, make_event, marked):
    reply = await lab.graph("PATCH", lab.event_path(marked["id"]), {"extensions": [EXTENSION]})
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")
    assert (await lab.graph("POST", lab.events_path, make_event(extensions=[EXTENSION] * 2))).status == 409
