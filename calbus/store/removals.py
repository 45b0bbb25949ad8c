"""Removals that wait, the breakers that hold them, and the settlements that end the waiting.

Here are the entry table's parking columns, and the tables breaker and settlement. Locks are taken in one order
everywhere: the settlement, the tenant's settings, the re-plan, items, entries by id, then breakers by tenant and name.
A re-plan is judged under breakers alone: it only reads entries. So whoever holds a breaker waits for no entry.

The database's clock says when a removal was parked, whichever process parks it, and every transaction that parks holds
the lock of its tenant's settings: who takes that lock exclusively sees all that has an earlier time.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from calbus.store.connection import Connection
from calbus.store.switches import lock_for_planning, lock_out_planning

# Live events wait for a chunk at most: its entries are locked, and no setting of its tenant can change.
CHUNK_MAX_ENTRIES = 500

Named = tuple[str, str]
"""A breaker's tenant and name: the user, or nothing for the tenant as a whole."""

_PARK = """
UPDATE entry SET parked_at = statement_timestamp(), parked_for = $2, judged_by = $3, due_at = NULL
WHERE entry_id = ANY ($1::uuid[])
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
SELECT assignee, count(*) AS held FROM entry WHERE tenant = $1 AND judged_by = $2 GROUP BY 1
"""

# With nothing left that waits behind it, a breaker is armed again: there is nothing that anybody could confirm. What is
# judged to wait waits already, though not each of its entries says so yet.
_LOCK_TRIPPED = """
SELECT tenant, name FROM breaker WHERE tripped_at IS NOT NULL AND ($1::text IS NULL OR tenant = $1)
ORDER BY tenant, name FOR UPDATE
"""
_REARM = """
UPDATE breaker b SET tripped_at = NULL, opened_at = CASE WHEN $3 THEN NULL ELSE b.opened_at END
FROM unnest($1::text[], $2::text[]) AS k (tenant, name)
WHERE b.tenant = k.tenant AND b.name = k.name AND NOT EXISTS (
    SELECT FROM settlement s
    WHERE s.tenant = b.tenant AND (b.name = '' AND s.kept <> '{}' OR b.name = ANY (s.kept))
) AND CASE b.name
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

_BEGIN_JUDGED = "INSERT INTO settlement (tenant, replan_id, kept, due_at) VALUES ($1, $2, $3, $4)"

# No later than now: a time to come would cover what nobody can have seen.
_BEGIN_CONFIRMED = """
INSERT INTO settlement (tenant, assignee, parked_before, due_at)
VALUES ($1, $2, least($3, statement_timestamp()), $4)
"""

_TAKE_SETTLEMENT = """
SELECT settlement_id, tenant, replan_id, kept, assignee, parked_before, due_at, freed
FROM settlement ORDER BY touched_at, settlement_id LIMIT 1 FOR UPDATE SKIP LOCKED
"""

_ADVANCE_SETTLEMENT = """
UPDATE settlement SET due_at = $2, freed = $3, touched_at = clock_timestamp() WHERE settlement_id = $1
"""

_END_SETTLEMENT = "DELETE FROM settlement WHERE settlement_id = $1"

_SETTLE = """
numbered AS (
    SELECT entry_id, kept, count(*) FILTER (WHERE NOT kept) OVER (ORDER BY entry_id) - 1 AS number FROM locked
), settled AS (
    UPDATE entry e SET
        parked_at = CASE WHEN n.kept THEN statement_timestamp() END,
        parked_for = CASE WHEN n.kept THEN e.parked_for END,
        judged_by = NULL,
        due_at = CASE WHEN NOT n.kept THEN $2::timestamptz + n.number * make_interval(secs => $3) END
    FROM numbered n WHERE e.entry_id = n.entry_id
    RETURNING n.kept
)
SELECT count(*) AS settled, count(*) FILTER (WHERE NOT kept) AS freed FROM settled
"""

_SETTLE_HELD = f"""
WITH locked AS (
    SELECT entry_id, assignee = ANY ($5::text[]) AS kept FROM entry
    WHERE judged_by = $4 ORDER BY entry_id LIMIT $1 FOR UPDATE
), {_SETTLE}
"""  # noqa: S608

# Chosen as the index has them, locked by their ids; what changed in between is looked at again under the lock.
_SETTLE_CONFIRMED = f"""
WITH chosen AS MATERIALIZED (
    SELECT entry_id FROM entry
    WHERE tenant = $4 AND parked_at IS NOT NULL AND parked_at < $5 AND judged_by IS NULL
      AND ($6::text IS NULL OR assignee = $6)
    ORDER BY parked_at LIMIT $1
), locked AS (
    SELECT entry_id, false AS kept FROM entry
    WHERE entry_id = ANY (ARRAY (SELECT entry_id FROM chosen)) AND parked_at < $5 AND judged_by IS NULL
    ORDER BY entry_id FOR UPDATE
), {_SETTLE}
"""  # noqa: S608

_ANY_HELD = "SELECT EXISTS (SELECT FROM entry WHERE judged_by = $1)"
_ANY_CONFIRMED = """
SELECT EXISTS (
    SELECT FROM entry
    WHERE tenant = $1 AND parked_at IS NOT NULL AND parked_at < $2 AND judged_by IS NULL
      AND ($3::text IS NULL OR assignee = $3)
)
"""

_WAITING = """
SELECT assignee, parked_for, judged_by IS NOT NULL AS unjudged, count(*) AS entries, min(parked_at) AS since,
       max(parked_at) AS until
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
    until: datetime
    """When the first and the last of them was parked, by the database's clock."""
    unjudged: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """Of all tenants: entries whose removal waits for a confirmation, and the breakers that hold them."""

    parked: int
    tripped: int


