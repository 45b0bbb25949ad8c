"""What a page or a read showed, judged and made durable: loads what was known, classifies, stores what follows.

One transaction of the caller's holds all of it: how events are kept from now on, what is told, and what is to be done
about entries that were touched. So a repeated page finds its own traces and tells nothing again.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from calbus.entry import Entry
from calbus.store import outbox, pulls
from calbus.store.connection import Connection
from calbus.store.outbox import Message
from calbus.store.pulls import Kept, Known, Pull
from calbus.store.touched import apply_touches
from calbus.telemetry import log
from calbus.touches import Loss, Touch
from schemas.events import TYPE_NAMES
from services.puller.classify import (
    Gone,
    Ours,
    Removed,
    Verdict,
    View,
    Window,
    classify,
    created_by,
    event_id_of,
    lost,
)
from services.puller.pace import Pace
from services.puller.seen import MASTER, Seen, seen_of

# What changes while a round is under way may be shown by the next.
SEEN_LATE = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Shown:
    """An event as Graph showed it. `whole`: it was read by its id, so that more cannot be had."""

    event_id: str
    item: Mapping[str, Any]
    whole: bool = False


Sighting = Shown | Removed | Gone


@dataclass(slots=True)
class Judged:
    """What came of sightings: events told, by type, and what was found to be gone, among it series."""

    changes: Counter[str] = field(default_factory=Counter)
    gone_series: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Ground:
    """What is known while a batch of sightings is judged."""

    known: dict[str, Known]
    before: dict[str, Seen]
    standing: dict[str, tuple[Entry, datetime | None]]
    doubtful: list[Entry]
    asked_at: datetime
    lost: dict[str, tuple[Entry, Loss]]
    masters: dict[str, Seen] = field(default_factory=dict)


def view_of(pull: Pull) -> View:
    """Whose calendar it is, and what of it may be told."""
    assert pull.window_start is not None
    assert pull.window_end is not None
    return View(
        tenant=pull.tenant,
        user=pull.user,
        calendar=pull.calendar,
        publishes_appointments=pull.publishes,
        detail=pull.detail,
        touched=pull.touched,
        window=Window(pull.window_start, pull.window_end),
    )


def seen_before(known: Known) -> Seen | None:
    """How the event was last seen."""
    return Seen.from_json(known.seen) if known.seen is not None else None


async def judge(
    connection: Connection, pull: Pull, sightings: Sequence[Sighting], asked_at: datetime, pace: Pace, now: datetime
) -> Judged:
    """Judge sightings of one calendar, each event once, in the caller's transaction. `asked_at`: the database's time
    before the request left that they came with; what a writer recorded since may be newer than what they show.
    """
    judged = Judged()
    if not sightings:
        return judged
    ground = await _ground(connection, pull, sightings, asked_at)
    view = view_of(pull)
    batch = _Batch(pull, pace, judged)
    # A series is judged before its occurrences, which are told by it.
    for sighting in sorted(sightings, key=lambda one: not _is_master(one)):
        known = ground.known.get(sighting.event_id)
        item = _item(sighting, ground)
        if item is None:
            batch.keep_unclear(sighting, known)
        elif (verdict := _verdict(view, item, ground, now)) is not None:
            batch.add(item, verdict, known, _modified_at(sighting, pull))
        elif known is not None:
            # It stays as it was known, and is not read for ever.
            batch.kept.append(Kept(sighting.event_id, known.seen, known.entry_id))
    await pulls.put_events(connection, pull.pull_id, pull.round, batch.kept)
    await pulls.forget_events(connection, pull.pull_id, batch.forgotten)
    await pulls.forget_lost(
        connection, pull.place.directory, [one.event_id for one in sightings if _is_lost(one, ground)]
    )
    await outbox.add_messages(connection, batch.messages, now)
    followed = await apply_touches(connection, batch.touches, now)
    for entry_id in followed.given_up:
        log.info("an entry was restored so often that it is left to its user", entry_id=str(entry_id))
    return judged


@dataclass(slots=True)
class _Batch:
    """What is to be stored."""

    pull: Pull
    pace: Pace
    judged: Judged
    kept: list[Kept] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)

    def keep_unclear(self, sighting: Sighting, known: Known | None) -> None:
        """Too little was shown: it is read by its id, unless that is what showed so little."""
        whole = isinstance(sighting, Shown) and sighting.whole
        seen, entry_id = (known.seen, known.entry_id) if known is not None else (None, None)
        if not whole or seen is not None:
            self.kept.append(Kept(sighting.event_id, seen, entry_id, None if whole else 0.0))
        elif known is not None:
            self.forgotten.append(sighting.event_id)

    def add(
        self, item: Seen | Removed | Gone, verdict: Verdict, known: Known | None, modified_at: datetime | None
    ) -> None:
        """What follows from a verdict."""
        for change in verdict.events:
            self.judged.changes[TYPE_NAMES[type(change)]] += 1
            key = f"account/{self.pull.tenant}/{self.pull.user}"
            self.messages.append(Message(event_id_of(change, verdict.gone_key), key, change, modified_at))
        if verdict.touch is not None:
            self.touches.append(verdict.touch)
        if isinstance(item, Gone) and not verdict.later:
            self.judged.gone_series.add(item.event_id)
        keep = _kept(item.event_id, verdict, known, self.pace)
        if keep is not None:
            self.kept.append(keep)
        elif known is not None:
            self.forgotten.append(item.event_id)


async def _ground(connection: Connection, pull: Pull, sightings: Sequence[Sighting], asked_at: datetime) -> _Ground:
    ids = {one.event_id for one in sightings}
    ids |= {master for one in sightings if isinstance(one, Shown) and (master := _series_id(one.item))}
    known = await pulls.events(connection, pull.pull_id, sorted(ids))
    before = {event_id: seen for event_id, one in known.items() if (seen := seen_before(one)) is not None}
    if others := {seen.series_id for seen in before.values() if seen.series_id} - ids:
        known_masters = await pulls.events(connection, pull.pull_id, sorted(others))
        before |= {event_id: seen for event_id, one in known_masters.items() if (seen := seen_before(one)) is not None}
    standing, doubtful = await pulls.entries_of(connection, pull.place, sorted(ids | others))
    return _Ground(
        known=known,
        before=before,
        standing={entry.applied.event_id: (entry, at) for entry, at in standing if entry.applied.event_id is not None},
        doubtful=doubtful,
        asked_at=asked_at,
        lost=await pulls.lost(connection, pull.place.directory, sorted(ids)),
        masters={event_id: seen for event_id, seen in before.items() if seen.type == MASTER},
    )


def _item(sighting: Sighting, ground: _Ground) -> Seen | Removed | Gone | None:
    """What the decision is made of; None if too little of it was shown."""
    if not isinstance(sighting, Shown):
        return sighting
    try:
        seen = seen_of(sighting.item, ground.masters.get(_series_id(sighting.item) or ""))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # Not as Graph documents it. It is read by its id once, and left alone if that shows no more.
        log.warning("an event cannot be understood", error=type(error).__name__)
        return None
    if seen is not None and seen.type == MASTER:
        ground.masters[seen.event_id] = seen
    return seen


def _verdict(view: View, item: Seen | Removed | Gone, ground: _Ground, now: datetime) -> Verdict | None:
    """None if judging it breaks off: one event must not hold up its calendar."""
    before = ground.before.get(item.event_id)
    try:
        if not isinstance(item, Seen) and item.event_id in ground.lost:
            verdict = lost(view, item.event_id, before, *ground.lost[item.event_id])
        else:
            verdict = classify(view, item, before, _ours(item, before, ground), now)
    except Exception:  # noqa: BLE001
        log.exception("an event cannot be judged; it is passed over", tenant=view.tenant, user=view.user)
        return None
    if verdict.after is not None and verdict.after.type == MASTER and not isinstance(item, Seen):
        ground.masters[item.event_id] = verdict.after
    return verdict


def _is_lost(sighting: Sighting, ground: _Ground) -> bool:
    """Whether a writer found it removed, and nothing here says otherwise."""
    return not isinstance(sighting, Shown) and sighting.event_id in ground.lost


def _ours(item: Seen | Removed | Gone, before: Seen | None, ground: _Ground) -> Ours | None:
    """The entry that it is, or is an occurrence of."""
    shown = item if isinstance(item, Seen) else before
    series_id = shown.series_id if shown is not None else None
    master = ground.masters.get(series_id) if series_id is not None else None
    found = ground.standing.get(item.event_id) or (ground.standing.get(series_id) if series_id is not None else None)
    if found is None:
        # Its create was answered to nobody yet: only the event itself says whose it is.
        bearers = [one for one in (shown, master) if one is not None]
        created = (one for one in ground.doubtful if any(created_by(bearer, one) for bearer in bearers))
        entry = next(created, None)
        return Ours(entry, writing=True, master=master) if entry is not None else None
    entry, settled_at = found
    written_since = settled_at is not None and settled_at > ground.asked_at
    writing = entry.applied.content_hash is None or entry.applied.in_doubt or written_since
    return Ours(entry, writing=writing, master=master)


def _kept(event_id: str, verdict: Verdict, known: Known | None, pace: Pace) -> Kept | None:
    """How it is kept; None if nothing is."""
    if verdict.forget:
        return None
    after = verdict.after
    seen = after.to_json() if after is not None else known.seen if known is not None else None
    entry_id = after.entry_id if after is not None else known.entry_id if known is not None else None
    if verdict.read:
        return Kept(event_id, seen, entry_id, 0.0)
    if verdict.later:
        attempts = known.attempts if known is not None else 0
        return Kept(event_id, seen, entry_id, pace.later_again_s(attempts), attempts + 1)
    return Kept(event_id, seen, entry_id) if seen is not None else None


def _modified_at(sighting: Sighting, pull: Pull) -> datetime | None:
    """When Outlook says that what is shown came about; None if it does not, or if it was there to be pulled before.

    What a first pull finds, or comes into sight as the window moves, may have stood there for years.
    """
    if not isinstance(sighting, Shown) or pull.pulled_at is None:
        return None
    try:
        modified_at = datetime.fromisoformat(sighting.item["lastModifiedDateTime"])
    except (KeyError, TypeError, ValueError):
        return None
    if modified_at.tzinfo is None or modified_at < pull.pulled_at - SEEN_LATE:
        return None
    return modified_at


def _is_master(sighting: Sighting) -> bool:
    return isinstance(sighting, Shown) and sighting.item.get("type") == MASTER


def _series_id(item: Mapping[str, Any]) -> str | None:
    series_id = item.get("seriesMasterId")
    return series_id if isinstance(series_id, str) and series_id else None
