"""The embedded broker (the `noida-db` wheel in Kafka mode), for machines without Java or Maven.
Only its command line and its known limits live here."""

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from devstack.engine import StartedEngine
from devstack.guarded import Command, Guarded
from devstack.kafka.common import listens, serves
from devstack.ports import LOOPBACK, free_port


class EmbeddedKafka(StartedEngine):
    """A small broker that speaks Kafka's protocol, in the run directory, on the loopback address only.

    It does not hold the bus contract of `tests/contract`. Seen with 0.2.3: a group whose leader vanished without
    leaving never gets a new one; a kill loses what was acknowledged within the last second; and after a message that
    was refused for its size the same idempotent producer is out of sequence.
    """

    title = "The embedded Kafka broker"
    engine = "embedded"
    warning = (
        "the embedded broker is a stand-in that does not hold the bus contract: a group stands still after a member's "
        "crash, and a kill loses messages. Install Java 17 and Maven to run on Apache Kafka"
    )

    def __init__(self, guarded: Guarded, program: Path) -> None:
        super().__init__(guarded, "kafka")
        self._program = program
        self.version = version("noida-db")
        self.port = 0
        self.bootstrap = ""

    def describe(self) -> tuple[str, str, str]:
        """See `Engine.describe`."""
        return "Kafka", f"noida-db {self.version} (embedded, speaks Kafka's protocol)", self.bootstrap

    async def _prepare(self) -> None:
        self.port = free_port()
        self.bootstrap = f"{LOOPBACK}:{self.port}"

    def _command(self) -> Command:
        output = str(self.directory / "server.log")
        options = ("--only", "kafka", "--host", LOOPBACK, "--kafka-port", str(self.port))
        return Command(
            argv=[str(self._program), "start", *options, "--data-dir", str(self.directory / "data")],
            stdout=output,
            stderr=output,
            env={"PATH": os.defpath, "HOME": str(self.directory)},
            cwd=str(self.directory),
        )

    async def _answers(self) -> bool:
        return await listens(self.bootstrap) and await serves(self.bootstrap)

    @property
    def _logs(self) -> Sequence[Path]:
        return (self.directory / "server.log",)
