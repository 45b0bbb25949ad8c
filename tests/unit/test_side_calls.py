"""Calls beside the writing: a directory that hangs holds its share of them, and nobody else's."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from calbus.graph.calls import Request, Response
from calbus.lifecycle import at_most
from services.writer.side_calls import ALL_MAX_CALLS, DIRECTORY_MAX_CALLS, SideCalls

ASKED = [Request("get_calendar", "GET", "/users/anna@contoso.example/calendar")]


class Service:
    """Answers at once, but for directories that hang until they are let go."""

    def __init__(self, *hanging: str) -> None:
        self.gates = {directory: asyncio.Event() for directory in hanging}
        self.under_way: Counter[str] = Counter()

    async def send(self, directory: str, requests: Sequence[Request]) -> list[Response]:
        self.under_way[directory.casefold()] += 1
        try:
            if (gate := self.gates.get(directory.casefold())) is not None:
                await gate.wait()
            return [Response(200, directory, None) for _ in requests]
        finally:
            self.under_way[directory.casefold()] -= 1


async def turns(number: int = 20) -> None:
    """Let everything happen that waits for nothing."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_a_directory_that_hangs_holds_its_share_only() -> None:
    service = Service("slow")
    calls = SideCalls(service)
    hanging = [asyncio.create_task(calls.send("slow", ASKED)) for _ in range(2 * ALL_MAX_CALLS)]
    # Under another spelling it is the same directory.
    hanging += [asyncio.create_task(calls.send("Slow", ASKED)) for _ in range(2 * ALL_MAX_CALLS)]
    await turns()
    assert service.under_way["slow"] == DIRECTORY_MAX_CALLS
    for number in range(100):
        (answer,) = await at_most(10.0, calls.send(f"quick-{number}", ASKED))
        assert answer.body == f"quick-{number}"
    assert len(calls) == 1
    service.gates["slow"].set()
    assert len(await asyncio.gather(*hanging)) == 4 * ALL_MAX_CALLS
    assert len(calls) == 0


async def test_all_together_have_no_more_than_the_connections_that_are_kept_for_them() -> None:
    names = [f"slow-{number}" for number in range(2 * ALL_MAX_CALLS // DIRECTORY_MAX_CALLS)]
    service = Service(*names)
    calls = SideCalls(service)
    hanging = [asyncio.create_task(calls.send(name, ASKED)) for name in names for _ in range(DIRECTORY_MAX_CALLS)]
    await turns()
    assert service.under_way.total() == ALL_MAX_CALLS
    for gate in service.gates.values():
        gate.set()
    await asyncio.gather(*hanging)


async def test_who_is_cancelled_leaves_nothing_behind() -> None:
    service = Service("slow")
    calls = SideCalls(service)
    hanging = [asyncio.create_task(calls.send("slow", ASKED)) for _ in range(2 * DIRECTORY_MAX_CALLS)]
    await turns()
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    assert len(calls) == 0
    service.gates["slow"].set()
    again = [calls.send("slow", ASKED) for _ in range(2 * DIRECTORY_MAX_CALLS)]
    assert len(await at_most(10.0, asyncio.gather(*again))) == 2 * DIRECTORY_MAX_CALLS
