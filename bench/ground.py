"""The ground that everything here is measured on: the engines, the stub, and a database and topics of calbus's own.

Only setting up lives here; what is measured, and how, stands in the scenarios.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench import load
from calbus.bus.kafka import topic_name
from calbus.bus.topics import create_topics
from calbus.bus.wakeups import send_wakeups
from calbus.entry import ItemKey, Place, content_hash_of, entry_id_of
from calbus.settings import KafkaSettings
from calbus.store.entries import Due
from calbus.store.migrate import migrate
from devstack.stack import Stack
from schemas.events import Topic
from schemas.items import Kind

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
LOOK_S = 0.02
PARTITIONS = 12
SOURCE = "planner"

# An entry as ingest leaves it, due when nobody would sweep it up meanwhile.
_ENTRIES = """
INSERT INTO entry (entry_id, tenant, source, kind, id, assignee, revision, plan, intent, reason, directory, mailbox,
                   content, content_hash, owed, due_at, published_at, since, notice)
SELECT n.entry_id, $1, $2, 'action', n.id, n.assignee, 1, 1, 'present', 'written', $3, n.mailbox,
       n.content, n.content_hash, true, now() + interval '1 hour', now(), now(), ''
FROM unnest($4::uuid[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::bytea[])
    AS n (entry_id, id, assignee, mailbox, content, content_hash)
"""

# Whose the entries are: of whom there are no settings, nothing is stored or told.
_SETTINGS = """
INSERT INTO setting (scope, tenant, name, revision, body)
SELECT CASE name WHEN '' THEN 'tenant' ELSE 'account' END, $1, name, 1, '{}' FROM unnest($2::text[]) AS name
ON CONFLICT DO NOTHING
"""

# As if each had just been planned for the first time; another generation, so that Graph makes another event.
_AGAIN = """
UPDATE entry SET plan = plan + 1, owed = true, due_at = now() + interval '1 hour', published_at = now(),
    applied_plan = 0, applied_directory = NULL, applied_mailbox = NULL, applied_hash = NULL, event_id = NULL,
    etag = NULL, generation = generation + 1, in_doubt = false, doubted_at = NULL, attempts = 0, last_error = NULL
WHERE entry_id = ANY ($1::uuid[])
"""


@dataclass(frozen=True, slots=True)
class Used:
    """What a process took for so many entries."""

    entries: int
    wall_s: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        """Entries a second, by the clock."""
        return self.entries / self.wall_s

    @property
    def per_core_s(self) -> float:
        """Entries a second, if it had a core of its own and waited for nothing."""
        return self.entries / self.cpu_s if self.cpu_s else 0.0

    @property
    def cpu_s_per_1000(self) -> float:
        """Seconds of CPU for a thousand entries."""
        return self.cpu_s / self.entries * 1_000


@dataclass(slots=True)
class Ground:
    """Where calbus runs: engines, stub, and everything's addresses."""

    stack: Stack
    stub: dict[str, str]
    http: aiohttp.ClientSession
    name: str = ""
    dsn: str = ""
    producer: Any = None
    _stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def environment(self, **overrides: Any) -> dict[str, str]:
        """The settings of calbus's services."""
        settings = {
            "kafka_bootstrap": self.stack.kafka.bootstrap,
            "postgres_dsn": self.dsn,
            "graph_url": self.stub["graph_url"],
            "login_url": self.stub["login_url"],
            "graph_ca_file": self.stub["ca_file"],
            "client_id": "11111111-2222-4333-8444-555555555555",
            "client_secret": "a secret of the stub",
            "topic_prefix": self.name,
            "kafka_partitions": PARTITIONS,
            "kafka_replication_factor": 1,
            "log_level": "warning",
            **overrides,
        }
        return {f"CALBUS_{name.upper()}": str(value) for name, value in settings.items()}

    @property
    def kafka(self) -> KafkaSettings:
        """How clients of calbus reach Kafka here."""
        environment = self.environment()
        given = {name: environment.get(f"CALBUS_{name.upper()}") for name in KafkaSettings.model_fields}
        return KafkaSettings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]

    async def control(self, **orders: Any) -> dict[str, Any]:
        """Tell the stub what to do, and hear what it counted until then."""
        async with self.http.post(self.stub["control_url"], data=orjson.dumps(orders)) as response:
            told: dict[str, Any] = orjson.loads(await response.read())
            return told

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Ask the database."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    async def plan(self, boxes: Sequence[int], *, first: int = 0) -> list[Due]:
        """Plan an entry for each of these mailboxes; one may come often."""
        due: list[Due] = []
        connection = await asyncpg.connect(self.dsn)
        try:
            for at in range(0, len(boxes), 5_000):
                rows = [self._row(first + at + step, box) for step, box in enumerate(boxes[at : at + 5_000])]
                columns = [list(column) for column in zip(*rows, strict=True)]
                await connection.execute(_ENTRIES, load.TENANT, SOURCE, load.DIRECTORY, *columns)
                await connection.execute(_SETTINGS, load.TENANT, sorted({"", *columns[2]}))
                due += [Due(row[0], load.TENANT, Place(load.DIRECTORY, row[3])) for row in rows]
        finally:
            await connection.close()
        return due

    def _row(self, number: int, box: int) -> tuple[UUID, str, str, str, str, bytes]:
        item, user = f"item-{number:08}", load.user(box)
        content = load.content(number).to_json()
        entry_id = entry_id_of(ItemKey(load.TENANT, SOURCE, Kind.ACTION, item), user)
        return entry_id, item, user, load.mailbox(box), content.decode(), content_hash_of(content)

    async def plan_again(self, due: Iterable[Due]) -> None:
        """Let these entries be as if they had never been written."""
        await self.fetch(_AGAIN, [one.entry_id for one in due])

    async def wake(self, due: list[Due]) -> None:
        """Send the wake-ups."""
        await send_wakeups(self.producer, topic_name(self.kafka, Topic.COMMANDS), due)

    @asynccontextmanager
    async def writer(self, *, module: str = "services.writer", **overrides: Any) -> AsyncIterator["Writer"]:
        """A writer in a process of its own, which owns its mailboxes when this begins; or what stands in its place."""
        environment = {**os.environ, **self.environment(**overrides)}
        profile = environment.get("CALBUS_BENCH_PROFILE")
        program = ["bench.profiled", profile] if profile and module == "services.writer" else [module]
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", *program, env=environment)
        try:
            yield Writer(process)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    @asynccontextmanager
    async def outcomes(self) -> AsyncIterator["Outcomes"]:
        """Counts outcomes as Kafka has them."""
        name = topic_name(self.kafka, Topic.OUTCOMES)
        client = AIOKafkaConsumer(bootstrap_servers=self.stack.kafka.bootstrap, group_id=None)
        await client.start()
        try:
            yield Outcomes(client, [TopicPartition(name, number) for number in range(PARTITIONS)])
        finally:
            await client.stop()


