"""The reconciling decision: desired and applied give the next step; an answer gives what is applied then.

Pure. `next_step` looks only at where things stand, so that it does not matter how they came to stand there: after a
crash, a lost answer or a user's edit the same questions lead to the same end.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from calbus.entry import Applied, Content, Entry, Intent, Place, content_of, transaction_id_of
from calbus.graph import events
from calbus.graph.calls import Request, Response
from calbus.graph.errors import Fault, Scope
from calbus.recurrence import Moved, StandingSeries
from schemas.reasons import Reason
from services.writer import series


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
    LOOK = "look"
    """An occurrence is to be moved or cancelled: learn its id."""
    MOVE = "move"
    CANCEL = "cancel"


def next_step(entry: Entry) -> Step:
    """What brings the calendar closer to what is desired, in the mailbox `entry.target`."""
    desired, applied = entry.desired, entry.applied
    if desired.intent is Intent.HOLD or entry.parked:
        return Step.NOTHING
    if applied.in_doubt:
        return Step.FIND
    if applied.event_id is None:
        return Step.CREATE if desired.intent is Intent.PRESENT else Step.NOTHING
    leaves = desired.intent is Intent.ABSENT or not _same_place(applied.place, desired.place)
    if not leaves and applied.content_hash == desired.content_hash:
        return Step.NOTHING
    if (standing := _under_way(entry)) is not None:
        return _exception_step(entry, standing)
    if applied.etag is None:
        return Step.READ
    return Step.DELETE if leaves or _to_be_anew(entry) else Step.UPDATE


def _under_way(entry: Entry) -> StandingSeries | None:
    """The series whose master is as desired, and whose exceptions are due; None if there is none."""
    desired, applied = entry.desired, entry.applied
    stays = desired.intent is Intent.PRESENT and _same_place(applied.place, desired.place)
    return applied.series if stays and applied.master_hash == desired.content_hash else None


def _exception_step(entry: Entry, standing: StandingSeries) -> Step:
    match series.due(_content(entry.desired.content), standing):
        case None:
            # Each write to an occurrence gave the master another etag; with the newest the series is done.
            return Step.READ
        case _ if standing.found is None:
            return Step.LOOK
        case Moved():
            return Step.MOVE
        case _:
            return Step.CANCEL


def _to_be_anew(entry: Entry) -> bool:
    """Whether what is desired can only be had by deleting what stands and creating it anew."""
    standing = entry.applied.series
    return standing is not None and series.must_be_anew(_content(entry.desired.content), standing)


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
    return _exception_request(entry, step, place, applied.event_id)


def _exception_request(entry: Entry, step: Step, place: Place, master_id: str) -> Request:
    content, standing = _content(entry.desired.content), entry.applied.series
    assert standing is not None
    one = series.due(content, standing)
    assert one is not None
    if step is Step.LOOK:
        return series.look(place, master_id, content, one)
    assert standing.found is not None
    if isinstance(one, Moved):
        return series.move(place, standing.found, content, one)
    return events.cancel_occurrence(place, standing.found)


def _content(stored: bytes | None) -> Content:
    assert stored is not None
    return content_of(stored)


@dataclass(slots=True)
class Advance:
    """Where an answer leaves an entry.

    `fault` is what stands in the way, None if the step did its work. `reload`: what is known must be recorded and
    read again before the next step, because another writer or a new plan may have come between.
    """

    entry: Entry
    fault: Fault | None = None
    reload: bool = False


@dataclass(slots=True)
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
        case Step.DELETE | Step.CANCEL:
            return response.status == 204
        case Step.FIND | Step.LOOK:
            found = body.get("value") if isinstance(body, dict) else None
            return isinstance(found, list) and all(map(_names_an_event, found))
        case _:
            return _names_an_event(body)


def _names_an_event(body: Any) -> bool:
    return isinstance(body, dict) and isinstance(body.get("id"), str) and isinstance(body.get("@odata.etag"), str)


def _done(entry: Entry, step: Step, body: Any, circumstances: Circumstances) -> Advance:
    applied = entry.applied
    match step:
        case Step.CREATE:
            return _written(entry, body, created=True)
        case Step.UPDATE:
            return _written(entry, body, created=False)
        case Step.READ:
            after = replace(applied, etag=body["@odata.etag"])
            if _under_way(entry) is not None:
                after = replace(after, content_hash=entry.desired.content_hash, master_hash=None)
        case Step.LOOK:
            return _looked(entry, body["value"], circumstances.attempts)
        case Step.MOVE | Step.CANCEL:
            after = series.one_done(applied)
        case Step.FIND:
            after = _found(entry, body["value"])
            if after.event_id is not None:
                return Advance(entry.with_applied(after))
            if circumstances.repeat is not None:
                # The transaction id was used up before we looked, and no event of ours is there: somebody deleted it.
                return Advance(entry.with_applied(_gone(applied)), circumstances.repeat, reload=True)
            if entry.desired.intent is Intent.PRESENT and _same_place(applied.place, entry.desired.place):
                # Created again under the same transaction id: if the first still arrives, they are one event.
                return Advance(entry.with_applied(after))
            if circumstances.doubt_left_s:
                # Nothing will be created here again, and the first may still arrive: look once more when it cannot.
                late = Fault(Reason.IN_DOUBT, Scope.ENTRY, retry_after_s=circumstances.doubt_left_s)
                return Advance(entry, late)
            # The mark that covers a create names the mailbox it was set for.
            return Advance(entry.with_applied(after), reload=entry.desired.intent is Intent.PRESENT)
        case _:
            after = _gone(applied)
            # What comes next, if anything, is a create: it must be marked first.
            return Advance(entry.with_applied(after), reload=entry.desired.intent is Intent.PRESENT)
    return Advance(entry.with_applied(after))


def _written(entry: Entry, body: Any, *, created: bool) -> Advance:
    """The event says what is desired; only a series may still have exceptions to come."""
    desired, applied = entry.desired, entry.applied
    standing = series.standing_of(_content(desired.content), created=created)
    after = Applied(
        plan=applied.plan,
        place=desired.place if created else applied.place,
        content_hash=desired.content_hash if standing is None else None,
        event_id=body["id"] if created else applied.event_id,
        etag=body["@odata.etag"],
        generation=applied.generation,
        in_doubt=False if created else applied.in_doubt,
        grant=applied.grant,
        master_hash=None if standing is None else desired.content_hash,
        series=standing,
        left_behind=applied.left_behind,
    )
    # What may deviate in a series from now on is recorded before it does.
    return Advance(entry.with_applied(after), reload=standing is not None)


# So many times the occurrence of a series that was just created is looked for before somebody is believed to have
# deleted it.
MISSING_BEFORE_GONE = 2
_MISSING = Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, code="occurrence not found")


def _looked(entry: Entry, shown: list[dict[str, Any]], attempts: int) -> Advance:
    content, standing = _content(entry.desired.content), entry.applied.series
    assert standing is not None
    one = series.due(content, standing)
    assert one is not None
    found = series.found_in(content, one, shown)
    if found is not None:
        return Advance(entry.with_applied(replace(entry.applied, series=replace(standing, found=found))))
    if standing.created and attempts < MISSING_BEFORE_GONE:
        return Advance(entry, _MISSING)
    if standing.created or not isinstance(one, Moved):
        return Advance(entry.with_applied(series.one_done(entry.applied)))
    # It was cancelled for an earlier plan, or by the user, and nothing brings it back.
    return _stale(entry, standing)


def _stale(entry: Entry, standing: StandingSeries) -> Advance:
    stale = replace(entry.applied, content_hash=None, master_hash=None, series=replace(standing, stale=True))
    return Advance(entry.with_applied(stale), reload=True)


def _found(entry: Entry, found: list[dict[str, Any]]) -> Applied:
    """Ours is the one that bears our transaction id: a copy that the user made bears the mark, and not that."""
    ours = {str(transaction_id_of(entry.entry_id, number)) for number in range(entry.applied.generation + 1)}
    for event in found:
        if str(event.get("transactionId") or "").lower() in ours:
            return replace(_unknown(entry.applied), event_id=event["id"], etag=event["@odata.etag"], in_doubt=False)
    return replace(entry.applied, in_doubt=False)


def _unknown(applied: Applied) -> Applied:
    """What the event says is not known. What may deviate in a series still may."""
    return replace(applied, content_hash=None, master_hash=None)


def _gone(applied: Applied) -> Applied:
    return replace(
        _unknown(applied), event_id=None, etag=None, generation=applied.generation + 1, in_doubt=False, series=None
    )


# So many times a mailbox that is to be left must be unknown before it is believed to be gone, or to have another name.
UNKNOWN_BEFORE_GONE = 3


# So many times a mailbox that the account has left must keep us out before the event in it is given up. With the usual
# pace of attempts that is an hour.
CLOSED_BEFORE_LEFT = 7
_CLOSED = frozenset((Reason.ACCESS_DENIED, Reason.ACCESS_POLICY, Reason.MAILBOX_NOT_IN_CLOUD, Reason.MAILBOX_UNKNOWN))


def _is_given_up(entry: Entry, fault: Fault, attempts: int) -> bool:
    """Whether the event stays behind in a mailbox that the account has left, and that we may no longer enter."""
    old, new = entry.applied.place, entry.desired.place
    moved = old is not None and new is not None and old.lane != new.lane
    return moved and fault.reason in _CLOSED and fault.scope is Scope.MAILBOX and attempts >= CLOSED_BEFORE_LEFT


def _moved_on(entry: Entry) -> Applied:
    """Ours is looked for in the new mailbox before it is created there, in case the old one just got another name."""
    return replace(_unknown(entry.applied), place=entry.desired.place, event_id=None, etag=None, in_doubt=True)


def _same_place(one: Place | None, other: Place | None) -> bool:
    return one is not None and one.is_same(other)


def _faulted(entry: Entry, step: Step, fault: Fault, attempts: int) -> Advance:
    applied, desired = entry.applied, entry.desired
    leaves = desired.intent is not Intent.PRESENT or not _same_place(applied.place, desired.place)
    match step, fault.reason:
        case ((Step.DELETE | Step.READ), Reason.EVENT_GONE) if desired.intent is Intent.PRESENT and leaves:
            # It may be where it is to be already: written there by what a restored backup knows nothing of.
            return Advance(replace(entry, applied=_moved_on(replace(entry, applied=_gone(applied)))), reload=True)
        case Step.DELETE, Reason.EVENT_GONE:
            return _done(entry, step, None, Circumstances())
        case ((Step.DELETE | Step.READ | Step.FIND), Reason.MAILBOX_UNKNOWN) if (
            leaves and attempts >= UNKNOWN_BEFORE_GONE
        ):
            if desired.place is None:
                return Advance(entry.with_applied(_gone(applied)))
            # A mailbox that got another name took its events along: look for ours under the new one.
            return Advance(entry.with_applied(_moved_on(entry)), reload=True)
        case ((Step.DELETE | Step.READ | Step.FIND), _) if _is_given_up(entry, fault, attempts):
            assert applied.place is not None
            left = replace(_moved_on(entry), series=None, left_behind=applied.place.lane)
            return Advance(entry.with_applied(left), reload=True)
        case ((Step.UPDATE | Step.READ | Step.LOOK), Reason.EVENT_GONE):
            return Advance(entry.with_applied(_gone(applied)), fault, reload=True)
        case ((Step.UPDATE | Step.DELETE), Reason.CONFLICT):
            return Advance(entry.with_applied(replace(_unknown(applied), etag=None)), fault, reload=True)
        case Step.CREATE, Reason.CONFLICT:
            # Somebody was quicker, perhaps a moment ago: only a search from now on tells.
            return Advance(entry.with_applied(_doubtful(entry)))
        case Step.CREATE, _ if fault.may_be_applied:
            return Advance(entry.with_applied(_doubtful(entry)), fault)
        case ((Step.UPDATE | Step.DELETE), _) if fault.may_be_applied:
            # What stands there now is not known, whatever is desired next.
            return Advance(entry.with_applied(_unknown(applied)), fault)
        case ((Step.LOOK | Step.MOVE | Step.CANCEL), _):
            return _exception_faulted(entry, step, fault, attempts)
    return Advance(entry, fault)


def _exception_faulted(entry: Entry, step: Step, fault: Fault, attempts: int) -> Advance:
    applied, standing = entry.applied, entry.applied.series
    assert standing is not None
    if fault.reason is Reason.EVENT_GONE:
        # It went between our looking and our writing: for a cancellation that is as good.
        return _done(entry, step, None, Circumstances()) if step is Step.CANCEL else _looked(entry, [], attempts)
    if fault.reason is Reason.EVENT_REJECTED and not standing.created:
        # It may stand in the way of what was there before; in a new series nothing was.
        return _stale(entry, standing)
    return Advance(entry.with_applied(replace(applied, etag=None, series=replace(standing, found=None))), fault)


def _doubtful(entry: Entry) -> Applied:
    return replace(entry.applied, place=entry.desired.place, in_doubt=True)
