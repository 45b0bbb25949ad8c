"""`python -m bench.ingest`: how much ingest takes in, and plans anew, for a second of one core.

Real Kafka and PostgreSQL; ingest is a process of its own, and its CPU is what the operating system says of it. What
PostgreSQL and Kafka took beside it is told, and not counted. `--beside DIRECTORY` measures another working copy in the
same run, round by round, since a machine is never as fast twice; and each round measures the floor, a bare loop that
does no more than the libraries must.
"""

import asyncio
import logging
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated, Any, cast

import aiohttp
import orjson
import typer
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError

from bench.ground import LOOK_S, PARTITIONS, TICKS_PER_S, Ground, Writer, fresh
from bench.report import keep, said_of
from calbus.bus.batches import Record, send_all
from calbus.bus.cloudevents import headers_for
from calbus.bus.kafka import topic_name
from devstack.stack import Stack
from schemas.events import Topic
from schemas.items import ActionUpserted, ContactUpserted
from schemas.switches import AccountSettings, ProjectSettings, SettingsEvent, TenantSettings, settings_key

RESULTS = Path(__file__).parent / "results"
PATIENCE_S = 1_800.0
DIRECTORY = "5b0f6b3c-74c5-4b71-8a82-e008{:08}"
_TEXT = "Bring the long ladder, the paint and what is left of the primer. The key is with the neighbours. "

# As writers leave what they have written. Ids are as long as Graph's.
_SETTLE = """
UPDATE entry SET
    applied_plan = plan, applied_directory = directory, applied_mailbox = mailbox, applied_calendar = calendar,
    applied_hash = content_hash, applied_at = now(), owed = false, due_at = NULL, write_version = write_version + 1,
    event_id = 'AAMkAGI1' || repeat(md5(entry_id::text), 4) || 'AAA=',
    etag = 'W/"' || left(md5(entry_id::text), 24) || '"'
"""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who there is: so many tenants, each with so many users and projects."""

    tenants: int = 5
    users: int = 200
    projects: int = 10

    def settings(self, *, locale: str = "nl", revision: int = 1) -> list[TenantSettings]:
        """The tenants' own, each with a directory and a language."""
        return [
            TenantSettings.model_validate(
                {
                    "tenant": f"tenant-{number}",
                    "revision": revision,
                    "enabled": True,
                    "directory": DIRECTORY.format(number),
                    "time_zone": "Europe/Amsterdam",
                    "backfill": "all",
                    "locale": locale,
                }
            )
            for number in range(self.tenants)
        ]

    def members(self) -> list[SettingsEvent]:
        """Their projects and accounts, all switched on."""
        found: list[SettingsEvent] = []
        for tenant in (f"tenant-{number}" for number in range(self.tenants)):
            found += [
                ProjectSettings(tenant=tenant, project=f"project-{number:02}", revision=1, enabled=True)
                for number in range(self.projects)
            ]
            found += [
                AccountSettings(
                    tenant=tenant,
                    user=f"user-{number:03}",
                    revision=1,
                    mailbox=f"user-{number:03}@{tenant}.example",
                    allowed=True,
                )
                for number in range(self.users)
            ]
        return found

    def item(self, number: int, revision: int) -> bytes:
        """One item's data, about 600 bytes: two in three have a project, one in three is made by somebody else."""
        user = number // self.tenants % self.users
        start = f"2027-{1 + number % 12:02}-{1 + number % 28:02}T{8 + number % 9:02}"
        data: dict[str, Any] = {
            "tenant": f"tenant-{number % self.tenants}",
            "source": "planner",
            "id": f"item-{number:08}",
            "revision": revision,
            "title": f"Paint window frame {number} on the north side ({revision})",
            "description": _TEXT * 2,
            "link": f"https://planner.example/items/{number:08}",
            "start": f"{start}:00",
            "end": f"{start}:45",
            "status": "open" if number % 4 else "active",
            "assignees": [f"user-{user:03}"],
            "place": "North side",
            "owner": f"user-{(user + (number % 3 == 0)) % self.users:03}",
            "project": f"project-{number % self.projects:02}" if number % 3 else None,
        }
        if _is_contact(number):
            data |= {"contact_kind": "visit", "client": {"id": "C-17", "name": "Housing association North"}}
        return orjson.dumps(data)


def _is_contact(number: int) -> bool:
    return number % 4 == 3


@dataclass(frozen=True, slots=True)
class Used:
    """What so many events, or entries, took."""

    count: int
    wall_s: float
    cpu_s: float
    system_s: float
    """Of these, what the operating system took: sockets, for the most part."""
    postgres_cpu_s: float
    kafka_cpu_s: float


