"""The engines that the suites share, and the worlds they run calbus in."""

import logging
from collections.abc import AsyncIterator

import pytest
import structlog

from devstack.settings import Settings
from devstack.stack import Stack
from tests.support.world import World, drop_template, new_world

# What takes longest goes first, so that no worker is still at it when the others are done. The bus contract is before
# it, since a worker takes from the other end of another's list: so just one of them starts the contract's own Kafka.
FIRST = (
    "tests/contract/",
    "tests/devstack/test_demo.py",
    "tests/integration/test_puller_model.py",
    "tests/chaos/",
    "tests/acceptance/test_all.py",
)

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Random as the order is otherwise: first what is named, then what runs on the engines, then the rest.

    What runs on the engines mostly waits, so it shares a machine well with what computes.
    """

    def rank(item: pytest.Item) -> int:
        named = [number for number, path in enumerate(FIRST) if item.nodeid.startswith(path)]
        on_engines = "stack" in getattr(item, "fixturenames", ())
        return named[0] if named else len(FIRST) + (not on_engines)

    items.sort(key=rank)


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    """Real Kafka, real PostgreSQL and the simulator, once for the session. No test pulls the machine's own plug."""
    async with Stack(settings=Settings(devstack_fsync=False)) as stack:
        try:
            yield stack
        finally:
            await drop_template(stack)


@pytest.fixture(scope="session")
async def running(stack: Stack) -> AsyncIterator[World]:
    """A world with one ingest and one writer running, for all tests that keep to their own tenant."""
    async with new_world(stack) as world, world.ingest(), world.writer():
        yield world


@pytest.fixture
async def world(stack: Stack) -> AsyncIterator[World]:
    """A world of the test's own, with nothing running in it yet."""
    async with new_world(stack) as world:
        yield world
