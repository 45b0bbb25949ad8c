"""Query options on what a mailbox has few of: calendars, permissions, categories, settings."""

import pytest

from simulator.client import App
from tests.simulator.conftest import CLIENT_ID, SECRET


@pytest.fixture
async def settings_lab(lab):
    roles = ("Calendars.ReadWrite", "MailboxSettings.ReadWrite")
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(CLIENT_ID, SECRET, roles)])
    lab.token = await lab.sign_in()
    return lab


async def read(lab, path, **query):
    reply = await lab.graph("GET", f"/users/{lab.user}{path}", query={f"${name}": text for name, text in query.items()})
    assert reply.status == 200, reply.body
    return {name: value for name, value in reply.body.items() if name != "@odata.context"}


async def test_select_shows_what_was_asked_and_the_id(settings_lab):
    lab = settings_lab
    listed = await read(lab, "/calendars", select="id,name,canEdit", top="100")
    assert [set(calendar) for calendar in listed["value"]] == [{"id", "name", "canEdit"}]
    assert set(await read(lab, "/calendar", select="name")) == {"id", "name"}
    assert set((await read(lab, "/calendarGroups", select="name"))["value"][0]) == {"id", "name"}
    assert await read(lab, "/mailboxSettings", select="timeZone") == {"timeZone": "UTC"}
    assert set((await read(lab, "/outlook/masterCategories", select="color"))["value"][0]) == {"id", "color"}
    shares = (await read(lab, "/calendar/calendarPermissions", select="role"))["value"]
    assert shares == [{"id": "RGVmYXVsdA==", "role": "freeBusyRead"}]
    assert await read(lab, "/calendar/calendarPermissions/RGVmYXVsdA==", select="role") == shares[0]


async def paged(lab, path, top):
    pages, query = [], {"$top": top, "$count": "true", "$select": "id"}
    path = f"/users/{lab.user}{path}"
    while path:
        body = (await lab.graph("GET", path, query=query)).body
        pages.append([one["id"] for one in body["value"]])
        assert body["@odata.count"] >= len(pages[-1])
        path, query = body.get("@odata.nextLink"), None
    return pages


async def test_top_cuts_a_list_into_pages(settings_lab):
    lab = settings_lab
    for number in range(4):
        await lab.graph("POST", f"/users/{lab.user}/calendars", {"name": f"Calendar {number}"})
        share = {"emailAddress": {"address": f"{number}@contoso.example"}, "role": "read"}
        await lab.graph("POST", f"/users/{lab.user}/calendar/calendarPermissions", share)
    for path in ("/calendars", "/calendar/calendarPermissions", "/outlook/masterCategories"):
        whole = [one["id"] for one in (await read(lab, path))["value"]]
        pages = await paged(lab, path, "2")
        assert [len(page) for page in pages] == [2] * (len(whole) // 2) + [1] * (len(whole) % 2)
        assert [one for page in pages for one in page] == whole
        assert await paged(lab, path, "1000") == [whole]


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/calendars", "$select=colour"), ("/calendars", "$filter=name%20eq%20'x'"), ("/calendars", "$top=0"),
        ("/calendar", "$select="), ("/calendar", "$top=1"), ("/mailboxSettings", "$select=subject"),
        ("/mailboxSettings", "$top=1"), ("/calendar/calendarPermissions", "$select=name"),
        ("/outlook/masterCategories", "$select=name"), ("/outlook/masterCategories", "$orderby=color"),
    ],
)  # fmt: skip
async def test_other_options_and_properties_are_refused(settings_lab, path, options):
    reply = await settings_lab.graph("GET", f"/users/{settings_lab.user}{path}?{options}")
    assert reply.status == 400
