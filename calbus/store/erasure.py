"""All that the database holds of one person, whichever table it is in, and how it is taken out.

This file and departure.py know every table. A new table that names people belongs in both; tests look for whoever was
forgotten in every column of every table there is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from calbus.entry import Place
from calbus.store.connection import Connection
from calbus.store.pulls import forget_lanes
from calbus.store.switches import lock_out_planning

_ACCOUNT = """
SELECT revision, body ->> 'mailbox' AS mailbox, body ->> 'entries' AS entries,
       coalesce((body ->> 'allowed')::boolean, false) AS allowed, body IS NOT NULL AS is_set
FROM setting WHERE tenant = $1 AND scope = 'account' AND name = $2
"""

# What the relay has yet to publish of the person: statuses and changes by the account's key, outcomes by the entry's.
_MESSAGES = """
(starts_with(o.key || '/', 'account/' || $1 || '/' || $2 || '/')
 OR o.key IN (SELECT entry_id::text FROM entry WHERE tenant = $1 AND assignee = $2))
"""

_WORK = f"""
SELECT
    count(*) FILTER (WHERE event_id IS NOT NULL OR in_doubt) AS standing,
    count(*) FILTER (WHERE due_at < 'infinity') AS due,
    (SELECT count(*) FROM replan
     WHERE tenant = $1 AND (scope = 'tenant' OR scope = 'account' AND name = $2)) AS replans,
    (SELECT count(*) FROM outbox o WHERE {_MESSAGES}) AS untold
FROM entry WHERE tenant = $1 AND assignee = $2
"""  # noqa: S608

_PLACES = """
SELECT directory, mailbox FROM entry WHERE tenant = $1 AND assignee = $2
UNION SELECT applied_directory, applied_mailbox FROM entry WHERE tenant = $1 AND assignee = $2
UNION SELECT directory, mailbox FROM calendar_pull WHERE tenant = $1 AND username = $2
UNION SELECT directory, mailbox FROM account_status WHERE tenant = $1 AND assignee = $2
UNION SELECT t.body ->> 'directory', a.body ->> 'mailbox' FROM setting a
      JOIN setting t ON t.tenant = a.tenant AND t.scope = 'tenant'
      WHERE a.tenant = $1 AND a.scope = 'account' AND a.name = $2
"""

# A mailbox that two accounts name, of one customer or of two, is not done with when one of them goes.
_LANES_OF_OTHERS = """
SELECT lane FROM calendar_pull WHERE lane = ANY ($3::text[]) AND (tenant, username) <> ($1, $2)
UNION SELECT k.lane FROM unnest($3::text[], $4::text[]) AS k (lane, mailbox)
      JOIN setting s ON s.scope = 'account' AND lower(s.body ->> 'mailbox') = k.mailbox
      WHERE (s.tenant, s.name) <> ($1, $2)
"""

_UNWANTED = """
UPDATE mailbox_subscription SET wanted = false, attempts = 0, due_at = $2 WHERE lane = ANY ($1::text[])
"""

# The person is taken off the items; as an owner another name stands in, so that nobody may assign in their place. The
# hash stays: a message that comes again is still known for what it is.
_ITEMS = """
WITH locked AS (
    SELECT tenant, source, kind, id FROM item
    WHERE tenant = $1 AND (owner = $2 OR body -> 'assignees' ? $2 OR body ->> 'owner' = $2)
    ORDER BY tenant, source, kind, id FOR UPDATE
)
UPDATE item i SET
    owner = CASE WHEN owner = $2 THEN $3 ELSE owner END,
    body = body || jsonb_build_object(
        'assignees', coalesce((body -> 'assignees') - $2::text, '[]'::jsonb),
        'owner', CASE WHEN body ->> 'owner' = $2 THEN to_jsonb($3::text) ELSE body -> 'owner' END
    )
FROM locked l WHERE (i.tenant, i.source, i.kind, i.id) = (l.tenant, l.source, l.kind, l.id)
RETURNING i.owner = $3 AS owned
"""

# Words of colleagues' entries may name the owner: they are planned anew.
_REPLAN_OWNED = "INSERT INTO replan (tenant, scope, name) VALUES ($1, 'account', $2)"

_LOCK_ENTRIES = """
SELECT entry_id FROM entry
WHERE tenant = $1 AND (assignee = $2 OR split_part(applied_grant, '>', 1) = ANY ($3::text[]))
ORDER BY entry_id FOR UPDATE
"""

# A right to a colleague's calendar that was found names the mailbox that has it.
_GRANTS = """
UPDATE entry SET applied_grant = NULL, write_version = write_version + 1
WHERE tenant = $1 AND assignee <> $2 AND split_part(applied_grant, '>', 1) = ANY ($3::text[])
"""

_SETTING = "DELETE FROM setting WHERE tenant = $1 AND scope = 'account' AND name = $2"

_OF_PERSON = {
    "restores": """
        DELETE FROM restore r USING entry e WHERE r.entry_id = e.entry_id AND e.tenant = $1 AND e.assignee = $2
    """,
    "times of their own": """
        DELETE FROM override v USING entry e WHERE v.entry_id = e.entry_id AND e.tenant = $1 AND e.assignee = $2
    """,
    "unpublished messages": f"DELETE FROM outbox o WHERE {_MESSAGES}",  # noqa: S608
    "removals to be told": "DELETE FROM lost_event WHERE tenant = $1 AND username = $2",
    "entries": "DELETE FROM entry WHERE tenant = $1 AND assignee = $2",
    "breakers": "DELETE FROM breaker WHERE tenant = $1 AND name = $2",
    "statuses": "DELETE FROM account_status WHERE tenant = $1 AND assignee = $2",
    "statuses of the way down": "DELETE FROM pull_status WHERE tenant = $1 AND username = $2",
    "activations": "DELETE FROM activation WHERE tenant = $1 AND name = $2",
    "re-plans": "DELETE FROM replan WHERE tenant = $1 AND scope = 'account' AND name = $2",
}

_OF_LANES = {
    "categories": "DELETE FROM category WHERE lane = ANY ($1::text[])",
    "subscriptions that end by themselves": "DELETE FROM mailbox_subscription WHERE lane = ANY ($1::text[])",
}


class StillLinkedError(Exception):
    """The account is allowed (again): nothing was taken out."""


@dataclass(frozen=True, slots=True)
class Person:
    """One user of one tenant."""

    tenant: str
    user: str


@dataclass(frozen=True, slots=True)
class Account:
    """The account as its settings have it. `unlinked_with`: what its unlinking says of the entries."""

    revision: int = 0
    is_set: bool = False
    allowed: bool = False
    unlinked_with: str | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What calbus has still to do for the person."""

    standing: int
    """Entries that stand, or may stand, in the calendar."""
    due: int
    replans: int
    untold: int

    @property
    def settled(self) -> bool:
        """Whether all that was to be planned and published of the person was."""
        return not self.replans and not self.untold


