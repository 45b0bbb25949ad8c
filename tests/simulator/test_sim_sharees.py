"""What others see and change in a calendar by their role on it, and what basic readers see of an event."""

import urllib.parse

import pytest

from simulator.client import App
from tests.simulator.conftest import CLIENT_ID, SECRET

BEN = "ben@contoso.example"
ROLES = [
    "freeBusyRead", "limitedRead", "read", "write", "delegateWithoutPrivateEventAccess",
    "delegateWithPrivateEventAccess", "custom",
]  # fmt: skip
OPEN, EDITING = ROLES[1:6], ROLES[3:6]
SECRETS = ("The doctor", "Room 7", "Bring papers", "Personnel", "eve@elsewhere.example")
GUID = "{66f5a359-4659-4830-9070-00040ec6ac6e}"
MARK = f"String {GUID} Name SourceId"
EXPANDED = f"extensions,singleValueExtendedProperties($filter=id eq '{MARK}')"
WINDOW = {"startDateTime": "2026-11-30T00:00:00Z", "endDateTime": "2026-12-03T00:00:00Z"}


@pytest.fixture
async def event(make_event):
    return make_event(
        subject="The doctor",
        location={"displayName": "Room 7"},
        body={"contentType": "text", "content": "Bring papers"},
        categories=["Personnel"],
        attendees=[{"emailAddress": {"address": "eve@elsewhere.example"}}],
        showAs="oof",
        extensions=[{"extensionName": "Com.Contoso.X", "secret": "Bring papers"}],
        singleValueExtendedProperties=[{"id": MARK, "value": "Personnel"}],
    )


@pytest.fixture
async def ben_token(lab, delegated):
    await lab.admin.put_user(lab.tenant_id, BEN, display_name="Ben")
    return await delegated("Calendars.ReadWrite.Shared", user=BEN)


def below_calendar(lab, calendar_id):
    return f"/users/{lab.user}/calendars/{urllib.parse.quote(calendar_id, safe='')}"


def told(reply):
    assert reply.status == 200, reply.body
    return str(reply.body)


async def readings(lab, token, created):
    """The event by every way there is to read it."""
    yield await lab.graph("GET", lab.event_path(created["id"]), query={"$expand": EXPANDED}, token=token)
    yield await lab.graph("GET", lab.events_path, query={"$expand": EXPANDED}, token=token)
    view = f"/users/{lab.user}/calendarView"
    yield await lab.graph("GET", view, query=WINDOW, token=token)
    yield await lab.graph("GET", view, query={**WINDOW, "$orderby": "subject"}, token=token)
    yield await lab.graph("GET", f"{view}/delta", query=WINDOW, token=token)


@pytest.mark.parametrize("sensitivity", ["normal", "private", "confidential"])
@pytest.mark.parametrize("role", ROLES)
async def test_who_sees_and_changes_what(lab, ben_token, event, role, sensitivity):
    created = await lab.create({**event, "sensitivity": sensitivity})
    await lab.admin.share_calendar(lab.tenant_id, lab.user, role, BEN)
    if role not in OPEN:
        async for reply in readings(lab, ben_token, created):
            assert (reply.status, reply.code) == (404, "ErrorItemNotFound")
        return
    ordinary = sensitivity == "normal"
    seen = SECRETS[:2] if ordinary and role == "limitedRead" else SECRETS
    if (role == "limitedRead" and not ordinary) or (not ordinary and role != "delegateWithPrivateEventAccess"):
        seen = ()
    async for reply in readings(lab, ben_token, created):
        text = told(reply)
        assert [secret for secret in SECRETS if secret in text] == list(seen)
        assert "'showAs': 'oof'" in text
        assert created["start"]["dateTime"] in text
    patched = await lab.graph("PATCH", lab.event_path(created["id"]), {"subject": "x"}, token=ben_token)
    deleted = await lab.graph("DELETE", lab.event_path(created["id"]), token=ben_token)
    edits = role == "delegateWithPrivateEventAccess" or (ordinary and role in EDITING)
    assert (patched.status, deleted.status) == ((200, 204) if edits else (403, 403))


