"""Pull the plug anywhere: nothing is lost and nothing appears twice."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from devstack.stack import Stack
from schemas.results import Ending
from simulator.client import Fault
from tests.support.waiting import until
from tests.support.world import Tenant, World, kill, new_world

QUICK_SESSION = {"writer_session_timeout_ms": 6_000, "ingest_session_timeout_ms": 6_000}


@pytest.fixture(scope="module")
async def breakable() -> AsyncIterator[Stack]:
    """Engines that the tests of this module may break."""
    async with Stack() as stack:
        yield stack


async def created_and_unanswered(world: World, tenant: Tenant) -> None:
    """Wait until Graph has applied a create whose answer it still keeps back."""

    async def look() -> bool:
        return bool(await tenant.calendar("ann"))

    await until(look, "the event to be in the calendar")
    [entry] = await world.fetch("SELECT event_id, in_doubt FROM entry WHERE tenant = $1", tenant.id)
    assert (entry["event_id"], entry["in_doubt"]) == (None, True)


async def test_a_writer_killed_between_graph_and_record_writes_nothing_twice(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant:
        await world.admin.add_fault(
            Fault(tenant=tenant.directory, operation="create", times=1, after_apply=True, delay_ms=60_000)
        )
        action = tenant.action("a1", "ann")
        async with world.process("writer", **QUICK_SESSION) as process:
            await tenant.publish(action)
            await created_and_unanswered(world, tenant)
            kill(process)
        async with world.writer(**QUICK_SESSION):
            assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED
            assert await tenant.subjects("ann") == ["○ Do a1"]


@pytest.mark.slow
async def test_a_writer_killed_before_recording_leaves_no_orphan_when_the_item_is_deleted(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant:
        await world.admin.add_fault(
            Fault(tenant=tenant.directory, operation="create", times=1, after_apply=True, delay_ms=60_000)
        )
        action = tenant.action("a1", "ann")
        async with world.process("writer", **QUICK_SESSION) as process:
            await tenant.publish(action)
            await created_and_unanswered(world, tenant)
            kill(process)
        gone = tenant.deleted("a1")
        await tenant.publish(gone)
        async with world.writer(**QUICK_SESSION):
            assert (await tenant.outcome(gone, "ann")).ending is Ending.WITHDRAWN
            assert await tenant.calendar("ann") == []


@pytest.mark.slow
async def test_a_writer_killed_again_and_again_under_load(world: World) -> None:
    users = [f"u{number}" for number in range(10)]
    async with world.ingest(), world.tenant(*users) as tenant:
        await world.admin.set_limits(tenant.directory, latency_ms=20)
        actions = [tenant.action(f"a{number}", users[number % 10]) for number in range(300)]
        await tenant.publish(*actions)
        for share in (0.15, 0.4, 0.7):
            async with world.process("writer", writer_member="w0", **QUICK_SESSION) as process:

                async def far_enough(share: float = share) -> bool:
                    return len(world.outcomes[tenant.id]) >= share * len(actions)

                await until(far_enough, f"{share:.0%} of the outcomes", timeout_s=60)
                kill(process)
        async with world.process("writer", writer_member="w0", **QUICK_SESSION):
            await everything_once(world, tenant, actions, users)


async def test_ingest_killed_again_and_again_under_load(world: World) -> None:
    users = [f"u{number}" for number in range(10)]
    async with world.writer():
        async with world.ingest():
            context = world.tenant(*users)
            tenant = await context.__aenter__()
        actions = [tenant.action(f"a{number}", users[number % 10]) for number in range(1_000)]
        for share in (0.1, 0.4, 0.7):
            first = int(share * len(actions)) if share > 0.1 else 0
            async with world.process(
                "ingest", ingest_batch_max_messages=20, ingest_member="i0", **QUICK_SESSION
            ) as process:
                await tenant.publish(*actions[first : first + 400])

                async def far_enough(share: float = share) -> bool:
                    rows = await world.fetch("SELECT count(*) FROM item")
                    return bool(rows[0][0] >= share * len(actions))

                await until(far_enough, "some of the items", timeout_s=60)
                kill(process)
        async with world.process("ingest", ingest_member="i0", **QUICK_SESSION):
            await everything_once(world, tenant, actions, users)
        await context.__aexit__(None, None, None)


async def everything_once(world: World, tenant: Tenant, actions: list, users: list[str]) -> None:
    """Every action ended exactly once, as applied, and stands exactly once in its calendar."""

    async def all_ended() -> bool:
        return len(world.outcomes[tenant.id]) >= len(actions)

    await until(all_ended, "an outcome for each action", timeout_s=90)
    assert {outcome.ending for outcome in world.outcomes[tenant.id]} == {Ending.APPLIED}
    assert len(world.outcomes[tenant.id]) == len(actions)
    for user in users:
        expected = sorted(f"○ Do {action.id}" for action in actions if user in action.assignees)
        assert await tenant.subjects(user) == expected


@pytest.mark.slow
async def test_two_writers_share_and_a_third_joins_and_leaves(world: World) -> None:
    users = [f"u{number}" for number in range(12)]
    async with world.ingest(), world.tenant(*users) as tenant:
        await world.admin.set_limits(tenant.directory, latency_ms=10)
        actions = [tenant.action(f"a{number}", users[number % 12]) for number in range(600)]

        async def ended(count: int) -> None:
            async def look() -> bool:
                return len(world.outcomes[tenant.id]) >= count

            await until(look, f"{count} outcomes", timeout_s=60)

        async with world.process("writer", **QUICK_SESSION), world.process("writer", **QUICK_SESSION):
            await tenant.publish(*actions[:200])
            await ended(100)
            async with world.process("writer", **QUICK_SESSION) as third:
                await tenant.publish(*actions[200:400])
                await ended(300)
                third.terminate()
                assert await third.wait() == 0
            await tenant.publish(*actions[400:])
            await everything_once(world, tenant, actions, users)
        stats = await tenant.stats()
        assert not stats.violations
        assert max(stats.max_in_flight.values()) <= 4


@pytest.mark.slow
async def test_postgresql_away_pauses_and_loses_nothing(breakable: Stack) -> None:
    async with new_world(breakable) as world, world.ingest(), world.writer(), world.tenant("ann") as tenant:
        before = tenant.action("before", "ann")
        await tenant.publish(before)
        await tenant.outcome(before, "ann")
        await breakable.postgres.kill()
        during = [tenant.action(f"during{number}", "ann") for number in range(20)]
        await tenant.publish(*during)
        await asyncio.sleep(1)  # an outage has a length; nothing is waited for
        await breakable.postgres.start()
        for action in during:
            assert (await tenant.outcome(action, "ann", timeout_s=60)).ending is Ending.APPLIED
        assert world.dead_letters == []
        assert len(await tenant.calendar("ann")) == 21


@pytest.mark.slow
async def test_kafka_away_pauses_and_loses_nothing(breakable: Stack) -> None:
    async with new_world(breakable) as world, world.ingest(), world.writer(), world.tenant("ann") as tenant:
        await world.admin.set_limits(tenant.directory, latency_ms=20)
        actions = [tenant.action(f"a{number}", "ann") for number in range(60)]
        await tenant.publish(*actions)
        await tenant.outcome(actions[5], "ann")
        await breakable.kafka.kill()
        await asyncio.sleep(1)  # an outage has a length; nothing is waited for
        await breakable.kafka.start()
        for action in actions:
            assert (await tenant.outcome(action, "ann", timeout_s=60)).ending is Ending.APPLIED
        assert world.dead_letters == []
        assert len(await tenant.calendar("ann")) == 60


@pytest.mark.slow
@pytest.mark.parametrize(("service", "engine"), [("ingest", "postgres"), ("writer", "kafka")])
async def test_an_outage_shows_while_it_lasts_and_no_longer(breakable: Stack, service: str, engine: str) -> None:
    async with new_world(breakable) as world, world.process(service) as process:
        away = getattr(breakable, engine)
        await away.kill()
        try:
            await until(lambda: ready(world, process, is_ready=False), f"{service} to say that {engine} is away")
        finally:
            await away.start()
        await until(lambda: ready(world, process, is_ready=True), f"{service} to be ready again", timeout_s=60)


async def ready(world: World, process: asyncio.subprocess.Process, *, is_ready: bool) -> bool:
    """Whether the readiness probe answers so."""
    port = world.admin_ports[process.pid]
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as response:
        return (response.status == 200) is is_ready
