"""Fills the tables of docs/capacity.md in: what is foretold for three sizes, with the measured figures.

    python bench/capacity_tables.py            writes them
    python bench/capacity_tables.py --check    fails if they are not what would be written

Figures are the constants of services/writer/capacity.py and those below. A file bench/results/capacity.json takes the
place of those it names, for a benchmark to write: {"writer_entries_per_s": 3000, "ingest_events_per_s": 10000}.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from services.writer.capacity import (
    GRAPH_LATENCY_S,
    GRAPH_LATENCY_SPREAD,
    POD_ENTRIES_PER_S,
    TARGET_SHARE,
    Forecast,
    foretell,
)
from services.writer.capacity_command import pod_of
from services.writer.capacity_graph import APPLICATION_MAX_REQUESTS_PER_S, Latency
from services.writer.capacity_load import DAY_S, Load
from services.writer.settings import LaneSettings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "capacity.md"
RESULTS = ROOT / "bench" / "results" / "capacity.json"
SIZES = (10_000, 1_000_000, 50_000_000)
SAMPLE_CHANGES = 20_000
USERS_FOR_AN_IMPORT = 10_000
# Items of a user that are kept in PostgreSQL: a month back and ahead at ten changes a day, each item changed twice.
ITEMS_OF_A_USER = 300
# A pulled calendar that hardly changes is read every half hour, one that changes after each change: an hour's worth at
# most each, since pulls of a busy calendar are two minutes apart.
READS_OF_AN_IDLE_CALENDAR_A_DAY = 48
FIGURES = {
    "writer_entries_per_s": POD_ENTRIES_PER_S,
    "ingest_events_per_s": 900.0,
    "entry_bytes": 2_500.0,
    "item_bytes": 1_150.0,
}


def figures() -> dict[str, float]:
    """The newest there are."""
    return FIGURES | (json.loads(RESULTS.read_text()) if RESULTS.exists() else {})


def forecasts(measured: dict[str, float], **lanes: int) -> list[Forecast]:
    """One for each size."""
    latency = Latency(GRAPH_LATENCY_S, GRAPH_LATENCY_SPREAD)
    pod = pod_of(LaneSettings(**lanes), latency, measured["writer_entries_per_s"])
    return [
        foretell(Load(users, imports=users // USERS_FOR_AN_IMPORT), pod, sample_changes=SAMPLE_CHANGES)
        for users in SIZES
    ]


def tables() -> dict[str, str]:
    """By name."""
    measured = figures()
    told, wide = forecasts(measured), forecasts(measured, writer_max_calls=256)
    return {
        "figures": _table([["figure", "value"], *([f"`{name}`", f"{value:,.0f}"] for name, value in measured.items())]),
        "sizes": _table(_columns(told, wide, measured)),
    }


def _columns(told: list[Forecast], wide: list[Forecast], measured: dict[str, float]) -> Iterator[list[str]]:
    yield ["", *(f"{one.load.users:,} users" for one in told)]
    yield ["changes a day", *(f"{one.load.changes_per_day:,.0f}" for one in told)]
    yield ["changes a second, busiest hour", *(f"{one.load.peak_per_s:,.0f}" for one in told)]
    yield ["writer pods, 64 calls each", *(f"{one.pods:,}" for one in told)]
    yield ["writer pods, 256 calls each", *(f"{one.pods:,}" for one in wide)]
    yield ["partitions of the commands topic", *(f"{one.partitions:,}" for one in told)]
    ingest = measured["ingest_events_per_s"] * TARGET_SHARE
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
    row = measured["entry_bytes"] + measured["item_bytes"]
    yield ["PostgreSQL", *(_size(one.load.users * ITEMS_OF_A_USER * row) for one in told)]


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
        part = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- /generated -->)", re.DOTALL)
        page, found = part.subn(lambda match, table=table: f"{match[1]}\n{table}\n{match[2]}", page)
        if found != 1:
            sys.exit(f"docs/capacity.md has no place for the table {name}")
    return page


def main() -> None:
    """Write, or check."""
    page = PAGE.read_text()
    filled = fill_in(page, tables())
    if "--check" in sys.argv and page != filled:
        sys.exit("docs/capacity.md is not up to date: run python bench/capacity_tables.py")
    PAGE.write_text(filled)


if __name__ == "__main__":
    main()
