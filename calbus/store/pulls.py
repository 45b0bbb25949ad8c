"""The tables of the way down: whose turn it is to pull which mailbox, how far each calendar is, what was seen there.

Times of leases and of what is due are the database's own, so that clocks of processes need not agree. Whoever writes
of a calendar holds its mailbox's lease, and says so in the transaction (`hold`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

import asyncpg

from calbus.entry import Entry, Place
from calbus.store.connection import Connection
from calbus.store.entries import by_event
from calbus.touches import Loss
from schemas.reasons import Reason
from schemas.switches import Detail, Touched

# What the settings want: the down calendars of an account that reads, and the up calendar of any account with entries
# standing. A calendar in which a writer found an event of ours removed is wanted until that is told: its last entry may
# stand nowhere for a moment, and what is known of it says whether it was told already. A name that was found to be the
# default calendar's is another word for that. While a switch is off (the tenant's, or the account's own) nothing is
# wanted, and what is known stays as it is.
_OUT_OF_STEP = """
WITH account AS (
    SELECT a.tenant, a.name AS username, t.body ->> 'directory' AS directory, a.body ->> 'mailbox' AS mailbox,
           coalesce(a.body ->> 'direction', 'up') AS direction, coalesce(a.body ->> 'calendar', '') AS calendar,
           a.body -> 'down_calendars' AS down, coalesce(a.body ->> 'detail', 'free_busy') AS detail,
           (a.body ->> 'allowed')::boolean AND (t.body ->> 'enabled')::boolean
               AND NOT coalesce((a.body ->> 'blocked')::boolean, false)
               AND coalesce(a.body ->> 'direction', 'up') <> 'none' AS is_on
    FROM setting a JOIN setting t ON t.tenant = a.tenant AND t.scope = 'tenant'
    WHERE a.scope = 'account' AND a.body ->> 'mailbox' IS NOT NULL
), named AS (
    SELECT a.*, d.name, true AS publishes
    FROM account a CROSS JOIN LATERAL jsonb_array_elements_text(
        CASE WHEN jsonb_typeof(down) = 'array' THEN down ELSE '[""]' END
    ) AS d (name)
    WHERE is_on AND direction IN ('down', 'both')
    UNION ALL
    SELECT a.*, calendar, false FROM account a
    WHERE is_on AND (
        EXISTS (SELECT FROM entry e WHERE e.tenant = a.tenant AND e.assignee = a.username AND e.event_id IS NOT NULL)
        OR EXISTS (
            SELECT FROM lost_event l JOIN calendar_pull p
              ON (p.tenant, p.username, p.lane) = (l.tenant, l.username, l.lane)
            WHERE (l.tenant, l.username, p.mailbox) = (a.tenant, a.username, a.mailbox)
        )
    )
), meant AS (
    SELECT * FROM named
    UNION ALL
    SELECT n.tenant, n.username, n.directory, n.mailbox, n.direction, n.calendar, n.down, n.detail, n.is_on, '',
           n.publishes
    FROM named n JOIN calendar_pull p ON p.tenant = n.tenant AND p.username = n.username
         AND lower(p.calendar) = lower(n.name) AND (p.directory, p.mailbox) = (n.directory, n.mailbox)
    WHERE p.is_default
), wanted AS (
    SELECT tenant, username, directory, mailbox, detail, min(name) AS calendar, bool_or(publishes) AS publishes
    FROM meant GROUP BY tenant, username, directory, mailbox, detail, lower(name)
)
SELECT p.pull_id, w.tenant, w.username, w.calendar, w.directory, w.mailbox, w.publishes, w.detail,
       (p.directory, p.mailbox) IS NOT DISTINCT FROM (w.directory, w.mailbox) AS same_mailbox,
       coalesce(NOT a.is_on AND (p.directory, p.mailbox) = (a.directory, a.mailbox), false) AS is_off
FROM wanted w FULL JOIN calendar_pull p
  ON p.tenant = w.tenant AND p.username = w.username AND p.calendar = w.calendar
LEFT JOIN account a ON a.tenant = p.tenant AND a.username = p.username
WHERE p.pull_id IS NULL
   OR (w.tenant IS NULL
       AND NOT (p.paused AND coalesce(NOT a.is_on AND (p.directory, p.mailbox) = (a.directory, a.mailbox), false)))
   OR (p.directory, p.mailbox, p.publishes, p.detail, p.paused)
      <> (w.directory, w.mailbox, w.publishes, w.detail, false)
