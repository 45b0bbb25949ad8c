"""Waiting for a condition, never for a time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

LOOK_S = 0.02
# For a machine that does much else besides. Nothing waits for as long that goes right.
PATIENCE_S = 60.0


async def until(look: Callable[[], Awaitable[T]], what: str, *, timeout_s: float = PATIENCE_S) -> T:
    """The first true thing that `look` gives; fails with `what` was awaited and what was seen last."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen = await look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s in vain for {what}; last seen: {seen!r}")
        await asyncio.sleep(LOOK_S)
