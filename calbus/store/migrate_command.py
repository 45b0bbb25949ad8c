"""`calbus migrate`: the database as this version needs it."""

import asyncio

import asyncpg
import typer

from calbus.command import CommandError, command_of, fail
from calbus.settings import PostgresSettings
from calbus.store.asking import one_connection
from calbus.store.migrate import MigrationError, migrate
from calbus.telemetry import configure_logging


def _migrate(settings: PostgresSettings) -> None:
    """Bring the database to the newest schema. Safe to run twice, and from two places at once."""

    async def main() -> None:
        async with one_connection(settings, command_timeout_s=None) as connection:
            try:
                fresh = await migrate(connection)
            except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
                # Of others it is said that they should run this command.
                raise CommandError(f"PostgreSQL (CALBUS_POSTGRES_DSN): {error}") from None
        for step in fresh:
            typer.echo(f"applied {step.name}")
        typer.echo("the schema is up to date")

    try:
        asyncio.run(main())
    except MigrationError as error:
        fail(f"PostgreSQL (CALBUS_POSTGRES_DSN): {error}")


command = command_of("migrate", PostgresSettings, _migrate, configure_logging)
