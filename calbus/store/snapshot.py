"""All of a tenant's items and entries, read in one snapshot, a chunk at a time; nothing is locked or marked."""

from datetime import datetime

from calbus.entry import ItemKey
from calbus.store import entries, items
from calbus.store.connection import Connection
from calbus.store.entries import Look
from calbus.store.items import StoredItem
from calbus.store.removals import Breaker
from schemas.items import Kind

# In the index's order, whatever the statistics say: see calbus/store/switches.py.
_IN_INDEX_ORDER = "SET LOCAL enable_bitmapscan = off"

_KNOWN = """
SELECT EXISTS (SELECT FROM setting WHERE tenant = $1 AND scope = 'tenant' AND body IS NOT NULL) AS has_settings,
       (SELECT count(*) FROM item WHERE tenant = $1) AS items
"""

_PAGE = """
SELECT source, kind, id FROM item WHERE tenant = $1 AND (source, kind, id) > ($2, $3, $4)
ORDER BY source, kind, id LIMIT $5
"""

_BREAKERS = "SELECT name, opened_at, standing, removed, tripped_at FROM breaker WHERE tenant = $1"

_CATEGORIES = "SELECT lane, name FROM category WHERE directory = $1"

Cursor = tuple[str, str, str]
BEFORE_ALL: Cursor = ("", "", "")


async def open_tenant(connection: Connection, tenant: str) -> tuple[bool, int]:
    """Whether the tenant has settings, and how many items. Needs the caller's transaction, as all here does."""
    await connection.execute(_IN_INDEX_ORDER)
    row = await connection.fetchrow(_KNOWN, tenant)
    assert row is not None
    return row["has_settings"], row["items"]


async def page(
    connection: Connection, tenant: str, after: Cursor, limit: int
) -> tuple[dict[ItemKey, StoredItem], list[Look]]:
    """The next items after the cursor, in its order, and their entries; none at the end."""
    rows = await connection.fetch(_PAGE, tenant, *after, limit)
    keys = [ItemKey(tenant, row["source"], Kind(row["kind"]), row["id"]) for row in rows]
    return await items.of_keys(connection, keys), await entries.look_at_all(connection, keys)


async def breakers(connection: Connection, tenant: str) -> dict[str, Breaker]:
    """The tenant's breakers by name, as they are."""
    return {
        row["name"]: Breaker(row["opened_at"], row["standing"], row["removed"], row["tripped_at"])
        for row in await connection.fetch(_BREAKERS, tenant)
    }


async def categories_seen(connection: Connection, directory: str) -> set[tuple[str, str]]:
    """Which categories, casefolded, were seen to in which mailboxes, named by their lanes."""
    return {(row["lane"], row["name"]) for row in await connection.fetch(_CATEGORIES, directory)}


async def now(connection: Connection) -> datetime:
    """The moment of the snapshot."""
    moment: datetime = await connection.fetchval("SELECT transaction_timestamp()")
    return moment
