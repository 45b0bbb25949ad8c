"""A backlog of items, planned while no writer is there, and how one writer process gets through it."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.control.messages import Stats
from tests.support.waiting import until
from tests.support.world import Tenant, World

PUBLISHED_AT_ONCE = 1_000
PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Drain:
    """What a backlog cost. `seconds` is from the first entry applied to the last, as PostgreSQL has it."""

    entries: int
    seconds: float
    ingest_cpu_s: float
    writer_cpu_s: float
    stats: Stats

    @property
    def entries_per_s(self) -> float:
        return self.entries / self.seconds if self.seconds else 0.0

    def __str__(self) -> str:
        return (
            f"{self.entries:,} entries in {self.seconds:.2f} s ({self.entries_per_s:,.0f}/s); per 1,000 entries "
            f"{1_000 * self.ingest_cpu_s / self.entries:.2f} CPU-s of ingest, "
            f"{1_000 * self.writer_cpu_s / self.entries:.2f} CPU-s of the writer, "
            f"{1_000 * self.stats.requests / self.entries:,.0f} requests; {self.stats.refusals} refused"
        )


async def drain(world: World, tenant: Tenant, users: list[str], *, latency_ms: float, **writer: int) -> Drain:
    """Publish an item for each of `users` in this order (one named twice has two), let it be planned, then written.

    Services run in processes of their own, so that what they cost can be told apart. `writer`: settings of the writer.
    """
    async with world.process("ingest") as process:
        begun_s = cpu_seconds(process.pid)
        await plan(world, tenant, users)
        ingest_cpu_s = cpu_seconds(process.pid) - begun_s
    await world.admin.set_limits(tenant.directory, latency_ms=latency_ms)
    async with world.process("writer", **writer) as process:
        begun_s = cpu_seconds(process.pid)
        seconds = await written_s(world, tenant, len(users))
        writer_cpu_s = cpu_seconds(process.pid) - begun_s
    stats = await world.admin.stats(tenant.directory)
    return Drain(len(users), seconds, ingest_cpu_s, writer_cpu_s, stats)


async def plan(world: World, tenant: Tenant, users: list[str]) -> None:
    """Publish an item for each, and wait until ingest has planned them all."""
    for at in range(0, len(users), PUBLISHED_AT_ONCE):
        part = enumerate(users[at : at + PUBLISHED_AT_ONCE], at)
        await tenant.publish(*[_action(tenant, number, user) for number, user in part])

    async def planned() -> bool:
        return await _count(world, tenant, "intent = 'present'") == len(users)

    await until(planned, "the backlog to be planned", timeout_s=PATIENCE_S)


async def written_s(world: World, tenant: Tenant, entries: int) -> float:
    """Wait until a writer has written them all; the seconds from the first entry applied to the last."""

    async def written() -> bool:
        return await _count(world, tenant, "applied_plan = plan AND NOT owed") == entries

    await until(written, "the backlog to be written", timeout_s=PATIENCE_S)
    query = "SELECT extract(epoch FROM max(applied_at) - min(applied_at)) FROM entry WHERE tenant = $1"
    [[seconds]] = await world.fetch(query, tenant.id)
    return float(seconds)


def cpu_seconds(pid: int) -> float:
    """What a process has had of the processor so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _action(tenant: Tenant, number: int, user: str) -> Any:
    text = "Bring the long ladder, the paint and what is left of the primer. The key is with the neighbours. "
    start = f"2027-{1 + number % 12:02}-{1 + number % 28:02}T{8 + number % 9:02}:00:00"
    title = f"Paint window frame {number} on the north side"
    return tenant.action(f"item-{number:06}", user, title=title, description=text * 3, start=start, place="North side")


async def _count(world: World, tenant: Tenant, condition: str) -> int:
    rows = await world.fetch(f"SELECT count(*) FROM entry WHERE tenant = $1 AND {condition}", tenant.id)
    return int(rows[0][0])
