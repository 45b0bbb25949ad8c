"""What the capacity simulation foretells is what a real writer then does: a backlog, drained at a real latency.

The short form runs with every suite; the long one (`-m slow -s`) prints the figures that docs/capacity.md rests on.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from services.writer.capacity import POD_ENTRIES_PER_S
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
TABLES_OF_AN_ENTRY = ("entry", "item")


@asynccontextmanager
async def tenant_of(world: World, users: set[str]) -> AsyncIterator[Tenant]:
    """A tenant whose settings are stored; no service is left running."""
    async with AsyncExitStack() as made:
        async with world.ingest():
            tenant = await made.enter_async_context(world.tenant(*sorted(users), roles=ROLES))
        yield tenant


def foretold_s(users: list[str], latency_ms: float, entries_per_s: float = POD_ENTRIES_PER_S) -> float:
    """From the first entry written to the last."""
    pod = pod_of(LaneSettings(), Latency(latency_ms / 1_000, 0.0), entries_per_s)
    numbers = {user: number for number, user in enumerate(sorted(set(users)))}
    fates = SimulatedPod(pod, seed=1).run(Change(0.0, numbers[user], 1) for user in users)
    lags_s = [fate.lag_s for fate in fates]
    return max(lags_s) - min(lags_s)


async def test_a_backlog_takes_as_long_as_foretold(world: World) -> None:
    users = [f"u{number % 8}" for number in range(72)]
    async with tenant_of(world, set(users)) as tenant:
        async with world.ingest():
            await plan(world, tenant, users)
        await world.admin.set_limits(tenant.directory, latency_ms=250)
        async with world.writer():
            took_s = await written_s(world, tenant, len(users))
        stats = await world.admin.stats(tenant.directory)
    told_s = foretold_s(users, 250)
    print(f"\nforetold {told_s:.2f} s, took {took_s:.2f} s")  # noqa: T201
    assert told_s / FACTOR < took_s < FACTOR * told_s
    assert max(stats.max_in_flight.values()) <= 3
    assert stats.refusals == 0


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_the_figures_that_capacity_is_counted_with(world: World) -> None:
    """What a writer's core gets through, what an entry takes in PostgreSQL; and a skewed backlog as foretold."""
    even = [f"u{number % 200:03}" for number in range(10_000)]
    async with tenant_of(world, set(even)) as tenant:
        measured = await drain(world, tenant, even, latency_ms=0)
        await world.fetch("VACUUM")
        print(f"\n{measured}")  # noqa: T201
        for table in TABLES_OF_AN_ENTRY:
            [[size]] = await world.fetch("SELECT pg_total_relation_size($1::regclass)", table)
            print(f"{table}: {size / len(even):,.0f} bytes a row with its indexes")  # noqa: T201
        assert measured.stats.refusals == 0

    # One user with a third of it, at a latency that says more than the processor.
    skewed = [f"u{number % 20:02}" if number % 3 else "u00" for number in range(1_200)]
    async with tenant_of(world, set(skewed)) as tenant:
        took = await drain(world, tenant, skewed, latency_ms=200)
    told_s = foretold_s(skewed, 200)
    print(f"{took}\nforetold {told_s:.2f} s, took {took.seconds:.2f} s")  # noqa: T201
    assert told_s / FACTOR < took.seconds < FACTOR * told_s
    assert took.stats.refusals == 0


async def test_the_command_needs_no_engine() -> None:
    code, out, err = await calbus("capacity", "--users", "50000", "--pods", "1", "--sample", "1000", "--imports", "10")
    assert (code, err) == (0, "")
    assert "pods on 12 partitions" in out
    assert "Simulated: a sample" in out
