"""The mailbox_subscription table: which mailboxes calbus is told of, who has one in hand, and what is due.

Times are the caller's, so that one clock decides. Nothing here is called while a call to Graph is under way.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from calbus.store.connection import Connection

_COLUMNS = """
s.lane, s.directory, s.mailbox, s.wanted, s.subscription_id, s.state_digest, s.url, s.expires_at, s.renew_at,
s.in_doubt, s.attempts, s.trouble, s.due_at, s.lease
"""

_ADD_WANTED = """
INSERT INTO mailbox_subscription (lane, directory, mailbox, due_at)
SELECT DISTINCT ON (p.lane) p.lane, p.directory, p.mailbox, $1::timestamptz FROM calendar_pull p
WHERE NOT p.paused AND NOT EXISTS (SELECT FROM mailbox_subscription s WHERE s.lane = p.lane)
ORDER BY p.lane, p.pull_id
ON CONFLICT DO NOTHING
"""

_MARK_WANTED = """
UPDATE mailbox_subscription s SET wanted = NOT s.wanted, attempts = 0, due_at = $1
WHERE s.wanted <> ($2 AND EXISTS (SELECT FROM calendar_pull p WHERE p.lane = s.lane AND NOT p.paused))
"""

# One that cannot be taken back comes by itself when its wait is over.
_MARK_MOVED = """
UPDATE mailbox_subscription SET due_at = $1
WHERE subscription_id IS NOT NULL AND url NOT IN ('', $2) AND attempts = 0 AND due_at > $1
"""

# As an array the chosen are found once; a subquery in a join may be run for each row, and each time choose others.
_CLAIM = f"""
UPDATE mailbox_subscription s SET lease = s.lease + 1, lease_until = $2
WHERE lane = ANY (ARRAY (
    SELECT lane FROM mailbox_subscription
    WHERE due_at <= $1 AND (lease_until IS NULL OR lease_until <= $1)
      AND ($4 OR subscription_id IS NOT NULL OR NOT wanted)
    ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
))
RETURNING {_COLUMNS}
"""  # noqa: S608

_CLAIM_LANES = f"""
UPDATE mailbox_subscription s SET lease = s.lease + 1, lease_until = $2
WHERE lane = ANY ($3::text[]) AND (lease_until IS NULL OR lease_until <= $1)
RETURNING {_COLUMNS}
"""  # noqa: S608

_STILL_SUBSCRIBED = "SELECT lane, expires_at FROM mailbox_subscription WHERE lane = ANY ($1::text[])"

# Whether it is still wanted may have changed meanwhile: then the next step is another one, and due at once.
_RECORD = """
UPDATE mailbox_subscription SET
    subscription_id = $3, state_digest = $4, url = $5, expires_at = $6, renew_at = $7, in_doubt = $8, attempts = $9,
    trouble = $10, due_at = CASE WHEN wanted = $11 THEN $12::timestamptz ELSE $13::timestamptz END,
    lease_until = CASE WHEN $14::boolean THEN NULL ELSE lease_until END
WHERE lane = $1 AND lease = $2
RETURNING true
"""

_FORGET = "DELETE FROM mailbox_subscription WHERE lane = $1 AND lease = $2 AND NOT wanted"

_IS_SHARED = """
SELECT EXISTS (SELECT FROM mailbox_subscription WHERE subscription_id = $1 AND lane <> $2 AND wanted)
"""

_POSTPONE = """
UPDATE mailbox_subscription SET due_at = $2::timestamptz + random() * interval '1 second' * $3
WHERE directory = $1 AND due_at < $2
"""

_OF_IDS = """
SELECT subscription_id, lane, state_digest FROM mailbox_subscription WHERE subscription_id = ANY ($1)
"""

# Whoever has it in hand has been overtaken.
_REMOVED = """
UPDATE mailbox_subscription SET subscription_id = NULL, expires_at = NULL, renew_at = NULL, attempts = 0, due_at = $2,
    lease = lease + 1, lease_until = NULL
WHERE subscription_id = ANY ($1)
"""

_REAUTHORIZE = """
UPDATE mailbox_subscription SET renew_at = least(renew_at, $2), due_at = $2, lease = lease + 1, lease_until = NULL
WHERE subscription_id = ANY ($1)
"""

# In the order of their ids, lest two that are told of the same mailboxes wait for each other.
_PULL_NOW = """
UPDATE calendar_pull p SET due_at = least(p.due_at, now()), asked_at = now(), full_asked = p.full_asked OR $2
FROM (SELECT pull_id FROM calendar_pull WHERE lane = ANY ($1) AND NOT is_default ORDER BY pull_id FOR UPDATE) asked
WHERE p.pull_id = asked.pull_id
"""

_COUNT = """
SELECT count(*) FILTER (WHERE wanted AND subscription_id IS NOT NULL AND expires_at > $1) AS active,
       count(*) FILTER (WHERE wanted AND (subscription_id IS NULL OR expires_at <= $1) AND trouble IS NULL) AS missing,
       count(*) FILTER (WHERE wanted AND (subscription_id IS NULL OR expires_at <= $1) AND trouble IS NOT NULL)
           AS troubled,
       count(*) FILTER (WHERE NOT wanted) AS leaving,
       min(expires_at) FILTER (WHERE wanted AND subscription_id IS NOT NULL) AS earliest
