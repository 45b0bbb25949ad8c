"""`make pictures`: the demonstration's day, its week page in a browser, then a dashboard under some minutes of traffic.

Needs Debian's packages `chromium` and `prometheus`, and nothing outside this machine.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, async_playwright
from rich.console import Console

from devstack.demo import EXPECTED, recording
from devstack.demo.ground import FIRST_DAY, Ground, prepared
from devstack.demo.play import playing
from devstack.demo.run import FAILURES, SERVICES
from devstack.demo.screen import Screen
from devstack.demo.services import Service, running
from devstack.demo.verdict import read_expectation
from devstack.demo.witness import listening
from devstack.stack import Stack
from ops.dashboards import FOLDER as DASHBOARDS
from ops.pictures import drawing, traffic
from ops.pictures.prometheus import Prometheus, watching

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
PERSON = "f.elamrani@devlieger.example"
DASHBOARD = "overview"
TRAFFIC_S = 180.0
# A rate needs its window full, and the start is no picture of the every day.
SETTLE_S = 45.0
CAPTION = (
    "Drawn from this dashboard's own queries, as Prometheus answered them beside the running demo; "
    "not a screenshot of Grafana."
)


async def make(into: Path, traffic_s: float) -> None:
    """Both pictures; raises one of FAILURES if something of it does not run."""
    async with AsyncExitStack() as exits:
        screen = Screen(Console(highlight=False))
        browser = await exits.enter_async_context(_browser())
        stack = await exits.enter_async_context(Stack())
        ground = await exits.enter_async_context(prepared(stack))
        bus = await exits.enter_async_context(listening(ground))
        services = await exits.enter_async_context(running(SERVICES, ground.environment))
        prometheus = await exits.enter_async_context(watching(_targets(services)))
        play = await exits.enter_async_context(playing(screen, read_expectation(EXPECTED), ground, bus, services))
        await play.settings(recording.settings())
        for part in recording.day():
            await play.part(part)
        await play.drags(recording.drags())
        await play.quiet()
        await _week(browser, stack, ground, into / "week.png")
        with screen.stage("Traffic", f"{traffic_s:.0f} s of changes, for the dashboard to show") as stage:
            began_at = time.time() + min(SETTLE_S, traffic_s / 2)
            await traffic.run(ground, traffic_s)
            stage.now("enough to see")
        await _dashboard(browser, prometheus, (began_at, time.time()), into / "dashboard.png")


def _targets(services: dict[str, Service]) -> dict[str, str]:
    return {name: service.admin_url.removeprefix("http://") for name, service in services.items()}


@asynccontextmanager
async def _browser() -> AsyncIterator[Browser]:
    if not os.access(CHROMIUM, os.X_OK):
        raise FileNotFoundError(f"{CHROMIUM} is not there: install Debian's package `chromium`")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


async def _week(browser: Browser, stack: Stack, ground: Ground, file: Path) -> None:
    [directory] = [one for one in ground.directories if PERSON in one.users]
    page = await browser.new_page(viewport={"width": 1440, "height": 680}, locale="en-GB")
    await page.goto(f"{stack.simulator.http_url}/outlook/{directory.id}/{PERSON}?week={FIRST_DAY}")
    await page.get_by_text("Live", exact=True).wait_for()
    await page.locator(".column .event").first.scroll_into_view_if_needed()
    await page.screenshot(path=file, animations="disabled")
    await page.close()


async def _dashboard(browser: Browser, prometheus: Prometheus, span: tuple[float, float], file: Path) -> None:
    dashboard = json.loads((DASHBOARDS / f"{DASHBOARD}.json").read_text(encoding="utf-8"))
    answers = [
        [
            line
            for target in panel.get("targets", ())
            for line in await prometheus.lines(target["expr"], target["legendFormat"], *span)
        ]
        for panel in dashboard["panels"]
    ]
    page = await browser.new_page(viewport={"width": 24 * drawing.COLUMN_PX + 28, "height": 600})
    await page.set_content(drawing.page(dashboard, answers, CAPTION))
    await page.screenshot(path=file, full_page=True)
    await page.close()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m ops.pictures", description=__doc__)
    parser.add_argument("--into", type=Path, default=IMAGES, help="the folder to write to; docs/images by default")
    parser.add_argument("--traffic-s", type=float, default=TRAFFIC_S, help="how long the dashboard is given traffic")
    given = parser.parse_args()
    given.into.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(make(given.into, given.traffic_s))
    except FAILURES as error:
        sys.exit(f"pictures: {str(error) or type(error).__name__}")


if __name__ == "__main__":
    main()
