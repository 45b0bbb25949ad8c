"""`python -m bench.pull`: what it costs to keep up with many calendars of which few change.

One puller in a process of its own, against the simulator, Apache Kafka and PostgreSQL of the devstack, polls every
calendar: for the first time, then while nothing changes, then with some changed since the round before. Calls are
what the simulator counted, CPU and memory what the system says of the puller's process; the engines run beside it on
the same machine, so seconds say less than CPU seconds do. What was told is counted on the bus and must be exact.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TypeVar
from uuid import uuid4

import asyncpg
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from calbus.bus.cloudevents import headers_for
from calbus.bus.kafka import topic_name
from calbus.bus.publish import key_of
from calbus.bus.topics import create_topics
from calbus.settings import KafkaSettings
from calbus.store import switches
from calbus.store.migrate import migrate
from devstack.stack import Stack
from schemas.events import Topic
from schemas.results import SyncRequested
from schemas.switches import AccountSettings, Detail, Direction, TenantSettings
from simulator.client import App, SimulatorAdmin

RESULTS = Path(__file__).with_name("results")
TENANT = "bench"
DOMAIN = "bench.example"
CLIENT_ID = "3c1f7a10-2b1d-4e7e-9a01-0d3c6f0a1e99"
CLIENT_SECRET = "a secret of the simulator"
NEVER_S = 86_400
AT_A_TIME = 32
SETTINGS_PER_TRANSACTION = 1_000
LOOK_S = 0.2
WAIT_MAX_S = 3_600
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
KB_PER_MB = 1_024

T = TypeVar("T")

# Every calendar was looked at from its beginning to its end since then, and all that was told has left.
_ROUND_IS_OVER = """
SELECT count(*) >= $1 AND bool_and(coalesce(began_at >= $2 AND pulled_at >= began_at, false))
       AND NOT EXISTS (SELECT FROM outbox)
