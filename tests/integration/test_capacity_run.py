"""What the capacity simulation foretells is what a real writer then does: a backlog, drained at a real latency.

The short form runs with every suite; the long one (`-m slow -s`) prints the figures that docs/capacity.md tells.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from services.writer.capacity_command import pod_of
from services.writer.capacity_graph import Latency
from services.writer.capacity_load import Change
from services.writer.capacity_pod import SimulatedPod
from services.writer.settings import LaneSettings
from tests.integration.test_commands import calbus
from tests.support.drains import drain, plan, written_s
from tests.support.world import Tenant, World

# How far what happens may lie from what was foretold, on a machine that does much else besides.
FACTOR = 2.0
# Categories are no matter of capacity: a request or two in the life of a mailbox.
ROLES = ("Calendars.ReadWrite",)


@asynccontextmanager
async def tenant_of(world: World, users: set[str]) -> AsyncIterator[Tenant]:
    """A tenant whose settings are stored; no service is left running."""
    async with AsyncExitStack() as made:
        async with world.ingest():
            tenant = await made.enter_async_context(world.tenant(*sorted(users), roles=ROLES))
        yield tenant


async def foretold_s(users: list[str], latency_ms: float, **lanes: int) -> float:
    """From the first entry written to the last."""
    pod = pod_of(LaneSettings(**lanes), Latency(latency_ms / 1_000, 0.0))
    numbers = {user: number for number, user in enumerate(sorted(set(users)))}
    changes = [Change(0.0, numbers[user], 1) for user in users]
    # It has an event loop of its own.
    fates = await asyncio.to_thread(SimulatedPod(pod, seed=1).run, changes)
    lags_s = [fate.lag_s for fate in fates]
    return max(lags_s) - min(lags_s)


async def test_a_backlog_takes_as_long_as_foretold(world: World) -> None:
    # Few calls: what waits for them goes in full batches, however few came in one read from Kafka.
    users = [f"u{number % 40:02}" for number in range(320)]
    async with tenant_of(world, set(users)) as tenant:
        async with world.ingest():
            await plan(world, tenant, users)
        await world.admin.set_limits(tenant.directory, latency_ms=200)
        async with world.writer(writer_max_calls=4):
            took_s = await written_s(world, tenant, len(users))
        stats = await world.admin.stats(tenant.directory)
    told_s = await foretold_s(users, 200, writer_max_calls=4)
    print(f"\nforetold {told_s:.2f} s, took {took_s:.2f} s")  # noqa: T201
    assert told_s / FACTOR < took_s < FACTOR * told_s
    assert max(stats.max_in_flight.values()) <= 3
    assert stats.refusals == 0


# What bounds each backlog, so that the simulation is checked for what it knows of that: one mailbox's three requests at
# a time; the calls that a writer has in flight, full batches or nearly so; and how many groups fit between.
BACKLOGS = {
    "one mailbox with a third of it": ([f"u{n % 20:02}" if n % 3 else "u00" for n in range(1_200)], 200.0, {}),
    "four calls at a time": ([f"u{n % 200:03}" for n in range(1_600)], 250.0, {"writer_max_calls": 4}),
    "sixteen calls at a time": ([f"u{n % 200:03}" for n in range(4_000)], 400.0, {"writer_max_calls": 16}),
}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("bound", BACKLOGS)
async def test_a_large_backlog_takes_as_long_as_foretold(world: World, bound: str) -> None:
    users, latency_ms, lanes = BACKLOGS[bound]
    async with tenant_of(world, set(users)) as tenant:
        took = await drain(world, tenant, users, latency_ms=latency_ms, **lanes)
    told_s = await foretold_s(users, latency_ms, **lanes)
    print(f"\n{bound}: {took}\nforetold {told_s:.2f} s, took {took.seconds:.2f} s")  # noqa: T201
    assert told_s / FACTOR < took.seconds < FACTOR * told_s
    assert took.stats.refusals == 0


async def test_the_command_needs_no_engine() -> None:
    code, out, err = await calbus("capacity", "--users", "50000", "--pods", "1", "--sample", "1000", "--imports", "10")
    assert (code, err) == (0, "")
    assert "pods on 12 partitions" in out
    assert "Simulated: a sample" in out
