"""Virtual time: programs run as on any event loop, in the same order each time, and nobody waits."""

import asyncio
import time

import pytest

from calbus.lifecycle import at_most
from services.writer.capacity_time import VirtualLoop


def run(main) -> object:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now_s() -> float:
    return asyncio.get_running_loop().time()


def test_a_day_passes_in_no_time() -> None:
    async def main() -> float:
        await asyncio.sleep(86_400.0)
        return now_s()

    begun_s = time.monotonic()
    assert run(main()) == pytest.approx(86_400.0)
    assert time.monotonic() - begun_s < 60.0


def test_things_happen_in_the_order_of_their_times() -> None:
    async def main() -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []

        async def one(name: str, wait_s: float) -> None:
            await asyncio.sleep(wait_s)
            seen.append((name, now_s()))

        await asyncio.gather(one("c", 3.0), one("a", 1.0), one("b", 2.0), one("d", 3.0))
        return seen

    assert run(main()) == [("a", 1.0), ("b", 2.0), ("c", 3.0), ("d", 3.0)]


def test_work_keeps_all_else_waiting() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        seen: list[float] = []
        loop.call_later(1.0, lambda: seen.append(loop.time()))
        loop.call_later(5.0, lambda: seen.append(loop.time()))
        loop.work(2.5)
        await asyncio.sleep(3.0)
        return [*seen, now_s()]

    assert run(main()) == [2.5, 5.0, 5.5]


def test_a_time_out_is_of_virtual_time_too() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            await at_most(10.0, asyncio.Event().wait())
        return now_s()

    assert run(main()) == 10.0


def test_what_waits_for_ever_is_said_to() -> None:
    with pytest.raises(RuntimeError, match="everything waits for everything else"):
        run(asyncio.Event().wait())