@dataclass(frozen=True, slots=True)
class Traces:
    """By what else than the user's id the person can be found."""

    lanes: tuple[str, ...]
    """Digests of mailboxes, but for those that others name too."""
    addresses: tuple[str, ...]


async def account_of(connection: Connection, person: Person) -> Account:
    """How the account is set."""
    row = await connection.fetchrow(_ACCOUNT, person.tenant, person.user)
    return Account(row["revision"], row["is_set"], row["allowed"], row["entries"]) if row else Account()


async def work_for(connection: Connection, person: Person) -> Work:
    """What is still to be done."""
    row = await connection.fetchrow(_WORK, person.tenant, person.user)
    assert row is not None
    return Work(**row)


async def traces_of(connection: Connection, person: Person) -> Traces:
    """What to look for, as long as it can still be told."""
    rows = await connection.fetch(_PLACES, person.tenant, person.user)
    places = [Place(row["directory"] or "", row["mailbox"]) for row in rows if row["mailbox"]]
    lanes = {place.lane: place.mailbox.lower() for place in places}
    kept = await connection.fetch(
        _LANES_OF_OTHERS, person.tenant, person.user, list(lanes), [lanes[lane] for lane in lanes]
    )
    mine = set(lanes) - {row["lane"] for row in kept}
    return Traces(tuple(sorted(mine)), tuple(sorted(set(lanes.values()))))


async def stop_pulling(connection: Connection, person: Person, traces: Traces, now: datetime) -> int:
    """Forget what was seen of the calendars, and want no subscription to them; gives how many events were known.

    Needs a transaction of the caller's. Whoever has the mailbox in hand finds that it is gone, and writes nothing.
    """
    seen = await connection.fetchval(
        "SELECT count(*) FROM pulled_event JOIN calendar_pull USING (pull_id) WHERE tenant = $1 AND username = $2",
        person.tenant,
        person.user,
    )
    await connection.execute(
        "DELETE FROM calendar_pull WHERE tenant = $1 AND username = $2", person.tenant, person.user
    )
    await connection.execute(_UNWANTED, list(traces.lanes), now)
    return int(seen)


async def erase(connection: Connection, person: Person, traces: Traces, pseudonym: str) -> dict[str, int]:
    """Take all of the person out, in the caller's transaction; gives how many rows of what.

    Where they own items, `pseudonym` stands in for them. Raises StillLinkedError.
    """
    who = (person.tenant, person.user)
    counts: dict[str, int] = {}
    await connection.execute("DELETE FROM settlement WHERE tenant = $1 AND assignee = $2", *who)
    await connection.execute(
        "UPDATE settlement SET kept = array_remove(kept, $2) WHERE tenant = $1 AND $2 = ANY (kept)", *who
    )
    await lock_out_planning(connection, person.tenant)
    if (await account_of(connection, person)).is_set:
        raise StillLinkedError
    # Whoever is about to add a status holds the settings first, then entries: so they come after this.
    counts["account settings"] = await _deleted(connection, _SETTING, who)
    items = await connection.fetch(_ITEMS, *who, pseudonym)
    counts["items that named them"] = len(items)
    if any(row["owned"] for row in items):
        await connection.execute(_REPLAN_OWNED, person.tenant, pseudonym)
    await connection.execute("SELECT FROM account_status WHERE tenant = $1 AND assignee = $2 FOR UPDATE", *who)
    counts["calendars"] = await _deleted(
        connection, "DELETE FROM calendar_pull WHERE tenant = $1 AND username = $2", who
    )
    await connection.execute(_LOCK_ENTRIES, *who, list(traces.addresses))
    counts["rights to colleagues' calendars"] = await _deleted(connection, _GRANTS, (*who, list(traces.addresses)))
    for name, query in _OF_PERSON.items():
        counts[name] = await _deleted(connection, query, who)
    for name, query in _OF_LANES.items():
        counts[name] = await _deleted(connection, query, (list(traces.lanes),))
    counts["mailbox leases"] = await forget_lanes(connection, traces.lanes)
    return counts


async def _deleted(connection: Connection, query: str, arguments: Iterable[object]) -> int:
    return int((await connection.execute(query, *arguments)).rpartition(" ")[2])
