"""`python -m bench.scaling`: writers are started and stopped under load, as an operator would, and what that does.

Ingest, Apache Kafka, PostgreSQL and the simulator of the devstack run beside the writers on one machine. Actions are
published at a steady rate that is too much for one writer, since each may have only few calls to Graph in flight; then
there are four writers, then two. Each writer signs in as an application of its own, so that the simulator's ledger
shows who served which mailbox when: no two may have served one at the same time. At the end every action must stand in
its calendar, once.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from asyncio.subprocess import Process
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import groupby, pairwise
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
from aiokafka import AIOKafkaProducer

from calbus.bus.cloudevents import headers_for
from calbus.bus.kafka import topic_name
from calbus.bus.publish import key_of
from calbus.bus.topics import create_topics
from calbus.settings import KafkaSettings
from calbus.store.migrate import migrate
from devstack.settings import REPOSITORY
from devstack.stack import Stack
from schemas.events import EVENT_TYPES, TYPE_NAMES
from schemas.fields import Model
from schemas.items import ActionUpserted
from schemas.switches import AccountSettings, TenantSettings
from simulator.client import App, SimulatorAdmin

RESULTS = Path(__file__).with_name("results")
IMAGES = REPOSITORY / "docs" / "images"
CLIENT_SECRET = "a secret of the simulator"
SOURCE = "planner"
PARTITIONS = 12
LOOK_S = 0.5
TICK_S = 0.1
WAIT_MAX_S = 600
LEDGER_PAGE = 10_000

_SAMPLE = """
SELECT count(*) FILTER (WHERE owed) AS waiting, count(*) FILTER (WHERE NOT owed) AS written,
       coalesce(extract(epoch FROM now() - min(published_at) FILTER (WHERE owed)), 0)::float AS oldest_s
FROM entry
"""


@dataclass(frozen=True, slots=True)
class Load:
    """How much there is, and for how long."""

    tenants: int
    users: int
    """In each tenant."""
    rate_per_s: float
    phase_s: float
    calls: int
    """That one writer may have in flight."""
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Sample:
    """How it stood at a moment."""

    at_s: float
    writers: int
    waiting: int
    written: int
    oldest_s: float


@dataclass(frozen=True, slots=True)
class Phase:
    """A time with so many writers; `waiting` at its beginning and end, and the most there was."""

    writers: int
    began_s: float
    ended_s: float
    waiting_first: int
    waiting_last: int
    waiting_peak: int
    oldest_peak_s: float
    written_per_s: float


@dataclass(frozen=True, slots=True)
class Service:
    """Who served the mailboxes, by the simulator's ledger."""

    mailboxes: int
    handovers: int
    overlaps: int
    """Handovers whose first request began before the last of the writer before had ended."""
    gap_least_s: float
    gap_median_s: float
    max_in_flight: int
    """Of one mailbox, at the worst."""
    refusals: int
    violations: int


@dataclass(frozen=True, slots=True)
class Figures:
    """What came out."""

    command: str
    load: Load
    machine: str
    load_before: float
    load_after: float
    published: int
    standing: int
    lost: int
    doubled: int
    outcomes: int
    drained_s: float
    phases: list[Phase]
    service: Service
    samples: list[Sample] = field(default_factory=list)


class Fleet:
    """The writers that run, started and stopped like pods."""

    def __init__(self, settings: dict[str, str]) -> None:
        self._settings = settings
        self.running: list[Process] = []
        self.clients: list[str] = [str(UUID(int=number + 1)) for number in range(8)]
        self._started = 0

    async def scale(self, wanted: int) -> None:
        """Start or stop processes until there are so many; the newest stop first."""
        while len(self.running) < wanted:
            settings = self._settings | {"CALBUS_CLIENT_ID": self.clients[self._started]}
            self._started += 1
            self.running.append(await start("writer", settings))
        leaving = [self.running.pop() for _ in range(len(self.running) - wanted)]
        for process in leaving:
            process.terminate()
        for process in leaving:
            if (code := await process.wait()) != 0:
                raise SystemExit(f"bench.scaling: a writer that was told to end did so with code {code}")


