"""Connections go from hand to hand as they are: what one did must not show to the next."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

import calbus
import services
from calbus.outage import postgres
from calbus.settings import PostgresSettings
from calbus.store.pool import connect
from devstack.stack import Stack
from tests.support.waiting import until

_OF_A_SESSION = re.compile(r"(\"SET (?!LOCAL )|\bLISTEN |\bDECLARE |\bPREPARE |\bCREATE TEMP|\bpg_advisory_lock\()")


@pytest.fixture
async def pool(stack: Stack) -> AsyncIterator[asyncpg.Pool]:
    """A pool as services have it, with one connection in it."""
    settings = PostgresSettings(postgres_dsn=stack.postgres.dsn)
    async with connect(settings, postgres()) as pool:
        yield pool


async def test_nothing_of_a_transaction_is_left_to_the_next_user(pool: asyncpg.Pool) -> None:
    said: list[str] = []

    async def break_off() -> None:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("SET LOCAL enable_bitmapscan = off")
            await connection.execute("SELECT pg_advisory_xact_lock(42)")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await break_off()
    async with pool.acquire() as connection:
        connection.add_query_logger(lambda record: said.append(record.query))
        assert not connection.is_in_transaction()
        assert await connection.fetchval("SHOW enable_bitmapscan") == "on"
        assert not await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"
        )
    async with pool.acquire() as connection:
        await connection.fetchval("SELECT 1")
    await until(lambda: _heard(said, "SELECT 1"), "the last query to be noted")
    assert not [query for query in said if "RESET ALL" in query], "releasing asks nothing of the server"


async def _heard(said: list[str], query: str) -> bool:
    return query in said


def test_nothing_is_set_beyond_a_transaction_by_whoever_uses_the_pool() -> None:
    roots = (Path(calbus.__file__).parent, Path(services.__path__[0]))
    # The migration has a connection of its own, which it closes.
    files = [file for root in roots for file in root.rglob("*.py") if file.name != "migrate.py"]
    found = {file.name: _OF_A_SESSION.findall(file.read_text()) for file in files}
    assert {name: what for name, what in found.items() if what} == {}
