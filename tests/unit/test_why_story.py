"""The story that `calbus why` tells: every reason can be the one that decides, and says whose move it is."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from calbus.entry import Applied, Desired, Entry, Intent, ItemKey, Place, entry_id_of
from calbus.store.items import StoredItem
from calbus.store.unread import Unread
from schemas.items import Kind
from schemas.reasons import EXPLANATIONS, NextActor, Reason
from schemas.switches import AccountUnlinked, Backfill, Leftovers
from services.ingest.planner import Switches
from services.ingest.why import EntryFacts, ItemFacts, Sign, Verdict, deciding_reason, story_of
from services.ingest.why_facts import ItemName, NamedOddlyError
from tests.unit.strategies import ASSIGNEE, SOURCE, TENANT, account, project, tenant, upserted

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
KEY = ItemKey(TENANT, SOURCE, Kind.ACTION, "A-1")
HERE = Place("contoso.example", f"{ASSIGNEE}@contoso.example")
STANDING = Applied(plan=1, place=HERE, content_hash=b"1", event_id="AAMk=", etag='W/"1"')

# Of an outcome or an account, not of how an entry stands now: the word itself can be asked for.
TOLD_BY_WORD = {Reason.UNCHANGED, Reason.NEWER_REVISION, Reason.SETTINGS_CHANGED, Reason.WORKING}
OF_MESSAGES = {reason for reason, said in EXPLANATIONS.items() if said.next_actor is NextActor.PUBLISHER}
PLANNED = {
    Reason.NO_START,
    Reason.UNASSIGNED,
    Reason.DELETED,
    Reason.NO_ACCOUNT,
    Reason.TENANT_NOT_ENABLED,
    Reason.PROJECT_NOT_ENABLED,
    Reason.PROJECT_NOT_SELECTED,
    Reason.ACCOUNT_NOT_ALLOWED,
    Reason.ACCOUNT_BLOCKED,
    Reason.DIRECTION_NOT_UP,
    Reason.BEFORE_ACTIVATION,
    Reason.ACCOUNT_UNLINKED,
    Reason.RECURRENCE_NOT_SUPPORTED,
    Reason.OWNER_HAS_NO_ACCOUNT,
}
REFUSED = {Reason.ASSIGNER_LACKS_ACCESS, Reason.OWNER_HAS_NO_MAILBOX}


def entry(
    reason: Reason = Reason.WRITTEN, *, intent: Intent = Intent.PRESENT, owed: bool = False, **fields: Any
) -> Entry:
    """An entry of the item in ASSIGNEE's calendar."""
    place = HERE if intent is Intent.PRESENT else None
    desired = Desired(2, 3, intent, reason, place, b"{}" if place else None, b"2" if place else None)
    applied = fields.pop("applied", Applied())
    return Entry(entry_id_of(KEY, ASSIGNEE), KEY, ASSIGNEE, desired, applied, owed, **fields)


def facts(one: EntryFacts, *, unread: Unread | None = None, **item: Any) -> ItemFacts:
    """What is known of the item, with one assignee."""
    stored = StoredItem(2, b"hash", upserted(revision=2, start="2026-11-23T09:00", **item))
    revisions = ((2, NOW), (1, NOW - timedelta(hours=1)))
    return ItemFacts(KEY, stored, revisions, unread, (one,))


def entry_facts(of: Entry, **fields: Any) -> EntryFacts:
    """With every switch on."""
    return EntryFacts(of, fields.pop("switches", Switches(tenant(), project(), account())), **fields)


def standing_for(reason: Reason) -> EntryFacts:
    """How an entry stands for which this is the reason."""
    if reason in PLANNED:
        return entry_facts(entry(reason, intent=Intent.ABSENT))
    if reason in REFUSED:
        return entry_facts(entry(), refusal=reason)
    if reason is Reason.REMOVAL_PARKED:
        parked = entry(Reason.PROJECT_NOT_ENABLED, intent=Intent.ABSENT, owed=True, applied=STANDING)
        return entry_facts(parked, parked=True)
    if reason is Reason.WRITTEN:
        return entry_facts(entry(applied=STANDING))
    if reason is Reason.EVENT_REJECTED:
        return entry_facts(entry(), last_error=reason)
    if reason is Reason.QUEUED:
        return entry_facts(entry(owed=True))
    if reason is Reason.IN_DOUBT:
        return entry_facts(entry(owed=True, applied=Applied(place=HERE, in_doubt=True)))
    return entry_facts(entry(owed=True), last_error=reason, attempts=3, due_at=NOW)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_story(reason: Reason) -> None:
    said = EXPLANATIONS[reason]
    if reason in OF_MESSAGES:
        unread = Unread(TENANT, SOURCE, "A-1", reason, "start: is not a date", "calbus.actions.v1/3/90210", NOW)
        (line,) = [
            one
            for one in story_of(facts(standing_for(Reason.QUEUED), unread=unread)).lines
            if one.about == "unreadable"
        ]
        assert said.says in line.says
        assert said.remedy in line.says
        assert "calbus.actions.v1/3/90210" in line.says
    elif reason not in TOLD_BY_WORD:
        one = standing_for(reason)
        assert deciding_reason(one) is reason
        (told,) = story_of(facts(one)).entries
        assert (told.reason, told.says, told.next_actor, told.remedy) == (
            reason,
            said.says,
            said.next_actor,
            said.remedy,
        )