class Publisher:
    """Publishes new actions at a steady rate, to all mailboxes in turn."""

    def __init__(self, producer: AIOKafkaProducer, kafka: KafkaSettings, users: list[tuple[str, str]]) -> None:
        self._producer = producer
        self._kafka = kafka
        self._users = users
        self.published: Counter[tuple[str, str]] = Counter()
        self.rate_per_s = 0.0

    async def run(self) -> None:
        """Publish until cancelled."""
        owed, last = 0.0, time.monotonic()
        while True:
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            owed, last = owed + (now - last) * self.rate_per_s, now
            events = []
            while owed >= 1:
                owed -= 1
                events.append(self.next())
            await self.publish(events)

    def next(self) -> ActionUpserted:
        """One more action, of the mailbox whose turn it is."""
        number = self.published.total()
        tenant, user = self._users[number % len(self._users)]
        self.published[tenant, user] += 1
        day, hour = 1 + number % 28, 8 + number % 9
        return ActionUpserted.model_validate(
            {
                "tenant": tenant,
                "source": SOURCE,
                "id": f"a{number}",
                "revision": 1,
                "title": f"Visit {number}",
                "start": f"2027-{1 + number % 12:02}-{day:02}T{hour:02}:00:00",
                "duration": "PT1H",
                "time_zone": "Europe/Amsterdam",
                "assignees": [user],
            }
        )

    async def publish(self, events: list[Model]) -> None:
        """Send them; returns when Kafka has them."""
        for event in events:
            name = topic_name(self._kafka, EVENT_TYPES[TYPE_NAMES[type(event)]].topic)
            headers = headers_for(type(event), event_id=str(uuid4()), source="/bench", time=datetime.now(UTC))
            value = event.model_dump_json(exclude_unset=True).encode()
            await self._producer.send(name, key=key_of(event).encode(), value=value, headers=headers)
        await self._producer.flush()


class Watch:
    """Looks at what waits, twice a second."""

    def __init__(self, database: asyncpg.Connection, fleet: Fleet) -> None:
        self._database = database
        self._fleet = fleet
        self._began = time.monotonic()
        self.samples: list[Sample] = []

    async def look(self) -> Sample:
        """How it stands now."""
        row = await self._database.fetchrow(_SAMPLE)
        at_s = round(time.monotonic() - self._began, 2)
        self.samples.append(Sample(at_s, len(self._fleet.running), row[0], row[1], round(row[2], 2)))
        return self.samples[-1]

    async def until(self, done: Callable[[Sample], bool], *, at_least_s: float = 0.0) -> list[Sample]:
        """Look on until `done`, and for so long in any case; gives what was seen."""
        began, first = time.monotonic(), len(self.samples)
        while True:
            sample = await self.look()
            elapsed = time.monotonic() - began
            if elapsed >= at_least_s and done(sample):
                return self.samples[first:]
            if elapsed > WAIT_MAX_S:
                raise SystemExit("bench.scaling: ten minutes have passed in one phase")
            await asyncio.sleep(LOOK_S)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A stack with calbus's topics and schema, and a producer; no service runs yet. `settings`: their environment."""

    admin: SimulatorAdmin
    kafka: KafkaSettings
    database: "asyncpg.Connection[asyncpg.Record]"
    producer: AIOKafkaProducer
    settings: dict[str, str]


@asynccontextmanager
async def deployed(**settings: str) -> AsyncIterator[Deployment]:
    """All of it, until the block ends; `settings` of the services besides where everything is."""
    name = f"b{uuid4().hex[:10]}"
    async with AsyncExitStack() as stack:
        engines = await stack.enter_async_context(Stack(report=say))
        admin = await stack.enter_async_context(SimulatorAdmin.connect(engines.simulator.http_url))
        kafka = KafkaSettings(kafka_bootstrap=engines.kafka.bootstrap, topic_prefix=name, kafka_partitions=PARTITIONS)
        await create_topics(kafka)
        database = await asyncpg.connect(engines.postgres.dsn)
        stack.push_async_callback(database.close)
        await migrate(database)
        producer = AIOKafkaProducer(bootstrap_servers=kafka.kafka_bootstrap, enable_idempotence=True)
        await producer.start()
        stack.push_async_callback(producer.stop)
        given = {
            **engines.environment(),
            "CALBUS_TOPIC_PREFIX": name,
            "CALBUS_CLIENT_SECRET": CLIENT_SECRET,
            "CALBUS_LOG_LEVEL": "warning",
            **{f"CALBUS_{setting.upper()}": value for setting, value in settings.items()},
        }
        yield Deployment(admin, kafka, database, producer, given)


