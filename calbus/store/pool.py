"""Connections to PostgreSQL."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from calbus.outage import Dependency
from calbus.settings import PostgresSettings, SettingsError

WRONG_DSN = (
    "CALBUS_POSTGRES_DSN is wrong: it is no address of the form postgresql://user:password@host:port/database, "
    "with special characters in the password percent-encoded."
)
REFUSED = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)


@asynccontextmanager
async def connect(settings: PostgresSettings, postgres: Dependency) -> AsyncIterator[asyncpg.Pool]:
    """A pool of connections; waits for the server if it is away. Nothing may be set on one beyond its transaction.

    Raises SettingsError if the server refuses the credentials or has no such database: at once, or later, when what
    uses the pool ends because a connection that it needed was refused.
    """

    async def start() -> asyncpg.Pool:
        return await asyncpg.create_pool(
            settings.postgres_dsn.get_secret_value(),
            min_size=1,
            max_size=settings.postgres_pool_max_connections,
            command_timeout=settings.postgres_command_timeout_s,
            server_settings={"application_name": "calbus"},
            reset=_leave_as_it_is,
        )

    try:
        pool = await postgres.insist(start)
    except REFUSED as error:
        raise _refused(error) from None
    except (ValueError, asyncpg.ClientConfigurationError):
        raise SettingsError(WRONG_DSN) from None  # the error's own text quotes pieces of the password
    try:
        yield pool
    except REFUSED as error:
        raise _refused(error) from None
    except BaseExceptionGroup as group:
        # Tasks that end for something else besides are not explained by it.
        refused, other = group.split(REFUSED)
        if refused is None or other is not None:
            raise
        raise _refused(refused) from None
    finally:
        pool.terminate()


def _refused(error: BaseException) -> SettingsError:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return SettingsError(f"CALBUS_POSTGRES_DSN is refused by the server: {error}")


async def _leave_as_it_is(_: object) -> None:
    """Instead of a query at each release that resets the session: settings and locks end with their transactions here.

    A transaction that was left open is rolled back all the same.
    """
