"""A person at the page, in a real browser: what they see follows the mailbox, and what they do reaches it."""

from datetime import datetime

import aiohttp
import orjson
from playwright.async_api import expect

from simulator.client import SimulatorAdmin
from simulator.server import Settings, serve
from tests.support.receiver import in_minutes, receiving

RED = "rgb(217, 54, 62)"
GREY = "rgb(138, 136, 134)"


async def has_bar_color(desk, subject: str, color: str) -> None:
    """Returns once the bar on the left of the event has this colour."""
    look = """([subject, color]) => [...document.querySelectorAll(".event")].some((event) =>
        event.textContent.includes(subject) && getComputedStyle(event, "::before").backgroundColor === color)"""
    await desk.page.wait_for_function(look, arg=[subject, color])


async def subscribe(desk, receiver) -> None:
    async with aiohttp.ClientSession() as session:
        form = {
            "client_id": "7d1a5f0e-3f7c-4f5e-9a57-0d0e6f2c1b11",
            "client_secret": "secret",
            "grant_type": "client_credentials",
            "scope": "https://graph.microsoft.com/.default",
        }
        async with session.post(f"{desk.http_url}/{desk.tenant_id}/oauth2/v2.0/token", data=form) as answer:
            token = (await answer.json())["access_token"]
        body = {
            "changeType": "created,updated,deleted",
            "notificationUrl": receiver.notify_url,
            "resource": f"users/{desk.user}/events",
            "expirationDateTime": in_minutes(600),
        }
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        url = f"{desk.http_url}/v1.0/subscriptions"
        async with session.post(url, data=orjson.dumps(body), headers=headers) as answer:
            assert answer.status == 201, await answer.text()


async def test_mailboxes_are_listed_and_opened(desk):
    await desk.page.goto(f"{desk.http_url}/outlook")
    await expect(desk.page.get_by_role("heading", name="Choose a mailbox")).to_be_visible()
    await desk.page.get_by_placeholder("Find a mailbox").fill("dana")
    await desk.page.locator(f"a.mailbox[href*='{desk.tenant_id}']").click()
    await expect(desk.page).to_have_title("Dana Swope · Outlook simulator")
    await expect(desk.page.locator(".mailbox[aria-current]")).to_have_count(1)


async def test_events_appear_change_and_go_while_one_looks(desk):
    await expect(desk.page.locator(".event")).to_have_count(0)
    made = await desk.make("✅ Shift", "2026-03-24T09:00:00", "2026-03-24T12:00:00", categories=["Red category"])
    shown = desk.event("✅ Shift")
    await expect(shown).to_contain_text("09:00 – 12:00")
    await desk.admin.user_edits(desk.tenant_id, desk.user, made.id, {"subject": "🕒 Moved"})
    await expect(desk.event("🕒 Moved")).to_be_visible()
    await desk.admin.user_deletes(desk.tenant_id, desk.user, made.id)
    await expect(desk.page.locator(".event")).to_have_count(0)


async def test_a_week_with_everything_in_it(desk):
    hours = {"start": "2026-03-24T09:00:00", "end": "2026-03-24T11:00:00"}
    await desk.make("Red", **hours, categories=["Red category"])
    await desk.make("Unlisted", **hours, categories=["Payroll"])
    await desk.make("Secret", "2026-03-24T12:00:00", "2026-03-24T13:00:00", sensitivity="private", showAs="oof")
    await desk.make("Perhaps", "2026-03-27T09:00:00", "2026-03-27T10:30:00", showAs="tentative")
    await desk.make("Free", "2026-03-25T09:00:00", "2026-03-25T10:30:00", showAs="free")
    await desk.make("Elsewhere", "2026-03-26T14:00:00", "2026-03-26T16:00:00", showAs="workingElsewhere")
    await desk.make("Night", "2026-03-25T22:00:00", "2026-03-26T06:00:00", categories=["Blue category"])
    await desk.make("Leave", "2026-03-26T00:00:00", "2026-03-28T00:00:00", isAllDay=True, categories=["Green category"])
    await expect(desk.event("Leave")).to_have_count(1)
    await has_bar_color(desk, "Red", RED)
    await has_bar_color(desk, "Unlisted", GREY)
    await expect(desk.event("Secret").locator("svg.lock")).to_have_count(1)
    await expect(desk.event("Red").locator("svg.lock")).to_have_count(0)
    # Events that overlap stand side by side, one that goes over midnight is on both days, all-day ones at the top.
    red, unlisted = await desk.event("Red").bounding_box(), await desk.event("Unlisted").bounding_box()
    assert red["x"] + red["width"] <= unlisted["x"] or unlisted["x"] + unlisted["width"] <= red["x"]
    await expect(desk.event("Night")).to_have_count(2)
    await expect(desk.page.locator("#all-day .event", has_text="Leave")).to_be_visible()
    column = await desk.column(3).bounding_box()
    leave = await desk.event("Leave").bounding_box()
    assert (abs(leave["x"] - column["x"]) < 8, abs(leave["width"] - 2 * column["width"]) < 16) == (True, True)
    await expect(desk.column(2).locator(".work")).to_have_count(1)
    await expect(desk.column(5).locator(".work")).to_have_count(0)
    await desk.picture("week")


