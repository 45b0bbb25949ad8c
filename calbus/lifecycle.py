"""How a program runs and ends: signals, exit codes, and errors that say whose move it is."""

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import TypeVar

from calbus.settings import SettingsError

EXIT_FAILURE = 1
EXIT_USAGE = 2
# What is in hand are thousands of small values that die young and form no cycles: looking for cycles after every few
# hundred, as Python does by default, finds nothing and takes a tenth of the time. This is more than a batch makes: when
# it is done its values are gone, and nothing was looked at.
GC_EVERY_OBJECTS = 200_000

T = TypeVar("T")


def settle_memory() -> None:
    """Have what stands now stand for good, and look for cycles seldom."""
    gc.collect()
    gc.freeze()  # modules and classes
    gc.set_threshold(GC_EVERY_OBJECTS, 10, 10)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The quickest loop that there is here."""
    try:
        import uvloop
    except ImportError:  # not made for every platform
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def at_most(limit_s: float | None, work: Awaitable[T]) -> T:
    """Wait for `work`, but no longer; raises TimeoutError.

    A cancellation always comes through. `asyncio.wait_for` of Python 3.11 loses one that comes in the moment in which
    the work is done, and whoever loops around it is never ended.
    """
    async with asyncio.timeout(limit_s):
        return await work


def run(main: Callable[[], Awaitable[None]]) -> None:
    """Run until it returns, or until SIGINT or SIGTERM asks it to finish; exits 2 for a faulty setting.

    The signal cancels `main`, which drains what it has in hand.
    """
    settle_memory()
    try:
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_until_signalled(main))
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_USAGE)


async def _until_signalled(main: Callable[[], Awaitable[None]]) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main())
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