@pytest.mark.parametrize(
    "reason", sorted({r for r, s in EXPLANATIONS.items() if s.next_actor is NextActor.ADMINISTRATOR})
)
def test_a_mailbox_in_trouble_decides_and_says_when_it_is_looked_at_again(reason: Reason) -> None:
    again = NOW + timedelta(minutes=20)
    one = entry_facts(entry(owed=True), trouble=reason, trouble_since=NOW, probe_at=again)
    (told,) = story_of(facts(one)).entries
    assert (told.reason, told.next_try_at) == (reason, again)
    assert any(line.about == "mailbox" and line.sign is Sign.STOPS for line in told.lines)


def test_verdicts_tell_what_the_calendar_shows() -> None:
    shown = entry_facts(entry(applied=STANDING))
    held = entry_facts(entry(Reason.ACCOUNT_BLOCKED, intent=Intent.HOLD, applied=STANDING))
    doubted = entry_facts(entry(owed=True, applied=replace(STANDING, event_id=None, in_doubt=True)))
    absent = entry_facts(entry(owed=True))
    verdicts = [story_of(facts(one)).entries[0].verdict for one in (shown, held, doubted, absent)]
    assert verdicts == [Verdict.SHOWN, Verdict.OUTDATED, Verdict.UNKNOWN, Verdict.ABSENT]


@pytest.mark.parametrize(
    ("switches", "about"),
    [
        (Switches(None, project(), account()), "tenant"),
        (Switches(tenant(enabled=False), project(), account()), "tenant"),
        (Switches(tenant(), None, account()), "project"),
        (Switches(tenant(), project(enabled=False), account()), "project"),
        (Switches(tenant(), project(), account(projects=("other",))), "project"),
        (Switches(tenant(), project(), None), "account"),
        (Switches(tenant(), project(), account(allowed=False)), "account"),
        (Switches(tenant(), project(), account(blocked=True)), "account"),
        (Switches(tenant(), project(), account(direction="none")), "direction"),
        (
            Switches(
                tenant(),
                project(),
                AccountUnlinked(tenant=TENANT, revision=2, user=ASSIGNEE, entries=Leftovers.KEEP),
            ),
            "account",
        ),
    ],
)
def test_each_switch_that_is_off_is_named_and_the_others_are_fine(switches: Switches, about: str) -> None:
    one = entry_facts(entry(Reason.NO_START, intent=Intent.HOLD), switches=switches)
    (told,) = story_of(facts(one, project="north")).entries
    stopping = {line.about for line in told.lines if line.sign is Sign.STOPS}
    assert stopping == {about, "plan"}


def test_the_cut_off_says_both_moments_and_what_the_tenant_chose() -> None:
    switches = Switches(tenant(backfill=Backfill.FUTURE), None, account(), None, NOW)
    one = entry_facts(
        entry(Reason.BEFORE_ACTIVATION, intent=Intent.ABSENT, since=NOW - timedelta(days=1)), switches=switches
    )
    (told,) = story_of(facts(one)).entries
    (line,) = [line for line in told.lines if line.about == "cut-off"]
    assert line.sign is Sign.STOPS
    assert all(word in line.says for word in ("2026-11-21 09:30:00", "2026-11-20 09:30:00", "future"))


def test_access_is_told_in_each_of_its_states() -> None:
    granted = entry(applied=STANDING)
    granted = replace(granted, desired=replace(granted.desired, assigner="boss@contoso.example"))
    open_, given = granted, replace(granted, applied=replace(STANDING, grant=granted.desired.grant))

    def signs(one: EntryFacts, **item: Any) -> list[Sign]:
        (told,) = story_of(facts(one, **item)).entries
        return [line.sign for line in told.lines if line.about == "access"]

    assert signs(entry_facts(open_), owner=ASSIGNEE) == [Sign.FINE]
    assert signs(entry_facts(open_), owner="boss") == [Sign.TELLS]
    assert signs(entry_facts(given), owner="boss") == [Sign.FINE]
    assert signs(entry_facts(open_, refusal=Reason.ASSIGNER_LACKS_ACCESS), owner="boss") == [Sign.STOPS]
    anyone = Switches(tenant(assigning="anyone"), None, account())
    assert signs(entry_facts(entry(), switches=anyone), owner="boss") == [Sign.FINE]


def test_one_assignee_can_be_asked_for() -> None:
    known = facts(entry_facts(entry()))
    assert [one.assignee for one in story_of(known, ASSIGNEE).entries] == [ASSIGNEE]
    assert story_of(known, "nobody").entries == ()


def test_an_item_is_named_by_its_id_or_in_full() -> None:
    alone, whole = ItemName("A-1"), ItemName("contoso/planner/contact/A-1")
    assert (alone.tenant, alone.id) == (None, "A-1")
    assert (whole.tenant, whole.source, whole.kind, whole.id) == ("contoso", "planner", Kind.CONTACT, "A-1")
    for odd in ("", "a/b", "contoso/planner/task/A-1", "contoso/planner/action/"):
        with pytest.raises(NamedOddlyError):
            ItemName(odd)