async def test_what_is_not_seen_is_not_found_either(lab, ben_token, event):
    await lab.create({**event, "sensitivity": "private"})
    await lab.admin.share_calendar(lab.tenant_id, lab.user, "write", BEN)
    for condition in (
        "subject eq 'The doctor'",
        "Extensions/any(f:f/id eq 'Com.Contoso.X')",
        f"singleValueExtendedProperties/Any(ep: ep/id eq '{MARK}' and ep/value eq 'Personnel')",
    ):
        assert len((await lab.graph("GET", lab.events_path, query={"$filter": condition})).body["value"]) == 1
        found = await lab.graph("GET", lab.events_path, query={"$filter": condition}, token=ben_token)
        assert (found.status, found.body["value"]) == (200, [])


async def test_other_writes_and_extensions_of_private_events_are_closed(lab, ben_token, event):
    created = await lab.create({**event, "sensitivity": "private"})
    await lab.admin.share_calendar(lab.tenant_id, lab.user, "write", BEN)
    path = lab.event_path(created["id"])
    for action in ("cancel", "permanentDelete", "dismissReminder"):
        assert (await lab.graph("POST", f"{path}/{action}", {}, token=ben_token)).status == 403
    assert (await lab.graph("GET", f"{path}/extensions/Com.Contoso.X", token=ben_token)).status == 404
    assert (await lab.graph("DELETE", f"{path}/extensions/Com.Contoso.X", token=ben_token)).status == 403


async def test_a_private_series_shows_its_times_only(lab, ben_token, event):
    recurrence = {"pattern": {"type": "daily", "interval": 1}, "range": {"type": "noEnd", "startDate": "2026-12-01"}}
    series = await lab.create({**event, "recurrence": recurrence, "sensitivity": "private"})
    await lab.admin.share_calendar(lab.tenant_id, lab.user, "read", BEN)
    path = lab.event_path(series["id"])
    days = (await lab.graph("GET", f"{path}/instances", query=WINDOW, token=ben_token)).body["value"]
    await lab.graph("PATCH", lab.event_path(days[0]["id"]), {"location": {"displayName": "Room 7"}})
    for reply in (
        await lab.graph("GET", f"{path}/instances", query=WINDOW, token=ben_token),
        await lab.graph("GET", path, query={"$expand": "exceptionOccurrences"}, token=ben_token),
    ):
        assert not [secret for secret in SECRETS if secret in told(reply)]
    assert [day["start"]["dateTime"][:10] for day in days] == ["2026-12-01", "2026-12-02"]


async def test_a_calendar_is_shared_without_the_default_one(lab, ben_token, make_event):
    visits = (await lab.graph("POST", f"/users/{lab.user}/calendars", {"name": "Visits"})).body["id"]
    root = below_calendar(lab, visits)
    await lab.create(make_event(subject="Hidden"))
    assert (await lab.graph("GET", f"{root}/events", token=ben_token)).code == "ErrorItemNotFound"
    await lab.admin.share_calendar(lab.tenant_id, lab.user, "write", BEN, calendar_id=visits)
    made = await lab.graph("POST", f"{root}/events", make_event(subject="Visit"), token=ben_token)
    assert made.status == 201
    assert (await lab.graph("PATCH", lab.event_path(made.body["id"]), {"subject": "x"}, token=ben_token)).status == 200
    for path in (f"{root}/events", lab.events_path):
        listed = (await lab.graph("GET", path, token=ben_token)).body["value"]
        assert [one["subject"] for one in listed] == ["x"]
    query = {"startDateTime": WINDOW["startDateTime"]}
    delta = await lab.graph("GET", f"{lab.events_path}/delta", query=query, token=ben_token)
    assert [one["subject"] for one in delta.body["value"]] == ["x"]
    calendars = (await lab.graph("GET", f"/users/{lab.user}/calendars", token=ben_token)).body["value"]
    assert [(calendar["name"], calendar["canEdit"]) for calendar in calendars] == [("Visits", True)]
    assert (await lab.graph("GET", f"/users/{lab.user}/calendar", token=ben_token)).status == 404
    assert (await lab.graph("POST", lab.events_path, make_event(), token=ben_token)).status == 404


