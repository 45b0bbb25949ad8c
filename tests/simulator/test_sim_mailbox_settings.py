"""What Outlook keeps beside events: categories, settings, time zones, translated ids; and who may read it."""

import pytest

from simulator.client import App


@pytest.fixture
async def clerk(lab):
    """The lab with an application that may read and change settings."""
    roles = ("Calendars.ReadWrite", "MailboxSettings.ReadWrite", "User.Read.All")
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret, roles)])
    lab.token = await lab.sign_in()
    return lab


def categories(lab, category_id=""):
    return f"/users/{lab.user}/outlook/masterCategories" + (f"/{category_id}" if category_id else "")


async def test_a_mailbox_begins_with_six_categories(clerk):
    value = (await clerk.graph("GET", categories(clerk))).body["value"]
    assert {item["displayName"]: item["color"] for item in value} == {
        "Red category": "preset0", "Orange category": "preset1", "Yellow category": "preset3",
        "Green category": "preset4", "Blue category": "preset7", "Purple category": "preset8",
    }  # fmt: skip


async def test_a_category_is_made_recoloured_and_deleted(clerk):
    made = await clerk.graph("POST", categories(clerk), {"displayName": "Leave", "color": "preset24"})
    assert (made.status, made.body["displayName"], made.body["color"]) == (201, "Leave", "preset24")
    path = categories(clerk, made.body["id"])
    assert (await clerk.graph("PATCH", path, {"color": "none"})).body["color"] == "none"
    assert (await clerk.graph("GET", path)).body["color"] == "none"
    renamed = await clerk.graph("PATCH", path, {"displayName": "Other"})
    assert (renamed.status, renamed.code) == (400, "ErrorInvalidRequest")
    assert (await clerk.graph("DELETE", path)).status == 204
    assert (await clerk.graph("GET", path)).code == "ErrorItemNotFound"
    assert (await clerk.admin.stats(clerk.tenant_id)).mutations == 3


async def test_the_name_of_a_category_is_unique(clerk):
    assert (await clerk.graph("POST", categories(clerk), {"displayName": "Leave"})).status == 201
    assert (await clerk.graph("POST", categories(clerk), {"displayName": "leave"})).status == 409


@pytest.mark.parametrize(
    "body", [{}, {"displayName": ""}, {"displayName": "x", "color": "preset25"}, {"name": "x"}, []]
)
async def test_a_wrong_category_is_refused(clerk, body):
    assert (await clerk.graph("POST", categories(clerk), body)).status == 400


async def test_settings_need_a_role_of_their_own(lab):
    for path in (
        categories(lab),
        f"/users/{lab.user}/mailboxSettings",
        f"/users/{lab.user}/outlook/supportedTimeZones",
    ):
        assert (await lab.graph("GET", path)).code == "ErrorAccessDenied"
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret, ("MailboxSettings.Read",))])
    token = await lab.sign_in()
    assert (await lab.graph("GET", categories(lab), token=token)).status == 200
    assert (await lab.graph("POST", categories(lab), {"displayName": "x"}, token=token)).code == "ErrorAccessDenied"


async def test_settings_are_read_and_changed(clerk):
    path = f"/users/{clerk.user}/mailboxSettings"
    before = (await clerk.graph("GET", path)).body
    assert (before["timeZone"], before["workingHours"]["timeZone"]) == ("UTC", {"name": "UTC"})
    changes = {
        "timeZone": "Romance Standard Time", "dateFormat": "dd/MM/yyyy", "language": {"locale": "fr-FR"},
        "automaticRepliesSetting": {"status": "alwaysEnabled", "internalReplyMessage": "Away."},
    }  # fmt: skip
    after = (await clerk.graph("PATCH", path, changes)).body
    assert (after["timeZone"], after["dateFormat"]) == ("Romance Standard Time", "dd/MM/yyyy")
    assert after["automaticRepliesSetting"]["externalAudience"] == "none"
    assert after["automaticRepliesSetting"]["status"] == "alwaysEnabled"
    assert (await clerk.admin.users(clerk.tenant_id))[0].time_zone == "Romance Standard Time"
    assert (await clerk.graph("GET", f"{path}/timeZone")).body["value"] == "Romance Standard Time"
    assert (await clerk.graph("GET", f"{path}/workingHours")).body["timeZone"] == {"name": "Romance Standard Time"}
    assert (await clerk.graph("GET", f"{path}/shoeSize")).status == 400


@pytest.mark.parametrize(
    "changes",
    [
        {"timeZone": "Mars/Base"}, {"timeZone": 1}, {"shoeSize": 1}, {"language": {"tongue": "x"}}, {"language": "fr"},
        {"automaticRepliesSetting": {"status": "perhaps"}}, {"workingHours": {"startTime": "noon"}},
        {"workingHours": {"daysOfWeek": ["Freitag"]}}, {"workingHours": {"timeZone": {"name": "Mars/Base"}}}, [],
    ],
    ids=str,
)  # fmt: skip
async def test_wrong_settings_are_refused(clerk, changes):
    assert (await clerk.graph("PATCH", f"/users/{clerk.user}/mailboxSettings", changes)).status == 400


async def test_supported_time_zones_in_both_forms(clerk):
    path = f"/users/{clerk.user}/outlook/supportedTimeZones"

    async def zones(suffix):
        value = (await clerk.graph("GET", path + suffix)).body["value"]
        return {zone["alias"]: zone["displayName"] for zone in value}

    windows = await zones("")
    assert windows["Romance Standard Time"] == "(UTC+01:00) Romance Standard Time"
    assert "Europe/Paris" not in windows
    assert await zones("()") == windows
    assert await zones("(TimeZoneStandard=microsoft.graph.timeZoneStandard'Windows')") == windows
    iana = await zones("(TimeZoneStandard=microsoft.graph.timeZoneStandard'Iana')")
    assert iana["Asia/Kolkata"] == "(UTC+05:30) Asia/Kolkata"
    assert (await clerk.graph("GET", f"{path}(TimeZoneStandard='Martian')")).status == 400


async def test_ids_are_translated(lab):
    stored = [await lab.create() for _ in range(2)]
    events = await lab.admin.events(lab.tenant_id, lab.user)
    path = f"/users/{lab.user}/translateExchangeIds"
    wanted = {"inputIds": [event["id"] for event in stored], "sourceIdType": "restId"}
    reply = await lab.graph("POST", path, {**wanted, "targetIdType": "restImmutableEntryId"})
    assert reply.body["value"] == [{"sourceId": event.id, "targetId": event.immutable_id} for event in events]
    back = {"inputIds": [events[0].immutable_id, "nonsense"], "sourceIdType": "restImmutableEntryId"}
    value = (await lab.graph("POST", path, {**back, "targetIdType": "restId"})).body["value"]
    assert value[0]["targetId"] == events[0].id
    assert value[1]["errorDetails"]["code"] == "ErrorInvalidIdMalformed"


async def test_wrong_translations_are_refused(lab):
    path = f"/users/{lab.user}/translateExchangeIds"
    kinds = {"sourceIdType": "restId", "targetIdType": "restImmutableEntryId"}
    for body in ({}, {"inputIds": "x", **kinds}, {"inputIds": ["x"] * 1001, **kinds}, {"inputIds": []}, []):
        assert (await lab.graph("POST", path, body)).status == 400
    assert (await lab.graph("POST", path, {"inputIds": [], **kinds, "targetIdType": "ewsId"})).status == 501