"""
# Any constant will do, as long as no other program on this database uses it. One process at a time is enough.
_STEP_LOCK_ID = 0x63616C62757370

_ADD_LANES = (
    "INSERT INTO pull_lane (lane) SELECT DISTINCT l FROM unnest($1::text[]) AS l ORDER BY l ON CONFLICT DO NOTHING"
)

# What was spent of a mailbox's budget is spent, also if its account is linked again at once. One that somebody holds
# has its turn later.
_DROP_LANES = """
DELETE FROM pull_lane WHERE lane IN (
    SELECT l.lane FROM pull_lane l
    WHERE NOT EXISTS (SELECT FROM calendar_pull p WHERE p.lane = l.lane)
      AND coalesce(greatest(l.lease_until, l.rests_until, l.spent_until) <= now(), true)
    FOR UPDATE SKIP LOCKED
)
"""

_FORGET_LANES = """
DELETE FROM pull_lane l
WHERE lane = ANY ($1::text[]) AND NOT EXISTS (SELECT FROM calendar_pull p WHERE p.lane = l.lane)
"""

_ADD = """
INSERT INTO calendar_pull (tenant, username, calendar, directory, mailbox, lane, publishes, detail)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::boolean[], $8::text[])
ON CONFLICT DO NOTHING
"""

_PAUSE = "UPDATE calendar_pull SET paused = true, version = version + 1 WHERE pull_id = ANY ($1::bigint[])"

# What is not ours is told from now on, or no longer: either way nothing is known of it. If more or less of it is told,
# a full round finds what is to be told anew. What was paused goes on where it was.
_TURN = """
WITH turned AS (
    UPDATE calendar_pull p
    SET publishes = n.publishes, detail = n.detail, paused = false, version = p.version + 1,
        delta_link = CASE WHEN p.publishes = n.publishes THEN p.delta_link END,
        next_link = CASE WHEN p.publishes = n.publishes THEN p.next_link END,
        full_asked = p.full_asked OR p.detail <> n.detail,
        due_at = now(), asked_at = now()
    FROM unnest($1::bigint[], $2::boolean[], $3::text[]) AS n (pull_id, publishes, detail)
    JOIN calendar_pull o ON o.pull_id = n.pull_id
    WHERE p.pull_id = n.pull_id
    RETURNING p.pull_id, o.publishes <> n.publishes AS anew
)
DELETE FROM pulled_event e USING turned t WHERE e.pull_id = t.pull_id AND t.anew AND e.entry_id IS NULL
"""

_ASK = """
UPDATE calendar_pull SET due_at = least(due_at, now()), asked_at = now(), full_asked = full_asked OR $3
WHERE tenant = $1 AND ($2::text IS NULL OR username = $2) AND NOT is_default
"""

# One that somebody writes at this moment has its turn, and is not waited for.
_ASK_FAILING = """
UPDATE calendar_pull p SET due_at = least(p.due_at, now()), asked_at = now() FROM (
    SELECT pull_id FROM calendar_pull
    WHERE tenant = $1 AND ($2 = '' OR username = $2) AND failures > 0 AND NOT is_default
    FOR NO KEY UPDATE SKIP LOCKED
) f WHERE p.pull_id = f.pull_id
"""

_ASK_FAILING_FOR = """
UPDATE calendar_pull p SET due_at = least(p.due_at, now()), asked_at = now() FROM (
    SELECT pull_id FROM calendar_pull WHERE last_error = ANY ($1::text[]) AND failures > 0 AND NOT is_default
    FOR NO KEY UPDATE SKIP LOCKED
) f WHERE p.pull_id = f.pull_id
"""

_CLAIM = """
WITH due AS (
    SELECT l.lane, lower(p.directory) AS directory FROM calendar_pull p JOIN pull_lane l ON l.lane = p.lane
    WHERE p.due_at <= now() AND NOT p.paused AND (l.lease_until IS NULL OR l.lease_until <= now())
      AND (l.rests_until IS NULL OR l.rests_until <= now()) AND lower(p.directory) <> ALL ($4::text[])
    ORDER BY p.due_at LIMIT $1 FOR NO KEY UPDATE OF l SKIP LOCKED
)
UPDATE pull_lane l SET lease_owner = $2, lease_until = now() + make_interval(secs => $3)
FROM (SELECT lane, min(directory) AS directory FROM due GROUP BY lane) d WHERE l.lane = d.lane
RETURNING l.lane, l.spent_until, d.directory
"""

_KEEP = """
UPDATE pull_lane SET lease_until = now() + make_interval(secs => $3)
WHERE lane = ANY ($1::text[]) AND lease_owner = $2 RETURNING lane
"""

_RELEASE = """
UPDATE pull_lane SET lease_owner = NULL, lease_until = NULL, spent_until = $3,
                     rests_until = now() + make_interval(secs => $4)
