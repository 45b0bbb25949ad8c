"""The stack as its users know it: real engines that start, answer, keep what was acknowledged, and end."""

import asyncio
import os
import re
import shutil
import socket
import sys
from contextlib import nullcontext
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from devstack import postgres as postgres_module
from devstack.__main__ import INTERRUPTED_EXIT_CODE
from devstack.errors import DevstackError, EngineFailedError, EngineUnavailableError, NotOursError
from devstack.kafka.jars import KAFKA_VERSION
from devstack.ports import LOOPBACK
from devstack.settings import REPOSITORY, Settings
from devstack.stack import Stack
from tests.devstack.leftovers import alive, entries, listening, words_in

pytestmark = pytest.mark.slow

TOPIC = "kept"


async def produce(bootstrap: str, *values: bytes) -> None:
    """Create the topic if need be, and produce values that the broker acknowledges."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all") as producer:
        for value in values:
            await producer.send_and_wait(TOPIC, value)


async def read(bootstrap: str, count: int) -> list[bytes]:
    """The first values of the topic."""
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(TOPIC, 0)])
        return [(await asyncio.wait_for(anext(consumer), 20)).value for _ in range(count)]


async def test_every_part_answers_and_nothing_is_left(scratch: Path) -> None:
    async with Stack() as stack:
        pids = {stack.simulator.pid}
        ports = {int(address.rpartition(":")[2]) for address in (stack.kafka.bootstrap, stack.simulator.http_url)}
        await produce(stack.kafka.bootstrap, b"hello")
        connection = await asyncpg.connect(stack.postgres.dsn)
        assert await connection.fetchval("SHOW fsync") == "on"
        assert int(await connection.fetchval("SHOW max_connections")) >= 200
        await connection.close()
        lines = stack.describe()
        assert f"Apache Kafka {KAFKA_VERSION} (KRaft, Java " in lines[0]
        assert f"PostgreSQL {stack.postgres.version} (durable)" in lines[1]
        assert not any("postgresql://" in line for line in lines), "a description holds no password"
        assert stack.environment() == {
            "CALBUS_KAFKA_BOOTSTRAP": stack.kafka.bootstrap,
            "CALBUS_POSTGRES_DSN": stack.postgres.dsn,
            "CALBUS_GRAPH_URL": stack.simulator.graph_url,
            "CALBUS_LOGIN_URL": stack.simulator.login_url,
            "CALBUS_GRAPH_CA_FILE": stack.simulator.ca_file,
        }
        assert "CERTIFICATE" in words_in(Path(stack.simulator.ca_file))
    assert not alive({pid for pid in pids if pid is not None})
    assert not listening(ports)
    assert not entries(scratch)


@pytest.mark.parametrize("engine", ["apache", "embedded"])
async def test_a_broker_keeps_its_address_and_messages(scratch: Path, engine: str) -> None:
    async with Stack(postgres=False, simulator=False, settings=Settings(devstack_kafka=engine)) as stack:
        bootstrap = stack.kafka.bootstrap
        await produce(bootstrap, b"before")
        await stack.kafka.stop()
        assert not listening({int(bootstrap.rpartition(":")[2])})
        await stack.kafka.start()
        assert stack.kafka.bootstrap == bootstrap
        assert await read(bootstrap, 1) == [b"before"]
    assert not entries(scratch)


async def test_a_killed_broker_keeps_what_it_acknowledged(scratch: Path) -> None:
    async with Stack(postgres=False, simulator=False, settings=Settings(devstack_kafka="apache")) as stack:
        await produce(stack.kafka.bootstrap, b"one", b"two")
        await stack.kafka.kill()
        await stack.kafka.start()
        assert await read(stack.kafka.bootstrap, 2) == [b"one", b"two"]


async def test_a_killed_database_keeps_what_was_committed(scratch: Path) -> None:
    async with Stack(kafka=False, simulator=False) as stack:
        connection = await asyncpg.connect(stack.postgres.dsn)
        await connection.execute("CREATE TABLE kept (number int); INSERT INTO kept VALUES (7)")
        busy = asyncio.create_task(connection.execute("SELECT pg_sleep(600)"))
        await stack.postgres.kill()
        with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError)):
            await busy
        await stack.postgres.start()
        connection = await asyncpg.connect(stack.postgres.dsn)
        assert await connection.fetchval("SELECT number FROM kept") == 7
        await stack.postgres.stop()
        await stack.postgres.start()
        connection = await asyncpg.connect(stack.postgres.dsn)
        assert await connection.fetchval("SELECT number FROM kept") == 7
        await connection.close()


async def test_what_runs_is_not_started_twice(scratch: Path, quick: Settings) -> None:
    async with Stack(postgres=False, simulator=False, settings=quick) as stack:
        with pytest.raises(DevstackError, match="running already"):
            await stack.kafka.start()
        await stack.kafka.kill()
        await stack.kafka.kill()
        await stack.kafka.stop()


async def test_given_engines_are_used_and_left_alone(scratch: Path, quick: Settings) -> None:
    async with Stack(simulator=False, settings=quick) as ours:
        given = Settings(kafka_bootstrap=ours.kafka.bootstrap, postgres_dsn=ours.postgres.dsn)
        async with Stack(simulator=False, settings=given) as stack:
            assert stack.kafka.bootstrap == ours.kafka.bootstrap
            assert stack.postgres.dsn == ours.postgres.dsn
            assert all("(given)" in line for line in stack.describe())
            assert ours.postgres.dsn not in "".join(stack.describe())
            for end in (stack.kafka.stop, stack.kafka.kill, stack.postgres.stop, stack.postgres.kill):
                with pytest.raises(NotOursError):
                    await end()
        await produce(ours.kafka.bootstrap, b"still here")
        await (await asyncpg.connect(ours.postgres.dsn)).close()


@pytest.mark.parametrize(
    "settings",
    [
        {"kafka_bootstrap": f"{LOOPBACK}:1"},
        {"postgres_dsn": f"postgresql://nobody@{LOOPBACK}:1/nothing", "devstack_kafka": "embedded"},
    ],
    ids=["CALBUS_KAFKA_BOOTSTRAP", "CALBUS_POSTGRES_DSN"],
)
async def test_a_given_engine_that_does_not_answer_is_an_error(
    scratch: Path, settings: dict[str, str], request: pytest.FixtureRequest
) -> None:
    with pytest.raises(EngineUnavailableError, match=request.node.callspec.id):
        async with Stack(simulator=False, settings=Settings.model_validate(settings)):
            pass
    assert not entries(scratch)


async def test_an_engine_that_cannot_start_says_why(
    scratch: Path, quick: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        monkeypatch.setattr(postgres_module, "free_port", lambda: taken.getsockname()[1])
        with pytest.raises(EngineFailedError, match=r"(?s)ended with code 1 .* could not bind .* in use"):
            async with Stack(simulator=False, settings=quick):
                pass
    assert not entries(scratch)


async def test_the_database_runs_from_where_only_its_owner_may_look(
    scratch: Path, tmp_path: Path, quick: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = postgres_module.wheel_directory()
    private = tmp_path / "private"
    await asyncio.to_thread(private.mkdir, mode=0o700)
    programs = await asyncio.to_thread(postgres_module.copy_programs, wheel, private)
    monkeypatch.setattr(postgres_module, "wheel_directory", lambda: programs)
    async with Stack(kafka=False, simulator=False, settings=quick) as stack:
        assert "fsync off" in stack.describe()[0]
    shutil.rmtree(programs)
    assert not entries(scratch)


async def test_a_temporary_directory_that_postgres_cannot_reach_is_named(scratch: Path, quick: Settings) -> None:
    # Only root has to run PostgreSQL as somebody else.
    refused = pytest.raises(EngineUnavailableError, match="TMPDIR") if os.geteuid() == 0 else nullcontext()
    await asyncio.to_thread(scratch.chmod, 0o700)
    with refused:
        async with Stack(kafka=False, simulator=False, settings=quick):
            pass
    assert not entries(scratch)


async def test_the_command_line_prints_what_to_export_and_ends_when_told(scratch: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "devstack", "up", "--without-simulator"),
        env={**os.environ, "CALBUS_DEVSTACK_KAFKA": "embedded"},
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    exports = [(await process.stdout.readline()).decode().strip() for _ in range(2)]
    process.terminate()
    _, said = await process.communicate()
    assert re.fullmatch(r"export CALBUS_KAFKA_BOOTSTRAP=127\.0\.0\.1:\d+", exports[0]), said
    assert re.fullmatch(r"export CALBUS_POSTGRES_DSN=postgresql://\S+", exports[1]), said
    assert b"Warning: the embedded broker" in said
    assert process.returncode == INTERRUPTED_EXIT_CODE
    assert not entries(scratch)


async def test_a_part_that_was_not_chosen_is_an_error() -> None:
    stack = Stack(kafka=False, postgres=False, simulator=False)
    assert stack.describe() == []
    for part in ("kafka", "postgres", "simulator"):
        with pytest.raises(DevstackError, match="not part of this stack"):
            getattr(stack, part)
