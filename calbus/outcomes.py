"""Puts how a plan ended into the words of the contract. Pure."""

from dataclasses import dataclass
from datetime import datetime
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
    explanation, item, desired = explain(reason), entry.item, entry.desired
    said = {
        "tenant": item.tenant,
        "source": item.source,
        "kind": item.kind,
        "id": item.id,
        "revision": desired.revision,
        "assignee": entry.assignee,
        "entry_id": str(entry.entry_id),
        "plan": desired.plan,
        "ending": ending,
        "reason": reason,
        "message": explanation.says,
        "next_actor": explanation.next_actor,
        "remedy": explanation.remedy,
        "notice": " ".join(filter(None, (desired.notice, notice))),
        "decided_at": now,
    }
    return Told(entry.entry_id, desired.plan, ending, reason, orjson.dumps(said, option=orjson.OPT_UTC_Z))


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
