"""The classifying decision: what a calendar shows, and what was known before, give what to tell and what to keep.

Pure. An event is one of ours or the user's own. Of ours, what calbus wrote itself is an echo and never told: the event
bears the change key of our last write, or says what we wrote. What differs from how it was last seen, with nothing
written by us since, or from what we wrote, is the user's doing. Of the user's own it counts only whether what is told
of it has changed.
"""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID, uuid5

from calbus.entry import Content, Entry, Intent, transaction_id_of
from calbus.touches import Loss, Times, Touch
from schemas.changes import (
    CATEGORIES_MAX,
    AppointmentRemoved,
    AppointmentUpserted,
    EditedField,
    EntryEdited,
    EntryRemoved,
    EntryRescheduled,
    Shown,
)
from schemas.fields import EARLIEST_YEAR, LATEST_YEAR
from schemas.switches import Detail, Touched
from services.puller.ours import Look, day_of, edited, expected, expected_occurrence, moved
from services.puller.seen import EXCEPTION, MASTER, OCCURRENCE, SINGLE, Seen, change_key_of

Change = EntryRescheduled | EntryEdited | EntryRemoved | AppointmentUpserted | AppointmentRemoved

_NAMESPACE = UUID("0d0d6c2e-3f5b-5a53-9d1e-5a7c1f5f1b0a")
_TEXT_MAX_CHARS = 1_000
_SHOWN = frozenset(Shown)


@dataclass(frozen=True, slots=True)
class Removed:
    """Delta says that the event was removed. It may only be out of the window: nothing is believed of it yet.

    `series_gone`: it is an occurrence of a series that was found gone, and then nobody needs to ask.
    """

    event_id: str
    series_gone: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """The event was asked for and is not there; or it is an occurrence of a series that is not."""

    event_id: str


@dataclass(frozen=True, slots=True)
class Window:
    """The time that is looked at: instants in UTC, `end` exclusive."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class View:
    """Whose calendar is looked at, and what of it may be told."""

    tenant: str
    user: str
    calendar: str
    """Its name; empty for the default calendar."""
    publishes_appointments: bool
    """The user's own appointments are told, and therefore kept; without it only our entries are."""
    detail: Detail
    touched: Touched
    window: Window


