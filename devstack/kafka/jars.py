"""The fetched Apache Kafka: where it is kept, whether it is complete, and fetching it with Maven.
Running it is not done here.

    <cache>/kafka-<version>/jars/*.jar
                           /formatted/         an empty, formatted log directory, to copy instead of formatting
                           /classes-<java>.jsa what a Java learned about the broker's classes, for a faster start
                           /complete           written last; holds the digest of the pom.xml it was fetched by
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

from calbus.lifecycle import at_most
from devstack.engine import Report, log_tail
from devstack.errors import EngineFailedError
from devstack.guarded import Command, Guarded, Process

POM = Path(__file__).with_name("pom.xml")
KAFKA_VERSION = str(ET.fromstring(POM.read_text()).findtext(".//{*}kafka.version"))  # noqa: S314 (our own file)
FETCH_TIMEOUT_S = 900.0
PROGRESS_INTERVAL_S = 2.0
LOCK_POLL_S = 0.2


def kafka_home(cache: Path) -> Path:
    """Where this version of Kafka is kept."""
    return cache / f"kafka-{KAFKA_VERSION}"


def pom_digest() -> str:
    """What distinguishes one set of jars from another."""
    return hashlib.sha256(POM.read_bytes()).hexdigest()


def is_complete(home: Path) -> bool:
    """Whether fetching ended well, by the present pom.xml. An interrupted fetch never looks complete."""
    marker = home / "complete"
    return marker.is_file() and marker.read_text() == pom_digest()


def class_path(home: Path) -> str:
    """The jars, each by its name and always in one order: a class archive is valid for exactly one class path."""
    return ":".join(str(jar) for jar in sorted((home / "jars").glob("*.jar")))


@asynccontextmanager
async def fetch_lock(home: Path, report: Report) -> AsyncIterator[None]:
    """One fetch at a time on this machine; the lock goes with the process that holds it."""
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{home.name}.lock").open("w") as lock:
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    report(f"Waiting for another process that fetches Apache Kafka {KAFKA_VERSION} ...")
                told = True
            await asyncio.sleep(LOCK_POLL_S)
        yield


async def fetch(guarded: Guarded, directory: Path, report: Report) -> None:
    """Let Maven resolve the jars into `directory/fetched/jars`; raises `EngineFailedError` with Maven's own words."""
    log = directory / "maven.log"
    report(f"Fetching Apache Kafka {KAFKA_VERSION} with Maven (once; about 45 MB) ...")
    maven = await guarded.spawn(
        "maven",
        Command(
            argv=[
                *("mvn", "--batch-mode", "--strict-checksums", "--file", str(POM)),
                *("dependency:copy-dependencies", "-DincludeScope=runtime"),
                f"-DoutputDirectory={directory / 'fetched' / 'jars'}",
            ],
            stdout=str(log),
            stderr=str(log),
            # Without its performance file, which a killed JVM leaves in the temporary directory.
            env={**os.environ, "MAVEN_OPTS": f"{os.environ.get('MAVEN_OPTS', '')} -XX:-UsePerfData"},
            cwd=str(directory),
        ),
    )
    code = await _watch(maven, log, report)
    if code != 0:
        raise EngineFailedError(
            f"Maven could not fetch Apache Kafka {KAFKA_VERSION} (code {code}). Look at its words below; check the "
            "network and Maven's settings, or set CALBUS_KAFKA_BOOTSTRAP to a broker of yours, or "
            f"CALBUS_DEVSTACK_KAFKA=embedded.\n{log_tail(log)}"
        )


def files_fetched(log: Path) -> int:
    """How many files Maven says it has downloaded so far."""
    return log.read_text(errors="replace").count("Downloaded from")


async def _watch(maven: Process, log: Path, report: Report) -> int:
    """Wait for Maven and say how far it is."""
    started = time.monotonic()
    reported = 0
    while True:
        try:
            return await at_most(PROGRESS_INTERVAL_S, asyncio.shield(maven.exited))
        except TimeoutError:
            fetched = files_fetched(log)
        if fetched != reported:
            report(f"  {fetched} files after {time.monotonic() - started:.0f} s")
        reported = fetched
        if time.monotonic() - started > FETCH_TIMEOUT_S:
            raise EngineFailedError(
                f"Maven did not finish fetching Apache Kafka in {FETCH_TIMEOUT_S:.0f} s:\n{log_tail(log)}"
            )


def complete(fetched: Path, home: Path) -> None:
    """Make `fetched` the home, in one step; one of an older pom.xml is replaced.

    Only with the lock held: whatever partial there is was then left by somebody who died at this very point.
    """
    partial = home.with_name(f"{home.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)
    shutil.move(fetched, partial)
    (partial / "complete").write_text(pom_digest())
    partial.rename(home)
