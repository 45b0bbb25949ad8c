"""What counts as a removal when items are planned, and what becomes of one that waits when it is planned again."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from calbus.entry import Applied, Entry, Intent, ItemKey, Place
from calbus.store.items import StoredItem
from calbus.store.switches import Settings, key_of
from schemas.items import ActionDeleted, ActionUpserted
from schemas.reasons import Reason
from schemas.results import Ending
from schemas.switches import AccountUnlinked, Leftovers, SettingsEvent
from services.ingest.handler import due
from services.ingest.intake import Intake, arrival_of, plan_anew, take_in
from services.ingest.intake import key_of as item_of
from tests.unit.strategies import ASSIGNEE, PROJECT, SOURCE, TENANT, account, project, tenant, upserted

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PLACE = Place("contoso.example", f"{ASSIGNEE}@contoso.example")
ITEM = upserted(start="2026-12-01T09:00:00", project=PROJECT)
KEY = item_of(ITEM)
NAME = (KEY, ASSIGNEE)
STANDS = Applied(plan=1, place=PLACE, event_id="E", etag="W")


def settings(*changed: SettingsEvent) -> Settings:
    events = {key_of(event): event for event in (tenant(), project(), account(), *changed)}
    return Settings(events)


def deleted(revision: int) -> ActionDeleted:
    return ActionDeleted(tenant=TENANT, source=SOURCE, id=ITEM.id, revision=revision)


def unlinked(leftovers: Leftovers) -> AccountUnlinked:
    return AccountUnlinked(tenant=TENANT, user=ASSIGNEE, revision=9, entries=leftovers)


def stored(item: ActionUpserted | None = ITEM, revision: int = 1) -> dict[ItemKey, StoredItem]:
    return {KEY: StoredItem(revision, b"", item)}


def standing(applied: Applied = STANDS) -> Entry:
    """The entry as it stands in the calendar."""
    planned = take_in([arrival_of(ITEM, NOW)], {}, [], settings(), NOW).planned[NAME]
    return replace(planned.entry, applied=applied, owed=False)


def received(entry: Entry, *events: ActionUpserted | ActionDeleted, **changed: Any) -> Intake:
    at = stored(revision=entry.desired.revision)
    return take_in([arrival_of(event, NOW) for event in events], at, [entry], settings(*changed.values()), NOW)


def waiting() -> Entry:
    """The entry, deleted by revision 2 and parked."""
    return replace(received(standing(), deleted(2)).planned[NAME].entry, parked=True)


def test_a_removal_is_what_takes_away_what_stands() -> None:
    assert received(standing(), deleted(2)).removals == {NAME}
    assert received(standing(replace(STANDS, event_id=None, in_doubt=True)), deleted(2)).removals == {NAME}
    assert not received(standing(Applied()), deleted(2)).removals
    assert not received(standing(), upserted(revision=2, start="2026-12-02T09:00:00")).removals
    off = account(allowed=False)
    assert not received(standing(), deleted(2), account=off).removals


def test_what_one_batch_takes_away_and_brings_back_is_no_removal() -> None:
    again = upserted(revision=3, start="2026-12-01T09:00:00", project=PROJECT)
    assert not received(standing(), deleted(2), again).removals
    assert received(standing(), again.model_copy(update={"revision": 2}), deleted(3)).removals == {NAME}


def test_a_changed_setting_removes_and_an_unlinking_is_confirmed() -> None:
    disabled = plan_anew(stored(), [standing()], settings(project(enabled=False)), NOW)
    assert disabled.removals == {NAME}
    cleared = plan_anew(stored(), [standing()], settings(unlinked(Leftovers.REMOVE)), NOW)
    assert (cleared.removals, cleared.planned[NAME].entry.desired.intent) == (set(), Intent.ABSENT)
    kept = plan_anew(stored(), [standing()], settings(unlinked(Leftovers.KEEP)), NOW)
    assert (kept.removals, kept.planned[NAME].entry.desired.intent) == (set(), Intent.HOLD)


def test_a_newer_revision_that_still_removes_waits_on() -> None:
    intake = received(waiting(), deleted(3))
    planned = intake.planned[NAME]
    assert (planned.entry.parked, planned.entry.owed, planned.due_at) == (True, True, None)
    assert not intake.removals
    assert [(o.ending, o.reason) for o in intake.outcomes] == [(Ending.SUPERSEDED, Reason.NEWER_REVISION)]
    assert due(intake) == []


def test_a_removal_that_may_go_is_not_judged_again() -> None:
    going = replace(waiting(), parked=False)
    intake = received(going, deleted(3))
    assert (intake.removals, intake.planned[NAME].entry.parked) == (set(), False)
    assert len(due(intake)) == 1


def test_what_comes_back_waits_no_more() -> None:
    intake = received(waiting(), upserted(revision=3, start="2026-12-01T09:00:00", project=PROJECT))
    entry = intake.planned[NAME].entry
    assert (entry.parked, entry.desired.intent) == (False, Intent.PRESENT)
    assert len(due(intake)) == 1


def test_a_switch_that_is_off_ends_the_waiting() -> None:
    intake = plan_anew(stored(None, 2), [waiting()], settings(account(blocked=True)), NOW)
    entry = intake.planned[NAME].entry
    assert (entry.parked, entry.owed, entry.desired.intent) == (False, False, Intent.HOLD)


def test_an_unlinking_that_removes_releases_even_what_it_does_not_plan_otherwise() -> None:
    intake = plan_anew(stored(None, 2), [waiting()], settings(unlinked(Leftovers.REMOVE)), NOW)
    entry = intake.planned[NAME].entry
    assert (entry.parked, entry.owed, entry.desired.reason) == (False, True, Reason.DELETED)
    assert not intake.removals


def test_a_setting_that_changes_nothing_leaves_it_waiting() -> None:
    assert plan_anew(stored(None, 2), [waiting()], settings(project(enabled=False)), NOW).planned == {}


def test_a_repeated_message_wakes_nobody_for_what_waits() -> None:
    gone = deleted(2)
    first = received(standing(), gone)
    at = {KEY: first.items[KEY]}
    repeated = take_in([arrival_of(gone, NOW)], at, [waiting()], settings(), NOW)
    assert (repeated.unsettled, repeated.planned) == ([], {})
