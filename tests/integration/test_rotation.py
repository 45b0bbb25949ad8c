"""Keys and secrets are changed as docs/operations.md says: nothing is lost or doubled, and what is wrong is told."""

import asyncio
import re
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from calbus.store.migrate import migrate
from devstack.stack import Stack
from schemas.changes import AppointmentUpserted
from schemas.items import ActionUpserted
from schemas.reasons import NextActor
from schemas.results import Ending
from simulator.client import App, Secret
from tests.integration.test_commands import calbus
from tests.support.certificates import self_signed
from tests.support.metrics import here, of_port, total
from tests.support.world import CLIENT_ID, ROLES, Tenant, World, _ready, _with_database, new_world

# Longer than any token lives.
TOKEN_LASTS_S = 7_200
# So seldom that nothing recovers by being looked at now and then.
SELDOM = {"writer_reprobe_first_s": 3_600.0, "writer_reprobe_max_s": 3_600.0}
SELDOM_DOWN = {"puller_reprobe_first_s": 3_600.0, "puller_reprobe_max_s": 3_600.0}
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture(scope="module")
async def world(stack: Stack) -> AsyncIterator[World]:
    """One world for all tests here that keep to their own tenant, with its ingest."""
    async with new_world(stack) as world, world.ingest():
        yield world


async def hold(tenant: Tenant, *secrets: str) -> None:
    """From now on Entra knows these secrets of the application and no other, and no earlier token is worth anything."""
    app = App(CLIENT_ID, secrets=tuple(Secret(one) for one in secrets), roles=ROLES)
    await tenant.world.admin.put_tenant(tenant.directory, apps=[app], domain=tenant.domain)
    await tenant.world.admin.advance_clock(tenant.directory, TOKEN_LASTS_S)


async def publish(tenant: Tenant, name: str, count: int = 10) -> list[ActionUpserted]:
    """So many new actions, for Ann and Bob by turns."""
    actions = [tenant.action(f"{name}-{number}", ("ann", "bob")[number % 2]) for number in range(count)]
    await tenant.publish(*actions)
    return actions


async def applied(tenant: Tenant, actions: list[ActionUpserted]) -> None:
    """Wait until all of them are."""
    ended = await asyncio.gather(*(tenant.outcome(action, action.assignees[0]) for action in actions))
    assert {outcome.ending for outcome in ended} == {Ending.APPLIED}


async def stand_once(tenant: Tenant, actions: list[ActionUpserted]) -> None:
    """In the calendars stand these and no others; each was created once and has one outcome."""
    subjects = [*await tenant.subjects("ann"), *await tenant.subjects("bob")]
    assert sorted(subjects) == sorted(f"○ Do {action.id}" for action in actions)
    ledger = await tenant.world.admin.ledger(tenant.directory, operation="create")
    assert len([entry for entry in ledger.value if entry.status == 201]) == len(actions)
    assert all(len(tenant.ended(action.id, action.assignees[0])) == 1 for action in actions)


def told(tenant: Tenant) -> list[tuple[str, str]]:
    """What was published of the tenant as a whole: way and reason, oldest first."""
    return [(status.way.value, status.reason.value) for status in tenant.statuses(None)]


async def end(process: asyncio.subprocess.Process) -> str:
    """Ask it to end, as a rollout does; gives what it had to say."""
    process.terminate()
    _, err = await process.communicate()
    assert process.returncode == 0, err
    return (err or b"").decode()


async def test_a_second_secret_is_rolled_out_without_a_pause(world: World) -> None:
    async with world.tenant("ann", "bob") as tenant, AsyncExitStack() as new:
        await hold(tenant, "first", "second")
        old = [AsyncExitStack(), AsyncExitStack()]
        for one in old:
            await one.enter_async_context(world.writer(client_secret="first"))
        actions = await publish(tenant, "before")
        await applied(tenant, actions)
        for number, one in enumerate(old):
            actions += await publish(tenant, f"while-{number}-ends")
            await one.aclose()
            actions += await publish(tenant, f"while-{number}-is-away")
            await new.enter_async_context(world.writer(client_secret="second"))
        await hold(tenant, "second")
        actions += await publish(tenant, "after")
        await applied(tenant, actions)
        await stand_once(tenant, actions)
        assert told(tenant) == []