FLOOR = "floor"
SCENARIOS = {
    "creates": "new items, each for one assignee",
    "revisions": "a newer revision of each, whose entries stand in calendars",
    "burst": "one more of each, while the one before still waits for its writer: its outcome is told",
    "replan": "each tenant's language changes: every entry is planned anew",
}


class Bench:
    """Scenarios over one ground, with the ingest of one working copy."""

    def __init__(self, ground: Ground, crowd: Crowd, events: int, code: Path) -> None:
        self.ground = ground
        self.crowd = crowd
        self.events = events
        self.code = code

    async def run(self) -> dict[str, Used]:
        """All scenarios, one after the other, with a database and topics of their own."""
        async with fresh(self.ground), self._ingest() as ingest, self._counter(ingest) as counter:
            await self._settle_in(counter)
            used = {"creates": await self._take_in(ingest, counter, revision=1)}
            await self.ground.fetch(_SETTLE)
            used["revisions"] = await self._take_in(ingest, counter, revision=2)
            used["burst"] = await self._take_in(ingest, counter, revision=3, outcomes=self.events)
            await self.ground.fetch(_SETTLE)
            used["replan"] = await self._plan_anew(ingest, counter)
        return used

    async def run_floor(self) -> Used:
        """What new items take a bare loop, with a database and topics of its own."""
        async with fresh(self.ground), self._ingest("bench.floor") as floor, self._counter(floor) as counter:
            await counter.until(self._floor_is_ready, "the floor is ready")
            used = await self._take_all(floor, counter, revision=1)
            [row] = await self.ground.fetch("SELECT count(*) AS stored FROM floor")
            if row["stored"] != self.events:
                raise RuntimeError(f"{row['stored']} of {self.events} events were stored")
        return used

    async def _floor_is_ready(self) -> bool:
        [row] = await self.ground.fetch("SELECT to_regclass('floor') IS NOT NULL AS ready")
        return bool(row["ready"])

    @asynccontextmanager
    async def _ingest(self, module: str = "services.ingest") -> AsyncIterator[Writer]:
        own = self.ground.environment(ingest_session_timeout_ms=600_000, admin_port=0, ingest_member="bench")
        environment = {**os.environ, **own, "PYTHONPATH": str(self.code)}
        profile = environment.get("CALBUS_BENCH_PROFILE")
        program = [sys.executable, *(["-m", "cProfile", "-o", profile] if profile else [])]
        arguments = [*program, "-m", module]
        process = await asyncio.create_subprocess_exec(*arguments, env=environment, cwd=self.code)
        try:
            yield Writer(process)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    @asynccontextmanager
    async def _counter(self, ingest: Writer) -> AsyncIterator["Counter"]:
        bootstrap = self.ground.stack.kafka.bootstrap
        client = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await client.start()
        await admin.start()
        try:
            yield Counter(self.ground, ingest, client, admin)
        finally:
            await admin.close()
            await client.stop()

    async def _settle_in(self, counter: "Counter") -> None:
        """Everybody's settings are known, and no re-plan is left."""
        settings = [*self.crowd.settings(), *self.crowd.members()]
        await self._publish_settings(settings)
        await counter.until(counter.all_read, "settings are read")
        await counter.until(self._nothing_to_replan, "there is nothing to plan anew")

    async def _publish_settings(self, settings: Iterable[Any]) -> None:
        topic = topic_name(self.ground.kafka, Topic.SETTINGS)
        waiting = [
            await self.ground.producer.send(
                topic,
                key=settings_key(one).encode(),
                value=one.model_dump_json().encode(),
                headers=headers_for(type(one), event_id="s", source="/bench", time=datetime.now(UTC)),
            )
            for one in settings
        ]
        await asyncio.gather(*waiting)

    async def _take_in(self, ingest: Writer, counter: "Counter", *, revision: int, outcomes: int = 0) -> Used:
        used = await self._take_all(ingest, counter, revision=revision, outcomes=outcomes)
        [row] = await self.ground.fetch(
            "SELECT count(*) FILTER (WHERE revision = $1 AND intent = 'present') AS planned FROM entry", revision
        )
        if row["planned"] != self.events:
            raise RuntimeError(f"{row['planned']} of {self.events} events were planned")
        return used

    async def _take_all(self, ingest: Writer, counter: "Counter", *, revision: int, outcomes: int = 0) -> Used:
        """A backlog: all that is published waits in Kafka when the clock starts."""
        ingest.halt()
        await self._publish_items(revision)
        commands, told = await counter.count(Topic.COMMANDS), await counter.count(Topic.OUTCOMES)

        async def done() -> bool:
            return (
                await counter.count(Topic.COMMANDS) >= commands + self.events
                and await counter.count(Topic.OUTCOMES) >= told + outcomes
                and await counter.all_read()
            )

        return await self._measure(ingest, counter, ingest.go_on, done)

    async def _publish_items(self, revision: int) -> None:
        now, ground = datetime.now(UTC), self.ground
        for topic, model, contacts in (
            (Topic.ACTIONS, ActionUpserted, False),
            (Topic.CONTACTS, ContactUpserted, True),
        ):
            records = (
                Record(
                    f"{number % self.crowd.tenants}/item-{number:08}".encode(),
                    self.crowd.item(number, revision),
                    headers_for(model, event_id=f"{number}/{revision}", source="/bench", time=now),
                )
                for number in range(self.events)
                if _is_contact(number) is contacts
            )
            await send_all(ground.producer, topic_name(ground.kafka, topic), records)

    async def _plan_anew(self, ingest: Writer, counter: "Counter") -> Used:
        plans = await self._plans()
        changed = self.crowd.settings(locale="sv", revision=2)
        topic = topic_name(self.ground.kafka, Topic.SETTINGS)
        ingest.halt()
        await self._publish_settings(changed)

        async def done() -> bool:
            return await counter.all_read([topic]) and await self._nothing_to_replan()

        used = await self._measure(ingest, counter, ingest.go_on, done)
        if await self._plans() != plans + self.events:
            raise RuntimeError("not every entry was planned anew once")
        return used

    async def _plans(self) -> int:
        [row] = await self.ground.fetch("SELECT sum(plan)::bigint AS plans FROM entry")
        return int(row["plans"])

    async def _nothing_to_replan(self) -> bool:
        [row] = await self.ground.fetch("SELECT NOT EXISTS (SELECT FROM replan) AS none")
        return bool(row["none"])

    async def _measure(
        self, ingest: Writer, counter: "Counter", go: Callable[[], None], done: Callable[[], Any]
    ) -> Used:
        before = self._used(ingest)
        begin = time.perf_counter()
        go()
        await counter.until(done, "all is taken in")
        wall_s = time.perf_counter() - begin
        return Used(self.events, wall_s, *(now - then for now, then in zip(self._used(ingest), before, strict=True)))

    def _used(self, ingest: Writer) -> tuple[float, float, float, float]:
        """Seconds of CPU until now: of ingest, of the system for it, of PostgreSQL, of Kafka."""
        stack = self.ground.stack
        system_s = _stat(ingest.process.pid)[12] / TICKS_PER_S
        return ingest.cpu_s, system_s, _tree_cpu_s(stack.postgres), _tree_cpu_s(stack.kafka)


