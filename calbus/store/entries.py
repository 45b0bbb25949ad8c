"""The entry table: what is desired (ingest writes it) and what is applied (writers do), set-based throughout."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from calbus.entry import Applied, Desired, Entry, Intent, ItemKey, Place, target_of
from calbus.recurrence import StandingSeries
from calbus.store.connection import Connection
from calbus.store.parameters import columns, seconds
from calbus.values import value
from schemas.items import Kind
from schemas.reasons import Reason

_COLUMNS = """
    e.entry_id, e.tenant, e.source, e.kind, e.id, e.assignee,
    e.revision, e.plan, e.intent, e.reason, e.directory, e.mailbox, e.content, e.content_hash,
    e.applied_plan, e.applied_directory, e.applied_mailbox, e.applied_hash, e.event_id, e.etag, e.generation,
    e.in_doubt, e.owed, e.since, e.calendar, e.assigner, e.notice, e.applied_calendar, e.applied_grant,
    e.parked_at IS NOT NULL AS parked, e.master_hash, e.standing_series, e.left_behind
"""

# Planning compares contents by their hash.
_LOCK_OF_ITEMS = f"""
SELECT {_COLUMNS.replace("e.content,", "NULL::jsonb AS content,")} FROM entry e
JOIN unnest(
    string_to_array($1, '/'), string_to_array($2, '/'), string_to_array($3, '/'), string_to_array($4, '/')
) AS k (tenant, source, kind, id)
  ON e.tenant = k.tenant AND e.source = k.source AND e.kind = k.kind AND e.id = k.id
ORDER BY e.entry_id
FOR UPDATE OF e
"""  # noqa: S608

_LOOK = f"""
SELECT {_COLUMNS} FROM entry e WHERE e.entry_id = ANY ($1::uuid[]) ORDER BY e.entry_id FOR UPDATE
"""  # noqa: S608
_LOOK_AT_FREE = f"{_LOOK.rstrip()} SKIP LOCKED"

# Two conditions, each with an index of its own.
_BY_EVENT = f"""
SELECT {_COLUMNS}, e.applied_at FROM entry e WHERE e.applied_directory = $1 AND e.event_id = ANY ($2::text[])
UNION ALL
SELECT {_COLUMNS}, e.applied_at FROM entry e
WHERE e.entry_id = ANY ($3::uuid[])
  AND NOT coalesce(e.applied_directory = $1 AND e.event_id = ANY ($2::text[]), false)
"""  # noqa: S608

# An occurrence that the user moved or cancelled is had back only by writing the series anew.
STALE_SERIES = StandingSeries(frame="", cancelled=(), moved=(), created=False, stale=True)
_ENDS_TOUCH = "entry.touched IS NOT NULL AND excluded.revision > entry.revision AND excluded.intent <> 'hold'"

_PUT_DESIRED = f"""
INSERT INTO entry (entry_id, tenant, source, kind, id, assignee, revision, plan, intent, reason, directory, mailbox,
                   content, content_hash, owed, due_at, published_at, since, calendar, assigner, notice, correlation)
SELECT entry_id, tenant, source, kind, id, assignee, revision, plan, intent, reason, directory, mailbox,
       content, content_hash, owed, to_timestamp(due_s), to_timestamp(published_s), to_timestamp(since_s), calendar,
       assigner, notice, correlation
FROM unnest($1::entry_desired[]) ORDER BY 1
ON CONFLICT (entry_id) DO UPDATE SET
    revision = excluded.revision, plan = excluded.plan, intent = excluded.intent, reason = excluded.reason,
    directory = excluded.directory, mailbox = excluded.mailbox, content = excluded.content,
    content_hash = excluded.content_hash, owed = excluded.owed, due_at = excluded.due_at,
    published_at = excluded.published_at, since = excluded.since, calendar = excluded.calendar,
    assigner = excluded.assigner, notice = excluded.notice,
    -- A changed setting plans anew what the same event asked for.
    correlation = coalesce(excluded.correlation, entry.correlation), refusal = NULL, attempts = 0, last_error = NULL,
    changed_at = now(),
    -- What its user changed stood until now: what stands there is not what was applied, even if the plan is the same.
    applied_hash = CASE WHEN {_ENDS_TOUCH} THEN NULL ELSE entry.applied_hash END,
    master_hash = CASE WHEN {_ENDS_TOUCH} THEN NULL ELSE entry.master_hash END,
    etag = CASE WHEN {_ENDS_TOUCH} THEN NULL ELSE entry.etag END,
    standing_series = CASE WHEN {_ENDS_TOUCH} AND entry.touched = 'series' THEN '{STALE_SERIES.to_json()}'
                           ELSE entry.standing_series END,
    touched = CASE WHEN {_ENDS_TOUCH} THEN NULL ELSE entry.touched END
