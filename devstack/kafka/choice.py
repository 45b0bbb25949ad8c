"""Which broker to start: looking at what the machine has, and the decision. Nothing is started or fetched here."""

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from devstack.errors import EngineUnavailableError
from devstack.kafka.jars import KAFKA_VERSION, is_complete, kafka_home

APACHE: Literal["apache"] = "apache"
EMBEDDED: Literal["embedded"] = "embedded"
OLDEST_JAVA = 17
JAVA_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Java:
    """A Java to run the broker with; `release` is the full version, by which its class archive is named."""

    program: Path
    release: str

    @property
    def major(self) -> int:
        """17 for 17.0.15; 8 for 1.8.0."""
        numbers = [int(number) for number in re.findall(r"\d+", self.release)]
        return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]


@dataclass(frozen=True)
class Found:
    """What the machine has to run a broker with."""

    java: Java | None
    maven: bool
    cached: bool
    embedded: Path | None


def look_around(cache: Path) -> Found:
    """Find Java, Maven, the fetched Kafka and the embedded broker."""
    return Found(
        java=find_java(),
        maven=shutil.which("mvn") is not None,
        cached=is_complete(kafka_home(cache)),
        embedded=find_embedded(),
    )


def find_java() -> Java | None:
    """The Java of JAVA_HOME, else of the path."""
    home = os.environ.get("JAVA_HOME")
    program = shutil.which("java", path=str(Path(home) / "bin")) if home else shutil.which("java")
    if program is None:
        return None
    try:
        said = subprocess.run(
            [program, "-XX:-UsePerfData", "-version"],
            capture_output=True,
            text=True,
            timeout=JAVA_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    release = re.search(r'version "([^"]+)"', said.stderr)
    return Java(Path(program), release[1]) if release else None


def find_embedded() -> Path | None:
    """The program in the `noida-db` wheel."""
    spec = importlib.util.find_spec("noida_db")
    if spec is None or spec.origin is None:
        return None
    program = Path(spec.origin).with_name("noida-db")
    return program if program.is_file() else None


def choose(forced: Literal["apache", "embedded"] | None, found: Found) -> Literal["apache", "embedded"]:
    """The engine to start. Apache Kafka wherever it can be run; raises `EngineUnavailableError` if nothing can.

    Where Java and Maven are present Apache Kafka is chosen even if fetching it may fail: that failure is shown, and
    does not quietly become another engine.
    """
    obstacle = apache_obstacle(found)
    if forced == APACHE and obstacle is not None:
        raise EngineUnavailableError(f"CALBUS_DEVSTACK_KAFKA=apache cannot be had: {obstacle}")
    if forced == EMBEDDED and found.embedded is None:
        raise EngineUnavailableError(
            "CALBUS_DEVSTACK_KAFKA=embedded cannot be had: the wheel `noida-db` is not installed "
            "(install calbus with its extra `devstack`)"
        )
    if forced is not None:
        return forced
    if obstacle is None:
        return APACHE
    if found.embedded is not None:
        return EMBEDDED
    raise EngineUnavailableError(
        f"no Kafka can be had: Apache Kafka, because {obstacle}; the embedded broker, because the wheel `noida-db` "
        f"is not installed. Install Java {OLDEST_JAVA} or newer and Maven, or calbus with its extra `devstack`, "
        "or set CALBUS_KAFKA_BOOTSTRAP"
    )


def apache_obstacle(found: Found) -> str | None:
    """Why Apache Kafka cannot be run here, naming what to install; None if it can."""
    if found.java is None:
        return f"there is no working Java: install Java {OLDEST_JAVA} or newer, or set JAVA_HOME"
    if found.java.major < OLDEST_JAVA:
        return f"Java {found.java.release} is too old: install Java {OLDEST_JAVA} or newer, or set JAVA_HOME"
    if not found.maven and not found.cached:
        return f"there is no Maven to fetch Apache Kafka {KAFKA_VERSION} with: install Maven (`mvn`)"
    return None
