"""All that the database holds of one tenant, whichever table it is in, and how it is taken out when the tenant leaves.

Large tables are emptied a chunk at a time, each in a transaction of its own: a tenant may have millions of rows, and
the others' work goes on meanwhile. Each looks first, with planning locked out, whether the tenant is still gone: of one
that was set up again nothing more is taken out. Locks are taken in the order that removals.py states.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import asyncpg

from calbus.entry import Place
from calbus.store.connection import Connection
from calbus.store.pulls import forget_lanes
from calbus.store.switches import lock_out_planning

CHUNK_MAX_ROWS = 5_000
CHUNK_MAX_CALENDARS = 50
# What passes over all entries of a tenant once, or over all events that were seen in its calendars.
LOOK_MAX_S = 900.0

# What the relay has yet to publish of the tenant: statuses and changes by its keys, outcomes by the entry's.
_MESSAGES = """
(starts_with(o.key, 'account/' || $1 || '/') OR starts_with(o.key, 'tenant/' || $1 || '/')
 OR EXISTS (
    SELECT FROM entry e
    WHERE e.tenant = $1 AND e.entry_id = CASE WHEN o.key ~ '^[0-9a-f-]{36}$' THEN o.key::uuid END
 ))
"""

_WORK = """
SELECT
    (SELECT count(*) FROM setting
     WHERE tenant = $1 AND scope = 'account' AND (body ->> 'allowed')::boolean) AS allowed,
    (SELECT count(*) FROM entry WHERE tenant = $1 AND (event_id IS NOT NULL OR in_doubt)) AS standing
"""

# Asked again and again: the outbox, which may be long, is looked at only when the rest is done.
_SETTLED = f"""
SELECT CASE
    WHEN EXISTS (SELECT FROM setting WHERE tenant = $1 AND body IS NOT NULL) THEN false
    WHEN EXISTS (SELECT FROM replan WHERE tenant = $1) THEN false
    ELSE NOT EXISTS (SELECT FROM outbox o WHERE {_MESSAGES})
END
"""  # noqa: S608

_IS_SET = "SELECT EXISTS (SELECT FROM setting WHERE tenant = $1 AND body IS NOT NULL)"

_SETTINGS = "SELECT scope, name FROM setting WHERE tenant = $1 ORDER BY scope, name"

_TOLD_OF = """
SELECT assignee AS name FROM account_status WHERE tenant = $1 UNION SELECT username FROM pull_status WHERE tenant = $1
UNION SELECT name FROM setting WHERE tenant = $1 AND scope = 'account' UNION SELECT '' ORDER BY 1
"""

_PLACES = """
SELECT p.directory, p.mailbox FROM entry e
CROSS JOIN LATERAL (VALUES (e.directory, e.mailbox), (e.applied_directory, e.applied_mailbox)) AS p (directory, mailbox)
WHERE e.tenant = $1
UNION SELECT directory, mailbox FROM calendar_pull WHERE tenant = $1
UNION SELECT directory, mailbox FROM account_status WHERE tenant = $1
UNION SELECT t.body ->> 'directory', a.body ->> 'mailbox' FROM setting a
      JOIN setting t ON t.tenant = a.tenant AND t.scope = 'tenant'
      WHERE a.tenant = $1 AND a.scope = 'account'
UNION SELECT body ->> 'directory', NULL FROM setting WHERE tenant = $1 AND scope = 'tenant'
"""

# All that is kept under a directory is the tenant's if no other names it: also of mailboxes that its accounts left.
_OWN_DIRECTORIES = """
SELECT d FROM unnest($2::text[]) AS d
WHERE NOT EXISTS (
    SELECT FROM setting WHERE tenant <> $1 AND scope = 'tenant' AND lower(body ->> 'directory') = lower(d)
) AND NOT EXISTS (SELECT FROM calendar_pull WHERE tenant <> $1 AND lower(directory) = lower(d))
"""

_SUBSCRIBED = "SELECT directory, mailbox FROM mailbox_subscription WHERE directory = ANY ($1::text[])"

# A mailbox that an account of another tenant names too is not done with.
_LANES_OF_OTHERS = """
SELECT lane FROM calendar_pull WHERE lane = ANY ($2::text[]) AND tenant <> $1
UNION SELECT k.lane FROM unnest($2::text[], $3::text[]) AS k (lane, mailbox)
      JOIN setting s ON s.scope = 'account' AND lower(s.body ->> 'mailbox') = k.mailbox
      WHERE s.tenant <> $1
