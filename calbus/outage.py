"""Waiting for PostgreSQL or Kafka to come back: visibly, without losing or skipping anything.

An outage is said once when it starts and once when it ends; in between a gauge and the readiness probe show it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg

from calbus.telemetry import DEPENDENCY_UP, log

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 5.0

POSTGRES_AWAY: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # What asyncpg says of a connection whose server died in the middle of an exchange.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.QueryCanceledError,
)
# Two transactions in each other's way: nothing is away, and one of them is simply repeated.
POSTGRES_COLLIDED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)

T = TypeVar("T")


class Dependency:
    """One thing that a service cannot work without."""

    def __init__(self, name: str, is_away: Callable[[Exception], bool]) -> None:
        self.name = name
        self.up = True
        self._is_away = is_away
        DEPENDENCY_UP.labels(name).set(1)

    async def insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Call `attempt` until it succeeds; only errors that mean "away" are waited out, others are raised.

        `attempt` must be repeatable. Waits between 0.1 and 5 seconds; there is no limit to how often.
        """
        wait_s = RETRY_FIRST_S
        while True:
            try:
                result = await attempt()
            except Exception as error:
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    # asyncpg may answer a cancellation with an error of its own: waiting it out would never end.
                    raise asyncio.CancelledError from error
                if isinstance(error, POSTGRES_COLLIDED):
                    await asyncio.sleep(RETRY_FIRST_S)
                    continue
                if not self._is_away(error):
                    raise
                self._down(error)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, RETRY_MAX_S)
            else:
                self._back()
                return result

    def _down(self, error: BaseException) -> None:
        if self.up:
            self.up = False
            DEPENDENCY_UP.labels(self.name).set(0)
            log.error("dependency is away; work waits for it", dependency=self.name, error=type(error).__name__)

    def _back(self) -> None:
        if not self.up:
            self.up = True
            DEPENDENCY_UP.labels(self.name).set(1)
            log.info("dependency is back; work goes on", dependency=self.name)


def postgres() -> Dependency:
    """PostgreSQL, as one process sees it."""
    return Dependency("postgresql", lambda error: isinstance(error, POSTGRES_AWAY))


def kafka() -> Dependency:
    """Kafka, as one process sees it.

    Only what Kafka itself calls retriable is waited out. Anything else would not change by waiting, and may have left
    the producer unusable: it ends the process, and a new one starts clean.
    """
    return Dependency("kafka", _kafka_is_away)


def _kafka_is_away(error: Exception) -> bool:
    from aiokafka.errors import KafkaError  # a third of a second, which commands that know no Kafka need not spend

    return isinstance(error, OSError | TimeoutError) or (isinstance(error, KafkaError) and error.retriable)