FROM mailbox_subscription
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of one mailbox's subscription, by whoever has it in hand under this `lease`."""

    lane: str
    directory: str
    mailbox: str
    lease: int
    wanted: bool
    due_at: datetime
    subscription_id: str | None = None
    state_digest: bytes = b""
    url: str = ""
    expires_at: datetime | None = None
    renew_at: datetime | None = None
    in_doubt: bool = False
    attempts: int = 0
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A subscription that a notice may be about."""

    subscription_id: str
    lane: str
    state_digest: bytes


@dataclass(frozen=True, slots=True)
class Counts:
    """How many mailboxes have a subscription, and when the first of these ends."""

    by_state: dict[str, int]
    earliest_expiry: datetime | None


async def follow_pulls(pool: asyncpg.Pool, now: datetime, url: str | None) -> None:
    """Want a subscription for every mailbox that is pulled, and no other; without a public address for none.

    Those that were made for another address are due.
    """
    async with pool.acquire() as connection, connection.transaction():
        if url is not None:
            await connection.execute(_ADD_WANTED, now)
            await connection.execute(_MARK_MOVED, now, url)
        await connection.execute(_MARK_WANTED, now, url is not None)


async def claim(
    pool: asyncpg.Pool, now: datetime, until: datetime, limit: int, *, may_create: bool = True
) -> list[Kept]:
    """Take what is due and nobody has in hand, longest due first; others may again when the lease has run out."""
    return [_kept(row) for row in await pool.fetch(_CLAIM, now, until, limit, may_create)]


async def claim_lanes(pool: asyncpg.Pool, lanes: Sequence[str], now: datetime, until: datetime) -> list[Kept]:
    """Take those of these mailboxes that nobody has in hand, whenever they are due."""
    return [_kept(row) for row in await pool.fetch(_CLAIM_LANES, now, until, list(lanes))]


async def still_subscribed(pool: asyncpg.Pool, lanes: Sequence[str]) -> dict[str, datetime | None]:
    """Those of these mailboxes that calbus is, or may be, told of, and when that ends, if it is known."""
    rows = await pool.fetch(_STILL_SUBSCRIBED, list(lanes))
    return {row["lane"]: row["expires_at"] for row in rows}


async def record(connection: Connection, kept: Kept, now: datetime, *, release: bool) -> bool:
    """Store what is known now. False, and nothing is stored, if it is no longer in the caller's hand."""
    return bool(
        await connection.fetchval(
            _RECORD,
            kept.lane,
            kept.lease,
            kept.subscription_id,
            kept.state_digest,
            kept.url,
            kept.expires_at,
            kept.renew_at,
            kept.in_doubt,
            kept.attempts,
            kept.trouble,
            kept.wanted,
            kept.due_at,
            now,
            release,
        )
    )


async def forget(pool: asyncpg.Pool, kept: Kept) -> bool:
    """Drop what is neither subscribed to nor wanted; False if it is wanted again or in another hand."""
    return await pool.execute(_FORGET, kept.lane, kept.lease) == "DELETE 1"


async def is_shared(pool: asyncpg.Pool, kept: Kept) -> bool:
    """Whether the same subscription tells of the mailbox under another name of its directory."""
    return bool(await pool.fetchval(_IS_SHARED, kept.subscription_id, kept.lane))


async def postpone(pool: asyncpg.Pool, directory: str, until: datetime, spread_s: float) -> None:
    """Leave the directory's subscriptions alone until then; they come back spread over so many seconds."""
    await pool.execute(_POSTPONE, directory, until, spread_s)


async def of_ids(connection: Connection, subscription_ids: Iterable[str]) -> list[Known]:
    """The subscriptions of these ids; an id that two customers share comes twice, one unknown not at all."""
    return [Known(**row) for row in await connection.fetch(_OF_IDS, sorted(set(subscription_ids)))]


async def removed(connection: Connection, subscription_ids: Sequence[str], now: datetime) -> None:
    """Microsoft has ended these: new ones are due."""
    if subscription_ids:
        await connection.execute(_REMOVED, subscription_ids, now)


async def reauthorize(connection: Connection, subscription_ids: Sequence[str], now: datetime) -> None:
    """Microsoft delivers nothing before these are renewed: that is due."""
    if subscription_ids:
        await connection.execute(_REAUTHORIZE, subscription_ids, now)


async def pull_now(connection: Connection, lanes: Iterable[str], *, in_full: bool = False) -> None:
    """Let every calendar of these mailboxes be due; `in_full`: what changed since the last round may not be told."""
    if wanted := sorted(set(lanes)):
        await connection.execute(_PULL_NOW, wanted, in_full)


async def count(pool: asyncpg.Pool, now: datetime) -> Counts:
    """How the subscriptions stand, whoever keeps them."""
    row = await pool.fetchrow(_COUNT, now)
    assert row is not None
    return Counts({state: row[state] for state in ("active", "missing", "troubled", "leaving")}, row["earliest"])


def _kept(row: asyncpg.Record) -> Kept:
    return Kept(**row)
