"""Apache Kafka as one process that is broker and controller (KRaft), from the fetched jars.
Only its configuration, its formatting and its JVM live here."""

import asyncio
import os
import secrets
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from devstack.engine import Report, StartedEngine
from devstack.guarded import Command, Guarded
from devstack.kafka.choice import Java
from devstack.kafka.common import listens, serves
from devstack.kafka.jars import (
    KAFKA_VERSION,
    class_path,
    complete,
    fetch,
    fetch_lock,
    is_complete,
    kafka_home,
)
from devstack.ports import LOOPBACK, free_port

HEAP_MAX_MIB = 512
MESSAGE_MAX_BYTES = 1_048_588  # Kafka's own default, written down because the contract suite asserts it
INTERNAL_PARTITIONS = 4

# Started often and for short: compile quickly, collect simply, write nothing outside the run directory.
JVM_FLAGS = (
    f"-Xmx{HEAP_MAX_MIB}m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-XX:-UsePerfData",
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "-Djava.awt.headless=true",
)

LOGGING = """\
status=error
appender.file.type=File
appender.file.name=file
appender.file.fileName={log}
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d %p %c{{1}}: %m%n
rootLogger.level=info
rootLogger.appenderRef.file.ref=file
"""


def server_properties(port: int, controller_port: int, log_dir: Path) -> dict[str, str]:
    """The broker's configuration: one node, nothing replicated, nothing created by accident, no waiting."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "PLAINTEXT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(log_dir),
        "auto.create.topics.enable": "false",
        "message.max.bytes": str(MESSAGE_MAX_BYTES),
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": str(INTERNAL_PARTITIONS),
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": str(INTERNAL_PARTITIONS),
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": str(INTERNAL_PARTITIONS),
        # A group's first rebalance need not wait for members that are started later.
        "group.initial.rebalance.delay.ms": "0",
        # A killed broker may register again only when its old session is over: by default that takes nine seconds.
        "broker.session.timeout.ms": "2000",
        "broker.heartbeat.interval.ms": "250",
        # Tests let members die: their sessions must be allowed to end soon.
        "group.min.session.timeout.ms": "1000",
    }


class ApacheKafka(StartedEngine):
    """A single-node Apache Kafka in the run directory, on the loopback address only.

    What was acknowledged survives `kill` and `start`: the page cache of the machine has it.
    """

    engine = "apache"
    warning = ""

    def __init__(self, guarded: Guarded, java: Java, cache: Path, report: Report) -> None:
        super().__init__(guarded, "kafka")
        self.title = f"Apache Kafka {KAFKA_VERSION}"
        self.version = KAFKA_VERSION
        self._java = java
        self._home = kafka_home(cache)
        self._report = report
        self.port = 0
        self.bootstrap = ""

    def describe(self) -> tuple[str, str, str]:
        """See `Engine.describe`."""
        return "Kafka", f"Apache Kafka {self.version} (KRaft, Java {self._java.major})", self.bootstrap

    async def keep_class_archive(self) -> None:
        """Unless there is one: stop, and keep what the JVM learned. Later starts are two seconds shorter."""
        if not self._class_archive.exists():
            await self.stop()
            await asyncio.to_thread(self._keep, self.directory / "classes.jsa")

    async def _prepare(self) -> None:
        if not is_complete(self._home):
            async with fetch_lock(self._home, self._report):
                if not is_complete(self._home):
                    await self._fetch_and_format()
        self.port, controller_port = free_port(), free_port()
        self.bootstrap = f"{LOOPBACK}:{self.port}"
        shutil.copytree(self._home / "formatted", self._data)
        self._write_configuration(server_properties(self.port, controller_port, self._data))

    async def _fetch_and_format(self) -> None:
        # In the run directory, which the guardian removes: an interruption leaves nothing half done in the cache.
        fetched = self.directory / "fetched"
        await fetch(self._guarded, self.directory, self._report)
        self._write_configuration(server_properties(9092, 9093, fetched / "formatted"))
        tool = ("kafka.tools.StorageTool", "format", "--cluster-id", "calbus-devstack-000000")
        await self._run_tool(
            self._java_command(class_path(fetched), *tool, "--config", str(self._properties)),
            "Formatting Kafka's storage",
        )
        await asyncio.to_thread(complete, fetched, self._home)
        self._report(f"Apache Kafka {KAFKA_VERSION} is complete in {self._home}")

    def _write_configuration(self, properties: dict[str, str]) -> None:
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
        self._logging.write_text(LOGGING.format(log=self.directory / "server.log"))

    def _command(self) -> Command:
        archive = (
            f"-XX:SharedArchiveFile={self._class_archive}"
            if self._class_archive.exists()
            else f"-XX:ArchiveClassesAtExit={self.directory / 'classes.jsa'}"
        )
        return self._java_command(class_path(self._home), "kafka.Kafka", str(self._properties), archive=archive)

    def _java_command(self, classes: str, *arguments: str, archive: str = "-Xshare:auto") -> Command:
        output = str(self.directory / "console.log")
        return Command(
            argv=[
                *(str(self._java.program), archive, *JVM_FLAGS),
                f"-Djava.io.tmpdir={self.directory}",
                f"-Dlog4j2.configurationFile={self._logging}",
                *("-cp", classes, *arguments),
            ],
            stdout=output,
            stderr=output,
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            cwd=str(self.directory),
            end_signal=signal.SIGKILL,  # in order would take longer, for data that are removed
        )

    async def _answers(self) -> bool:
        return await listens(self.bootstrap) and await serves(self.bootstrap)

    def _keep(self, learned: Path) -> None:
        if not learned.is_file():  # it was killed, or ran with another's archive
            return
        partial = self._class_archive.with_name(f"{self._class_archive.name}.{secrets.token_hex(4)}")
        shutil.copyfile(learned, partial)
        partial.rename(self._class_archive)

    @property
    def _class_archive(self) -> Path:
        return self._home / f"classes-{self._java.release}.jsa"

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _properties(self) -> Path:
        return self.directory / "server.properties"

    @property
    def _logging(self) -> Path:
        return self.directory / "log4j2.properties"

    @property
    def _logs(self) -> Sequence[Path]:
        return (self.directory / "server.log", self.directory / "console.log")
