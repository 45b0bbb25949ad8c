"""Creating, reading, changing and deleting events: representation, defaults, strictness, concurrency."""

import re
import urllib.parse

import pytest

from simulator.exchange.event_input import read_changes
from simulator.exchange.mailbox import Mailbox
from simulator.limits import Limits

PROPERTY = "String {66f5a359-4659-4830-9070-00040ec6ac6e} Name SourceId"


async def test_a_created_event_is_shown_with_the_documented_defaults(lab, make_event):
    event = await lab.create(make_event(body={"contentType": "text", "content": "Back on Monday"}))
    assert event["@odata.context"].endswith(f"/v1.0/$metadata#users('{lab.user_id}')/calendar/events/$entity")
    assert event["@odata.etag"] == f'W/"{event["changeKey"]}"'
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", event["createdDateTime"])
    assert event["createdDateTime"] == event["lastModifiedDateTime"]
    assert event["iCalUId"].startswith("040000008200E00074C5B7101A82E008")
    assert urllib.parse.quote(event["id"], safe="") in event["webLink"]
    expected = {
        "subject": "Leave", "bodyPreview": "Back on Monday", "importance": "normal", "sensitivity": "normal",
        "isAllDay": False, "isCancelled": False, "isOrganizer": True, "isDraft": False, "responseRequested": True,
        "seriesMasterId": None, "showAs": "busy", "type": "singleInstance", "isReminderOn": True,
        "reminderMinutesBeforeStart": 15, "hasAttachments": False, "categories": [], "attendees": [],
        "recurrence": None, "onlineMeetingUrl": None, "isOnlineMeeting": False, "onlineMeetingProvider": "unknown",
        "onlineMeeting": None, "allowNewTimeProposals": True, "hideAttendees": False, "locations": [],
        "originalStartTimeZone": "Europe/Paris", "originalEndTimeZone": "Europe/Paris",
        "responseStatus": {"response": "organizer", "time": "0001-01-01T00:00:00Z"},
        "location": {
            "displayName": "", "locationType": "default", "uniqueIdType": "unknown", "address": {}, "coordinates": {}
        },
        "organizer": {"emailAddress": {"name": "Dana Swope", "address": lab.user}},
    }  # fmt: skip
    assert {name: event[name] for name in expected} == expected
    assert "transactionId" not in event


async def test_what_was_sent_is_what_is_stored(lab, make_event):
    sent = {
        "showAs": "oof", "sensitivity": "private", "importance": "high", "categories": ["HR", "Plan"],
        "isReminderOn": False, "reminderMinutesBeforeStart": 0, "responseRequested": False,
        "allowNewTimeProposals": False, "hideAttendees": True,
    }  # fmt: skip
    created = await lab.create(make_event(**sent))
    read = (await lab.graph("GET", lab.event_path(created["id"]))).body
    assert {name: read[name] for name in sent} == sent


async def test_a_patch_changes_only_what_it_names_and_the_etag(lab, make_event):
    created = await lab.create(make_event(categories=["HR"], body={"contentType": "text", "content": "kept"}))
    reply = await lab.graph("PATCH", lab.event_path(created["id"]), {"subject": "Sick leave"})
    assert reply.status == 200
    changed = {name for name in created if reply.body[name] != created[name]}
    assert changed == {"@odata.etag", "changeKey", "lastModifiedDateTime", "subject"}
    again = await lab.graph("PATCH", lab.event_path(created["id"]), {"subject": "Sick leave"})
    assert again.body["changeKey"] != reply.body["changeKey"]


async def test_a_deleted_event_is_gone(lab):
    path = lab.event_path((await lab.create())["id"])
    assert (await lab.graph("DELETE", path)).status == 204
    for method, body in (("GET", None), ("PATCH", {"subject": "x"}), ("DELETE", None)):
        reply = await lab.graph(method, path, body)
        assert (reply.status, reply.code) == (404, "ErrorItemNotFound")
    assert await lab.admin.events(lab.tenant_id, lab.user) == []


