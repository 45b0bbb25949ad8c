"""An event loop under virtual time: asyncio programs run as they are, and nothing in them waits. No clock is read.

What a program awaits happens when it should, by the loop's own clock; between that and the next thing no time passes
but what is spent by `work`.
"""

import asyncio
from selectors import SelectorKey, SelectSelector


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 0 seconds. Deterministic: what is due at one moment happens in the order in which it was asked for."""

    def __init__(self) -> None:
        self._now_s = 0.0
        super().__init__(_Skip(self))

    def time(self) -> float:
        """Seconds since the beginning."""
        return self._now_s

    def work(self, cpu_s: float) -> None:
        """Have the processor busy for so long: as in a program of one thread, all else comes later."""
        self._now_s += cpu_s


class _Skip(SelectSelector):
    """Where the loop would wait, time goes on at once. Nothing comes from outside."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Gives nothing. Raises RuntimeError if nothing would ever happen again."""
        if timeout is None:
            raise RuntimeError("everything waits for everything else")
        self._loop.work(timeout)
        return []