async def test_a_secret_that_is_deleted_first_is_told_and_what_waits_is_written_when_a_new_one_is_given(
    world: World,
) -> None:
    leaked, new = "leaked-secret", "new-secret"
    async with world.tenant("ann", "bob") as tenant:
        await hold(tenant, leaked)
        async with world.process("writer", client_secret=leaked, log_level="warning", stderr=PIPE, **SELDOM) as process:
            actions = await publish(tenant, "before")
            await applied(tenant, actions)
            await hold(tenant, new)
            waiting = await publish(tenant, "waiting")
            status = await tenant.status(None, "credential_wrong")
            assert (status.next_actor, "secret" in status.remedy) == (NextActor.OPERATOR, True)
            port = world.admin_ports[process.pid]
            # Nothing that a restart would mend, and no dependency of the process.
            assert await _ready(port)
            assert total(await of_port(port), "calbus_graph_faults_total", reason="credential_wrong") > 0
            err = await end(process)
            [line, *_] = [line for line in err.splitlines() if '"no token"' in line]
            assert '"credential_wrong"' in line
            assert '"AADSTS7000215"' in line
            assert '"next_actor": "operator"' in line or '"next_actor":"operator"' in line
            assert leaked not in err
        async with world.writer(client_secret=new, **SELDOM):
            await applied(tenant, actions + waiting)
            await stand_once(tenant, actions + waiting)
            await tenant.status(None, "working")
        assert told(tenant) == [("up", "credential_wrong"), ("up", "working")]


async def test_a_puller_with_a_new_secret_pulls_at_once_what_it_could_not(world: World) -> None:
    async with world.tenant("ann") as tenant:
        await hold(tenant, "leaked")
        await tenant.publish(tenant.account("ann", direction="down", detail="full"))
        async with world.puller(client_secret="leaked", **SELDOM_DOWN):
            await tenant.appointment("ann", "Dentist")
            await tenant.change("ann", AppointmentUpserted)
            await hold(tenant, "new")
            await tenant.appointment("ann", "Choir")
            await tenant.status(None, "credential_wrong")
        async with world.puller(client_secret="new", **SELDOM_DOWN):
            change = await tenant.change("ann", AppointmentUpserted, number=2)
            assert change.subject == "Choir"
            await tenant.status(None, "working")
        assert told(tenant) == [("down", "credential_wrong"), ("down", "working")]


