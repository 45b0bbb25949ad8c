"""`calbus demo` as a person runs it: the verdict, a difference, an interruption, a service that dies.
The recording and the comparison are also looked at by themselves, without engines."""

import asyncio
import json
import os
import re
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devstack.demo import EXPECTED
from devstack.demo.ground import FIRST_DAY, LAST_DAY
from devstack.demo.recording import HERE, PRODUCTS, directories, drags
from devstack.demo.verdict import Actual, Change, Expected, GraphFigures, differences, read_expectation
from devstack.errors import EngineUnavailableError
from devstack.kafka.given import GivenKafka
from devstack.postgres import GivenPostgres
from devstack.settings import REPOSITORY
from tests.devstack.leftovers import alive, entries, family_of
from tests.support.waiting import until

README = REPOSITORY / "README.md"
GREEN, RED = "\x1b[1;32m", "\x1b[1;31m"
GONE_TIMEOUT_S = 30.0


@asynccontextmanager
async def demo(*options: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A demonstration under way; collected at the end whatever the test did with it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from calbus.cli import main; main()", "demo", *options),
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "120", "FORCE_COLOR": "1", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: asyncio.subprocess.Process, what: str) -> str:
    """Everything the demonstration says, up to the line that has `what`."""
    assert process.stdout is not None
    lines = []
    while line := (await process.stdout.readline()).decode():
        lines.append(line)
        if what in line:
            return "".join(lines)
    assert process.stderr is not None
    pytest.fail(f"ended without {what!r}:\n{''.join(lines)}\n{(await process.stderr.read()).decode()}")


async def nothing_left(scratch: Path, pids: set[int]) -> None:
    """Wait until the processes and the run directories are gone."""

    async def gone() -> bool:
        return not alive(pids) and not entries(scratch)

    await until(gone, "the end of all processes and run directories", timeout_s=GONE_TIMEOUT_S)


async def test_the_day_comes_out_as_expected(scratch: Path) -> None:
    async with demo() as process:
        stdout, stderr = (stream.decode() for stream in await process.communicate())
    assert process.returncode == 0, stdout + stderr
    assert f"{GREEN}expected = actual" in stdout
    assert "✔ Teamoverleg voorbereiden" in stdout
    assert "de-vlieger/action/SM-109/m.visser  Fri 4 Dec 2026 15:00–17:00 UTC" in stdout
    assert "morgen om negen" not in stdout, "what stood in a dead letter is not shown"
    assert entries(scratch) == set()


@pytest.mark.slow
async def test_a_difference_is_named_and_everything_stays_up_if_asked(scratch: Path, tmp_path: Path) -> None:
    altered = json.loads(EXPECTED.read_text())
    altered["calendars"]["tom.ellis@harbourlights.example"][0]["subject"] = "○ Something else"
    file = tmp_path / "altered.json"
    file.write_text(json.dumps(altered))
    async with demo("--keep", "--expected", str(file), CALBUS_DEVSTACK_KAFKA="embedded") as process:
        stdout = await said(process, "export CALBUS_CLIENT_SECRET")
        assert "✘ tom.ellis@harbourlights.example: expected and not there: '○ Something else'" in stdout
        assert "✘ tom.ellis@harbourlights.example: there and not expected: '☏ Welfare call: no answer" in stdout
        assert f"{RED}expected ≠ actual: 2 differences" in stdout
        addresses = re.findall(r"http://\S+/metrics", stdout)
        assert len(addresses) == 3
        for address in addresses:
            assert b"calbus_outcomes_total" in await asyncio.to_thread(fetched, address)
        pids = family_of(process.pid)
        process.send_signal(signal.SIGINT)
        await process.communicate()
        assert process.returncode == 1
        await nothing_left(scratch, pids)


@pytest.mark.slow
async def test_the_readmes_first_event_reaches_a_calendar_of_the_demo(scratch: Path, tmp_path: Path) -> None:
    block = re.search(r"^cat > first.*?^calbus publish first.jsonl$", README.read_text(), re.DOTALL | re.MULTILINE)
    assert block is not None
    async with demo("--keep", CALBUS_DEVSTACK_KAFKA="embedded", COLUMNS="400", FORCE_COLOR="") as process:
        stdout = await said(process, "export CALBUS_CLIENT_SECRET")
        given = dict(re.findall(r"^export (\w+)=(\S+)$", stdout, re.MULTILINE))
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, **given, "PATH": path}

        async def shell(script: str) -> str:
            run = await asyncio.create_subprocess_exec(
                *("bash", "-c", script),
                cwd=tmp_path,
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            return (await run.communicate())[0].decode()

        published = await shell(block[0])
        assert "1 to calbus.actions.v1" in published

        async def stands() -> bool:
            return "The calendar shows this revision. (written)" in await shell("calbus why first")

        await until(stands, "the README's event to stand in the calendar", timeout_s=60.0)
        process.send_signal(signal.SIGINT)
        await process.communicate()
        assert process.returncode == 0
        await nothing_left(scratch, set())


def fetched(address: str) -> bytes:
    """What a web address gives."""
    with urllib.request.urlopen(address, timeout=10) as response:
        content: bytes = response.read()
        return content


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
async def test_a_demo_that_is_ended_in_the_middle_leaves_nothing(scratch: Path, number: int) -> None:
    async with demo(CALBUS_DEVSTACK_KAFKA="embedded") as process:
        await said(process, "Settings")
        pids = family_of(process.pid)
        assert len(pids) > 6, "the demo, two guardians, three engines and three services"
        process.send_signal(number)
        await process.communicate()
        assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 130)
        await nothing_left(scratch, pids)


