"""The stack: the chosen parts started side by side, described, and ended together.
How a part is started lives in that part's file."""

import asyncio
import sys
from types import TracebackType
from typing import Self, TypeVar

from devstack.engine import Engine, Report
from devstack.errors import DevstackError
from devstack.guarded import Guarded
from devstack.kafka import Kafka, kafka
from devstack.kafka.apache import ApacheKafka
from devstack.postgres import Postgres, postgres
from devstack.settings import Settings, from_environment
from devstack.simulator import Simulator


def to_stderr(line: str) -> None:
    """Progress for the person at the terminal; standard output stays free for what a program may read."""
    print(line, file=sys.stderr, flush=True)


class Stack:
    """Kafka, PostgreSQL and the simulator, as an async context manager.

    On entry every chosen part has answered its own protocol. On exit, on an error while starting, and also when this
    process is killed, everything that was started ends and the run directory is removed; what was given by a setting
    is left alone. Engines can be stopped, killed and started again in between; they keep their addresses and data.
    """

    def __init__(
        self,
        *,
        kafka: bool = True,
        postgres: bool = True,
        simulator: bool = True,
        settings: Settings | None = None,
        report: Report = to_stderr,
    ) -> None:
        self._settings = settings if settings is not None else from_environment()
        self._wanted = (kafka, postgres, simulator)
        self._report = report
        self._guarded: Guarded | None = None
        self._kafka: Kafka | None = None
        self._postgres: Postgres | None = None
        self._simulator: Simulator | None = None

    @property
    def kafka(self) -> Kafka:
        """The broker; raises `DevstackError` if it is not part of this stack."""
        return chosen(self._kafka, "Kafka")

    @property
    def postgres(self) -> Postgres:
        """The database; raises `DevstackError` if it is not part of this stack."""
        return chosen(self._postgres, "PostgreSQL")

    @property
    def simulator(self) -> Simulator:
        """The simulator; raises `DevstackError` if it is not part of this stack."""
        return chosen(self._simulator, "the simulator")

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(self._kafka, ApacheKafka):
                await self._kafka.keep_class_archive()
        finally:
            await self._end()

    def describe(self) -> list[str]:
        """One line for each part: what it is, product and version, address."""
        rows = [engine.describe() for engine in self._engines()]
        widths = [max(len(row[column]) for row in rows) for column in range(2)] if rows else [0, 0]
        return [f"{what:<{widths[0]}}  {product:<{widths[1]}}  {address}" for what, product, address in rows]

    def environment(self) -> dict[str, str]:
        """The environment variables with which calbus uses this stack."""
        variables = {}
        if self._kafka is not None:
            variables["CALBUS_KAFKA_BOOTSTRAP"] = self._kafka.bootstrap
        if self._postgres is not None:
            variables["CALBUS_POSTGRES_DSN"] = self._postgres.dsn
        if self._simulator is not None:
            variables["CALBUS_GRAPH_URL"] = self._simulator.graph_url
            variables["CALBUS_LOGIN_URL"] = self._simulator.login_url
            variables["CALBUS_GRAPH_CA_FILE"] = self._simulator.ca_file
        return variables

    def _engines(self) -> list[Engine]:
        return [part for part in (self._kafka, self._postgres, self._simulator) if part is not None]

    async def _start(self) -> None:
        with_kafka, with_postgres, with_simulator = self._wanted
        guarded = self._guarded = await Guarded.open()
        if with_kafka:
            self._kafka = kafka(self._settings, guarded, self._report)
        if with_postgres:
            self._postgres = postgres(self._settings, guarded)
        if with_simulator:
            self._simulator = Simulator(guarded)
        try:
            async with asyncio.TaskGroup() as starting:
                for engine in self._engines():
                    starting.create_task(engine.start())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        if self._kafka is not None and self._kafka.warning:
            self._report(f"Warning: {self._kafka.warning}")

    async def _end(self) -> None:
        if self._guarded is not None:
            await self._guarded.close()


Part = TypeVar("Part")


def chosen(part: Part | None, title: str) -> Part:
    """The part, or an error that says why there is none."""
    if part is None:
        raise DevstackError(f"{title} is not part of this stack, or the stack is not started")
    return part
