"""What follows from a user's change of an entry: restores, times that are kept, and what the next revision writes anew.

Every function runs in a transaction of the caller's. Entries are locked before anything of theirs here is.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from calbus.entry import Content, Entry, Intent, content_hash_of, frame_of
from calbus.overrides import Override, times_digest, with_override
from calbus.recurrence import StandingSeries
from calbus.store import entries
from calbus.store.connection import Connection
from calbus.touches import Times, Touch
from schemas.switches import Touched

# A user who changes an entry again and again means it: from then on it is only told, until an hour has passed.
RESTORES_MAX_PER_HOUR = 3
_HOUR = timedelta(hours=1)

_OVERRIDES = """
SELECT entry_id, day, starts, ends, upstream FROM override WHERE entry_id = ANY ($1::uuid[]) ORDER BY entry_id, day
"""

_PUT_OVERRIDES = """
INSERT INTO override (entry_id, day, starts, ends, upstream)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bytea[]) ORDER BY 1, 2
ON CONFLICT (entry_id, day) DO UPDATE SET
    starts = excluded.starts, ends = excluded.ends, upstream = excluded.upstream
"""

_END_OVERRIDES = "DELETE FROM override WHERE entry_id = ANY ($1::uuid[])"

# What stands is what is planned from now on: nothing needs to be written for that, and no outcome is owed. What a
# writer found before no longer counts, neither here nor for a restore.
_ADOPT = """
UPDATE entry e SET content = a.content, content_hash = a.hash, applied_hash = a.hash, standing_series = a.series,
                   write_version = e.write_version + 1
FROM unnest($1::uuid[], $2::jsonb[], $3::bytea[], $4::jsonb[]) AS a (entry_id, content, hash, series)
WHERE e.entry_id = a.entry_id
"""

_COUNT_RESTORES = """
INSERT INTO restore AS r (entry_id, since, restores)
SELECT entry_id, $2, 1 FROM unnest($1::uuid[]) AS entry_id ORDER BY 1
ON CONFLICT (entry_id) DO UPDATE SET
    since = CASE WHEN r.since <= $2 - $3::interval THEN excluded.since ELSE r.since END,
    restores = CASE WHEN r.since <= $2 - $3::interval THEN 1 ELSE r.restores + 1 END
RETURNING entry_id, restores
"""

# What rests because of its account stays at rest: it is written when the account works again.
_RESTORE = f"""
UPDATE entry e SET
    applied_hash = NULL, master_hash = NULL, etag = NULL, touched = NULL, attempts = 0, last_error = NULL,
    standing_series = CASE WHEN r.series THEN '{entries.STALE_SERIES.to_json()}' ELSE e.standing_series END,
    write_version = e.write_version + 1,
    due_at = CASE WHEN e.due_at = 'infinity' THEN e.due_at ELSE now() END