async def measure(load: Load, command: str) -> Figures:
    """Set everything up, scale out and in under load, take it down."""
    load_before = os.getloadavg()[0]
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(deployed(writer_max_calls=str(load.calls)))
        database, fleet = here.database, Fleet(here.settings)
        directories = await furnish(here.admin, load, fleet.clients)
        users = [(tenant, f"user-{user}") for user in range(load.users) for tenant in directories]
        publisher = Publisher(here.producer, here.kafka, users)
        ingest = await start("ingest", here.settings)
        stack.push_async_callback(end, ingest)
        stack.push_async_callback(fleet.scale, 0)
        await publisher.publish(settings_of(directories, users))
        await wait_until(lambda: count_of(database, "setting", len(users) + len(directories)))
        publishing = asyncio.create_task(publisher.run())
        stack.callback(publishing.cancel)
        say("one writer, until every mailbox has an entry")
        await fleet.scale(1)
        await publisher.publish([publisher.next() for _ in users])
        await wait_until(lambda: count_of(database, "entry WHERE NOT owed", len(users)))
        watch, phases = Watch(database, fleet), []
        publisher.rate_per_s = load.rate_per_s
        for writers in (1, 4, 2):
            await fleet.scale(writers)
            say(f"{writers} writers")
            peak = phases[-1].waiting_peak if phases else 0
            # What comes in within a second always waits somewhere.
            calm = max(peak / 4, load.rate_per_s) if writers > 1 else float("inf")
            seen = await watch.until(lambda sample, calm=calm: sample.waiting <= calm, at_least_s=load.phase_s)  # type: ignore[misc]
            phases.append(_phase(writers, seen))
            say(f"  {phases[-1]}")
        publisher.rate_per_s = 0.0
        stopped = time.monotonic()
        total = publisher.published.total()
        await watch.until(lambda sample: sample.written >= total)
        drained_s = time.monotonic() - stopped
        await wait_until(lambda: count_of(database, "outbox", 0))
        outcomes = await database.fetchval("SELECT count(*) FROM entry WHERE applied_plan = plan AND NOT owed")
        standing, lost, doubled = await _compare(here.admin, directories, publisher.published)
        service = await service_of(here.admin, directories, load.latency_ms)
    return Figures(
        command=command,
        load=load,
        machine=f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        load_before=round(load_before, 1),
        load_after=round(os.getloadavg()[0], 1),
        published=total,
        standing=standing,
        lost=lost,
        doubled=doubled,
        outcomes=outcomes,
        drained_s=round(drained_s, 1),
        phases=phases,
        service=service,
        samples=watch.samples,
    )


async def furnish(admin: SimulatorAdmin, load: Load, clients: list[str]) -> dict[str, str]:
    """Directories with people in them, which let every writer's application in; by tenant."""
    directories = {f"t{number:03}": str(uuid4()) for number in range(load.tenants)}
    apps = [
        App(client, secret=CLIENT_SECRET, roles=("Calendars.ReadWrite", "MailboxSettings.ReadWrite"))
        for client in clients
    ]
    for tenant, directory in directories.items():
        await admin.put_tenant(directory, apps=apps, domain=f"{tenant}.example")
        for user in range(load.users):
            await admin.put_user(directory, mailbox_of(tenant, f"user-{user}"))
        await admin.set_limits(directory, latency_ms=load.latency_ms)
    return directories


def settings_of(directories: dict[str, str], users: list[tuple[str, str]]) -> list[Model]:
    tenants = [
        TenantSettings(tenant=tenant, revision=1, enabled=True, directory=directory)
        for tenant, directory in directories.items()
    ]
    accounts = [
        AccountSettings(tenant=tenant, revision=1, user=user, mailbox=mailbox_of(tenant, user), allowed=True)
        for tenant, user in users
    ]
    return [*tenants, *accounts]


def mailbox_of(tenant: str, user: str) -> str:
    return f"{user}@{tenant}.example"


def _phase(writers: int, seen: list[Sample]) -> Phase:
    first, last = seen[0], seen[-1]
    return Phase(
        writers=writers,
        began_s=first.at_s,
        ended_s=last.at_s,
        waiting_first=first.waiting,
        waiting_last=last.waiting,
        waiting_peak=max(sample.waiting for sample in seen),
        oldest_peak_s=max(sample.oldest_s for sample in seen),
        written_per_s=round((last.written - first.written) / max(last.at_s - first.at_s, LOOK_S), 1),
    )


async def _compare(
    admin: SimulatorAdmin, directories: dict[str, str], published: Counter[tuple[str, str]]
) -> tuple[int, int, int]:
    """Events that stand, and how many are missing, or there twice."""
    standing = lost = doubled = 0
    for (tenant, user), wanted in published.items():
        subjects = [event.subject for event in await admin.events(directories[tenant], mailbox_of(tenant, user))]
        standing += len(subjects)
        lost += wanted - len(set(subjects))
        doubled += len(subjects) - len(set(subjects))
    return standing, lost, doubled


