"""The outbox table: outcomes that are decided and not yet on the bus."""

from dataclasses import dataclass
from datetime import datetime

from calbus.store.connection import Connection
from schemas.events import Topic
from schemas.results import Outcome

_INSERT = """
INSERT INTO outbox (topic, key, event_id, value, created_at)
SELECT $1, e.key, e.event_id, e.value, $5
FROM unnest($2::text[], $3::text[], $4::bytea[]) AS e (key, event_id, value)
"""

_TAKE = """
DELETE FROM outbox WHERE outbox_id IN (
    SELECT outbox_id FROM outbox ORDER BY outbox_id LIMIT $1 FOR UPDATE SKIP LOCKED
) RETURNING outbox_id, topic, key, event_id, value, created_at
"""


@dataclass(frozen=True, slots=True)
class Pending:
    """An outcome on its way to the bus."""

    topic: str
    key: bytes
    event_id: str
    value: bytes
    decided_at: datetime


async def add(connection: Connection, outcomes: list[Outcome], now: datetime) -> None:
    """Store outcomes in the caller's transaction: they are published if and only if it commits."""
    if outcomes:
        await connection.execute(
            _INSERT,
            Topic.OUTCOMES.value,
            [str(outcome.entry_id) for outcome in outcomes],
            [f"{outcome.entry_id}:{outcome.plan}" for outcome in outcomes],
            [outcome.model_dump_json().encode() for outcome in outcomes],
            now,
        )


async def take(connection: Connection, limit: int) -> list[Pending]:
    """Remove and give the oldest, in order; they come back if the caller's transaction does not commit."""
    rows = await connection.fetch(_TAKE, limit)
    return [
        Pending(row["topic"], row["key"].encode(), row["event_id"], row["value"], row["created_at"])
        for row in sorted(rows, key=lambda row: row["outbox_id"])
    ]
