"""`calbus capacity`: how many writers a number of users takes, and how long their changes take, told by simulation."""

import sys
from dataclasses import asdict
from math import inf, isinf
from typing import Annotated, NoReturn, TypeVar

import orjson
import typer
from rich.console import Console
from rich.table import Table

from calbus.command import command_of
from calbus.graph.calls import BATCH_MAX_REQUESTS
from calbus.lifecycle import EXIT_USAGE
from calbus.telemetry import configure_logging
from services.writer import capacity
from services.writer.capacity import Forecast, Lag, foretell
from services.writer.capacity_costs import Costs, measured
from services.writer.capacity_graph import Latency
from services.writer.capacity_load import Load
from services.writer.capacity_pod import Pod
from services.writer.settings import LaneSettings

T = TypeVar("T")
_LOAD = Load(users=1)


def _capacity(
    settings: LaneSettings,
    users: int | None = None,
    items_per_day: float | None = None,
    peak: float | None = None,
    tenants: int | None = None,
    tenant_skew: float | None = None,
    user_skew: float | None = None,
    imports: int | None = None,
    import_items: int | None = None,
    graph_latency_ms: float | None = None,
    graph_latency_spread: float | None = None,
    requests_per_entry: float | None = None,
    pod_entries_per_s: float | None = None,
    pods: int | None = None,
    partitions: int | None = None,
    seed: int | None = None,
    sample: int | None = None,
    json: bool | None = None,
) -> None:
    """Foretell pods, lag, Graph calls and throttling for a number of users, by simulating the busiest pod.

    The simulation runs the writer's own dispatcher, lanes, budgets and pipeline under the settings in force, in virtual
    time. It needs neither Kafka nor PostgreSQL nor Microsoft Graph.
    """
    if users is None:
        _fail("--users is missing: how many people's calendars are to be kept?")
    if pods is not None and partitions is not None and pods > partitions:
        _fail(f"{pods} pods cannot share {partitions} partitions: each needs at least one")
    load = Load(
        users,
        _or(items_per_day, _LOAD.items_per_day),
        _or(peak, _LOAD.peak),
        tenants or 0,
        _or(tenant_skew, _LOAD.tenant_skew),
        _or(user_skew, _LOAD.user_skew),
        _or(imports, _LOAD.imports),
        _or(import_items, _LOAD.import_items),
    )
    median_s = capacity.GRAPH_LATENCY_S if graph_latency_ms is None else graph_latency_ms / 1_000
    pod = pod_of(
        settings,
        Latency(median_s, _or(graph_latency_spread, capacity.GRAPH_LATENCY_SPREAD)),
        pod_entries_per_s,
        _or(requests_per_entry, 1.0),
    )
    forecast = foretell(
        load,
        pod,
        seed=seed or 0,
        pods=pods,
        partitions=partitions,
        sample_changes=_or(sample, capacity.SAMPLE_CHANGES),
    )
    if json:
        sys.stdout.buffer.write(orjson.dumps(_plain(forecast), option=orjson.OPT_INDENT_2) + b"\n")
    else:
        _tell(forecast)


def pod_of(
    settings: LaneSettings,
    latency: Latency,
    entries_per_s: float | None = None,
    requests_per_entry: float = 1.0,
    costs: Costs | None = None,
) -> Pod:
    """A writer as it is set, with the costs that were measured, or on a core that gets through so many entries."""
    costs = costs or measured()
    if entries_per_s is not None:
        costs = costs.on_a_core(1 / (entries_per_s * costs.entry_cpu_s(BATCH_MAX_REQUESTS)))
    return Pod(
        limits=settings.lane_limits,
        max_calls=settings.writer_max_calls,
        sweep_interval_s=settings.writer_sweep_interval_s,
        requests_per_entry=requests_per_entry,
        latency=latency,
        costs=costs,
    )


def _or(given: T | None, default: T) -> T:
    return default if given is None else given


