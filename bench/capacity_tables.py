"""Fills in the tables of docs/capacity.md, and the costs that `calbus capacity` counts with, from what was measured.

    python bench/capacity_tables.py            writes them
    python bench/capacity_tables.py --check    fails if they are not what would be written

The figures come from bench/results/capacity.json, which `python -m bench capacity` writes (it is part of `make bench`),
and the rate of ingest from bench/results/ingest.json (`python -m bench.ingest`).
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.capacity import costs_of, plain
from calbus.graph.calls import BATCH_MAX_REQUESTS
from services.writer.capacity import GRAPH_LATENCY_S, GRAPH_LATENCY_SPREAD, TARGET_SHARE, Forecast, foretell
from services.writer.capacity_command import pod_of
from services.writer.capacity_costs import FILE as COSTS
from services.writer.capacity_costs import Costs, costs_in
from services.writer.capacity_graph import APPLICATION_MAX_REQUESTS_PER_S, Latency
from services.writer.capacity_load import DAY_S, Load
from services.writer.settings import LaneSettings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "capacity.md"
RESULTS = ROOT / "bench" / "results"
SIZES = (10_000, 1_000_000, 50_000_000)
SAMPLE_CHANGES = 10_000
USERS_FOR_AN_IMPORT = 10_000
# Items of a user that are kept in PostgreSQL: a month back and ahead at ten changes a day, each item changed twice.
ITEMS_OF_A_USER = 300
# A pulled calendar that hardly changes is read every half hour, one that changes after each change: an hour's worth at
# most each, since pulls of a busy calendar are two minutes apart.
READS_OF_AN_IDLE_CALENDAR_A_DAY = 48


def measured() -> dict[str, Any]:
    """What was measured, and when, by the command that measured it."""
    capacity, ingest = (_result(name) for name in ("capacity", "ingest"))
    figures = capacity["figures"]
    return {
        "measured": {
            "python -m bench capacity": _circumstances(capacity),
            "python -m bench.ingest": _circumstances(ingest),
        },
        "costs": plain(costs_of(figures)),
        "ingest_events_per_s": round(ingest["figures"]["rows"]["this"]["creates"]["per_core_s"]),
        "entry_bytes": round(figures["ingest"]["entry_bytes"]),
        "item_bytes": round(figures["ingest"]["item_bytes"]),
        "postgres_cpu_us_each": round(
            figures["writer"]["postgres_cpu_us_each"] + figures["ingest"]["postgres_cpu_us_each"]
        ),
    }


def _result(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _circumstances(result: dict[str, Any]) -> dict[str, Any]:
    return {"measured_at": result["measured_at"], "load_average": result["machine"]["load_average"]}


def forecasts(costs: Costs, lanes: LaneSettings) -> list[Forecast]:
    """One for each size."""
    latency = Latency(GRAPH_LATENCY_S, GRAPH_LATENCY_SPREAD)
    pod = pod_of(lanes, latency, costs=costs)
    return [
        foretell(Load(users, imports=users // USERS_FOR_AN_IMPORT), pod, sample_changes=SAMPLE_CHANGES)
        for users in SIZES
    ]


def tables(found: dict[str, Any]) -> dict[str, str]:
    """By name."""
    costs = costs_in(found)
    told, wide = forecasts(costs, LaneSettings()), forecasts(costs, LaneSettings(writer_max_calls=256))
    return {
        "figures": _table(_figures(found, costs)),
        "sizes": _table(_columns(told, wide, found)),
    }


def _figures(found: dict[str, Any], costs: Costs) -> Iterator[list[str]]:
    yield ["figure", "value"]
    yield ["writer, CPU of an entry in full batches", f"{1e6 * costs.entry_cpu_s(BATCH_MAX_REQUESTS):,.0f} µs"]
    yield ["writer, CPU of an entry whose call carries it alone", f"{1e6 * costs.entry_cpu_s(1):,.0f} µs"]
    for name, stage in (("loading", costs.load), ("a call", costs.send), ("recording", costs.record)):
        yield [f"{name}: CPU, and for each entry in it", _line(stage.group_cpu_s, stage.each_cpu_s)]
        if stage.group_wait_s:
            yield [f"{name}: wait for PostgreSQL, and for each entry", _line(stage.group_wait_s, stage.each_wait_s)]
    yield ["event on the bus → writer's lane, idle", f"{1e3 * costs.way_s:,.0f} ms"]
    yield ["ingest, events a second and core", f"{found['ingest_events_per_s']:,}"]
    yield ["PostgreSQL, CPU of an entry planned and written", f"{found['postgres_cpu_us_each']:,} µs"]
    yield ["an entry in PostgreSQL, with its indexes", f"{found['entry_bytes']:,} bytes"]
    yield ["an item in PostgreSQL, with its indexes", f"{found['item_bytes']:,} bytes"]
    for command, when in found["measured"].items():
        loads = ", ".join(f"{load}" for load in when["load_average"])
        yield [f"measured by `{command}`", f"{when['measured_at'][:16]}, load average {loads}"]


def _line(group_s: float, each_s: float) -> str:
    return f"{1e6 * group_s:,.0f} + {1e6 * each_s:,.0f} µs"


def _columns(told: list[Forecast], wide: list[Forecast], found: dict[str, Any]) -> Iterator[list[str]]:
    yield ["", *(f"{one.load.users:,} users" for one in told)]
    yield ["changes a day", *(f"{one.load.changes_per_day:,.0f}" for one in told)]
    yield ["changes a second, busiest hour", *(f"{one.load.peak_per_s:,.0f}" for one in told)]
    yield ["writer pods, 64 calls each", *(f"{one.pods:,}" for one in told)]
    yield ["writer pods, 256 calls each", *(f"{one.pods:,}" for one in wide)]
    yield ["partitions of the commands topic", *(f"{one.partitions:,}" for one in told)]
    yield ["entries that a call carries", *(f"{one.graph.requests_per_call:.1f}" for one in told)]
    ingest = found["ingest_events_per_s"] * TARGET_SHARE
    yield ["ingest pods", *(f"{max(1, -(-one.load.peak_per_s // ingest)):,.0f}" for one in told)]
    yield ["lag p50 / p99, everyday changes", *(_lag(one) for one in told)]
    yield ["lag p99 of an import of 2,000", *(_import(one) for one in told)]
    yield ["write requests a day", *(f"{one.graph.requests_per_day:,.0f}" for one in told)]
    yield ["write requests a second, busiest hour", *(f"{one.graph.requests_per_s:,.0f}" for one in told)]
    reads = [one.load.users * READS_OF_AN_IDLE_CALENDAR_A_DAY for one in told]
    yield ["read requests a second, all pulled", *(f"{number / DAY_S:,.0f}" for number in reads)]
    yield [
        "applications (13,000 requests/s each)",
        *(_applications(one, of) for one, of in zip(told, reads, strict=True)),
    ]
    cores = found["postgres_cpu_us_each"] / 1e6 / TARGET_SHARE
    yield ["PostgreSQL, cores", *(f"{max(one.load.peak_per_s * cores, 0.1):,.1f}" for one in told)]
    row = found["entry_bytes"] + found["item_bytes"]
    yield ["PostgreSQL, on disk", *(_size(one.load.users * ITEMS_OF_A_USER * row) for one in told)]


def _applications(told: Forecast, reads_a_day: float) -> str:
    per_s = told.graph.requests_per_s + reads_a_day / DAY_S
    return f"{max(1, -(-per_s // APPLICATION_MAX_REQUESTS_PER_S)):,.0f}"


def _lag(told: Forecast) -> str:
    return f"{told.everyday_lag.p50_s:.1f} / {told.everyday_lag.p99_s:.1f} s"


def _import(told: Forecast) -> str:
    return f"{told.import_lag.p99_s / 60:.0f} min" if told.import_lag is not None else "–"


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e12:,.1f} TB" if size_bytes >= 1e12 else f"{size_bytes / 1e9:,.0f} GB"


def _table(rows: list[list[str]] | Iterator[list[str]]) -> str:
    head, *rest = rows
    lines = [head, ["---", *("--:" for _ in head[1:])], *rest]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def fill_in(page: str, made: dict[str, str]) -> str:
    """The page with its tables."""
    for name, table in made.items():
        head, begin, rest = page.partition(f"<!-- generated: {name} -->\n")
        _, end, tail = rest.partition("<!-- /generated -->")
        if not (begin and end):
            sys.exit(f"docs/capacity.md has no place for the table {name}")
        page = f"{head}{begin}\n{table}\n{end}{tail}"
    return page


def main() -> None:
    """Write, or check."""
    found = measured()
    costs = json.dumps(found, indent=2) + "\n"
    page = PAGE.read_text()
    filled = fill_in(page, tables(found))
    if "--check" in sys.argv and (page, COSTS.read_text()) != (filled, costs):
        sys.exit("docs/capacity.md or what it counts with is not up to date: run python bench/capacity_tables.py")
    COSTS.write_text(costs)
    PAGE.write_text(filled)


if __name__ == "__main__":
    main()
