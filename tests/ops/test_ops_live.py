"""Alerts and dashboards before the real Prometheus and Alertmanager: rules tested, then faults seen live."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest

from ops import dashboards
from schemas.events import Topic
from schemas.results import SyncRequested
from simulator.client import Fault
from tests.support.prometheus import RULES, WINDOW, Monitoring, monitoring, run
from tests.support.waiting import until
from tests.support.world import Tenant, World, kill

pytestmark = [pytest.mark.slow, pytest.mark.ops, pytest.mark.timeout(900)]

SERVICES = ("ingest", "writer", "puller")
# On a machine that does much else; what goes right is there in seconds.
PATIENT_S = 180.0
LOAD_INTERVAL_S = 0.3
# What stays without data until something is sent that is no event, and what stays without it to the end: no test can
# make calbus have a fault of its own, and no webhook is open to Microsoft here.
UNTIL_DEAD_LETTERS = {"every message is understood"}
TO_THE_END = {
    "calbus has no fault of its own",
    "Microsoft tells of nothing: CALBUS_PULLER_PUBLIC_URL is not set, or nothing changes",
}


async def test_promtool_finds_no_fault_with_the_rules_and_the_configuration() -> None:
    for command in (
        ("promtool", "check", "rules", "--lint=all", "--lint-fatal", str(RULES)),
        ("promtool", "check", "config", str(RULES.parents[1] / "prometheus" / "prometheus.yml")),
        ("amtool", "check-config", str(RULES.parents[1] / "prometheus" / "alertmanager.yml")),
    ):
        code, said = await run(*command)
        assert code == 0, said


async def test_every_alert_fires_and_stays_quiet_when_it_should() -> None:
    tests = sorted(str(path) for path in (RULES.parent / "tests").glob("*.yml"))
    code, said = await run("promtool", "test", "rules", *tests)
    assert code == 0, said
    assert said.count("SUCCESS") == len(tests)


async def test_faults_are_told_by_the_right_alert_and_every_panel_has_its_data(world: World, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        ports, processes = {}, {}
        for service in SERVICES:
            process = await stack.enter_async_context(world.process(service, client_secret_expires_on="2100-01-01"))
            ports[service], processes[service] = world.admin_ports[process.pid], process
        for port in ports.values():
            await _conventional(port)
        tenant = await stack.enter_async_context(world.tenant("ann", "bob", "eve", touched="report"))
        # Somebody's entries are refused by Microsoft, and somebody has no mailbox.
        await world.admin.add_fault(
            Fault(
                tenant=tenant.directory,
                user=tenant.mailbox("eve"),
                operation="create",
                status=400,
                code="ErrorInvalidRequest",
            )
        )
        await tenant.publish(tenant.account("gus", mailbox=f"nobody@{tenant.domain}"))
        await stack.enter_async_context(_load(tenant))
        watch = await stack.enter_async_context(monitoring(tmp_path, ports))

        await _panels(watch, without=UNTIL_DEAD_LETTERS | TO_THE_END)
        quiet = await watch.active()
        assert not {"CalbusGraphFailing", "CalbusGraphThrottled", "CalbusServiceDown", "CalbusDeadLetters"} & set(quiet)

        failing = await _meets(watch, tenant, "CalbusGraphFailing", status=503, empty_body=True)
        assert failing["labels"]["severity"] == "critical"
        assert failing["annotations"]["runbook_url"] == "https://example.org/calbus/docs/runbooks/CalbusGraphFailing.md"
        await _meets(watch, tenant, "CalbusGraphThrottled", status=429, code="ApplicationThrottled", retry_after_s=1)

        await world.publish_raw(Topic.ACTIONS, b"no event", key=b"x")
        dead = await _active(watch, "CalbusDeadLetters")
        assert dead["labels"]["reason"] == "not_a_cloudevent"
        await _panels(watch, without=TO_THE_END, only=UNTIL_DEAD_LETTERS)

        kill(processes["writer"])
        down = await _active(watch, "CalbusServiceDown")
        assert down["labels"]["service"] == "writer"


@asynccontextmanager
async def _load(tenant: Tenant) -> AsyncIterator[None]:
    """Upstream publishes, and a user moves what was written, all the time."""

    async def publish() -> None:
        number = 0
        while True:
            number += 1
            await tenant.publish(
                tenant.action(f"item {number % 20}", "ann", title=f"Version {number}"),
                tenant.action(f"of another {number % 20}", "bob", owner="ann", title=f"Version {number}"),
            )
            if number % 10 == 0:
                await _move_one(tenant)
                await tenant.publish(
                    tenant.action("comes and goes", "ann"),
                    tenant.deleted("comes and goes"),
                    tenant.action(f"never {number}", "eve"),
                    tenant.action("waits", "gus", title=f"Version {number}"),
                    SyncRequested(tenant=tenant.id, user="bob"),
                )
            await asyncio.sleep(LOAD_INTERVAL_S)

    task = asyncio.create_task(publish())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _move_one(tenant: Tenant) -> None:
    events = await tenant.calendar("ann")
    if events:
        later = events[0].start + timedelta(minutes=30), events[0].end + timedelta(minutes=30)
        await tenant.world.admin.user_moves(tenant.directory, tenant.mailbox("ann"), events[0].id, *later, "UTC")


async def _conventional(port: int) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as response:
        text = await response.read()
    code, said = await run("promtool", "check", "metrics", given=text)
    assert code == 0, said


def _queries() -> list[tuple[str, dashboards.Query]]:
    return [
        (f"{one.name}: {panel.title}", query)
        for one in dashboards.ALL
        for panel in one.panels
        for query in panel.queries
    ]


async def _panels(watch: Monitoring, *, without: set[str], only: set[str] | None = None) -> None:
    """Wait until every panel has data, but for those that are empty for a reason of these; or `only` those."""
    asked = [query for _, query in _queries() if query.empty_while not in without]
    wanted = [query for query in asked if only is None or query.empty_while in only]
    assert wanted
    empty: list[str] = []

    async def found() -> bool:
        empty[:] = [one.expr for one in wanted if not await watch.query(one.expr.replace(dashboards.RATE, WINDOW))]
        return not empty

    try:
        await until(found, "every panel to have data", timeout_s=PATIENT_S)
    except AssertionError:
        pytest.fail("panels without data:\n" + "\n".join(sorted(empty)))


async def _active(watch: Monitoring, alert: str) -> dict[str, dict[str, str]]:
    async def look() -> list[dict[str, dict[str, str]]]:
        return (await watch.active()).get(alert, [])

    return (await until(look, f"{alert} at Alertmanager", timeout_s=PATIENT_S))[0]


async def _meets(watch: Monitoring, tenant: Tenant, alert: str, **fault: object) -> dict[str, dict[str, str]]:
    """Inject a fault into everything that is asked of the tenant, see the alert active, mend it, see the alert end."""
    fault_id = await tenant.world.admin.add_fault(Fault(tenant=tenant.directory, **fault))  # type: ignore[arg-type]
    try:
        found = await _active(watch, alert)
    finally:
        await tenant.world.admin.remove_fault(fault_id)

    async def ended() -> bool:
        return alert not in await watch.active()

    await until(ended, f"{alert} to end", timeout_s=PATIENT_S)
    return found
