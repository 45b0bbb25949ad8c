"""`python -m bench.resources`: what memory and CPU time each service takes under load; k8s/base asks for it.

The worst that comes by itself: ingest finds a backlog, the writer's queue fills with it, and the puller reads calendars
that have just been filled, which users then change. One process each, with its default settings.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from asyncio.subprocess import Process
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from bench.scaling import (
    RESULTS,
    WAIT_MAX_S,
    Load,
    Publisher,
    count_of,
    deployed,
    end,
    furnish,
    mailbox_of,
    say,
    settings_of,
    start,
    wait_until,
)
from simulator.client import SimulatorAdmin

SERVICES = ("ingest", "writer", "puller")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CHANGED_PER_MAILBOX = 3


@dataclass(frozen=True, slots=True)
class Used:
    """By one process since it began; MiB as Kubernetes counts them."""

    peak_mib: float
    cpu_s: float
    cpu_s_per_1000: float
    """Actions."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What came out."""

    command: str
    measured_at: str
    machine: str
    actions: int
    mailboxes: int
    changes: int
    seconds: float
    services: dict[str, Used]


def _peak_mib(process: Process) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    [kib] = [row.split()[1] for row in status.splitlines() if row.startswith("VmHWM:")]
    return round(int(kib) / 1_024, 1)


def _cpu_s(process: Process) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


async def measure(tenants: int, users: int, actions: int, command: str) -> Figures:
    """Set everything up, let a backlog through, have calendars changed, take it down."""
    load = Load(tenants, users, rate_per_s=0, phase_s=0, calls=64, latency_ms=20)
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(deployed(puller_busy_interval_s="10"))
        database = here.database
        directories = await furnish(here.admin, load, [str(UUID(int=1))])
        people = [(tenant, f"user-{user}") for user in range(users) for tenant in directories]
        publisher = Publisher(here.producer, here.kafka, people)
        processes = {one: await start(one, here.settings) for one in SERVICES}
        for process in processes.values():
            stack.push_async_callback(end, process)
        await publisher.publish(settings_of(directories, people))
        await wait_until(lambda: count_of(database, "setting", len(people) + len(directories)))
        say(f"a backlog of {actions:,} actions")
        began = time.monotonic()
        await publisher.publish([publisher.next() for _ in range(actions)])
        await wait_until(lambda: count_of(database, "entry WHERE event_id IS NOT NULL AND NOT owed", actions))
        say("all is written; users change some of it")
        changes = await _change(here.admin, directories, people)
        deadline = time.monotonic() + WAIT_MAX_S
        while await database.fetchval("SELECT count(*) FROM calendar_pull WHERE pulled_at IS NULL AND NOT is_default"):
            if time.monotonic() > deadline:
                raise SystemExit("bench.resources: the calendars were not read in time")
            await asyncio.sleep(1)
        await asyncio.sleep(20)  # two rounds of the puller
        seconds = time.monotonic() - began
        used = {
            one: Used(
                _peak_mib(process),
                round(_cpu_s(process), 1),
                round(_cpu_s(process) / actions * 1_000, 2),
            )
            for one, process in processes.items()
        }
    return Figures(
        command=command,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        actions=actions,
        mailboxes=len(people),
        changes=changes,
        seconds=round(seconds, 1),
        services=used,
    )


async def _change(admin: SimulatorAdmin, directories: dict[str, str], people: list[tuple[str, str]]) -> int:
    changes = 0
    for tenant, user in people:
        events = await admin.events(directories[tenant], mailbox_of(tenant, user))
        for event in events[:CHANGED_PER_MAILBOX]:
            later = event.start + timedelta(minutes=30), event.end + timedelta(minutes=30)
            await admin.user_moves(directories[tenant], mailbox_of(tenant, user), event.id, *later, "UTC")
            changes += 1
    return changes


def _page(figures: Figures) -> str:
    rows = [
        f"| {name} | {one.peak_mib:,.0f} | {one.cpu_s:,.0f} | {one.cpu_s_per_1000:.2f} |"
        for name, one in figures.services.items()
    ]
    return "\n".join(
        [
            "# resources",
            "",
            f"`{figures.command}`",
            "",
            "| service | MiB at most | CPU s | CPU s per 1,000 actions |",
            "|---|--:|--:|--:|",
            *rows,
            "",
            f"A backlog of {figures.actions:,} actions for {figures.mailboxes:,} mailboxes, then {figures.changes:,}",
            f"changes by users; {figures.seconds:,.0f} s.",
            f"One process each, default settings. {figures.measured_at}, {figures.machine}.",
            "",
        ]
    )


def main() -> None:
    """Measure, and keep the figures."""
    parser = argparse.ArgumentParser(prog="bench.resources", description="Memory and CPU time of each service.")
    parser.add_argument("--tenants", type=int, default=20)
    parser.add_argument("--users", type=int, default=10, help="in each tenant")
    parser.add_argument("--actions", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the results")
    given = parser.parse_args()
    if min(given.tenants, given.users, given.actions) <= 0:
        parser.error("every number must be above 0")
    command = f"python -m bench.resources --tenants {given.tenants} --users {given.users} --actions {given.actions}"
    figures = asyncio.run(measure(given.tenants, given.users, given.actions, command))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "resources.json").write_text(json.dumps(asdict(figures), indent=1) + "\n")
    page = given.out / "resources.md"
    page.write_text(_page(figures))
    print(page.read_text(), file=sys.stdout)


if __name__ == "__main__":
    main()
