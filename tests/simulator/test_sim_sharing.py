"""Calendars and who may see them: permissions, roles, calendar groups, schedules."""

import urllib.parse

import pytest

ROLES = ["freeBusyRead", "limitedRead", "read", "write"]
DELEGATES = ["delegateWithoutPrivateEventAccess", "delegateWithPrivateEventAccess"]
BEN = "ben@contoso.example"


def shares(lab, share_id=""):
    quoted = f"/{urllib.parse.quote(share_id, safe='')}" if share_id else ""
    return f"/users/{lab.user}/calendar/calendarPermissions{quoted}"


@pytest.fixture
async def ben(lab):
    return (await lab.admin.put_user(lab.tenant_id, BEN, display_name="Ben")).upn


async def test_the_organisation_has_a_permission_that_stays(lab):
    value = (await lab.graph("GET", shares(lab))).body["value"]
    assert value == [
        {
            "id": "RGVmYXVsdA==", "isRemovable": False, "isInsideOrganization": True, "role": "freeBusyRead",
            "allowedRoles": ["none", *ROLES], "emailAddress": {"name": "My Organization"},
        }
    ]  # fmt: skip
    reply = await lab.graph("DELETE", shares(lab, "RGVmYXVsdA=="))
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")
    assert (await lab.graph("PATCH", shares(lab, "RGVmYXVsdA=="), {"role": "none"})).body["role"] == "none"
    assert (await lab.graph("GET", shares(lab))).body["value"][0]["role"] == "none"


async def test_a_calendar_is_shared_and_taken_back(lab, ben):
    wanted = {"emailAddress": {"name": "Ben", "address": ben}, "role": "write"}
    made = await lab.graph("POST", shares(lab), wanted)
    assert (made.status, made.body["role"], made.body["isInsideOrganization"]) == (201, "write", True)
    assert (made.body["allowedRoles"], made.body["isRemovable"]) == (ROLES + DELEGATES, True)
    path = shares(lab, made.body["id"])
    changed = await lab.graph("PATCH", path, {"role": DELEGATES[1]})
    assert (changed.status, changed.body["role"]) == (200, DELEGATES[1])
    assert (await lab.graph("GET", path)).body["role"] == DELEGATES[1]
    assert [item["role"] for item in (await lab.graph("GET", shares(lab))).body["value"]] == [
        DELEGATES[1],
        "freeBusyRead",
    ]
    assert (await lab.graph("POST", shares(lab), wanted)).status == 400
    assert (await lab.graph("DELETE", path)).status == 204
    assert (await lab.graph("GET", path)).code == "ErrorItemNotFound"


async def test_strangers_and_other_calendars_have_fewer_roles(lab, ben):
    stranger = {"emailAddress": {"address": "eve@elsewhere.example"}, "role": "write"}
    assert (await lab.graph("POST", shares(lab), stranger)).status == 400
    made = (await lab.graph("POST", shares(lab), {**stranger, "role": "read"})).body
    assert (made["isInsideOrganization"], made["allowedRoles"]) == (False, ROLES[:3])
    visits = (await lab.graph("POST", f"/users/{lab.user}/calendars", {"name": "Visits"})).body["id"]
    root = f"/users/{lab.user}/calendars/{urllib.parse.quote(visits, safe='')}"
    delegate = {"emailAddress": {"address": ben}, "role": DELEGATES[0]}
    assert (await lab.graph("POST", f"{root}/calendarPermissions", delegate)).status == 400

    async def allowed(root, address):
        return (await lab.graph("GET", f"{root}/allowedCalendarSharingRoles(User='{address}')")).body["value"]

    assert await allowed(root, ben) == ROLES
    assert await allowed(f"/users/{lab.user}/calendar", ben) == ROLES + DELEGATES
    assert await allowed(f"/users/{lab.user}/calendar", "eve@elsewhere.example") == ROLES[:3]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"role": "read"}, {"emailAddress": {"address": BEN}}, {"emailAddress": {"address": BEN}, "role": "king"},
        {"emailAddress": {"address": BEN}, "role": "none"}, {"emailAddress": BEN, "role": "read"}, {"x": 1}, [],
    ],
    ids=str,
)  # fmt: skip
async def test_a_wrong_permission_is_refused(lab, ben, body):
    assert (await lab.graph("POST", shares(lab), body)).status == 400


