"""The guardian itself: processes that resist, processes that hide, and its own end."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from devstack.errors import DevstackError
from devstack.guarded import Command, Guarded
from tests.devstack.leftovers import alive, entries, words_in
from tests.support.waiting import until

pytestmark = pytest.mark.slow

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('here', flush=True)
time.sleep(600)
"""
HIDING = """
import os, sys, time
if os.fork():
    time.sleep(600)
os.setsid()
print(os.getpid(), flush=True)
time.sleep(600)
"""


async def said(path: Path) -> str:
    """The first words of a process."""

    async def words() -> str:
        return words_in(path)

    return await until(words, "the process's first words")


def python(guarded: Guarded, source: str) -> Command:
    """A process that runs a piece of Python."""
    output = str(guarded.directory / "output")
    return Command(argv=[sys.executable, "-c", source], stdout=output, stderr=output)


async def test_a_process_that_ignores_the_request_to_end_is_killed(scratch: Path) -> None:
    guarded = await Guarded.open()
    process = await guarded.spawn("stubborn", python(guarded, STUBBORN))
    await said(guarded.directory / "output")
    await guarded.close()
    assert not alive({process.pid})
    assert await process.exited == -signal.SIGKILL
    assert not entries(scratch)


async def test_an_engine_has_exited_only_when_its_runaways_have(scratch: Path) -> None:
    guarded = await Guarded.open()
    process = await guarded.spawn("hiding", python(guarded, HIDING))
    runaway = int(await said(guarded.directory / "output"))
    process.signal(signal.SIGKILL)
    await process.exited
    assert not alive({process.pid, runaway})
    await guarded.close()
    assert not entries(scratch)


async def test_a_program_that_is_not_there_is_an_error_that_names_it(scratch: Path) -> None:
    guarded = await Guarded.open()
    with pytest.raises(DevstackError, match="no-such-program"):
        await guarded.spawn("absent", Command(argv=["/no-such-program"], stdout=os.devnull, stderr=os.devnull))
    await guarded.close()
    assert not entries(scratch)


async def test_a_name_is_for_one_running_process(scratch: Path) -> None:
    guarded = await Guarded.open()
    await guarded.spawn("one", python(guarded, STUBBORN))
    with pytest.raises(DevstackError, match="one is running already"):
        await guarded.spawn("one", python(guarded, STUBBORN))
    guarded_pids = {process.pid for process in guarded._processes.values()}
    guarded._processes["one"].signal(signal.SIGKILL)
    await guarded.close()
    assert not alive(guarded_pids)


async def test_a_guardian_that_is_killed_takes_its_engines_along(scratch: Path) -> None:
    guarded = await Guarded.open()
    process = await guarded.spawn("engine", python(guarded, STUBBORN))
    guarded._popen.kill()
    assert await process.exited == -signal.SIGKILL

    async def gone() -> bool:
        return not alive({process.pid})

    await until(gone, "the engine's end")
    with pytest.raises(DevstackError, match="guardian"):
        await asyncio.wait_for(guarded.spawn("another", python(guarded, STUBBORN)), 5)
    await guarded.close()
