"""What a change of settings would cost: the tally of what the planner would decide, against what stands. Pure.

Calls are counted as the writer makes them where nothing stands in its way; what it finds out meanwhile (an event that
somebody changed, a mailbox that is shut) costs more.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import orjson

from calbus.budget import MailboxBudget
from calbus.entry import Entry, Intent, Place
from calbus.store.entries import Look
from calbus.store.removals import Breaker
from calbus.store.switches import Named, Settings
from schemas.reasons import Reason
from schemas.switches import AccountSettings, Backfill, ProjectSettings, Scope, SettingsEvent, TenantSettings
from services.ingest.breaker import TENANT, Thresholds, is_current, judge, opened
from services.ingest.intake import Intake

# Before the tenant has settings, nobody knows its directory; one is as good as another for counting.
UNKNOWN_DIRECTORY = "00000000-0000-0000-0000-000000000000"


class Fate(StrEnum):
    """What would become of an entry."""

    CREATED = "created"
    CHANGED = "changed"
    """Written again where it stands, or moved to another calendar."""
    REMOVED = "removed"
    UNCHANGED = "unchanged"
    """It stands as it should, or stands and is left alone."""
    NOT_WRITTEN = "not_written"


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What is assumed of a tenant's settings; the rest is as it is."""

    tenant: str
    enable: bool = False
    backfill: Backfill | None = None
    projects: frozenset[str] = frozenset()
    """As if enabled."""
    accounts: frozenset[str] = frozenset()
    """As if allowed; who has no account, as if linked to a mailbox."""

    def applied_to(self, settings: Settings, needed: Iterable[Named], now: datetime) -> Settings:
        """The needed settings under this hypothesis. Accounts that it activates are activated now."""
        events = dict(settings.events)
        activated_at = dict(settings.activated_at)
        tenant = self._tenant(settings.tenant(self.tenant))
        if tenant is not None:
            events[self.tenant, Scope.TENANT, ""] = tenant
        for key in needed:
            _, scope, name = key
            if scope is Scope.PROJECT and name in self.projects:
                events[key] = self._project(name, events.get(key))
            elif scope is Scope.ACCOUNT:
                if name in self.accounts:
                    events[key] = self._account(name, events.get(key))
                account = events.get(key)
                if tenant is not None and tenant.enabled and isinstance(account, AccountSettings) and account.allowed:
                    activated_at.setdefault(key, now)
        return Settings(events, activated_at)

    def _tenant(self, known: TenantSettings | None) -> TenantSettings | None:
        if known is None:
            if not self.enable:
                return None
            known = TenantSettings(tenant=self.tenant, revision=1, enabled=True, directory=UNKNOWN_DIRECTORY)
        changes: dict[str, object] = {"enabled": True} if self.enable else {}
        if self.backfill is not None:
            changes["backfill"] = self.backfill
        return known.model_copy(update=changes)

    def _project(self, name: str, known: SettingsEvent | None) -> ProjectSettings:
        if isinstance(known, ProjectSettings):
            return known.model_copy(update={"enabled": True})
        return ProjectSettings(tenant=self.tenant, project=name, revision=1, enabled=True)

    def _account(self, name: str, known: SettingsEvent | None) -> AccountSettings:
        if isinstance(known, AccountSettings):
            return known.model_copy(update={"allowed": True})
        # Its mailbox is not known yet; that it is one of its own is all that counts here.
        return AccountSettings.model_construct(tenant=self.tenant, user=name, revision=1, mailbox=name, allowed=True)