FROM calendar_pull
"""


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is."""

    calendars: int
    changed: int
    events: int
    rounds: int
    latency_ms: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one round over all calendars."""

    calls: int
    told: int
    seconds: float
    cpu_s: float
    peak_rss_mb: float


@dataclass(frozen=True, slots=True)
class Figures:
    """What came out. Of rounds that were repeated, each member is its own median."""

    command: str
    size: Size
    machine: str
    load_before: float
    load_after: float
    first: Cost
    quiet: Cost
    changed: Cost
    violations: int


@dataclass(slots=True)
class Meter:
    """Measures rounds of one puller."""

    admin: SimulatorAdmin
    directory: str
    database: asyncpg.Connection
    consumer: AIOKafkaConsumer
    partitions: list[TopicPartition]
    process: Process
    calendars: int

    async def round(self, begin: Callable[[], Awaitable[None]], told: int) -> Cost:
        """What a round costs that begins so; it must tell so many changes, no more and no fewer."""
        _forget_peak(self.process.pid)
        calls, ends, cpu_s = await self._calls(), await self._told(), _cpu_s(self.process.pid)
        since: datetime = await self.database.fetchval("SELECT clock_timestamp()")
        started = time.monotonic()
        await begin()
        while not await self.database.fetchval(_ROUND_IS_OVER, self.calendars, since):
            if self.process.returncode is not None or time.monotonic() - started > WAIT_MAX_S:
                raise SystemExit("bench.pull: the puller has ended, or takes more than an hour")
            await asyncio.sleep(LOOK_S)
        seconds = time.monotonic() - started
        cost = Cost(
            calls=await self._calls() - calls,
            told=await self._told() - ends,
            seconds=round(seconds, 1),
            cpu_s=round(_cpu_s(self.process.pid) - cpu_s, 2),
            peak_rss_mb=round(_peak_rss_mb(self.process.pid), 1),
        )
        if cost.told != told:
            raise SystemExit(f"bench.pull: {cost.told} changes were told, and there were {told}")
        _say(f"  {cost}")
        return cost

    async def _calls(self) -> int:
        return (await self.admin.stats(self.directory)).requests

    async def _told(self) -> int:
        return sum((await self.consumer.end_offsets(self.partitions)).values())


async def measure(size: Size, command: str) -> Figures:
    """Set everything up, pull, take it down."""
    name = f"b{uuid4().hex[:10]}"
    directory = str(uuid4())
    load_before = os.getloadavg()[0]
    async with Stack(report=_say) as stack, SimulatorAdmin.connect(stack.simulator.http_url) as admin:
        kafka = KafkaSettings(kafka_bootstrap=stack.kafka.bootstrap, topic_prefix=name, kafka_partitions=4)
        await create_topics(kafka)
        database = await asyncpg.connect(stack.postgres.dsn)
        await migrate(database)
        _say(f"making {size.calendars} calendars of {size.events} appointments")
        event_ids = await _furnish(admin, directory, size)
        await admin.set_limits(directory, latency_ms=size.latency_ms)
        topic = topic_name(kafka, Topic.CHANGES)
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.kafka_bootstrap, group_id=None)
        producer = AIOKafkaProducer(bootstrap_servers=kafka.kafka_bootstrap, enable_idempotence=True)
        await consumer.start()
        await producer.start()
        try:
            partitions = [TopicPartition(topic, number) for number in range(kafka.kafka_partitions)]
            async with _puller(stack, name) as process:
                meter = Meter(admin, directory, database, consumer, partitions, process, size.calendars)

                async def ask() -> None:
                    event = SyncRequested(tenant=TENANT)
                    headers = headers_for(SyncRequested, event_id=str(uuid4()), source="/bench", time=datetime.now(UTC))
                    value, key = event.model_dump_json(exclude_unset=True).encode(), key_of(event).encode()
                    await producer.send_and_wait(topic_name(kafka, Topic.REQUESTS), value, key=key, headers=headers)

                _say("pulling for the first time")
                first = await meter.round(lambda: _link(database, directory, size), size.calendars * size.events)
                quiet, changed = [], []
                for number in range(size.rounds):
                    _say(f"round {number + 1} of {size.rounds}: nothing changed")
                    quiet.append(await meter.round(ask, 0))
                    await _edit(admin, directory, event_ids, size, number)
                    _say(f"round {number + 1} of {size.rounds}: {size.changed} changed")
                    changed.append(await meter.round(ask, size.changed))
                violations = sum((await admin.stats(directory)).violations.values())
        finally:
            await producer.stop()
            await consumer.stop()
            await database.close()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    load_after = os.getloadavg()[0]
    return Figures(command, size, machine, load_before, load_after, first, _median(quiet), _median(changed), violations)


async def _furnish(admin: SimulatorAdmin, directory: str, size: Size) -> list[str]:
    """People with appointments in the weeks to come; gives one event of each, in their order."""
    app = App(CLIENT_ID, secret=CLIENT_SECRET, roles=("Calendars.ReadWrite",))
    await admin.put_tenant(directory, apps=[app], domain=DOMAIN)
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)

    async def furnish(number: int) -> str:
        await admin.put_user(directory, _mailbox(number))
        event_id = ""
        for one in range(size.events):
            start = today + timedelta(days=1 + one * 7 % 150, hours=8 + number % 9)
            times = {"start": _at(start), "end": _at(start + timedelta(hours=1))}
            event = {"subject": f"Appointment {one}", "location": {"displayName": "Somewhere"}, **times}
            event_id = (await admin.user_creates(directory, _mailbox(number), event)).id
        return event_id

    return await _each(furnish, range(size.calendars))


async def _edit(admin: SimulatorAdmin, directory: str, event_ids: list[str], size: Size, number: int) -> None:
    """Some people, other ones each time, rename an appointment."""
    step = size.calendars // size.changed

    async def rename(index: int) -> None:
        changes = {"subject": f"Renamed {number}"}
        await admin.user_edits(directory, _mailbox(index), event_ids[index], changes)

    await _each(rename, [(one * step + number) % size.calendars for one in range(size.changed)])


async def _link(database: asyncpg.Connection, directory: str, size: Size) -> None:
    """Everybody's appointments come down; settings are stored as ingest stores them."""
    now = datetime.now(UTC)
    tenant = TenantSettings(tenant=TENANT, revision=1, enabled=True, directory=directory)
    accounts = [
        AccountSettings(
            tenant=TENANT,
            revision=1,
            user=f"user-{number:05}",
            mailbox=_mailbox(number),
            allowed=True,
            direction=Direction.DOWN,
            detail=Detail.FULL,
        )
        for number in range(size.calendars)
    ]
    for at in range(0, len(accounts), SETTINGS_PER_TRANSACTION):
        async with database.transaction():
            for account in accounts[at : at + SETTINGS_PER_TRANSACTION]:
                await switches.change(database, switches.key_of(account), account, now)
    # The tenant comes last and switches them all on at once.
    async with database.transaction():
        await switches.change(database, switches.key_of(tenant), tenant, now)
        await database.execute("DELETE FROM replan")