WHERE lane = $1 AND lease_owner = $2
"""

_STILL = "SELECT true FROM calendar_pull WHERE pull_id = $1 AND version = $2 FOR NO KEY UPDATE"

_HOLD = "SELECT true FROM pull_lane WHERE lane = $1 AND lease_owner = $2 FOR NO KEY UPDATE"

_DUE_OF = """
SELECT p.*, a.body ->> 'detail' AS now_detail, t.body ->> 'touched' AS touched, clock_timestamp() AS loaded_at
FROM calendar_pull p
LEFT JOIN setting a ON a.tenant = p.tenant AND a.scope = 'account' AND a.name = p.username
LEFT JOIN setting t ON t.tenant = p.tenant AND t.scope = 'tenant' AND t.name = ''
WHERE p.lane = $1 AND p.due_at <= now() AND NOT p.paused ORDER BY p.due_at, p.pull_id LIMIT $2
"""

_BEGIN = """
UPDATE calendar_pull SET began_at = now(), pages = 0, items = 0, version = version + 1
WHERE pull_id = $1 AND version = $2
RETURNING began_at
"""

_BEGIN_FULL = """
UPDATE calendar_pull SET
    round = round + 1, delta_link = NULL, next_link = NULL, full_asked = false, began_at = now(), pages = 0, items = 0,
    rolled_at = CASE WHEN (window_start, window_end) IS DISTINCT FROM ($3, $4) THEN now() ELSE rolled_at END,
    window_start = $3, window_end = $4, version = version + 1
WHERE pull_id = $1 AND version = $2
RETURNING round, rolled_at, began_at
"""

# Links belong to the calendar that they were given for.
_FOUND = """
UPDATE calendar_pull SET
    calendar_id = $3, is_default = $4, version = version + 1,
    delta_link = CASE WHEN calendar_id = $3 THEN delta_link END,
    next_link = CASE WHEN calendar_id = $3 THEN next_link END
WHERE pull_id = $1 AND version = $2
"""

_ADVANCE = """
UPDATE calendar_pull SET next_link = $3, delta_link = coalesce($4, delta_link), pages = pages + $5, items = items + $6,
                         version = version + 1
WHERE pull_id = $1 AND version = $2
"""

# The least of what is open decides: a moment that was asked for, an event that is to be read, the next round.
_FINISH = """
UPDATE calendar_pull p SET
    due_at = CASE WHEN asked_at > began_at OR full_asked THEN now() ELSE least(
        now() + make_interval(secs => $3),
        (SELECT min(e.pending_at) FROM pulled_event e WHERE e.pull_id = p.pull_id)
    ) END,
    interval_s = $3, failures = 0, last_error = NULL, empties = 0, pulled_at = now()
WHERE pull_id = $1 AND version = $2
"""

# Asked for since the turn began, it is tried again as soon as it may be.
_PUT_OFF = """
UPDATE calendar_pull SET
    due_at = now() + make_interval(secs => CASE WHEN asked_at > $2 THEN least($3, $4::double precision) ELSE $3 END),
    failures = $5, last_error = $6, full_asked = full_asked OR $7
WHERE pull_id = $1
"""

_DOUBT = "UPDATE calendar_pull SET empties = empties + 1 WHERE pull_id = $1 AND version = $2"

_EVENTS = """
SELECT event_id, seen, entry_id, round, pending_at, attempts FROM pulled_event
WHERE pull_id = $1 AND event_id = ANY ($2::text[])
"""

_PUT_EVENTS = """
INSERT INTO pulled_event (pull_id, event_id, seen, entry_id, round, pending_at, attempts)
SELECT $1, n.event_id, n.seen::jsonb, n.entry_id, $2, now() + make_interval(secs => n.pending_s), n.attempts
FROM unnest($3::text[], $4::text[], $5::uuid[], $6::double precision[], $7::integer[])
     AS n (event_id, seen, entry_id, pending_s, attempts)
ON CONFLICT (pull_id, event_id) DO UPDATE SET
    seen = excluded.seen, entry_id = excluded.entry_id, round = excluded.round, pending_at = excluded.pending_at,
    attempts = excluded.attempts
