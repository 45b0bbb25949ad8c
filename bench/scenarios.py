"""What is measured, scenario by scenario. Each gives plain figures; how they are shown is report.py's business."""

import asyncio
import json
import os
import random
import sys
import time
from asyncio.subprocess import PIPE
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any
from uuid import UUID

from bench import load
from bench.ground import Ground, Outcomes, Used, Writer, fresh
from bench.rivals import RIVALS
from calbus.bus.offsets import Position
from calbus.store.entries import Due
from services.writer.lanes import Job, LaneLimits, Lanes

Figures = dict[str, Any]

WRITER = "calbus writer, complete"
# What its guarantees cost at least (`bench/writer_floor.py`): with a database and topics of its own.
FLOOR = "the writer's floor"
# A rival's events in one round, as a share of the writer's: the slow ones would take minutes.
SHARES = {
    "aiohttp, one call per event": 0.5,
    "aiohttp, $batch of 20": 2.0,
    "httpx, one call per event": 0.1,
    "requests, one call per event": 0.1,
    "python-o365": 0.1,
    "msgraph-sdk": 0.02,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A writer, and what it is to do."""

    ground: Ground
    outcomes: Outcomes
    writer: Writer
    due: list[Due]


async def backlog(ground: Ground, writers: Sequence[Writer], outcomes: Outcomes, due: list[Due]) -> Used:
    """Have writers work off wake-ups that all wait in Kafka when the clock starts; ends with the last outcome."""
    await ground.plan_again(due)
    for writer in writers:
        writer.halt()
    try:
        await ground.wake(due)
        before = await outcomes.count()
        cpu_s, begin = sum(writer.cpu_s for writer in writers), time.perf_counter()
    finally:
        for writer in writers:
            writer.go_on()
    await outcomes.until(before + len(due))
    return Used(len(due), time.perf_counter() - begin, sum(writer.cpu_s for writer in writers) - cpu_s)


async def warm(ground: Ground, outcomes: Outcomes, due: list[Due]) -> None:
    """Wait until the writers have their mailboxes, their token and each mailbox's category."""
    before = await outcomes.count()
    await ground.wake(due)
    await outcomes.until(before + len(due))


async def rival(ground: Ground, name: str, count: int, boxes: int) -> Used:
    """One of the others, against the same stub."""
    # With either of these, `requests` trusts nobody else.
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_CA_BUNDLE")}
    arguments = [sys.executable, "-m", "bench.rivals", name, json.dumps(ground.stub), str(count), str(boxes)]
    process = await asyncio.create_subprocess_exec(*arguments, stdout=PIPE, env=environment)
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{name} failed")
    told = json.loads(said)
    return Used(told["events"], told["wall_s"], told["cpu_s"])


async def rates(ground: Ground, *, rounds: int, entries: int, mailboxes: int, names: Sequence[str]) -> Figures:
    """Creates over mailboxes, by calbus and by what people would use instead: round after round, medians."""
    seen: dict[str, list[Used]] = {name: [] for name in (*names, FLOOR, WRITER)}
    boxes = [number % mailboxes for number in range(entries)]
    bare = replace(ground)
    async with (
        ground.outcomes() as outcomes,
        ground.writer() as writer,
        fresh(bare),
        bare.outcomes() as of_floor,
        bare.writer(module="bench.writer_floor") as floor,
    ):
        ours = Measured(ground, outcomes, writer, await ground.plan(boxes))
        least = Measured(bare, of_floor, floor, await bare.plan(boxes))
        for one in (ours, least):
            await warm(one.ground, one.outcomes, one.due[:mailboxes])
        for _ in range(rounds):
            for name in names:
                await ground.control(clear=True)
                used = await rival(ground, name, max(int(entries * SHARES[name]), 20), mailboxes)
                seen[name].append(used)
            for name, one in ((FLOOR, least), (WRITER, ours)):
                before = await ground.control(clear=True)
                seen[name].append(await backlog(one.ground, [one.writer], one.outcomes, one.due))
                after = await ground.control()
                if (after["created"], after["standing"], after["throttled"]) != (entries, entries, 0):
                    raise RuntimeError(f"not every entry stands once: {before} {after}")
    rows = {
        name: {
            "entries": used[0].entries,
            "per_s": median(one.per_s for one in used),
            "per_core_s": median(one.per_core_s for one in used),
            "cpu_s_per_1000": median(one.cpu_s_per_1000 for one in used),
            "best_cpu_s_per_1000": min(one.cpu_s_per_1000 for one in used),
        }
        for name, used in seen.items()
    }
    ratios = {name: rows[WRITER]["per_core_s"] / rows[name]["per_core_s"] for name in (*names, FLOOR)}
    return {"rounds": rounds, "mailboxes": mailboxes, "rows": rows, "ratios_per_core": ratios}


async def _landed(ground: Ground, due: list[Due], boxes: set[str], timeout_s: float) -> tuple[list[float], Figures]:
    """Wake all of these; seconds until the last event stood in each of `boxes`, and what the stub counted."""
    await ground.plan_again(due)
    await ground.control(clear=True, log=True)
    begin = time.monotonic()
    await ground.wake(due)
    wanted = sum(1 for one in due if one.target is not None and one.target.mailbox in boxes)
    async with asyncio.timeout(timeout_s):
        while True:
            told = await ground.control()
            landed = [at - begin for box, at in told["log"] if box in boxes]
            if len(landed) >= wanted:
                return landed, told
            await asyncio.sleep(0.2)


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


async def skew(ground: Ground, *, entries: int, mailboxes: int, large: int, latency_ms: float) -> Figures:
    """429s at Graph's real limits, however the work is spread; and what one large mailbox does to the others."""
    dice = random.Random(7)
    zipf = [int(dice.paretovariate(1.0)) % mailboxes for _ in range(entries)]
    # Whoever has more than a window's worth would only show how long ten minutes are.
    spread: dict[str, list[int]] = {
        "uniform": [number % mailboxes for number in range(entries)],
        "zipf": [box for place, box in enumerate(zipf) if zipf[:place].count(box) < 400],
        "one_large": [*(number % mailboxes for number in range(entries)), *([mailboxes] * large)],
    }
    figures: Figures = {"latency_ms": latency_ms, "mailboxes": mailboxes, "large_entries": large}
    for name, boxes in spread.items():
        async with fresh(ground), ground.outcomes() as outcomes:
            due = await ground.plan(boxes)
            dice.shuffle(due)
            async with ground.writer() as writer:
                known = {one.target.mailbox: one for one in due if one.target is not None}
                await ground.control(latency_ms=0)
                await warm(ground, outcomes, list(known.values()))
                await ground.control(latency_ms=latency_ms)
                others = {load.mailbox(number) for number in range(mailboxes)}
                landed, told = await _landed(ground, due, others, 300)
                figures[name] = {
                    "entries": len(due),
                    "throttled": told["throttled"],
                    "max_in_flight": told["max_in_flight"],
                    "others_p50_s": _percentile(landed, 0.5),
                    "others_p99_s": _percentile(landed, 0.99),
                }
                writer.process.kill()
    await ground.control(latency_ms=0)
    figures["others_p99_ratio"] = figures["one_large"]["others_p99_s"] / figures["uniform"]["others_p99_s"]
    return figures


async def one_mailbox(ground: Ground, *, entries: int, latency_ms: float) -> Figures:
    """One mailbox's backlog against four requests at a time; and against ten minutes' 10,000, in virtual time."""
    due = await ground.plan([0] * entries)
    limits: dict[str, Any] = {"writer_lane_max_in_flight": 4, "writer_lane_max_requests_per_10_min": 10_000}
    async with ground.outcomes() as outcomes, ground.writer(**limits) as writer:
        await warm(ground, outcomes, due[:1])
        await ground.control(latency_ms=latency_ms)
        await ground.plan_again(due)
        await ground.control(clear=True, log=True)
        await ground.wake(due)
        async with asyncio.timeout(300):
            while (told := await ground.control())["created"] < entries:
                await asyncio.sleep(0.2)
        writer.process.kill()
    await ground.control(latency_ms=0)
    times = [at for _, at in told["log"]]
    permitted_per_s = 4 / (latency_ms / 1_000)
    # The first four come together: between them and the last lie so many turns.
    per_s = (len(times) - 4) / (times[-1] - times[3])
    return {
        "latency_ms": latency_ms,
        "entries": entries,
        "per_s": per_s,
        "permitted_per_s": permitted_per_s,
        "share_of_four": per_s / permitted_per_s,
        "throttled": told["throttled"],
        "share_of_window": window_share(),
    }


def window_share(latency_s: float = 0.1, limit: int = 10_000) -> float:
    """What share of a window's requests a lane sends in its first ten minutes, and in any; in virtual time."""
    lanes = Lanes(LaneLimits(4, limit, 2 * limit, 10 * limit))
    for number in range(2 * limit):
        lanes.offer(Job(UUID(int=number), "lane", "tenant", list[Position]()), 0.0)
    now_s, sent, under_way = 0.0, 0, list[tuple[float, Job]]()
    while now_s < 600.0:
        for job in lanes.take(now_s, 20):
            sent += 1
            under_way.append((now_s + latency_s, job))
        times = [under_way[0][0]] if under_way else []
        if (next_at_s := lanes.next_at_s()) is not None and next_at_s > now_s:
            times.append(next_at_s)
        now_s = min(times)
        while under_way and under_way[0][0] <= now_s:
            lanes.done(under_way.pop(0)[1], now_s, requests=1)
    return sent / limit


async def idle(ground: Ground, *, entries: int, latency_ms: float) -> Figures:
    """From a wake-up to the event in its calendar, and to the outcome, while nothing else happens."""
    due = await ground.plan(list(range(entries)))
    in_calendar: list[float] = []
    to_outcome: list[float] = []
    async with ground.outcomes() as outcomes, ground.writer():
        await warm(ground, outcomes, due)
        await ground.plan_again(due)
        await ground.control(clear=True, log=True, latency_ms=latency_ms)
        count = await outcomes.count()
        for number, one in enumerate(due):
            begin = time.monotonic()
            await ground.wake([one])
            async with asyncio.timeout(30):
                while await outcomes.count() < count + number + 1:
                    await asyncio.sleep(0.001)
            to_outcome.append(time.monotonic() - begin)
            in_calendar.append((await ground.control())["log"][-1][1] - begin)
            await asyncio.sleep(0.02)
    await ground.control(latency_ms=0)
    figures: Figures = {"latency_ms": latency_ms, "entries": entries}
    for name, values in (("calendar", in_calendar), ("outcome", to_outcome)):
        for share, label in ((0.1, "p10"), (0.5, "p50"), (0.99, "p99")):
            figures[f"{name}_{label}_over_graph_ms"] = _percentile(values, share) * 1_000 - latency_ms
    return figures


async def two_writers(ground: Ground, *, entries: int, mailboxes: int, latency_ms: float, calls: int) -> Figures:
    """One writer and two, with so few calls at a time that Graph's latency and not the machine is the limit."""
    due = await ground.plan([number % mailboxes for number in range(entries)])
    figures: Figures = {"latency_ms": latency_ms, "calls_each": calls, "entries": entries}
    async with ground.outcomes() as outcomes, ground.writer(writer_max_calls=calls) as first:
        await warm(ground, outcomes, due[:mailboxes])
        await ground.control(latency_ms=latency_ms, clear=True)
        figures["one_per_s"] = (await backlog(ground, [first], outcomes, due)).per_s
        async with ground.writer(writer_max_calls=calls) as second:
            await ground.control(latency_ms=0)
            await ground.plan_again(due)
            await warm(ground, outcomes, due)  # they have shared the mailboxes when this is through
            await ground.control(latency_ms=latency_ms, clear=True)
            figures["two_per_s"] = (await backlog(ground, [first, second], outcomes, due)).per_s
            figures["throttled"] = (await ground.control(latency_ms=0))["throttled"]
    figures["ratio"] = figures["two_per_s"] / figures["one_per_s"]
    return figures


_FILL = """
INSERT INTO entry (entry_id, tenant, source, kind, id, assignee, revision, plan, intent, reason, directory, mailbox,
                   content, content_hash, owed, due_at, published_at, since, notice, applied_plan, applied_directory,
                   applied_mailbox, applied_hash, event_id, etag, write_version)
SELECT gen_random_uuid(), 'other', e.source, e.kind, 'old-' || n, 'user-' || n % $2, 1, 1, 'present', 'written',
       e.directory, 'user-' || n % $2 || '@old.example', e.content, e.content_hash, false, NULL, now(), now(), '', 1,
       e.directory, 'user-' || n % $2 || '@old.example', e.content_hash,
       'AAMkAGI1' || repeat(md5(n::text), 4) || 'AAA=', 'W/"' || left(md5(n::text), 24) || '"', 2
FROM generate_series(1, $1::bigint) AS n, (SELECT * FROM entry LIMIT 1) e
"""
_FILL_ACCOUNTS = """
INSERT INTO account_status (tenant, assignee) SELECT 'other', 'user-' || n FROM generate_series(1, $1::bigint) AS n
"""


async def growth(
    ground: Ground, *, rounds: int, entries: int, small: int, large: int, log: Callable[[str], None]
) -> Figures:
    """The writer's rate beside few and many entries that stand settled in PostgreSQL; ten accounts' to one."""
    figures: Figures = {"rounds": rounds, "entries": entries}
    for name, standing in (("small", small), ("large", large)):
        async with fresh(ground), ground.outcomes() as outcomes:
            due = await ground.plan([number % 200 for number in range(entries)])
            log(f"filling in {standing:,} entries")
            await ground.fetch(_FILL, standing, max(standing // 10, 1))
            await ground.fetch(_FILL_ACCOUNTS, max(standing // 10, 1))
            # As what stands for long is: PostgreSQL would come to it by itself in the middle of the measurement.
            await ground.fetch("VACUUM ANALYZE")
            async with ground.writer() as writer:
                await warm(ground, outcomes, due[:200])
                used = [await backlog(ground, [writer], outcomes, due) for _ in range(rounds)]
        figures[name] = {
            "standing": standing,
            "per_s": median(one.per_s for one in used),
            "cpu_s_per_1000": median(one.cpu_s_per_1000 for one in used),
        }
    figures["ratio_per_s"] = figures["large"]["per_s"] / figures["small"]["per_s"]
    figures["ratio_per_core"] = figures["small"]["cpu_s_per_1000"] / figures["large"]["cpu_s_per_1000"]
    return figures


async def memory(ground: Ground, *, mailboxes: int, rounds: int) -> Figures:
    """What a writer holds that has written to so many mailboxes, and again."""
    due = await ground.plan(list(range(mailboxes)))
    held: list[float] = []
    async with ground.outcomes() as outcomes, ground.writer() as writer:
        await warm(ground, outcomes, due[:200])
        at_first = writer.memory_mb
        for _ in range(rounds):
            await backlog(ground, [writer], outcomes, due)
            held.append(writer.memory_mb)
    return {"mailboxes": mailboxes, "at_first_mb": at_first, "after_each_round_mb": held}


TICK_S = 0.05
# What a writer learns at first (pages of the database driver's plans, a token, each mailbox's category) is no growth.
SETTLED_SHARE = 0.3


async def steady(ground: Ground, *, minutes: float, share: float, mailboxes: int, latency_ms: float) -> Figures:
    """For minutes on end, a share of what the writer can do: how late entries come, and whether it grows."""
    boxes = [number % mailboxes for number in range(2 * mailboxes)]
    due = await ground.plan(boxes)
    async with ground.outcomes() as outcomes, ground.writer() as writer:
        await warm(ground, outcomes, due[:mailboxes])
        await ground.control(latency_ms=latency_ms)
        full = [(await backlog(ground, [writer], outcomes, due)).per_s for _ in range(2)]
        rate_per_s = share * max(full)
        await ground.control(clear=True, log=True)
        before, cpu_s = await outcomes.count(), writer.cpu_s
        sent, held_mb = await _paced(ground, writer, due, rate_per_s, minutes * 60.0)
        await outcomes.until(before + sum(map(len, sent.values())))
        cpu_s = writer.cpu_s - cpu_s
        told = await ground.control(latency_ms=0)
    late_s: list[float] = []
    for box, at_s in sorted(told["log"], key=lambda landed: landed[1]):
        late_s.append(at_s - sent[box].popleft())
    settled = held_mb[int(len(held_mb) * SETTLED_SHARE) :]
    third = max(len(settled) // 3, 1)
    return {
        "minutes": minutes,
        "latency_ms": latency_ms,
        "mailboxes": mailboxes,
        "full_per_s": max(full),
        "rate_per_s": rate_per_s,
        "entries": len(late_s),
        "cpu_s_per_1000": cpu_s / len(late_s) * 1_000,
        "throttled": told["throttled"],
        "calendar_p50_over_graph_ms": _percentile(late_s, 0.5) * 1_000 - latency_ms,
        "calendar_p99_over_graph_ms": _percentile(late_s, 0.99) * 1_000 - latency_ms,
        "settled_mb": median(settled[:third]),
        "at_the_end_mb": median(settled[-third:]),
        "largest_mb": max(held_mb),
    }


async def _paced(
    ground: Ground, writer: Writer, due: list[Due], rate_per_s: float, for_s: float
) -> tuple[dict[str, deque[float]], list[float]]:
    """Wake these at this rate, round and round; when, by mailbox, and what the writer held each second."""
    sent: dict[str, deque[float]] = {}
    held_mb: list[float] = []
    begin, done = time.monotonic(), 0
    while (now := time.monotonic()) < begin + for_s:
        if now - begin > len(held_mb):
            held_mb.append(writer.memory_mb)
        owing = int((now - begin) * rate_per_s) - done
        slice_ = [due[(done + step) % len(due)] for step in range(min(owing, len(due) // 2))]
        await ground.plan_again(slice_)
        begun = time.monotonic()
        for one in slice_:
            if one.target is not None:
                sent.setdefault(one.target.mailbox, deque()).append(begun)
        await ground.wake(slice_)
        done += len(slice_)
        await asyncio.sleep(TICK_S)
    return sent, held_mb


RIVAL_NAMES = tuple(RIVALS)