@dataclass(frozen=True, slots=True)
class Removals:
    """What the breaker would say: how many entries would go for a reason nobody has confirmed, and how many wait."""

    asked: int
    parked: int
    trips: int


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a switch-on would cost. Of mailboxes there are counts only, never a name."""

    items: int
    entries: int
    fates: dict[Fate, int]
    not_written: dict[Reason, int]
    calls: dict[str, int]
    calls_in_all: int
    mailboxes: int
    busiest_mailbox_calls: int
    busiest_mailbox_minutes: float
    one_writer_minutes: float
    accounts_activated: int
    """Accounts that were never active before: their cut-off would be now."""
    removals: Removals


@dataclass(slots=True)
class _Mailbox:
    calls: int = 0
    entries: int = 0


@dataclass(slots=True)
class Tally:
    """Counts chunk after chunk. Memory grows with the tenant's mailboxes and assigners, not with its items."""

    categories_seen: set[tuple[str, str]]
    """Lanes and names, casefolded, of the categories that were seen to."""
    items: int = 0
    fates: Counter[Fate] = field(default_factory=Counter)
    not_written: Counter[Reason] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    activated: set[str] = field(default_factory=set)
    _mailboxes: dict[str, _Mailbox] = field(default_factory=dict)
    _lanes: dict[Place, str] = field(default_factory=dict)
    _calendars: set[Place] = field(default_factory=set)
    _checked: set[tuple[str, str]] = field(default_factory=set)
    _owners: set[str] = field(default_factory=set)
    _standing: Counter[str] = field(default_factory=Counter)
    _asked: Counter[str] = field(default_factory=Counter)

    def add(self, items: int, looks: Iterable[Look], intake: Intake) -> None:
        """Count a chunk: its entries as they are, and what the hypothesis makes of them."""
        self.items += items
        self._asked.update(assignee for _, assignee in intake.removals)
        for look in looks:
            before = look.entry
            if before.applied.may_exist and not (before.desired.intent is Intent.ABSENT and not before.parked):
                self._standing[before.assignee] += 1
            planned = intake.planned.get((before.item, before.assignee))
            refusal = look.refusal or look.last_error
            if planned is None and not before.owed and before.desired.intent is Intent.PRESENT and refusal is not None:
                # A writer has ended this plan, and nothing begins another.
                self._count_unwritten(before, refusal)
            elif planned is None and look.refusal is not None:
                self._count_unwritten(before, look.refusal)
            else:
                self._count(planned.entry if planned is not None else before)

    def _count(self, entry: Entry) -> None:
        desired, applied = entry.desired, entry.applied
        if desired.intent is not Intent.PRESENT:
            leaves = desired.intent is Intent.ABSENT and applied.may_exist
            if not leaves:
                self._count_unwritten(entry, desired.reason)
            elif entry.parked:
                self._count_unwritten(entry, Reason.REMOVAL_PARKED)
            else:
                self.fates[Fate.REMOVED] += 1
                self._call(applied.place, "delete")
            return
        assert desired.place is not None
        assert desired.content is not None
        stays = applied.place is not None and applied.place.is_same(desired.place)
        if applied.event_id is not None and stays and applied.content_hash == desired.content_hash:
            self.fates[Fate.UNCHANGED] += 1
            self._check_access(entry)
            return
        if not applied.may_exist:
            self.fates[Fate.CREATED] += 1
            self._call(desired.place, "create")
        elif applied.event_id is None:
            # Whether a create arrived is not known: the calendar is asked, and most often it did.
            self.fates[Fate.CHANGED] += 1
            self._call(applied.place, "find")
            self._call(desired.place, "update")
        else:
            self.fates[Fate.CHANGED] += 1
            if applied.etag is None:
                self._call(applied.place, "read")
            if stays:
                self._call(desired.place, "update")
            else:
                self._call(applied.place, "delete")
                self._call(desired.place, "create")
        self._mailbox(desired.place).entries += 1
        self._prepare(entry, desired.place, orjson.loads(desired.content))

    def _count_unwritten(self, entry: Entry, reason: Reason) -> None:
        if entry.applied.may_exist:
            self.fates[Fate.UNCHANGED] += 1
        else:
            self.fates[Fate.NOT_WRITTEN] += 1
            self.not_written[reason] += 1

    def _prepare(self, entry: Entry, place: Place, content: Mapping[str, object]) -> None:
        """What goes before a write, or comes after it."""
        self._check_access(entry)
        if place.calendar is not None and place not in self._calendars:
            self._calendars.add(place)
            self._call(place, "list_calendars")
        name = str(content.get("category") or "").casefold()
        seen = (self._lane(place), name)
        if name and content.get("color", "none") != "none" and seen not in self.categories_seen:
            self.categories_seen.add(seen)
            # Looked for, and made if it is not there.
            self._call(place, "list_categories")
            self._call(place, "create_category")
        recurrence = content.get("recurrence")
        if isinstance(recurrence, dict) and (exceptions := len(recurrence["cancelled"]) + len(recurrence["moved"])):
            # Each is looked up and then written; at last the series is read for its newest etag.
            self._call(place, "exception", 2 * exceptions)
            self._call(place, "read")

    def _check_access(self, entry: Entry) -> None:
        """One read of each calendar's sharing, and at most two for each owner: the address, and the groups."""
        desired = entry.desired
        if desired.place is None or desired.assigner is None or desired.grant == entry.applied.grant:
            return
        calendar = (self._lane(desired.place), (desired.place.calendar or "").casefold())
        if calendar not in self._checked:
            self._checked.add(calendar)
            self._call(desired.place, "check_access")
        owner = desired.assigner.casefold()
        if owner not in self._owners:
            self._owners.add(owner)
            self.calls["check_access"] += 2

    def _call(self, place: Place | None, operation: str, count: int = 1) -> None:
        assert place is not None
        self.calls[operation] += count
        self._mailbox(place).calls += count

    def _mailbox(self, place: Place) -> _Mailbox:
        return self._mailboxes.setdefault(self._lane(place), _Mailbox())

    def _lane(self, place: Place) -> str:
        lane = self._lanes.get(place)
        if lane is None:
            lane = self._lanes[place] = place.lane
        return lane

    def result(
        self, budget: MailboxBudget, breakers: Mapping[str, Breaker], thresholds: Thresholds, now: datetime
    ) -> Forecast:
        """What it all comes to."""
        in_all = sum(self.calls.values())
        busiest = max(self._mailboxes.values(), key=lambda mailbox: mailbox.calls, default=_Mailbox())
        seconds = max(
            (
                max(budget.seconds_for(mailbox.calls), budget.replan_seconds_for(mailbox.entries))
                for mailbox in self._mailboxes.values()
            ),
            default=0.0,
        )
        return Forecast(
            items=self.items,
            entries=sum(self.fates.values()),
            fates={fate: self.fates[fate] for fate in Fate},
            not_written=dict(self.not_written.most_common()),
            calls=dict(self.calls.most_common()),
            calls_in_all=in_all,
            mailboxes=sum(mailbox.calls > 0 for mailbox in self._mailboxes.values()),
            busiest_mailbox_calls=busiest.calls,
            busiest_mailbox_minutes=round(seconds / 60, 1),
            one_writer_minutes=round(max(seconds, budget.writer_seconds_for(in_all)) / 60, 1),
            accounts_activated=len(self.activated),
            removals=self._removals(breakers, thresholds, now),
        )

    def _removals(self, breakers: Mapping[str, Breaker], thresholds: Thresholds, now: datetime) -> Removals:
        if not self._asked:
            return Removals(0, 0, 0)
        standing = self._standing + Counter({TENANT: self._standing.total()})
        own = {name: breakers.get(name, Breaker()) for name in (TENANT, *self._asked)}
        current = {
            name: breaker if is_current(breaker, thresholds, now) else opened(breaker, standing[name], now)
            for name, breaker in own.items()
        }
        judgement = judge(self._asked, current, thresholds, now)
        parked = sum(self._asked[user] for user in judgement.parked)
        return Removals(self._asked.total(), parked, len(judgement.trips))
