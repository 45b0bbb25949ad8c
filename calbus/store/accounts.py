"""The account_status table: which accounts and tenants can synchronise, and what rests while they cannot.

A row is locked before any entry is: whoever puts entries to rest holds it, so that none is put to rest behind the back
of the one who wakes them. In another order only by whoever waits for no lock, and leaves out what somebody else holds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from calbus.entry import Place
from calbus.store.connection import Connection
from schemas.reasons import Reason

# So many entries a second are woken when a trouble is over, lest all crowd the sweep at one moment.
WOKEN_PER_S = 1_000
# About a second's work for PostgreSQL: whoever wakes holds rows that others wait for.
WAKE_MAX_ENTRIES = 50_000

_COLUMNS = """
    s.tenant, s.assignee, s.seq, s.told, s.reason, s.code, s.directory, s.mailbox, s.since, s.attempts, s.probe_at,
    s.roles_in
"""

_TROUBLED_ENTRIES = """
SELECT e.entry_id, s.tenant, s.assignee, s.probe_entry = e.entry_id AS chosen
FROM entry e JOIN account_status s ON s.tenant = e.tenant AND s.assignee IN (e.assignee, '')
WHERE e.entry_id = ANY ($1::uuid[]) AND s.probe_at IS NOT NULL
"""

_TAKE_UP = """
UPDATE account_status s SET probe_entry = NULL FROM (
    SELECT tenant, assignee, probe_entry FROM account_status WHERE probe_entry = ANY ($1::uuid[])
    ORDER BY tenant, assignee FOR UPDATE SKIP LOCKED
) c WHERE s.tenant = c.tenant AND s.assignee = c.assignee
RETURNING s.tenant, s.assignee, c.probe_entry
"""

_OF_ENTRIES = f"""
SELECT {_COLUMNS} FROM account_status s
WHERE s.probe_at IS NOT NULL AND (s.tenant, s.assignee) IN (
    SELECT e.tenant, a.assignee FROM entry e CROSS JOIN LATERAL (VALUES (e.assignee), ('')) AS a (assignee)
    WHERE e.entry_id = ANY ($1::uuid[])
)
ORDER BY s.tenant, s.assignee
FOR SHARE OF s SKIP LOCKED
"""  # noqa: S608

_REST = """
WITH locked AS (
    SELECT entry_id FROM entry WHERE entry_id = ANY ($1::uuid[]) AND due_at IS NOT NULL ORDER BY entry_id FOR UPDATE
)
UPDATE entry e SET due_at = 'infinity' FROM locked WHERE e.entry_id = locked.entry_id
"""

_WAKE = """
WITH locked AS (
    SELECT e.entry_id FROM entry e
    WHERE e.tenant = $1 AND ($2 = '' OR e.assignee = $2) AND (NOT $3 OR e.intent = 'absent') AND e.due_at = 'infinity'
    ORDER BY e.entry_id LIMIT $5 FOR UPDATE
), numbered AS (
    SELECT entry_id, row_number() OVER () / $4::float AS wait_s FROM locked
)
UPDATE entry e SET due_at = now() + make_interval(secs => n.wait_s) FROM numbered n WHERE e.entry_id = n.entry_id
"""

# Settings that ended leave their rows; of whom there is none, nothing shall be known any more. The row is held, lest it
# goes between the look at it and the insert.
_ENSURE = """
INSERT INTO account_status (tenant, assignee)
SELECT k.tenant, k.assignee FROM unnest($1::text[], $2::text[]) AS k (tenant, assignee)
JOIN setting s ON s.tenant = k.tenant AND s.name = k.assignee
     AND s.scope = CASE k.assignee WHEN '' THEN 'tenant' ELSE 'account' END