"""  # noqa: S608

# A write leaves its trace before it happens: whoever finds `in_doubt` later asks the calendar first, and whoever finds
# no hash believes nothing of what stands there. The row is given as it was before the mark, so that the one who set it
# knows that nothing was sent yet. Entries of many tenants are loaded together: a row that somebody else holds is passed
# over, and waits for nobody but itself.
_LOAD_FOR_WORK = f"""
WITH locked AS (
    SELECT e.* FROM entry e WHERE e.entry_id = ANY ($1::uuid[]) ORDER BY e.entry_id FOR UPDATE SKIP LOCKED
), marked AS (
    UPDATE entry e
    SET in_doubt = l.event_id IS NULL, applied_hash = NULL, master_hash = NULL, write_version = e.write_version + 1,
        doubted_at = CASE WHEN l.event_id IS NULL THEN now() END,
        applied_directory = CASE WHEN l.event_id IS NULL THEN l.directory ELSE l.applied_directory END,
        applied_mailbox = CASE WHEN l.event_id IS NULL THEN l.mailbox ELSE l.applied_mailbox END,
        applied_calendar = CASE WHEN l.event_id IS NULL THEN l.calendar ELSE l.applied_calendar END
    FROM locked l
    WHERE e.entry_id = l.entry_id AND CASE
        WHEN l.parked_at IS NOT NULL THEN false
        -- In doubt already, it may be created again, and from now on that create may be the one in doubt.
        WHEN l.in_doubt THEN
            l.intent = 'present' AND (l.applied_directory, l.applied_mailbox, coalesce(l.applied_calendar, ''))
                                   = (l.directory, l.mailbox, coalesce(l.calendar, ''))
        WHEN l.event_id IS NULL THEN l.intent = 'present'
        WHEN coalesce(l.applied_hash, l.master_hash) IS NULL OR l.intent = 'hold' THEN false
        ELSE (l.intent, l.applied_directory, l.applied_mailbox, l.applied_calendar,
              coalesce(l.applied_hash, l.master_hash))
             IS DISTINCT FROM ('present', l.directory, l.mailbox, l.calendar, l.content_hash)
    END
    RETURNING e.entry_id, e.write_version
)
SELECT {_COLUMNS}, coalesce(m.write_version, e.write_version) AS write_version, e.attempts, e.published_at,
    e.doubted_at, e.refusal, e.access_asked_at, e.correlation
