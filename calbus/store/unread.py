"""The unread table: of each item the newest message that could not be read, for `calbus why`."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg

from calbus.store.connection import Connection
from schemas.events import TOPICS, Topic
from schemas.reasons import Reason

_PUT = """
INSERT INTO unread (tenant, source, id, reason, detail, position, read_at)
SELECT DISTINCT ON (tenant, source, id) tenant, source, id, reason, detail, position, read_at FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[]
) WITH ORDINALITY AS u (tenant, source, id, reason, detail, position, read_at, number)
ORDER BY tenant, source, id, number DESC
ON CONFLICT (tenant, source, id) DO UPDATE
    SET reason = excluded.reason, detail = excluded.detail, position = excluded.position, read_at = excluded.read_at
"""

_FORGET = "DELETE FROM unread WHERE read_at < $1"

_OF_ID = """
SELECT tenant, source, id, reason, detail, position, read_at FROM unread
WHERE id = $1 AND ($2::text IS NULL OR tenant = $2) AND ($3::text IS NULL OR source = $3)
ORDER BY read_at DESC LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class Unread:
    """A message about an item that became a dead letter. `position`: topic/partition/offset of the original."""

    tenant: str
    source: str
    id: str
    reason: Reason
    detail: str
    position: str
    read_at: datetime


async def put(pool: asyncpg.Pool, unread: list[Unread], now: datetime) -> None:
    """Keep these, the last of each item, and forget what is older than the dead letters themselves."""
    if not unread:
        return
    await pool.execute(
        _PUT,
        [one.tenant for one in unread],
        [one.source for one in unread],
        [one.id for one in unread],
        [one.reason.value for one in unread],
        [one.detail for one in unread],
        [one.position for one in unread],
        [one.read_at for one in unread],
    )
    await pool.execute(_FORGET, now - timedelta(days=TOPICS[Topic.DEAD_LETTERS].retention_days or 0))


async def of_id(
    connection: Connection, item_id: str, tenant: str | None, source: str | None, limit: int
) -> list[Unread]:
    """Those that name an item of this id, newest first; None means any."""
    rows = await connection.fetch(_OF_ID, item_id, tenant, source, limit)
    return [
        Unread(
            row["tenant"],
            row["source"],
            row["id"],
            Reason(row["reason"]),
            row["detail"],
            row["position"],
            row["read_at"],
        )
        for row in rows
    ]