@dataclass(frozen=True, slots=True)
class Ours:
    """The entry that the event is, or is an occurrence of, as it stood after the event was asked for.

    `writing`: a write is under way or its end unknown (no `applied_hash`, or in doubt); or one was recorded after the
    event was asked for, so that what was shown may be older. `master`: of an occurrence, its series as last seen.
    """

    entry: Entry
    writing: bool
    master: Seen | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows. `events` and `after` are to be stored in one transaction.

    `after`: how the event is kept from now on; None leaves what is kept, unless `forget` says that nothing is.
    `read`: ask for the event, and judge what is found (`Seen`) or is not (`Gone`).
    `later`: it cannot be told yet; ask for the event soon and judge anew.
    `gone_key`: of an event that is gone, the change key that it was last seen under; see `event_id_of`.
    """

    events: tuple[Change, ...] = ()
    after: Seen | None = None
    forget: bool = False
    read: bool = False
    later: bool = False
    touch: Touch | None = None
    gone_key: str = ""


_NOTHING = Verdict()


def event_id_of(change: Change, gone_key: str = "") -> str:
    """The CloudEvents id: the same for the same state of the same event in one calendar, whoever tells it and when.

    An event that is gone has no change key of its own: `gone_key` tells one removal from the next, if the event came
    back between the two. Told in full it is another state than told by its times only.
    """
    key = change.change_key or gone_key
    parts = [change.tenant, change.user, change.calendar, change.event_id, key, type(change).__name__]
    if isinstance(change, AppointmentUpserted):
        parts.append(change.detail)
    return str(uuid5(_NAMESPACE, "\0".join(parts)))


def created_by(seen: Seen, entry: Entry) -> bool:
    """Whether the event is what a create of this entry, whose end is not known, made of it."""
    ours = (str(transaction_id_of(entry.entry_id, number)) for number in range(entry.applied.generation + 1))
    return seen.transaction_id is not None and seen.transaction_id in ours


def classify(view: View, item: Seen | Removed | Gone, before: Seen | None, ours: Ours | None, now: datetime) -> Verdict:
    """Judge one event of a calendar, or what is left of it.

    `before` is the `after` of its last verdict. A series must be judged before its occurrences.
    """
    if isinstance(item, Removed) and item.series_gone:
        item = Gone(item.event_id)
    if ours is not None and ours.entry.item.tenant == view.tenant:
        if ours.entry.assignee != view.user:
            # An entry of another account with the same mailbox: told there, and nobody's own appointment.
            return Verdict(forget=before is not None)
        return _judge_ours(view, item, before, ours, now)
    if before is not None and before.entry_id is not None:
        return _judge_let_go(view, item, before, now)
    return _judge_foreign(view, item, before, now)


# --- The user's own ---


def _judge_foreign(view: View, item: Seen | Removed | Gone, before: Seen | None, now: datetime) -> Verdict:
    if not view.publishes_appointments:
        return Verdict(forget=before is not None)
    if isinstance(item, Removed):
        # Of what was never told nothing needs to be taken back: delta says so of all that is written out of sight.
        return Verdict(read=before is not None)
    told = before if before is not None and before.type != MASTER else None
    if isinstance(item, Gone) or (item.type != MASTER and not _in_sight(item, view.window)):
        if told is None:
            return Verdict(forget=before is not None)
        return Verdict((_appointment_removed(view, told, now),), forget=True, gone_key=told.change_key)
    after = _reduced(item, view.detail)
    if item.type == MASTER:
        # Its occurrences are the appointments; it is kept because delta tells them by it.
        if told is None:
            return Verdict(after=after)
        return Verdict((_appointment_removed(view, told, now),), after=after, gone_key=told.change_key)
    if not _is_tellable(after):
        if told is None:
            return Verdict(forget=before is not None)
        return Verdict((_appointment_removed(view, told, now),), forget=True, gone_key=told.change_key)
    if told is not None and _appointment(view, told) == _appointment(view, after):
        return Verdict(after=after)
    change = AppointmentUpserted(seen_at=now, change_key=after.change_key, **_appointment(view, after))
    return Verdict((change,), after=after)


def _in_sight(seen: Seen, window: Window) -> bool:
    begins, ends = _instant(seen.start), _instant(seen.end)
    return begins < window.end and (ends > window.start or begins == window.start)


def _instant(moment: datetime | date) -> datetime:
    return moment if isinstance(moment, datetime) else datetime.combine(moment, time(), UTC)


def _reduced(seen: Seen, detail: Detail) -> Seen:
    """What may be told of an appointment, and no more is kept of it."""
    seen = replace(seen, body_preview="", transaction_id=None, reminder_minutes=None, importance="normal")
    if seen.private or detail is Detail.FREE_BUSY:
        seen = replace(seen, subject="", place="", categories=())
    return seen


def _appointment(view: View, seen: Seen) -> dict[str, Any]:
    """What is told of an appointment, but for when and under which key it was seen."""
    full = view.detail is Detail.FULL and not seen.private
    return {
        **_where(view, seen.event_id),
        "series_id": seen.series_id,
        "start": seen.start,
        "end": seen.end,
        "all_day": seen.all_day,
        "shown_as": _shown(seen.shown_as),
        "private": seen.private,
        "detail": view.detail,
        "subject": _text(seen.subject) if full else None,
        "place": _text(seen.place) if full else None,
        "categories": _categories(seen) if full else None,
    }


def _appointment_removed(view: View, told: Seen, now: datetime) -> AppointmentRemoved:
    where = _where(view, told.event_id)
    return AppointmentRemoved(change_key="", seen_at=now, series_id=told.series_id, **where)


def _where(view: View, event_id: str) -> dict[str, Any]:
    return {"tenant": view.tenant, "user": view.user, "calendar": view.calendar, "event_id": event_id}


def _is_tellable(seen: Seen) -> bool:
    """Whether the contract has words for its times."""
    return all(EARLIEST_YEAR <= moment.year <= LATEST_YEAR for moment in (seen.start, seen.end))


def _shown(given: str) -> Shown:
    return Shown(given) if given in _SHOWN else Shown.UNKNOWN


def _text(given: str) -> str:
    return given[:_TEXT_MAX_CHARS]


def _categories(seen: Seen) -> tuple[str, ...]:
    return tuple(map(_text, seen.categories[:CATEGORIES_MAX]))


# --- Ours ---


def _judge_let_go(view: View, item: Seen | Removed | Gone, before: Seen, now: datetime) -> Verdict:
    """It was ours, and no entry knows it any more: the writer removed it, or found it removed and wrote another."""
    if not isinstance(item, Seen):
        return Verdict(forget=True)
    if not before.let_go:
        # What was shown may be older than its removal.
        return Verdict(after=replace(before, let_go=True), later=True)
    # It stands all the same: the user brought it back, and nothing keeps it up any more.
    verdict = _judge_foreign(view, item, None, now)
    return verdict if verdict.after is not None else Verdict(forget=True)


def lost(view: View, event_id: str, before: Seen | None, entry: Entry, loss: Loss) -> Verdict:
    """Judge an event of ours that a writer found removed, and wrote anew.

    It is told as the writer met it: by now another event may stand for the entry, and nobody removed that one.
    """
    told = before is not None and before.gone
    if told or (entry.item.tenant, entry.assignee) != (view.tenant, view.user):
        return Verdict(forget=True)
    about = {**_about(view, event_id, entry, _Which()), "revision": loss.revision}
    change = EntryRemoved(change_key="", seen_at=loss.found_at, **about)
    return Verdict((change,), forget=True, gone_key=before.change_key if before is not None else loss.change_key)


def _judge_ours(view: View, item: Seen | Removed | Gone, before: Seen | None, ours: Ours, now: datetime) -> Verdict:
    if isinstance(item, Removed):
        return Verdict(read=True)
    taken_back: tuple[Change, ...] = ()
    gone_key = ""
    if before is not None and before.entry_id != ours.entry.entry_id:
        # It was taken for an appointment, or for another entry, before the write that made it ours was known.
        if before.entry_id is None and before.type != MASTER and view.publishes_appointments:
            taken_back, gone_key = (_appointment_removed(view, before, now),), before.change_key
        before = None
    verdict = (
        _judge_gone(view, item, before, ours, now)
        if isinstance(item, Gone)
        else (_judge_seen(view, item, before, ours, now))
    )
    if taken_back and not verdict.later:
        verdict = replace(verdict, events=taken_back + verdict.events, gone_key=verdict.gone_key or gone_key)
    return verdict


def _judge_gone(view: View, item: Gone, before: Seen | None, ours: Ours, now: datetime) -> Verdict:
    entry = ours.entry
    if before is not None and before.gone:
        return _NOTHING
    if ours.writing:
        return Verdict(later=True)
    whole = item.event_id == entry.applied.event_id
    content = _content(entry)
    if _is_to_go(entry) or (not whole and _goes_with_its_series(before, content, ours)):
        return Verdict(forget=True)
    last = before or _as_written(entry, content)
    which = _Which() if whole else _which(last, content)
    if last is None or which is None:
        return Verdict(forget=True)
    about = _about(view, item.event_id, entry, which)
    touch = Touch(entry.entry_id, view.touched, "", which.day, occurrence=not whole, removed=True)
    return Verdict(
        (EntryRemoved(change_key="", seen_at=now, **about),),
        after=replace(last, event_id=item.event_id, gone=True),
        touch=touch,
        gone_key=last.change_key,
    )


def _is_to_go(entry: Entry) -> bool:
    """Whether the writer is to remove what stands, so that nobody needs to hear that it is gone."""
    desired, applied = entry.desired, entry.applied
    if desired.intent is Intent.PRESENT:
        return applied.place is None or not applied.place.is_same(desired.place)
    return desired.intent is Intent.ABSENT and not entry.parked


def _goes_with_its_series(before: Seen | None, content: Content | None, ours: Ours) -> bool:
    """Whether the occurrence is gone because of what became of the series as a whole, or because we cancelled it."""
    master = ours.master
    if before is None or (master is not None and master.gone):
        return True
    if content is None or content.recurrence is None:
        return not _nothing_written_since(before, ours)
    written = expected(content)
    if master is not None and (moved(master, written) or master.recurrence != written.recurrence):
        return True
    day = day_of(content, before.original_start)
    return day is None or day in content.recurrence.cancelled


def _judge_seen(view: View, item: Seen, before: Seen | None, ours: Ours, now: datetime) -> Verdict:
    entry = ours.entry
    key = change_key_of(entry.applied.etag)
    item = replace(item, entry_id=entry.entry_id, base_key=key)
    content = _content(entry)
    which = _Which() if item.type not in (OCCURRENCE, EXCEPTION) else _which(item, content)
    written = _written(content, which)
    if ours.writing:
        return _judge_while_writing(item, before, written)
    back = before is not None and before.gone
    if not back and (item.type == OCCURRENCE or which is None or _bears_our_key(item, entry, written)):
        # A regular occurrence is as its series says: what the user did to all of them is told of the series.
        return Verdict(after=item)
    if which is None:
        return Verdict(after=item)
    if not _nothing_written_since(before, ours) and entry.applied.content_hash != entry.desired.content_hash:
        # What stands under our key is an older plan, of which nobody saw what it looked like. If the newer one is on
        # its way it will be told by that; if nothing is, it is known from here on.
        return Verdict(later=True) if entry.owed and content is not None else Verdict(after=item)
    is_moved, fields = _differences(item, before, written, ours)
    changes: list[Change] = []
    about = {**_about(view, item.event_id, entry, which), "change_key": item.change_key, "seen_at": now}
    if (is_moved or back) and _is_tellable(item):
        # One that came back is told by its times, whatever they are: upstream holds it for removed.
        changes.append(EntryRescheduled(start=item.start, end=item.end, all_day=item.all_day, **about))
    if fields:
        changes.append(EntryEdited(**_edits(view, item, fields), **about))
    if not changes:
        return Verdict(after=item)
    keeps = is_moved and EditedField.RECURRENCE not in fields
    moved_to = Times(item.start, item.end) if keeps else None
    touch = Touch(
        entry.entry_id,
        view.touched,
        item.change_key,
        which.day,
        occurrence=which.occurrence is not None,
        moved_to=moved_to,
        edited=bool(fields),
    )
    return Verdict(tuple(changes), after=item, touch=touch)


def _judge_while_writing(item: Seen, before: Seen | None, written: Look | None) -> Verdict:
    """What stands may be ours or the user's: only what cannot be the user's is judged at once."""
    if before is not None and before.gone:
        return Verdict(later=True)
    if before is not None and not moved(item, before) and not edited(item, before):
        return Verdict(after=replace(item, base_key=before.base_key))
    if item.type == OCCURRENCE:
        return Verdict(after=item)
    same_body = before is None or item.body_preview == before.body_preview
    if written is not None and same_body and not moved(item, written) and not edited(item, written):
        # Our write, seen before its answer was recorded.
        return Verdict(after=replace(item, base_key=item.change_key))
    return Verdict(later=True)


def _bears_our_key(item: Seen, entry: Entry, written: Look | None) -> bool:
    """Whether the event is as our last write left it."""
    applied = entry.applied
    if applied.content_hash is None or item.change_key != change_key_of(applied.etag):
        return False
    # After the exceptions of a series its key is read anew, and may be that of a user who came in between.
    return applied.series is None or written is None or not moved(item, written)


def _nothing_written_since(before: Seen | None, ours: Ours) -> bool:
    key = change_key_of(ours.entry.applied.etag)
    return before is not None and key is not None and before.base_key == key


def _differences(item: Seen, before: Seen | None, written: Look | None, ours: Ours) -> tuple[bool, set[EditedField]]:
    """What the user did: whether the event was moved, and what else was edited."""
    if before is not None and _nothing_written_since(before, ours):
        return moved(item, before), edited(item, before)
    if written is None:
        # Nobody knows what was written: from here on it is known how the event looks.
        return False, set()
    is_moved, fields = moved(item, written), edited(item, written)
    if before is not None and item.type == EXCEPTION:
        # An exception that the user made outlives our writing of the series, and was told before.
        is_moved = is_moved and moved(item, before)
        fields &= edited(item, before)
    return is_moved, fields


def _edits(view: View, item: Seen, fields: set[EditedField]) -> dict[str, Any]:
    full = view.detail is Detail.FULL and not item.private
    return {
        "fields": tuple(field for field in EditedField if field in fields),
        "subject": _text(item.subject) if full and EditedField.SUBJECT in fields else None,
        "place": _text(item.place) if full and EditedField.PLACE in fields else None,
        "categories": _categories(item) if full and EditedField.CATEGORIES in fields else None,
        "shown_as": _shown(item.shown_as) if EditedField.SHOWN_AS in fields else None,
    }


@dataclass(frozen=True, slots=True)
class _Which:
    """Which part of an entry it is: by default the whole; else an occurrence, and the pattern's day if it has one."""

    occurrence: datetime | date | None = None
    day: date | None = None