FROM locked e LEFT JOIN marked m USING (entry_id)
"""  # noqa: S608

_RECORD = """
WITH results AS (
    SELECT * FROM unnest($1::entry_result[])
), locked AS (
    SELECT e.entry_id FROM entry e WHERE e.entry_id = ANY (ARRAY(SELECT entry_id FROM results))
    ORDER BY e.entry_id FOR UPDATE SKIP LOCKED
)
UPDATE entry e SET
    applied_plan = CASE WHEN r.settled THEN r.plan ELSE e.applied_plan END,
    -- A create that was marked and not sent leaves the place that the mark named: somebody can still be woken there.
    applied_directory = coalesce(r.directory, e.applied_directory),
    applied_mailbox = coalesce(r.mailbox, e.applied_mailbox),
    applied_calendar = CASE WHEN r.mailbox IS NULL THEN e.applied_calendar ELSE r.calendar END,
    applied_hash = r.hash, event_id = r.event_id, applied_grant = r.applied_grant,
    master_hash = r.master_hash, standing_series = r.standing_series, left_behind = r.left_behind,
    applied_at = CASE WHEN r.settled THEN now() ELSE e.applied_at END,
    etag = r.etag, generation = r.generation, in_doubt = r.in_doubt, write_version = e.write_version + 1,
    attempts = CASE WHEN e.plan = r.plan THEN r.attempts ELSE e.attempts END,
    last_error = CASE WHEN e.plan = r.plan THEN r.last_error ELSE e.last_error END,
    refusal = CASE WHEN e.plan = r.plan THEN r.refusal ELSE e.refusal END,
    owed = e.owed AND NOT (r.settled AND e.plan = r.plan),
    -- A plan made while this work was under way is still to be done, unless it waits for a confirmation. What was found
    -- before somebody asked for another look is looked at anew, if it is not what was hoped for.
    due_at = CASE
        WHEN e.parked_at IS NOT NULL THEN NULL
        WHEN e.plan <> r.plan THEN now()
        WHEN r.due_at IS NOT NULL AND e.access_asked_at IS DISTINCT FROM r.access_asked_at THEN now()
        ELSE r.due_at
    END
FROM results r JOIN locked l USING (entry_id)
WHERE e.entry_id = r.entry_id AND e.write_version = r.write_version
RETURNING e.entry_id, e.plan, e.plan = r.plan AS current
"""

# What is not held is locked from now on, so that nothing else that is done with it has to wait.
_HELD = """
WITH free AS (
    SELECT e.entry_id FROM entry e WHERE e.entry_id = ANY ($1::uuid[]) ORDER BY e.entry_id FOR UPDATE SKIP LOCKED
)
SELECT e.entry_id FROM entry e JOIN unnest($1::uuid[], $2::bigint[]) AS r (entry_id, write_version) USING (entry_id)
LEFT JOIN free f USING (entry_id) WHERE f.entry_id IS NULL OR e.write_version = r.write_version
"""

# What an overtaken writer wrote all the same: somebody must look at what stands there now.
_DISTURB = """
WITH locked AS (
    SELECT e.entry_id FROM entry e WHERE e.entry_id = ANY ($1::uuid[]) ORDER BY e.entry_id FOR UPDATE
)
UPDATE entry e SET
    applied_hash = NULL, master_hash = NULL, etag = NULL, in_doubt = e.in_doubt OR e.event_id IS NULL,
    applied_directory = CASE WHEN e.event_id IS NULL AND NOT e.in_doubt THEN d.directory ELSE e.applied_directory END,
    applied_mailbox = CASE WHEN e.event_id IS NULL AND NOT e.in_doubt THEN d.mailbox ELSE e.applied_mailbox END,
    applied_calendar = CASE WHEN e.event_id IS NULL AND NOT e.in_doubt THEN d.calendar ELSE e.applied_calendar END,
    doubted_at = now(), write_version = e.write_version + 1,
    due_at = CASE WHEN e.parked_at IS NULL THEN now() END
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS d (entry_id, directory, mailbox, calendar)
JOIN locked USING (entry_id)
WHERE e.entry_id = d.entry_id
"""

# What ended the plan no longer holds: the entry is planned once more as it was, and owes an outcome again. Only a
# refused plan that is still the newest; a plan that ingest made meanwhile needs no help.
_REOPEN = """
WITH locked AS (
    SELECT e.entry_id FROM entry e WHERE e.entry_id = ANY ($1::uuid[]) ORDER BY e.entry_id FOR UPDATE
)
UPDATE entry e SET plan = e.plan + 1, owed = true, refusal = NULL, attempts = 0, last_error = NULL, due_at = now(),
                   changed_at = now()
