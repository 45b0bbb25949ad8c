"""How commands ask PostgreSQL, and the sentence they end with if it does not answer."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg

from calbus.command import CommandError
from calbus.settings import PostgresSettings, SettingsError
from calbus.store.connection import Connection
from calbus.store.pool import WRONG_DSN

TIMEOUT_S = 30.0


@contextmanager
def asking_postgres() -> Iterator[None]:
    """Around what asks PostgreSQL: raises CommandError if it cannot be reached or breaks off."""
    try:
        yield
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        raise SettingsError("The database's schema is too old for this version of calbus: run `calbus migrate`.") from (
            None
        )
    except TimeoutError:
        raise CommandError("PostgreSQL (CALBUS_POSTGRES_DSN) does not answer") from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise CommandError(f"PostgreSQL (CALBUS_POSTGRES_DSN): {str(error) or type(error).__name__}") from None


@asynccontextmanager
async def one_connection(
    settings: PostgresSettings, command_timeout_s: float | None = TIMEOUT_S
) -> AsyncIterator[Connection]:
    """A connection of its own. Raises where there is none, without trying again: a person waits for the answer."""
    with asking_postgres():
        try:
            dsn = settings.postgres_dsn.get_secret_value()
            connection = await asyncpg.connect(dsn, timeout=TIMEOUT_S, command_timeout=command_timeout_s)
        except (ValueError, asyncpg.ClientConfigurationError):
            raise SettingsError(WRONG_DSN) from None  # the error's own text quotes pieces of the password
        try:
            yield connection
        finally:
            await connection.close()
