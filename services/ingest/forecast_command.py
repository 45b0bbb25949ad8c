"""`calbus forecast TENANT`: what a switch-on would cost, told before anybody flips the switch."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from calbus.command import command_of, fail
from calbus.lifecycle import at_most
from calbus.outage import postgres
from calbus.settings import BudgetSettings, PostgresSettings
from calbus.store.asking import asking_postgres
from calbus.store.migrate import require_schema
from calbus.store.pool import connect
from calbus.telemetry import configure_logging
from schemas.reasons import explain
from schemas.switches import Backfill
from services.ingest.forecast import Fate, Forecast, Hypothesis
from services.ingest.forecast_facts import UnknownTenantError, foretell
from services.ingest.settings import RemovalSettings

FORECAST_TIMEOUT_S = 3_600.0

_FATES = {
    Fate.CREATED: "would be created",
    Fate.CHANGED: "would be written again, or moved",
    Fate.REMOVED: "would be removed",
    Fate.UNCHANGED: "would stay as they stand",
    Fate.NOT_WRITTEN: "would stand in no calendar",
}


class ForecastSettings(PostgresSettings, BudgetSettings, RemovalSettings):
    """Settings of `calbus forecast`."""


def _forecast(
    settings: ForecastSettings,
    tenant: str,
    enable: bool | None = None,
    backfill: Backfill | None = None,
    project: list[str] | None = None,
    account: list[str] | None = None,
    json: bool | None = None,
) -> None:
    """Say what a switch-on would cost: entries, calls to Microsoft Graph, and minutes. Changes nothing.

    Without an option it tells what is still to be done as the settings are.
    """
    hypothesis = Hypothesis(tenant, bool(enable), backfill, frozenset(project or ()), frozenset(account or ()))
    try:
        with asking_postgres(), _progress() as progress:
            forecast = asyncio.run(at_most(FORECAST_TIMEOUT_S, _look(settings, hypothesis, progress)))
    except UnknownTenantError:
        fail(f"calbus knows no tenant {tenant}: neither settings nor items of it were ever published")
    if json:
        sys.stdout.buffer.write(orjson.dumps(forecast, option=orjson.OPT_NON_STR_KEYS) + b"\n")
    else:
        _tell(forecast, hypothesis)


async def _look(settings: ForecastSettings, hypothesis: Hypothesis, progress: Callable[[int, int], None]) -> Forecast:
    async with connect(settings, postgres()) as pool:
        await require_schema(pool)
        return await foretell(pool, hypothesis, settings.mailbox_budget, settings.thresholds, progress)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, if that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("items"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("items", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tell(forecast: Forecast, hypothesis: Hypothesis) -> None:
    out = Console(highlight=False, emoji=False, soft_wrap=True)
    out.print(f"Tenant {escape(hypothesis.tenant)}, {_assumed(hypothesis)}: {forecast.items:,} items", style="bold")
    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for fate, count in forecast.fates.items():
        table.add_row(f"{count:,}", f"entries {_FATES[fate]}")
    for reason, count in forecast.not_written.items():
        table.add_row(f"{count:,}", f"  {reason}: {explain(reason).says}")
    out.print(table)
    out.print(
        f"{forecast.calls_in_all:,} calls to Microsoft Graph in {forecast.mailboxes:,} mailboxes"
        + (f": {', '.join(f'{count:,} {name}' for name, count in forecast.calls.items())}" if forecast.calls else "")
    )
    out.print(
        f"The busiest mailbox takes {forecast.busiest_mailbox_calls:,} calls. The mailbox that is done last takes "
        f"{forecast.busiest_mailbox_minutes:,} minutes at the rate a mailbox allows; all of it takes one writer about "
        f"{forecast.one_writer_minutes:,} minutes."
    )
    if forecast.accounts_activated:
        out.print(
            f"{forecast.accounts_activated:,} accounts would be activated now: what they had before falls under the "
            "tenant's backfill."
        )
    removals = forecast.removals
    if removals.parked:
        out.print(
            f"{removals.parked:,} of {removals.asked:,} removals would wait: they are so many that somebody must look "
            f"first (calbus confirm-removals {escape(hypothesis.tenant)}).",
            style="yellow",
        )


def _assumed(hypothesis: Hypothesis) -> str:
    parts = []
    if hypothesis.enable:
        parts.append("if it were enabled")
    if hypothesis.backfill is not None:
        parts.append(f"with backfill {hypothesis.backfill}")
    if hypothesis.projects:
        parts.append(f"with {len(hypothesis.projects)} more projects enabled")
    if hypothesis.accounts:
        parts.append(f"with {len(hypothesis.accounts)} more accounts allowed")
    return ", ".join(parts) or "as its settings are"


command = command_of(
    "forecast",
    ForecastSettings,
    _forecast,
    configure_logging,
    tenant=Annotated[str, typer.Argument(help="The tenant.")],
    enable=Annotated[bool | None, typer.Option("--enable", help="As if the tenant were enabled.")],
    backfill=Annotated[Backfill | None, typer.Option("--backfill", help="As if this were the tenant's backfill.")],
    project=Annotated[list[str] | None, typer.Option("--project", help="As if this project were enabled. Repeatable.")],
    account=Annotated[list[str] | None, typer.Option("--account", help="As if this user were allowed. Repeatable.")],
    json=Annotated[bool | None, typer.Option("--json", help="For machines.")],
)