async def test_a_dragged_event_is_moved_in_the_mailbox_and_the_application_hears_of_it(desk):
    made = await desk.make("Shift", "2026-03-24T09:00:00", "2026-03-24T11:00:00")
    await expect(desk.event("Shift")).to_be_visible()
    async with receiving() as receiver:
        await subscribe(desk, receiver)
        await desk.drag(await desk.point(1, 9.5), await desk.point(3, 13.75))
        (told,) = await receiver.wait_for(1)
    (stored,) = await desk.stored()
    assert (stored.start, stored.end) == (datetime(2026, 3, 26, 13, 15), datetime(2026, 3, 26, 15, 15))
    assert stored.etag != made.etag
    assert (told["changeType"], told["resourceData"]["@odata.etag"]) == ("updated", stored.etag)
    await expect(desk.column(3).locator(".event")).to_contain_text("13:15 – 15:15")
    await desk.picture("dragged")


async def test_dragging_over_the_change_of_the_clock_keeps_the_time_on_the_wall(desk):
    await desk.make("Shift", "2026-03-28T09:00:00", "2026-03-28T10:00:00")
    await expect(desk.event("Shift")).to_be_visible()
    await desk.drag(await desk.point(5, 9.5), await desk.point(6, 9.5))
    await expect(desk.column(6).locator(".event")).to_contain_text("09:00 – 10:00")
    await desk.settled()
    (stored,) = await desk.stored()
    assert (stored.start, stored.start_utc) == (datetime(2026, 3, 29, 9), datetime(2026, 3, 29, 7))


async def test_escape_lets_go_of_a_dragged_event(desk):
    made = await desk.make("Shift", "2026-03-24T09:00:00", "2026-03-24T11:00:00")
    await expect(desk.event("Shift")).to_be_visible()
    await desk.page.mouse.move(*await desk.point(1, 9.5))
    await desk.page.mouse.down()
    await desk.page.mouse.move(*await desk.point(2, 11))
    await desk.page.keyboard.press("Escape")
    await desk.page.mouse.up()
    await expect(desk.column(1).locator(".event")).to_contain_text("09:00 – 11:00")
    assert [event.etag for event in await desk.stored()] == [made.etag]


async def test_the_lower_edge_resizes(desk):
    await desk.make("Shift", "2026-03-24T09:00:00", "2026-03-24T11:00:00")
    await expect(desk.event("Shift")).to_be_visible()
    x, y = await desk.point(1, 11)
    await desk.drag((x, y - 4), await desk.point(1, 12.4))
    await expect(desk.event("Shift")).to_contain_text("09:00 – 12:30")
    await desk.settled()
    assert [event.end for event in await desk.stored()] == [datetime(2026, 3, 24, 12, 30)]