def _plain(forecast: Forecast) -> dict[str, object]:
    plain = asdict(forecast)
    if isinf(forecast.backlog_hours):
        plain["backlog_hours"] = None  # JSON has no word for what never ends
    plain["sample"]["is_whole"] = forecast.sample.is_whole
    return plain


def _tell(forecast: Forecast) -> None:
    out = Console(highlight=False, emoji=False, soft_wrap=True)
    load, graph, sample = forecast.load, forecast.graph, forecast.sample
    out.print(
        f"{load.users:,} users in {load.tenants:,} tenants, {load.changes_per_day:,.0f} changes a day, "
        f"{load.peak_per_s:,.1f} a second in the busiest hour",
        style="bold",
    )
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(f"{forecast.pods:,}", f"pods on {forecast.partitions:,} partitions")
    table.add_row(
        f"{forecast.share_of_pod:.0%}",
        f"of what the busiest one can do, which is {forecast.pod_entries_per_s:,.0f} entries a second",
    )
    table.add_row(f"{graph.requests_per_day:,.0f}", "requests of writers to Microsoft Graph a day")
    table.add_row(f"{graph.requests_per_s:,.0f}", "a second in the busiest hour, " + _calls(forecast))
    table.add_row(f"{graph.throttled:,}", "of those simulated were throttled (429)")
    table.add_row(
        f"{graph.most_in_flight}", f"in flight in one mailbox at most, {graph.most_in_10_min:,} in 10 minutes"
    )
    out.print(table)
    lags = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    lags.add_column("From event to calendar, busiest hour")
    for name in ("p50", "p95", "p99", "longest"):
        lags.add_column(name, justify="right")
    lags.add_row("everyday changes", *_times(forecast.everyday_lag))
    if forecast.import_lag is not None:
        lags.add_row(f"imports of {load.import_items:,} into a mailbox", *_times(forecast.import_lag))
    out.print(lags)
    waits = forecast.waits
    out.print(
        f"Where everyday changes spend that time: Microsoft Graph's own {waits.graph:.0%}, their mailbox's limits "
        f"{waits.mailbox:.0%}, waiting for the pod {waits.pod:.0%}, the rest of the way {waits.overhead:.0%}."
    )
    if sample.is_whole:
        out.print(f"Simulated: the busiest pod's busiest hour as a whole, {sample.changes:,} changes.")
    else:
        out.print(
            f"Simulated: a sample. Of {forecast.pods:,} pods the busiest, with {sample.mailboxes:,} mailboxes; of its "
            f"busiest hour {sample.seconds:,.0f} s; of its {sample.of_changes:,.0f} changes then {sample.changes:,}"
            + (f", of its {sample.of_imports:,.0f} imports {sample.imports:,}" if load.imports else "")
            + ". The rest is scaled up from it."
        )
    for warning in _warnings(forecast):
        out.print(warning, style="yellow")


def _calls(forecast: Forecast) -> str:
    graph = forecast.graph
    return (
        f"{graph.requests_per_call:.1f} of them to a call: {graph.share_of_application:.0%} of what one application "
        "may send to all tenants together"
    )


def _warnings(forecast: Forecast) -> list[str]:
    warnings = []
    if not forecast.keeps_up:
        end = "never" if forecast.backlog_hours == inf else f"{forecast.backlog_hours:,.1f} hours after it"
        warnings.append(
            f"The pods do not keep up with the busiest hour; what it leaves behind is done {end}. The lags are scaled "
            "up to the whole hour."
        )
    elif forecast.share_of_pod > capacity.TARGET_SHARE:
        warnings.append(
            f"A pod should not be fuller than {capacity.TARGET_SHARE:.0%}: add pods, or partitions for them."
        )
    if forecast.graph.applications > 1:
        warnings.append(
            "More than Microsoft lets one application send: the users must be shared out among "
            f"{forecast.graph.applications} applications, each with a calbus of its own, whatever the number of pods."
        )
    return warnings


