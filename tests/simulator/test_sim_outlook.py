"""The interface behind the page: weeks in the mailbox's zone, a person's edits, the stream, and what keeps it safe."""

import asyncio
import urllib.parse

import pytest
from yarl import URL

from tests.support.receiver import receiving, subscribe

MONDAY = "2026-03-23"  # the week in which daylight saving time begins


class Page:
    def __init__(self, lab) -> None:
        self.lab = lab
        self.base = f"{lab.addresses.http_url}/outlook/api/tenants/{lab.tenant_id}/users/{lab.user}"

    async def call(self, method: str, path: str, body=None, status: int = 200, **headers: str):
        url = URL(self.base + path, encoded=True)
        async with self.lab.http.request(method, url, json=body, headers=headers) as response:
            assert response.status == status, await response.text()
            return None if status == 204 else await response.json()

    async def week(self, day: str = MONDAY):
        return await self.call("GET", f"/week?day={day}")

    async def make(self, status: int = 201, **edit):
        body = {"subject": "Leave", "start": "2026-03-24T09:00", "end": "2026-03-24T10:00", **edit}
        return await self.call("POST", "/events", body, status)

    async def edit(self, event_id: str, status: int = 200, **edit):
        return await self.call("PATCH", f"/events/{urllib.parse.quote(event_id, safe='')}", edit, status)


@pytest.fixture
async def page(lab):
    await lab.admin.put_user(lab.tenant_id, lab.user, display_name="Dana Swope", time_zone="Europe/Paris")
    return Page(lab)


async def test_a_week_begins_on_monday_and_is_in_the_mailboxs_zone(page, lab, make_event, moment):
    utc = {"start": moment("2026-03-28T12:00:00", "UTC"), "end": moment("2026-03-28T13:00:00", "UTC")}
    await lab.create(make_event(subject="Before", **utc))
    utc = {"start": moment("2026-03-29T12:00:00", "UTC"), "end": moment("2026-03-29T13:00:00", "UTC")}
    await lab.create(make_event(subject="After", **utc))
    week = await page.week("2026-03-27")
    assert (week["monday"], week["time_zone"], week["name"]) == (MONDAY, "Europe/Paris", "Dana Swope")
    assert [(event["subject"], event["start"]) for event in week["events"]] == [
        ("Before", "2026-03-28T13:00"),
        ("After", "2026-03-29T14:00"),
    ]
    assert week["working"] == {"days": [0, 1, 2, 3, 4], "from_minute": 480, "to_minute": 1020}
    assert {"name": "Red category", "color": "preset0"} in week["categories"]
    assert (await page.week("2026-03-30"))["events"] == []
    assert (await page.call("GET", "/week"))["monday"] <= (await page.call("GET", "/week"))["now"][:10]


async def test_an_all_day_event_is_on_its_own_days_in_any_zone(page, lab, make_event, moment):
    zone = "Pacific/Auckland"
    days = {"start": moment("2026-03-23T00:00:00", zone), "end": moment("2026-03-24T00:00:00", zone)}
    await lab.create(make_event(isAllDay=True, **days))
    (event,) = (await page.week())["events"]
    assert (event["all_day"], event["start"], event["end"]) == (True, "2026-03-23T00:00", "2026-03-24T00:00")
    assert (await page.week("2026-03-22"))["events"] == []


async def test_what_a_person_does_is_stored_and_changes_the_etag(page, lab):
    made = await page.make(categories=["Red category"], show_as="oof", private=True)
    stored = (await lab.admin.events(lab.tenant_id, lab.user))[0]
    assert (stored.start_time_zone, stored.graph["sensitivity"], stored.graph["showAs"]) == (
        "Europe/Paris",
        "private",
        "oof",
    )
    moved = await page.edit(made["id"], start="2026-03-29T09:00", end="2026-03-29T10:00", etag=made["etag"])
    stored = (await lab.admin.events(lab.tenant_id, lab.user))[0]
    assert (stored.start_utc.hour, stored.etag) == (7, moved["etag"])
    assert moved["etag"] != made["etag"]
    whole = await page.edit(moved["id"], start="2026-03-29T00:00", end="2026-03-30T00:00", all_day=True, private=False)
    assert (whole["all_day"], whole["private"]) == (True, False)
    await page.call("DELETE", f"/events/{urllib.parse.quote(made['id'], safe='')}", status=204)
    assert await lab.admin.events(lab.tenant_id, lab.user) == []


async def test_what_a_person_does_notifies(page, lab):
    async with receiving() as receiver:
        await subscribe(lab, receiver)
        made = await page.make()
        await page.edit(made["id"], subject="Other")
        await page.call("DELETE", f"/events/{urllib.parse.quote(made['id'], safe='')}", status=204)
        assert [item["changeType"] for item in await receiver.wait_for(3)] == ["created", "updated", "deleted"]


async def test_an_edit_keeps_a_confidential_event_confidential(page, lab, make_event):
    made = await lab.create(make_event(sensitivity="confidential"))
    await page.edit(made["id"], private=True)
    assert (await lab.admin.events(lab.tenant_id, lab.user))[0].graph["sensitivity"] == "confidential"