async def test_a_stale_change_key_is_refused(lab):
    created = await lab.create()
    path = lab.event_path(created["id"])
    stale = {"If-Match": created["@odata.etag"]}
    current = (await lab.graph("PATCH", path, {"subject": "b"}, headers=stale)).body["@odata.etag"]
    for method, body in (("PATCH", {"subject": "c"}), ("DELETE", None)):
        reply = await lab.graph(method, path, body, headers=stale)
        assert (reply.status, reply.code) == (412, "ErrorIrresolvableConflict")
    assert (await lab.graph("GET", path)).body["subject"] == "b"
    assert (await lab.graph("PATCH", path, {"subject": "d"}, headers={"If-Match": "*"})).status == 200
    assert (await lab.graph("DELETE", path, headers={"If-Match": current})).status == 412


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": "red"}, "The property 'colour' does not exist on type 'microsoft.graph.event'"),
        ({"body": {"contentType": "text", "contents": "x"}}, "'contents' does not exist"),
        ({"start": {"dateTime": "2026-12-01T09:00:00", "zone": "UTC"}}, "'zone' does not exist"),
        ({"attendees": [{"mail": "x"}]}, "'mail' does not exist"),
        ({"showAs": "away"}, "Requested value 'away' was not found."),
        ({"sensitivity": "secret"}, "Requested value 'secret' was not found."),
        ({"importance": 1}, "Edm.String"),
        ({"body": {"contentType": "markdown", "content": ""}}, "Requested value 'markdown' was not found."),
        ({"subject": 7}, "Edm.String"),
        ({"isAllDay": "no"}, "Edm.Boolean"),
        ({"reminderMinutesBeforeStart": 1.5}, "Edm.Int32"),
        ({"reminderMinutesBeforeStart": True}, "Edm.Int32"),
        ({"categories": "HR"}, "Collection(Edm.String)"),
    ],
)
async def test_a_body_that_odata_cannot_read_is_refused_whole(lab, make_event, changes, said):
    reply = await lab.graph("POST", lab.events_path, make_event(**changes))
    assert (reply.status, reply.code) == (400, "RequestBodyRead")
    assert said in reply.message
    created = await lab.create()
    reply = await lab.graph("PATCH", lab.event_path(created["id"]), {"subject": "new", **changes})
    assert reply.status == 400
    assert (await lab.graph("GET", lab.event_path(created["id"]))).body["@odata.etag"] == created["@odata.etag"]


async def test_read_only_properties_are_ignored(lab, make_event):
    first = await lab.create()
    second = await lab.create({name: value for name, value in first.items() if name != "@odata.context"})
    assert second["id"] != first["id"]
    assert second["iCalUId"] != first["iCalUId"]
    reply = await lab.graph("PATCH", lab.event_path(first["id"]), {"iCalUId": "x", "isOrganizer": False})
    assert (reply.body["iCalUId"], reply.body["isOrganizer"]) == (first["iCalUId"], True)


async def test_what_the_simulator_does_not_hold_is_refused_not_lost(lab, make_event):
    reply = await lab.graph("POST", lab.events_path, make_event(attachments=[]))
    assert (reply.status, reply.code) == (501, "NotImplemented")


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [(b'{"subject": ', "application/json"), (b'{"subject": "x"}', "text/plain"), (b"", "application/json")],
)
async def test_an_unreadable_body_is_a_bad_request(lab, raw, content_type):
    reply = await lab.graph("POST", lab.events_path, raw=raw, headers={"Content-Type": content_type})
    assert (reply.status, reply.code) == (400, "BadRequest")


@pytest.mark.parametrize("document", [[], "x", 7])
async def test_a_body_that_is_no_object_is_refused(lab, document):
    reply = await lab.graph("POST", lab.events_path, document)
    assert (reply.status, reply.code) == (400, "RequestBodyRead")


async def test_bodies_above_4_mb_are_refused(lab, make_event):
    event = make_event(body={"contentType": "text", "content": "x" * (4 * 1024 * 1024)})
    assert (await lab.graph("POST", lab.events_path, event)).status == 413
    event = make_event(body={"contentType": "text", "content": "x" * (4 * 1024 * 1024 - 1000)})
    assert (await lab.graph("POST", lab.events_path, event)).status == 201


async def test_the_length_of_a_subject_is_a_setting(lab, make_event):
    assert (await lab.graph("POST", lab.events_path, make_event(subject="x" * 255))).status == 201
    reply = await lab.graph("POST", lab.events_path, make_event(subject="x" * 256))
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")
    await lab.admin.set_limits(lab.tenant_id, subject_max_chars=None)
    assert (await lab.graph("POST", lab.events_path, make_event(subject="x" * 256))).status == 201