WHERE NOT EXISTS (SELECT FROM account_status a WHERE (a.tenant, a.assignee) = (k.tenant, k.assignee))
ORDER BY 1, 2 FOR KEY SHARE OF s
ON CONFLICT DO NOTHING
"""

# A tenant's trouble covers those of its accounts: who may end the one wakes the others, and rows are locked in order.
_LOCK = f"""
SELECT {_COLUMNS} FROM account_status s
WHERE (s.tenant, s.assignee) IN (
    SELECT * FROM unnest($1::text[], $2::text[])
    UNION ALL
    SELECT a.tenant, a.assignee
    FROM unnest($1::text[], $2::text[]) AS k (tenant, assignee)
    JOIN account_status t ON t.tenant = k.tenant AND t.assignee = k.assignee
    JOIN account_status a ON a.tenant = t.tenant
    WHERE t.assignee = '' AND t.probe_at IS NOT NULL AND a.assignee <> '' AND a.probe_at IS NOT NULL
)
ORDER BY s.tenant, s.assignee
FOR UPDATE OF s
"""  # noqa: S608

_PUT = """
UPDATE account_status s SET
    seq = n.seq, told = n.told, reason = n.reason, code = n.code, directory = n.directory, mailbox = n.mailbox,
    since = n.since, attempts = n.attempts, probe_at = n.probe_at, roles_in = n.roles_in, probe_entry = NULL
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
            $9::timestamptz[], $10::integer[], $11::timestamptz[], $12::text[])
     AS n (tenant, assignee, seq, told, reason, code, directory, mailbox, since, attempts, probe_at, roles_in)
WHERE s.tenant = n.tenant AND s.assignee = n.assignee
"""

# What the tenant's own trouble holds up is looked at when that is over.
_PROBE_NOW = """
UPDATE account_status s SET probe_at = now() FROM unnest($1::text[], $2::text[]) AS k (tenant, assignee)
WHERE s.tenant = k.tenant AND s.assignee = k.assignee AND s.probe_at IS NOT NULL
"""

# Any entry at rest will do; which one is left to chance, so that one which is odd itself does not stand for all. Those
# that were refused only read, if that: others tell more, and are waited for.
_DUE = """
SELECT s.tenant, s.assignee, s.attempts, t.probe_at AS covered_until, c.entry_id,
    coalesce(whole.body ->> 'directory', s.directory) AS directory,
    coalesce(a.body ->> 'mailbox', s.mailbox) AS mailbox,
    s.assignee <> '' AND a.body ->> 'mailbox' IS NULL AS unlinked
FROM account_status s
LEFT JOIN setting whole ON whole.tenant = s.tenant AND whole.scope = 'tenant' AND whole.name = ''
LEFT JOIN LATERAL (
    SELECT body FROM setting
    WHERE tenant = s.tenant AND scope = 'account' AND (s.assignee = '' OR name = s.assignee)
      AND body ->> 'mailbox' IS NOT NULL
    ORDER BY name LIMIT 1
) a ON true
LEFT JOIN account_status t
  ON t.tenant = s.tenant AND t.assignee = '' AND s.assignee <> '' AND t.probe_at IS NOT NULL