async def test_an_occurrence_is_edited_alone(page, lab, make_event, moment):
    pattern = {"type": "daily", "interval": 1}
    span = {"type": "numbered", "startDate": "2026-03-24", "numberOfOccurrences": 3}
    times = {"start": moment("2026-03-24T09:00:00"), "end": moment("2026-03-24T10:00:00")}
    await lab.create(make_event(recurrence={"pattern": pattern, "range": span}, **times))
    first = (await page.week())["events"][0]
    assert first["recurring"] is True
    await page.edit(first["id"], start="2026-03-24T08:00", end="2026-03-24T08:30")
    assert [event["start"][11:] for event in (await page.week())["events"]] == ["08:00", "09:00", "09:00"]
    refused = await page.edit(first["id"], 400, start="2026-03-25T08:00", end="2026-03-25T08:30")
    assert "crossing" in refused["error"]


@pytest.mark.parametrize(
    "edit",
    [
        {"start": "2026-03-24T09:00Z"},
        {"start": "0001-01-01T00:00"},
        {"start": "9999-12-31T00:00", "end": "9999-12-31T23:59"},
        {"start": "soon"},
        {"end": "2026-03-24T08:00"},
        {"show_as": "dancing"},
        {"colour": "red"},
        {"all_day": True},
        {"subject": "x" * 256},
        {"categories": ["x"] * 26},
    ],
)
async def test_bad_edits_are_answered_with_a_sentence(page, edit):
    assert (await page.make(400, **edit))["error"].endswith(".")


@pytest.mark.parametrize("path", ["/week?day=soon", "/week?day=0001-01-01", "/week?day=9999-12-31"])
async def test_bad_weeks_are_answered_with_a_sentence(page, path):
    assert (await page.call("GET", path, status=400))["error"].endswith(".")


async def test_a_stale_edit_is_refused(page):
    made = await page.make()
    await page.edit(made["id"], subject="Theirs")
    refused = await page.edit(made["id"], 400, subject="Mine", etag=made["etag"])
    assert "change key" in refused["error"]


async def test_another_sites_page_cannot_write(page):
    body = {"subject": "x", "start": "2026-03-24T09:00", "end": "2026-03-24T10:00"}
    await page.call("POST", "/events", body, 400, **{"Sec-Fetch-Site": "cross-site"})
    await page.call("POST", "/events", body, 400, **{"Content-Type": "text/plain"})
    assert (await page.week())["events"] == []


async def test_the_stream_tells_of_writes_and_lets_go_of_the_mailbox(page, lab):
    async with lab.http.get(page.base + "/stream") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        assert await _told(response) == "data: changed"
        await page.make()
        assert await _told(response) == "data: changed"
        await lab.create()
        assert await _told(response) == "data: changed"
    await page.make()


async def _told(response) -> str:
    async with asyncio.timeout(20):
        async for line in response.content:
            if line.startswith(b"data"):
                return line.decode().strip()
    raise AssertionError("The stream ended.")


async def test_everybody_is_listed(page, lab):
    async with lab.http.get(f"{lab.addresses.http_url}/outlook/api/tenants") as response:
        tenants = (await response.json())["tenants"]
    (mine,) = [tenant for tenant in tenants if tenant["id"] == lab.tenant_id]
    assert mine["users"] == [{"upn": lab.user, "name": "Dana Swope", "mailbox": "ok"}]


async def test_the_page_runs_nothing_but_its_own_files(lab):
    for path in ("/outlook", "/outlook/", f"/outlook/{lab.tenant_id}/{lab.user}"):
        async with lab.http.get(lab.addresses.http_url + path) as response:
            policy = response.headers["Content-Security-Policy"]
            assert (response.status, response.headers["Cache-Control"]) == (200, "no-cache")
            assert "default-src 'none'" in policy
            assert "script-src 'self'" in policy
            assert "unsafe" not in policy
            text = await response.text()
    assert "<script>" not in text
    assert "$" not in text
    assert " style=" not in text
    assert "onclick" not in text


async def test_files_are_kept_for_ever_under_their_version_and_asked_for_again_without(lab):
    url = f"{lab.addresses.http_url}/outlook/assets/outlook.css"
    async with lab.http.get(url) as response:
        tag = response.headers["ETag"]
        assert (response.status, response.content_type) == (200, "text/css")
        assert (response.headers["Cache-Control"], response.headers["X-Content-Type-Options"]) == (
            "no-cache",
            "nosniff",
        )
    async with lab.http.get(url, headers={"If-None-Match": tag}) as response:
        assert (response.status, await response.read()) == (304, b"")
    async with lab.http.get(url, params={"v": tag.strip('"')}) as response:
        assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    for name in ("nothing.js", "index.html", "..%2Fweb.py"):
        async with lab.http.get(URL(f"{lab.addresses.http_url}/outlook/assets/{name}", encoded=True)) as response:
            assert response.status == 404