"""

_FORGET = "DELETE FROM pulled_event WHERE pull_id = $1 AND event_id = ANY ($2::text[])"

_UNNAMED = """
SELECT event_id, seen, entry_id, round, pending_at, attempts FROM pulled_event
WHERE pull_id = $1 AND round < $2 AND pending_at IS NULL ORDER BY event_id LIMIT $3
"""

# Its times are local ones: within a day of the window's edges an entry may be looked for in vain, or once too often.
_UNSEEN = """
SELECT e.event_id, e.entry_id FROM entry e
WHERE e.tenant = $2 AND e.assignee = $3 AND e.event_id IS NOT NULL AND NOT e.in_doubt
  AND e.applied_directory = $4 AND lower(e.applied_mailbox) = lower($5)
  AND lower(coalesce(e.applied_calendar, '')) = lower($6)
  AND e.applied_at < $7
  AND (e.content ->> 'start')::timestamp < $9::timestamp
  AND (coalesce(e.content ->> 'recurrence', '') <> '' OR (e.content ->> 'end')::timestamp > $8::timestamp)
  AND NOT EXISTS (SELECT FROM pulled_event k WHERE k.pull_id = $1 AND k.event_id = e.event_id)
ORDER BY e.event_id LIMIT $10
"""

_KNOWN = """
SELECT count(*) AS known, count(*) FILTER (WHERE round >= $2) AS named
FROM pulled_event WHERE pull_id = $1 AND seen IS NOT NULL
"""

_PENDING = """
SELECT event_id, seen, entry_id, round, pending_at, attempts FROM pulled_event
WHERE pull_id = $1 AND pending_at <= now() ORDER BY pending_at, event_id LIMIT $2
"""

_IN_DOUBT = """
SELECT entry_id FROM entry WHERE in_doubt AND applied_directory = $1 AND lower(applied_mailbox) = lower($2) LIMIT $3
"""

_COUNT = """
SELECT count(*) AS calendars, count(*) FILTER (WHERE due_at <= now()) AS due,
       coalesce(extract(epoch FROM now() - min(due_at) FILTER (WHERE due_at <= now())), 0)::float AS lag_s,
       count(*) FILTER (WHERE pulled_at IS NULL) AS first_pulls,
       coalesce(sum(items) FILTER (WHERE pulled_at IS NULL), 0) AS first_items,
       count(*) FILTER (WHERE failures > 0) AS failing,
       (SELECT count(*) FROM pull_lane WHERE lease_until > now()) AS leased
FROM calendar_pull WHERE NOT paused AND NOT is_default
"""

_PROGRESS = """
SELECT tenant, username, calendar, pages, items, pulled_at, last_error, next_link IS NOT NULL AS under_way, began_at
FROM calendar_pull
WHERE (username = $1 OR lower(mailbox) = lower($1)) AND ($2::text IS NULL OR tenant = $2)
  AND NOT paused AND NOT is_default
ORDER BY tenant, username, calendar
"""

_REOPEN_ALL = "UPDATE pulled_event SET pending_at = now() WHERE pull_id = $1 AND seen IS NOT NULL"

# In which calendar: that of its name, or the default one, which may be pulled under another name than the account's.
_LOST_IN = """
SELECT l.event_id FROM lost_event l JOIN calendar_pull p
  ON (l.directory, l.tenant, l.username, l.lane) = (p.directory, p.tenant, p.username, p.lane)
WHERE p.pull_id = $1 AND (lower(l.calendar) = lower(p.calendar) OR p.calendar = '' AND NOT EXISTS (
    SELECT FROM calendar_pull o
    WHERE (o.tenant, o.username) = (p.tenant, p.username) AND lower(o.calendar) = lower(l.calendar) AND NOT o.is_default
))
ORDER BY l.lost_at, l.event_id LIMIT $2
"""

_LOST = """
SELECT event_id, entry_id, change_key, revision, lost_at FROM lost_event
WHERE directory = $1 AND event_id = ANY ($2::text[])
"""

_FORGET_LOST = "DELETE FROM lost_event WHERE directory = $1 AND event_id = ANY ($2::text[])"

_PUT_LOST = """
INSERT INTO lost_event (directory, event_id, entry_id, tenant, username, lane, calendar, change_key, revision, lost_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::bigint[], $10::timestamptz[])
ON CONFLICT DO NOTHING
"""

IN_DOUBT_MAX_ENTRIES = 1_000


class LeaseLostError(Exception):
    """The mailbox is somebody else's now, or the calendar is no longer pulled as it was: nothing was written."""