LEFT JOIN LATERAL (
    SELECT e.entry_id FROM entry e
    WHERE e.tenant = s.tenant AND (s.assignee = '' OR e.assignee = s.assignee) AND e.due_at = 'infinity'
      AND t.probe_at IS NULL
    ORDER BY e.refusal IS NOT NULL, random() LIMIT 1
) c ON true
WHERE s.probe_at <= $1
ORDER BY s.probe_at LIMIT $2
FOR UPDATE OF s SKIP LOCKED
"""

_CLAIM = """
UPDATE account_status s SET probe_at = n.probe_at, probe_entry = n.probe_entry
FROM unnest($1::text[], $2::text[], $3::timestamptz[], $4::uuid[]) AS n (tenant, assignee, probe_at, probe_entry)
WHERE s.tenant = n.tenant AND s.assignee = n.assignee
"""

_PROBE_AT_ONCE = """
UPDATE account_status s SET probe_at = now(), attempts = 0 FROM (
    SELECT tenant, assignee FROM account_status
    WHERE tenant = $1 AND ($2 = '' OR assignee = $2) AND probe_at IS NOT NULL
    ORDER BY tenant, assignee FOR UPDATE
) c WHERE s.tenant = c.tenant AND s.assignee = c.assignee
"""

_PROBE_TENANTS = """
UPDATE account_status s SET probe_at = now(), attempts = 0 FROM (
    SELECT tenant, assignee FROM account_status
    WHERE assignee = '' AND reason = ANY ($1::text[]) AND probe_at IS NOT NULL
    ORDER BY tenant, assignee FOR UPDATE
) c WHERE s.tenant = c.tenant AND s.assignee = c.assignee
"""

_LOOK_AT = f"""
SELECT {_COLUMNS} FROM account_status s
WHERE s.tenant = $1 AND s.assignee = ANY ($2::text[]) AND s.probe_at IS NOT NULL
"""  # noqa: S608

# What was too much when its trouble ended; a backup that was restored in part; a row that somebody removed by
# hand.
_WAKE_FORGOTTEN = """
WITH locked AS (
    SELECT r.entry_id FROM entry r
    WHERE r.due_at = 'infinity' AND NOT EXISTS (
        SELECT FROM account_status s
        WHERE s.tenant = r.tenant AND s.assignee IN (r.assignee, '') AND s.probe_at IS NOT NULL
    )
    LIMIT $1 FOR UPDATE SKIP LOCKED
), numbered AS (
    SELECT entry_id, row_number() OVER () / $2::float AS wait_s FROM locked
)
UPDATE entry e SET due_at = now() + make_interval(secs => n.wait_s) FROM numbered n WHERE e.entry_id = n.entry_id
"""

_COUNT = """
SELECT reason, count(*) AS accounts FROM account_status
WHERE probe_at IS NOT NULL AND told IS NOT NULL AND told NOT IN ('working', 'account_unlinked') GROUP BY reason
"""

_PUT_WIDTH = 12


class Account(NamedTuple):
    """Names an account; without an assignee, a tenant as a whole."""

    tenant: str
    assignee: str

    @property
    def is_tenant(self) -> bool:
        return not self.assignee


@dataclass(frozen=True, slots=True)
class Status:
    """How an account stands. `reason` is that of a trouble; None if there is none."""

    account: Account
    seq: int
    """Rises with every published change."""
    told: Reason | None
    """What was published last; None if nothing ever was."""
    reason: Reason | None
    code: str
    directory: str
    mailbox: str
    """With the directory: where the trouble was met."""
    since: datetime
    attempts: int
    """Probes that met the trouble again."""
    probe_at: datetime | None
    roles_in: str | None
    """Of a tenant: the directory in which a token that bore roles worked last; None if the last bore none."""


@dataclass(frozen=True, slots=True)
class Troubled:
    """An entry, and the account or tenant in trouble that it belongs to. `chosen`: as the probe of that trouble."""

    entry_id: UUID
    account: Account
    chosen: bool


@dataclass(frozen=True, slots=True)
class DueProbe:
    """A trouble that is to be looked at. `entry_id` rests because of it; None if nothing does.

    `place` is the mailbox that the account has now, or any of the tenant's; without an account, where it was met last.
    """

    account: Account
    attempts: int
    entry_id: UUID | None
    covered_until: datetime | None
    """The tenant is in trouble as a whole, and is looked at then."""
    place: Place
    unlinked: bool
    """There is no such account any more."""


@dataclass(frozen=True, slots=True)
class Claim:
    """Who looks at a trouble next, and when somebody else may if nothing comes of it."""

    account: Account
    probe_at: datetime
    entry_id: UUID | None


async def troubled(connection: Connection, entry_ids: list[UUID]) -> list[Troubled]:
    """Those of the entries that belong to an account or a tenant in trouble; nothing is locked."""
    rows = await connection.fetch(_TROUBLED_ENTRIES, entry_ids)
    return [Troubled(row["entry_id"], Account(row["tenant"], row["assignee"]), bool(row["chosen"])) for row in rows]


async def take_up_probes(connection: Connection, entry_ids: list[UUID]) -> dict[UUID, list[Account]]:
    """Those of the entries that were chosen as probes, and of what; nobody else can take them up.

    Without those of a trouble whose row somebody else has locked.
    """
    rows = await connection.fetch(_TAKE_UP, entry_ids)
    taken: dict[UUID, list[Account]] = {}
    for row in rows:
        taken.setdefault(row["probe_entry"], []).append(Account(row["tenant"], row["assignee"]))
    return taken


async def troubles_of(connection: Connection, entry_ids: list[UUID]) -> dict[Account, Status]:
    """The troubles that these entries may rest for, which do not end before the caller's transaction does.

    Without those whose row somebody else has locked.
    """
    return {status.account: status for status in map(_status, await connection.fetch(_OF_ENTRIES, entry_ids))}


async def rest(connection: Connection, entry_ids: Sequence[UUID]) -> None:
    """Put entries to rest: no sweep finds them until they are woken. The caller holds the trouble's row."""
    if entry_ids:
        await connection.execute(_REST, list(entry_ids))


