"""A browser, a simulator, and a mailbox in a tenant of the test's own."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from playwright.async_api import Browser, Locator, Page, async_playwright

from simulator.client import App, SimulatorAdmin, StoredEvent
from simulator.server import Settings, serve

CHROMIUM = "/usr/bin/chromium"
SCREENSHOTS = Path(__file__).parents[2] / ".cache" / "screenshots"
WEEK = "2026-03-23"
CLIENT_ID = "7d1a5f0e-3f7c-4f5e-9a57-0d0e6f2c1b11"
_ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@dataclass
class Desk:
    """Somebody in front of the page of their mailbox, in a week of it."""

    admin: SimulatorAdmin
    http_url: str
    page: Page
    tenant_id: str
    user: str
    wrong: list[str]
    week: str = WEEK

    @property
    def address(self) -> str:
        return f"{self.http_url}/outlook/{self.tenant_id}/{self.user}?week={self.week}"

    async def open(self) -> None:
        await self.page.goto(self.address)
        await self.page.get_by_text("Live", exact=True).wait_for()

    async def make(self, subject: str, start: str, end: str, **members: Any) -> StoredEvent:
        """The event as an upstream system would make it; times are in Paris."""
        zone = "Europe/Paris"
        times = {"start": {"dateTime": start, "timeZone": zone}, "end": {"dateTime": end, "timeZone": zone}}
        return await self.admin.user_creates(self.tenant_id, self.user, {"subject": subject, **times, **members})

    async def stored(self) -> list[StoredEvent]:
        return await self.admin.events(self.tenant_id, self.user)

    def event(self, subject: str) -> Locator:
        return self.page.locator(".event", has_text=subject)

    def column(self, day: int) -> Locator:
        return self.page.locator(".column").nth(day)

    async def point(self, day: int, hour: float) -> tuple[float, float]:
        """Where a time of the week is on the screen."""
        box = await self.column(day).bounding_box()
        assert box is not None
        return box["x"] + box["width"] / 2, box["y"] + hour * box["height"] / 24

    async def drag(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        await self.page.mouse.move(*begin)
        await self.page.mouse.down()
        await self.page.mouse.move((begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2)
        await self.page.mouse.move(*end)
        await self.page.mouse.up()

    async def settled(self) -> None:
        """Returns when everything that was done on the page is stored."""
        await self.page.locator("#calendar[aria-busy=false]").wait_for()

    async def picture(self, name: str) -> None:
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await self.page.screenshot(path=SCREENSHOTS / f"outlook-{name}.png", animations="disabled")


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    if not os.access(CHROMIUM, os.X_OK):
        pytest.fail(f"These tests look at the page with {CHROMIUM}: install Debian's package `chromium`.")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=_ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
async def http_url() -> AsyncIterator[str]:
    async with serve(Settings()) as addresses:
        yield addresses.http_url


@asynccontextmanager
async def seated(
    browser: Browser, admin: SimulatorAdmin, http_url: str, tenant_id: str, user: str, *, week: str = WEEK
) -> AsyncIterator[Desk]:
    """The user takes a seat, and sees the page; at the end nothing may have gone wrong in it."""
    context = await browser.new_context(
        viewport={"width": 1440, "height": 1300}, locale="en-GB", timezone_id="Asia/Tokyo"
    )
    context.set_default_timeout(15_000)
    page = await context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    desk = Desk(admin, http_url, page, tenant_id, user, wrong, week)
    await desk.open()
    yield desk
    await context.close()
    assert wrong == []


@pytest.fixture
async def desk(browser: Browser, http_url: str) -> AsyncIterator[Desk]:
    """Dana in Paris."""
    async with SimulatorAdmin.connect(http_url) as admin:
        tenant_id, user = str(uuid4()), "dana@contoso.example"
        await admin.put_tenant(tenant_id, apps=[App(CLIENT_ID, "secret", ("Calendars.ReadWrite",))])
        await admin.put_user(tenant_id, user, display_name="Dana Swope", time_zone="Europe/Paris")
        async with seated(browser, admin, http_url, tenant_id, user) as desk:
            yield desk
        await admin.reset(tenant_id)
