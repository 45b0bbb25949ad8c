"""A dump of an earlier moment is restored: calbus finds again what it wrote since, and doubles nothing."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from devstack.postgres import wheel_directory
from schemas.results import Ending
from tests.integration.test_commands import calbus
from tests.support.waiting import until
from tests.support.world import Tenant, World


async def dump_tool(name: str, *arguments: str) -> None:
    """`pg_dump` or `pg_restore` of the server's own version."""
    program = wheel_directory() / "pginstall" / "bin" / name
    process = await asyncio.create_subprocess_exec(program, *arguments)
    assert await process.wait() == 0, name


async def restore(world: World, file: Path) -> None:
    """The database as it was: dropped, made anew, filled."""
    server = await asyncpg.connect(world.stack.postgres.dsn)
    try:
        await server.execute(f"DROP DATABASE {world.name} WITH (FORCE)")
        await server.execute(f"CREATE DATABASE {world.name}")
    finally:
        await server.close()
    await dump_tool("pg_restore", "--no-owner", f"--dbname={world.dsn}", str(file))


async def test_a_restored_backup_converges_and_doubles_nothing(world: World, tmp_path: Path) -> None:
    assert urlsplit(world.dsn).path == f"/{world.name}"
    backup = tmp_path / "calbus.dump"
    async with AsyncExitStack() as later:
        async with world.ingest(), world.writer():
            tenant = await later.enter_async_context(world.tenant("ann"))
            stays, changes, goes = (tenant.action(name, "ann") for name in ("stays", "changes", "goes"))
            await tenant.publish(stays, changes, goes)
            for action in (stays, changes, goes):
                await tenant.outcome(action, "ann")
            backed_up_at = datetime.now(UTC)
            await dump_tool("pg_dump", "--format=custom", f"--dbname={world.dsn}", f"--file={backup}")

            changed, fresh = tenant.action("changes", "ann", title="Other words"), tenant.action("fresh", "ann")
            again = tenant.action("again", "ann")
            await tenant.publish(changed, fresh, again, tenant.deleted("goes"))
            await tenant.outcome(changed, "ann")
            await tenant.outcome(fresh, "ann")
            await tenant.outcome(again, "ann")
            # Its event is another by now, of another generation.
            await tenant.publish(tenant.action("again", "ann", start=None))
            await until(lambda: _is_gone(tenant, "again"), "the first event to go")
            again = tenant.action("again", "ann")
            await tenant.publish(again)
            await tenant.outcome(again, "ann")
            await until(lambda: _is_gone(tenant, "goes"), "the deleted action to go")
        before = {event.id: event.subject for event in await tenant.calendar("ann")}
        assert sorted(before.values()) == ["○ Do again", "○ Do fresh", "○ Do stays", "○ Other words"]

        await restore(world, backup)
        since = (backed_up_at - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        code, out, err = await calbus("restored", "--reread-from", since, **world.environment())
        assert (code, "are read again" in out) == (0, True), err
        told = len(world.outcome_ids)
        written = (await world.admin.ledger(tenant.directory)).value[-1].seq
        async with world.ingest():
            await until(lambda: _items(world, 5), "ingest to have read on")

            async def looked_up() -> bool:
                code, _, err = await calbus("restored", "--look-up", **world.environment())
                assert code == 0 or "messages before it" in err, err
                return code == 0

            await until(looked_up, "ingest to have read all")
            async with world.writer():
                # Something new goes through, and by then all else is settled.
                await until(lambda: _settled(world), "every entry to be settled")
                marker = tenant.action("marker", "ann")
                await tenant.publish(marker)
                assert (await tenant.outcome(marker, "ann")).ending is Ending.APPLIED
        after = {event.id: event.subject for event in await tenant.calendar("ann") if "marker" not in event.subject}
        assert after == before
        # Found by our mark on them, not by Graph's memory of transactions: only the new one was created.
        created = await world.admin.ledger(tenant.directory, operation="create", after=written)
        assert len(created.value) == 1
        # A plan that is made anew bears a new number, unless the entry was unknown to the backup.
        assert len(world.outcome_ids) > told


async def test_an_account_that_moved_since_the_backup_has_its_entries_once(world: World, tmp_path: Path) -> None:
    backup = tmp_path / "calbus.dump"
    async with AsyncExitStack() as later:
        async with world.ingest(), world.writer():
            tenant = await later.enter_async_context(world.tenant("ann"))
            await world.admin.put_user(tenant.directory, tenant.mailbox("new"))
            actions = [tenant.action(f"a{number}", "ann") for number in range(3)]
            await tenant.publish(*actions)
            for action in actions:
                await tenant.outcome(action, "ann")
            backed_up_at = datetime.now(UTC)
            await dump_tool("pg_dump", "--format=custom", f"--dbname={world.dsn}", f"--file={backup}")

            await tenant.publish(tenant.account("ann", mailbox=tenant.mailbox("new")))
            await until(lambda: _stand(tenant, "new", 3), "the entries to move")
            # Made anew there, which takes another generation.
            await tenant.publish(tenant.action("a0", "ann", start=None))
            await until(lambda: _stand(tenant, "new", 2), "one to go")
            actions[0] = tenant.action("a0", "ann")
            await tenant.publish(actions[0])
            await tenant.outcome(actions[0], "ann")
        assert await tenant.calendar("ann") == []
        before = {event.id for event in await tenant.calendar("new")}

        await restore(world, backup)
        since = (backed_up_at - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        code, _, err = await calbus("restored", "--reread-from", since, **world.environment())
        assert code == 0, err
        written = (await world.admin.ledger(tenant.directory)).value[-1].seq
        async with world.ingest():

            async def looked_up() -> bool:
                return (await calbus("restored", "--look-up", **world.environment()))[0] == 0

            await until(looked_up, "ingest to have read all")
            async with world.writer():
                await until(lambda: _settled(world), "every entry to be settled")
        assert {event.id for event in await tenant.calendar("new")} == before
        assert await tenant.calendar("ann") == []
        assert (await world.admin.ledger(tenant.directory, operation="create", after=written)).value == []


async def _stand(tenant: Tenant, user: str, count: int) -> bool:
    return len(await tenant.calendar(user)) == count


async def test_it_is_not_done_while_a_service_runs_or_without_saying_what(world: World) -> None:
    async with world.ingest(), world.tenant():
        code, _, err = await calbus("restored", "--reread-from", "2026-11-01T00:00:00Z", **world.environment())
        assert (code, "ingest is running" in err) == (2, True), err
    code, _, err = await calbus("restored", **world.environment())
    assert (code, "one after the other" in err) == (2, True), err


async def _is_gone(tenant: Tenant, item: str) -> bool:
    return not any(item in subject for subject in await tenant.subjects("ann"))


async def _items(world: World, count: int) -> bool:
    return bool((await world.fetch("SELECT count(*) FROM item"))[0][0] >= count)


async def _settled(world: World) -> bool:
    return not (await world.fetch("SELECT count(*) FROM entry WHERE owed OR in_doubt OR due_at IS NOT NULL"))[0][0]