@dataclass(frozen=True, slots=True)
class Step:
    """What one chunk of a settlement came to. `confirmed`: a confirmation is its cause, not a re-plan's judgement."""

    tenant: str
    confirmed: bool
    freed: int
    """How many removals it has let go, from its beginning to this chunk."""
    ended: bool


async def park(connection: Connection, entry_ids: list[UUID], cause: str, judged_by: int | None = None) -> None:
    """Let these removals wait: for a confirmation, or for the judgement of the re-plan `judged_by`."""
    await connection.execute(_PARK, entry_ids, cause, judged_by)


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


async def begin_judged(
    connection: Connection, tenant: str, replan_id: int, kept: frozenset[str], now: datetime
) -> None:
    """Record a re-plan's judgement: the removals of `kept` users wait on, the others are due from `now` on.

    Durable with the caller's transaction, which must have the breakers locked; nothing changes an entry until `settle`
    does, and no breaker that holds removals of a recorded judgement is armed again before that.
    """
    await connection.execute(_BEGIN_JUDGED, tenant, replan_id, sorted(kept), now)


async def begin_confirmed(
    pool: asyncpg.Pool, tenant: str, user: str | None, *, parked_before: datetime, now: datetime
) -> None:
    """Record that what was parked before, of one user or of all, is confirmed; due from `now` on.

    Durable when this returns. Doing it twice lets nothing go that once would not.
    """
    await pool.execute(_BEGIN_CONFIRMED, tenant, user, parked_before, now)


async def settle(pool: asyncpg.Pool, now: datetime, *, per_s: float) -> Step | None:
    """Carry out one chunk of the settlement that waited longest and that no other process works on; None without one.

    What it lets go is due `per_s` a second. Entries, and how far it is, change in one transaction: after a crash, at
    any point, calling it again goes on. With the last chunk of a confirmation, breakers that hold nothing begin anew.
    """
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(_TAKE_SETTLEMENT)
        if row is None:
            return None
        await lock_for_planning(connection, [row["tenant"]])
        confirmed = row["replan_id"] is None
        due_at = max(row["due_at"], now)
        what = (row["tenant"], row["parked_before"], row["assignee"]) if confirmed else (row["replan_id"],)
        done = await connection.fetchrow(
            _SETTLE_CONFIRMED if confirmed else _SETTLE_HELD,
            CHUNK_MAX_ENTRIES,
            due_at,
            1 / per_s,
            *what,
            *(() if confirmed else (row["kept"],)),
        )
        assert done is not None
        freed = row["freed"] + done["freed"]
        # A chunk is also short where others changed its entries while it waited for their locks.
        short = done["settled"] < CHUNK_MAX_ENTRIES
        ended = short and not await connection.fetchval(_ANY_CONFIRMED if confirmed else _ANY_HELD, *what)
        if not ended:
            next_due_at = due_at + timedelta(seconds=done["freed"] / per_s)
            await connection.execute(_ADVANCE_SETTLEMENT, row["settlement_id"], next_due_at, freed)
        else:
            await connection.execute(_END_SETTLEMENT, row["settlement_id"])
            if confirmed:
                tripped = await connection.fetch(_LOCK_TRIPPED, row["tenant"])
                await _rearm(connection, [(one["tenant"], one["name"]) for one in tripped], afresh=True)
        return Step(row["tenant"], confirmed, freed, ended)


async def look(pool: asyncpg.Pool) -> Counts:
    """Count what waits, once the breakers that hold nothing any more are armed again."""
    async with pool.acquire() as connection:
        if await connection.fetchval(_COUNT_TRIPPED):
            async with connection.transaction():
                tripped = await connection.fetch(_LOCK_TRIPPED, None)
                await _rearm(connection, [(row["tenant"], row["name"]) for row in tripped])
        return Counts(await connection.fetchval(_COUNT_PARKED), await connection.fetchval(_COUNT_TRIPPED))


async def waiting(connection: Connection, tenant: str, user: str | None) -> list[Waiting]:
    """What waits in a tenant, or for one of its users, by user and cause.

    Waits until nothing is being planned in the tenant: whatever is parked later has a later time than all it gives.
    """
    async with connection.transaction():
        await lock_out_planning(connection, tenant)
        rows = await connection.fetch(_WAITING, tenant, user)
    return [
        Waiting(row["assignee"], row["parked_for"], row["entries"], row["since"], row["until"], row["unjudged"])
        for row in rows
    ]


async def _rearm(connection: Connection, tripped: list[Named], *, afresh: bool = False) -> list[Named]:
    """Arm those of these breakers, which are locked, that hold nothing; `afresh` with a new window.

    A statement of its own after the lock: only then does it see what others parked while they held it.
    """
    if not tripped:
        return []
    rows = await connection.fetch(_REARM, [tenant for tenant, _ in tripped], [name for _, name in tripped], afresh)
    return [(row["tenant"], row["name"]) for row in rows]