async def test_an_administrator_shares_a_calendar(lab, ben):
    await lab.admin.share_calendar(lab.tenant_id, lab.user, "custom", ben, name="Ben")
    await lab.admin.share_calendar(lab.tenant_id, lab.user, "none")
    assert [item["role"] for item in (await lab.graph("GET", shares(lab))).body["value"]] == ["custom", "none"]


async def test_an_application_is_shown_the_owners_view(lab):
    calendar = (await lab.graph("GET", f"/users/{lab.user}/calendar")).body
    assert (calendar["canEdit"], calendar["canShare"], calendar["canViewPrivateItems"]) == (True, True, True)


@pytest.mark.parametrize(
    ("role", "can"),
    [
        ("read", (False, False, False)),
        ("write", (True, False, False)),
        (DELEGATES[0], (True, False, False)),
        (DELEGATES[1], (True, False, True)),
    ],
)
async def test_a_sharee_sees_no_permissions_but_what_they_can_do(lab, ben, delegated, role, can):
    await lab.admin.share_calendar(lab.tenant_id, lab.user, role, ben)
    token = await delegated("Calendars.ReadWrite.Shared", user=ben)
    calendar = (await lab.graph("GET", f"/users/{lab.user}/calendar", token=token)).body
    assert (calendar["canEdit"], calendar["canShare"], calendar["canViewPrivateItems"]) == can
    assert (await lab.graph("GET", shares(lab), token=token)).body["value"] == []
    assert (await lab.graph("GET", shares(lab, "RGVmYXVsdA=="), token=token)).status == 404
    wanted = {"emailAddress": {"address": ben}, "role": "write"}
    assert (await lab.graph("POST", shares(lab), wanted, token=token)).status == 403


async def test_calendars_are_renamed_and_deleted(lab, make_event):
    visits = (await lab.graph("POST", f"/users/{lab.user}/calendars", {"name": "Visits"})).body["id"]
    path = f"/users/{lab.user}/calendars/{urllib.parse.quote(visits, safe='')}"
    event = (await lab.graph("POST", f"{path}/events", make_event())).body
    changed = (await lab.graph("PATCH", path, {"name": "Trips", "color": "lightRed"})).body
    assert (changed["name"], changed["color"]) == ("Trips", "lightRed")
    assert (await lab.graph("PATCH", path, {"name": "calendar"})).code == "ErrorFolderExists"
    assert (await lab.graph("DELETE", path)).status == 204
    assert (await lab.graph("GET", path)).code == "ErrorItemNotFound"
    assert (await lab.graph("GET", lab.event_path(event["id"]))).code == "ErrorItemNotFound"


async def test_the_default_calendar_cannot_be_deleted(lab):
    default = (await lab.graph("GET", f"/users/{lab.user}/calendar")).body["id"]
    reply = await lab.graph("DELETE", f"/users/{lab.user}/calendars/{urllib.parse.quote(default, safe='')}")
    assert (reply.status, reply.code) == (400, "ErrorDeleteDistinguishedFolder")
    assert (await lab.graph("DELETE", f"/users/{lab.user}/calendar")).status == 405


async def test_calendars_have_one_group(lab, make_event):
    groups = (await lab.graph("GET", f"/users/{lab.user}/calendarGroups")).body["value"]
    assert [group["name"] for group in groups] == ["My Calendars"]
    root = f"/users/{lab.user}/calendarGroups/{groups[0]['id']}/calendars"
    calendar = (await lab.graph("GET", root)).body["value"][0]
    events = f"{root}/{urllib.parse.quote(calendar['id'], safe='')}/events"
    assert (await lab.graph("POST", events, make_event())).status == 201
    assert len((await lab.graph("GET", events)).body["value"]) == 1
    assert (await lab.graph("GET", f"/users/{lab.user}/calendarGroups/other/calendars")).code == "ErrorItemNotFound"


