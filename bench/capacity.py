"""What `calbus capacity` counts with: the writer's stages, the delays of an idle system, bytes and PostgreSQL's part.

The stages are the handler's own, in this process, against real PostgreSQL and the stub, alone and in full groups; what
they do not account for of a complete writer's processor is Kafka's, the lanes' and the outcomes'.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from bench.ground import Ground, fresh
from bench.ingest import _SETTLE, Bench, Crowd, _tree_cpu_s
from bench.scenarios import Figures, backlog, idle, warm
from calbus.bus.batches import Record, send_all
from calbus.bus.cloudevents import headers_for
from calbus.bus.kafka import topic_name
from calbus.graph.calls import BATCH_MAX_REQUESTS
from calbus.graph.client import graph_client
from calbus.lifecycle import settle_memory
from calbus.outage import postgres
from calbus.store.entries import Due
from calbus.store.pool import connect
from calbus.telemetry import configure_logging
from schemas.events import Topic
from schemas.items import ActionUpserted
from services.writer.__main__ import _access_check, _pace, _policy
from services.writer.accounts import Accounts
from services.writer.calendars import Calendars
from services.writer.capacity_costs import Costs, Stage
from services.writer.categories import Categories
from services.writer.dispatcher import LaneRests
from services.writer.handler import Handler, Work
from services.writer.lanes import Job, Lanes
from services.writer.pipeline import GROUP_MAX_ENTRIES
from services.writer.settings import WriterSettings

T = TypeVar("T")
MAILBOXES = 200
SINGLES = 100
FULL_GROUPS = 20
# Calls that are made at a time: each alone would find everything cold.
AT_ONCE = 10
# Of stages: seconds of processor and clock, for each time.
Times = dict[str, list[tuple[float, float]]]
# A shared machine adds to times by the clock and takes nothing away: the best tenth is what an idle one takes.
BEST = 0.1


async def measure(ground: Ground, *, rounds: int, entries: int) -> Figures:
    """All of it. `entries`: of a backlog for the complete writer, and of the tables whose size is looked at."""
    figures: Figures = {"entries": entries, "rounds": rounds, "stages": await _stages(ground)}
    async with fresh(ground):
        figures["writer"] = await _complete(ground, rounds, entries)
    async with fresh(ground):
        figures["idle"] = await idle(ground, entries=SINGLES, latency_ms=50.0)
    figures["ingest"] = await _Ingest(ground, Crowd(), entries, Path(__file__).parents[1]).look()
    return figures


async def _complete(ground: Ground, rounds: int, entries: int) -> Figures:
    """The writer in a process of its own, from Kafka to Kafka."""
    due = await ground.plan([number % MAILBOXES for number in range(entries)])
    seen: list[tuple[float, float]] = []
    async with ground.outcomes() as outcomes, ground.writer() as writer:
        await warm(ground, outcomes, due[:MAILBOXES])
        for _ in range(rounds):
            begun_s = _tree_cpu_s(ground.stack.postgres)
            used = await backlog(ground, [writer], outcomes, due)
            # Making the plans anew is among it: an update of each row.
            seen.append((used.cpu_s / entries, (_tree_cpu_s(ground.stack.postgres) - begun_s) / entries))
    return {
        "cpu_us_each": 1e6 * median(cpu_s for cpu_s, _ in seen),
        "postgres_cpu_us_each": 1e6 * median(cpu_s for _, cpu_s in seen),
    }


# -- the stages -------------------------------------------------------------------------------------------------------


async def _stages(ground: Ground) -> Figures:
    """Of the handler, by how many are in a group, or in a call: what it takes of processor and clock."""
    due = await ground.plan([number % MAILBOXES for number in range(GROUP_MAX_ENTRIES)])
    async with _handler(ground) as handler:
        settle_memory()
        await _plan_and_group(ground, handler, due, BATCH_MAX_REQUESTS)  # categories, tokens, statements are known then
        full = [await _plan_and_group(ground, handler, due, BATCH_MAX_REQUESTS) for _ in range(FULL_GROUPS)]
        alone = await _plan_and_group(ground, handler, due, 1)
        await ground.plan_again(due[:SINGLES])
        single = [await _group(handler, due[number : number + 1], 1) for number in range(SINGLES)]
    # Calls that carry one entry are made when there are many of them; a group of one, when there is nothing else.
    for group in single:
        group["send"] = alone["send"]
    sizes = {"load": GROUP_MAX_ENTRIES, "send": BATCH_MAX_REQUESTS, "record": GROUP_MAX_ENTRIES}
    return {
        stage: {
            name: {"entries": many, **_usual([times for group in groups for times in group[stage]])}
            for name, many, groups in (("one", 1, single), ("full", size, full))
        }
        for stage, size in sizes.items()
    }


@asynccontextmanager
async def _handler(ground: Ground) -> AsyncIterator[Handler]:
    given = {name.removeprefix("CALBUS_").lower(): value for name, value in ground.environment().items()}
    known = {name: given[name] for name in WriterSettings.model_fields if name in given}
    settings = WriterSettings.model_validate(known)
    configure_logging(settings)
    database = postgres()
    async with connect(settings, database) as pool, graph_client(settings) as graph:
        calendars = Calendars(graph)
        yield Handler(
            pool,
            graph,
            _policy(settings),
            LaneRests(Lanes(settings.lane_limits)),
            calendars=calendars,
            accounts=Accounts(_pace(settings)),
            gates=[_access_check(settings, graph, calendars), Categories(pool, graph, postgres=database)],
            doubt_s=settings.writer_doubt_s,
            recheck_s=settings.writer_refusal_recheck_s,
            postgres=database,
        )


async def _plan_and_group(ground: Ground, handler: Handler, due: Sequence[Due], batch: int) -> Times:
    await ground.plan_again(due)
    return await _group(handler, due, batch)


async def _group(handler: Handler, due: Sequence[Due], batch: int) -> Times:
    """One group through all stages; for each, or each call, the seconds of processor and clock that it took."""
    places = [one.target for one in due if one.target is not None]
    jobs = [Job(one.entry_id, place.lane, one.tenant) for one, place in zip(due, places, strict=True)]
    (_, works), loading = await _timed(handler.load(jobs))
    calls = [works[at : at + batch] for at in range(0, len(works), batch)]
    sending = [await _timed(_send(handler, calls[at : at + AT_ONCE])) for at in range(0, len(calls), AT_ONCE)]
    for work in works:
        handler.prepare(work)
    reports, recording = await _timed(handler.record(works))
    if len(reports) != len(due) or not all(report.settled for report in reports):
        raise RuntimeError(f"{sum(report.settled for report in reports)} of {len(due)} entries were settled")
    each = [(cpu_s / made, clock_s) for made, (cpu_s, clock_s) in sending]
    return {"load": [loading], "send": each, "record": [recording]}


async def _send(handler: Handler, calls: Sequence[list[Work]]) -> int:
    """Side by side; how many there were."""
    for work in (work for works in calls for work in works):
        if (asking := handler.prepare(work)) is not None:
            await asking
    await asyncio.gather(*(handler.send(works) for works in calls))
    return len(calls)


async def _timed(stage: Awaitable[T]) -> tuple[T, tuple[float, float]]:
    cpu_s, clock_s = time.process_time(), time.perf_counter()
    result = await stage
    return result, (time.process_time() - cpu_s, time.perf_counter() - clock_s)


def _usual(times: list[tuple[float, float]]) -> dict[str, float]:
    clock_s = sorted(clock_s for _, clock_s in times)
    return {"cpu_us": 1e6 * median(cpu_s for cpu_s, _ in times), "clock_us": 1e6 * clock_s[int(BEST * len(clock_s))]}


# -- ingest -----------------------------------------------------------------------------------------------------------


class _Ingest(Bench):
    """The way of a single event, and what rows weigh."""

    async def look(self) -> Figures:
        """Bytes are those of a table whose rows were written twice, by ingest and by a writer, and vacuumed."""
        async with fresh(self.ground), self._ingest() as ingest, self._counter(ingest) as counter:
            await self._settle_in(counter)
            used = await self._take_in(ingest, counter, revision=1)
            way_s = sorted([await self._way_s(counter, self.events + number) for number in range(SINGLES)])
            await self.ground.fetch(_SETTLE)
            await self.ground.fetch("VACUUM")
            rows = self.events + SINGLES
            sizes = {f"{table}_bytes": await self._size(table) / rows for table in ("entry", "item")}
        return {
            "cpu_us_each": 1e6 * used.cpu_s / used.count,
            "postgres_cpu_us_each": 1e6 * used.postgres_cpu_s / used.count,
            "way_p10_ms": 1e3 * way_s[int(BEST * len(way_s))],
            **sizes,
        }

    async def _way_s(self, counter: Any, number: int) -> float:
        """From an event published to its wake-up on the commands topic, while nothing else happens."""
        before = await counter.count(Topic.COMMANDS)
        key = f"{number % self.crowd.tenants}/item-{number:08}".encode()
        headers = headers_for(ActionUpserted, event_id=f"{number}/1", source="/bench", time=datetime.now(UTC))
        topic = topic_name(self.ground.kafka, Topic.ACTIONS)
        begin = time.perf_counter()
        await send_all(self.ground.producer, topic, [Record(key, self.crowd.item(4 * number, 1), headers)])
        async with asyncio.timeout(60):
            while await counter.count(Topic.COMMANDS) == before:
                await asyncio.sleep(0.001)
        return time.perf_counter() - begin

    async def _size(self, table: str) -> float:
        [row] = await self.ground.fetch("SELECT pg_total_relation_size($1::regclass) AS size", table)
        return float(row["size"])


# -- what follows from it ---------------------------------------------------------------------------------------------


def stage_of(sizes: dict[str, dict[str, float]], *, waits: bool = True) -> Stage:
    """The line through a group of one and a full one."""
    one, full = sizes["one"], sizes["full"]
    group_cpu_us, each_cpu_us = _line(full["entries"], one["cpu_us"], full["cpu_us"])
    group_wait_us, each_wait_us = 0.0, 0.0
    if waits:
        lasts = (max(size["clock_us"] - size["cpu_us"], 0.0) for size in (one, full))
        group_wait_us, each_wait_us = _line(full["entries"], *lasts)
    return Stage(*(part / 1e6 for part in (group_cpu_us, each_cpu_us, group_wait_us, each_wait_us)))


def _line(many: float, of_one: float, of_many: float) -> tuple[float, float]:
    """What a group takes, and each in it."""
    each = max((of_many - of_one) / (many - 1), 0.0)
    return max(of_one - each, 0.0), each


def costs_of(figures: Figures) -> Costs:
    """What the simulation counts with."""
    stages = figures["stages"]
    load_stage, record = stage_of(stages["load"]), stage_of(stages["record"])
    send = stage_of(stages["send"], waits=False)  # how long a call lasts is Graph's latency
    known = Costs(0.0, 0.0, load_stage, send, record)
    full = known.entry_cpu_s(BATCH_MAX_REQUESTS) + (load_stage.group_cpu_s + record.group_cpu_s) / GROUP_MAX_ENTRIES
    in_calendar_s = figures["idle"]["calendar_p10_over_graph_ms"] / 1_000
    to_lane_s = max(in_calendar_s - load_stage.cpu_s(1) - load_stage.waits_s(1) - send.cpu_s(1), 0.0)
    complete = figures["writer"]["cpu_us_each"] / 1e6
    costs = Costs(
        figures["ingest"]["way_p10_ms"] / 1e3 + to_lane_s, max(complete - full, 0.0), load_stage, send, record
    )
    # The complete writer is what counts. Where its stages alone took more, something else disturbed them.
    return costs.on_a_core(min(complete / full, 1.0))


def plain(costs: Costs) -> Figures:
    """As they are stored; a microsecond is fine enough."""
    return {
        name: {one: round(value, 7) for one, value in part.items()} if isinstance(part, dict) else round(part, 7)
        for name, part in asdict(costs).items()
    }
