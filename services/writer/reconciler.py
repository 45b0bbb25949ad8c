"""The reconciling decision: desired and applied give the next step; an answer gives what is applied then.

Pure. `next_step` looks only at where things stand, so that it does not matter how they came to stand there: after a
crash, a lost answer or a user's edit the same questions lead to the same end.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from calbus.entry import Applied, Content, Entry, Intent, transaction_id_of
from calbus.graph import events
from calbus.graph.calls import Request, Response
from calbus.graph.errors import Fault
from schemas.reasons import Reason


class Step(StrEnum):
    """What to do with an entry next."""

    NOTHING = "nothing"
    FIND = "find"
    """A create may have reached the calendar: look for the event before anything else."""
    READ = "read"
    """Somebody changed the event since we wrote it: learn its etag."""
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


def next_step(entry: Entry) -> Step:
    """What brings the calendar closer to what is desired, in the mailbox `entry.target`."""
    desired, applied = entry.desired, entry.applied
    if desired.intent is Intent.HOLD:
        return Step.NOTHING
    if applied.in_doubt:
        return Step.FIND
    if applied.event_id is None:
        return Step.CREATE if desired.intent is Intent.PRESENT else Step.NOTHING
    if desired.intent is Intent.ABSENT or applied.place != desired.place:
        return Step.DELETE
    if applied.content_hash == desired.content_hash:
        return Step.NOTHING
    return Step.UPDATE if applied.etag is not None else Step.READ


def request_for(entry: Entry, step: Step) -> Request:
    """The request that carries out a step, other than `nothing`."""
    desired, applied = entry.desired, entry.applied
    place = entry.target
    assert place is not None
    match step:
        case Step.FIND:
            return events.find(place, entry.entry_id)
        case Step.CREATE:
            transaction_id = transaction_id_of(entry.entry_id, applied.generation)
            return events.create(place, entry.entry_id, transaction_id, _content(desired.content))
    assert applied.event_id is not None
    match step:
        case Step.READ:
            return events.read(place, applied.event_id)
        case Step.DELETE:
            return events.delete(place, applied.event_id)
        case Step.UPDATE:
            assert applied.etag is not None
            return events.update(place, applied.event_id, applied.etag, _content(desired.content))
    raise AssertionError(step)


def _content(stored: bytes | None) -> Content:
    assert stored is not None
    return Content.from_json(stored)


@dataclass(frozen=True, slots=True)
class Advance:
    """Where an answer leaves an entry.

    `fault` is what stands in the way, None if the step did its work. `reload`: what is known must be recorded and
    read again before the next step, because another writer or a new plan may have come between.
    """

    entry: Entry
    fault: Fault | None = None
    reload: bool = False


def advance(entry: Entry, step: Step, response: Response, *, searched: bool) -> Advance:
    """Take in the answer to a step. `searched`: the calendar was asked for the event just before, in vain or not."""
    if response.fault is None:
        return _done(entry, step, response.body)
    return _faulted(entry, step, response.fault, searched=searched)


def _done(entry: Entry, step: Step, body: Any) -> Advance:
    applied = entry.applied
    match step:
        case Step.CREATE:
            after = replace(
                applied,
                place=entry.desired.place,
                content_hash=entry.desired.content_hash,
                event_id=body["id"],
                etag=body["@odata.etag"],
                in_doubt=False,
            )
        case Step.UPDATE:
            after = replace(applied, content_hash=entry.desired.content_hash, etag=body["@odata.etag"])
        case Step.READ:
            after = replace(applied, etag=body["@odata.etag"])
        case Step.FIND:
            after = _found(entry, body["value"])
            # The mark that covers a create names the mailbox it was set for.
            moved = after.event_id is None and applied.place != entry.desired.place
            return Advance(replace(entry, applied=after), reload=moved)
        case _:
            after = _gone(applied)
            # What comes next, if anything, is a create: it must be marked first.
            return Advance(replace(entry, applied=after), reload=entry.desired.intent is Intent.PRESENT)
    return Advance(replace(entry, applied=after))


def _found(entry: Entry, found: list[dict[str, Any]]) -> Applied:
    """Ours is the one that bears our transaction id: a copy that the user made bears the mark, and not that."""
    ours = str(transaction_id_of(entry.entry_id, entry.applied.generation))
    for event in found:
        if str(event.get("transactionId") or "").lower() == ours:
            return replace(
                entry.applied, event_id=event["id"], etag=event["@odata.etag"], content_hash=None, in_doubt=False
            )
    return replace(entry.applied, in_doubt=False)


def _gone(applied: Applied) -> Applied:
    return replace(
        applied, event_id=None, etag=None, content_hash=None, generation=applied.generation + 1, in_doubt=False
    )


def _faulted(entry: Entry, step: Step, fault: Fault, *, searched: bool) -> Advance:
    applied = entry.applied
    match step, fault.reason:
        case Step.DELETE, Reason.EVENT_GONE:
            return _done(entry, step, None)
        case ((Step.UPDATE | Step.READ), Reason.EVENT_GONE):
            return Advance(replace(entry, applied=_gone(applied)), fault, reload=True)
        case Step.UPDATE, Reason.CONFLICT:
            return Advance(replace(entry, applied=replace(applied, etag=None)), fault, reload=True)
        case Step.CREATE, Reason.CONFLICT if searched:
            # The transaction id is used up, and no event of ours is there: somebody deleted it.
            return Advance(replace(entry, applied=_gone(applied)), fault, reload=True)
        case Step.CREATE, Reason.CONFLICT:
            return Advance(replace(entry, applied=_doubtful(entry)), fault, reload=True)
        case Step.CREATE, _ if fault.may_be_applied:
            return Advance(replace(entry, applied=_doubtful(entry)), fault)
    return Advance(entry, fault)


def _doubtful(entry: Entry) -> Applied:
    return replace(entry.applied, place=entry.desired.place, in_doubt=True)
