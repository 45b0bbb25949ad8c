"""The engines that the suites share, and the worlds they run calbus in."""

import logging
from collections.abc import AsyncIterator

import pytest
import structlog

from devstack.settings import Settings
from devstack.stack import Stack
from tests.support.world import World, drop_template, new_world

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


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
