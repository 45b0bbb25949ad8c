"""Which broker is taken, and that one which cannot be had is an error that says what to do."""

from pathlib import Path

import pytest

from devstack.errors import EngineFailedError, EngineUnavailableError
from devstack.kafka import choice
from devstack.kafka.choice import APACHE, EMBEDDED, Found, Java, choose
from devstack.kafka.jars import complete, is_complete, kafka_home
from devstack.settings import Settings
from devstack.stack import Stack
from tests.devstack.leftovers import entries

JAVA = Java(Path("/java"), "17.0.15")
PROGRAM = Path("/noida-db")

BROKEN_MAVEN = """\
#!/bin/sh
echo "[ERROR] the artifact is not to be had"
exit 1
"""


def found(*, java: Java | None = JAVA, maven: bool = True, cached: bool = False, embedded: bool = True) -> Found:
    return Found(java=java, maven=maven, cached=cached, embedded=PROGRAM if embedded else None)


@pytest.mark.parametrize(
    ("machine", "engine"),
    [
        (found(), APACHE),
        (found(maven=False, cached=True), APACHE),
        (found(embedded=False), APACHE),
        (found(maven=False), EMBEDDED),
        (found(java=None, cached=True), EMBEDDED),
        (found(java=Java(Path("/java"), "11.0.2")), EMBEDDED),
    ],
)
def test_apache_kafka_is_taken_wherever_it_can_run(machine: Found, engine: str) -> None:
    assert choose(None, machine) == engine


@pytest.mark.parametrize(
    ("machine", "reason"),
    [
        (found(java=None), "install Java 17"),
        (found(java=Java(Path("/java"), "1.8.0_392")), "Java 1.8.0_392 is too old"),
        (found(maven=False), "install Maven"),
    ],
)
def test_forcing_apache_kafka_where_it_cannot_run_says_why(machine: Found, reason: str) -> None:
    with pytest.raises(EngineUnavailableError, match=f"CALBUS_DEVSTACK_KAFKA=apache cannot be had: .*{reason}"):
        choose(APACHE, machine)


def test_forcing_the_embedded_broker_where_it_is_not_installed_says_why() -> None:
    with pytest.raises(EngineUnavailableError, match=r"CALBUS_DEVSTACK_KAFKA=embedded cannot be had: .*noida-db"):
        choose(EMBEDDED, found(embedded=False))
    assert choose(EMBEDDED, found()) == EMBEDDED


def test_a_machine_with_nothing_is_told_what_to_install() -> None:
    with pytest.raises(EngineUnavailableError, match=r"Install Java 17 .* Maven, .*devstack.*CALBUS_KAFKA_BOOTSTRAP"):
        choose(None, found(java=None, embedded=False))


@pytest.mark.parametrize(("release", "major"), [("17.0.15", 17), ("1.8.0_392", 8), ("25", 25), ("26-ea", 26)])
def test_the_major_version_of_a_java(release: str, major: int) -> None:
    assert Java(Path("/java"), release).major == major


def test_looking_around_without_java_or_maven(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    seen = choice.look_around(tmp_path)
    assert seen.java is None
    assert not seen.maven
    assert not seen.cached
    assert choose(None, seen) == EMBEDDED


async def test_a_stack_without_java_takes_the_embedded_broker_and_says_so(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    told: list[str] = []
    async with Stack(postgres=False, simulator=False, report=told.append) as stack:
        assert stack.kafka.engine == EMBEDDED
        assert "embedded" in stack.describe()[0]
    assert any(line.startswith("Warning: the embedded broker") for line in told)


async def test_a_failing_fetch_is_loud_and_no_other_broker_is_taken(
    scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mvn").write_text(BROKEN_MAVEN)
    (tmp_path / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    cache = tmp_path / "cache"
    with pytest.raises(EngineFailedError, match=r"(?s)Maven could not fetch .*\[ERROR\] the artifact is not to be had"):
        async with Stack(postgres=False, simulator=False, settings=Settings(cache_dir=cache)):
            pass
    assert not kafka_home(cache).exists()
    assert not entries(scratch)


def test_only_a_finished_fetch_by_the_same_pom_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, fetched = kafka_home(tmp_path), tmp_path / "fetched"
    assert not is_complete(home)
    # A process that died while moving left this; it must neither count nor stand in the way.
    home.with_name(f"{home.name}.partial").mkdir()
    (fetched / "jars").mkdir(parents=True)
    (fetched / "jars" / "one.jar").touch()
    complete(fetched, home)
    assert is_complete(home)
    assert entries(tmp_path) == {home.name}

    monkeypatch.setattr("devstack.kafka.jars.pom_digest", lambda: "that of another pom.xml")
    assert not is_complete(home)
    (fetched / "jars").mkdir(parents=True)
    (fetched / "jars" / "two.jar").touch()
    complete(fetched, home)
    assert is_complete(home)
    assert entries(home / "jars") == {"two.jar"}
