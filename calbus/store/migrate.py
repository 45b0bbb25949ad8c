"""Brings the database to the newest schema: numbered SQL files, a transaction each, one runner at a time."""

import asyncio
from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files

import asyncpg

from calbus.settings import SettingsError
from calbus.store.connection import Connection

# Any constant will do, as long as no other program on this database uses it.
_LOCK_ID = 0x63616C627573

LOCK_WAIT_MAX_MS = 3_000
LOCK_ATTEMPTS_MAX = 40
LOCK_PAUSE_S = 0.5

_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migration (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return sha256(self.sql.encode()).hexdigest()


class MigrationError(Exception):
    """The database was migrated by something else than these files; whose move: the operator."""


def migrations() -> list[Migration]:
    """All steps that this version of calbus knows, in order."""
    steps = [
        Migration(int(file.name.partition("_")[0]), file.name.removesuffix(".sql"), file.read_text())
        for file in files("schemas.migrations").iterdir()
        if file.name.endswith(".sql")
    ]
    return sorted(steps, key=lambda step: step.number)


async def migrate(connection: Connection) -> list[Migration]:
    """Apply the steps that are missing, and give them. Safe to run twice and from two places at once.

    Raises MigrationError if a step that was applied has been altered since.
    """
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK_ID)
    try:
        await connection.execute(_TABLE)
        applied = {
            row["number"]: row["checksum"]
            for row in await connection.fetch("SELECT number, checksum FROM schema_migration")
        }
        fresh = []
        for step in migrations():
            if step.number not in applied:
                await _apply(connection, step)
                fresh.append(step)
            elif applied[step.number] != step.checksum:
                raise MigrationError(
                    f"migration {step.name} was applied in another form than this version of calbus has it"
                )
        return fresh
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK_ID)


async def _apply(connection: Connection, step: Migration) -> None:
    """Services run meanwhile: a step that cannot have its tables at once steps back, and is tried again."""
    for attempt in range(1, LOCK_ATTEMPTS_MAX + 1):
        try:
            await _try(connection, step)
        except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
            if attempt == LOCK_ATTEMPTS_MAX:
                raise
            await asyncio.sleep(LOCK_PAUSE_S)
        else:
            return


async def _try(connection: Connection, step: Migration) -> None:
    async with connection.transaction():
        # Whoever waits for a whole table makes everybody wait who comes after.
        await connection.execute(f"SET LOCAL lock_timeout = {LOCK_WAIT_MAX_MS}")
        await connection.execute(step.sql)
        await connection.execute(
            "INSERT INTO schema_migration (number, name, checksum) VALUES ($1, $2, $3)",
            step.number,
            step.name,
            step.checksum,
        )


async def require_schema(pool: asyncpg.Pool) -> None:
    """Raise SettingsError unless the database has every step that this version needs.

    A newer database is fine: migrations expand before they contract.
    """
    needed = migrations()[-1].number
    try:
        found = await pool.fetchval("SELECT max(number) FROM schema_migration") or 0
    except asyncpg.UndefinedTableError:
        found = 0
    if found < needed:
        raise SettingsError(
            f"The database's schema is at step {found}, this version of calbus needs {needed}: run `calbus migrate`."
        )
