"""The image, built and run for real: an event comes into a calendar, and a change in the calendar comes back.

Not in the everyday suite, since building takes minutes and root: `make test-image`.
"""

import asyncio
import os
import re
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from uuid import uuid4

import aiohttp
import orjson
import pytest

from devstack.ports import free_port
from schemas.changes import EntryEdited
from schemas.results import Ending
from simulator.client import App, SimulatorAdmin
from tests.deploy.programs import ROOT
from tests.image.containers import BASE, IMAGE, SIMULATOR_IMAGE, Store, require_tools, store
from tests.support.waiting import until
from tests.support.world import CLIENT_ID, CLIENT_SECRET, World

pytestmark = [pytest.mark.slow, pytest.mark.image, pytest.mark.timeout(3_600)]

USER = "65532:65532"
# Somebody's cluster gives each namespace users of its own.
ANOTHER_USER = "10001:10001"
ADDED_MAX_BYTES = 200_000_000
SERVICES = ("ingest", "writer", "puller")
CA_FILE = "/simulator/ca.pem"


@pytest.fixture(scope="module")
def based() -> Iterator[Store]:
    """A store that has the base."""
    require_tools()
    with store() as made:
        made.make_base()
        yield made


@pytest.fixture(scope="module")
def built(based: Store) -> Store:
    """A store that has the image, built as `make image` does."""
    based.build("calbus")
    return based


@pytest.fixture(scope="module")
def built_simulator(based: Store) -> Store:
    """A store that has the simulator's image."""
    based.build("simulator")
    return based


@pytest.fixture
async def containers(built: Store, world: World) -> AsyncIterator[dict[str, str]]:
    """All services in containers, ready as their own health check says."""
    async with AsyncExitStack() as exits:
        names = {}
        for service in SERVICES:
            variables = world.environment(
                admin_port=free_port(), graph_ca_file=CA_FILE, log_level="info", puller_idle_interval_s=0.3
            )
            mount = f"--volume={world.stack.simulator.ca_file}:{CA_FILE}:ro"
            user = ANOTHER_USER if service == "puller" else USER
            container = built.container(
                f"{world.name}-{service}", mount, IMAGE, service, user=user, variables=variables
            )
            names[service] = await exits.enter_async_context(container)
        check = built.inspect(IMAGE)["Healthcheck"]["Test"]
        assert check[0] == "CMD"

        async def healthy(name: str) -> bool:
            done = await asyncio.create_subprocess_exec(
                "podman", "--runtime=runc", "exec", name, *check[1:], env=built.environment
            )
            return await done.wait() == 0

        for name in names.values():
            await until(lambda name=name: healthy(name), f"{name} to be healthy", timeout_s=180)  # type: ignore[misc]
        yield names


