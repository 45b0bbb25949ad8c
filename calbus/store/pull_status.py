"""How the way down of accounts and tenants stands, as it was published, and what their calendars suffer now.

Every function runs in a transaction of the caller's.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from calbus.store.connection import Connection
from schemas.reasons import Reason

_TOLD = "SELECT username, told, seq FROM pull_status WHERE tenant = $1 AND username IN ($2, '')"

# The row is there before it is locked, so that of two that are first one waits for the other.
_LOCK = """
INSERT INTO pull_status AS s (tenant, username, seq, told) VALUES ($1, $2, 0, '')
ON CONFLICT (tenant, username) DO UPDATE SET seq = s.seq
RETURNING seq, told
"""

_PUT = "UPDATE pull_status SET told = $3, seq = seq + 1 WHERE tenant = $1 AND username = $2"

_SUFFERED = """
SELECT last_error, failures FROM calendar_pull
WHERE tenant = $1 AND username = $2 AND last_error IS NOT NULL AND NOT paused AND NOT is_default
ORDER BY pull_id
"""

# Of an account, or ('') of a tenant, of which nothing is pulled any more.
_OVER = """
SELECT s.tenant, s.username, coalesce(a.body ->> 'mailbox', '') = '' AS is_unlinked FROM pull_status s
LEFT JOIN setting a ON a.tenant = s.tenant AND a.scope = 'account' AND a.name = s.username
WHERE s.told <> ALL ($1::text[]) AND NOT EXISTS (
    SELECT FROM calendar_pull p WHERE p.tenant = s.tenant AND (s.username = '' OR p.username = s.username)
)
ORDER BY s.tenant, s.username FOR UPDATE OF s
"""


@dataclass(frozen=True, slots=True)
class Told:
    """What was published last; `reason` is None if nothing ever was. `seq` counts what was published."""

    reason: Reason | None = None
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Suffered:
    """What the last turn of a calendar met, and how often in a row."""

    reason: str
    failures: int


@dataclass(frozen=True, slots=True)
class Over:
    """A trouble that was told of something of which nothing is pulled any more."""

    tenant: str
    user: str
    is_unlinked: bool


async def told_of(connection: Connection, tenant: str, user: str) -> tuple[Told, Told]:
    """What was published of an account, and of its tenant as a whole; nothing is locked."""
    known = {row["username"]: _told(row) for row in await connection.fetch(_TOLD, tenant, user)}
    return known.get(user, Told()), known.get("", Told())


async def lock(connection: Connection, tenant: str, user: str) -> Told:
    """What was published of an account, or ('') of the tenant as a whole, which nobody else changes until the end."""
    return _told(await connection.fetchrow(_LOCK, tenant, user))


async def put(connection: Connection, tenant: str, user: str, reason: Reason) -> None:
    """This was published. The caller has locked it."""
    await connection.execute(_PUT, tenant, user, reason.value)


async def suffered(connection: Connection, tenant: str, user: str) -> list[Suffered]:
    """What stands in the way of the account's calendars."""
    return [Suffered(row["last_error"], row["failures"]) for row in await connection.fetch(_SUFFERED, tenant, user)]


async def over(connection: Connection, at_rest: Iterable[Reason]) -> list[Over]:
    """Whatever was told last, other than `at_rest`, of those of whom nothing is pulled any more; locked."""
    return [Over(*row) for row in await connection.fetch(_OVER, [reason.value for reason in at_rest])]


def _told(row: object) -> Told:
    told = row["told"]  # type: ignore[index]
    return Told(Reason(told) if told else None, row["seq"])  # type: ignore[index]
