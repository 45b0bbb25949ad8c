"""Waiting for PostgreSQL or Kafka to come back: visibly, without losing or skipping anything.

An outage is said once when it starts and once when it ends; in between a gauge and the readiness probe show it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import asyncpg
from aiokafka.errors import KafkaError

from calbus.telemetry import DEPENDENCY_UP, log

RETRY_FIRST_S = 0.1
RETRY_MAX_S = 5.0

POSTGRES_AWAY: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.TooManyConnectionsError,
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.ReadOnlySQLTransactionError,
    # Two transactions in each other's way: both are repeatable.
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
)
KAFKA_AWAY: tuple[type[BaseException], ...] = (OSError, TimeoutError, KafkaError)

T = TypeVar("T")


class Dependency:
    """One thing that a service cannot work without."""

    def __init__(self, name: str, away: tuple[type[BaseException], ...]) -> None:
        self.name = name
        self.up = True
        self._away = away
        DEPENDENCY_UP.labels(name).set(1)

    async def insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Call `attempt` until it succeeds; only errors that mean "away" are waited out, others are raised.

        `attempt` must be repeatable. Waits between 0.1 and 5 seconds; there is no limit to how often.
        """
        wait_s = RETRY_FIRST_S
        while True:
            try:
                result = await attempt()
            except self._away as error:
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
    return Dependency("postgresql", POSTGRES_AWAY)


def kafka() -> Dependency:
    """Kafka, as one process sees it."""
    return Dependency("kafka", KAFKA_AWAY)