async def test_an_event_arrives_and_a_change_comes_back(
    built: Store, world: World, containers: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    async with world.tenant("ann") as tenant:
        action = tenant.action("a1", "ann", title="Paint the shed")
        await tenant.publish(action)
        assert (await tenant.outcome(action, "ann", timeout_s=90)).ending is Ending.APPLIED
        [event] = await tenant.calendar("ann")
        assert event.subject == "○ Paint the shed"

        await tenant.pulled("ann")
        await world.admin.user_edits(tenant.directory, tenant.mailbox("ann"), event.id, {"subject": "My shed"})
        told = await tenant.change("ann", EntryEdited, timeout_s=90)
        assert told.id == "a1"

    resident = {}
    for service, name in containers.items():
        status = dict(re.findall(r"^(\w+):\s*(.*)$", built.podman("exec", name, "cat", "/proc/1/status"), re.MULTILINE))
        assert status["CapEff"] == status["CapBnd"] == "0" * 16
        assert status["NoNewPrivs"] == "1"
        assert status["Uid"].split()[0] == (ANOTHER_USER if service == "puller" else USER).partition(":")[0]
        resident[service] = f"{int(status['VmRSS'].removesuffix(' kB')) // 1024} MiB"
    with capsys.disabled():
        print(f"\nresident: {resident}")  # noqa: T201 - a figure for whoever asked
    for name in containers.values():
        await asyncio.to_thread(built.podman, "stop", "--time=45", name)
        assert built.podman("inspect", "--format={{.State.ExitCode}}", name).strip() == "0"


def test_the_image_is_small_and_says_what_it_is(built: Store, capsys: pytest.CaptureFixture[str]) -> None:
    about, base = built.inspect(IMAGE), built.inspect(BASE)
    added = about["Size"] - base["Size"]
    with capsys.disabled():
        print(f"\nimage: {about['Size'] / 1e6:.0f} MB, {added / 1e6:.0f} MB of them above its base")  # noqa: T201
    assert added < ADDED_MAX_BYTES
    assert about["Config"]["User"] == USER
    labels = about["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "calbus"
    assert labels["org.opencontainers.image.version"] == version("calbus")
    assert re.fullmatch(r"[0-9a-f]{40}|unknown", labels["org.opencontainers.image.revision"])
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"


def test_it_carries_the_list_of_what_is_in_it(built: Store) -> None:
    shown = built.podman(
        "run", "--rm", "--no-healthcheck", "--network=host", "--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096",
        "--entrypoint=cat", IMAGE, "/opt/calbus/sbom.cdx.json",
    )  # fmt: skip
    sbom = orjson.loads(shown)
    listed = {one["name"].lower().replace("_", "-"): one["version"] for one in sbom["components"]}
    locks = "".join((ROOT / name).read_text() for name in ("requirements.lock", "requirements-traces.lock"))
    locked = dict(re.findall(r"^([a-z0-9][\w.-]*)==(\S+)", locks, re.MULTILINE))
    assert sbom["bomFormat"] == "CycloneDX"
    assert set(listed) <= {*locked, "calbus"}
    assert {"aiokafka", "aiohttp", "asyncpg", "msal", "opentelemetry-sdk", "pydantic", "uvloop"} <= set(listed)
    assert all(listed[name] == locked[name] for name in listed if name in locked)
    assert not {"pip", "hatchling", "trustme"} & set(listed)
    assert os.fspath(ROOT) not in shown


async def test_the_simulator_serves_from_its_image(built_simulator: Store, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    os.chown(state, *map(int, USER.split(":")))
    for parent in (tmp_path, *tmp_path.parents[:2]):  # pytest's own are closed to others
        parent.chmod(parent.stat().st_mode | 0o011)
    http, https = free_port(), free_port()
    arguments = ("--host", "127.0.0.1", "--http-port", str(http), "--https-port", str(https))
    async with (
        built_simulator.container(
            "simulator-alone", f"--volume={state}:/state", SIMULATOR_IMAGE, *arguments, user=USER, variables={}
        ) as name,
        SimulatorAdmin.connect(f"http://127.0.0.1:{http}") as admin,
        aiohttp.ClientSession() as session,
    ):

        async def serves(path: str) -> bool:
            with suppress(aiohttp.ClientConnectionError):
                async with session.get(f"http://127.0.0.1:{http}{path}") as response:
                    return response.status == 200
            return False

        try:
            await until(lambda: serves("/_sim/health"), "the simulator to serve", timeout_s=120)
        except AssertionError:
            pytest.fail(built_simulator.podman("logs", name))
        assert await serves("/outlook")
        status = built_simulator.podman("exec", name, "cat", "/proc/1/status")
        assert f"CapEff:\t{'0' * 16}" in status
        directory, address = str(uuid4()), "ann@contoso.example"
        app = App(CLIENT_ID, secret=CLIENT_SECRET, roles=("Calendars.ReadWrite",))
        await admin.put_tenant(directory, apps=[app], domain="contoso.example")
        await admin.put_user(directory, address)
        times = {"dateTime": "2027-01-04T09:00:00", "timeZone": "UTC"}
        await admin.user_creates(directory, address, {"subject": "Lunch", "start": times, "end": times})

        trusted = ssl.create_default_context(cafile=state / "ca.pem")
        form = {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "grant_type": "client_credentials",
            "scope": "https://graph.microsoft.com/.default",
        }
        server = f"https://localhost:{https}"
        async with session.post(f"{server}/{directory}/oauth2/v2.0/token", data=form, ssl=trusted) as response:
            token = (await response.json())["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        async with session.get(f"{server}/v1.0/users/{address}/events", headers=headers, ssl=trusted) as response:
            assert [event["subject"] for event in (await response.json())["value"]] == ["Lunch"]
        labels = built_simulator.inspect(SIMULATOR_IMAGE)["Config"]["Labels"]
        assert labels["org.opencontainers.image.title"] == "calbus-simulator"
        check = built_simulator.inspect(SIMULATOR_IMAGE)["Healthcheck"]["Test"]
        assert (check[0], "/_sim/health" in check[-1]) == ("CMD", True)
