"""Removals that wait, and the breakers that hold them: the entry table's parking columns, and the breaker table.

Locks are taken in one order everywhere: entries, then breakers by tenant and name.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from calbus.store.connection import Connection

CHUNK_MAX_ENTRIES = 5_000

Named = tuple[str, str]
"""A breaker's tenant and name: the user, or nothing for the tenant as a whole."""

_PARK = """
UPDATE entry SET parked_at = $2, parked_for = $3, judged_by = $4, due_at = NULL WHERE entry_id = ANY ($1::uuid[])
"""

_UNPARK = "UPDATE entry SET parked_at = NULL, parked_for = NULL, judged_by = NULL WHERE entry_id = ANY ($1::uuid[])"

_ADD_BREAKERS = """
INSERT INTO breaker (tenant, name) SELECT * FROM unnest($1::text[], $2::text[]) ORDER BY 1, 2 ON CONFLICT DO NOTHING
"""

_LOCK_BREAKERS = """
SELECT b.* FROM breaker b JOIN unnest($1::text[], $2::text[]) AS k (tenant, name)
  ON b.tenant = k.tenant AND b.name = k.name
ORDER BY b.tenant, b.name FOR UPDATE OF b
"""

_PUT_BREAKERS = """
UPDATE breaker b SET opened_at = n.opened_at, standing = n.standing, removed = n.removed, tripped_at = n.tripped_at
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::integer[], $5::integer[], $6::timestamptz[])
    AS n (tenant, name, opened_at, standing, removed, tripped_at)
WHERE b.tenant = n.tenant AND b.name = n.name
"""

# What may stand in a calendar, without what is on its way out already.
_STANDS = """(e.event_id IS NOT NULL OR e.in_doubt) AND NOT (e.intent = 'absent' AND e.parked_at IS NULL)"""

_COUNT_STANDING = f"""
SELECT k.tenant, k.name, (
    SELECT count(*) FROM entry e WHERE e.tenant = k.tenant AND e.assignee = k.name AND {_STANDS}
) AS standing FROM unnest($1::text[], $2::text[]) AS k (tenant, name) WHERE k.name <> ''
UNION ALL
SELECT k.tenant, k.name, (SELECT count(*) FROM entry e WHERE e.tenant = k.tenant AND {_STANDS})
FROM unnest($1::text[], $2::text[]) AS k (tenant, name) WHERE k.name = ''
"""  # noqa: S608

_COUNT_HELD = """
SELECT assignee, count(*) AS held FROM entry WHERE tenant = $1 AND parked_at IS NOT NULL AND judged_by = $2 GROUP BY 1
"""

# With nothing left that waits behind it, a breaker is armed again: there is nothing that anybody could confirm.
_LOCK_TRIPPED = """
SELECT tenant, name FROM breaker WHERE tripped_at IS NOT NULL AND ($1::text IS NULL OR tenant = $1)
ORDER BY tenant, name FOR UPDATE
"""
_REARM = """
UPDATE breaker b SET tripped_at = NULL, opened_at = CASE WHEN $3 THEN NULL ELSE b.opened_at END
FROM unnest($1::text[], $2::text[]) AS k (tenant, name)
WHERE b.tenant = k.tenant AND b.name = k.name AND CASE b.name
    WHEN '' THEN NOT EXISTS (
        SELECT FROM entry e WHERE e.tenant = b.tenant AND e.parked_at IS NOT NULL AND e.judged_by IS NULL
    )
    ELSE NOT EXISTS (
        SELECT FROM entry e
        WHERE e.tenant = b.tenant AND e.assignee = b.name AND e.parked_at IS NOT NULL AND e.judged_by IS NULL
    )
END
RETURNING b.tenant, b.name
"""

_KEEP_HELD = """
UPDATE entry SET judged_by = NULL, parked_at = $3 WHERE entry_id IN (
    SELECT entry_id FROM entry
    WHERE tenant = $1 AND parked_at IS NOT NULL AND judged_by = $2 AND assignee = ANY ($4::text[])
    ORDER BY entry_id LIMIT $5 FOR UPDATE
)
"""