def _which(seen: Seen | None, content: Content | None) -> _Which | None:
    """None of an occurrence of which nobody can say which it is."""
    if seen is None or seen.original_start is None:
        return None
    day = day_of(content, seen.original_start) if content is not None else None
    by_day = content.all_day if day is not None and content is not None else seen.all_day
    occurrence = (day or seen.original_start.date()) if by_day else seen.original_start
    return _Which(occurrence, day) if EARLIEST_YEAR <= occurrence.year <= LATEST_YEAR else None


def _content(entry: Entry) -> Content | None:
    desired = entry.desired
    return Content.from_json(desired.content) if desired.content is not None else None


def _written(content: Content | None, which: _Which | None) -> Look | None:
    """How the event looks if nobody but us has a hand in it; None if that is not known."""
    if content is None or which is None:
        return None
    if which.occurrence is None:
        return expected(content)
    return expected_occurrence(content, which.day) if which.day is not None else None


def _as_written(entry: Entry, content: Content | None) -> Seen | None:
    """The event as it must have looked, if it was never seen; its body nobody knows."""
    key = change_key_of(entry.applied.etag)
    if content is None or entry.applied.event_id is None:
        return None
    return Seen(
        event_id=entry.applied.event_id,
        change_key=key or "",
        type=SINGLE if content.recurrence is None else MASTER,
        series_id=None,
        original_start=None,
        body_preview="",
        cancelled=False,
        entry_id=entry.entry_id,
        **asdict(expected(content)),
    )


def _about(view: View, event_id: str, entry: Entry, which: _Which) -> dict[str, Any]:
    return {
        **_where(view, event_id),
        "source": entry.item.source,
        "kind": entry.item.kind,
        "id": entry.item.id,
        "entry_id": entry.entry_id,
        "revision": entry.desired.revision,
        "occurrence": which.occurrence,
        "policy": view.touched,
    }
