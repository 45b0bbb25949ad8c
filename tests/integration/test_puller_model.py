"""Whatever happens on both sides at once, and whatever goes wrong: what is told is, in the end, what stands.

Scripts of what upstream, users, Microsoft and the machines do are made up at random and played on real engines; see
tests/support/puller_model.py for the steps and for what is checked whenever there is quiet.
"""

import os
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from hypothesis import Phase, assume, given, seed, settings

from devstack.stack import Stack
from tests.support.puller_model import (
    Delete,
    DeleteOne,
    Edit,
    Fleet,
    Kill,
    MoveOne,
    Plan,
    Quiet,
    Step,
    Wait,
    is_varied,
    play,
    scripts,
)
from tests.support.world import World, _free_port, new_world

# To repeat a run of the slow form, as far as engines and processes repeat themselves.
SEED = int(os.environ.get("CALBUS_MODEL_SEED") or secrets.randbits(32))
BOX_S = float(os.environ.get("CALBUS_MODEL_BOX_S") or 120.0)
# No script is made smaller: each takes seconds, and none repeats itself to the millisecond.
PHASES = (Phase.explicit, Phase.generate)


@pytest.fixture(scope="module")
async def world(stack: Stack) -> AsyncIterator[World]:
    """A world with ingest and writer, for all scripts: each has a tenant of its own."""
    async with new_world(stack) as world, world.ingest(), world.writer():
        yield world


@dataclass(slots=True)
class Box:
    """Pullers, and how many scripts they may still be given."""

    fleet: Fleet
    ends_at: float
    played: int = 0

    async def play(self, world: World, script: list[Step]) -> None:
        """Play it, unless the time is over."""
        if time.monotonic() < self.ends_at:
            self.played += 1
            await play(world, self.fleet, script)


@pytest.fixture(scope="module")
async def fleet(world: World) -> AsyncIterator[Fleet]:
    """Pullers in this process, which are cancelled to kill them."""
    fleet = Fleet(world, _free_port(), processes=False)
    yield fleet
    await fleet.all_down()


@pytest.fixture(params=["tasks", "processes"], scope="module")
async def box(world: World, request: pytest.FixtureRequest) -> AsyncIterator[Box]:
    """Pullers in this process, which are cancelled, or in processes, which are killed with SIGKILL."""
    fleet = Fleet(world, _free_port(), processes=request.param == "processes")
    box = Box(fleet, time.monotonic() + BOX_S)
    yield box
    print(f"\nCALBUS_MODEL_SEED={SEED}, {request.param}: {box.played} scripts played")  # noqa: T201
    await fleet.all_down()


@pytest.mark.timeout(300)
@settings(max_examples=3, derandomize=True, database=None, deadline=None, phases=PHASES)
@given(script=scripts(16))
async def test_what_is_told_is_what_stands(world: World, fleet: Fleet, script: list[Step]) -> None:
    assume(is_varied(script, 7))
    await play(world, fleet, script)


BEGINNING: list[Step] = [Plan(item=0, day=2, hour=9, count=3), Quiet(), Kill(slot=0), Kill(slot=1)]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(
            [Delete(user="ann", which=0), Plan(item=0, day=3, hour=10, count=4), Wait()],
            id="a writer meets a removal and writes the series anew before any puller looks",
        ),
        pytest.param(
            [Edit(user="ann", which=0, what="subject"), MoveOne(user="ann", which=0, hour=16)],
            id="an occurrence is moved before anybody sees what was done to its series",
        ),
        pytest.param(
            [Edit(user="ann", which=0, what="subject"), DeleteOne(user="ann", which=1)],
            id="an occurrence is deleted before anybody sees what was done to its series",
        ),
    ],
)
async def test_what_is_told_is_what_stands_after(world: World, fleet: Fleet, steps: list[Step]) -> None:
    """Orders of events that random scripts came upon by chance."""
    await play(world, fleet, [*BEGINNING, *steps, Quiet()])


@pytest.mark.slow
@pytest.mark.timeout(600)
@seed(SEED)
@settings(max_examples=100, database=None, deadline=None, phases=PHASES)
@given(script=scripts(40))
async def test_what_is_told_is_what_stands_whoever_is_killed(world: World, box: Box, script: list[Step]) -> None:
    assume(is_varied(script, 10))
    await box.play(world, script)
