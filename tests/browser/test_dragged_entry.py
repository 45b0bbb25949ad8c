"""A person drags what calbus wrote, in a real browser: upstream hears of it, and policy has it go back."""

from datetime import UTC, datetime, timedelta

from playwright.async_api import Browser, expect

from schemas.changes import EntryRescheduled
from schemas.results import Ending
from schemas.switches import Touched
from tests.browser.conftest import seated
from tests.support.world import World

TUESDAY, THURSDAY = 1, 3


async def test_a_dragged_entry_is_told_on_the_bus_and_goes_back_where_it_is_restored(
    world: World, browser: Browser
) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    monday = today + timedelta(days=7 - today.weekday())
    nine = monday + timedelta(days=TUESDAY, hours=9)
    policy = {"touched": Touched.RESTORE}
    async with world.ingest(), world.writer(), world.puller(), world.tenant("dana", **policy) as tenant:
        action = tenant.action("a1", "dana", title="Shift", start=nine.isoformat(), duration="PT2H", time_zone="UTC")
        await tenant.publish(action)
        assert (await tenant.outcome(action, "dana")).ending is Ending.APPLIED
        await tenant.pulled("dana")
        at = (world.admin, world.stack.simulator.http_url, tenant.directory, tenant.mailbox("dana"))
        async with seated(browser, *at, week=monday.date().isoformat()) as desk:
            await expect(desk.column(TUESDAY).locator(".event")).to_contain_text("09:00 – 11:00")
            await desk.drag(await desk.point(TUESDAY, 9.5), await desk.point(THURSDAY, 13.75))
            moved = await tenant.change("dana", EntryRescheduled)
            assert (moved.id, moved.entry_id, moved.policy) == ("a1", tenant.entry_id("a1", "dana"), Touched.RESTORE)
            there = monday + timedelta(days=THURSDAY, hours=13, minutes=15)
            assert (moved.start, moved.end) == (there, there + timedelta(hours=2))
            # While the person looks, it goes back.
            await expect(desk.column(THURSDAY).locator(".event")).to_have_count(0)
            await expect(desk.column(TUESDAY).locator(".event")).to_contain_text("09:00 – 11:00")
            await desk.settled()
        [event] = await tenant.calendar("dana")
        assert event.start_utc.replace(tzinfo=UTC) == nine
        await tenant.pulled("dana")
        assert tenant.changes("dana") == [moved], "what calbus puts back is no news"
