"""`calbus migrate`: the database as this version needs it."""

import asyncio

import asyncpg
import typer

from calbus.command import command_of, fail
from calbus.settings import PostgresSettings, SettingsError
from calbus.store.migrate import MigrationError, migrate
from calbus.store.pool import WRONG_DSN
from calbus.telemetry import configure_logging


def _migrate(settings: PostgresSettings) -> None:
    """Bring the database to the newest schema. Safe to run twice, and from two places at once."""

    async def main() -> None:
        connection = await asyncpg.connect(settings.postgres_dsn.get_secret_value())
        try:
            fresh = await migrate(connection)
        finally:
            await connection.close()
        for step in fresh:
            typer.echo(f"applied {step.name}")
        typer.echo("the schema is up to date")

    try:
        asyncio.run(main())
    except (ValueError, asyncpg.ClientConfigurationError):
        raise SettingsError(WRONG_DSN) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, MigrationError) as error:
        fail(f"PostgreSQL (CALBUS_POSTGRES_DSN): {str(error) or type(error).__name__}")


command = command_of("migrate", PostgresSettings, _migrate, configure_logging)
