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
    said = {
        "tenant": item.tenant,
        "source": item.source,
        "kind": item.kind,
        "id": item.id,
        "revision": desired.revision,
        "assignee": entry.assignee,
        "entry_id": str(entry.entry_id),
        "plan": desired.plan,
        **_words(ending, reason),
        "notice": " ".join(filter(None, (desired.notice, notice))),
        "decided_at": _written(now),
    }
    return Told(entry.entry_id, desired.plan, ending, reason, orjson.dumps(said))


@lru_cache(maxsize=1_024)
def _words(ending: Ending, reason: Reason) -> dict[str, str]:
    """What outcomes that end alike have in common, as strings: an enumeration's members take the encoder longer."""
    explanation = explain(reason)
    return {
        "ending": ending.value,
        "reason": reason.value,
        "message": explanation.says,
        "next_actor": explanation.next_actor.value,
        "remedy": explanation.remedy,
    }


@lru_cache(maxsize=64)
def _written(moment: datetime) -> str:
    """A moment in UTC as JSON has it; hundreds of outcomes are decided in one."""
    return orjson.loads(orjson.dumps(moment, option=orjson.OPT_UTC_Z))  # type: ignore[no-any-return]


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