async def service_of(admin: SimulatorAdmin, directories: dict[str, str], latency_ms: float) -> Service:
    """Read the ledger: in whose hands each mailbox was, one after the other."""
    served: dict[tuple[str, str], list[tuple[float, str]]] = defaultdict(list)
    most = refusals = violations = 0
    for directory in directories.values():
        after = 0
        while entries := (await admin.ledger(directory, after=after, limit=LEDGER_PAGE)).value:
            after = entries[-1].seq
            for entry in entries:
                if entry.user:
                    served[directory, entry.user].append((entry.at, entry.app))
        stats = await admin.stats(directory)
        most = max([most, *stats.max_in_flight.values()])
        refusals += stats.refusals
        violations += sum(stats.violations.values())
    gaps = []
    for requests in served.values():
        blocks = [list(block) for _, block in groupby(requests, key=lambda request: request[1])]
        # A request of the next writer began its latency before it ended.
        gaps += [after[0][0] - latency_ms / 1_000 - before[-1][0] for before, after in pairwise(blocks)]
    gaps.sort()
    return Service(
        mailboxes=len(served),
        handovers=len(gaps),
        overlaps=sum(gap < 0 for gap in gaps),
        gap_least_s=round(gaps[0], 3) if gaps else 0.0,
        gap_median_s=round(gaps[len(gaps) // 2], 3) if gaps else 0.0,
        max_in_flight=most,
        refusals=refusals,
        violations=violations,
    )


async def start(service: str, settings: dict[str, str]) -> Process:
    others = {name: value for name, value in os.environ.items() if not name.startswith("CALBUS_")}
    given = {"CALBUS_CLIENT_ID": str(UUID(int=1))} | settings
    return await asyncio.create_subprocess_exec(sys.executable, "-m", f"services.{service}", env=others | given)


async def end(process: Process) -> None:
    if process.returncode is None:
        process.terminate()
    await process.wait()


async def count_of(database: asyncpg.Connection, table: str, wanted: int) -> bool:
    return bool(await database.fetchval(f"SELECT count(*) FROM {table}") == wanted)


async def wait_until(done: Callable[[], Awaitable[bool]]) -> None:
    began = time.monotonic()
    while not await done():
        if time.monotonic() - began > WAIT_MAX_S:
            raise SystemExit("bench.scaling: waited ten minutes in vain")
        await asyncio.sleep(LOOK_S)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, and write picture, page and figures."""
    from bench.scaling_picture import markdown, picture  # it knows the figures by this module

    parser = argparse.ArgumentParser(prog="bench.scaling", description="Start and stop writers under load.")
    parser.add_argument("--tenants", type=int, default=120)
    parser.add_argument("--users", type=int, default=1, help="in each tenant")
    parser.add_argument("--rate", type=float, default=20.0, help="new actions a second")
    parser.add_argument("--phase-s", type=float, default=40.0, help="each number of writers lasts so long at least")
    parser.add_argument("--calls", type=int, default=1, help="to Graph that one writer may have in flight")
    parser.add_argument("--latency-ms", type=float, default=50.0, help="what the simulator takes for a call")
    parser.add_argument("--out", type=Path, help="directory for all three files; else where they are kept")
    given = parser.parse_args()
    if min(given.tenants, given.users, given.rate, given.phase_s, given.calls) <= 0 or given.latency_ms < 1:
        parser.error("every number must be above 0")
    load = Load(given.tenants, given.users, given.rate, given.phase_s, given.calls, given.latency_ms)
    command = (
        f"python -m bench.scaling --tenants {load.tenants} --users {load.users} --rate {load.rate_per_s:g} "
        f"--phase-s {load.phase_s:g} --calls {load.calls} --latency-ms {load.latency_ms:g}"
    )
    figures = asyncio.run(measure(load, command))
    files = {
        (given.out or RESULTS) / "scaling.json": json.dumps(asdict(figures), indent=1) + "\n",
        (given.out or IMAGES) / "scaling.svg": picture(figures),
        (given.out or IMAGES.parent) / "scaling.md": markdown(figures),
    }
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    print(files[(given.out or IMAGES.parent) / "scaling.md"])
    service = figures.service
    if figures.lost or figures.doubled or service.overlaps or service.violations:
        raise SystemExit("bench.scaling: something was lost, doubled, served by two at once, or against the limits")


if __name__ == "__main__":
    main()