@pytest.mark.slow
async def test_a_service_that_dies_is_named(scratch: Path) -> None:
    async with demo(CALBUS_DEVSTACK_KAFKA="embedded") as process:
        await said(process, "Services")
        pids = family_of(process.pid)
        [ingest] = [pid for pid in pids if "services.ingest" in command_line(pid)]
        os.kill(ingest, signal.SIGKILL)
        _, stderr = await process.communicate()
        assert process.returncode == 1
        assert "ingest has ended. The last log lines of ingest:" in stderr.decode()
        await nothing_left(scratch, pids)


def command_line(pid: int) -> str:
    """What a process was started with."""
    return Path(f"/proc/{pid}/cmdline").read_text()


async def test_an_expectation_that_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "none.json"
    file.write_text("{}")
    async with demo("--expected", str(file)) as process:
        stdout, stderr = await process.communicate()
    assert (process.returncode, stdout) == (1, b"")
    assert "none.json is no expectation" in stderr.decode()


async def test_a_wrong_setting_is_named_in_a_sentence() -> None:
    async with demo(CALBUS_DEVSTACK_KAFKA="rabbit") as process:
        _, stderr = await process.communicate()
    assert process.returncode == 1
    assert "calbus demo: CALBUS_DEVSTACK_KAFKA is wrong: Input should be 'apache' or 'embedded'" in stderr.decode()
    assert "Traceback" not in stderr.decode()


async def test_what_was_given_and_cannot_be_used_says_whose_move_it_is() -> None:
    with pytest.raises(EngineUnavailableError, match="CALBUS_POSTGRES_DSN is wrong: it is no address of") as wrong:
        await GivenPostgres("secret@nowhere").start()
    assert "secret" not in str(wrong.value)
    with pytest.raises(EngineUnavailableError, match=r"does not answer: .*Unset it, and one is started here"):
        await GivenPostgres("postgresql://127.0.0.1:1/x").start()
    with pytest.raises(EngineUnavailableError, match=r"does not answer\. Unset it, and one is started here"):
        await GivenKafka("127.0.0.1:1").start()


def recorded() -> list[dict[str, Any]]:
    """The products' events."""
    lines = [line for product in PRODUCTS for line in (HERE / f"{product}.jsonl").read_text().splitlines()]
    return [json.loads(line) for line in lines if line]


def accepted(events: list[dict[str, Any]]) -> set[str]:
    """The revisions that are newer than all before them: tenant/kind/id/revision."""
    newest: dict[str, int] = {}
    found = set()
    for event in events:
        data = event["data"]
        item = f"{data['tenant']}/{event['type'].split('.')[1]}/{data['id']}"
        if "calbusunchecked" not in event and data["revision"] > newest.get(item, 0):
            newest[item] = data["revision"]
            found.add(f"{item}/{data['revision']}")
    return found


def test_the_expectation_accounts_for_what_is_recorded() -> None:
    events, expected = recorded(), read_expectation(EXPECTED)
    assert len(events) >= 60
    assert accepted(events) == {key.rpartition("/")[0] for key in expected.outcomes}
    assert len([event for event in events if "calbusunchecked" in event]) == len(expected.dead_letters) == 1
    assert expected.calendars.keys() == {address for directory in directories() for address in directory.users}
    assert {directory.product.lower() for directory in directories()} == set(PRODUCTS)
    # Who drags is an assignee, and where an entry was dragged to it stands.
    for drag in drags():
        stands = [(one.subject, one.start, one.end) for one in expected.calendars[drag.mailbox]]
        assert (drag.subject, drag.start, drag.end) in stands
        assert FIRST_DAY <= drag.start.date() <= LAST_DAY


def came_out(expected: Expected) -> Actual:
    """An end as expected."""
    outcomes = {key: [allowed[-1]] for key, allowed in expected.outcomes.items()}
    calendars = deepcopy(expected.calendars)
    return Actual(calendars, outcomes, list(expected.dead_letters), list(expected.changes), GraphFigures())


def test_every_kind_of_difference_is_told() -> None:
    expected = read_expectation(EXPECTED)
    actual = came_out(expected)
    assert differences(expected, actual) == []

    lost, twice, wrong = sorted(actual.outcomes)[:3]
    del actual.outcomes[lost]
    actual.outcomes[twice] *= 2
    actual.outcomes[wrong] = ["failed event_rejected"]
    actual.outcomes["nobody/action/1/1/nobody"] = ["applied written"]
    actual.calendars["w.post@zonneveld.example"].append(expected.calendars["k.smit@zonneveld.example"][0])
    actual.dead_letters.append("invalid_json")
    [dragged] = actual.changes
    actual.changes = [replace(dragged, end=dragged.start), Change("calbus.appointment.removed.v1", "de-vlieger/nobody")]
    actual.graph.violations["over_concurrency"] = 2
    actual.graph.invitations = 1
    told = "\n".join(differences(expected, actual))
    assert f"{lost}: no outcome, expected" in told
    assert f"{twice}: 2 outcomes" in told
    assert f"{wrong}: ended as failed event_rejected, expected" in told
    assert "nobody/action/1/1/nobody: ended as applied written, and no outcome was expected" in told
    assert "w.post@zonneveld.example: there and not expected: '✔ Offerte broodlijn'" in told
    assert "dead letters: invalid_data, invalid_json; expected invalid_data" in told
    assert "over_concurrency 2 times" in told
    assert "1 invitations" in told
    assert (
        "SM-109/m.visser: calbus.entry.rescheduled.v1 was not told, or not with these times: 2026-12-04 15:00" in told
    )
    assert (
        "SM-109/m.visser: calbus.entry.rescheduled.v1 was told (2026-12-04 15:00:00+00:00 to 2026-12-04 15:00" in told
    )
    assert "de-vlieger/nobody: calbus.appointment.removed.v1 was told (None to None), and was not expected" in told
    assert len(told.splitlines()) == 11
