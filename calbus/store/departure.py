"""All that the database holds of one tenant, whichever table it is in, and how it is taken out when the tenant leaves.

Large tables are emptied a chunk at a time, each in a transaction of its own: a tenant may have millions of rows, and
the others' work goes on meanwhile. Nothing is planned in the tenant by then, so that no chunk undoes another.
"""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from calbus.entry import Place
from calbus.store.connection import Connection
from calbus.store.switches import lock_out_planning

CHUNK_MAX_ROWS = 5_000
CHUNK_MAX_CALENDARS = 50

# What the relay has yet to publish of the tenant: statuses and changes by its keys, outcomes by the entry's.
_MESSAGES = """
(starts_with(o.key, 'account/' || $1 || '/') OR starts_with(o.key, 'tenant/' || $1 || '/')
 OR EXISTS (
    SELECT FROM entry e
    WHERE e.tenant = $1 AND e.entry_id = CASE WHEN o.key ~ '^[0-9a-f-]{36}$' THEN o.key::uuid END
 ))
"""

_WORK = f"""
SELECT
    (SELECT count(*) FROM setting
     WHERE tenant = $1 AND scope = 'account' AND (body ->> 'allowed')::boolean) AS allowed,
    (SELECT count(*) FROM entry WHERE tenant = $1 AND (event_id IS NOT NULL OR in_doubt)) AS standing,
    (SELECT count(*) FROM setting WHERE tenant = $1 AND body IS NOT NULL) AS set,
    (SELECT count(*) FROM replan WHERE tenant = $1) AS replans,
    (SELECT count(*) FROM outbox o WHERE {_MESSAGES}) AS untold
"""  # noqa: S608

_SETTINGS = "SELECT scope, name FROM setting WHERE tenant = $1 ORDER BY scope, name"

_TOLD_OF = """
SELECT assignee AS name FROM account_status WHERE tenant = $1 UNION SELECT username FROM pull_status WHERE tenant = $1
UNION SELECT name FROM setting WHERE tenant = $1 AND scope = 'account' UNION SELECT '' ORDER BY 1
"""

_PLACES = """
SELECT directory, mailbox FROM entry WHERE tenant = $1
UNION SELECT applied_directory, applied_mailbox FROM entry WHERE tenant = $1
UNION SELECT directory, mailbox FROM calendar_pull WHERE tenant = $1
UNION SELECT directory, mailbox FROM account_status WHERE tenant = $1
UNION SELECT t.body ->> 'directory', a.body ->> 'mailbox' FROM setting a
      JOIN setting t ON t.tenant = a.tenant AND t.scope = 'tenant'
      WHERE a.tenant = $1 AND a.scope = 'account'
"""

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

_OF_LANES = {
    "categories": "DELETE FROM category WHERE lane = ANY ($1::text[])",
    "subscriptions that end by themselves": "DELETE FROM mailbox_subscription WHERE lane = ANY ($1::text[])",
    "mailbox leases": """
        DELETE FROM pull_lane l WHERE lane = ANY ($1::text[])
        AND NOT EXISTS (SELECT FROM calendar_pull p WHERE p.lane = l.lane)
    """,
}

_CHUNKS = {
    "entries": """
        WITH gone AS (
            SELECT entry_id FROM entry WHERE tenant = $1 ORDER BY assignee, source, kind, id LIMIT $2 FOR UPDATE
        ), restores AS (
            DELETE FROM restore USING gone WHERE restore.entry_id = gone.entry_id
        ), overrides AS (
            DELETE FROM override USING gone WHERE override.entry_id = gone.entry_id
        )
        DELETE FROM entry USING gone WHERE entry.entry_id = gone.entry_id
    """,
    "items": """
        WITH gone AS (
            SELECT source, kind, id FROM item WHERE tenant = $1 ORDER BY source, kind, id LIMIT $2 FOR UPDATE
        )
        DELETE FROM item i USING gone g WHERE i.tenant = $1 AND (i.source, i.kind, i.id) = (g.source, g.kind, g.id)
    """,
}