FROM unnest($1::uuid[], $2::bigint[]) AS r (entry_id, plan) JOIN locked USING (entry_id)
WHERE e.entry_id = r.entry_id AND e.plan = r.plan AND e.refusal IS NOT NULL AND NOT e.owed
RETURNING e.entry_id
"""

# Also those that wait because the check itself is forbidden, and those that are being checked at this moment: what they
# find may be what was so before.
_ASK_ACCESS = """
WITH locked AS (
    SELECT e.entry_id FROM entry e
    WHERE e.tenant = $1 AND ($2::text IS NULL OR e.assignee = $2)
      AND (e.refusal IS NOT NULL OR (e.due_at IS NOT NULL AND e.owed AND e.assigner IS NOT NULL))
      AND ($3::text IS NULL OR EXISTS (
        SELECT FROM item i
        WHERE (i.tenant, i.source, i.kind, i.id) = (e.tenant, e.source, e.kind, e.id) AND i.owner = $3
      ))
    ORDER BY e.entry_id FOR UPDATE OF e
)
UPDATE entry e SET access_asked_at = now(), due_at = CASE
    -- What waits or rests for something else goes on doing so, and is checked as it was asked for when it is tried.
    WHEN e.refusal IS NOT NULL OR e.last_error = 'access_check_forbidden' THEN now() ELSE e.due_at END
FROM locked l WHERE e.entry_id = l.entry_id
"""

_LOOK_AT = f"""
SELECT {_COLUMNS}, e.attempts, e.last_error, e.refusal, nullif(e.due_at, 'infinity') AS due_at, e.applied_at
FROM entry e
WHERE e.tenant = $1 AND e.source = $2 AND e.kind = $3 AND e.id = $4
"""  # noqa: S608

_LOOK_AT_ALL = f"""
SELECT {_COLUMNS}, e.attempts, e.last_error, e.refusal, nullif(e.due_at, 'infinity') AS due_at, e.applied_at
FROM entry e
JOIN unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS k (tenant, source, kind, id)
  ON e.tenant = k.tenant AND e.source = k.source AND e.kind = k.kind AND e.id = k.id
"""  # noqa: S608

_POSTPONE = """
WITH locked AS (
    SELECT entry_id FROM entry WHERE entry_id = ANY ($1::uuid[]) AND due_at < 'infinity' ORDER BY entry_id
    FOR UPDATE SKIP LOCKED
)
UPDATE entry e SET due_at = p.until
FROM unnest($1::uuid[], $2::timestamptz[]) AS p (entry_id, until) JOIN locked USING (entry_id)
WHERE e.entry_id = p.entry_id
"""

# As an array the chosen are found once; a subquery in a join may be run for each row, and each time choose others.
_SWEEP = """
UPDATE entry e SET due_at = $2 WHERE entry_id = ANY (ARRAY (
    SELECT entry_id FROM entry WHERE due_at <= $1 ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
))
RETURNING e.entry_id, e.tenant, e.directory, e.mailbox, e.applied_directory, e.applied_mailbox, e.event_id,
          e.in_doubt
"""

_DUE_OF = """
SELECT e.entry_id, e.tenant, e.directory, e.mailbox, e.applied_directory, e.applied_mailbox, e.event_id, e.in_doubt
FROM entry e WHERE e.entry_id = ANY ($1::uuid[])
"""

# Each part has an index of its own. What stands parked owes its outcome too.
_COUNT_OPEN = """
SELECT d.due, d.waiting, d.resting, d.oldest_s,
       (SELECT count(*) FROM entry WHERE parked_at IS NOT NULL AND owed) AS parked,
       (SELECT count(*) FROM entry WHERE owed AND due_at IS NULL AND parked_at IS NULL) AS stranded
FROM (
    SELECT count(*) FILTER (WHERE due_at <= now()) AS due,
           count(*) FILTER (WHERE due_at > now() AND due_at < 'infinity') AS waiting,
           count(*) FILTER (WHERE due_at = 'infinity') AS resting,
           coalesce(extract(epoch FROM now() - min(changed_at) FILTER (WHERE due_at < 'infinity')), 0)::float
             AS oldest_s
    FROM entry WHERE due_at IS NOT NULL AND owed
) d
"""


@value
class Planned:
    """An entry as ingest leaves it: with its new desired state, and when it is due if a writer has work."""

    entry: Entry
    due_at: datetime | None
    published_at: datetime | None
    correlation: str | None = None
    """Of the event that is the cause; None if it is not an event of the item."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An entry in a writer's hands. `write_version` must still stand when the result is recorded."""

    entry: Entry
    write_version: int
    attempts: int
    published_at: datetime | None
    doubted_at: datetime | None
    """When a create was last about to be sent whose fate is not known."""
    refusal: Reason | None = None
    """Why a writer refused the newest plan; None if none did."""
    access_asked_at: datetime | None = None
    """What was read before about who may edit the calendar does not count."""
    correlation: str | None = None
    """Of the event that asked for what is desired."""