@dataclass(frozen=True, slots=True)
class Steps:
    """How many calendars settings added, took away, had told otherwise or again, or paused."""

    added: int = 0
    removed: int = 0
    changed: int = 0
    paused: int = 0

    @property
    def any(self) -> bool:
        return bool(self.added or self.removed or self.changed or self.paused)


@dataclass(frozen=True, slots=True)
class Claimed:
    """A mailbox that was leased, and how far its budget is used up."""

    lane: str
    spent_until: datetime | None
    directory: str


@dataclass(frozen=True, slots=True)
class Pull:
    """One calendar of one account, and how far its round is."""

    pull_id: int
    tenant: str
    user: str
    place: Place
    publishes: bool
    detail: Detail
    touched: Touched
    calendar_id: str | None
    version: int
    round: int
    window_start: datetime | None
    window_end: datetime | None
    rolled_at: datetime | None
    delta_link: str | None
    next_link: str | None
    began_at: datetime | None
    pages: int
    empties: int
    full_asked: bool
    interval_s: float
    failures: int
    last_error: str | None
    pulled_at: datetime | None
    is_default: bool
    """Its name was found to be the default calendar's."""
    loaded_at: datetime
    """By the database's clock."""

    @property
    def calendar(self) -> str:
        """Its name as events tell it: empty for the default calendar."""
        return self.place.calendar or ""


@dataclass(frozen=True, slots=True)
class Known:
    """What is stored of one event. `seen` is JSON."""

    event_id: str
    seen: str | None = None
    entry_id: UUID | None = None
    round: int = 0
    pending: bool = False
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Kept:
    """What is to be stored of one event. `pending_s`: it is read by its id after so long."""

    event_id: str
    seen: str | None
    entry_id: UUID | None
    pending_s: float | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Lost:
    """An event of ours that a writer found removed when it was to write it."""

    event_id: str
    entry_id: UUID
    tenant: str
    user: str
    place: Place
    loss: Loss


@dataclass(frozen=True, slots=True)
class Counts:
    """Of all calendars, whoever pulls them."""

    calendars: int
    due: int
    lag_s: float
    first_pulls: int
    first_items: int
    failing: int
    leased: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a calendar is, for whoever waits. Pages and items are of the round that began last."""

    tenant: str
    user: str
    calendar: str
    pages: int
    items: int
    pulled_at: datetime | None
    last_error: str | None
    under_way: bool
    began_at: datetime | None


async def keep_in_step(pool: asyncpg.Pool) -> Steps:
    """Make the calendars that are pulled those that the accounts' settings want. Where some go, so do mailboxes
    that are left without any, also those that somebody held the last time.

    One process at a time does it; to the others there is nothing to do. A calendar in another mailbox is another one.
    """
    async with pool.acquire() as connection, connection.transaction():
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _STEP_LOCK_ID):
            return Steps()
        rows = await connection.fetch(_OUT_OF_STEP)
        paused = [r["pull_id"] for r in rows if r["tenant"] is None and r["is_off"]]
        gone = [
            r["pull_id"]
            for r in rows
            if r["pull_id"] is not None and not (r["is_off"] if r["tenant"] is None else r["same_mailbox"])
        ]
        fresh = [r for r in rows if r["tenant"] is not None and (r["pull_id"] is None or not r["same_mailbox"])]
        turned = [r for r in rows if r["tenant"] is not None and r["pull_id"] is not None and r["same_mailbox"]]
        if gone:
            await connection.execute("DELETE FROM calendar_pull WHERE pull_id = ANY ($1::bigint[])", gone)
        if paused:
            await connection.execute(_PAUSE, paused)
        if fresh:
            lanes = [Place(row["directory"], row["mailbox"]).lane for row in fresh]
            await connection.execute(_ADD_LANES, lanes)
            names = ("tenant", "username", "calendar", "directory", "mailbox")
            columns = [[row[name] for row in fresh] for name in names]
            told = [row["publishes"] for row in fresh], [row["detail"] for row in fresh]
            await connection.execute(_ADD, *columns, lanes, *told)
        if turned:
            columns = [[row[name] for row in turned] for name in ("pull_id", "publishes", "detail")]
            await connection.execute(_TURN, *columns)
        if gone:
            await drop_spare_lanes(connection)
        return Steps(len(fresh), len(gone), len(turned), len(paused))


async def drop_spare_lanes(connection: Connection) -> None:
    """Drop what is known of mailboxes that have no calendar left, once nobody may need it."""
    await connection.execute(_DROP_LANES)


async def forget_lanes(connection: Connection, lanes: Sequence[str]) -> int:
    """Drop what is known of these mailboxes at once, unless a calendar is pulled there; gives of how many.

    Needs a transaction of the caller's. Waits until nobody adds a calendar, which must not miss its mailbox.
    """
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _STEP_LOCK_ID)
    return _count(await connection.execute(_FORGET_LANES, list(lanes)))


async def ask(connection: Connection | asyncpg.Pool, tenant: str, user: str | None, *, full: bool = False) -> int:
    """Let a user's calendars, or all of a tenant's, be due now; gives how many. `full`: what was seen may be wrong."""
    return _count(await connection.execute(_ASK, tenant, user, full))


async def ask_failing(connection: Connection, tenant: str, user: str) -> None:
    """A setting has changed: what failed of the account is tried now; without a user, whatever of the tenant's did."""
    await connection.execute(_ASK_FAILING, tenant, user)


