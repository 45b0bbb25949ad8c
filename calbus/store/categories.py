"""The category table: which of a mailbox's categories calbus has seen to."""

from collections.abc import Sequence

import asyncpg

from calbus.entry import Place

_SEEN = """
SELECT lane, name FROM category JOIN unnest($1::text[], $2::text[]) AS m (directory, lane) USING (directory, lane)
"""

_SEE = "INSERT INTO category (directory, lane, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"


async def seen(pool: asyncpg.Pool, places: Sequence[Place]) -> dict[str, set[str]]:
    """By lane, the names that were seen to in these mailboxes, casefolded; those without any are left out."""
    names: dict[str, set[str]] = {}
    for row in await pool.fetch(_SEEN, [place.directory for place in places], [place.lane for place in places]):
        names.setdefault(row["lane"], set()).add(row["name"])
    return names


async def see(pool: asyncpg.Pool, place: Place, name: str) -> None:
    """Remember that this casefolded name was seen to; it may have been before."""
    await pool.execute(_SEE, place.directory, place.lane, name)