async def test_an_event_is_edited_in_a_form(desk):
    await desk.make("Shift", "2026-03-24T09:00:00", "2026-03-24T11:00:00")
    await desk.event("Shift").click()
    form = desk.page.get_by_role("dialog")
    await form.get_by_placeholder("Add a subject").fill("Dentist")
    await form.get_by_label("Private").check()
    await form.get_by_label("Show as").select_option("oof")
    await form.get_by_text("Red category").click()
    await form.get_by_label("Starts").fill("2026-03-25")
    await desk.picture("form")
    await form.get_by_role("button", name="Save").click()
    await expect(desk.event("Dentist").locator("svg.lock")).to_have_count(1)
    await expect(desk.event("Dentist")).to_be_focused()
    (stored,) = await desk.stored()
    assert (stored.subject, stored.categories, stored.graph["sensitivity"]) == ("Dentist", ["Red category"], "private")
    assert (stored.graph["showAs"], stored.start) == ("oof", datetime(2026, 3, 25, 9))
    assert stored.end == datetime(2026, 3, 25, 11)


async def test_a_form_that_cannot_be_saved_says_why_and_stays(desk):
    await desk.make("Shift", "2026-03-24T09:00:00", "2026-03-24T11:00:00")
    await desk.event("Shift").click()
    form = desk.page.get_by_role("dialog")
    await form.get_by_label("Ends").fill("2026-03-20")
    await form.get_by_role("button", name="Save").click()
    await expect(form.get_by_role("alert")).to_have_text("The event ends before it begins.")
    await form.get_by_role("button", name="Cancel").click()
    await expect(form).to_be_hidden()


async def test_an_event_is_deleted_by_the_form_and_by_the_key(desk):
    await desk.make("One", "2026-03-24T09:00:00", "2026-03-24T11:00:00")
    await desk.make("Two", "2026-03-25T09:00:00", "2026-03-25T11:00:00")
    await desk.event("One").click()
    await desk.page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(desk.event("One")).to_have_count(0)
    await desk.event("Two").focus()
    await desk.page.keyboard.press("Delete")
    await expect(desk.page.locator(".event")).to_have_count(0)
    await desk.settled()
    assert await desk.stored() == []


async def test_the_keyboard_moves_resizes_and_edits(desk):
    await desk.make("Shift", "2026-03-24T09:00:00", "2026-03-24T11:00:00")
    await desk.event("Shift").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowUp", "Shift+ArrowDown"):
        await desk.page.keyboard.press(key)
    await expect(desk.column(2).locator(".event")).to_contain_text("09:15 – 11:30")
    await desk.settled()
    await expect(desk.event("Shift")).to_be_focused()
    (stored,) = await desk.stored()
    assert (stored.start, stored.end) == (datetime(2026, 3, 25, 9, 15), datetime(2026, 3, 25, 11, 30))
    await desk.page.keyboard.press("Enter")
    await expect(desk.page.get_by_role("dialog")).to_be_visible()
    await desk.page.keyboard.press("Escape")
    await expect(desk.page.get_by_role("dialog")).to_be_hidden()


async def test_events_are_made_by_a_click_and_by_dragging(desk):
    form = desk.page.get_by_role("dialog")
    await desk.page.mouse.click(*await desk.point(2, 9.2))
    await form.get_by_placeholder("Add a subject").fill("Clicked")
    await desk.page.keyboard.press("Enter")
    await expect(desk.event("Clicked")).to_contain_text("09:00 – 09:30")
    await desk.drag(await desk.point(4, 13.1), await desk.point(4, 15.5))
    await form.get_by_placeholder("Add a subject").fill("Dragged")
    await desk.page.keyboard.press("Enter")
    await expect(desk.event("Dragged")).to_contain_text("13:00 – 15:30")
    assert [(event.subject, event.start_time_zone) for event in await desk.stored()] == [
        ("Clicked", "Europe/Paris"),
        ("Dragged", "Europe/Paris"),
    ]


