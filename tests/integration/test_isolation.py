"""What one tenant, directory or row that hangs may cost the others: nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from calbus.graph.calendars import ask_default
from calbus.graph.client import graph_client
from calbus.lifecycle import at_most
from calbus.store import entries
from schemas.reasons import Reason
from schemas.results import Ending
from services.writer.pipeline import GROUPS_MAX, calls_at_most
from services.writer.settings import WriterSettings
from services.writer.side_calls import ALL_MAX_CALLS, DIRECTORY_MAX_CALLS
from simulator.client import Fault, MailboxKind
from tests.support.waiting import until
from tests.support.world import Tenant, World

# Two calls for each of them are more than all connections that there are.
CROWD = (calls_at_most(64) + ALL_MAX_CALLS) // 2 + 8
LONG = {"graph_timeout_s": 120, "writer_drain_s": 0.2, "writer_max_calls": 64}


@asynccontextmanager
async def held(world: World, query: str, *arguments: Any) -> AsyncIterator[None]:
    """Somebody has these rows locked, and takes long."""
    connection = await asyncpg.connect(world.dsn)
    try:
        async with connection.transaction():
            assert await connection.fetch(f"{query} FOR UPDATE", *arguments)
            yield
    finally:
        await connection.close()


async def planned(world: World, tenant: Tenant, count: int) -> None:
    """Wait until so many entries of the tenant wait for a writer."""

    async def stored() -> bool:
        [row] = await world.fetch("SELECT count(*) FROM entry WHERE tenant = $1 AND owed", tenant.id)
        return bool(row["count"] >= count)

    await until(stored, f"{count} entries of {tenant.id} to be planned")


async def struck(tenant: Tenant) -> int:
    """How many calls have begun to hang."""
    return sum(fault.hits for fault in await tenant.world.admin.faults(tenant.directory))


# -- calls to Graph ---------------------------------------------------------------------------------------------------


async def test_access_checks_that_hang_hold_up_no_other_directory(world: World) -> None:
    crowd, owners = [f"u{number}" for number in range(CROWD)], [f"o{number}" for number in range(CROWD)]
    async with (
        world.ingest(),
        world.writer(**LONG),
        world.tenant(*crowd, *owners) as slow,
        world.tenant("ann", "olga") as quick,
    ):
        for operation in ("list_permissions", "get_calendar"):  # not the token
            await world.admin.add_fault(Fault(tenant=slow.directory, operation=operation, delay_ms=120_000))
        hanging = [slow.action(f"a{number}", user, owner=owners[number]) for number, user in enumerate(crowd)]
        await slow.publish(*hanging)

        async def asking() -> bool:
            [row] = await world.fetch("SELECT count(*) FROM entry WHERE tenant = $1 AND in_doubt", slow.id)
            return bool(row["count"] == CROWD) and await struck(slow) >= DIRECTORY_MAX_CALLS

        await until(asking, "all that hangs to be at its gates")
        await world.admin.share_calendar(quick.directory, quick.mailbox("ann"), "write", quick.mailbox("olga"))
        action = quick.action("a1", "ann", owner="olga")
        await quick.publish(action)
        assert (await quick.outcome(action, "ann")).ending is Ending.APPLIED
        assert world.outcomes[slow.id] == []
        assert await struck(slow) == DIRECTORY_MAX_CALLS


async def test_waiting_for_a_connection_does_not_count_as_waiting_for_the_answer(running: World) -> None:
    async with running.tenant("ann", "bob", "eve") as tenant:
        settings = running.settings(WriterSettings, graph_timeout_s=3.5)
        async with graph_client(settings, max_connections=1) as graph:
            assert [one.fault for one in await graph.send(tenant.directory, [ask_default(tenant.mailbox("ann"))])] == [
                None
            ]
            await running.admin.add_fault(Fault(tenant=tenant.directory, delay_ms=2_000))
            asked = [ask_default(tenant.mailbox(user)) for user in ("ann", "bob", "eve")]
            answers = await asyncio.gather(*(graph.send(tenant.directory, [request]) for request in asked))
        assert [answer.fault for (answer,) in answers] == [None, None, None]


async def test_what_hangs_can_be_broken_off_and_may_have_been_applied(running: World) -> None:
    async with running.tenant("hangs", "ann") as tenant:
        fault = Fault(tenant=tenant.directory, user=tenant.mailbox("hangs"), delay_ms=60_000)
        await running.admin.add_fault(fault)
        requests = [ask_default(tenant.mailbox(user)) for user in ("hangs", "ann")]
        async with graph_client(running.settings(WriterSettings, graph_timeout_s=120)) as graph:
            for asked in (requests[:1], requests):  # alone, and in a batch
                before = await struck(tenant)
                sending = asyncio.create_task(graph.send(tenant.directory, asked))

                async def arrived(before: int = before) -> bool:
                    return await struck(tenant) > before

                await until(arrived, "the call to be under way")
                graph.break_off()
                answers = await at_most(20.0, sending)
                for answer in answers:
                    assert answer.fault is not None
                    assert answer.fault.reason is Reason.GRAPH_UNREACHABLE
                    assert answer.fault.may_be_applied
            # It is no farewell.
            graph.break_off()
            (answer,) = await graph.send(tenant.directory, requests[1:])
            assert answer.fault is None


async def test_calls_that_hang_while_mailboxes_change_hands_are_over_when_they_have(world: World) -> None:
    users = [f"u{number}" for number in range(8)]
    async with world.ingest(), world.writer(**LONG), world.tenant(*users) as tenant:
        await world.admin.add_fault(
            Fault(tenant=tenant.directory, operation="create", delay_ms=110_000, times=len(users))
        )
        actions = [(tenant.action(f"a-{user}", user), user) for user in users]
        await tenant.publish(*(action for action, _ in actions))

        async def hanging() -> bool:
            return await struck(tenant) == len(users)

        await until(hanging, "every mailbox to have a call that hangs")
        # Some mailboxes move, some stay where they are; either way nobody waits for what hangs.
        async with world.writer(**LONG):
            for action, user in actions:
                assert (await tenant.outcome(action, user)).ending is Ending.APPLIED
        for user in users:
            assert await tenant.subjects(user) == [f"○ Do a-{user}"]


# -- rows of PostgreSQL -----------------------------------------------------------------------------------------------


async def test_a_row_that_somebody_holds_holds_up_no_other_entry(world: World) -> None:
    users = [f"u{number}" for number in range(15)]
    async with world.ingest(), world.tenant("ann", *users) as tenant, world.tenant(*users) as other:
        stuck = tenant.action("stuck", "ann")
        free = [(each, each.action(f"free-{user}", user), user) for each in (tenant, other) for user in users]
        await world.publish(stuck, *(action for _, action, _ in free))
        await planned(world, tenant, 1 + len(users))
        await planned(world, other, len(users))
        row = "SELECT FROM entry WHERE entry_id = $1", tenant.entry_id("stuck", "ann")
        # What waits for the writer is loaded by it in one group.
        async with AsyncExitStack() as writing:
            async with held(world, *row):
                await writing.enter_async_context(world.writer())
                for each, action, user in free:
                    assert (await each.outcome(action, user)).ending is Ending.APPLIED
                assert await tenant.calendar("ann") == []
            assert (await tenant.outcome(stuck, "ann")).ending is Ending.APPLIED
        assert await tenant.subjects("ann") == ["○ Do stuck"]


async def test_a_row_that_somebody_holds_while_a_writer_ends_is_not_forgotten(world: World) -> None:
    async with world.ingest(), world.tenant("ann", "bob") as tenant:
        stuck, free = tenant.action("stuck", "ann"), tenant.action("free", "bob")
        await tenant.publish(stuck, free)
        await planned(world, tenant, 2)
        async with held(world, "SELECT FROM entry WHERE entry_id = $1", tenant.entry_id("stuck", "ann")):
            async with world.writer():
                await tenant.outcome(free, "bob")
            assert tenant.ended("stuck", "ann") == []
        # The next is commanded anew: a sweep would find it two minutes after it was planned, and no sooner.
        async with world.writer():
            assert (await tenant.outcome(stuck, "ann")).ending is Ending.APPLIED


async def test_rows_that_somebody_holds_when_they_are_recorded_hold_up_no_other_entry(world: World) -> None:
    # More than there are groups under way: one after the other they would take all places.
    stuck = [f"stuck{number}" for number in range(2 * GROUPS_MAX)]
    free = [f"free{number}" for number in range(8)]
    async with world.ingest(), world.writer(**LONG), world.tenant(*stuck) as tenant, world.tenant(*free) as other:
        for number, user in enumerate(stuck):
            delay_ms = 5_000 + 150 * number
            fault = Fault(tenant=tenant.directory, user=tenant.mailbox(user), operation="create", delay_ms=delay_ms)
            await world.admin.add_fault(fault)
        actions = [tenant.action(f"a-{user}", user) for user in stuck]
        await tenant.publish(*actions)

        async def under_way() -> bool:
            return await struck(tenant) == len(stuck)

        await until(under_way, "every call to be under way")
        recorded = "SELECT FROM entry WHERE tenant = $1 AND applied_at IS NOT NULL"
        async with held(world, "SELECT applied_at FROM entry WHERE tenant = $1", tenant.id):
            assert not await world.fetch(recorded, tenant.id), "locked too late"

            async def written() -> bool:
                return all([await tenant.subjects(user) for user in stuck])

            await until(written, "every event to stand")
            for user in free:
                action = other.action(f"b-{user}", user)
                await other.publish(action)
                assert (await other.outcome(action, user)).ending is Ending.APPLIED
            assert [tenant.ended(f"a-{user}", user) for user in stuck] == [[] for _ in stuck]
        for action, user in zip(actions, stuck, strict=True):
            assert (await tenant.outcome(action, user)).ending is Ending.APPLIED
            assert len(await tenant.subjects(user)) == 1


async def test_faults_that_somebody_holds_when_they_are_recorded_hold_up_no_other_tenants_faults(world: World) -> None:
    stuck = [f"stuck{number}" for number in range(2 * GROUPS_MAX)]
    async with world.ingest(), world.writer(**LONG), world.tenant(*stuck) as tenant, world.tenant("bob") as other:
        for number, user in enumerate(stuck):
            # Each comes back by itself, so that each would be a group of its own.
            await world.admin.add_fault(
                Fault(
                    tenant=tenant.directory,
                    user=tenant.mailbox(user),
                    operation="create",
                    delay_ms=5_000 + 150 * number,
                    status=503,
                    times=1,
                )
            )
        actions = [tenant.action(f"a-{user}", user) for user in stuck]
        await tenant.publish(*actions)

        async def under_way() -> bool:
            return await struck(tenant) == len(stuck)

        await until(under_way, "every call to be under way")
        tried = "SELECT FROM entry WHERE tenant = $1 AND last_error IS NOT NULL"
        async with held(world, "SELECT FROM entry WHERE tenant = $1", tenant.id):
            assert not await world.fetch(tried, tenant.id), "locked too late"

            async def answered() -> bool:
                calls = await world.admin.ledger(tenant.directory, operation="create")
                return len(calls.value) == len(stuck)

            await until(answered, "every call to be answered")
            await world.admin.add_fault(Fault(tenant=other.directory, operation="create", status=503, times=1))
            action = other.action("b1", "bob")
            await other.publish(action)
            assert (await other.outcome(action, "bob")).ending is Ending.APPLIED
            assert await struck(other) == 1
        for action, user in zip(actions, stuck, strict=True):
            assert (await tenant.outcome(action, user)).ending is Ending.APPLIED
            assert len(await tenant.subjects(user)) == 1


async def test_an_account_that_somebody_holds_holds_up_no_other_tenant(world: World) -> None:
    # More than there are connections: one after the other they would take them all.
    stuck = [f"stuck{number}" for number in range(12)]
    async with world.ingest(), world.tenant(*stuck) as tenant, world.tenant("bob") as other:
        async with world.writer():
            await tenant.publish(*(known := [tenant.action(f"known-{user}", user) for user in stuck]))
            for action, user in zip(known, stuck, strict=True):
                await tenant.outcome(action, user)
        async with AsyncExitStack() as writing:
            async with held(world, "SELECT FROM account_status WHERE tenant = $1", tenant.id):
                # To this one it is news again that they work.
                await writing.enter_async_context(world.writer())
                actions = [tenant.action(f"a-{user}", user) for user in stuck]
                for action, user in zip(actions, stuck, strict=True):
                    await tenant.publish(action)

                    async def written(user: str = user) -> bool:
                        return len(await tenant.subjects(user)) == 2

                    await until(written, f"the second event of {user}")
                await other.publish(action := other.action("b1", "bob"))
                assert (await other.outcome(action, "bob")).ending is Ending.APPLIED
                assert [tenant.ended(f"a-{user}", user) for user in stuck] == [[] for _ in stuck]
                waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                assert max([len(await world.fetch(waiting)) for _ in range(20)]) <= 1
            for action, user in zip(actions, stuck, strict=True):
                assert (await tenant.outcome(action, user)).ending is Ending.APPLIED


async def test_a_result_that_waits_for_its_row_does_not_say_again_that_its_account_works(world: World) -> None:
    async with world.ingest(), world.writer(**LONG), world.tenant("ann") as tenant:
        fault = Fault(tenant=tenant.directory, operation="create", delay_ms=5_000, times=1)
        await world.admin.add_fault(fault)
        first, second = tenant.action("first", "ann"), tenant.action("second", "ann")
        await tenant.publish(first)

        async def under_way() -> bool:
            return await struck(tenant) == 1

        await until(under_way, "the call to be under way")
        async with held(world, "SELECT FROM entry WHERE entry_id = $1", tenant.entry_id("first", "ann")):

            async def written() -> bool:
                return bool(await tenant.subjects("ann"))

            await until(written, "the event to stand")
            await world.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.BLOCKED_BY_POLICY)
            await tenant.publish(second)
            await tenant.status("ann", "access_policy")
            before = len(tenant.statuses("ann"))
        assert (await tenant.outcome(first, "ann")).ending is Ending.APPLIED
        assert [one.reason for one in tenant.statuses("ann")[before:]] == []


async def test_a_trouble_that_somebody_holds_holds_up_no_other_tenant(world: World) -> None:
    users = [f"u{number}" for number in range(15)]
    async with world.ingest(), world.tenant("ann") as tenant, world.tenant(*users) as other:
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.BLOCKED_BY_POLICY)
        async with world.writer():
            await tenant.publish(first := tenant.action("first", "ann"))
            await tenant.status("ann", "access_policy")
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"))
        second = tenant.action("second", "ann")
        free = [(other.action(f"free-{user}", user), user) for user in users]
        await world.publish(second, *(action for action, _ in free))
        await planned(world, tenant, 2)
        await planned(world, other, len(users))
        async with AsyncExitStack() as writing:
            async with held(world, "SELECT FROM account_status WHERE tenant = $1", tenant.id):
                await writing.enter_async_context(world.writer())
                for action, user in free:
                    assert (await other.outcome(action, user)).ending is Ending.APPLIED
                assert await tenant.calendar("ann") == []
            # One of them is the probe, and the other follows.
            for action in (first, second):
                assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED
        assert await tenant.subjects("ann") == ["○ Do first", "○ Do second"]


async def test_postponing_waits_for_nobody(world: World) -> None:
    async with world.ingest(), world.tenant("ann", "bob") as tenant:
        await tenant.publish(tenant.action("a1", "ann", "bob"))
        await planned(world, tenant, 2)
        ids = [tenant.entry_id("a1", user) for user in ("ann", "bob")]
        until_at = datetime.now(UTC) + timedelta(days=1)
        pool = await asyncpg.create_pool(world.dsn, min_size=1, max_size=1)
        try:
            async with held(world, "SELECT FROM entry WHERE entry_id = $1", ids[0]):
                await at_most(20.0, entries.postpone(pool, dict.fromkeys(ids, until_at)))
        finally:
            await pool.close()
        due = await world.fetch(
            "SELECT entry_id, due_at = $2 AS later, due_at IS NOT NULL AS due FROM entry WHERE entry_id = ANY ($1)",
            ids,
            until_at,
        )
        assert {row["entry_id"]: (row["later"], row["due"]) for row in due} == {
            ids[0]: (False, True),
            ids[1]: (True, True),
        }
