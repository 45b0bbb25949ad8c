"""Waiting for a condition, with a deadline.
There are no fixed waits in the demonstration, and nothing but this waits."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from devstack.errors import DevstackError

DEADLINE_S = 60.0
LOOK_S = 0.03


class WaitedInVainError(DevstackError):
    """A condition did not come about in time; the message says which."""


async def until(look: Callable[[], Awaitable[bool]], awaited: Callable[[], str]) -> None:
    """Return as soon as `look` gives true; raises WaitedInVainError with what was `awaited` after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not await look():
        if time.monotonic() > deadline:
            raise WaitedInVainError(f"waited {DEADLINE_S:.0f} s in vain for {awaited()}")
        await asyncio.sleep(LOOK_S)
