"""Takes messages in: which revisions count, what each entry's new plan is, and which outcomes are thereby decided.

Pure: values in, values out. The handler loads what this needs and stores what it gives.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from hashlib import blake2b
from typing import cast
from uuid import UUID

from calbus.entry import (
    Applied,
    Desired,
    Entry,
    Intent,
    ItemKey,
    content_hash_of,
    entry_id_of,
)
from calbus.outcomes import Told, ending_without_writing, told
from calbus.overrides import Override
from calbus.revisions import Verdict, judge
from calbus.store.entries import Planned
from calbus.store.items import StoredItem
from calbus.store.switches import Named, Settings
from calbus.values import value
from schemas.items import ActionDeleted, ActionUpserted, ContactDeleted, ContactUpserted, ItemEvent, ItemUpserted
from schemas.reasons import Reason
from schemas.results import Ending
from schemas.switches import AccountUnlinked, Leftovers, Scope
from services.ingest.planner import Decision, Standing, Switches, decide

# A writer that got the wake-up has long been at work by then; for one that did not, the sweeper sends another. Much
# shorter, and a backlog would fill up with repeated wake-ups.
WAKEUP_GRACE = timedelta(seconds=120)

Overrides = Mapping[UUID, tuple[Override, ...]]
"""By entry: the times that users gave."""
_NO_OVERRIDES: Overrides = {}


@dataclass(slots=True)
class Arrival:
    """An item's message that was understood, and the item as it is to be stored."""

    key: ItemKey
    incoming: StoredItem
    published_at: datetime
    correlation: str | None = None
    trace: str | None = None


@dataclass(slots=True)
class Intake:
    """What a batch of messages, or a re-plan, comes to."""

    items: dict[ItemKey, StoredItem] = field(default_factory=dict)
    planned: dict[tuple[ItemKey, str], Planned] = field(default_factory=dict)
    outcomes: list[Told] = field(default_factory=list)
    plans: int = 0
    """How many were made: more than are `planned`, if one entry was planned several times."""
    verdicts: list[Verdict] = field(default_factory=list)
    """One for each arrival, in order."""
    unsettled: list[Entry] = field(default_factory=list)
    """Of repeated messages: their wake-ups may have been lost in the crash that made Kafka repeat them."""
    removals: set[tuple[ItemKey, str]] = field(default_factory=set)
    """Those of `planned` that take away what stands, and that nobody has confirmed: the breaker's to judge."""
    traces: dict[tuple[UUID, int], str] = field(default_factory=dict)
    """By entry and plan: the trace that a plan belongs to, if it does to one."""
    overrides_ended: set[UUID] = field(default_factory=set)
    """Entries whose times upstream changed, so that no time of their users' holds any longer."""

    def trace_of(self, entry: Entry) -> str | None:
        """The trace that the entry's newest plan belongs to."""
        return self.traces.get((entry.entry_id, entry.desired.plan))


_UPSERTED = (ActionUpserted, ContactUpserted)
_NAMES = {event: event.__name__.encode() for event in (*_UPSERTED, ActionDeleted, ContactDeleted)}


def key_of(event: ItemEvent) -> ItemKey:
    """Names the item that the message is about."""
    return ItemKey(event.tenant, event.source, event.kind, event.id)


def arrival_of(
    event: ItemEvent, published_at: datetime, correlation: str | None = None, trace: str | None = None
) -> Arrival:
    """The message put into JSON once, for its row and its hash: best done at once, while all its parts are at hand."""
    kind = type(event)
    body = event.to_json()
    content_hash = blake2b(_NAMES[kind] + body, digest_size=16).digest()
    # By class, and not by `isinstance`, which is slow here.
    if kind in _UPSERTED:
        incoming = StoredItem(event.revision, content_hash, cast("ItemUpserted", event), published_at, body)
    else:
        incoming = StoredItem(event.revision, content_hash, None, published_at)
    return Arrival(key_of(event), incoming, published_at, correlation, trace)


def settings_needed(items: Iterable[ItemUpserted], entries: Iterable[Entry], tenants: Iterable[str]) -> set[Named]:
    """The settings that planning these items, and these entries, asks for."""
    account, project = Scope.ACCOUNT, Scope.PROJECT
    needed: set[Named] = {(tenant, Scope.TENANT, "") for tenant in tenants}
    needed.update((entry.item.tenant, account, entry.assignee) for entry in entries)
    for item in items:
        tenant, assignees, owner = item.tenant, item.assignees, item.owner
        for user in assignees:
            needed.add((tenant, account, user))
        if owner is not None and owner not in assignees:
            needed.add((tenant, account, owner))
        if item.project is not None:
            needed.add((tenant, project, item.project))
    return needed


