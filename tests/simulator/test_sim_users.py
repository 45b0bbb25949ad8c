"""Users, mailbox kinds and calendars."""

import uuid

import pytest

from simulator.client import App


async def test_a_user_is_addressed_by_id_or_name_in_any_case(lab):
    for name in (lab.user, lab.user.upper(), lab.user_id, lab.user_id.upper(), lab.user.replace("@", "%40")):
        assert (await lab.graph("GET", f"/Users/{name}/EVENTS")).status == 200


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        ("ok", 200, None),
        ("unlicensed", 404, "MailboxNotEnabledForRESTAPI"),
        ("on_premises", 404, "MailboxNotEnabledForRESTAPI"),
        ("soft_deleted", 404, "MailboxNotEnabledForRESTAPI"),
        ("missing", 404, "ResourceNotFound"),
        ("blocked_by_policy", 403, "ErrorAccessDenied"),
    ],
)
async def test_mailbox_kinds(lab, kind, status, code):
    await lab.create()
    await lab.admin.put_user(lab.tenant_id, lab.user, mailbox=kind)
    reply = await lab.graph("GET", lab.events_path)
    assert reply.status == status
    if code:
        assert reply.code == code
    if kind == "blocked_by_policy":
        assert "[RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings" in reply.message
    await lab.admin.put_user(lab.tenant_id, lab.user)
    assert len((await lab.graph("GET", lab.events_path)).body["value"]) == 1


async def test_unknown_users(lab):
    by_name = await lab.graph("GET", "/users/nobody@contoso.example/events")
    assert (by_name.status, by_name.code) == (404, "ErrorInvalidUser")
    assert by_name.message == "The requested user 'nobody@contoso.example' is invalid."
    by_id = await lab.graph("GET", f"/users/{uuid.uuid4()}/events")
    assert (by_id.status, by_id.code) == (404, "ResourceNotFound")
    entries = (await lab.admin.ledger(lab.tenant_id, user="nobody@contoso.example")).value
    assert [(entry.status, entry.code) for entry in entries] == [(404, "ErrorInvalidUser")]


async def test_the_directory_needs_a_role_of_its_own(lab):
    reply = await lab.graph("GET", f"/users/{lab.user}")
    assert (reply.status, reply.code) == (403, "Authorization_RequestDenied")
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret, ("User.Read.All",))])
    token = await lab.sign_in()
    user = (await lab.graph("GET", f"/users/{lab.user}", token=token)).body
    assert (user["id"], user["displayName"], user["mail"]) == (lab.user_id, "Dana Swope", lab.user)
    chosen = await lab.graph("GET", f"/users/{lab.user}", query={"$select": "id"}, token=token)
    assert set(chosen.body) == {"@odata.context", "id"}
    assert (await lab.graph("GET", f"/users/{lab.user}", query={"$select": "shoe"}, token=token)).status == 400
    unknown = await lab.graph("GET", "/users/nobody", token=token)
    assert (unknown.status, unknown.code) == (404, "Request_ResourceNotFound")


async def test_the_default_calendar(lab):
    calendar = (await lab.graph("GET", f"/users/{lab.user}/calendar")).body
    assert (calendar["name"], calendar["isDefaultCalendar"], calendar["canEdit"]) == ("Calendar", True, True)
    assert calendar["owner"] == {"name": "Dana Swope", "address": lab.user}
    assert [shown["id"] for shown in (await lab.graph("GET", f"/users/{lab.user}/calendars")).body["value"]] == [
        calendar["id"]
    ]


async def test_events_belong_to_the_calendar_they_were_made_in(lab, make_event):
    created = await lab.graph("POST", f"/users/{lab.user}/calendars", {"name": "Visits", "color": "lightBlue"})
    assert created.status == 201
    quoted = created.body["id"].replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
    visits = f"/users/{lab.user}/calendars/{quoted}"
    assert (await lab.graph("GET", visits)).body["name"] == "Visits"
    event = (await lab.graph("POST", f"{visits}/events", make_event(subject="There"))).body
    await lab.graph("POST", f"/users/{lab.user}/calendar/events", make_event(subject="Here"))

    async def subjects(path):
        return [shown["subject"] for shown in (await lab.graph("GET", path)).body["value"]]

    assert await subjects(f"{visits}/events") == ["There"]
    assert await subjects(f"/users/{lab.user}/calendar/events") == ["Here"]
    assert await subjects(lab.events_path) == ["There", "Here"]
    inside = lab.event_path(event["id"]).replace(lab.events_path, f"{visits}/events")
    outside = inside.replace(visits, f"/users/{lab.user}/calendar")
    assert (await lab.graph("GET", inside)).status == 200
    assert (await lab.graph("GET", outside)).code == "ErrorItemNotFound"


async def test_calendar_refusals(lab):
    calendars = f"/users/{lab.user}/calendars"
    assert (await lab.graph("POST", calendars, {"name": "calendar"})).code == "ErrorFolderExists"
    for document in ({}, {"name": ""}, {"name": "x", "color": "mauve"}, {"name": "x", "size": 1}, []):
        assert (await lab.graph("POST", calendars, document)).code == "RequestBodyRead"
    assert (await lab.graph("GET", f"{calendars}/nonsense/events")).code == "ErrorInvalidIdMalformed"
    gone = (await lab.create())["id"].replace("/", "%2F")
    assert (await lab.graph("GET", f"{calendars}/{gone}")).code == "ErrorItemNotFound"
