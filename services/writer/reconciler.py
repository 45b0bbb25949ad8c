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
from calbus.graph.errors import Fault, Scope
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
    leaves = desired.intent is Intent.ABSENT or applied.place != desired.place
    if not leaves and applied.content_hash == desired.content_hash:
        return Step.NOTHING
    if applied.etag is None:
        return Step.READ
    return Step.DELETE if leaves else Step.UPDATE


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
            assert applied.etag is not None
            return events.delete(place, applied.event_id, applied.etag)
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


def advance(entry: Entry, step: Step, response: Response, *, repeat: Fault | None) -> Advance:
    """Take in the answer to a step. `repeat`: how the create just before was refused as a repetition, if it was."""
    if response.fault is not None:
        return _faulted(entry, step, response.fault)
    if not _says_what_was_asked(step, response.body):
        return _faulted(entry, step, _INCOMPLETE)
    return _done(entry, step, response.body, repeat)


# Seen of proxies and of services in trouble: a success without what makes it one. The work may be done, or not.
_INCOMPLETE = Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, may_be_applied=True, code="incomplete answer")


def _says_what_was_asked(step: Step, body: Any) -> bool:
    match step:
        case Step.DELETE:
            return True
        case Step.FIND:
            found = body.get("value") if isinstance(body, dict) else None
            return isinstance(found, list) and all(map(_names_an_event, found))
        case _:
            return _names_an_event(body)


def _names_an_event(body: Any) -> bool:
    return isinstance(body, dict) and all(isinstance(body.get(name), str) for name in ("id", "@odata.etag"))


def _done(entry: Entry, step: Step, body: Any, repeat: Fault | None = None) -> Advance:
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
            if after.event_id is None and repeat is not None:
                # The transaction id was used up before we looked, and no event of ours is there: somebody deleted it.
                return Advance(replace(entry, applied=_gone(applied)), repeat, reload=True)
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
    ours = {str(transaction_id_of(entry.entry_id, number)) for number in range(entry.applied.generation + 1)}
    for event in found:
        if str(event.get("transactionId") or "").lower() in ours:
            return replace(
                entry.applied, event_id=event["id"], etag=event["@odata.etag"], content_hash=None, in_doubt=False
            )
    return replace(entry.applied, in_doubt=False)


def _gone(applied: Applied) -> Applied:
    return replace(
        applied, event_id=None, etag=None, content_hash=None, generation=applied.generation + 1, in_doubt=False
    )


def _faulted(entry: Entry, step: Step, fault: Fault) -> Advance:
    applied = entry.applied
    match step, fault.reason:
        case Step.DELETE, Reason.EVENT_GONE:
            return _done(entry, step, None)
        case ((Step.UPDATE | Step.READ), Reason.EVENT_GONE):
            return Advance(replace(entry, applied=_gone(applied)), fault, reload=True)
        case ((Step.UPDATE | Step.DELETE), Reason.CONFLICT):
            return Advance(replace(entry, applied=replace(applied, etag=None, content_hash=None)), fault, reload=True)
        case Step.CREATE, Reason.CONFLICT:
            # Somebody was quicker, perhaps a moment ago: only a search from now on tells.
            return Advance(replace(entry, applied=_doubtful(entry)))
        case Step.CREATE, _ if fault.may_be_applied:
            return Advance(replace(entry, applied=_doubtful(entry)), fault)
        case ((Step.UPDATE | Step.DELETE), _) if fault.may_be_applied:
            # What stands there now is not known, whatever is desired next.
            return Advance(replace(entry, applied=replace(applied, content_hash=None)), fault)
    return Advance(entry, fault)


def _doubtful(entry: Entry) -> Applied:
    return replace(entry.applied, place=entry.desired.place, in_doubt=True)