_FREE = """
UPDATE entry e SET parked_at = NULL, parked_for = NULL, judged_by = NULL,
                   due_at = $2::timestamptz + c.number * make_interval(secs => $3)
FROM (
    SELECT entry_id, row_number() OVER (ORDER BY entry_id) - 1 AS number FROM ({chosen}) AS locked
) AS c
WHERE e.entry_id = c.entry_id
"""

_FREE_HELD = _FREE.format(
    chosen="""
    SELECT entry_id FROM entry WHERE tenant = $4 AND parked_at IS NOT NULL AND judged_by = $5
    ORDER BY entry_id LIMIT $1 FOR UPDATE
"""
)

_FREE_CONFIRMED = _FREE.format(
    chosen="""
    SELECT entry_id FROM entry
    WHERE tenant = $4 AND parked_at < $5 AND judged_by IS NULL AND ($6::text IS NULL OR assignee = $6)
    ORDER BY entry_id LIMIT $1 FOR UPDATE
"""
)

_WAITING = """
SELECT assignee, parked_for, judged_by IS NOT NULL AS unjudged, count(*) AS entries, min(parked_at) AS since
FROM entry WHERE tenant = $1 AND parked_at IS NOT NULL AND ($2::text IS NULL OR assignee = $2)
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""

_COUNT_PARKED = "SELECT count(*) FROM entry WHERE parked_at IS NOT NULL AND judged_by IS NULL"
_COUNT_TRIPPED = "SELECT count(*) FROM breaker WHERE tripped_at IS NOT NULL"


@dataclass(frozen=True, slots=True)
class Breaker:
    """A mailbox's, or a tenant's: what its window has seen, and whether it holds all further removals."""

    opened_at: datetime | None = None
    standing: int = 0
    removed: int = 0
    tripped_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Removals that wait, of one user and for one cause. `unjudged`: whether they must is not known yet."""

    user: str
    cause: str
    entries: int
    since: datetime
    unjudged: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """Of all tenants: entries whose removal waits for a confirmation, and the breakers that hold them."""

    parked: int
    tripped: int


async def park(
    connection: Connection, entry_ids: list[UUID], cause: str, now: datetime, judged_by: int | None = None
) -> None:
    """Let these removals wait: for a confirmation, or for the judgement of the re-plan `judged_by`."""
    await connection.execute(_PARK, entry_ids, now, cause, judged_by)


async def unpark(connection: Connection, entry_ids: list[UUID]) -> None:
    """These entries are no longer to go, or may: what holds them is lifted."""
    await connection.execute(_UNPARK, entry_ids)


async def lock_breakers(connection: Connection, wanted: Iterable[Named]) -> dict[Named, Breaker]:
    """These breakers, locked until the transaction ends; those that hold nothing any more are armed again."""
    names = sorted(wanted)
    columns = ([tenant for tenant, _ in names], [name for _, name in names])
    await connection.execute(_ADD_BREAKERS, *columns)
    found = {
        (row["tenant"], row["name"]): Breaker(row["opened_at"], row["standing"], row["removed"], row["tripped_at"])
        for row in await connection.fetch(_LOCK_BREAKERS, *columns)
    }
    for named in await _rearm(connection, [named for named, one in found.items() if one.tripped_at is not None]):
        before = found[named]
        found[named] = Breaker(before.opened_at, before.standing, before.removed)
    return found


async def put_breakers(connection: Connection, breakers: dict[Named, Breaker]) -> None:
    """Store breakers that are locked."""
    await connection.execute(
        _PUT_BREAKERS,
        [tenant for tenant, _ in breakers],
        [name for _, name in breakers],
        [breaker.opened_at for breaker in breakers.values()],
        [breaker.standing for breaker in breakers.values()],
        [breaker.removed for breaker in breakers.values()],
        [breaker.tripped_at for breaker in breakers.values()],
    )