_REST = {
    "removals to be told": "DELETE FROM lost_event WHERE tenant = $1",
    "messages that could not be read": "DELETE FROM unread WHERE tenant = $1",
    "breakers": "DELETE FROM breaker WHERE tenant = $1",
    "confirmations under way": "DELETE FROM settlement WHERE tenant = $1",
    "statuses": "DELETE FROM account_status WHERE tenant = $1",
    "statuses of the way down": "DELETE FROM pull_status WHERE tenant = $1",
    "activations": "DELETE FROM activation WHERE tenant = $1",
    "settings": "DELETE FROM setting WHERE tenant = $1",
    "re-plans": "DELETE FROM replan WHERE tenant = $1",
}


class SwitchedOnError(Exception):
    """The tenant has settings (again): what was left was not taken out."""


@dataclass(frozen=True, slots=True)
class Work:
    """What stands in the way of forgetting a tenant: allowed accounts, entries, settings, and what is under way."""

    allowed: int
    standing: int
    """Entries that stand, or may stand, in calendars."""
    set: int
    replans: int
    untold: int

    @property
    def settled(self) -> bool:
        """Whether the end of every setting was taken in, and all that follows from it was planned and published."""
        return not self.set and not self.replans and not self.untold


async def work_for(pool: asyncpg.Pool, tenant: str) -> Work:
    """What is still to be done."""
    row = await pool.fetchrow(_WORK, tenant)
    assert row is not None
    return Work(**row)


async def settings_of(pool: asyncpg.Pool, tenant: str) -> list[tuple[str, str]]:
    """Scope and name of each setting that there is or was."""
    return [(row["scope"], row["name"]) for row in await pool.fetch(_SETTINGS, tenant)]


async def told_of(pool: asyncpg.Pool, tenant: str) -> list[str]:
    """The users of whom a status may have been published; '' is the tenant as a whole."""
    return [row["name"] for row in await pool.fetch(_TOLD_OF, tenant)]


async def lanes_of(pool: asyncpg.Pool, tenant: str) -> tuple[str, ...]:
    """Digests of the tenant's mailboxes, but for those that others name too; as long as it can still be told."""
    rows = await pool.fetch(_PLACES, tenant)
    places = [Place(row["directory"] or "", row["mailbox"]) for row in rows if row["mailbox"]]
    lanes = {place.lane: place.mailbox.lower() for place in places}
    kept = await pool.fetch(_LANES_OF_OTHERS, tenant, list(lanes), list(lanes.values()))
    return tuple(sorted(set(lanes) - {row["lane"] for row in kept}))


async def stop_pulling(pool: asyncpg.Pool, tenant: str, lanes: tuple[str, ...], now: datetime) -> int:
    """Forget what was seen of the calendars, and want no subscription to them; gives how many events were known."""
    seen = await pool.fetchval(_SEEN, tenant)
    while _count(await pool.execute(_STOP_PULLING, tenant, CHUNK_MAX_CALENDARS)):
        pass
    await pool.execute(_UNWANTED, list(lanes), now)
    return int(seen)


async def erase(pool: asyncpg.Pool, tenant: str, lanes: tuple[str, ...]) -> dict[str, int]:
    """Take all of the tenant out; gives how many rows of what. Raises SwitchedOnError.

    By its mailboxes first, since entries tell which these are; by its settings last, since these tell that it was here.
    """
    counts = {name: _count(await pool.execute(query, list(lanes))) for name, query in _OF_LANES.items()}
    for name, query in _CHUNKS.items():
        counts[name] = 0
        while gone := _count(await pool.execute(query, tenant, CHUNK_MAX_ROWS)):
            counts[name] += gone
    async with pool.acquire() as connection, connection.transaction():
        counts |= await _erase_rest(connection, tenant)
    return counts


async def _erase_rest(connection: Connection, tenant: str) -> dict[str, int]:
    await lock_out_planning(connection, tenant)
    if await connection.fetchval("SELECT true FROM setting WHERE tenant = $1 AND body IS NOT NULL LIMIT 1", tenant):
        raise SwitchedOnError
    return {name: _count(await connection.execute(query, tenant)) for name, query in _REST.items()}


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