def take_in(
    arrivals: Iterable[Arrival],
    stored: dict[ItemKey, StoredItem],
    entries: Iterable[Entry],
    settings: Settings,
    now: datetime,
    overrides: Overrides = _NO_OVERRIDES,
) -> Intake:
    """Plan a batch: each accepted revision ends exactly once per assignee, now or through a writer later."""
    plans = _Plans(entries, settings, now, overrides)
    intake = plans.intake
    known = dict(stored)
    for arrival in arrivals:
        key, incoming = arrival.key, arrival.incoming
        before = known.get(key)
        verdict = Verdict.ACCEPTED
        if before is not None:
            same = incoming.content_hash == before.content_hash
            verdict = judge(before.revision, incoming.revision, same=same)
        intake.verdicts.append(verdict)
        if verdict is Verdict.ACCEPTED:
            known[key] = intake.items[key] = incoming
            since = _since(arrival, incoming.item, first=before is None)
            plans.add(key, incoming, _Cause(since, arrival.correlation, arrival.trace))
        elif verdict is Verdict.DUPLICATE:
            intake.unsettled += [entry for entry in plans.of_item(key).values() if entry.owed and not entry.parked]
    return intake


def plan_anew(
    items: dict[ItemKey, StoredItem],
    entries: Iterable[Entry],
    settings: Settings,
    now: datetime,
    overrides: Overrides = _NO_OVERRIDES,
) -> Intake:
    """Plan items again under changed settings; what the change does not touch gets no new plan."""
    plans = _Plans(entries, settings, now, overrides)
    for key, item in items.items():
        plans.add(key, item, _NO_EVENT)
    return plans.intake


@value
class _Cause:
    """Why an item is planned. `since`, for new assignees, is None when a setting, not a message, is the cause."""

    since: datetime | None = None
    correlation: str | None = None
    trace: str | None = None


_NO_EVENT = _Cause()
_NOTHING_APPLIED = Applied()


class _Plans:
    """The plans of a batch, made item after item: each builds on those before it."""

    def __init__(self, entries: Iterable[Entry], settings: Settings, now: datetime, overrides: Overrides) -> None:
        self.intake = Intake()
        self._entries = _by_item(entries)
        self._settings = settings
        self._now = now
        self._due_at = now + WAKEUP_GRACE
        self._overrides = overrides

    def of_item(self, key: ItemKey) -> dict[str, Entry]:
        """The item's entries as they now are, by assignee."""
        return self._entries.setdefault(key, {})

    def add(self, key: ItemKey, stored: StoredItem, cause: _Cause) -> None:
        """Plan every assignee's entry."""
        intake, entries = self.intake, self.of_item(key)
        for assignee in _concerned(stored, entries, new_revision=cause is not _NO_EVENT):
            switches = switches_of(key, stored, assignee, self._settings)
            before = entries.get(assignee)
            if before is None:
                entry = _first(key, stored, assignee, switches, cause.since)
            elif (again := self._next(before, stored, switches, new_revision=cause is not _NO_EVENT)) is not None:
                entry = again
            else:
                continue
            desired = entry.desired
            if not entry.owed:
                ending = ending_without_writing(desired.reason)
                intake.outcomes.append(told(entry, ending, desired.reason, self._now))
            if cause.trace is not None:
                intake.traces[entry.entry_id, desired.plan] = cause.trace
            intake.plans += 1
            entries[assignee] = entry
            due_at = self._due_at if entry.owed and not entry.parked else None
            intake.planned[key, assignee] = Planned(entry, due_at, stored.published_at, cause.correlation)

    def _next(self, before: Entry, stored: StoredItem, switches: Switches, *, new_revision: bool) -> Entry | None:
        """An entry that has a plan already; None if it needs no other."""
        intake = self.intake
        decision = decide(stored.item, before.assignee, switches, self._standing(before))
        if decision.overrides_end:
            intake.overrides_ended.add(before.entry_id)
        desired = _desired(decision, stored.revision, before.desired.plan + 1)
        removal = _removal(before, desired, switches)
        if not new_revision and _changes_nothing(before, desired, removal):
            return None
        if before.owed:
            why = Reason.NEWER_REVISION if new_revision else Reason.SETTINGS_CHANGED
            intake.outcomes.append(told(before, Ending.SUPERSEDED, why, self._now))
        if removal is _Removal.FRESH:
            intake.removals.add((before.item, before.assignee))
        elif intake.removals and removal is not _Removal.AS_BEFORE:
            intake.removals.discard((before.item, before.assignee))
        return Entry(
            before.entry_id,
            before.item,
            before.assignee,
            desired,
            before.applied,
            owed=_needs_writer(desired, before.applied),
            since=before.since,
            parked=_stays_parked(before, removal),
        )

    def _standing(self, before: Entry) -> Standing:
        kept = self._overrides.get(before.entry_id, ()) if self._overrides else ()
        if kept and before.entry_id in self.intake.overrides_ended:
            kept = ()  # what one message of the batch ended does not come back with the next
        return Standing(before.since, before.applied.may_exist, kept)