@dataclass(frozen=True, slots=True)
class Look:
    """An entry as somebody finds it who only looks. `settled_at`: when a writer last had nothing left to do."""

    entry: Entry
    attempts: int
    last_error: Reason | None
    refusal: Reason | None
    due_at: datetime | None
    settled_at: datetime | None


@dataclass(slots=True)
class Result:
    """What a writer found or did. `settled`: nothing is left to do for the plan that was loaded."""

    entry_id: UUID
    write_version: int
    plan: int
    applied: Applied
    settled: bool
    attempts: int
    last_error: Reason | None
    due_at: datetime | None
    refusal: Reason | None = None
    access_asked_at: datetime | None = None
    """As it was loaded: asked for again meanwhile, what is not done yet is due at once."""


@value
class Due:
    """An entry that a writer should look at, and where."""

    entry_id: UUID
    tenant: str
    target: Place | None
    trace: str | None = None
    """Of the event that is the cause, if that is traced."""


@dataclass(frozen=True, slots=True)
class Open:
    """Entries that owe an outcome, by state, and for how long the oldest has that neither rests nor is parked."""

    by_state: dict[str, int]
    oldest_s: float


async def lock_of_items(connection: Connection, keys: Iterable[ItemKey]) -> list[Entry]:
    """All entries of these items, locked until the transaction ends; of what is planned only the hash."""
    wanted = list(keys)
    return [_entry(row) for row in await connection.fetch(_LOCK_OF_ITEMS, *columns(wanted))] if wanted else []


async def look(connection: Connection, entry_ids: list[UUID]) -> list[Entry]:
    """These entries as they are, locked until the transaction ends and marked in no way."""
    return [_entry(row) for row in await connection.fetch(_LOOK, entry_ids)]


async def look_at_free(connection: Connection, entry_ids: list[UUID]) -> list[Entry]:
    """The same, without those that somebody else has locked."""
    return [_entry(row) for row in await connection.fetch(_LOOK_AT_FREE, entry_ids)]


async def by_event(
    connection: Connection, directory: str, event_ids: Sequence[str], entry_ids: Iterable[UUID]
) -> list[tuple[Entry, datetime | None]]:
    """The entries that stand in a directory's calendars as one of these events, and those of these ids.

    With each, when a writer last settled a plan of it.
    """
    rows = await connection.fetch(_BY_EVENT, directory, list(event_ids), list(entry_ids))
    return [(_entry(row), row["applied_at"]) for row in rows]


async def put_desired(connection: Connection, planned: list[Planned]) -> None:
    """Store new desired states; what is applied is left as it is."""
    if planned:
        await connection.execute(_PUT_DESIRED, [_desired_row(plan) for plan in planned])


async def load_for_work(connection: Connection, entry_ids: list[UUID]) -> list[Loaded]:
    """The entries as they were, in no order; each that is about to be created is marked `in_doubt` durably.

    Entries that do not exist are left out, and so are those that somebody else has locked: `locked_of` tells which.
    """
    rows = await connection.fetch(_LOAD_FOR_WORK, entry_ids)
    return [
        Loaded(
            _entry(row),
            row["write_version"],
            row["attempts"],
            row["published_at"],
            row["doubted_at"],
            Reason(row["refusal"]) if row["refusal"] is not None else None,
            row["access_asked_at"],
            row["correlation"],
        )
        for row in rows
    ]


