"""The command line as an operator uses it, in processes of its own."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import orjson
from aiokafka.admin import AIOKafkaAdminClient

from schemas.events import TYPE_NAMES, Topic
from schemas.items import ActionUpserted
from simulator.client import MailboxKind
from tests.support.waiting import until
from tests.support.world import World

CALBUS = str(Path(sys.executable).with_name("calbus"))


async def calbus(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run `calbus` to its end: exit code, standard output, standard error."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALBUS_")}
    process = await asyncio.create_subprocess_exec(
        CALBUS,
        *arguments,
        env=kept | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


def event(action: ActionUpserted, **attributes: Any) -> bytes:
    """One line of a file to publish."""
    data = action.model_dump(mode="json", exclude_unset=True)
    envelope = {"specversion": "1.0", "id": str(uuid4()), "source": "/tests", "type": TYPE_NAMES[type(action)]}
    return orjson.dumps(envelope | attributes | {"data": data}) + b"\n"


async def test_migrate_twice_and_from_two_places_at_once(world: World) -> None:
    server = await asyncpg.connect(world.stack.postgres.dsn)
    name = f"m{uuid4().hex[:8]}"
    await server.execute(f"CREATE DATABASE {name}")
    dsn = world.dsn.replace(world.name, name)
    try:
        runs = await asyncio.gather(*(calbus("migrate", CALBUS_POSTGRES_DSN=dsn) for _ in range(3)))
        assert [code for code, _, _ in runs] == [0, 0, 0], runs
        assert sum("applied 0001" in out for _, out, _ in runs) == 1
        code, out, _ = await calbus("migrate", CALBUS_POSTGRES_DSN=dsn)
        assert (code, out.strip()) == (0, "the schema is up to date")
        database = await asyncpg.connect(dsn)
        await database.execute("UPDATE schema_migration SET checksum = 'altered' WHERE number = 1")
        await database.close()
        code, _, err = await calbus("migrate", CALBUS_POSTGRES_DSN=dsn)
        assert code == 1
        assert "0001_items_entries_settings was applied in another form" in err
    finally:
        await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        await server.close()


async def test_a_migration_that_does_not_fit_is_told_as_it_is(world: World) -> None:
    await world.fetch("DELETE FROM schema_migration WHERE number = 14")
    await world.fetch("ALTER TABLE entry RENAME TO elsewhere")
    code, _, err = await calbus("migrate", **world.environment())
    assert (code, err) == (1, 'PostgreSQL (CALBUS_POSTGRES_DSN): relation "entry" does not exist\n')


async def test_topics_are_made_once_and_left_alone(world: World) -> None:
    environment = world.environment(topic_prefix=f"{world.name}.more")
    code, out, err = await calbus("topics", **environment)
    assert code == 0, err
    assert out.count("made ") == len(Topic)
    code, out, _ = await calbus("topics", **environment)
    assert (code, out.strip()) == (0, "all topics are there")
    admin = AIOKafkaAdminClient(bootstrap_servers=world.stack.kafka.bootstrap)
    await admin.start()
    try:
        described = await admin.describe_topics([f"{world.name}.more.{topic}" for topic in Topic])
    finally:
        await admin.close()
    assert {len(topic["partitions"]) for topic in described} == {4}


async def test_publish_sends_a_file_or_nothing(running: World, tmp_path: Path) -> None:
    async with running.tenant("ann") as tenant:
        good = tmp_path / "good.jsonl"
        actions = [tenant.action("a1", "ann"), tenant.action("a2", "ann")]
        good.write_bytes(b"".join(event(action) for action in actions))
        code, out, err = await calbus("publish", str(good), **running.environment())
        assert code == 0, err
        assert f"2 to {running.name}.actions.v1" in out
        for action in actions:
            await tenant.outcome(action, "ann")

        third = tenant.action("a3", "ann")
        bad = tmp_path / "bad.jsonl"
        bad.write_bytes(event(third) + event(third, type="calbus.outcome.v1"))
        code, _, err = await calbus("publish", str(bad), **running.environment())
        assert (code, "line 2" in err) == (2, True)
        bad.write_bytes(event(third) + b"not json\n")
        code, _, err = await calbus("publish", str(bad), **running.environment())
        assert (code, "line 2 is not a CloudEvent in JSON" in err) == (2, True)
        code, _, err = await calbus("publish", str(tmp_path / "missing.jsonl"), **running.environment())
        assert (code, "missing.jsonl" in err) == (2, True)
        marker = tenant.action("marker", "ann")
        await tenant.publish(marker)
        await tenant.outcome(marker, "ann")
        assert await tenant.subjects("ann") == ["○ Do a1", "○ Do a2", "○ Do marker"]


async def test_a_service_without_its_schema_says_so(world: World) -> None:
    database = await asyncpg.connect(world.dsn)
    await database.execute("DELETE FROM schema_migration")
    await database.close()
    for service in ("ingest", "writer"):
        code, _, err = await calbus(service, **world.environment())
        assert (code, "run `calbus migrate`" in err) == (2, True), err


async def test_a_writer_without_a_usable_credential_says_so(world: World, tmp_path: Path) -> None:
    environment = world.environment()
    del environment["CALBUS_CLIENT_SECRET"]
    code, _, err = await calbus("writer", **environment)
    assert (code, "CALBUS_CLIENT_SECRET is missing" in err) == (2, True), err
    environment["CALBUS_CLIENT_CERTIFICATE_FILE"] = str(tmp_path / "none.pem")
    code, _, err = await calbus("writer", **environment)
    assert (code, "CALBUS_CLIENT_CERTIFICATE_FILE cannot be read" in err) == (2, True), err


async def test_probes_and_metrics(world: World) -> None:
    async with world.process("ingest") as ingest, world.process("writer") as writer:
        for process in (ingest, writer):
            port = world.admin_ports[process.pid]
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                for path in ("/livez", "/readyz"):
                    async with session.get(path) as response:
                        assert response.status == 200
                async with session.get("/metrics") as response:
                    text = await response.text()
                    assert 'calbus_dependency_up{dependency="postgresql"} 1.0' in text
        ingest.terminate()
        writer.terminate()
        assert (await ingest.wait(), await writer.wait()) == (0, 0)


async def test_logs_and_metrics_name_no_person_and_no_secret(world: World) -> None:
    canaries = ["Canary title", "canary-secret", "canary description"]
    read: list[str] = []
    quiet = {"log_level": "debug", "stderr": asyncio.subprocess.PIPE}
    async with (
        world.process("ingest", **quiet) as ingest,
        world.process("writer", **quiet) as writer,
        world.tenant("canary-user") as tenant,
        aiohttp.ClientSession() as session,
    ):
        good = tenant.action("a1", "canary-user", title="Canary title", description="canary description")
        await tenant.publish(good)
        await tenant.outcome(good, "canary-user")
        await world.publish_raw(Topic.ACTIONS, b'{"title": "Canary title"}', headers=[("ce_type", b"x")])
        mailbox = tenant.mailbox("canary-user")
        await world.admin.put_user(tenant.directory, mailbox, mailbox=MailboxKind.MISSING)
        shut = tenant.action("a2", "canary-user", title="Canary title")
        await tenant.publish(shut)

        async def told() -> bool:
            rows = await world.fetch("SELECT last_error FROM entry WHERE id = 'a2'")
            return bool(rows and rows[0]["last_error"])

        await until(told, "the fault to be recorded")
        canaries += [tenant.mailbox("canary-user"), tenant.domain]
        for process in (ingest, writer):
            port = world.admin_ports[process.pid]
            async with session.get(f"http://127.0.0.1:{port}/metrics") as response:
                read.append(await response.text())
            process.terminate()
            _, err = await process.communicate()
            read.append(err.decode())
    assert all(read)
    for canary in [*canaries, "eyJ", "a secret of the simulator"]:
        assert not any(canary in text for text in read), canary