def _times(lag: Lag) -> tuple[str, ...]:
    return tuple(_time(seconds) for seconds in (lag.p50_s, lag.p95_s, lag.p99_s, lag.max_s))


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 60 else f"{seconds / 60:,.1f} min"


def _fail(sentence: str) -> NoReturn:
    Console(stderr=True, highlight=False).print(sentence, style="red", soft_wrap=True, markup=False)
    raise typer.Exit(EXIT_USAGE)


def _option(flag: str, about: str, default: object = None, **limits: float) -> typer.models.OptionInfo:
    shown = about if default is None else f"{about} By default {default:,}."
    option: typer.models.OptionInfo = typer.Option(flag, help=shown, show_default=False, **limits)  # type: ignore[arg-type]
    return option


command = command_of(
    "capacity",
    LaneSettings,
    _capacity,
    configure_logging,
    users=Annotated[int | None, _option("--users", "People whose calendars are kept.", min=1, max=10**9)],
    items_per_day=Annotated[
        float | None,
        _option("--items-per-day", "Changes in each one's calendar a day.", _LOAD.items_per_day, min=0, max=10_000),
    ],
    peak=Annotated[
        float | None,
        _option("--peak", "The share of the day's changes in its busiest hour.", _LOAD.peak, min=1 / 24, max=1),
    ],
    tenants=Annotated[
        int | None,
        _option("--tenants", f"By default one for {capacity.USERS_PER_TENANT} users.", min=1, max=10**7),
    ],
    tenant_skew=Annotated[
        float | None,
        _option("--tenant-skew", "Zipf's exponent of the tenants' sizes.", _LOAD.tenant_skew, min=0, max=3),
    ],
    user_skew=Annotated[
        float | None,
        _option("--user-skew", "How unlike users are; 0 is all alike.", _LOAD.user_skew, min=0, max=3),
    ],
    imports=Annotated[
        int | None,
        _option("--imports", "Mailboxes with an import in the busiest hour.", _LOAD.imports, min=0, max=10**8),
    ],
    import_items=Annotated[
        int | None,
        _option("--import-items", "Entries of each import.", _LOAD.import_items, min=1, max=20_000),
    ],
    graph_latency_ms=Annotated[
        float | None,
        _option(
            "--graph-latency-ms",
            "Median time of a request to Microsoft Graph.",
            1_000 * capacity.GRAPH_LATENCY_S,
            min=0.1,
            max=30_000,
        ),
    ],
    graph_latency_spread=Annotated[
        float | None,
        _option(
            "--graph-latency-spread",
            "Standard deviation of its logarithm; 0 is always alike.",
            capacity.GRAPH_LATENCY_SPREAD,
            min=0,
            max=2,
        ),
    ],
    requests_per_entry=Annotated[
        float | None, _option("--requests-per-entry", "To Microsoft Graph, on average.", 1.0, min=1, max=10)
    ],
    pod_entries_per_s=Annotated[
        float | None,
        _option(
            "--pod-entries-per-s",
            "What one core of a writer gets through in full batches.",
            round(1 / measured().entry_cpu_s(BATCH_MAX_REQUESTS)),
            min=1,
            max=10**6,
        ),
    ],
    pods=Annotated[int | None, _option("--pods", "By default as many as it takes.", min=1, max=10_000)],
    partitions=Annotated[
        int | None,
        _option(
            "--partitions", f"Of the commands topic. By default {capacity.PARTITIONS_PER_POD} a pod.", min=1, max=10_000
        ),
    ],
    seed=Annotated[int | None, _option("--seed", "The same seed gives the same answer.", 0, min=0)],
    sample=Annotated[
        int | None,
        _option("--sample", "Changes that are simulated at most.", capacity.SAMPLE_CHANGES, min=1_000, max=10**7),
    ],
    json=Annotated[bool | None, typer.Option("--json", help="For machines.")],
)