async def ask_failing_for(pool: asyncpg.Pool, reasons: Iterable[Reason]) -> None:
    """Try now whatever failed for one of these reasons, whoever's it is."""
    await pool.execute(_ASK_FAILING_FOR, [reason.value for reason in reasons])


async def claim(
    pool: asyncpg.Pool, owner: str, *, lease_s: float, limit: int, beside: Sequence[str] = ()
) -> list[Claimed]:
    """Lease up to `limit` mailboxes with calendars that are due, the longest due first, which nobody else has.

    `beside`: directories whose turn it is not.
    """
    rows = await pool.fetch(_CLAIM, limit, owner, lease_s, list(beside))
    return [Claimed(row["lane"], row["spent_until"], row["directory"]) for row in rows]


async def keep(pool: asyncpg.Pool, owner: str, lanes: Sequence[str], *, lease_s: float) -> set[str]:
    """Lengthen these leases; gives those that are still the owner's."""
    return {row["lane"] for row in await pool.fetch(_KEEP, list(lanes), owner, lease_s)}


async def release(
    pool: asyncpg.Pool, owner: str, lane: str, *, spent_until: datetime | None, rests_s: float = 0.0
) -> None:
    """Give a mailbox back; nobody takes it up before it has rested."""
    await pool.execute(_RELEASE, lane, owner, spent_until, rests_s)


async def hold(connection: Connection, owner: str, pull: Pull) -> None:
    """Until the transaction ends, the mailbox is the owner's and the calendar as it was loaded.

    Raises LeaseLostError if it is not: the lease ran out, or settings changed what is wanted of the calendar.
    """
    if not await connection.fetchval(_HOLD, pull.place.lane, owner):
        raise LeaseLostError
    if not await connection.fetchval(_STILL, pull.pull_id, pull.version):
        raise LeaseLostError


async def due_of(pool: asyncpg.Pool, lane: str, limit: int) -> list[Pull]:
    """The calendars of a mailbox that are due, longest due first."""
    return [_pull(row) for row in await pool.fetch(_DUE_OF, lane, limit)]


async def begin(connection: Connection, pull: Pull) -> Pull:
    """A round begins that asks for what changed; gives the pull as it is then. Raises LeaseLostError."""
    began_at = await connection.fetchval(_BEGIN, pull.pull_id, pull.version)
    if began_at is None:
        raise LeaseLostError
    return replace(pull, version=pull.version + 1, began_at=began_at, pages=0)


async def begin_full(connection: Connection, pull: Pull, window_start: datetime, window_end: datetime) -> Pull:
    """A full round begins over this window; gives the pull as it is then. Raises LeaseLostError."""
    row = await connection.fetchrow(_BEGIN_FULL, pull.pull_id, pull.version, window_start, window_end)
    if row is None:
        raise LeaseLostError
    return replace(
        pull,
        version=pull.version + 1,
        round=row["round"],
        rolled_at=row["rolled_at"],
        began_at=row["began_at"],
        window_start=window_start,
        window_end=window_end,
        delta_link=None,
        next_link=None,
        full_asked=False,
        pages=0,
    )


async def found_calendar(
    connection: Connection, pull: Pull, calendar_id: str | None, *, is_default: bool = False
) -> Pull:
    """Remember where a named calendar is, or (None) that it is not where it was. Raises LeaseLostError."""
    _once(await connection.execute(_FOUND, pull.pull_id, pull.version, calendar_id, is_default))
    same = calendar_id is not None and calendar_id == pull.calendar_id
    return replace(
        pull,
        version=pull.version + 1,
        calendar_id=calendar_id,
        is_default=is_default,
        delta_link=pull.delta_link if same else None,
        next_link=pull.next_link if same else None,
    )


