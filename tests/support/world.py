"""A world to run calbus in: a database and topics of its own on the shared engines, tenants in the simulator."""

import asyncio
import os
import signal
import socket
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from calbus.bus.cloudevents import decode, headers_for
from calbus.bus.kafka import topic_name
from calbus.bus.publish import key_of
from calbus.bus.topics import create_topics
from calbus.entry import ItemKey, entry_id_of
from calbus.lifecycle import at_most
from calbus.settings import KafkaSettings
from calbus.store.migrate import migrate
from devstack.stack import Stack
from schemas.changes import AppointmentRemoved, AppointmentUpserted, EntryEdited, EntryRemoved, EntryRescheduled
from schemas.events import EVENT_TYPES, TYPE_NAMES, Topic
from schemas.fields import Model
from schemas.items import ActionDeleted, ActionUpserted, ContactDeleted, ContactUpserted, Kind
from schemas.results import AccountStatus, DeadLetter, Ending, Outcome
from schemas.switches import AccountSettings, ProjectSettings, TenantSettings
from services.ingest import __main__ as ingest
from services.ingest.settings import IngestSettings
from services.puller import __main__ as puller
from services.puller.settings import PullerSettings
from services.writer import __main__ as writer
from services.writer.settings import WriterSettings
from simulator.client import App, SimulatorAdmin, StoredEvent
from tests.support.waiting import PATIENCE_S, until

CLIENT_ID = "11111111-2222-4333-8444-555555555555"
CLIENT_SECRET = "a secret of the simulator"
# What an administrator consents to who wants all of it; without the second, categories have no colours.
ROLES = ("Calendars.ReadWrite", "MailboxSettings.ReadWrite")
PARTITIONS = 4
# A process that starts on a busy machine, twelve at a time.
READY_S = 90.0
END_S = 5.0
SOURCE = "planner"

# Quick retries: the schedule's shape is what is tested, not its length.
TEST_TIMES = {
    "writer_retry_first_s": 0.05,
    "writer_retry_max_s": 0.5,
    "writer_reprobe_first_s": 0.2,
    "writer_reprobe_max_s": 0.5,
    "writer_refusal_recheck_s": 1.0,
    "writer_sweep_interval_s": 0.1,
    "writer_sweep_again_s": 3.0,
    "writer_drain_s": 5.0,
    "writer_access_refusal_ttl_s": 0.5,
    "graph_token_doubt_s": 0.5,
    "writer_doubt_s": 1.0,
    # The items of the tests keep their dates, and must stay in sight for years.
    "puller_back_days": 1_400,
    "puller_look_interval_s": 0.05,
    "puller_settings_interval_s": 0.1,
    "puller_busy_interval_s": 0.3,
    "puller_idle_interval_s": 0.5,
    "puller_retry_first_s": 0.05,
    "puller_retry_max_s": 0.5,
    "puller_reprobe_first_s": 0.2,
    "puller_reprobe_max_s": 0.5,
    "puller_later_s": 0.2,
    "puller_confirm_s": 0.1,
    "log_level": "error",
}


def _setting(event: TenantSettings | ProjectSettings | AccountSettings) -> str:
    """Its scope and name, as they are stored."""
    match event:
        case TenantSettings():
            return "tenant "
        case ProjectSettings():
            return f"project {event.project}"
        case AccountSettings():
            return f"account {event.user}"


