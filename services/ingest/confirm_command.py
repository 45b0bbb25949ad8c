"""`calbus confirm-removals`: shows what waits, asks, and publishes the confirmation. Ingest then lets it go."""

import asyncio
import sys
from datetime import UTC
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from calbus.bus.asking import message_of, publish_all
from calbus.command import CommandError, command_of
from calbus.lifecycle import EXIT_USAGE
from calbus.settings import KafkaSettings, PostgresSettings
from calbus.store.asking import one_connection
from calbus.store.removals import Waiting, waiting
from calbus.telemetry import configure_logging
from schemas.results import RemovalsConfirmed

ROWS_MAX = 50

out = Console(highlight=False)


class ConfirmSettings(KafkaSettings, PostgresSettings):
    """Settings of `calbus confirm-removals`."""


def confirm(settings: ConfirmSettings, tenant: str, user: str | None = None, yes: bool | None = None) -> None:
    """Let removals go that calbus held back because they were so many."""
    found = asyncio.run(_look(settings, tenant, user))
    whose = f"tenant {tenant}" if user is None else f"user {user} of tenant {tenant}"
    unjudged = sum(row.entries for row in found if row.unjudged)
    if unjudged:
        out.print(f"{unjudged} removals are still being counted, since settings changed: look again in a while")
    parked = [row for row in found if not row.unjudged]
    if not parked:
        out.print(f"no removals of {whose} are parked", markup=False)
        return
    out.print(_table(parked))
    count = sum(row.entries for row in parked)
    if not yes:
        if not sys.stdin.isatty():
            raise CommandError(
                "nothing was confirmed: this is no terminal to ask on; give --yes if it is meant", EXIT_USAGE
            )
        if not typer.confirm(f"Remove these {count} entries from the calendars?"):
            raise CommandError("nothing was confirmed: the entries stay where they are")
    # What was not shown is not confirmed, whatever is parked while the question stands: hence no clock of our own.
    until = max(row.until for row in parked)
    request = message_of(RemovalsConfirmed(tenant=tenant, user=user, until=until), "confirm-removals")
    asyncio.run(publish_all(settings, [request]))
    out.print(f"confirmed: {count} entries of {whose} leave the calendars", markup=False)


def _table(parked: list[Waiting]) -> Table:
    table = Table(box=None, header_style="bold")
    for heading in ("User", "Entries", "Cause", "Since"):
        table.add_column(heading, justify="right" if heading == "Entries" else "left", overflow="fold")
    largest_first = sorted(parked, key=lambda row: (-row.entries, row.user, row.cause))
    for row in largest_first[:ROWS_MAX]:
        since = row.since.astimezone(UTC).isoformat(" ", "seconds")
        table.add_row(row.user, str(row.entries), row.cause, since)
    if rest := largest_first[ROWS_MAX:]:
        table.add_row(f"and {len(rest)} more", str(sum(row.entries for row in rest)), "", "")
    return table


async def _look(settings: ConfirmSettings, tenant: str, user: str | None) -> list[Waiting]:
    async with one_connection(settings) as connection:
        return await waiting(connection, tenant, user)


command = command_of(
    "confirm-removals",
    ConfirmSettings,
    confirm,
    configure_logging,
    tenant=Annotated[str, typer.Argument(help="The tenant whose removals are parked.")],
    user=Annotated[str | None, typer.Option("--user", help="Only those from this user's calendar.")],
    yes=Annotated[bool | None, typer.Option("--yes", help="Do not ask.")],
)
