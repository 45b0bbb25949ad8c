"""The demonstration from start to end: engines, services, the day in three parts, the verdict.
Only the order of things is here; each of them has a file of its own."""

import asyncio
import signal
import time
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from aiokafka.errors import KafkaError
from rich.console import Console

from calbus.bus.publish import PublishError
from calbus.store.migrate import MigrationError
from devstack.demo import recording
from devstack.demo.ground import Ground, prepared
from devstack.demo.play import playing
from devstack.demo.screen import Screen
from devstack.demo.services import Service, running
from devstack.demo.verdict import Expected, differences, read_expectation
from devstack.demo.witness import Bus, gather_actual, listening
from devstack.errors import DevstackError
from devstack.stack import Stack
from simulator.client import AdminRefused

EXIT_FAILURE = 1
EXIT_INTERRUPTED = 130
SERVICES = ("ingest", "writer", "puller")
LIFE_INTERVAL_S = 0.5

FAILURES = (
    DevstackError,
    PublishError,
    MigrationError,
    AdminRefused,
    OSError,
    KafkaError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    aiohttp.ClientError,
)


def demo(*, keep: bool, expected: Path) -> int:
    """Run it to its end, or until Ctrl-C if it is to be kept; gives the exit code."""
    err = Console(stderr=True, highlight=False)
    try:
        expectation = read_expectation(expected)
    except ValueError as error:
        err.print(f"calbus demo: {expected} is no expectation: {error}", style="red", markup=False, soft_wrap=True)
        return EXIT_FAILURE
    try:
        return asyncio.run(_until_signalled(_demo(Screen(Console(highlight=False)), expectation, keep=keep)))
    except FAILURES as error:
        sentence = str(error) or type(error).__name__
        err.print(f"calbus demo: {sentence}", style="red", markup=False, soft_wrap=True)
        return EXIT_FAILURE
    except asyncio.CancelledError:
        err.print("Interrupted: nothing is left running.")
        return EXIT_INTERRUPTED


async def _until_signalled(main: Coroutine[Any, Any, int]) -> int:
    """Ctrl-C and SIGTERM cancel it, so that it ends in order; also where a shell had SIGINT ignored."""
    task = asyncio.ensure_future(main)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await task


async def _demo(screen: Screen, expected: Expected, *, keep: bool) -> int:
    started = time.monotonic()
    async with AsyncExitStack() as exits:
        with screen.stage("Engines", "starting Kafka, PostgreSQL and the Microsoft 365 simulator") as stage:
            stack = await exits.enter_async_context(Stack(report=stage.report))
            engines = (stack.kafka, stack.postgres, stack.simulator)
            stage.now(" · ".join(product for _, product, _ in (engine.describe() for engine in engines)))
        with screen.stage("Services", "preparing the database, the topics and the directories") as stage:
            ground = await exits.enter_async_context(prepared(stack))
            bus = await exits.enter_async_context(listening(ground))
            stage.now(f"starting {', '.join(SERVICES)}")
            services = await exits.enter_async_context(running(SERVICES, ground.environment))
            stage.now(f"{', '.join(SERVICES)} are ready")
        async with playing(screen, expected, ground, bus, services) as play:
            await play.settings(recording.settings())
            for part in recording.day():
                await play.part(part)
            await play.drags(recording.drags())
            await play.quiet()
        as_expected = await _judge(screen, expected, ground, bus, started)
        if keep:
            await _stay(screen, stack, ground, services)
    return 0 if as_expected else EXIT_FAILURE


async def _judge(screen: Screen, expected: Expected, ground: Ground, bus: Bus, started: float) -> bool:
    actual = await gather_actual(ground, bus)
    found = differences(expected, actual)
    screen.calendars(ground.directories, actual)
    screen.outcomes(actual.outcomes)
    screen.changes(actual.changes)
    screen.letters(bus.letters.values())
    screen.graph(actual.graph)
    screen.verdict(found, time.monotonic() - started)
    return not found


async def _stay(screen: Screen, stack: Stack, ground: Ground, services: dict[str, Service]) -> None:
    """Until Ctrl-C, or until a service dies: raises EngineFailedError then."""
    addresses = {
        "Calendars (browser)": f"{stack.simulator.http_url}/outlook",
        "Kafka": stack.kafka.bootstrap,
        "PostgreSQL": ground.dsn,
        "Microsoft Graph": stack.simulator.graph_url,
        "Microsoft Entra ID": stack.simulator.login_url,
        **{f"{name}, metrics": f"{service.admin_url}/metrics" for name, service in services.items()},
    }
    screen.addresses(addresses, ground.variables)
    try:
        while True:
            for service in services.values():
                service.insist_on_life()
            await asyncio.sleep(LIFE_INTERVAL_S)
    except asyncio.CancelledError:
        screen.title("Stopping")