async def locked_of(connection: Connection, left_out: list[UUID]) -> set[UUID]:
    """Those of the entries that `load_for_work` left out although they exist."""
    rows = await connection.fetch("SELECT entry_id FROM entry WHERE entry_id = ANY ($1::uuid[])", left_out)
    return {row["entry_id"] for row in rows}


async def record(connection: Connection, results: list[Result]) -> dict[UUID, bool]:
    """Store what was applied; gives, for each result that still counted, whether its plan is the newest.

    A result is left out when another writer recorded meanwhile: what it says may be out of date. So is one whose entry
    somebody else has locked: `held_of` tells which.
    """
    recorded = await connection.fetch(_RECORD, [_result_row(result) for result in results])
    return {row["entry_id"]: row["current"] for row in recorded}


async def held_of(connection: Connection, left_out: list[tuple[UUID, int]]) -> set[UUID]:
    """Those of the entries that `record` left out although they may still count, each with the version that was loaded.

    The others, which were overtaken, are locked until the transaction ends.
    """
    rows = await connection.fetch(_HELD, [entry_id for entry_id, _ in left_out], [version for _, version in left_out])
    return {row["entry_id"] for row in rows}


async def reopen(connection: Connection, refused: list[tuple[UUID, int]]) -> int:
    """Give entries whose refusal no longer holds, each with the plan that was refused, a new plan of the same.

    Gives how many have got one.
    """
    if not refused:
        return 0
    entry_ids, plans = [entry_id for entry_id, _ in refused], [plan for _, plan in refused]
    return len(await connection.fetch(_REOPEN, entry_ids, plans))


async def ask_access(pool: asyncpg.Pool, tenant: str, *, assignee: str | None, owner: str | None) -> None:
    """Have entries that were refused, or are not checked yet, looked at at once; what was read before is void.

    Those that are being checked at this moment are looked at once more if they are refused.

    None means any assignee, any owner.
    """
    await pool.execute(_ASK_ACCESS, tenant, assignee, owner)


async def disturb(connection: Connection, written: list[tuple[UUID, Place]]) -> None:
    """Note that a writer whose result no longer counts has written in these places: what is known of them is void."""
    if written:
        await connection.execute(
            _DISTURB,
            [entry_id for entry_id, _ in written],
            [place.directory for _, place in written],
            [place.mailbox for _, place in written],
            [place.calendar for _, place in written],
        )


async def postpone(pool: asyncpg.Pool, until: dict[UUID, datetime]) -> None:
    """Let the sweeper command each again at its time; those that rest, or have no work meanwhile, are left alone.

    One that somebody else has locked keeps the time at which it is due.
    """
    await pool.execute(_POSTPONE, list(until), list(until.values()))


async def sweep(pool: asyncpg.Pool, *, now: datetime, again_at: datetime, limit: int) -> list[Due]:
    """Up to `limit` entries that are due, oldest first; each is next due at `again_at`, if still unsettled then."""
    rows = await pool.fetch(_SWEEP, now, again_at, limit)
    return [Due(row["entry_id"], row["tenant"], _target(row)) for row in rows]


async def look_at(connection: Connection, item: ItemKey) -> list[Look]:
    """The entries of an item as they are; nothing is locked or marked."""
    rows = await connection.fetch(_LOOK_AT, item.tenant, item.source, item.kind.value, item.id)
    return [_look(row) for row in rows]


async def look_at_all(connection: Connection, keys: Iterable[ItemKey]) -> list[Look]:
    """The same for many items."""
    wanted = sorted(keys)
    rows = await connection.fetch(
        _LOOK_AT_ALL,
        [key.tenant for key in wanted],
        [key.source for key in wanted],
        [key.kind.value for key in wanted],
        [key.id for key in wanted],
    )
    return [_look(row) for row in rows]


def _look(row: asyncpg.Record) -> Look:
    return Look(
        _entry(row),
        row["attempts"],
        _reason(row["last_error"]),
        _reason(row["refusal"]),
        row["due_at"],
        row["applied_at"],
    )


def _reason(stored: str | None) -> Reason | None:
    return Reason(stored) if stored is not None else None


