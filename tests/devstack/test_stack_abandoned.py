"""Whatever becomes of the program that started a stack, nothing of the stack stays behind."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from devstack.settings import REPOSITORY
from tests.devstack.leftovers import alive, entries, family_of, listening, shared_memory_of
from tests.support.waiting import until

pytestmark = pytest.mark.slow

GONE_TIMEOUT_S = 30.0

SLOW_MAVEN = """\
#!/bin/sh
touch "{begun}"
exec sleep 600
"""


def below(directory: Path) -> list[Path]:
    """What is in a directory, as paths."""
    return [directory / name for name in entries(directory)]


@asynccontextmanager
async def program(fate: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The program that starts a stack; it is collected at the end whatever the test did with it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.devstack.abandoned", fate),
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def nothing_left(scratch: Path, pids: set[int], ports: set[int]) -> None:
    """Wait until processes, ports, shared memory and files are all gone."""

    left: list[set[Any]] = []

    async def gone() -> bool:
        left[:] = [alive(pids), listening(ports), shared_memory_of(pids), entries(scratch)]
        return not any(left)

    try:
        await until(gone, "the end of everything that was started", timeout_s=GONE_TIMEOUT_S)
    except AssertionError:
        pytest.fail(f"left behind (processes, ports, shared memory, files): {left}")


@pytest.mark.parametrize(
    ("fate", "number"),
    [("wait", signal.SIGKILL), ("wait", signal.SIGINT), ("lose", signal.SIGKILL), ("raise", None)],
    ids=["killed", "interrupted", "killed-after-postgres-was", "raised"],
)
async def test_a_running_stack_goes_with_its_program(scratch: Path, fate: str, number: int | None) -> None:
    async with program(fate) as process:
        assert process.stdout is not None
        line = await process.stdout.readline()
        held = json.loads(line or (await process.communicate())[1])
        pids, ports = set(held["pids"]), set(held["ports"])
        assert len(pids) > 4, "the program, its guardian and three engines, and PostgreSQL's own processes"
        if number is not None:
            process.send_signal(number)
        await process.communicate()
        await nothing_left(scratch, pids, ports)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
async def test_a_starting_stack_goes_with_its_program(scratch: Path, number: int) -> None:
    async with program("wait") as process:

        async def kafka_starts() -> bool:
            return any(run.joinpath("kafka", "server.log").is_file() for run in below(scratch))

        await until(kafka_starts, "the broker's first words")
        pids = family_of(process.pid)
        process.send_signal(number)
        stdout, _ = await process.communicate()
        assert stdout == b"", "it had not got as far as being ready"
        await nothing_left(scratch, pids, set())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
async def test_a_fetch_goes_with_its_program(scratch: Path, tmp_path: Path, number: int) -> None:
    begun, cache, programs = tmp_path / "begun", tmp_path / "cache", tmp_path / "bin"
    programs.mkdir()
    (programs / "mvn").write_text(SLOW_MAVEN.format(begun=begun))
    (programs / "mvn").chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    async with program("wait", PATH=path, CALBUS_CACHE_DIR=str(cache), CALBUS_DEVSTACK_KAFKA="apache") as process:

        async def fetching() -> bool:
            return begun.exists()

        await until(fetching, "Maven's start")
        pids = family_of(process.pid)
        process.send_signal(number)
        await process.communicate()
        await nothing_left(scratch, pids, set())
    assert not any(path.is_dir() for path in below(cache)), "no half-fetched Kafka in the cache"