async def wake(connection: Connection, account: Account, *, only_leaving: bool = False) -> None:
    """Let what rests be due, a little spread; `only_leaving`: only what is to be removed.

    Wakes up to 50,000: `wake_forgotten` sees to the rest.
    """
    await connection.execute(_WAKE, account.tenant, account.assignee, only_leaving, WOKEN_PER_S, WAKE_MAX_ENTRIES)


async def lock(connection: Connection, accounts: Iterable[Account]) -> dict[Account, Status]:
    """How these accounts stand, locked until the transaction ends; one that nothing is known of gets its row.

    One that was forgotten while work was under way gets none, and is left out: nothing is stored or told of it.
    Gives and locks also the accounts in trouble of each tenant among them that is in trouble as a whole.
    """
    wanted = sorted(set(accounts))
    keys = [account.tenant for account in wanted], [account.assignee for account in wanted]
    await connection.execute(_ENSURE, *keys)
    return {status.account: status for status in map(_status, await connection.fetch(_LOCK, *keys))}


async def put(connection: Connection, statuses: Sequence[Status]) -> None:
    """Store how accounts stand now."""
    rows = [
        (
            *status.account,
            status.seq,
            status.told.value if status.told else None,
            status.reason.value if status.reason else None,
            status.code,
            status.directory,
            status.mailbox,
            status.since,
            status.attempts,
            status.probe_at,
            status.roles_in,
        )
        for status in statuses
    ]
    if rows:
        await connection.execute(_PUT, *_transpose(rows, _PUT_WIDTH))


async def probe_now(connection: Connection, locked: Sequence[Account]) -> None:
    """Have those of the accounts that are in trouble looked at now. The caller has locked them."""
    if locked:
        keys = [account.tenant for account in locked], [account.assignee for account in locked]
        await connection.execute(_PROBE_NOW, *keys)


async def probe_at_once(connection: Connection, tenant: str, user: str) -> None:
    """A setting has changed: look at the account's trouble now; without a user, at all of the tenant's."""
    await connection.execute(_PROBE_AT_ONCE, tenant, user)


async def probe_tenants(pool: asyncpg.Pool, reasons: Iterable[Reason]) -> None:
    """Look now at all tenants that are in trouble for one of these reasons."""
    await pool.execute(_PROBE_TENANTS, [reason.value for reason in reasons])


async def due_probes(connection: Connection, now: datetime, limit: int) -> list[DueProbe]:
    """Troubles to look at, longest due first, which no other process looks at, locked until the transaction ends."""
    rows = await connection.fetch(_DUE, now, limit)
    return [
        DueProbe(
            Account(row["tenant"], row["assignee"]),
            row["attempts"],
            row["entry_id"],
            row["covered_until"],
            Place(row["directory"], row["mailbox"]),
            row["unlinked"],
        )
        for row in rows
    ]


async def claim(connection: Connection, claims: Sequence[Claim]) -> None:
    """Note who looks at each trouble."""
    rows = [(*one.account, one.probe_at, one.entry_id) for one in claims]
    if rows:
        await connection.execute(_CLAIM, *_transpose(rows, 4))


async def look_at(connection: Connection, tenant: str, assignees: Iterable[str]) -> dict[Account, Status]:
    """The troubles of these accounts and of their tenant, as they are; nothing is locked."""
    rows = await connection.fetch(_LOOK_AT, tenant, sorted({"", *assignees}))
    return {status.account: status for status in map(_status, rows)}


async def wake_forgotten(pool: asyncpg.Pool, limit: int) -> int:
    """Let up to `limit` entries be due, a little spread, that rest for no trouble there is; gives how many."""
    return int((await pool.execute(_WAKE_FORGOTTEN, limit, WOKEN_PER_S)).rpartition(" ")[2])


async def count_troubled(pool: asyncpg.Pool) -> dict[Reason, int]:
    """How many accounts and tenants are known to be in trouble, by reason."""
    return {Reason(row["reason"]): row["accounts"] for row in await pool.fetch(_COUNT)}


def _status(row: asyncpg.Record) -> Status:
    return Status(
        account=Account(row["tenant"], row["assignee"]),
        seq=row["seq"],
        told=Reason(row["told"]) if row["told"] is not None else None,
        reason=Reason(row["reason"]) if row["reason"] is not None else None,
        code=row["code"],
        directory=row["directory"],
        mailbox=row["mailbox"],
        since=row["since"],
        attempts=row["attempts"],
        probe_at=row["probe_at"],
        roles_in=row["roles_in"],
    )


def _transpose(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