def _first(key: ItemKey, stored: StoredItem, assignee: str, switches: Switches, since: datetime | None) -> Entry:
    """An entry that was never planned."""
    desired = _desired(decide(stored.item, assignee, switches, Standing(since)), stored.revision, 1)
    owed = _needs_writer(desired, _NOTHING_APPLIED)
    return Entry(entry_id_of(key, assignee), key, assignee, desired, _NOTHING_APPLIED, owed, since)


def _by_item(entries: Iterable[Entry]) -> dict[ItemKey, dict[str, Entry]]:
    by_item: dict[ItemKey, dict[str, Entry]] = {}
    for entry in entries:
        by_item.setdefault(entry.item, {})[entry.assignee] = entry
    return by_item


def _since(arrival: Arrival, item: ItemUpserted | None, *, first: bool) -> datetime:
    """Since when the item is the assignees' whom this revision adds: with its first, since it was made."""
    if first and item is not None and item.created_at is not None:
        return min(item.created_at, arrival.published_at)
    return arrival.published_at


def _concerned(stored: StoredItem, entries: dict[str, Entry], *, new_revision: bool) -> Sequence[str]:
    """Today's assignees and earlier ones; who has been told that the item left does not hear of its next revisions."""
    assigned = stored.item.assignees if stored.item is not None else ()
    if not entries:
        return assigned
    earlier = [
        assignee
        for assignee, entry in entries.items()
        if assignee not in assigned and not (new_revision and entry.desired.reason is Reason.UNASSIGNED)
    ]
    return [*assigned, *earlier] if earlier else assigned


def switches_of(key: ItemKey, stored: StoredItem, assignee: str, settings: Settings) -> Switches:
    """The settings that bear on an item for one assignee."""
    tenant, item = key.tenant, stored.item
    project, owner = (item.project, item.owner) if item is not None else (None, None)
    account = settings.account(tenant, assignee)
    return Switches(
        settings.tenant(tenant),
        settings.project(tenant, project) if project is not None else None,
        account,
        account if owner == assignee else settings.account(tenant, owner) if owner is not None else None,
        settings.activated(tenant, assignee),
    )


def _desired(decision: Decision, revision: int, plan: int) -> Desired:
    content = decision.content.to_json() if decision.content is not None else None
    return Desired(
        revision,
        plan,
        decision.intent,
        decision.reason,
        decision.place,
        content,
        content_hash_of(content) if content is not None else None,
        decision.assigner,
        decision.notice,
    )


def _left(before: Entry, after: Desired) -> bool:
    """Whether the item had left this calendar and still has: no later revision, nor its deletion, is news there."""
    return before.desired.reason is Reason.UNASSIGNED and after.intent is before.desired.intent


class _Removal(Enum):
    NONE = auto()
    """Nothing that stands is taken away."""
    CONFIRMED = auto()
    """Whoever unlinked the account said that its entries go."""
    AS_BEFORE = auto()
    """An earlier plan took the entry away already: as far as that may go, this may."""
    FRESH = auto()


def _removal(before: Entry, desired: Desired, switches: Switches) -> _Removal:
    if desired.intent is not Intent.ABSENT or not before.applied.may_exist:
        return _Removal.NONE
    account = switches.account
    if isinstance(account, AccountUnlinked) and account.entries is Leftovers.REMOVE:
        return _Removal.CONFIRMED
    return _Removal.AS_BEFORE if before.desired.intent is Intent.ABSENT else _Removal.FRESH


def _stays_parked(before: Entry, removal: _Removal) -> bool:
    return before.parked and removal is _Removal.AS_BEFORE


def _changes_nothing(before: Entry, desired: Desired, removal: _Removal) -> bool:
    if before.parked and not _stays_parked(before, removal):
        return False
    return _same(before.desired, desired) or _left(before, desired)


def _same(before: Desired, after: Desired) -> bool:
    # The contents' hash tells: they themselves are not loaded.
    return (
        before.content_hash == after.content_hash
        and before.revision == after.revision
        and before.intent is after.intent
        and before.reason is after.reason
        and before.place == after.place
        and before.assigner == after.assigner
        and before.notice == after.notice
    )


def _needs_writer(desired: Desired, applied: Applied) -> bool:
    match desired.intent:
        case Intent.PRESENT:
            return True
        case Intent.ABSENT:
            return applied.may_exist
        case Intent.HOLD:
            return False