class World:
    """One deployment of calbus: `topics`, database and whatever services a test starts in it."""

    def __init__(self, stack: Stack, name: str, dsn: str, admin: SimulatorAdmin, producer: AIOKafkaProducer) -> None:
        self.stack = stack
        self.name = name
        self.dsn = dsn
        self.admin = admin
        self.producer = producer
        self.outcomes: dict[str, list[Outcome]] = defaultdict(list)
        self.outcome_ids: list[str] = []
        self.statuses: dict[str, list[AccountStatus]] = defaultdict(list)
        self.status_ids: list[str] = []
        self.changes: dict[str, list[Change]] = defaultdict(list)
        self.change_ids: list[str] = []
        # Every record of the changes topic in its order, repeated ones too, with its CloudEvents id.
        self.told: dict[str, list[tuple[str, Change]]] = defaultdict(list)
        # By tenant: the highest revision that was published of each setting.
        self.settings_sent: dict[str, dict[str, int]] = defaultdict(dict)
        self.admin_ports: dict[int, int] = {}
        self.dead_letters: list[tuple[DeadLetter, Any]] = []

    def environment(self, **overrides: Any) -> dict[str, str]:
        """The settings of every service in this world, as environment variables."""
        simulator = self.stack.simulator
        settings = {
            "kafka_bootstrap": self.stack.kafka.bootstrap,
            "postgres_dsn": self.dsn,
            "graph_url": simulator.graph_url,
            "login_url": simulator.login_url,
            "graph_ca_file": simulator.ca_file,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "topic_prefix": self.name,
            "kafka_partitions": PARTITIONS,
            **TEST_TIMES,
            **overrides,
        }
        return {f"CALBUS_{name.upper()}": str(value) for name, value in settings.items()}

    def settings(self, model: Any, **overrides: Any) -> Any:
        """The settings of one service in this world."""
        environment = self.environment(**overrides)
        return model(
            **{
                name: environment.get(f"CALBUS_{name.upper()}", None) or field.get_default()
                for name, field in model.model_fields.items()
            }
        )

    @asynccontextmanager
    async def ingest(self, **overrides: Any) -> AsyncIterator[asyncio.Task[None]]:
        """An ingest service in this process."""
        async with _running(ingest.serve(self.settings(IngestSettings, **overrides))) as task:
            yield task

    @asynccontextmanager
    async def writer(self, **overrides: Any) -> AsyncIterator[asyncio.Task[None]]:
        """A writer service in this process."""
        async with _running(writer.serve(self.settings(WriterSettings, **overrides))) as task:
            yield task

    @asynccontextmanager
    async def puller(self, **overrides: Any) -> AsyncIterator[asyncio.Task[None]]:
        """A puller service in this process."""
        async with _running(puller.serve(self.settings(PullerSettings, **overrides))) as task:
            yield task

    @asynccontextmanager
    async def process(self, service: str, **overrides: Any) -> AsyncIterator[asyncio.subprocess.Process]:
        """A service in a process of its own, which a test may kill; ended if it is still there.

        It leaves its consumer group then, so that nobody waits for its session to run out.
        """
        port = _free_port()
        stderr = overrides.pop("stderr", None)
        environment = {**os.environ, **self.environment(admin_port=port, **overrides)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"services.{service}", env=environment, stderr=stderr
        )
        self.admin_ports[process.pid] = port
        try:
            await until(lambda: _ready(port), f"{service} to be ready", timeout_s=READY_S)
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                await at_most(END_S, process.wait())
            except TimeoutError:
                process.kill()
                await process.wait()

    async def publish(self, *events: Model, topic: Topic | None = None) -> None:
        """Publish in binary mode; returns when Kafka has them."""
        for event in events:
            name = topic_name(self._kafka, topic or EVENT_TYPES[TYPE_NAMES[type(event)]].topic)
            headers = headers_for(type(event), event_id=str(uuid4()), source="/tests", time=datetime.now(UTC))
            value = event.model_dump_json(exclude_unset=True).encode()
            await self.producer.send(name, key=key_of(event).encode(), value=value, headers=headers)
            if isinstance(event, TenantSettings | ProjectSettings | AccountSettings):
                sent = self.settings_sent[event.tenant]
                sent[_setting(event)] = max(event.revision, sent.get(_setting(event), 0))
        await self.producer.flush()

    async def publish_raw(
        self, topic: Topic, value: bytes | None, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        """Publish any bytes."""
        await self.producer.send_and_wait(topic_name(self._kafka, topic), key=key, value=value, headers=list(headers))

    @property
    def _kafka(self) -> KafkaSettings:
        settings: KafkaSettings = self.settings(KafkaSettings)
        return settings

    @asynccontextmanager
    async def tenant(
        self, *users: str, roles: tuple[str, ...] = ROLES, certificates: tuple[str, ...] = (), **overrides: Any
    ) -> AsyncIterator["Tenant"]:
        """An enabled tenant with these users, each with a mailbox and an account; it grants calbus these roles."""
        tenant = Tenant(self, f"t{uuid4().hex[:10]}", str(uuid4()))
        await tenant.approve(roles, certificates)
        for user in users:
            await self.admin.put_user(tenant.directory, tenant.mailbox(user))
        await tenant.set_tenant(**overrides)
        await self.publish(*[tenant.account(user) for user in users])
        await tenant.settings_known(len(users) + 1)
        try:
            yield tenant
        finally:
            await self.admin.reset(tenant.directory)

    async def fetch(self, query: str, *arguments: Any) -> list[Any]:
        """Look into the database."""
        connection = await asyncpg.connect(self.dsn)
        try:
            return await connection.fetch(query, *arguments)
        finally:
            await connection.close()

    async def collect(self) -> None:
        """Read outcomes, changes, account statuses and dead letters until cancelled."""
        collected = (Topic.OUTCOMES, Topic.CHANGES, Topic.ACCOUNT_STATUS, Topic.DEAD_LETTERS)
        names = {topic_name(self._kafka, topic): topic for topic in collected}
        consumer = AIOKafkaConsumer(
            *names, bootstrap_servers=self.stack.kafka.bootstrap, auto_offset_reset="earliest", group_id=None
        )
        try:
            await consumer.start()
            async for record in consumer:
                headers = dict(record.headers)
                if names[record.topic] is Topic.OUTCOMES:
                    outcome = decode(record.headers, record.value).data
                    assert isinstance(outcome, Outcome)
                    event_id = headers["ce_id"].decode()
                    if event_id not in self.outcome_ids:
                        self.outcomes[outcome.tenant].append(outcome)
                    self.outcome_ids.append(event_id)
                elif names[record.topic] is Topic.CHANGES:
                    change = decode(record.headers, record.value).data
                    assert isinstance(change, Change)
                    event_id = headers["ce_id"].decode()
                    assert record.key == f"account/{change.tenant}/{change.user}".encode()
                    self.told[change.tenant].append((event_id, change))
                    if event_id not in self.change_ids:
                        self.changes[change.tenant].append(change)
                    self.change_ids.append(event_id)
                elif names[record.topic] is Topic.ACCOUNT_STATUS and record.value is None:
                    continue  # the user was forgotten
                elif names[record.topic] is Topic.ACCOUNT_STATUS:
                    status = decode(record.headers, record.value).data
                    assert isinstance(status, AccountStatus)
                    event_id = headers["ce_id"].decode()
                    if event_id not in self.status_ids:
                        self.statuses[status.tenant].append(status)
                    self.status_ids.append(event_id)
                else:
                    self.dead_letters.append((DeadLetter.model_validate_json(headers["calbus_letter"]), record))
        finally:
            await consumer.stop()


Change = EntryRescheduled | EntryEdited | EntryRemoved | AppointmentUpserted | AppointmentRemoved


class Tenant:
    """One customer in a world, and its people's calendars in the simulator."""

    def __init__(self, world: World, tenant: str, directory: str) -> None:
        self.world = world
        self.id = tenant
        self.directory = directory
        self.domain = f"{tenant}.example"
        self._revisions: dict[str, int] = defaultdict(int)

    def mailbox(self, user: str) -> str:
        """The user's address."""
        return f"{user}@{self.domain}"

    async def approve(self, roles: tuple[str, ...], certificates: tuple[str, ...] = ()) -> None:
        """The directory's administrator lets calbus in, with these roles."""
        app = App(CLIENT_ID, secret=CLIENT_SECRET, roles=roles, certificates=certificates)
        await self.world.admin.put_tenant(self.directory, apps=[app], domain=self.domain)

    def revision(self, name: str) -> int:
        """The next revision of an item or a setting."""
        self._revisions[name] += 1
        return self._revisions[name]

    def account(self, user: str, **fields: Any) -> AccountSettings:
        """The user's account, allowed and writing up unless said otherwise."""
        given = {"mailbox": self.mailbox(user), "allowed": True} | fields
        return AccountSettings(tenant=self.id, user=user, revision=self.revision(f"account {user}"), **given)

    def action(self, item: str, *assignees: str, **fields: Any) -> ActionUpserted:
        """An action as it now stands: at nine for an hour, unless said otherwise; the next revision by default."""
        given = {
            "title": f"Do {item}",
            "start": "2026-12-01T09:00:00",
            "duration": "PT1H",
            "time_zone": "Europe/Amsterdam",
        } | fields
        if "end" in fields:
            del given["duration"]
        revision = given.pop("revision", None) or self.revision(item)
        return ActionUpserted.model_validate(
            {"tenant": self.id, "source": SOURCE, "id": item, "revision": revision, "assignees": assignees} | given
        )

    def contact(self, item: str, *assignees: str, **fields: Any) -> ContactUpserted:
        """A contact as it now stands."""
        given = {"title": f"Meet {item}", "start": "2026-12-01T13:00:00", "time_zone": "Europe/London"} | fields
        return ContactUpserted.model_validate(
            {
                "tenant": self.id,
                "source": SOURCE,
                "id": item,
                "revision": self.revision(f"contact {item}"),
                "assignees": assignees,
            }
            | given
        )

    def deleted(self, item: str) -> ActionDeleted:
        """The action is gone."""
        return ActionDeleted(tenant=self.id, source=SOURCE, id=item, revision=self.revision(item))

    def contact_deleted(self, item: str) -> ContactDeleted:
        """The contact is gone."""
        return ContactDeleted(tenant=self.id, source=SOURCE, id=item, revision=self.revision(f"contact {item}"))

    async def publish(self, *events: Model) -> None:
        """Publish events of this tenant."""
        await self.world.publish(*events)

    async def set_tenant(self, **fields: Any) -> None:
        """Publish the tenant's settings."""
        given = {"enabled": True, "directory": self.directory, "time_zone": "Europe/Amsterdam"} | fields
        await self.publish(TenantSettings(tenant=self.id, revision=self.revision("tenant"), **given))

    async def set_project(self, project: str, **fields: Any) -> None:
        """Publish a project's settings."""
        given = {"enabled": True} | fields
        revision = self.revision(f"project {project}")
        await self.publish(ProjectSettings(tenant=self.id, project=project, revision=revision, **given))

    async def settings_known(self, count: int) -> None:
        """Wait until so many settings of this tenant are stored, and what was published of each."""

        async def known() -> bool:
            rows = await self.world.fetch("SELECT scope, name, revision FROM setting WHERE tenant = $1", self.id)
            stored = {f"{scope} {name}": revision for scope, name, revision in rows}
            sent = self.world.settings_sent[self.id]
            return len(stored) >= count and all(stored.get(name, 0) >= revision for name, revision in sent.items())

        await until(known, "the settings to be stored")

    async def calendar(self, user: str) -> list[StoredEvent]:
        """What stands in the user's calendar."""
        return await self.world.admin.events(self.directory, self.mailbox(user))

    async def subjects(self, user: str) -> list[str]:
        """The subjects in the user's calendar, sorted."""
        return sorted(event.subject for event in await self.calendar(user))

    def ended(self, item: str, assignee: str) -> list[tuple[int, Ending, str]]:
        """The outcomes of an item for an assignee so far: revision, ending, reason; in the order of the plans."""
        mine = [o for o in self.world.outcomes[self.id] if o.id == item and o.assignee == assignee]
        return [(o.revision, o.ending, o.reason.value) for o in sorted(mine, key=lambda o: o.plan)]

    async def outcome(self, event: Any, assignee: str, *, timeout_s: float = PATIENCE_S) -> Outcome:
        """Wait for the outcome of this event's revision for the assignee; the last one if there are several plans."""

        async def look() -> Outcome | None:
            found = [
                o
                for o in self.world.outcomes[self.id]
                if (o.kind, o.id, o.revision, o.assignee) == (event.kind, event.id, event.revision, assignee)
            ]
            return max(found, key=lambda o: o.plan) if found else None

        found = await until(look, f"the outcome of {event.id} r{event.revision} for {assignee}", timeout_s=timeout_s)
        assert found is not None
        return found

    def changes(self, user: str, kind: type[Any] | None = None) -> list[Any]:
        """What was told of a user's calendars, each once, oldest first; of one type if it is named."""
        told = [change for change in self.world.changes[self.id] if change.user == user]
        return told if kind is None else [change for change in told if isinstance(change, kind)]

    async def change(self, user: str, kind: type[Any], *, number: int = 1, timeout_s: float = PATIENCE_S) -> Any:
        """Wait for so many changes of this type in the user's calendars; gives the last of them."""

        async def look() -> list[Any]:
            found = self.changes(user, kind)
            return found[number - 1 : number]

        found = await until(look, f"{kind.__name__} number {number} of {user}", timeout_s=timeout_s)
        return found[0]

    async def appointment(self, user: str, subject: str, day: int = 1, hour: int = 9, **fields: Any) -> StoredEvent:
        """The user makes an appointment of an hour, on that day from today on."""
        date = (datetime.now(UTC) + timedelta(days=day)).date().isoformat()
        event = {
            "subject": subject,
            "start": {"dateTime": f"{date}T{hour:02}:00:00", "timeZone": "UTC"},
            "end": {"dateTime": f"{date}T{hour + 1:02}:00:00", "timeZone": "UTC"},
        } | fields
        return await self.world.admin.user_creates(self.directory, self.mailbox(user), event)

    async def pulled(self, user: str) -> None:
        """Wait until a round of each of the user's calendars was begun and finished from now on."""
        [[now]] = await self.world.fetch("SELECT clock_timestamp()")

        async def look() -> bool:
            rows = await self.world.fetch(
                "SELECT began_at >= $3 AND pulled_at >= began_at FROM calendar_pull "
                "WHERE tenant = $1 AND username = $2 AND NOT is_default",
                self.id,
                user,
                now,
            )
            return bool(rows) and all(row[0] for row in rows)

        await until(look, f"the calendars of {user} to be pulled")

    def statuses(self, user: str | None) -> list[AccountStatus]:
        """What was published of a user's account, or without one of the tenant as a whole, oldest first."""
        return [status for status in self.world.statuses[self.id] if status.user == user]

    async def status(self, user: str | None, reason: str, *, timeout_s: float = PATIENCE_S) -> AccountStatus:
        """Wait until the newest status of the account, or of the tenant, has this reason."""

        async def look() -> AccountStatus | None:
            known = self.statuses(user)
            return known[-1] if known and known[-1].reason == reason else None

        found = await until(look, f"the status {reason} of {user or 'the tenant'}", timeout_s=timeout_s)
        assert found is not None
        return found

    async def stats(self) -> Any:
        """What the simulator counted for this tenant."""
        return await self.world.admin.stats(self.directory)

    async def writes(self, operation: str | None = None) -> int:
        """How many calls to Graph changed something, or tried to."""
        page = await self.world.admin.ledger(self.directory, operation=operation)
        return len([entry for entry in page.value if entry.operation in ("create", "update", "delete")])

    def entry_id(self, item: str, assignee: str, kind: str = "action") -> UUID:
        """The entry of an item in an assignee's calendar."""
        return entry_id_of(ItemKey(self.id, SOURCE, Kind(kind), item), assignee)


@asynccontextmanager
async def _running(service: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(service)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def new_world(stack: Stack) -> AsyncIterator[World]:
    """A world with nothing running in it."""
    name = f"w{uuid4().hex[:10]}"
    server = await asyncpg.connect(stack.postgres.dsn)
    try:
        await server.execute(f"CREATE DATABASE {name} TEMPLATE {await _template(stack, server)}")
    finally:
        await server.close()
    dsn = _with_database(stack.postgres.dsn, name)
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap, enable_idempotence=True, linger_ms=0)
    await producer.start()
    try:
        async with SimulatorAdmin.connect(stack.simulator.http_url) as admin:
            world = World(stack, name, dsn, admin, producer)
            await create_topics(world.settings(KafkaSettings))
            collecting = asyncio.create_task(world.collect())
            try:
                yield world
            finally:
                collecting.cancel()
                await asyncio.gather(collecting, return_exceptions=True)
    finally:
        await producer.stop()
        server = await asyncpg.connect(stack.postgres.dsn)
        try:
            await server.execute(f"DROP DATABASE {name} WITH (FORCE)")
        finally:
            await server.close()


TEMPLATE = f"calbus_template_{os.getpid()}"


async def _template(stack: Stack, server: asyncpg.Connection) -> str:
    """A migrated database to copy, which costs half of migrating anew. `drop_template` ends it."""
    if not await server.fetchval("SELECT true FROM pg_database WHERE datname = $1", TEMPLATE):
        await server.execute(f"CREATE DATABASE {TEMPLATE}")
        database = await asyncpg.connect(_with_database(stack.postgres.dsn, TEMPLATE))
        try:
            await migrate(database)
        finally:
            await database.close()
    return TEMPLATE


async def drop_template(stack: Stack) -> None:
    """Leave nothing behind on a server that was given."""
    server = await asyncpg.connect(stack.postgres.dsn)
    try:
        await server.execute(f"DROP DATABASE IF EXISTS {TEMPLATE}")
    finally:
        await server.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _ready(port: int) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


def _with_database(dsn: str, name: str) -> str:
    head, _, query = dsn.partition("?")
    return f"{head.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")


def kill(process: asyncio.subprocess.Process) -> None:
    """Pull the plug."""
    process.send_signal(signal.SIGKILL)
