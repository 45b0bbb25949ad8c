"""The category table: which of a mailbox's categories calbus has seen to."""

import asyncpg

from calbus.entry import Place

_SEEN = "SELECT name FROM category WHERE directory = $1 AND lane = $2"

_SEE = "INSERT INTO category (directory, lane, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"


async def seen(pool: asyncpg.Pool, place: Place) -> set[str]:
    """The names that were seen to in this mailbox, casefolded."""
    return {row["name"] for row in await pool.fetch(_SEEN, place.directory, place.lane)}


async def see(pool: asyncpg.Pool, place: Place, name: str) -> None:
    """Remember that this casefolded name was seen to; it may have been before."""
    await pool.execute(_SEE, place.directory, place.lane, name)
