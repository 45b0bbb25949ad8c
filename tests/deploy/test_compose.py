"""docker-compose.yml: valid to Compose, and naming nothing that the programs do not have."""

import os
import re
import shutil
import subprocess
from functools import cache
from typing import Any

import pytest
import yaml

from calbus.bus.kafka import STOP_TIMEOUT_S
from services.writer.dispatcher import COMMIT_TIMEOUT_S
from tests.deploy.programs import DELIVER, ROOT, image_environment, known, program_of, programs, read

FILE = ROOT / "docker-compose.yml"
PROFILES = ("demo", "real")
Service = dict[str, Any]
# What a person puts into .env to begin with.
GIVEN = {"CALBUS_CLIENT_ID": "an-application", "CALBUS_CLIENT_SECRET": "a-secret"}
WITH_HEALTH = {"calbus", "calbus-simulator"}


@cache
def compose() -> dict[str, Any]:
    text = re.sub(r"\$\{(\w+):-([^}]*)\}", r"\2", FILE.read_text())
    assert "${" not in text, "every variable needs a default: else Compose warns, and the demonstration needs an .env"
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def services(profile: str) -> dict[str, Service]:
    return {name: one for name, one in compose()["services"].items() if profile in one["profiles"]}


def of_calbus(profile: str) -> dict[str, Service]:
    return {name: one for name, one in services(profile).items() if one["image"].startswith("calbus:")}


def variables(service: Service) -> dict[str, str]:
    """As Compose sets them: without a value they are handed through from outside."""
    return {
        name: GIVEN[name] if value is None else str(value)
        for name, value in service.get("environment", {}).items()
        if value is not None or name in GIVEN
    }