FROM unnest($1::uuid[], $2::boolean[]) AS r (entry_id, series)
WHERE e.entry_id = r.entry_id
"""  # noqa: S608

_REMEMBER = """
UPDATE entry e SET touched = CASE WHEN t.series OR e.touched = 'series' THEN 'series' ELSE 'entry' END
FROM unnest($1::uuid[], $2::boolean[]) AS t (entry_id, series)
WHERE e.entry_id = t.entry_id
"""


@dataclass(frozen=True, slots=True)
class Followed:
    """What came of touches. `due`: entries to be written again, for which writers may be woken once this commits.

    `given_up`: entries that are not restored, since they were so often already.
    """

    due: tuple[UUID, ...] = ()
    given_up: tuple[UUID, ...] = ()


async def apply_touches(connection: Connection, touches: Sequence[Touch], now: datetime) -> Followed:
    """Do what the tenant's policy says about each, in the caller's transaction.

    `restore`: what is known of the entry is void, so that the writer writes what is planned, up to
    `RESTORES_MAX_PER_HOUR` times. `accept`: the user's times are the planned ones, now and at later revisions, as long
    as upstream does not change its own. Whatever else was touched is written anew by the item's next revision and by
    nothing else, even if that revision says the same.
    """
    by_entry: dict[UUID, list[Touch]] = defaultdict(list)
    for touch in touches:
        by_entry[touch.entry_id].append(touch)
    if not by_entry:
        return Followed()
    locked = {entry.entry_id: entry for entry in await entries.look(connection, sorted(by_entry))}
    restored, given_up = await _restore(connection, locked, by_entry, now)
    accepted = await _accept(connection, locked, by_entry)
    left = {
        entry_id: any(touch.occurrence for touch in of if touch not in accepted)
        for entry_id, of in by_entry.items()
        if entry_id not in restored and any(touch not in accepted for touch in of)
    }
    await connection.execute(_REMEMBER, list(left), list(left.values()))
    return Followed(tuple(restored), tuple(given_up))


async def _restore(
    connection: Connection, locked: dict[UUID, Entry], by_entry: dict[UUID, list[Touch]], now: datetime
) -> tuple[list[UUID], list[UUID]]:
    wanted = [
        entry_id
        for entry_id, of in by_entry.items()
        if any(touch.policy is Touched.RESTORE for touch in of) and _is_kept_up(locked.get(entry_id))
    ]
    if not wanted:
        return [], []
    counted = await connection.fetch(_COUNT_RESTORES, wanted, now, _HOUR)
    restored = [row["entry_id"] for row in counted if row["restores"] <= RESTORES_MAX_PER_HOUR]
    series = [any(touch.occurrence for touch in by_entry[entry_id]) for entry_id in restored]
    await connection.execute(_RESTORE, restored, series)
    return restored, [row["entry_id"] for row in counted if row["restores"] > RESTORES_MAX_PER_HOUR]


def _is_kept_up(entry: Entry | None) -> bool:
    """Whether the writer sees to it that the entry stands."""
    return entry is not None and entry.desired.intent is Intent.PRESENT and entry.applied.event_id is not None


async def _accept(connection: Connection, locked: dict[UUID, Entry], by_entry: dict[UUID, list[Touch]]) -> set[Touch]:
    """Keep the user's times, and removals of occurrences.

    Gives the touches of which nothing is left to be written at the next revision.
    """
    offered = {
        entry_id: [touch for touch in of if touch.policy is Touched.ACCEPT and _may_be_kept(touch)]
        for entry_id, of in by_entry.items()
    }
    wanted = [entry_id for entry_id, of in offered.items() if of and _is_settled(locked.get(entry_id))]
    known = await overrides_of(connection, wanted)
    done: set[Touch] = set()
    overrides: list[Override] = []
    adopted: list[tuple[UUID, Content, StandingSeries | None]] = []
    for entry_id in wanted:
        entry = locked[entry_id]
        assert entry.desired.content is not None
        before = after = Content.from_json(entry.desired.content)
        of_entry = known.get(entry_id, ())
        # With times of the user's in it already, the content no longer shows upstream's own.
        upstream = of_entry[0].upstream if of_entry else times_digest(before)
        for touch in offered[entry_id]:
            kept = with_override(after, touch.day, touch.moved_to) if touch.day or not touch.occurrence else None
            if kept is not None:
                after = kept
                overrides.append(Override(entry_id, touch.day, touch.moved_to, upstream))
                if not touch.edited:
                    done.add(touch)
        if after is not before:
            adopted.append((entry_id, after, _standing(entry, after)))
    await _put_overrides(connection, overrides)
    await _adopt(connection, adopted)
    return done


def _may_be_kept(touch: Touch) -> bool:
    """New times, and the removal of an occurrence; an entry that was removed as a whole is not planned away."""
    return touch.moved_to is not None or (touch.removed and touch.occurrence and touch.day is not None)


def _is_settled(entry: Entry | None) -> bool:
    """Whether what was planned stands, but for what the user did. A newer plan wins: it may have other times."""
    return _is_kept_up(entry) and entry is not None and entry.applied.content_hash == entry.desired.content_hash


def _standing(entry: Entry, content: Content) -> StandingSeries | None:
    """What deviates in the calendar, now that the user's own exceptions are planned ones."""
    recurrence = content.recurrence
    if recurrence is None or not (recurrence.cancelled or recurrence.moved):
        return None
    before = entry.applied.series
    return StandingSeries(
        frame=frame_of(content),
        cancelled=recurrence.cancelled,
        moved=tuple(move.day for move in recurrence.moved),
        created=False,
        done=len(recurrence.cancelled) + len(recurrence.moved),
        stale=before is not None and before.stale,
    )


async def _put_overrides(connection: Connection, overrides: Iterable[Override]) -> None:
    # Of one occurrence the last counts.
    last = {(one.entry_id, _stored_day(one.day)): one for one in overrides}
    if last:
        await connection.execute(
            _PUT_OVERRIDES,
            [entry_id for entry_id, _ in last],
            [day for _, day in last],
            [one.times.start.isoformat() if one.times else None for one in last.values()],
            [one.times.end.isoformat() if one.times else None for one in last.values()],
            [one.upstream for one in last.values()],
        )


async def _adopt(connection: Connection, adopted: list[tuple[UUID, Content, StandingSeries | None]]) -> None:
    if adopted:
        contents = [content.to_json() for _, content, _ in adopted]
        await connection.execute(
            _ADOPT,
            [entry_id for entry_id, _, _ in adopted],
            [content.decode() for content in contents],
            [content_hash_of(content) for content in contents],
            [series.to_json() if series is not None else None for _, _, series in adopted],
        )


async def overrides_of(connection: Connection, entry_ids: list[UUID]) -> dict[UUID, tuple[Override, ...]]:
    """The times of their users' that these entries keep; entries without any are left out."""
    found: dict[UUID, tuple[Override, ...]] = {}
    for row in await connection.fetch(_OVERRIDES, entry_ids):
        day = date.fromisoformat(row["day"]) if row["day"] else None
        times = Times(_moment(row["starts"]), _moment(row["ends"])) if row["starts"] else None
        override = Override(row["entry_id"], day, times, row["upstream"])
        found[override.entry_id] = (*found.get(override.entry_id, ()), override)
    return found


async def end_overrides(connection: Connection, entry_ids: Iterable[UUID]) -> None:
    """Forget the users' times of these entries: upstream has changed its own."""
    if ended := list(entry_ids):
        await connection.execute(_END_OVERRIDES, ended)


def _stored_day(day: date | None) -> str:
    return day.isoformat() if day is not None else ""


def _moment(stored: str) -> datetime | date:
    return datetime.fromisoformat(stored) if "T" in stored else date.fromisoformat(stored)
