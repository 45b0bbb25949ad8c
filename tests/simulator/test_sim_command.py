"""The command: its ready line, its files, its end."""

import asyncio
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
from pathlib import Path

import aiohttp
import pytest

import simulator
from simulator.control.office import plant
from simulator.server import Settings, serve
from simulator.world import World

END_MAX_S = 60
TENANT = "3b3b3b3b-0000-4000-8000-000000000000"
SEED = {
    "tenants": [
        {
            "id": TENANT,
            "apps": [{"client_id": "c", "secret": "s", "roles": ["Calendars.Read"]}],
            "users": [{"upn": "dana@contoso.example", "time_zone": "W. Europe Standard Time"}],
            "limits": {"concurrent_max": 9},
        }
    ]
}

BAD_ZONE = b'{"tenants": [{"id": "a", "users": [{"upn": "b", "time_zone": "Mars/Base"}]}]}'
BAD_ROLE = b'{"tenants": [{"id": "a", "apps": [{"client_id": "b", "roles": ["Calendars.Write"]}]}]}'


def start(*arguments):
    command = [sys.executable, "-m", "simulator", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_answers_and_leaves_nothing_behind(tmp_path, end):
    seed = tmp_path / "seed.json"
    seed.write_text(json.dumps(SEED))
    with start("--seed-file", str(seed)) as process:
        ready = json.loads(process.stdout.readline())
        assert set(ready) == {"graph_url", "login_url", "http_url", "ca_file"}
        assert ready["graph_url"] == ready["login_url"] + "/v1.0"
        assert ready["login_url"].startswith("https://localhost:")
        assert ready["http_url"].startswith("http://127.0.0.1:")
        context = ssl.create_default_context(cafile=ready["ca_file"])
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{ready['login_url']}/_sim/tenants/{TENANT}/limits", ssl=context) as response,
        ):
            assert (await response.json())["concurrent_max"] == 9
        process.send_signal(end)
        assert process.wait(END_MAX_S) == 0
        assert process.stdout.read() == ""
        assert process.stderr.read() == ""
    assert not Path(ready["ca_file"]).parent.exists()


async def test_a_given_state_directory_is_kept(tmp_path):
    state = tmp_path / "state"
    with start("--state-dir", str(state)) as process:
        ready = json.loads(process.stdout.readline())
        process.terminate()
        assert process.wait(END_MAX_S) == 0
    assert ready["ca_file"] == str(state / "ca.pem")
    assert "BEGIN CERTIFICATE" in (state / "ca.pem").read_text()


async def test_an_unusable_seed_file_is_named_as_the_reason(tmp_path):
    seed = tmp_path / "seed.json"
    seed.write_text('{"tenant": []}')
    with start("--seed-file", str(seed)) as process:
        assert process.wait(END_MAX_S) == 2
        assert process.stdout.read() == ""
        assert process.stderr.read().startswith(f"simulator: {seed} is no seed file: tenant: ")


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_an_unusable_authority_ends_it_at_once(tmp_path, content):
    authority = tmp_path / "ca.pem"
    if content is not None:
        authority.write_text(content)
    with start("--trusted-ca-file", str(authority)) as process:
        assert process.wait(END_MAX_S) == 2
        assert process.stdout.read() == ""
        assert process.stderr.read().startswith(f"simulator: {authority} is no certificate authority")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (Settings(https_port=70_000), "https_port must be from 0 to 65535"),
        (Settings(http_port=-1), "http_port must be from 0 to 65535"),
        (Settings(seed_file=Path("missing.json")), "missing.json"),
        (Settings(state_file=Path("missing/state")), "missing/state"),
        (Settings(trusted_ca_files=(Path("missing.pem"),)), "missing.pem"),
    ],
)
async def test_what_cannot_be_used_is_named_before_anything_begins(settings, says):
    with pytest.raises((OSError, ValueError), match=says):
        async with serve(settings):
            pytest.fail("it began")


@pytest.mark.parametrize("host", ["127.0.0.2", "::1", "two.example", "0.0.0.0"])
async def test_it_prints_the_host_it_is_bound_to(monkeypatch, host):
    known = {"two.example": ["127.0.0.3", "127.0.0.4"]}

    def find(name, port, *_arguments, **_names):
        found = known.get(name, [name])
        family = socket.AF_INET6 if ":" in found[0] else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    shown = {"::1": ["[::1]"], "0.0.0.0": ["127.0.0.1"]}.get(host) or known.get(host, [host])
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", find)
        serving = serve(Settings(host=host))
        addresses = await serving.__aenter__()
    try:
        assert addresses.http_url.rpartition(":")[0] in {f"http://{name}" for name in shown}
        assert addresses.graph_url == f"{addresses.login_url}/v1.0"
        named = ["localhost"] if host == "0.0.0.0" else shown
        assert addresses.login_url.rpartition(":")[0] in {f"https://{name}" for name in named}
        context = ssl.create_default_context(cafile=addresses.ca_file)
        async with aiohttp.ClientSession() as session:
            for url in (addresses.http_url, addresses.login_url):
                async with session.get(f"{url}/_sim/health", ssl=context) as response:
                    assert response.status == 200
    finally:
        await serving.__aexit__(None, None, None)


async def test_a_state_directory_keeps_its_authority_and_gives_it_to_whoever_asks(tmp_path):
    given = []
    for name in ("simulator", "calbus-simulator.example"):
        settings = Settings(state_dir=tmp_path, names=(name,))
        async with serve(settings) as addresses, aiohttp.ClientSession() as session:
            async with session.get(f"{addresses.http_url}/_sim/ca.pem") as response:
                given.append(await response.text())
            context = ssl.create_default_context(cadata=given[0])
            url = f"{addresses.login_url}/_sim/health"
            async with session.get(url, ssl=context, server_hostname=name) as response:
                assert response.status == 200
    assert given[0] == given[1]
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "content",
    [b"{", b"[]", b"{}", BAD_ZONE, BAD_ROLE, b'{"tenants": [{"id": "a", "users": [{}]}]}', b'{"tenants": [{}]}'],
)
def test_a_seed_that_says_nothing_clear_is_refused(content):
    with pytest.raises(ValueError, match=r"\w"):
        plant(World(), content)


def example(begin: str) -> str:
    """The block of the README that begins so, as a reader would copy it."""
    readme = Path(simulator.__file__).with_name("README.md").read_text()
    block = readme[readme.index(f"\n    {begin}") :]
    lines = itertools.takewhile(lambda line: not line or line.startswith("    "), block[1:].splitlines())
    return textwrap.dedent("\n".join(lines))


async def run_example(folder: Path, *command: str) -> str:
    python_path = str(Path(simulator.__file__).parents[1])
    unwanted = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"}
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    environment |= {"PYTHONPATH": python_path, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(2 * END_MAX_S):
        output, _ = await process.communicate()
    return output.decode()


async def test_the_readmes_first_call_with_msal(tmp_path):
    (tmp_path / "seed.json").write_text(example('{"tenants"'))
    (tmp_path / "example.py").write_text(example("import json, subprocess"))
    assert await run_example(tmp_path, sys.executable, "example.py") == "201 Leave\n"


async def test_the_readmes_first_call_with_curl(tmp_path):
    (tmp_path / "seed.json").write_text(example('{"tenants"'))
    port = str(find_free_port())
    script = example("python -m simulator --seed-file").replace("8800", port)
    output = await run_example(tmp_path, "bash", "-c", f"set -m\n{script}\nwait")
    for expected in (f'"http_url":"http://127.0.0.1:{port}"', '"status":"ok"', '"access_token":', '"fallen_off":0'):
        assert expected in output


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
