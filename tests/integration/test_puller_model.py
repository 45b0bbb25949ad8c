"""Whatever happens on both sides at once, and whatever goes wrong: what is told is, in the end, what stands.

Scripts of what upstream, users, Microsoft and the machines do are made up at random and played on real engines; see
tests/support/puller_model.py for the steps and for what is checked whenever there is quiet.
"""

import os
import secrets
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import Phase, given, seed, settings

from devstack.stack import Stack
from tests.support.puller_model import Fleet, Step, play, readable, scripts
from tests.support.world import World, _free_port, new_world

# To repeat a run of the slow form, as far as engines and processes repeat themselves.
SEED = int(os.environ.get("CALBUS_MODEL_SEED") or secrets.randbits(32))
EXAMPLES = int(os.environ.get("CALBUS_MODEL_EXAMPLES") or 100)
BOX_S = 240.0
# No example is made smaller: each takes seconds, and none repeats itself to the millisecond.
PHASES = (Phase.explicit, Phase.generate)


@pytest.fixture(scope="module")
async def world(stack: Stack) -> AsyncIterator[World]:
    """A world with ingest and writer, for all scripts: each has a tenant of its own."""
    async with new_world(stack) as world, world.ingest(), world.writer():
        yield world


@pytest.fixture(scope="module")
async def tasks(world: World) -> AsyncIterator[Fleet]:
    """Pullers in this process, which are cancelled to kill them."""
    fleet = Fleet(world, _free_port(), processes=False)
    yield fleet
    await fleet.all_down()


@pytest.fixture(scope="module")
async def processes(world: World) -> AsyncIterator[Fleet]:
    """Pullers in processes, which are killed with SIGKILL."""
    fleet = Fleet(world, _free_port(), processes=True)
    yield fleet
    await fleet.all_down()


@settings(max_examples=5, derandomize=True, database=None, deadline=None, phases=PHASES)
@given(script=scripts(24))
async def test_what_is_told_is_what_stands(world: World, tasks: Fleet, script: list[Step]) -> None:
    await play(world, tasks, script)


class Box:
    """The time that is left, and how many scripts were played in it."""

    ends_at: float | None = None
    played = 0


@pytest.mark.slow
@pytest.mark.timeout(600)
@seed(SEED)
@settings(max_examples=EXAMPLES, database=None, deadline=None, phases=PHASES)
@given(script=scripts(40))
async def test_what_is_told_is_what_stands_whoever_is_killed(
    world: World, processes: Fleet, script: list[Step]
) -> None:
    now = time.monotonic()
    Box.ends_at = Box.ends_at or now + BOX_S
    if now > Box.ends_at:
        return
    Box.played += 1
    print(f"seed {SEED}, script {Box.played}\n{readable(script)}")  # noqa: T201 - shown if it fails
    await play(world, processes, script)
