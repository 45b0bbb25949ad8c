"""The reconciling decision: desired and applied give the next step; an answer gives what is applied then.

Pure. `next_step` looks only at where things stand, so that it does not matter how they came to stand there: after a
crash, a lost answer or a user's edit the same questions lead to the same end.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from calbus.entry import Applied, Content, Entry, Intent, Place, transaction_id_of
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
    leaves = desired.intent is Intent.ABSENT or not _same_place(applied.place, desired.place)
    if not leaves and applied.content_hash == desired.content_hash:
        return Step.NOTHING
    if applied.etag is None:
        return Step.READ
    return Step.DELETE if leaves else Step.UPDATE


def request_for(entry: Entry, step: Step, calendar_id: str | None = None) -> Request:
    """The request that carries out a step, other than `nothing`; `calendar_id` is that of the target's calendar."""
    desired, applied = entry.desired, entry.applied
    place = entry.target
    assert place is not None
    match step:
        case Step.FIND:
            return events.find(place, entry.entry_id, calendar_id)
        case Step.CREATE:
            transaction_id = transaction_id_of(entry.entry_id, applied.generation)
            return events.create(place, entry.entry_id, transaction_id, _content(desired.content), calendar_id)
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


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else bears on an answer. `repeat`: how the create just before was refused as a repetition, if it was.
    `doubt_left_s`: for how long a create that was sent earlier may still arrive."""

    repeat: Fault | None = None
    attempts: int = 0
    doubt_left_s: float = 0.0


def advance(entry: Entry, step: Step, response: Response, circumstances: Circumstances) -> Advance:
    """Take in the answer to a step."""
    if response.fault is not None:
        return _faulted(entry, step, response.fault, circumstances.attempts)
    if not _says_what_was_asked(step, response):
        return _faulted(entry, step, _INCOMPLETE, circumstances.attempts)
    return _done(entry, step, response.body, circumstances)


# Seen of proxies and of services in trouble: a success without what makes it one. The work may be done, or not.
_INCOMPLETE = Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, may_be_applied=True, code="incomplete answer")


def _says_what_was_asked(step: Step, response: Response) -> bool:
    body = response.body
    match step:
        case Step.DELETE:
            return response.status == 204
        case Step.FIND:
            found = body.get("value") if isinstance(body, dict) else None
            return isinstance(found, list) and all(map(_names_an_event, found))
        case _:
            return _names_an_event(body)


def _names_an_event(body: Any) -> bool:
    return isinstance(body, dict) and all(isinstance(body.get(name), str) for name in ("id", "@odata.etag"))


def _done(entry: Entry, step: Step, body: Any, circumstances: Circumstances) -> Advance:
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
            if after.event_id is not None:
                return Advance(replace(entry, applied=after))
            if circumstances.repeat is not None:
                # The transaction id was used up before we looked, and no event of ours is there: somebody deleted it.
                return Advance(replace(entry, applied=_gone(applied)), circumstances.repeat, reload=True)
            if entry.desired.intent is Intent.PRESENT and _same_place(applied.place, entry.desired.place):
                # Created again under the same transaction id: if the first still arrives, they are one event.
                return Advance(replace(entry, applied=after))
            if circumstances.doubt_left_s:
                # Nothing will be created here again, and the first may still arrive: look once more when it cannot.
                late = Fault(Reason.IN_DOUBT, Scope.ENTRY, retry_after_s=circumstances.doubt_left_s)
                return Advance(entry, late)
            # The mark that covers a create names the mailbox it was set for.
            return Advance(replace(entry, applied=after), reload=entry.desired.intent is Intent.PRESENT)
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


# So many times a mailbox that is to be left must be unknown before it is believed to be gone, or to have another name.
UNKNOWN_BEFORE_GONE = 3


def _same_place(one: Place | None, other: Place | None) -> bool:
    return one is not None and one.is_same(other)


def _faulted(entry: Entry, step: Step, fault: Fault, attempts: int) -> Advance:
    applied, desired = entry.applied, entry.desired
    leaves = desired.intent is not Intent.PRESENT or not _same_place(applied.place, desired.place)
    match step, fault.reason:
        case Step.DELETE, Reason.EVENT_GONE:
            return _done(entry, step, None, Circumstances())
        case ((Step.DELETE | Step.READ | Step.FIND), Reason.MAILBOX_UNKNOWN) if (
            leaves and attempts >= UNKNOWN_BEFORE_GONE
        ):
            if desired.place is None:
                return Advance(replace(entry, applied=_gone(applied)))
            # A mailbox that got another name took its events along: look for ours under the new one.
            renamed = replace(applied, place=desired.place, event_id=None, etag=None, content_hash=None, in_doubt=True)
            return Advance(replace(entry, applied=renamed), reload=True)
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