@asynccontextmanager
async def _puller(stack: Stack, name: str) -> AsyncIterator[Process]:
    """One puller as it is by default, but that nothing is due by itself."""
    settings = {
        **stack.environment(),
        "CALBUS_TOPIC_PREFIX": name,
        "CALBUS_CLIENT_ID": CLIENT_ID,
        "CALBUS_CLIENT_SECRET": CLIENT_SECRET,
        "CALBUS_PULLER_BUSY_INTERVAL_S": str(NEVER_S),
        "CALBUS_PULLER_IDLE_INTERVAL_S": str(NEVER_S),
        "CALBUS_LOG_LEVEL": "warning",
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("CALBUS_")}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.puller", env={**others, **settings})
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _each(work: Callable[[int], Awaitable[T]], numbers: Iterable[int]) -> list[T]:
    """Do it for each, some at a time; gives what came of them in their order."""
    free = asyncio.Semaphore(AT_A_TIME)

    async def one(number: int) -> T:
        async with free:
            return await work(number)

    return await asyncio.gather(*(one(number) for number in numbers))


def _mailbox(number: int) -> str:
    return f"user-{number:05}@{DOMAIN}"


def _at(moment: datetime) -> dict[str, str]:
    return {"dateTime": moment.isoformat(), "timeZone": "UTC"}


def _median(costs: list[Cost]) -> Cost:
    return Cost(
        calls=round(median(cost.calls for cost in costs)),
        told=round(median(cost.told for cost in costs)),
        seconds=round(median(cost.seconds for cost in costs), 1),
        cpu_s=round(median(cost.cpu_s for cost in costs), 2),
        peak_rss_mb=round(median(cost.peak_rss_mb for cost in costs), 1),
    )


def _cpu_s(pid: int) -> float:
    """Of user and system together, since the process began."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _peak_rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    [line] = [line for line in status if line.startswith("VmHWM:")]
    return int(line.split()[1]) / KB_PER_MB


def _forget_peak(pid: int) -> None:
    """Let the peak be counted anew from what is resident now (proc(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def markdown(figures: Figures) -> str:
    """The figures for people."""
    size = figures.size
    names = {
        "first pull (once)": figures.first,
        f"nothing changed (median of {size.rounds})": figures.quiet,
        f"{size.changed} calendars changed (median of {size.rounds})": figures.changed,
    }
    rows = [
        f"| {name} | {one.calls:,} | {one.told:,} | {one.seconds:,.1f} | {one.cpu_s:,.1f} "
        f"| {one.cpu_s / size.calendars * 1_000:.2f} | {one.peak_rss_mb:,.0f} |"
        for name, one in names.items()
    ]
    table = "\n".join(rows)
    return f"""# Keeping up with many calendars

`{figures.command}`

One puller polls {size.calendars:,} calendars of {size.events} appointments each; the simulator takes
{size.latency_ms:g} ms for a call.

| round over all calendars | calls | changes told | seconds | CPU s | CPU s per 1,000 calendars | peak RSS, MB |
|---|---|---|---|---|---|---|
{table}

Violations of Microsoft's limits: {figures.violations}. CPU and memory are of the puller's process alone. The machine:
{figures.machine}, with the engines and the simulator beside it; load average {figures.load_before:.1f} before and
{figures.load_after:.1f} after: seconds depend on it, CPU seconds hardly.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.pull", description="Measure what keeping up with calendars costs.")
    parser.add_argument("--calendars", type=int, default=10_000)
    parser.add_argument("--changed", type=int, default=100, help="calendars that change between two rounds")
    parser.add_argument("--events", type=int, default=3, help="appointments in each calendar")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency-ms", type=float, default=50.0, help="what the simulator takes for a call")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory for pull.json and pull.md")
    given = parser.parse_args()
    if not 0 < given.changed <= given.calendars or given.events < 1 or given.rounds < 1:
        parser.error("there must be calendars, events, rounds, and no more changed calendars than there are")
    size = Size(given.calendars, given.changed, given.events, given.rounds, given.latency_ms)
    command = f"python -m bench.pull --calendars {size.calendars} --changed {size.changed}"
    if (size.events, size.rounds, size.latency_ms) != (3, 3, 50.0):
        command += f" --events {size.events} --rounds {size.rounds} --latency-ms {size.latency_ms:g}"
    figures = asyncio.run(measure(size, command))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "pull.json").write_text(json.dumps(asdict(figures), indent=2) + "\n")
    (given.out / "pull.md").write_text(markdown(figures))
    print(markdown(figures))


if __name__ == "__main__":
    main()
