"""Migrations only expand: the version before runs on the new schema, while it is made and after, and so can be gone
back to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import asyncpg
import pytest

from calbus.store.migrate import Migration, _apply, migrate, migrations
from schemas.results import Ending
from tests.support.world import World

# What an older program would meet: number of the migration, and why nobody runs that program any more.
CONTRACTS: dict[int, str] = {}

_COLUMNS = """
SELECT table_name || '.' || column_name AS name, data_type, is_nullable = 'NO' AS required, column_default, is_generated
FROM information_schema.columns WHERE table_schema = 'public'
"""
# Programs hand over rows of these: with another attribute, or one less, none of a running program would be taken.
_TYPES = """
SELECT t.typname || '(' || string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
       || ')' AS definition
FROM pg_class c JOIN pg_type t ON t.typrelid = c.oid JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
WHERE c.relkind = 'c' AND c.relnamespace = 'public'::regnamespace GROUP BY t.typname
"""
# What turns rows away: checks, keys, exclusions, and indexes that are unique; with the columns that they look at.
_RULES = """
SELECT conrelid::regclass::text AS on_table, conrelid AS relation, conkey AS keys, pg_get_constraintdef(oid) AS rule
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid <> 0 AND contype <> 'n'
UNION
SELECT indrelid::regclass::text, indrelid, indkey::smallint[], pg_get_indexdef(indexrelid)
FROM pg_index JOIN pg_class c ON c.oid = indrelid WHERE indisunique AND c.relnamespace = 'public'::regnamespace
"""
_RULES = f"""
SELECT on_table, rule, array(
    SELECT on_table || '.' || attname FROM pg_attribute WHERE attrelid = relation AND attnum = ANY (keys)
) AS columns FROM ({_RULES}) r
"""


@dataclass(frozen=True)
class Schema:
    """What a program can meet in a database."""

    columns: dict[str, asyncpg.Record]
    rules: dict[tuple[str, str], set[str]]
    """The columns that each looks at, by its table and what it says."""
    types: set[str]
    """Composite types, each as one may write it down."""

    @property
    def tables(self) -> set[str]:
        return {name.partition(".")[0] for name in self.columns}


async def read(connection: asyncpg.Connection) -> Schema:
    columns = {row["name"]: row for row in await connection.fetch(_COLUMNS)}
    rules = {(row["on_table"], row["rule"]): set(row["columns"]) for row in await connection.fetch(_RULES)}
    return Schema(columns, rules, {row["definition"] for row in await connection.fetch(_TYPES)})


def contractions(before: Schema, after: Schema) -> set[str]:
    """What a program that was written for `before` may stumble over."""
    found = {f"{name} is gone" for name in before.columns.keys() - after.columns.keys()}
    found |= {f"{definition} is gone" for definition in before.types - after.types}
    for name, column in after.columns.items():
        was = before.columns.get(name)
        if was is None:
            is_new_table = name.partition(".")[0] not in before.tables
            if column["required"] and column["column_default"] is None and not is_new_table:
                found.add(f"{name} must be given")
        elif was["data_type"] != column["data_type"]:
            found.add(f"{name} has another type")
        elif column["required"] and not was["required"]:
            found.add(f"{name} must not be null")
        elif was["column_default"] is not None and column["column_default"] is None:
            found.add(f"{name} has no default")
    for table, rule in after.rules.keys() - before.rules.keys():
        looked_at = after.rules[table, rule]
        # What looks at new columns only is content with what is in them when nobody gives them.
        if table in before.tables and (not looked_at or looked_at & before.columns.keys()):
            found.add(f"{table}: {rule}")
    return found


@pytest.fixture
async def empty(world: World) -> AsyncIterator[asyncpg.Connection]:
    """A database without a schema."""
    connection = await asyncpg.connect(world.dsn)
    try:
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        yield connection
    finally:
        await connection.close()


async def test_no_migration_takes_away_what_the_version_before_it_needs(empty: asyncpg.Connection) -> None:
    found: dict[int, set[str]] = {}
    before = await read(empty)
    for step in migrations():
        await empty.execute(step.sql)
        after = await read(empty)
        found[step.number] = contractions(before, after)
        before = after
    told = {number: sorted(one) for number, one in found.items() if one}
    assert told.keys() == CONTRACTS.keys(), told


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("DROP TABLE outbox", "outbox.event_id is gone"),
        ("ALTER TABLE item RENAME COLUMN tenant TO customer", "item.tenant is gone"),
        ("ALTER TABLE item ADD COLUMN fresh text NOT NULL", "item.fresh must be given"),
        ("ALTER TABLE entry ALTER COLUMN attempts TYPE bigint", "entry.attempts has another type"),
        ("ALTER TABLE entry ALTER COLUMN event_id SET NOT NULL", "entry.event_id must not be null"),
        ("ALTER TABLE entry ALTER COLUMN attempts DROP DEFAULT", "entry.attempts has no default"),
        ("ALTER TABLE entry ADD CHECK (attempts < 9)", "entry: CHECK ((attempts < 9))"),
        ("CREATE UNIQUE INDEX one ON entry (event_id)", "entry: CREATE UNIQUE INDEX one ON"),
        (
            "ALTER TYPE item_key ADD ATTRIBUTE part text",
            "item_key(tenant text, source text, kind text, id text) is gone",
        ),
    ],
)
async def test_a_contraction_is_found(empty: asyncpg.Connection, sql: str, says: str) -> None:
    await migrate(empty)
    before = await read(empty)
    await empty.execute(sql)
    assert any(one.startswith(says) for one in contractions(before, await read(empty)))


def expansion(schema: Schema) -> Migration:
    """A migration of a later version that does to every table all that a migration may do."""
    statements = [
        f"""
        ALTER TABLE {table} ADD COLUMN later_a text, ADD COLUMN later_b integer NOT NULL DEFAULT 0;
        CREATE INDEX later_{table} ON {table} (later_b);
        """
        for table in sorted(schema.tables)
    ]
    made = "CREATE TABLE later (one integer PRIMARY KEY);"
    return Migration(9_999, "9999_later", "\n".join([made, *statements]))


async def test_all_services_run_on_while_a_later_version_migrates_and_start_on_its_schema(world: World) -> None:
    async def one_goes_through(name: str) -> None:
        action = tenant.action(name, "ann")
        await tenant.publish(action)
        assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED
        await tenant.appointment("ann", f"Lunch after {name}")
        await tenant.pulled("ann")
        gone = tenant.deleted(name)
        await tenant.publish(gone)
        assert (await tenant.outcome(gone, "ann")).ending is Ending.WITHDRAWN

    async with AsyncExitStack() as stack:
        connection = await asyncpg.connect(world.dsn)
        stack.push_async_callback(connection.close)
        schema = await read(connection)
        later = expansion(schema)
        assert contractions(schema, schema) == set()
        async with world.ingest(), world.writer(), world.puller():
            tenant = await stack.enter_async_context(world.tenant("ann"))
            await one_goes_through("before")
            load = asyncio.create_task(one_goes_through("meanwhile"))
            await _apply(connection, later)
            assert contractions(schema, await read(connection)) == set()
            await load
            await one_goes_through("after")
            # As `calbus migrate` of this version, run by accident or by a deployment that goes back.
            assert await migrate(connection) == []
        async with world.ingest(), world.writer(), world.puller():
            await one_goes_through("gone back")
