"""Calls to Graph beside the writing itself: what gates and look-ups ask. Each directory has its share of them.

A directory that hangs holds its share and no more: nobody waits for it but its own entries. The writes themselves are
counted in pipeline.py. Nothing here counts to a mailbox's budget: that is for whoever asks.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from calbus.graph.calls import Request, Response

# Calls under way for one directory at a time: at a tenth of a second each, 320 a second.
DIRECTORY_MAX_CALLS = 32
# For all together. Eight directories have to hang at once before another waits. Each call is a connection.
ALL_MAX_CALLS = 256


class Graph(Protocol):
    """What gates, look-ups and probes need of the Graph client."""

    async def send(self, directory: str, requests: Sequence[Request]) -> list[Response]:
        """See GraphClient.send."""


@dataclass(slots=True)
class _Share:
    free: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(DIRECTORY_MAX_CALLS))
    users: int = 0


class SideCalls:
    """A Graph client that lets each directory have its share under way, and no more; the others wait for their turn.

    A call's own time begins when it is its turn. Of a directory that has nothing under way, nothing is kept.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._shares: dict[str, _Share] = {}
        self._free = asyncio.Semaphore(ALL_MAX_CALLS)

    def __len__(self) -> int:
        """How many directories have calls under way, or waiting."""
        return len(self._shares)

    async def send(self, directory: str, requests: Sequence[Request]) -> list[Response]:
        """See GraphClient.send."""
        key = directory.casefold()
        share = self._shares.setdefault(key, _Share())
        share.users += 1
        try:
            # The directory's own share first: who waits for that stands in nobody else's way.
            async with share.free, self._free:
                return await self._graph.send(directory, requests)
        finally:
            share.users -= 1
            if not share.users:
                del self._shares[key]
