"""The trace_context table: under which span a plan goes on, from ingest to whichever writer takes it up.

Beside the entries and not in them: where nothing is traced, reading and writing those costs nothing more.
"""

from collections.abc import Iterable, Mapping
from uuid import UUID

import asyncpg

from calbus.store.connection import Connection

Contexts = Mapping[tuple[UUID, int], str]
"""By entry and plan."""
NO_CONTEXTS: Contexts = {}

_OF = "SELECT entry_id, plan, context FROM trace_context WHERE entry_id = ANY ($1::uuid[])"

_PUT = """
INSERT INTO trace_context (entry_id, plan, context)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[]) ORDER BY 1
ON CONFLICT (entry_id) DO UPDATE SET plan = excluded.plan, context = excluded.context
"""

_FORGET = "DELETE FROM trace_context WHERE entry_id = ANY ($1::uuid[])"


async def of(source: Connection | asyncpg.Pool, entry_ids: Iterable[UUID]) -> Contexts:
    """What is kept of these entries, whichever plan it is of."""
    rows = await source.fetch(_OF, list(entry_ids))
    return {(row["entry_id"], row["plan"]): row["context"] for row in rows}


async def put(connection: Connection, contexts: Contexts) -> None:
    """Keep these, each for the newest plan of its entry, in the caller's transaction, which has locked the entries."""
    if contexts:
        entry_ids, plans = zip(*contexts, strict=True)
        await connection.execute(_PUT, list(entry_ids), list(plans), list(contexts.values()))


async def forget(connection: Connection, entry_ids: Iterable[UUID]) -> None:
    """What these entries waited for has come to its end, in the caller's transaction, which has locked them."""
    ended = list(entry_ids)
    if ended:
        await connection.execute(_FORGET, ended)