async def test_exchange_rewrites_text_bodies_into_its_own_html(lab, make_event):
    event = await lab.create(make_event(body={"contentType": "text", "content": "a <b>\nc"}))
    assert event["body"]["contentType"] == "html"
    assert event["body"]["content"] != "a <b>\nc"
    assert "a &lt;b&gt;<br>\r\nc" in event["body"]["content"]
    assert event["bodyPreview"] == "a <b>\r\nc"


async def test_exchange_rewrites_html_bodies_and_drops_scripts(lab, make_event):
    markup = '<p onclick="evil()">Hello<br>you &amp; me</p><script>evil()</script><!-- note -->'
    event = await lab.create(make_event(body={"contentType": "HTML", "content": markup}))
    content = event["body"]["content"]
    assert content.startswith("<html><head>")
    assert "evil" not in content
    assert "note" not in content
    assert event["bodyPreview"] == "Hello\r\nyou & me"
    rewritten = await lab.create(make_event(body=event["body"]))
    assert rewritten["body"] == event["body"]


async def test_the_preview_has_255_characters(lab, make_event):
    event = await lab.create(make_event(body={"contentType": "text", "content": "x" * 1000}))
    assert event["bodyPreview"] == "x" * 255


async def test_a_text_body_can_be_preferred(lab, make_event):
    prefer = {"Prefer": 'outlook.body-content-type="text"'}
    created = await lab.create(make_event(body={"contentType": "text", "content": "one\ntwo"}))
    reply = await lab.graph("GET", lab.event_path(created["id"]), headers=prefer)
    assert reply.body["body"] == {"contentType": "text", "content": "one\r\ntwo"}
    assert reply.headers["Preference-Applied"] == 'outlook.body-content-type="text"'


async def test_places_and_people(lab, make_event):
    person = {"emailAddress": {"name": "Ann", "address": "ann@contoso.example"}, "type": "optional"}
    event = await lab.create(make_event(location={"displayName": "Room 1"}, attendees=[person]))
    assert event["location"]["displayName"] == "Room 1"
    assert event["locations"] == [event["location"]]
    assert event["attendees"] == [{**person, "status": {"response": "none", "time": "0001-01-01T00:00:00Z"}}]
    two = await lab.create(make_event(locations=[{"displayName": "A"}, {"displayName": "B"}]))
    assert two["location"]["displayName"] == "A; B"


async def test_invitations_are_counted(lab, make_event):
    people = [{"emailAddress": {"address": f"{name}@contoso.example"}} for name in ("ann", "ben")]
    path = lab.event_path((await lab.create(make_event(attendees=people)))["id"])
    await lab.graph("PATCH", path, {"attendees": people[:1]})
    await lab.graph("DELETE", path)
    entries = (await lab.admin.ledger(lab.tenant_id)).value
    assert [(entry.operation, entry.invitations) for entry in entries] == [("create", 2), ("update", 2), ("delete", 1)]
    assert (await lab.admin.stats(lab.tenant_id)).invitations == 5


async def test_an_event_has_at_most_500_attendees(lab, make_event):
    people = [{"emailAddress": {"address": f"p{number}@contoso.example"}} for number in range(501)]
    reply = await lab.graph("POST", lab.events_path, make_event(attendees=people))
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")
    made = await lab.create(make_event(attendees=people[:500]))
    reply = await lab.graph("PATCH", lab.event_path(made["id"]), {"attendees": people})
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")
    # What was refused told nobody.
    assert (await lab.admin.stats(lab.tenant_id)).invitations == 500


async def test_an_online_meeting_stays_one(lab, make_event):
    created = await lab.create(make_event(isOnlineMeeting=True))
    assert created["onlineMeetingProvider"] == "teamsForBusiness"
    reply = await lab.graph("PATCH", lab.event_path(created["id"]), {"isOnlineMeeting": False})
    assert reply.body["isOnlineMeeting"] is True


