"""The outbox table: events that are decided and not yet on the bus."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from calbus import tracing
from calbus.outcomes import Told
from calbus.store.connection import Connection
from calbus.store.traces import NO_CONTEXTS, Contexts
from schemas.events import EVENT_TYPES, TYPE_NAMES, Topic
from schemas.fields import Model
from schemas.results import Outcome

_OUTCOME = EVENT_TYPES[TYPE_NAMES[Outcome]]

_INSERT = """
INSERT INTO outbox (topic, type, key, event_id, value, created_at, happened_at, trace)
SELECT e.topic, e.type, e.key, e.event_id, e.value, $6, e.happened_at, $8
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $7::timestamptz[])
  AS e (topic, type, key, event_id, value, happened_at)
"""

_INSERT_TOLD = """
INSERT INTO outbox (topic, type, key, event_id, value, created_at, trace)
SELECT $1, $2, split_part(e.event_id, ':', 1), e.event_id, e.value, $5, e.trace
FROM unnest($3::text[], $4::bytea[], $6::text[]) AS e (event_id, value, trace)
"""

# Readers of a compacted topic believe the last event of a key: one relay at a time publishes those. The lock lasts as
# long as the transaction that takes them, which is until Kafka has them. Outcomes go out side by side. As an array the
# chosen are found once; a subquery in a join may be run for each row, and each time choose others.
_TAKE = """
WITH turn AS MATERIALIZED (SELECT pg_try_advisory_xact_lock($3) AS ours)
DELETE FROM outbox WHERE outbox_id = ANY (ARRAY (
    SELECT outbox_id FROM outbox WHERE topic = $2 OR (SELECT ours FROM turn)
    ORDER BY outbox_id LIMIT $1 FOR UPDATE SKIP LOCKED
)) RETURNING outbox_id, topic, type, key, event_id, value, created_at, happened_at, trace
"""

_WAITING = """
SELECT count(*) AS events, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float AS oldest_s FROM outbox
"""
# Any constant will do, as long as no other program on this database uses it.
_ORDERED_LOCK_ID = 0x63616C6275736F
_OUTBOX_ID = itemgetter(0)


@dataclass(frozen=True, slots=True)
class Message:
    """An event for the bus. `event_id` is its CloudEvents id: the same however often it is published.

    `happened_at`: of a change in Outlook, when it happened, if anybody says so.
    """

    event_id: str
    key: str
    data: Model
    happened_at: datetime | None = None


@dataclass(slots=True)
class Pending:
    """An event on its way to the bus."""

    topic: str
    model: type[Model]
    key: bytes
    event_id: str
    value: bytes
    decided_at: datetime
    happened_at: datetime | None
    trace: str | None = None
    """Of the work that decided it, if that is traced."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What stands in the outbox: how many events, and for how long the oldest."""

    events: int
    oldest_s: float


async def add(connection: Connection, outcomes: Sequence[Outcome], now: datetime) -> None:
    """Store outcomes in the caller's transaction: they are published if and only if it commits."""
    messages = [Message(f"{one.entry_id}:{one.plan}", str(one.entry_id), one) for one in outcomes]
    await add_messages(connection, messages, now)


async def add_told(
    connection: Connection, outcomes: Sequence[Told], now: datetime, traces: Contexts = NO_CONTEXTS
) -> None:
    """The same as `add`, for outcomes that are in their published form; `traces` that their plans belong to."""
    if outcomes:
        await connection.execute(
            _INSERT_TOLD,
            _OUTCOME.topic.value,
            _OUTCOME.name,
            [f"{one.entry_id}:{one.plan}" for one in outcomes],
            [one.value for one in outcomes],
            now,
            [traces.get((one.entry_id, one.plan)) for one in outcomes] if traces else [],
        )


async def add_messages(connection: Connection, messages: Sequence[Message], now: datetime) -> None:
    """Store any events in the caller's transaction: they are published if and only if it commits.

    Those of one key are published in the order in which they were stored, on every topic but that of the outcomes.
    """
    if not messages:
        return
    types = [EVENT_TYPES[TYPE_NAMES[type(message.data)]] for message in messages]
    await connection.execute(
        _INSERT,
        [event_type.topic.value for event_type in types],
        [event_type.name for event_type in types],
        [message.key for message in messages],
        [message.event_id for message in messages],
        [message.data.model_dump_json().encode() for message in messages],
        now,
        [message.happened_at for message in messages],
        tracing.current(),
    )


async def waiting(connection: Connection) -> Waiting:
    """How much waits to be published."""
    row = await connection.fetchrow(_WAITING)
    assert row is not None
    return Waiting(row["events"], row["oldest_s"])


async def take(connection: Connection, limit: int) -> list[Pending]:
    """Remove and give the oldest, in order; they come back if the caller's transaction does not commit."""
    rows = await connection.fetch(_TAKE, limit, Topic.OUTCOMES.value, _ORDERED_LOCK_ID)
    return [
        Pending(topic, EVENT_TYPES[type_name].model, key.encode(), event_id, value, created_at, happened_at, trace)
        for _, topic, type_name, key, event_id, value, created_at, happened_at, trace in sorted(rows, key=_OUTBOX_ID)
    ]