async def test_a_certificate_that_is_replaced_is_taken_up_without_a_restart(world: World, tmp_path: Path) -> None:
    old, new = self_signed(to_days=10), self_signed(to_days=60)
    file = tmp_path / "application.pem"
    file.write_text(old.pem)
    both = (old.public_pem, new.public_pem)
    async with (
        world.tenant("ann", "bob", certificates=both) as tenant,
        world.writer(client_certificate_file=file, client_secret=""),
    ):

        async def expire() -> None:
            await world.admin.advance_clock(tenant.directory, TOKEN_LASTS_S)

        def ends_at() -> float:
            return total(here(), "calbus_credential_expiry_timestamp_seconds", kind="certificate")

        actions = await publish(tenant, "before", 2)
        await applied(tenant, actions)
        assert ends_at() == old.certificate.not_valid_after_utc.timestamp()
        # Written by halves, or with the key of another: what there was is still good.
        for broken in (new.pem[: len(new.pem) // 2], new.pem.replace(new.public_pem, old.public_pem)):
            file.write_text(broken)
            await expire()
            more = await publish(tenant, f"meanwhile-{len(broken)}", 2)
            await applied(tenant, more)
            actions += more
        file.write_text(new.pem)
        await tenant.approve(ROLES, (new.public_pem,))
        await expire()
        actions += await publish(tenant, "after", 2)
        await applied(tenant, actions)
        await stand_once(tenant, actions)
        assert ends_at() == new.certificate.not_valid_after_utc.timestamp()
        assert told(tenant) == []


def statements(heading: str, **names: str) -> list[str]:
    """The SQL below a heading of the page for operators, a statement each, with other names put in."""
    section = OPERATIONS.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    [block] = re.findall(r"```sql\n(.*?)```", section, re.DOTALL)
    block = re.sub(r"--.*", "", block)
    for name, other in names.items():
        block = re.sub(rf"\b{name}\b", other, block)
    return [one.strip() for one in block.split(";") if one.strip()]


async def test_the_role_for_postgresql_is_changed_twice(stack: Stack) -> None:
    async with AsyncExitStack() as ending:
        world = await ending.enter_async_context(new_world(stack))
        owner = world.name
        roles = {"calbus": owner, "calbus_2": f"{owner}_2", "calbus_3": f"{owner}_3"}
        server = await asyncpg.connect(stack.postgres.dsn)
        ending.push_async_callback(server.close)

        def dsn(role: str, password: str) -> str:
            host = stack.postgres.dsn.rpartition("@")[2]
            return _with_database(f"postgresql://{role}:{password}@{host}", world.name)

        async def drop_roles() -> None:
            await server.execute(f"DROP DATABASE {world.name} WITH (FORCE)")
            await server.execute(f"CREATE DATABASE {world.name}")
            for role in reversed(roles.values()):
                await server.execute(f"DROP ROLE IF EXISTS {role}")

        # As it is installed: one role, which owns the database.
        await server.execute(f"CREATE ROLE {owner} LOGIN PASSWORD 'first'")
        await server.execute(f"DROP DATABASE {world.name} WITH (FORCE)")
        await server.execute(f"CREATE DATABASE {world.name} OWNER {owner}")
        ending.push_async_callback(drop_roles)
        first = dsn(owner, "first")
        database = await asyncpg.connect(first)
        await migrate(database)
        await database.close()

        created, assumed, shut, created_next, assumed_next, dropped = statements("Keys and secrets", **roles)
        second, third = dsn(roles["calbus_2"], "…"), dsn(roles["calbus_3"], "…")
        async with AsyncExitStack() as running:
            forgotten = await running.enter_async_context(
                world.process("writer", postgres_dsn=first, stderr=PIPE, log_level="warning")
            )
            async with world.ingest(postgres_dsn=first):
                tenant = await ending.enter_async_context(world.tenant("ann", "bob"))
                actions = await publish(tenant, "first")
                await applied(tenant, actions)
                await server.execute(created)
                await server.execute(assumed)
            async with world.ingest(postgres_dsn=second), world.writer(postgres_dsn=second):
                await server.execute(shut)
                actions += await publish(tenant, "second")
                await applied(tenant, actions)
                # Whatever was not rolled goes on with the connections that it has, and ends when it needs another.
                await server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", owner)
                _, err = await forgotten.communicate()
                assert forgotten.returncode == 2, err
                assert b"CALBUS_POSTGRES_DSN is refused by the server" in err
                assert b"Traceback" not in err
                # What a migration makes belongs to the owner: a role that owned it could not be dropped.
                database = await asyncpg.connect(second)
                await database.execute("CREATE TABLE made_by_a_migration ()")
                await database.close()
                await server.execute(created_next)
                await server.execute(assumed_next)
            async with world.ingest(postgres_dsn=third), world.writer(postgres_dsn=third):
                await server.execute(dropped)
                actions += await publish(tenant, "third")
                await applied(tenant, actions)
                await stand_once(tenant, actions)
        code, out, err = await calbus("migrate", CALBUS_POSTGRES_DSN=third)
        assert (code, out.strip()) == (0, "the schema is up to date"), err
        database = await asyncpg.connect(third)
        owners = await database.fetch("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
        await database.close()
        assert [row[0] for row in owners] == [owner]