async def due_of(connection: Connection, entry_ids: list[UUID]) -> list[Due]:
    """Where a writer should look at these entries; those that do not exist are left out."""
    rows = await connection.fetch(_DUE_OF, entry_ids)
    return [Due(row["entry_id"], row["tenant"], _target(row)) for row in rows]


async def count_open(pool: asyncpg.Pool) -> Open:
    """How many entries still owe the outcome of their newest plan, by what they wait for."""
    row = await pool.fetchrow(_COUNT_OPEN)
    assert row is not None
    return Open({state: row[state] for state in ("due", "waiting", "resting", "parked", "stranded")}, row["oldest_s"])


_INTENTS = {intent.value: intent for intent in Intent}
_KINDS = {kind.value: kind for kind in Kind}
_REASONS = {reason.value: reason for reason in Reason}


def _entry(row: asyncpg.Record) -> Entry:
    """From a row that begins with `_COLUMNS`."""
    # By position and without calls of classes that only look up a value: this runs for whatever is worked on.
    (
        entry_id, tenant, source, kind, item_id, assignee,
        revision, plan, intent, reason, directory, mailbox, content, content_hash,
        applied_plan, applied_directory, applied_mailbox, applied_hash, event_id, etag, generation,
        in_doubt, owed, since, calendar, assigner, notice, applied_calendar, applied_grant,
        parked, master_hash, standing_series, left_behind, *_,
    ) = row.values()  # fmt: skip
    return Entry(
        entry_id,
        ItemKey(tenant, source, _KINDS[kind], item_id),
        assignee,
        Desired(
            revision,
            plan,
            _INTENTS[intent],
            _REASONS[reason],
            _place(directory, mailbox, calendar),
            content.encode() if content is not None else None,
            content_hash,
            assigner,
            notice,
        ),
        Applied(
            applied_plan,
            _place(applied_directory, applied_mailbox, applied_calendar),
            applied_hash,
            event_id,
            etag,
            generation,
            in_doubt,
            applied_grant,
            master_hash,
            StandingSeries.from_json(standing_series) if standing_series else None,
            left_behind,
        ),
        owed,
        since,
        parked,
    )


def _place(directory: str | None, mailbox: str | None, calendar: str | None = None) -> Place | None:
    return Place(directory, mailbox, calendar) if directory is not None and mailbox is not None else None


def _target(row: asyncpg.Record) -> Place | None:
    return target_of(
        _place(row["directory"], row["mailbox"]),
        _place(row["applied_directory"], row["applied_mailbox"]),
        may_exist=row["event_id"] is not None or row["in_doubt"],
    )


def _desired_row(planned: Planned) -> tuple[object, ...]:
    """An `entry_desired`, as migration 20 has it."""
    entry, desired = planned.entry, planned.entry.desired
    place = desired.place
    return (
        entry.entry_id,
        *entry.item,
        entry.assignee,
        desired.revision,
        desired.plan,
        desired.intent,
        desired.reason,
        place.directory if place is not None else None,
        place.mailbox if place is not None else None,
        desired.content.decode() if desired.content is not None else None,
        desired.content_hash,
        entry.owed,
        seconds(planned.due_at),
        seconds(planned.published_at),
        seconds(entry.since),
        place.calendar if place is not None else None,
        desired.assigner,
        desired.notice,
        planned.correlation,
    )


def _result_row(result: Result) -> tuple[object, ...]:
    """An `entry_result`, as migration 19 has it."""
    applied = result.applied
    place = applied.place
    return (
        result.entry_id,
        result.write_version,
        result.plan,
        place.directory if place is not None else None,
        place.mailbox if place is not None else None,
        place.calendar if place is not None else None,
        applied.content_hash,
        applied.event_id,
        applied.etag,
        applied.generation,
        applied.in_doubt,
        applied.grant,
        applied.master_hash,
        applied.series.to_json() if applied.series is not None else None,
        # Told with the outcome that this result decides.
        None if result.settled else applied.left_behind,
        result.settled,
        result.attempts,
        result.last_error,
        result.due_at,
        result.refusal,
        result.access_asked_at,
    )