def asking(*names, start="2026-12-01T08:00:00", end="2026-12-01T12:00:00", **more):
    times = {"startTime": {"dateTime": start, "timeZone": "UTC"}, "endTime": {"dateTime": end, "timeZone": "UTC"}}
    return {"schedules": list(names), **times, **more}


async def test_a_schedule_shows_who_is_free(lab, make_event, moment):
    for hour, status in (("09", "tentative"), ("10", "oof"), ("11", "workingElsewhere")):
        times = {"start": moment(f"2026-12-01T{hour}:00:00", "UTC"), "end": moment(f"2026-12-01T{hour}:30:00", "UTC")}
        await lab.create(make_event(showAs=status, subject=status, **times))
    overlapping = {"start": moment("2026-12-01T09:15:00", "UTC"), "end": moment("2026-12-01T10:15:00", "UTC")}
    await lab.create(make_event(sensitivity="private", **overlapping))
    path = f"/users/{lab.user}/calendar/getSchedule"
    reply = await lab.graph("POST", path, asking(lab.user, "nobody@contoso.example"))
    mine, nobody = reply.body["value"]
    assert (mine["scheduleId"], mine["availabilityView"]) == (lab.user, "00223040")
    assert [item["status"] for item in mine["scheduleItems"]] == ["tentative", "busy", "oof", "workingElsewhere"]
    private = mine["scheduleItems"][1]
    assert (private["isPrivate"], "subject" in private) == (True, False)
    assert mine["scheduleItems"][0]["start"] == {"dateTime": "2026-12-01T09:00:00.0000000", "timeZone": "UTC"}
    assert mine["workingHours"]["timeZone"] == {"name": "UTC"}
    assert nobody["error"]["responseCode"] == "5016"
    assert nobody["scheduleItems"] is None
    hourly = await lab.graph("POST", path, asking(lab.user, availabilityViewInterval=60))
    assert hourly.body["value"][0]["availabilityView"] == "0234"
    local = await lab.graph("POST", path, asking(lab.user), headers={"Prefer": 'outlook.timezone="Asia/Tokyo"'})
    assert local.body["value"][0]["scheduleItems"][0]["start"] == {
        "dateTime": "2026-12-01T18:00:00.0000000", "timeZone": "Asia/Tokyo",
    }  # fmt: skip


async def test_too_many_entries_are_an_error_of_the_schedule(lab, make_event):
    span = {"type": "noEnd", "startDate": "2026-12-01"}
    pattern = {"type": "daily", "interval": 1}
    for _ in range(17):
        await lab.create(make_event(recurrence={"pattern": pattern, "range": span}))
    asked = asking(lab.user, start="2026-12-01T00:00:00", end="2027-01-30T00:00:00")
    reply = await lab.graph("POST", f"/users/{lab.user}/calendar/getSchedule", asked)
    assert reply.body["value"][0]["error"]["responseCode"] == "5006"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (asking(*["x"] * 21), "ErrorInvalidParameter"),
        (asking("x", end="2027-02-01T08:00:01"), "ErrorTimeIntervalTooBig"),
        (asking("x", end="2026-12-01T08:00:00"), "ErrorInvalidRequest"),
        (asking("x", availabilityViewInterval=4), "ErrorInvalidParameter"),
        (asking("x", availabilityViewInterval=1441), "ErrorInvalidParameter"),
        (asking(), "RequestBodyRead"),
        ({"schedules": ["x"]}, "RequestBodyRead"),
        ({**asking("x"), "who": 1}, "RequestBodyRead"),
        ([], "RequestBodyRead"),
    ],
)
async def test_a_wrong_question_is_refused(lab, asked, code):
    reply = await lab.graph("POST", f"/users/{lab.user}/calendar/getSchedule", asked)
    assert (reply.status, reply.code) == (400, code)