def test_a_calendar_without_teams_ignores_the_wish_for_an_online_meeting(make_event):
    mailbox = Mailbox.open("guid", "Dana", "dana@contoso.example")
    mailbox.default_calendar.online_meetings = False
    changes = read_changes(make_event(isOnlineMeeting=True))
    event = mailbox.create(mailbox.default_calendar, changes, b"", Limits(), now=0.0).event
    assert (event.wire["isOnlineMeeting"], event.wire["onlineMeetingProvider"]) == (False, "unknown")


async def test_every_root_reaches_the_same_event(lab):
    made = await lab.create()
    calendar = (await lab.graph("GET", f"/users/{lab.user}/calendar")).body["id"]
    group = (await lab.graph("GET", f"/users/{lab.user}/calendarGroups")).body["value"][0]["id"]
    named = f"calendars/{urllib.parse.quote(calendar, safe='')}"
    for root in ("", "calendar/", f"{named}/", f"calendarGroups/{group}/{named}/"):
        path = f"/users/{lab.user}/{root}events"
        assert [event["id"] for event in (await lab.graph("GET", path)).body["value"]] == [made["id"]]
        read = await lab.graph("GET", f"{path}/{urllib.parse.quote(made['id'], safe='')}")
        assert (read.status, read.body["createdDateTime"]) == (200, made["createdDateTime"])


async def test_extended_properties_are_kept_and_never_echoed(lab, make_event):
    event = make_event(singleValueExtendedProperties=[{"id": PROPERTY, "value": "abc"}])
    created = await lab.create(event)
    path = lab.event_path(created["id"])
    changed = await lab.graph("PATCH", path, {"singleValueExtendedProperties": [{"id": PROPERTY, "value": "def"}]})
    read = await lab.graph("GET", path)
    assert all("singleValueExtendedProperties" not in body for body in (created, changed.body, read.body))
    assert (await lab.admin.events(lab.tenant_id, lab.user))[0].extended_properties == {PROPERTY: "def"}
    expanded = await lab.graph(
        "GET", path, query={"$expand": f"singleValueExtendedProperties($filter=id eq '{PROPERTY}')"}
    )
    assert expanded.body["singleValueExtendedProperties"] == [{"id": PROPERTY, "value": "def"}]


@pytest.mark.parametrize(
    "property_id",
    ["SourceId", "String 66f5a359 Name X", "Text {66f5a359-4659-4830-9070-00040ec6ac6e} Name X", "String 4001001E"],
)
async def test_a_malformed_extended_property_id_is_refused(lab, make_event, property_id):
    event = make_event(singleValueExtendedProperties=[{"id": property_id, "value": "abc"}])
    reply = await lab.graph("POST", lab.events_path, event)
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")


@pytest.mark.parametrize(
    "property_id", ["Integer {66f5a359-4659-4830-9070-00040ec6ac6e} Id 0x8012", "String 0x4001001E"]
)
async def test_all_forms_of_extended_property_ids_are_taken(lab, make_event, property_id):
    await lab.create(make_event(singleValueExtendedProperties=[{"id": property_id, "value": "5"}]))
    held = (await lab.admin.events(lab.tenant_id, lab.user))[0].extended_properties
    assert [name.lower() for name in held] == [property_id.lower()]


async def test_every_response_carries_the_service_headers(lab):
    reply = await lab.graph("GET", lab.events_path, headers={"client-request-id": "mine"})
    assert reply.headers["client-request-id"] == "mine"
    assert reply.headers["request-id"] != "mine"
    assert reply.headers["strict-transport-security"] == "max-age=31536000"
    assert "ServerInfo" in reply.headers["x-ms-ags-diagnostic"]
    assert reply.headers["Date"]
    failed = await lab.graph("GET", f"{lab.events_path}/nonsense")
    inner = failed.body["error"]["innerError"]
    assert inner["request-id"] == inner["client-request-id"] == failed.headers["request-id"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", inner["date"])


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/users/{user}/nothing", 400, "BadRequest"),
        ("GET", "/groups", 400, "BadRequest"),
        ("GET", "/me/events", 400, "BadRequest"),
        ("PUT", "/users/{user}/events", 405, "Request_BadRequest"),
        ("POST", "/users/{user}/calendar", 405, "Request_BadRequest"),
    ],
)
async def test_unknown_paths_and_methods(lab, method, path, status, code):
    reply = await lab.graph(method, path.format(user=lab.user))
    assert (reply.status, reply.code) == (status, code)