async def test_all_day_events_are_made_and_moved_in_their_row(desk):
    row = await desk.page.locator("#all-day").bounding_box()
    day = row["width"] / 7
    middle = row["y"] + row["height"] / 2
    await desk.drag((row["x"] + day * 0.5, middle), (row["x"] + day * 1.5, middle))
    await desk.page.get_by_role("dialog").get_by_placeholder("Add a subject").fill("Leave")
    await desk.page.keyboard.press("Enter")
    await expect(desk.page.locator("#all-day .event")).to_have_text("Leave")
    await expect(desk.page.get_by_role("dialog")).to_be_hidden()
    await desk.drag((row["x"] + day * 0.5, middle), (row["x"] + day * 3.5, middle))
    await desk.settled()
    (stored,) = await desk.stored()
    assert (stored.is_all_day, stored.start, stored.end) == (True, datetime(2026, 3, 26), datetime(2026, 3, 28))


async def test_markup_in_a_subject_is_text(desk):
    subject = "<img src=x onerror=alert(1)><b>bold</b>"
    place = {"displayName": "<script>alert(2)</script>"}
    category = '"><script>alert(3)</script>'
    await desk.make(subject, "2026-03-24T09:00:00", "2026-03-24T12:00:00", location=place, categories=[category])
    await expect(desk.event("<b>bold</b>")).to_be_visible()
    await expect(desk.page.locator(".event img, .event b, .event script")).to_have_count(0)
    await desk.event("<b>bold</b>").click()
    await expect(desk.page.get_by_role("dialog").locator("#categories script")).to_have_count(0)
    await expect(desk.page.get_by_role("dialog").get_by_placeholder("Add a subject")).to_have_value(subject)


async def test_weeks_are_turned(desk):
    title = desk.page.get_by_role("heading", level=1)
    await expect(title).to_have_text("23 – 29 March 2026")
    await desk.page.get_by_role("button", name="Next week").click()
    await expect(title).to_have_text("30 March – 5 April 2026")
    await desk.page.keyboard.press("PageUp")
    await desk.page.keyboard.press("PageUp")
    await expect(title).to_have_text("16 – 22 March 2026")
    await desk.page.reload()
    await expect(title).to_have_text("16 – 22 March 2026")
    await desk.page.get_by_role("button", name="Today").click()
    await expect(desk.page.locator(".day[aria-current=date]")).to_have_count(1)


async def test_a_change_that_is_refused_is_undone_with_a_word(desk):
    daily = {"type": "daily", "interval": 1}
    span = {"type": "numbered", "startDate": "2026-03-24", "numberOfOccurrences": 2}
    times = ("2026-03-24T09:00:00", "2026-03-24T10:00:00")
    await desk.make("Stand-up", *times, recurrence={"pattern": daily, "range": span})
    await expect(desk.event("Stand-up")).to_have_count(2)
    await desk.drag(await desk.point(1, 9.5), await desk.point(2, 12))
    await expect(desk.page.locator("#toast")).to_contain_text("crossing")
    await expect(desk.column(1).locator(".event")).to_have_count(1)
    desk.wrong.clear()  # the browser notes down the refusal as an error of its own


async def test_a_lost_connection_is_found_again(desk):
    async with serve(Settings()) as addresses:
        port = int(addresses.http_url.rpartition(":")[2])
        await _furnish(addresses.http_url, desk)
        await desk.page.goto(desk.address.replace(desk.http_url, addresses.http_url))
        await expect(desk.page.locator("#live")).to_have_text("Live")
    await expect(desk.page.locator("#live")).to_have_text("Reconnecting…")
    async with serve(Settings(http_port=port)) as addresses:
        await _furnish(addresses.http_url, desk)
        await expect(desk.page.locator("#live")).to_have_text("Live", timeout=15_000)
        async with SimulatorAdmin.connect(addresses.http_url) as admin:
            times = {
                name: {"dateTime": f"2026-03-24T{hour}:00:00", "timeZone": "UTC"}
                for name, hour in (("start", "09"), ("end", "10"))
            }
            await admin.user_creates(desk.tenant_id, desk.user, {"subject": "Late", **times})
        await expect(desk.event("Late")).to_be_visible()
        await desk.page.goto("about:blank")
    desk.wrong.clear()  # the browser notes down every attempt that failed


async def _furnish(http_url: str, desk) -> None:
    async with SimulatorAdmin.connect(http_url) as admin:
        await admin.put_tenant(desk.tenant_id)
        await admin.put_user(desk.tenant_id, desk.user, display_name="Dana Swope", time_zone="Europe/Paris")
