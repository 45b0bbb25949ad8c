"""`calbus confirm-removals`: shows what waits, asks, and publishes the confirmation. Ingest then lets it go."""

import asyncio
import sys
from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import asyncpg
import orjson
import typer
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Table

from calbus.bus.publish import PublishError, key_of, publish
from calbus.command import command_of
from calbus.lifecycle import EXIT_FAILURE, EXIT_USAGE, at_most
from calbus.settings import KafkaSettings, PostgresSettings, SettingsError
from calbus.store.pool import WRONG_DSN
from calbus.store.removals import Waiting, waiting
from calbus.telemetry import configure_logging
from schemas.events import TYPE_NAMES, Topic
from schemas.results import RemovalsConfirmed

KAFKA_TIMEOUT_S = 30.0
POSTGRES_TIMEOUT_S = 30.0
ROWS_MAX = 50

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class ConfirmSettings(KafkaSettings, PostgresSettings):
    """Settings of `calbus confirm-removals`."""


class _CommandError(Exception):
    """Ends the command with a sentence that says whose move it is."""

    def __init__(self, sentence: str, code: int = EXIT_FAILURE) -> None:
        super().__init__(sentence)
        self.code = code


def confirm(settings: ConfirmSettings, tenant: str, user: str | None = None, yes: bool | None = None) -> None:
    """Let removals go that calbus held back because they were so many."""
    try:
        _confirm(settings, tenant, user, asked=not yes)
    except _CommandError as fault:
        err.print(str(fault), style="red", soft_wrap=True, markup=False)
        raise typer.Exit(fault.code) from None


def _confirm(settings: ConfirmSettings, tenant: str, user: str | None, *, asked: bool) -> None:
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
    if asked:
        if not sys.stdin.isatty():
            raise _CommandError(
                "nothing was confirmed: this is no terminal to ask on; give --yes if it is meant", EXIT_USAGE
            )
        if not typer.confirm(f"Remove these {count} entries from the calendars?"):
            raise _CommandError("nothing was confirmed: the entries stay where they are")
    # What was not shown is not confirmed, whatever is parked while the question stands: hence no clock of our own.
    until = max(row.until for row in parked)
    _publish(settings, RemovalsConfirmed(tenant=tenant, user=user, until=until))
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
    try:
        connection = await asyncpg.connect(
            settings.postgres_dsn.get_secret_value(), timeout=POSTGRES_TIMEOUT_S, command_timeout=POSTGRES_TIMEOUT_S
        )
    except (ValueError, asyncpg.ClientConfigurationError):
        raise SettingsError(WRONG_DSN) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _CommandError(f"PostgreSQL (CALBUS_POSTGRES_DSN): {str(error) or type(error).__name__}") from None
    try:
        return await waiting(connection, tenant, user)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        raise SettingsError("The database's schema is too old for this version of calbus: run `calbus migrate`.") from (
            None
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _CommandError(f"PostgreSQL (CALBUS_POSTGRES_DSN): {str(error) or type(error).__name__}") from None
    finally:
        await connection.close()


def _publish(settings: KafkaSettings, confirmed: RemovalsConfirmed) -> None:
    envelope = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "/calbus/confirm-removals",
        "type": TYPE_NAMES[RemovalsConfirmed],
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        "data": confirmed.model_dump(mode="json"),
    }
    message = (Topic.REQUESTS, key_of(confirmed).encode(), orjson.dumps(envelope))
    try:
        asyncio.run(at_most(KAFKA_TIMEOUT_S, publish(settings, [message])))
    except TimeoutError:
        raise _CommandError(
            f"Kafka (CALBUS_KAFKA_BOOTSTRAP={settings.kafka_bootstrap}) did not answer for {KAFKA_TIMEOUT_S:.0f} s"
        ) from None
    except (OSError, KafkaError, PublishError) as error:
        raise _CommandError(f"Kafka (CALBUS_KAFKA_BOOTSTRAP): {error}") from None


command = command_of(
    "confirm-removals",
    ConfirmSettings,
    confirm,
    configure_logging,
    tenant=Annotated[str, typer.Argument(help="The tenant whose removals are parked.")],
    user=Annotated[str | None, typer.Option("--user", help="Only those from this user's calendar.")],
    yes=Annotated[bool | None, typer.Option("--yes", help="Do not ask.")],
)
