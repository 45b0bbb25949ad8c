"""The command: its ready line, its files, its end."""

import json
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from simulator.control.office import plant
from simulator.world import World

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
        assert process.wait(10) == 0
        assert process.stdout.read() == ""
        assert process.stderr.read() == ""
    assert not Path(ready["ca_file"]).parent.exists()


async def test_a_given_state_directory_is_kept(tmp_path):
    state = tmp_path / "state"
    with start("--state-dir", str(state)) as process:
        ready = json.loads(process.stdout.readline())
        process.terminate()
        assert process.wait(10) == 0
    assert ready["ca_file"] == str(state / "ca.pem")
    assert "BEGIN CERTIFICATE" in (state / "ca.pem").read_text()


async def test_an_unusable_seed_file_is_named_as_the_reason(tmp_path):
    seed = tmp_path / "seed.json"
    seed.write_text('{"tenant": []}')
    with start("--seed-file", str(seed)) as process:
        assert process.wait(10) == 2
        assert process.stdout.read() == ""
        assert process.stderr.read().startswith("simulator: tenant: ")


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_an_unusable_authority_ends_it_at_once(tmp_path, content):
    authority = tmp_path / "ca.pem"
    if content is not None:
        authority.write_text(content)
    with start("--trusted-ca-file", str(authority)) as process:
        assert process.wait(10) == 2
        assert process.stdout.read() == ""
        assert process.stderr.read().startswith("simulator: ")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"tenants": [{"id": "a", "users": [{}]}]}', b'{"tenants": [{}]}'])
def test_a_seed_that_says_nothing_clear_is_refused(content):
    with pytest.raises(ValueError, match=r"\w"):
        plant(World(), content)