def test_compose_itself_takes_it() -> None:
    found = [command for command in (["docker", "compose"], ["docker-compose"]) if works(command)]
    if not found:
        assert "CI" not in os.environ, "Compose is missing: apt-get install docker-compose"
        pytest.skip("Compose is missing: apt-get install docker-compose")
    done = subprocess.run(
        [*found[0], "--file", FILE, *(f"--profile={one}" for one in PROFILES), "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def works(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "version"], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("profile", PROFILES)
def test_every_variable_is_a_setting_of_its_program_and_none_is_missing(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = set()
    for name, service in of_calbus(profile).items():
        settings = program_of(service.get("entrypoint", []), service.get("command", []))
        loaded = read(monkeypatch, settings, variables(service))
        started.add(settings)
        if "stop_grace_period" in service:
            program = service["command"][0]
            drain_s = getattr(loaded, f"{program}_drain_s")
            commit_s = COMMIT_TIMEOUT_S if program == "writer" else 0.0
            allowed_s = int(service["stop_grace_period"].removesuffix("s"))
            assert allowed_s >= drain_s + commit_s + 2 * STOP_TIMEOUT_S, name
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert {programs()[name] for name in ("migrate", "topics", "ingest", "writer", "puller")} <= started


@pytest.mark.parametrize("profile", PROFILES)
def test_it_starts_in_the_order_of_health(profile: str) -> None:
    here = services(profile)
    for name, service in here.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in here, f"{name} waits for {other}, which is not in the profile {profile}"
            ends = here[other].get("restart") == "no"
            if how["condition"] == "service_completed_successfully":
                assert ends
            else:
                assert how["condition"] == "service_healthy"
                has_check = "test" in here[other].get("healthcheck", {})
                assert not ends
                assert has_check or here[other]["image"].partition(":")[0] in WITH_HEALTH, other
    for name in ("ingest", "writer", "puller"):
        (found,) = [one for one in (name, f"{name}-demo") if one in here]
        assert {"kafka", "postgres", "migrate", "topics"} <= set(here[found]["depends_on"])
        aliases = here[found].get("networks", {}).get("default", {}).get("aliases", [])
        assert name in (found, *aliases)


def test_services_read_the_variables_of_their_image() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert dockerfile.count("HEALTHCHECK") == len(WITH_HEALTH)
    writer = programs()["writer"]
    assert set(image_environment()) <= known(writer)


def test_the_simulator_has_one_place_to_write_to_and_uses_it_for_all() -> None:
    stage = (ROOT / "Dockerfile").read_text().partition("AS simulator\n")[2].partition("\nFROM ")[0]
    (state,) = re.findall(r'"--state-dir", "([^"]+)"', stage)
    assert f"ENV TMPDIR={state}\n" in stage
    simulator = services("demo")["simulator"]
    assert simulator["read_only"] is True
    assert f"simulator:{state}" in simulator["volumes"]


def test_ports_are_open_on_this_machine_only_and_exist() -> None:
    taken: dict[str, set[str]] = {profile: set() for profile in PROFILES}
    dockerfile = (ROOT / "Dockerfile").read_text()
    exposed = {port for line in re.findall(r"^EXPOSE (.*)$", dockerfile, re.MULTILINE) for port in line.split()}
    for name, service in compose()["services"].items():
        for port in service.get("ports", []):
            host, outside, inside = port.split(":")
            assert host == "127.0.0.1"
            for profile in service["profiles"]:
                assert outside not in taken[profile], port
                taken[profile].add(outside)
            if service["image"].partition(":")[0] in WITH_HEALTH:
                assert inside in exposed, name
    puller = compose()["services"]["puller"]
    assert puller["ports"][0].rpartition(":")[2] == puller["environment"]["CALBUS_PULLER_WEBHOOK_PORT"]


def test_what_is_mounted_is_there_and_cannot_be_written() -> None:
    for service in compose()["services"].values():
        for volume in service.get("volumes", []):
            source, _, target = volume.partition(":")
            if source.startswith("."):
                assert (ROOT / source).exists(), source
                assert target.endswith(":ro")
            else:
                assert source in compose()["volumes"]


def test_the_demonstration_is_one_application_in_one_simulator() -> None:
    here = services("demo")
    clients = {
        (one["environment"]["CALBUS_CLIENT_ID"], one["environment"]["CALBUS_CLIENT_SECRET"])
        for one in here.values()
        if "CALBUS_CLIENT_ID" in one.get("environment", {})
    }
    assert len(clients) == 1
    assert here["day"]["entrypoint"] == DELIVER
    name = here["simulator"]["command"][-1]
    assert name == "simulator"
    for service in ("writer-demo", "puller-demo"):
        assert here[service]["environment"]["CALBUS_GRAPH_URL"].startswith(f"https://{name}:8443/")
        directory = here[service]["environment"]["CALBUS_GRAPH_CA_FILE"].removesuffix("/ca.pem")
        assert here[service]["volumes"] == [f"simulator:{directory}:ro"]


def test_prometheus_asks_the_services_on_their_admin_port() -> None:
    (job,) = yaml.safe_load((ROOT / "ops" / "compose" / "prometheus.yml").read_text())["scrape_configs"]
    (discovery,) = job["dns_sd_configs"]
    assert discovery["names"] == ["ingest", "writer", "puller"]
    assert discovery["port"] == int(image_environment()["CALBUS_ADMIN_PORT"])


def test_the_example_environment_is_one_that_compose_reads() -> None:
    text = (ROOT / ".env.example").read_text()
    names = set(re.findall(r"^#?([A-Z_0-9]+)=", text, re.MULTILINE))
    read_by_compose = set(re.findall(r"\$\{(\w+)", FILE.read_text()))
    handed_through = {
        name
        for service in compose()["services"].values()
        for name, value in service.get("environment", {}).items()
        if value is None
    }
    assert names <= read_by_compose | handed_through | {"COMPOSE_PROFILES", "COMPOSE_PROJECT_NAME"}
    settings = {name for one in programs().values() for name in known(one)}
    assert {name for name in names if name.startswith("CALBUS_")} <= settings
    assert "COMPOSE_PROFILES=real" in text


def test_kafka_is_the_one_that_the_suite_runs_on() -> None:
    version = re.search(r"<kafka.version>(.*)</kafka.version>", (ROOT / "devstack" / "kafka" / "pom.xml").read_text())
    assert version is not None
    assert compose()["services"]["kafka"]["image"] == f"apache/kafka:{version[1]}"
    assert f"image: apache/kafka:{version[1]}\n" in (ROOT / "k8s" / "overlays" / "dev" / "kafka.yaml").read_text()