async def test_the_role_on_the_default_calendar_opens_no_other(lab, ben_token, make_event):
    visits = (await lab.graph("POST", f"/users/{lab.user}/calendars", {"name": "Visits"})).body["id"]
    hidden = (await lab.graph("POST", f"{below_calendar(lab, visits)}/events", make_event(subject="Hidden"))).body
    await lab.create(make_event(subject="Open"))
    await lab.admin.share_calendar(lab.tenant_id, lab.user, "delegateWithPrivateEventAccess", BEN)
    assert (await lab.graph("GET", lab.event_path(hidden["id"]), token=ben_token)).status == 404
    assert (await lab.graph("DELETE", lab.event_path(hidden["id"]), token=ben_token)).status == 404
    assert (await lab.graph("GET", below_calendar(lab, visits), token=ben_token)).status == 404
    listed = (await lab.graph("GET", lab.events_path, token=ben_token)).body["value"]
    assert [one["subject"] for one in listed] == ["Open"]
    assert len((await lab.graph("GET", f"/users/{lab.user}/calendars", token=ben_token)).body["value"]) == 1


async def test_calendars_themselves_are_their_owners(lab, ben_token):
    visits = (await lab.graph("POST", f"/users/{lab.user}/calendars", {"name": "Visits"})).body["id"]
    await lab.admin.share_calendar(lab.tenant_id, lab.user, "write", BEN, calendar_id=visits)
    root = below_calendar(lab, visits)
    assert (await lab.graph("POST", f"/users/{lab.user}/calendars", {"name": "Mine"}, token=ben_token)).status == 403
    assert (await lab.graph("PATCH", root, {"name": "Mine"}, token=ben_token)).status == 403
    assert (await lab.graph("DELETE", root, token=ben_token)).status == 403
    assert (await lab.graph("GET", root, token=ben_token)).body["name"] == "Visits"


@pytest.fixture(params=["user", "Calendars.ReadBasic", "Calendars.ReadBasic.All"])
async def basic_token(request, lab, delegated):
    if request.param == "user":
        return await delegated("Calendars.ReadBasic")
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(CLIENT_ID, SECRET, (request.param,))])
    return await lab.sign_in()


async def test_a_basic_reader_sees_events_without_their_content(lab, basic_token, event):
    created = await lab.create({**event, "sensitivity": "private"})
    path, view = lab.event_path(created["id"]), f"/users/{lab.user}/calendarView"
    for reply in (
        await lab.graph("GET", path, token=basic_token, headers={"Prefer": 'outlook.body-content-type="text"'}),
        await lab.graph("GET", lab.events_path, token=basic_token),
        await lab.graph("GET", view, query=WINDOW, token=basic_token),
        await lab.graph("GET", f"{view}/delta", query=WINDOW, token=basic_token),
    ):
        text = told(reply)
        assert "The doctor" in text
        assert "Bring papers" not in text
        assert "'body" not in text
    for query in (
        {"$expand": "extensions"},
        {"$expand": EXPANDED},
        {"$filter": "Extensions/any(f:f/id eq 'Com.Contoso.X')"},
        {"$filter": f"singleValueExtendedProperties/Any(ep: ep/id eq '{MARK}' and ep/value eq 'Personnel')"},
    ):
        assert (await lab.graph("GET", lab.events_path, query=query, token=basic_token)).code == "ErrorAccessDenied"
    assert (await lab.graph("GET", f"{path}/extensions/Com.Contoso.X", token=basic_token)).status == 403
    assert (await lab.graph("PATCH", path, {"subject": "x"}, token=basic_token)).status == 403
    assert (await lab.graph("GET", f"/users/{lab.user}/calendars", token=basic_token)).status == 200
