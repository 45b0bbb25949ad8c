"""The ground to stand on: a migrated database, topics, the directories in the simulator, the settings for services.

Engines that a setting named are others' too: there the demonstration takes a database and topics of its own, and
removes them at the end.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime

import asyncpg
from aiokafka.admin import AIOKafkaAdminClient

from calbus.bus.kafka import topic_name
from calbus.bus.topics import create_topics
from calbus.settings import PREFIX, KafkaSettings, SecurityProtocol, load
from calbus.store.migrate import migrate
from devstack.demo.deliver import put_directory
from devstack.demo.recording import Directory, directories
from devstack.engine import GivenEngine
from devstack.ports import LOOPBACK, free_port
from devstack.stack import Stack
from schemas.events import Topic
from simulator.client import SimulatorAdmin

CLIENT_ID = "2b6f0d8e-6a55-4b0f-9d4c-0c1d7a3e5f10"
PARTITIONS = 4
# Between these the recorded entries stand that people drag; entries farther off are written all the same.
FIRST_DAY, LAST_DAY = date(2026, 11, 30), date(2026, 12, 31)
BACK_DAYS_MIN, AHEAD_DAYS_MIN = 30, 180
# How often is looked for what a setting or an entry asks for. By default it is seldom, as nobody watches.
LOOK_S = "0.2"


@dataclass(frozen=True, slots=True)
class Ground:
    """What the services, the publisher and the witnesses share. `variables` are calbus's settings."""

    kafka: KafkaSettings
    dsn: str
    variables: dict[str, str]
    office: SimulatorAdmin
    directories: list[Directory]
    webhook_port: int

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of a service. What this shell sets as `CALBUS_…` is meant for another deployment."""
        others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        return {**others, **self.variables, **self._way_down, "CALBUS_LOG_FORMAT": "console"}

    @property
    def _way_down(self) -> dict[str, str]:
        """The simulator reaches the puller here; and the recorded days are looked at, whatever day it is today."""
        today = datetime.now(UTC).date()
        return {
            "CALBUS_PULLER_WEBHOOK_PORT": str(self.webhook_port),
            "CALBUS_PULLER_PUBLIC_URL": f"http://{LOOPBACK}:{self.webhook_port}",
            "CALBUS_PULLER_BACK_DAYS": str(max((today - FIRST_DAY).days, BACK_DAYS_MIN)),
            "CALBUS_PULLER_AHEAD_DAYS": str(max((LAST_DAY - today).days, AHEAD_DAYS_MIN)),
            "CALBUS_PULLER_SETTINGS_INTERVAL_S": LOOK_S,
            "CALBUS_PULLER_LOOK_INTERVAL_S": LOOK_S,
            "CALBUS_PULLER_SUBSCRIPTION_FOLLOW_S": LOOK_S,
            "CALBUS_PULLER_SUBSCRIPTION_INTERVAL_S": LOOK_S,
        }

    def topic(self, topic: Topic) -> str:
        """A topic's full name."""
        return topic_name(self.kafka, topic)


@asynccontextmanager
async def prepared(stack: Stack) -> AsyncIterator[Ground]:
    """Everything in place for the services to start; what was put into given engines is removed at the end."""
    name = f"calbus_demo_{secrets.token_hex(4)}"
    secret = secrets.token_hex(16)
    kafka = load(
        KafkaSettings,
        kafka_bootstrap=stack.kafka.bootstrap,
        # The stack reaches its broker, started or given, without encryption.
        kafka_security_protocol=SecurityProtocol.PLAINTEXT,
        kafka_partitions=PARTITIONS,
        kafka_replication_factor=-1,
        topic_prefix=name if isinstance(stack.kafka, GivenEngine) else "calbus",
    )
    async with (
        _database(stack, name) as dsn,
        _topics(stack, kafka),
        SimulatorAdmin.connect(stack.simulator.http_url) as office,
    ):
        known = directories()
        await asyncio.gather(*(put_directory(office, directory, CLIENT_ID, secret) for directory in known))
        variables = {
            **stack.environment(),
            "CALBUS_POSTGRES_DSN": dsn,
            "CALBUS_TOPIC_PREFIX": kafka.topic_prefix,
            "CALBUS_KAFKA_PARTITIONS": str(PARTITIONS),
            "CALBUS_CLIENT_ID": CLIENT_ID,
            "CALBUS_CLIENT_SECRET": secret,
        }
        yield Ground(kafka, dsn, variables, office, known, free_port())


@asynccontextmanager
async def _database(stack: Stack, name: str) -> AsyncIterator[str]:
    given = isinstance(stack.postgres, GivenEngine)
    dsn = stack.postgres.dsn
    if given:
        await _execute(dsn, f"CREATE DATABASE {name}")
        dsn = _with_database(dsn, name)
    try:
        await _migrate(dsn)
        yield dsn
    finally:
        if given:
            await _execute(stack.postgres.dsn, f"DROP DATABASE {name} WITH (FORCE)")


def _with_database(dsn: str, name: str) -> str:
    """The same server's address with another database."""
    head, question_mark, query = dsn.partition("?")
    scheme, _, rest = head.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{name}{question_mark}{query}"


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def _migrate(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await migrate(connection)
    finally:
        await connection.close()


@asynccontextmanager
async def _topics(stack: Stack, kafka: KafkaSettings) -> AsyncIterator[None]:
    created = await create_topics(kafka)
    try:
        yield
    finally:
        if isinstance(stack.kafka, GivenEngine):
            await _remove(kafka, created)


async def _remove(kafka: KafkaSettings, topics: list[str]) -> None:
    # The consumer groups stay: empty ones expire by themselves.
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.kafka_bootstrap)
    await admin.start()
    try:
        await admin.delete_topics(topics)
    finally:
        await admin.close()