class Counter:
    """Looks at topics from outside."""

    def __init__(self, ground: Ground, ingest: Writer, client: AIOKafkaConsumer, admin: AIOKafkaAdminClient) -> None:
        self._ground = ground
        self._ingest = ingest
        self._client = client
        self._admin = admin

    async def _ends(self, topic: str) -> dict[TopicPartition, int]:
        partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
        return cast("dict[TopicPartition, int]", await self._client.end_offsets(partitions))

    async def count(self, topic: Topic) -> int:
        """How many messages a topic ever had."""
        return sum((await self._ends(topic_name(self._ground.kafka, topic))).values())

    async def all_read(self, topics: Sequence[str] | None = None) -> bool:
        """Whether ingest has committed all that there is to read."""
        kafka = self._ground.kafka
        named = topics or [topic_name(kafka, one) for one in (Topic.ACTIONS, Topic.CONTACTS, Topic.SETTINGS)]
        try:
            committed = await self._admin.list_consumer_group_offsets(f"{kafka.topic_prefix}.ingest")
        except GroupCoordinatorNotAvailableError:  # a broker that has just started
            return False
        for topic in named:
            for partition, end in (await self._ends(topic)).items():
                if end and (partition not in committed or committed[partition].offset < end):
                    return False
        return True

    async def until(self, look: Callable[[], Any], what: str) -> None:
        """Wait for it. Raises TimeoutError, and RuntimeError if ingest has ended."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not await look():
                    if self._ingest.process.returncode is not None:
                        raise RuntimeError("ingest has ended")
                    await asyncio.sleep(LOOK_S * 5)
        except TimeoutError:
            raise TimeoutError(f"in vain until {what}") from None


def _tree_cpu_s(engine: Any) -> float:
    """CPU of an engine that was started here, with its children that are and those that were; 0 of one that was not."""
    pid = getattr(engine, "pid", None)
    if pid is None:
        return 0.0
    own = _stat(pid)
    total = sum(own[11:15])
    for directory in Path("/proc").iterdir():
        if directory.name.isdigit():
            try:
                stat = _stat(int(directory.name))
            except (OSError, IndexError):
                continue
            if stat[1] == pid:
                total += stat[11] + stat[12]
    return total / TICKS_PER_S


def _stat(pid: int) -> list[int]:
    # Behind the name: the state (a letter), the parent, and at 11 to 14 the time of its own and of its dead children.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return [0, *(int(one) for one in fields[1:15])]


async def measure(
    copies: dict[str, Path], *, rounds: int, events: int, crowd: Crowd, say: Callable[[str], None]
) -> dict[str, Any]:
    """All scenarios for each working copy, round after round; medians."""
    seen: dict[str, dict[str, list[Used]]] = {name: {} for name in (*copies, FLOOR)}

    def keep(number: int, name: str, scenario: str, used: Used) -> None:
        seen[name].setdefault(scenario, []).append(used)
        per_s, per_core_s = used.count / used.wall_s, used.count / used.cpu_s
        say(f"round {number + 1}, {name}, {scenario}: {per_s:,.0f}/s, {per_core_s:,.0f} per core-second")

    async with Stack(simulator=False, report=say) as stack, aiohttp.ClientSession() as http:
        addresses = {"graph_url": "http://localhost:9/v1.0", "login_url": "https://localhost:9", "ca_file": ""}
        ground = Ground(stack, addresses, http)
        for number in range(rounds):
            for name, code in copies.items():
                for scenario, used in (await Bench(ground, crowd, events, code).run()).items():
                    keep(number, name, scenario, used)
            keep(number, FLOOR, "creates", await Bench(ground, crowd, events, Path(__file__).parents[1]).run_floor())
    return {
        "events": events,
        "rounds": rounds,
        "tenants": crowd.tenants,
        "mailboxes": crowd.tenants * crowd.users,
        "event_bytes": len(crowd.item(1, 1)),
        "rows": {name: {one: result_row(used) for one, used in of.items()} for name, of in seen.items()},
    }


def result_row(used: list[Used]) -> dict[str, float]:
    """Medians over rounds."""
    return {
        "per_s": median(one.count / one.wall_s for one in used),
        "per_core_s": median(one.count / one.cpu_s for one in used),
        "best_per_core_s": max(one.count / one.cpu_s for one in used),
        "cpu_us_each": median(one.cpu_s / one.count * 1e6 for one in used),
        "system_us_each": median(one.system_s / one.count * 1e6 for one in used),
        "postgres_cpu_us_each": median(one.postgres_cpu_s / one.count * 1e6 for one in used),
        "kafka_cpu_us_each": median(one.kafka_cpu_s / one.count * 1e6 for one in used),
    }


def write(figures: dict[str, Any], directory: Path) -> Path:
    """Keep the figures as JSON and as a page; gives the page."""
    measured = keep("ingest", figures, directory)
    lines = [
        "# ingest",
        "",
        "| what | code | per core-second | best | per s (clock) | CPU µs | of it system | PostgreSQL µs | Kafka µs |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for scenario in SCENARIOS:
        for name, rows in figures["rows"].items():
            if (row := rows.get(scenario)) is None:
                continue
            rates = (row["per_core_s"], row["best_per_core_s"], row["per_s"])
            costs = ("cpu_us_each", "system_us_each", "postgres_cpu_us_each", "kafka_cpu_us_each")
            cells = [scenario, name, *(f"{one:,.0f}" for one in (*rates, *(row[cost] for cost in costs)))]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        *(f"- **{name}**: {says}." for name, says in SCENARIOS.items()),
        "- code **floor**: a bare loop (`bench/floor.py`) that reads, validates, stores and wakes, and plans nothing.",
        "",
        f"Medians of {figures['rounds']} rounds of {figures['events']:,} events of {figures['event_bytes']} bytes,",
        f"{figures['tenants']} tenants, {figures['mailboxes']:,} mailboxes. From Kafka to plans in PostgreSQL,",
        "commands and outcomes in Kafka, and committed offsets. CPU of the ingest process alone; PostgreSQL's and",
        "Kafka's stand beside it.",
        "",
        said_of(measured),
    ]
    page = directory / "ingest.md"
    page.write_text("\n".join(lines) + "\n")
    return page


def main(
    events: Annotated[int, typer.Option(help="Events in each scenario.")] = 100_000,
    rounds: Annotated[int, typer.Option(help="Rounds of which the median counts.")] = 3,
    users: Annotated[int, typer.Option(help="Users of each of five tenants.")] = 200,
    beside: Annotated[Path | None, typer.Option(help="Another working copy, to be measured in the same run.")] = None,
    into: Annotated[Path, typer.Option(help="Where the results are kept.")] = RESULTS,
) -> None:
    """Measure, show, keep."""
    copies = {"this": Path(__file__).resolve().parents[1]}
    if beside is not None:
        copies = {"before": beside.resolve(), **copies}
    # While Kafka makes the topics, its clients complain of each.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    figures = asyncio.run(measure(copies, rounds=rounds, events=events, crowd=Crowd(users=users), say=say))
    print(write(figures, into).read_text())


if __name__ == "__main__":
    typer.run(main)