async def count_standing(connection: Connection, wanted: list[Named]) -> dict[Named, int]:
    """How many entries stand in these mailboxes and tenants, as far as they are not on their way out."""
    rows = await connection.fetch(_COUNT_STANDING, [tenant for tenant, _ in wanted], [name for _, name in wanted])
    return {(row["tenant"], row["name"]): row["standing"] for row in rows}


async def count_held(connection: Connection, tenant: str, replan_id: int) -> Counter[str]:
    """The removals, by user, that the re-plan has yet to judge."""
    rows = await connection.fetch(_COUNT_HELD, tenant, replan_id)
    return Counter({row["assignee"]: row["held"] for row in rows})


async def settle_held(
    connection: Connection, tenant: str, replan_id: int, parked: frozenset[str], now: datetime, *, per_s: float
) -> None:
    """End the wait for a re-plan's judgement: the removals of `parked` users wait on, the others are due from now on,
    `per_s` of them a second."""
    users = sorted(parked)
    while users and _changed(await connection.execute(_KEEP_HELD, tenant, replan_id, now, users, CHUNK_MAX_ENTRIES)):
        continue
    due_at = now
    while freed := _changed(
        await connection.execute(_FREE_HELD, CHUNK_MAX_ENTRIES, due_at, 1 / per_s, tenant, replan_id)
    ):
        due_at += _length(freed, per_s)


async def release(
    pool: asyncpg.Pool, tenant: str, user: str | None, *, parked_before: datetime, now: datetime, per_s: float
) -> int:
    """Let go what waited for a confirmation, of one user or of all; due from `now` on, `per_s` a second.

    What it releases of many thousands is durable in parts: after a crash, call it again. Breakers that hold nothing
    then begin anew. Gives how many it released.
    """
    released = 0
    while True:
        async with pool.acquire() as connection, connection.transaction():
            due_at = now + _length(released, per_s)
            status = await connection.execute(
                _FREE_CONFIRMED, CHUNK_MAX_ENTRIES, due_at, 1 / per_s, tenant, parked_before, user
            )
            released += (freed := _changed(status))
            if freed < CHUNK_MAX_ENTRIES:
                tripped = await connection.fetch(_LOCK_TRIPPED, tenant)
                await _rearm(connection, [(row["tenant"], row["name"]) for row in tripped], afresh=True)
                return released


async def look(pool: asyncpg.Pool) -> Counts:
    """Count what waits, once the breakers that hold nothing any more are armed again."""
    async with pool.acquire() as connection:
        if await connection.fetchval(_COUNT_TRIPPED):
            async with connection.transaction():
                tripped = await connection.fetch(_LOCK_TRIPPED, None)
                await _rearm(connection, [(row["tenant"], row["name"]) for row in tripped])
        return Counts(await connection.fetchval(_COUNT_PARKED), await connection.fetchval(_COUNT_TRIPPED))


async def waiting(connection: Connection, tenant: str, user: str | None) -> list[Waiting]:
    """What waits in a tenant, or for one of its users, by user and cause."""
    return [
        Waiting(row["assignee"], row["parked_for"], row["entries"], row["since"], row["unjudged"])
        for row in await connection.fetch(_WAITING, tenant, user)
    ]


async def _rearm(connection: Connection, tripped: list[Named], *, afresh: bool = False) -> list[Named]:
    """Arm those of these breakers, which are locked, that hold nothing; `afresh` with a new window.

    A statement of its own after the lock: only then does it see what others parked while they held it.
    """
    if not tripped:
        return []
    rows = await connection.fetch(_REARM, [tenant for tenant, _ in tripped], [name for _, name in tripped], afresh)
    return [(row["tenant"], row["name"]) for row in rows]


def _changed(status: str) -> int:
    return int(status.rpartition(" ")[2])


def _length(entries: int, per_s: float) -> timedelta:
    return timedelta(seconds=entries / per_s)
