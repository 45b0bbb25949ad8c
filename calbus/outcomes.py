"""Puts how a plan ended into the words of the contract. Pure."""

from datetime import datetime

from calbus.entry import Entry
from schemas.reasons import Reason, explain
from schemas.results import Ending, Outcome


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