"""

_SEEN = "SELECT count(*) FROM pulled_event JOIN calendar_pull USING (pull_id) WHERE tenant = $1"

_STOP_PULLING = """
DELETE FROM calendar_pull WHERE pull_id IN (SELECT pull_id FROM calendar_pull WHERE tenant = $1 LIMIT $2)
"""

_UNWANTED = """
UPDATE mailbox_subscription SET wanted = false, attempts = 0, due_at = $2 WHERE lane = ANY ($1::text[])
"""

_SUBSCRIPTIONS = "DELETE FROM mailbox_subscription WHERE lane = ANY ($1::text[])"

_CATEGORIES = "DELETE FROM category WHERE lane = ANY ($1::text[]) OR directory = ANY ($2::text[])"

# From where the chunk before ended: rows that are gone stay in the index for as long as an old snapshot may want them,
# and every chunk would pass over them again. Of the last item there may be more entries, so it is looked at again.
_CHUNKS = {
    "entries": """
        WITH chosen AS MATERIALIZED (
            SELECT entry_id, source, kind, id FROM entry
            WHERE tenant = $1 AND (source, kind, id) >= ($3, $4, $5) ORDER BY source, kind, id LIMIT $2
        ), locked AS MATERIALIZED (
            SELECT entry_id FROM entry WHERE entry_id = ANY (ARRAY (SELECT entry_id FROM chosen))
            ORDER BY entry_id FOR UPDATE
        ), restores AS (
            DELETE FROM restore USING locked WHERE restore.entry_id = locked.entry_id
        ), overrides AS (
            DELETE FROM override USING locked WHERE override.entry_id = locked.entry_id
        ), gone AS (
            DELETE FROM entry USING locked WHERE entry.entry_id = locked.entry_id RETURNING true
        )
        SELECT (SELECT count(*) FROM gone) AS gone, source, kind, id FROM chosen
        ORDER BY source DESC, kind DESC, id DESC LIMIT 1
    """,
    "items": """
        WITH chosen AS MATERIALIZED (
            SELECT source, kind, id FROM item
            WHERE tenant = $1 AND (source, kind, id) >= ($3, $4, $5) ORDER BY source, kind, id LIMIT $2 FOR UPDATE
        ), gone AS (
            DELETE FROM item i USING chosen c
            WHERE i.tenant = $1 AND (i.source, i.kind, i.id) = (c.source, c.kind, c.id) RETURNING true
        )
        SELECT (SELECT count(*) FROM gone) AS gone, source, kind, id FROM chosen
        ORDER BY source DESC, kind DESC, id DESC LIMIT 1
    """,
}
LARGE = tuple(_CHUNKS)
"""What is taken out in chunks."""

# Where statistics lag behind, the planner would fetch and sort all rows of the tenant for each chunk.
_IN_INDEX_ORDER = "SET LOCAL enable_bitmapscan = off"

# Whoever settles holds the settlement, and waits for the tenant's settings.
_SETTLEMENTS = "DELETE FROM settlement WHERE tenant = $1"

# Settings before the statuses: whoever is about to add a status holds the account's settings meanwhile.
_REST = {
    "settings": "DELETE FROM setting WHERE tenant = $1",
    "removals to be told": "DELETE FROM lost_event WHERE tenant = $1",
    "messages that could not be read": "DELETE FROM unread WHERE tenant = $1",
    "statuses": """
        WITH locked AS (
            SELECT assignee FROM account_status WHERE tenant = $1 ORDER BY tenant, assignee FOR UPDATE
        )
        DELETE FROM account_status s USING locked l WHERE s.tenant = $1 AND s.assignee = l.assignee
    """,
    "statuses of the way down": "DELETE FROM pull_status WHERE tenant = $1",
    "activations": "DELETE FROM activation WHERE tenant = $1",
    "re-plans": "DELETE FROM replan WHERE tenant = $1",
    "breakers": "DELETE FROM breaker WHERE tenant = $1",
}


class SwitchedOnError(Exception):
    """The tenant has settings again: this was not taken out, nor shall be what comes after."""


@dataclass(frozen=True, slots=True)
class Work:
    """What stands in the way of forgetting a tenant: allowed accounts, and entries that stand, or may, in calendars."""

    allowed: int
    standing: int


class Cursor(NamedTuple):
    """An item, up to which a table is emptied."""

    source: str = ""
    kind: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Mailboxes:
    """By what else than its name a tenant's rows are found."""

    lanes: tuple[str, ...]
    """Digests of its mailboxes, but for those that others name too."""
    directories: tuple[str, ...]
    """Those that no other tenant names."""