async def lost_calendar(connection: Connection, pull: Pull) -> Pull:
    """The calendar is gone: it is looked up anew, and what stood in it is read by its ids. Raises LeaseLostError."""
    pull = await found_calendar(connection, pull, None)
    await connection.execute(_REOPEN_ALL, pull.pull_id)
    return pull


async def advance(
    connection: Connection, pull: Pull, next_link: str | None, delta_link: str | None, *, pages: int, items: int
) -> Pull:
    """The round stands at this link, durably with the caller's transaction. Raises LeaseLostError."""
    _once(await connection.execute(_ADVANCE, pull.pull_id, pull.version, next_link, delta_link, pages, items))
    return replace(
        pull,
        version=pull.version + 1,
        next_link=next_link,
        delta_link=delta_link or pull.delta_link,
        pages=pull.pages + pages,
    )


async def finish(connection: Connection, pull: Pull, interval_s: float) -> None:
    """A round is over: the next is due after the interval, or earlier if something asks for it."""
    _once(await connection.execute(_FINISH, pull.pull_id, pull.version, interval_s))


async def put_off(
    connection: Connection | asyncpg.Pool,
    pull: Pull,
    wait_s: float,
    *,
    soonest_s: float = 0.0,
    failures: int = 0,
    error: str | None = None,
    anew: bool = False,
) -> None:
    """A round stops where it is, and goes on after so long; `anew`: with a full round.

    `soonest_s`: after so long if somebody asks for it meanwhile.
    """
    await connection.execute(_PUT_OFF, pull.pull_id, pull.loaded_at, wait_s, soonest_s, failures, error, anew)


async def doubt(connection: Connection, pull: Pull) -> None:
    """A full round showed nothing, and is not believed yet."""
    await connection.execute(_DOUBT, pull.pull_id, pull.version)


async def events(connection: Connection, pull_id: int, event_ids: Sequence[str]) -> dict[str, Known]:
    """What is stored of these events, by id."""
    return {one.event_id: one for one in map(_known, await connection.fetch(_EVENTS, pull_id, list(event_ids)))}


async def put_events(connection: Connection, pull_id: int, round_: int, kept: Sequence[Kept]) -> None:
    """Store how events were seen."""
    if not kept:
        return
    await connection.execute(
        _PUT_EVENTS,
        pull_id,
        round_,
        [one.event_id for one in kept],
        [one.seen for one in kept],
        [one.entry_id for one in kept],
        [one.pending_s for one in kept],
        [one.attempts for one in kept],
    )


async def forget_events(connection: Connection, pull_id: int, event_ids: Sequence[str]) -> None:
    """Nothing is known of these events any more."""
    if event_ids:
        await connection.execute(_FORGET, pull_id, list(event_ids))


async def unnamed(connection: Connection, pull: Pull, limit: int) -> list[Known]:
    """Events that were known before this full round and that none of its pages named."""
    return [_known(row) for row in await connection.fetch(_UNNAMED, pull.pull_id, pull.round, limit)]


async def unseen(connection: Connection, pull: Pull, limit: int) -> list[Kept]:
    """Our entries that stood in the window before this full round began and that no round ever named: to be read now.

    Their users may have deleted them before they were ever seen.
    """
    assert pull.window_start is not None
    assert pull.window_end is not None
    place = pull.place
    rows = await connection.fetch(
        _UNSEEN,
        pull.pull_id,
        pull.tenant,
        pull.user,
        place.directory,
        place.mailbox,
        pull.calendar,
        pull.began_at,
        pull.window_start.replace(tzinfo=None),
        pull.window_end.replace(tzinfo=None),
        limit,
    )
    return [Kept(row["event_id"], None, row["entry_id"], 0.0) for row in rows]


async def known_and_named(connection: Connection, pull: Pull) -> tuple[int, int]:
    """How many events of the calendar are known, and how many of them this full round named."""
    row = await connection.fetchrow(_KNOWN, pull.pull_id, pull.round)
    assert row is not None
    return row["known"], row["named"]


async def pending(pool: asyncpg.Pool, pull_id: int, limit: int) -> list[Known]:
    """Events that are to be read by their id now, longest due first."""
    return [_known(row) for row in await pool.fetch(_PENDING, pull_id, limit)]


