"""Why an item is, or is not, in a calendar: everything that bears on it, in words and in the order of the questions.

Pure: facts in, story out. `why_facts.py` reads the facts, `why_command.py` tells the story.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from calbus.entry import Entry, Intent, ItemKey
from calbus.store.items import StoredItem
from calbus.store.unread import Unread
from schemas.items import ItemUpserted
from schemas.reasons import NextActor, Reason, explain
from schemas.switches import AccountSettings, AccountUnlinked, Assigning, Backfill, TenantSettings
from services.ingest.planner import Switches


class Verdict(StrEnum):
    """How it stands with an item in one assignee's calendar."""

    SHOWN = "shown"
    """The calendar shows the newest revision."""
    OUTDATED = "outdated"
    """The calendar shows it as it was."""
    ABSENT = "absent"
    """The calendar does not show it."""
    UNKNOWN = "unknown"
    """A write is under way whose end is not known yet."""


class Sign(StrEnum):
    """What a line means for the item."""

    FINE = "fine"
    STOPS = "stops"
    TELLS = "tells"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was looked at, and what it says."""

    about: str
    sign: Sign
    says: str


@dataclass(frozen=True, slots=True)
class EntryFacts:
    """What is known of an item for one assignee.

    `trouble` is what the entry rests for, of its account or tenant; one that does not hold it is not told. `due_at` is
    None while it rests.
    """

    entry: Entry
    switches: Switches
    attempts: int = 0
    last_error: Reason | None = None
    refusal: Reason | None = None
    due_at: datetime | None = None
    settled_at: datetime | None = None
    trouble: Reason | None = None
    trouble_since: datetime | None = None
    probe_at: datetime | None = None
    parked: bool = False


@dataclass(frozen=True, slots=True)
class ItemFacts:
    """What is known of an item. `revisions`: the newest accepted ones, newest first, with when they were published."""

    key: ItemKey
    stored: StoredItem
    revisions: tuple[tuple[int, datetime], ...]
    unread: Unread | None
    entries: tuple[EntryFacts, ...]


@dataclass(frozen=True, slots=True)
class EntryStory:
    """The story for one assignee. `reason` is what decides; `next_try_at` is None if nobody will try by itself."""

    assignee: str
    verdict: Verdict
    reason: Reason
    says: str
    next_actor: NextActor
    remedy: str
    notice: str
    next_try_at: datetime | None
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Story:
    """The story of an item: what was received, and how it went for each assignee."""

    tenant: str
    source: str
    kind: str
    id: str
    lines: tuple[Line, ...]
    entries: tuple[EntryStory, ...]


def story_of(facts: ItemFacts, assignee: str | None = None) -> Story:
    """Tell the whole story; of one assignee only, if one is given."""
    key = facts.key
    return Story(
        key.tenant,
        key.source,
        key.kind.value,
        key.id,
        tuple(_item_lines(facts)),
        tuple(
            _entry_story(facts, entry)
            for entry in sorted(facts.entries, key=lambda one: one.entry.assignee)
            if assignee in (None, entry.entry.assignee)
        ),
    )


def deciding_reason(facts: EntryFacts) -> Reason:
    """The one reason for how things stand: what holds the newest plan up, or how it ended."""
    entry = facts.entry
    if facts.parked:
        return Reason.REMOVAL_PARKED
    if entry.owed:
        waiting = Reason.IN_DOUBT if entry.applied.in_doubt else Reason.QUEUED
        return facts.trouble or facts.last_error or waiting
    if facts.refusal is not None:
        return facts.refusal
    if entry.desired.intent is Intent.PRESENT:
        return facts.last_error or Reason.WRITTEN
    return entry.desired.reason


def _entry_story(facts: ItemFacts, one: EntryFacts) -> EntryStory:
    reason = deciding_reason(one)
    explanation = explain(reason)
    return EntryStory(
        assignee=one.entry.assignee,
        verdict=_verdict(one, reason),
        reason=reason,
        says=explanation.says,
        next_actor=explanation.next_actor,
        remedy=explanation.remedy,
        notice=one.entry.desired.notice,
        next_try_at=one.probe_at if one.trouble is not None else one.due_at,
        lines=tuple(_entry_lines(facts.stored.item, one)),
    )


def _verdict(facts: EntryFacts, reason: Reason) -> Verdict:
    applied = facts.entry.applied
    if applied.in_doubt:
        return Verdict.UNKNOWN
    if applied.event_id is None:
        return Verdict.ABSENT
    return Verdict.SHOWN if reason is Reason.WRITTEN else Verdict.OUTDATED


def _item_lines(facts: ItemFacts) -> Iterable[Line]:
    newest, *earlier = facts.revisions or ((facts.stored.revision, None),)
    when = f", published {_moment(newest[1])}" if newest[1] is not None else ""
    yield Line("received", Sign.FINE, f"Revision {newest[0]} is the newest{when}.")
    if earlier:
        named = ", ".join(f"{revision} ({_moment(at)})" for revision, at in earlier)
        yield Line("received", Sign.TELLS, f"Before it: {named}. {explain(Reason.NEWER_REVISION).says}")
    if facts.unread is not None:
        unread = facts.unread
        later = newest[1] is None or unread.read_at > newest[1]
        yield Line(
            "unreadable",
            Sign.STOPS if later else Sign.TELLS,
            f"A message about it became a dead letter on {_moment(unread.read_at)}: {unread.reason}. "
            f"{explain(unread.reason).says} {unread.detail}. It stands at {unread.position}. "
            f"{explain(unread.reason).remedy}",
        )
    if facts.stored.item is None:
        yield Line("item", Sign.STOPS, explain(Reason.DELETED).says)
    elif not facts.stored.item.assignees:
        yield Line("item", Sign.STOPS, "The item has no assignees, so it stands in no calendar.")


def _entry_lines(item: ItemUpserted | None, one: EntryFacts) -> Iterable[Line]:
    switches, entry = one.switches, one.entry
    yield _stops_unless(switches.tenant is not None and switches.tenant.enabled, "tenant", Reason.TENANT_NOT_ENABLED)
    yield from _account_lines(switches.account)
    if item is not None:
        yield from _item_switch_lines(item, entry, switches)
        yield from _age_lines(one)
        yield from _access_lines(item, one)
    yield from _plan_lines(one)
    yield from _attempt_lines(one)
    yield _place_line(one)


def _stops_unless(fine: bool, about: str, reason: Reason, otherwise: str = "") -> Line:
    if fine:
        return Line(about, Sign.FINE, otherwise or "It is switched on.")
    return Line(about, Sign.STOPS, explain(reason).says)


def _account_lines(account: AccountSettings | AccountUnlinked | None) -> Iterable[Line]:
    if account is None:
        yield Line("account", Sign.STOPS, explain(Reason.NO_ACCOUNT).says)
        return
    if isinstance(account, AccountUnlinked):
        yield Line(
            "account", Sign.STOPS, f"{explain(Reason.ACCOUNT_UNLINKED).says} Its entries: {account.entries.value}."
        )
        return
    yield _stops_unless(account.allowed, "account", Reason.ACCOUNT_NOT_ALLOWED, "It is allowed.")
    yield _stops_unless(not account.blocked, "account", Reason.ACCOUNT_BLOCKED, "It is not blocked.")
    direction = f"It synchronises {account.direction.value}."
    yield _stops_unless(account.direction.writes, "direction", Reason.DIRECTION_NOT_UP, direction)


def _item_switch_lines(item: ItemUpserted, entry: Entry, switches: Switches) -> Iterable[Line]:
    assigned = entry.assignee in item.assignees
    yield _stops_unless(assigned, "assignee", Reason.UNASSIGNED, "The item is assigned to this user.")
    yield _stops_unless(item.start is not None, "start", Reason.NO_START, "The item has a start.")
    if item.project is None:
        yield Line("project", Sign.FINE, "The item has no project.")
        return
    project = switches.project
    yield _stops_unless(project is not None and project.enabled, "project", Reason.PROJECT_NOT_ENABLED)
    if isinstance(switches.account, AccountSettings) and switches.account.projects is not None:
        selected = item.project in switches.account.projects
        yield _stops_unless(selected, "project", Reason.PROJECT_NOT_SELECTED, "The user selected it.")


def _age_lines(one: EntryFacts) -> Iterable[Line]:
    activated_at, since = one.switches.activated_at, one.entry.since
    if activated_at is None or since is None:
        return
    old = since < activated_at
    backfill = one.switches.tenant.backfill if one.switches.tenant is not None else Backfill.NONE
    says = f"The account was activated {_moment(activated_at)}; the item is this user's since {_moment(since)}."
    if old:
        says += f" The tenant's backfill is {backfill.value}."
    stops = one.entry.desired.reason is Reason.BEFORE_ACTIVATION
    yield Line("cut-off", Sign.STOPS if stops else Sign.TELLS if old else Sign.FINE, says)


def _access_lines(item: ItemUpserted, one: EntryFacts) -> Iterable[Line]:
    tenant, entry = one.switches.tenant, one.entry
    if item.owner in (None, entry.assignee):
        yield Line("access", Sign.FINE, "Nobody else assigned it, so nobody's access is asked for.")
    elif isinstance(tenant, TenantSettings) and tenant.assigning is Assigning.ANYONE:
        yield Line("access", Sign.FINE, "The tenant lets anyone assign.")
    elif entry.desired.reason is Reason.OWNER_HAS_NO_ACCOUNT:
        yield Line("access", Sign.STOPS, explain(Reason.OWNER_HAS_NO_ACCOUNT).says)
    elif one.refusal is not None:
        yield Line("access", Sign.STOPS, f"{explain(one.refusal).says} It is looked at again from time to time.")
    elif entry.desired.grant is not None and entry.desired.grant == entry.applied.grant:
        yield Line("access", Sign.FINE, f"The owner, {item.owner}, may edit the calendar.")
    elif entry.desired.grant is not None:
        yield Line("access", Sign.TELLS, f"Whether the owner, {item.owner}, may edit the calendar was not seen yet.")


_INTENTS = {
    Intent.PRESENT: "it should stand in the calendar",
    Intent.ABSENT: "it should not stand in the calendar",
    Intent.HOLD: "the calendar stays as it is",
}


def _plan_lines(one: EntryFacts) -> Iterable[Line]:
    desired = one.entry.desired
    says = f"Plan {desired.plan}, of revision {desired.revision}: {_INTENTS[desired.intent]} ({desired.reason})."
    wanted = desired.intent is Intent.PRESENT
    yield Line("plan", Sign.FINE if wanted else Sign.STOPS, f"{says} {desired.notice}".rstrip())
    if one.parked:
        yield Line("removal", Sign.STOPS, explain(Reason.REMOVAL_PARKED).says)


def _attempt_lines(one: EntryFacts) -> Iterable[Line]:
    if one.trouble is not None:
        since = f" since {_moment(one.trouble_since)}" if one.trouble_since is not None else ""
        again = f" calbus looks again {_moment(one.probe_at)}." if one.probe_at is not None else ""
        yield Line("mailbox", Sign.STOPS, f"In trouble{since}: {explain(one.trouble).says}{again}")
    if one.last_error is not None:
        tried = f" after {one.attempts} attempts" if one.attempts else ""
        yield Line("attempts", Sign.STOPS, f"The last try ended{tried} with {one.last_error}. {_says(one.last_error)}")
    if one.entry.owed and one.due_at is not None:
        yield Line("attempts", Sign.TELLS, f"It is tried next at {_moment(one.due_at)}, or as soon as its writer can.")


def _says(reason: Reason) -> str:
    return explain(reason).says


def _place_line(one: EntryFacts) -> Line:
    applied, place = one.entry.applied, one.entry.target
    if place is None:
        return Line("calendar", Sign.TELLS, "No calendar was ever chosen for it.")
    where = f"the {'default calendar' if place.calendar is None else f'calendar “{place.calendar}”'} of {place.mailbox}"
    settled = f", last settled {_moment(one.settled_at)}" if one.settled_at is not None else ""
    if applied.in_doubt:
        return Line("calendar", Sign.TELLS, f"It may stand in {where}; calbus looks before it writes again.")
    if applied.event_id is None:
        return Line("calendar", Sign.TELLS, f"It does not stand in {where}{settled}.")
    return Line("calendar", Sign.FINE, f"It stands in {where}{settled}, as event {applied.event_id}.")


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
