"""Puts how a plan ended into the words of the contract. Pure."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from uuid import UUID

import orjson

from calbus.entry import Entry
from schemas.reasons import Reason, explain
from schemas.results import Ending, Outcome


@dataclass(slots=True)
class Told:
    """An outcome in the form in which it is published: `value` is its JSON."""

    entry_id: UUID
    plan: int
    ending: Ending
    reason: Reason
    value: bytes


def told(entry: Entry, ending: Ending, reason: Reason, now: datetime, *, notice: str = "") -> Told:
    """The same as `outcome`, byte for byte of what it says; without a model, since every field is one of ours."""
    item, desired = entry.item, entry.desired
    own = {
        "tenant": item.tenant,
        "source": item.source,
        "kind": item.kind.value,
        "id": item.id,
        "revision": desired.revision,
        "assignee": entry.assignee,
        "entry_id": str(entry.entry_id),
        "plan": desired.plan,
    }
    said = desired.notice
    if notice:
        said = f"{said} {notice}" if said else notice
    value = b"%b,%b" % (orjson.dumps(own)[:-1], _in_common(ending, reason, said, now)[1:])
    return Told(entry.entry_id, desired.plan, ending, reason, value)


@lru_cache(maxsize=1_024)
def _in_common(ending: Ending, reason: Reason, notice: str, now: datetime) -> bytes:
    """What outcomes that are decided together and end alike have in common: most of what they say."""
    explanation = explain(reason)
    said = {
        "ending": ending.value,
        "reason": reason.value,
        "message": explanation.says,
        "next_actor": explanation.next_actor.value,
        "remedy": explanation.remedy,
        "notice": notice,
        "decided_at": now,
    }
    return orjson.dumps(said, option=orjson.OPT_UTC_Z)


def outcome(entry: Entry, ending: Ending, reason: Reason, now: datetime, *, notice: str = "") -> Outcome:
    """The outcome of the entry's desired plan; `notice` is said beside what the plan itself has to say."""
    explanation = explain(reason)
    return Outcome(
        tenant=entry.item.tenant,
        source=entry.item.source,
        kind=entry.item.kind,
        id=entry.item.id,
        revision=entry.desired.revision,
        assignee=entry.assignee,
        entry_id=entry.entry_id,
        plan=entry.desired.plan,
        ending=ending,
        reason=reason,
        message=explanation.says,
        next_actor=explanation.next_actor,
        remedy=explanation.remedy,
        notice=" ".join(filter(None, (entry.desired.notice, notice))),
        decided_at=now,
    )


def ending_without_writing(reason: Reason) -> Ending:
    """How a plan ends that puts nothing into the calendar."""
    return Ending.REFUSED if reason in _REFUSED else Ending.WITHDRAWN


_REFUSED = frozenset((Reason.RECURRENCE_NOT_SUPPORTED, Reason.OWNER_HAS_NO_ACCOUNT))
