"""Waiting with a limit: a cancellation always comes through."""

import asyncio

import pytest

from calbus.lifecycle import at_most
from calbus.outage import Dependency


async def test_a_cancellation_in_the_moment_of_a_wakeup_is_not_lost() -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(at_most(60.0, event.wait()))
    await asyncio.sleep(0)
    event.set()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_what_takes_too_long_is_ended() -> None:
    with pytest.raises(TimeoutError):
        await at_most(0.01, asyncio.Event().wait())


async def test_an_error_in_answer_to_a_cancellation_is_not_waited_out() -> None:
    async def attempt() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise OSError from None

    insisting = asyncio.create_task(Dependency("something", lambda error: isinstance(error, OSError)).insist(attempt))
    await asyncio.sleep(0)
    insisting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await insisting