async def entries_of(
    connection: Connection, place: Place, event_ids: Sequence[str]
) -> tuple[list[tuple[Entry, datetime | None]], list[Entry]]:
    """The entries of any account that stand as these events, and when each was last settled by a writer.

    Then those whose create in this mailbox may be under way, whatever event came of it.
    """
    rows = await connection.fetch(_IN_DOUBT, place.directory, place.mailbox, IN_DOUBT_MAX_ENTRIES)
    found = await by_event(connection, place.directory, event_ids, [row["entry_id"] for row in rows])
    return found, [entry for entry, _ in found if entry.applied.in_doubt]


async def put_lost(connection: Connection, lost: Sequence[Lost]) -> None:
    """Keep for the puller to tell that these events of ours were found to be removed."""
    rows = [
        (
            one.place.directory,
            one.event_id,
            one.entry_id,
            one.tenant,
            one.user,
            one.place.lane,
            one.place.calendar or "",
            one.loss.change_key,
            one.loss.revision,
            one.loss.found_at,
        )
        for one in lost
    ]
    if rows:
        await connection.execute(_PUT_LOST, *(list(column) for column in zip(*rows, strict=True)))


async def lost_in(connection: Connection, pull: Pull, limit: int) -> list[str]:
    """Events of ours in this calendar that a writer found removed, oldest first."""
    return [row["event_id"] for row in await connection.fetch(_LOST_IN, pull.pull_id, limit)]


async def lost(connection: Connection, directory: str, event_ids: Sequence[str]) -> dict[str, tuple[Entry, Loss]]:
    """Which of these events a writer found removed: their entries as they stand now, and what it knew then."""
    rows = await connection.fetch(_LOST, directory, list(event_ids))
    if not rows:
        return {}
    found = await by_event(connection, directory, [], [row["entry_id"] for row in rows])
    entries = {entry.entry_id: entry for entry, _ in found}
    return {
        row["event_id"]: (entry, Loss(row["change_key"], row["revision"] or entry.desired.revision, row["lost_at"]))
        for row in rows
        if (entry := entries.get(row["entry_id"])) is not None
    }


async def forget_lost(connection: Connection, directory: str, event_ids: Sequence[str]) -> None:
    """That these were removed is told, or need not be."""
    if event_ids:
        await connection.execute(_FORGET_LOST, directory, list(event_ids))


async def moment(pool: asyncpg.Pool) -> datetime:
    """What time the database has now."""
    now: datetime = await pool.fetchval("SELECT clock_timestamp()")
    return now


async def count(pool: asyncpg.Pool) -> Counts:
    """For the gauges."""
    row = await pool.fetchrow(_COUNT)
    assert row is not None
    return Counts(**dict(row))


async def progress(connection: Connection, who: str, tenant: str | None) -> list[Progress]:
    """The calendars of a user, or of a mailbox by its address, and how far they are."""
    rows = await connection.fetch(_PROGRESS, who, tenant)
    return [
        Progress(
            row["tenant"],
            row["username"],
            row["calendar"],
            row["pages"],
            row["items"],
            row["pulled_at"],
            row["last_error"],
            row["under_way"],
            row["began_at"],
        )
        for row in rows
    ]


def _pull(row: asyncpg.Record) -> Pull:
    return Pull(
        pull_id=row["pull_id"],
        tenant=row["tenant"],
        user=row["username"],
        place=Place(row["directory"], row["mailbox"], row["calendar"] or None),
        publishes=row["publishes"],
        detail=Detail(row["now_detail"] or Detail.FREE_BUSY),
        touched=Touched(row["touched"] or Touched.REPORT),
        calendar_id=row["calendar_id"],
        version=row["version"],
        round=row["round"],
        window_start=row["window_start"],
        window_end=row["window_end"],
        rolled_at=row["rolled_at"],
        delta_link=row["delta_link"],
        next_link=row["next_link"],
        began_at=row["began_at"],
        pages=row["pages"],
        empties=row["empties"],
        full_asked=row["full_asked"],
        interval_s=row["interval_s"],
        failures=row["failures"],
        last_error=row["last_error"],
        pulled_at=row["pulled_at"],
        is_default=row["is_default"],
        loaded_at=row["loaded_at"],
    )


def _known(row: asyncpg.Record) -> Known:
    return Known(
        row["event_id"], row["seen"], row["entry_id"], row["round"], row["pending_at"] is not None, row["attempts"]
    )


def _once(status: str) -> None:
    if _count(status) != 1:
        raise LeaseLostError


def _count(status: str) -> int:
    return int(status.rpartition(" ")[2])
