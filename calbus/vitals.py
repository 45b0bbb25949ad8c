"""How a process itself is: its event loop, its connections, the outbox that it helps to empty. Measured from within."""

import asyncio
import time

import asyncpg

from calbus.outage import Dependency
from calbus.store import outbox
from calbus.telemetry import (
    BUILD,
    LOOP_DELAY_SECONDS,
    OUTBOX_EVENTS,
    OUTBOX_OLDEST_SECONDS,
    POOL_CONNECTIONS,
    POOL_WAIT_SECONDS,
    VERSION,
)

LOOP_INTERVAL_S = 0.25
LOOK_INTERVAL_S = 5.0


async def watch_process(pool: asyncpg.Pool, postgres: Dependency) -> None:
    """Show how the process is, until cancelled."""
    BUILD.labels(VERSION).set(1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_watch_loop())
        tasks.create_task(_watch_pool(pool, postgres))


async def _watch_loop() -> None:
    while True:
        asked_s = time.perf_counter()
        await asyncio.sleep(LOOP_INTERVAL_S)
        LOOP_DELAY_SECONDS.observe(max(time.perf_counter() - asked_s - LOOP_INTERVAL_S, 0.0))


async def _watch_pool(pool: asyncpg.Pool, postgres: Dependency) -> None:
    while True:
        POOL_CONNECTIONS.labels("used").set(pool.get_size() - pool.get_idle_size())
        POOL_CONNECTIONS.labels("idle").set(pool.get_idle_size())
        POOL_CONNECTIONS.labels("max").set(pool.get_max_size())
        waiting = await postgres.insist(lambda: _look(pool))
        OUTBOX_EVENTS.set(waiting.events)
        OUTBOX_OLDEST_SECONDS.set(waiting.oldest_s)
        await asyncio.sleep(LOOK_INTERVAL_S)


async def _look(pool: asyncpg.Pool) -> outbox.Waiting:
    asked_s = time.perf_counter()
    async with pool.acquire() as connection:
        POOL_WAIT_SECONDS.observe(time.perf_counter() - asked_s)
        return await outbox.waiting(connection)