async def work_for(pool: asyncpg.Pool, tenant: str) -> Work:
    """What is still to be done."""
    row = await pool.fetchrow(_WORK, tenant, timeout=LOOK_MAX_S)
    assert row is not None
    return Work(**row)


async def is_settled(pool: asyncpg.Pool, tenant: str) -> bool:
    """Whether the end of every setting was taken in, and all that follows from it was planned and published."""
    return bool(await pool.fetchval(_SETTLED, tenant))


async def settings_of(pool: asyncpg.Pool, tenant: str) -> list[tuple[str, str]]:
    """Scope and name of each setting that there is or was."""
    return [(row["scope"], row["name"]) for row in await pool.fetch(_SETTINGS, tenant)]


async def told_of(pool: asyncpg.Pool, tenant: str) -> list[str]:
    """The users of whom a status may have been published; '' is the tenant as a whole."""
    return [row["name"] for row in await pool.fetch(_TOLD_OF, tenant)]


async def mailboxes_of(pool: asyncpg.Pool, tenant: str) -> Mailboxes:
    """The tenant's mailboxes, as long as they can still be told."""
    rows = await pool.fetch(_PLACES, tenant, timeout=LOOK_MAX_S)
    named = sorted({row["directory"] for row in rows if row["directory"]})
    own = tuple(row["d"] for row in await pool.fetch(_OWN_DIRECTORIES, tenant, named))
    rows += await pool.fetch(_SUBSCRIBED, own)
    places = [Place(row["directory"] or "", row["mailbox"]) for row in rows if row["mailbox"]]
    lanes = {place.lane: place.mailbox.lower() for place in places}
    kept = await pool.fetch(_LANES_OF_OTHERS, tenant, list(lanes), list(lanes.values()))
    return Mailboxes(tuple(sorted(set(lanes) - {row["lane"] for row in kept})), own)


async def stop_pulling(pool: asyncpg.Pool, tenant: str, lanes: tuple[str, ...], now: datetime) -> int:
    """Forget what was seen of the calendars, and want no subscription to them; gives how many events were known."""
    seen = await pool.fetchval(_SEEN, tenant, timeout=LOOK_MAX_S)
    while _count(await pool.execute(_STOP_PULLING, tenant, CHUNK_MAX_CALENDARS)):
        pass
    await pool.execute(_UNWANTED, list(lanes), now)
    return int(seen)


async def erase_mailboxes(connection: Connection, mailboxes: Mailboxes) -> dict[str, int]:
    """Take out what is kept of mailboxes that are pulled no more, in the caller's transaction; gives how many rows.

    Comes while settings tell which these are: whoever takes up what breaks off later may not find them any more.
    """
    return {
        "categories": _count(await connection.execute(_CATEGORIES, mailboxes.lanes, mailboxes.directories)),
        "subscriptions that end by themselves": _count(await connection.execute(_SUBSCRIPTIONS, mailboxes.lanes)),
        "mailbox leases": await forget_lanes(connection, mailboxes.lanes),
    }


async def erase_chunk(connection: Connection, tenant: str, table: str, after: Cursor) -> tuple[int, Cursor] | None:
    """Take the next rows of this `LARGE` table out, in the caller's transaction; None if there are none.

    Gives how many went, and where to go on. Raises SwitchedOnError.
    """
    await _lock_what_is_gone(connection, tenant)
    await connection.execute(_IN_INDEX_ORDER)
    row = await connection.fetchrow(_CHUNKS[table], tenant, CHUNK_MAX_ROWS, *after)
    return (row["gone"], Cursor(row["source"], row["kind"], row["id"])) if row is not None else None


async def erase_rest(connection: Connection, tenant: str, mailboxes: Mailboxes) -> dict[str, int]:
    """Take out what is left of the tenant, in the caller's transaction; gives how many rows of what.

    Comes last, since settings tell that the tenant was here. Raises SwitchedOnError.
    """
    counts = {"confirmations under way": _count(await connection.execute(_SETTLEMENTS, tenant))}
    await _lock_what_is_gone(connection, tenant)
    for name, query in _REST.items():
        counts[name] = _count(await connection.execute(query, tenant))
    # What writers saw to meanwhile.
    counts["categories"] = _count(await connection.execute(_CATEGORIES, mailboxes.lanes, mailboxes.directories))
    return counts


async def _lock_what_is_gone(connection: Connection, tenant: str) -> None:
    await lock_out_planning(connection, tenant)
    if await connection.fetchval(_IS_SET, tenant):
        raise SwitchedOnError


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