class Writer:
    """A writer's process, and what it has used."""

    def __init__(self, process: Process) -> None:
        self.process = process

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU since it began, of all its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_S

    @property
    def memory_mb(self) -> float:
        """What it holds of the machine's memory."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def halt(self) -> None:
        """Stop it where it is, for a moment."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        self.process.send_signal(signal.SIGCONT)


class Outcomes:
    """How many outcomes there are."""

    def __init__(self, client: AIOKafkaConsumer, partitions: list[TopicPartition]) -> None:
        self._client = client
        self._partitions = partitions

    async def count(self) -> int:
        """All that were ever published."""
        return sum((await self._client.end_offsets(self._partitions)).values())

    async def until(self, count: int, *, timeout_s: float = 600.0) -> None:
        """Wait until there are so many. Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            while await self.count() < count:
                await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def new_ground() -> AsyncIterator[Ground]:
    """Engines, a stub, a database and topics; all gone at the end."""
    async with AsyncExitStack() as stack:
        engines = await stack.enter_async_context(Stack(simulator=False))
        stub = await stack.enter_async_context(running_stub())
        http = await stack.enter_async_context(aiohttp.ClientSession())
        ground = Ground(engines, stub, http)
        await stack.enter_async_context(fresh(ground))
        yield ground


@asynccontextmanager
async def fresh(ground: Ground) -> AsyncIterator[None]:
    """A new database and new topics for this ground, for as long as this lasts; then it has those before again."""
    before = ground.name, ground.dsn, ground.producer
    ground.name = f"b{uuid4().hex[:10]}"
    server = await asyncpg.connect(ground.stack.postgres.dsn)
    try:
        await server.execute(f"CREATE DATABASE {ground.name}")
    finally:
        await server.close()
    head, _, query = ground.stack.postgres.dsn.partition("?")
    ground.dsn = f"{head.rpartition('/')[0]}/{ground.name}" + (f"?{query}" if query else "")
    database = await asyncpg.connect(ground.dsn)
    try:
        await migrate(database)
    finally:
        await database.close()
    await create_topics(ground.kafka)
    ground.producer = AIOKafkaProducer(
        bootstrap_servers=ground.stack.kafka.bootstrap, enable_idempotence=True, linger_ms=0
    )
    await ground.producer.start()
    try:
        yield
    finally:
        await ground.producer.stop()
        ground.name, ground.dsn, ground.producer = before


@asynccontextmanager
async def running_stub() -> AsyncIterator[dict[str, str]]:
    """A stub in a process of its own; gives its addresses."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.stub", stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield orjson.loads(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


def now() -> datetime:
    return datetime.now(UTC)
