"""What is told of what a calendar shows, case by case; `test_pull_histories.py` lets cases follow one another."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from calbus.entry import (
    Applied,
    Content,
    Desired,
    Entry,
    Intent,
    ItemKey,
    Place,
    content_hash_of,
    entry_id_of,
    transaction_id_of,
)
from calbus.recurrence import Moved, Pattern, PatternType, Range, Recurrence
from calbus.touches import Loss, Times, Touch
from schemas.changes import (
    AppointmentRemoved,
    AppointmentUpserted,
    EditedField,
    EntryEdited,
    EntryRemoved,
    EntryRescheduled,
    Shown,
)
from schemas.items import Kind
from schemas.reasons import Reason
from schemas.switches import Detail, Touched
from services.puller.classify import Gone, Ours, Removed, Verdict, View, classify, created_by, event_id_of, lost
from services.puller.ours import expected, expected_occurrence
from services.puller.seen import EXCEPTION, MASTER, OCCURRENCE, SINGLE, Seen
from tests.unit.pulling import BEGIN, END, NOW, view
from tests.unit.strategies import ASSIGNEE, SOURCE, TENANT, content

ITEM = ItemKey(TENANT, SOURCE, Kind.ACTION, "A-1")
HERE = Place("contoso.example", "anna@contoso.example")
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
EVENT, KEY = "e1", "k1"

CONTENT = content(body="What to do")
# Every day at nine in Amsterdam, for five days: the second is cancelled, the third is in the afternoon.
DAILY = content(
    recurrence=Recurrence(
        Pattern(PatternType.DAILY, 1),
        Range(date(2026, 11, 23), until=date(2026, 11, 27)),
        cancelled=(date(2026, 11, 24),),
        moved=(Moved(date(2026, 11, 25), datetime(2026, 11, 25, 15), datetime(2026, 11, 25, 16), "Europe/Amsterdam"),),
    )
)
WHOLE_DAYS = content(
    start=datetime(2026, 11, 23), end=datetime(2026, 11, 24), all_day=True,
    recurrence=Recurrence(Pattern(PatternType.DAILY, 1), Range(date(2026, 11, 23), until=date(2026, 11, 27))),
)  # fmt: skip


def entry(planned: Content | None = CONTENT, **changed: Any) -> Entry:
    """An entry that stands as planned; `changed` members of its desired or applied state are others."""
    stored = planned.to_json() if planned else None
    of_hash = content_hash_of(stored) if stored else None
    desired = Desired(3, 3, Intent.PRESENT, Reason.WRITTEN, HERE, stored, of_hash)
    applied = Applied(3, HERE, of_hash, EVENT, f'W/"{KEY}"')
    mine = {name: changed.pop(name) for name in ("parked", "assignee", "item") if name in changed}
    for name, value in changed.items():
        if hasattr(applied, name):
            applied = replace(applied, **{name: value})
        else:
            desired = replace(desired, **{name: value})
    return replace(Entry(entry_id_of(ITEM, ASSIGNEE), ITEM, ASSIGNEE, desired, applied, owed=False), **mine)


ENTRY = entry()


def shown(planned: Content = CONTENT, **fields: Any) -> Seen:
    """The event as the writer left it; `fields` are as somebody else did."""
    look = expected(planned)
    given = {name: getattr(look, name) for name in look.__dataclass_fields__}
    kind = SINGLE if planned.recurrence is None else MASTER
    beside: dict[str, Any] = {"series_id": None, "original_start": None, "body_preview": "what", "cancelled": False}
    return Seen(**{**given, "event_id": EVENT, "change_key": KEY, "type": kind, **beside, **fields})


def occurrence(day: date, planned: Content = DAILY, *, kind: str = EXCEPTION, **fields: Any) -> Seen:
    """An occurrence of our series as the writer left it."""
    look = expected_occurrence(planned, day)
    given = {name: getattr(look, name) for name in look.__dataclass_fields__}
    original = datetime(day.year, day.month, day.day, 8, tzinfo=UTC)
    whose = {"series_id": EVENT, "original_start": original, "event_id": f"o{day.day}", "type": kind}
    return shown(planned, **given | whose | fields)


def known(seen: Seen, **fields: Any) -> Seen:
    """One of ours as it was kept when it was last judged."""
    return replace(seen, **{"entry_id": ENTRY.entry_id, "base_key": KEY, **fields})


def ours(of: Entry = ENTRY, *, writing: bool = False, master: Seen | None = None) -> Ours:
    return Ours(of, writing, master)


def judge(item: Seen | Removed | Gone, before: Seen | None = None, of: Ours | None = None, **seen_by: Any) -> Verdict:
    return classify(view(**seen_by), item, before, of, NOW)


LATER = shown(change_key="k2", start=datetime(2026, 11, 23, 10, tzinfo=UTC), end=datetime(2026, 11, 23, 11, tzinfo=UTC))
DUE = replace(ENTRY.applied, content_hash=None)


# --- What calbus wrote itself ---


@dataclass(frozen=True)
class Case:
    says: str
    item: Seen | Removed | Gone
    before: Seen | None = None
    of: Ours | None = None


SILENT = [
    Case("our write, recorded before delta shows it", shown(), None, ours()),
    Case("our update, with another body", shown(change_key="k2", body_preview="new"), known(shown()),
         ours(entry(etag='W/"k2"'))),
    Case("our create, not recorded yet", shown(), None, ours(entry(event_id=None, in_doubt=True), writing=True)),
    Case("our update, not recorded yet", shown(change_key="k2"), known(shown(subject="before")),
         ours(entry(content_hash=None), writing=True)),
    Case("our write, seen again without reason", shown(), known(shown()), ours()),
    Case("somebody's write that changes nothing", shown(change_key="k2"), known(shown()), ours()),
    Case("such a write, after one of ours that nobody saw", shown(change_key="k3", body_preview="new"),
         known(shown(subject="before")), ours(entry(etag='W/"k2"'))),
    Case("such a write, while one of ours is under way", shown(change_key="k2"), known(shown()),
         ours(entry(content_hash=None), writing=True)),
    Case("texts without the white space that Exchange drops", shown(CONTENT, change_key="k2", subject="○ Call  back "),
         None, ours()),
    Case("categories in another order", shown(change_key="k2", categories=("Open", "Open")), None, ours()),
    Case("what nobody knows what we wrote, and never saw", LATER, None, ours(entry(None, intent=Intent.HOLD))),
    Case("our series", shown(DAILY), None, ours(entry(DAILY))),
    Case("a regular occurrence of ours", occurrence(date(2026, 11, 26), kind=OCCURRENCE), None, ours(entry(DAILY))),
    Case("an exception that we made", occurrence(date(2026, 11, 25), change_key="k7"), None, ours(entry(DAILY))),
    Case("an exception that the user made outlives our writing of the series",
         occurrence(date(2026, 11, 26), change_key="k9", start=LATER.start),
         known(occurrence(date(2026, 11, 26), change_key="k8", start=LATER.start), base_key="k0"), ours(entry(DAILY))),
    Case("a regular occurrence of a series that the user moved", occurrence(date(2026, 11, 26), kind=OCCURRENCE,
         start=LATER.start), known(occurrence(date(2026, 11, 26), kind=OCCURRENCE)), ours(entry(DAILY))),
]  # fmt: skip


@pytest.mark.parametrize("case", SILENT, ids=lambda case: case.says)
def test_nothing_is_told_of_our_own_writes_and_of_noise(case: Case) -> None:
    verdict = judge(case.item, case.before, case.of)
    assert (verdict.events, verdict.touch, verdict.later, verdict.read) == ((), None, False, False)
    assert verdict.after is not None
    assert verdict.after.entry_id == ENTRY.entry_id


REMOVED_BY_US = [
    Case("our deletion, not recorded yet", Gone(EVENT), known(shown()), ours(entry(None, intent=Intent.ABSENT))),
    Case("our deletion, recorded", Gone(EVENT), known(shown())),
    Case("the entry is to go to another mailbox", Gone(EVENT), known(shown()),
         ours(entry(place=replace(HERE, mailbox="bob@contoso.example")))),
    Case("an occurrence that we cancelled", Gone("o24"), known(replace(occurrence(date(2026, 11, 24)))),
         ours(entry(DAILY), master=known(shown(DAILY)))),
    Case("an occurrence of a series that the user deleted", Gone("o26"), known(occurrence(date(2026, 11, 26))),
         ours(entry(DAILY), master=known(shown(DAILY), gone=True))),
    Case("an occurrence of a series that the user gave another pattern", Gone("o26"),
         known(occurrence(date(2026, 11, 26))), ours(entry(DAILY), master=known(shown(DAILY, recurrence={})))),
    Case("an occurrence of the times that our series had before", Gone("o26"),
         known(occurrence(date(2026, 11, 26), original_start=datetime(2026, 11, 26, 7, tzinfo=UTC))),
         ours(entry(DAILY), master=known(shown(DAILY)))),
]  # fmt: skip


@pytest.mark.parametrize("case", REMOVED_BY_US, ids=lambda case: case.says)
def test_nothing_is_told_of_what_calbus_removed(case: Case) -> None:
    assert judge(case.item, case.before, case.of) == Verdict(forget=True)


OPEN = [
    Case("an edit while a write is under way", LATER, known(shown()), ours(entry(content_hash=None), writing=True)),
    Case("another body, perhaps our own", shown(change_key="k2", body_preview="new"), known(shown()),
         ours(entry(content_hash=None), writing=True)),
    Case("a create in doubt that was moved already", LATER, None,
         ours(entry(event_id=None, content_hash=None, in_doubt=True), writing=True)),
    Case("it is gone while a write is under way", Gone(EVENT), known(shown()),
         ours(entry(content_hash=None), writing=True)),
    Case("it is back while a write is under way", shown(change_key="k2"), known(shown(), gone=True),
         ours(entry(content_hash=None), writing=True)),
]  # fmt: skip


@pytest.mark.parametrize("case", OPEN, ids=lambda case: case.says)
def test_what_cannot_be_told_while_a_write_is_under_way_is_judged_later(case: Case) -> None:
    assert judge(case.item, case.before, case.of) == Verdict(later=True)


def test_the_key_that_a_writer_read_of_a_users_edit_is_not_our_own() -> None:
    assert judge(LATER, known(shown()), ours(entry(etag='W/"k2"', content_hash=None), writing=True)).later


def test_a_create_is_known_by_its_transaction() -> None:
    of = entry(event_id=None, in_doubt=True, generation=1)
    assert created_by(shown(transaction_id=str(transaction_id_of(of.entry_id, 1))), of)
    assert created_by(shown(transaction_id=str(transaction_id_of(of.entry_id, 0))), of)
    assert not created_by(shown(transaction_id=str(transaction_id_of(of.entry_id, 2))), of)
    assert not created_by(shown(transaction_id=None), of)


# --- What the user did to our entries ---


def test_a_move_is_told() -> None:
    verdict = judge(LATER, known(shown()), ours(), touched=Touched.ACCEPT)
    [moved] = verdict.events
    assert moved == EntryRescheduled(
        tenant=TENANT, user=ASSIGNEE, calendar="", event_id=EVENT, change_key="k2", seen_at=NOW, source=SOURCE,
        kind=Kind.ACTION, id="A-1", entry_id=ENTRY.entry_id, revision=3, policy=Touched.ACCEPT, start=LATER.start,
        end=LATER.end, all_day=False,
    )  # fmt: skip
    assert verdict.touch == Touch(ENTRY.entry_id, Touched.ACCEPT, "k2", moved_to=Times(LATER.start, LATER.end))
    assert verdict.after == known(LATER)
    # Seen once more it is no news; moved back it is.
    assert judge(LATER, verdict.after, ours()).events == ()
    [back] = judge(shown(change_key="k3"), verdict.after, ours()).events
    assert isinstance(back, EntryRescheduled)


def test_a_move_is_told_even_if_the_entry_was_never_seen_before() -> None:
    [moved] = judge(LATER, None, ours()).events
    assert isinstance(moved, EntryRescheduled)


def test_a_move_to_whole_days_is_told_in_dates() -> None:
    item = shown(change_key="k2", all_day=True, start=date(2026, 11, 23), end=date(2026, 11, 24))
    [moved] = judge(item, known(shown()), ours()).events
    assert isinstance(moved, EntryRescheduled)
    assert (moved.start, moved.end, moved.all_day) == (date(2026, 11, 23), date(2026, 11, 24), True)


@pytest.mark.parametrize(
    ("change", "fields", "told"),
    [
        ({"subject": "Mine"}, {EditedField.SUBJECT}, {"subject": "Mine"}),
        ({"place": "Home"}, {EditedField.PLACE}, {"place": "Home"}),
        ({"categories": ("Done",)}, {EditedField.CATEGORIES}, {"categories": ("Done",)}),
        ({"shown_as": "oof"}, {EditedField.SHOWN_AS}, {"shown_as": Shown.AWAY}),
        ({"shown_as": "novel"}, {EditedField.SHOWN_AS}, {"shown_as": Shown.UNKNOWN}),
        ({"importance": "high"}, {EditedField.IMPORTANCE}, {}),
        ({"reminder_minutes": 5}, {EditedField.REMINDER}, {}),
        ({"body_preview": "else"}, {EditedField.BODY}, {}),
        ({"recurrence": {"type": "daily"}, "type": MASTER}, {EditedField.RECURRENCE}, {}),
        ({"private": True, "subject": "Mine"}, {EditedField.PRIVATE, EditedField.SUBJECT}, {}),
    ],
)
def test_an_edit_is_told_with_what_may_be_told(
    change: dict[str, Any], fields: set[EditedField], told: dict[str, Any]
) -> None:
    item = shown(change_key="k2", **change)
    [full] = judge(item, known(shown()), ours()).events
    assert isinstance(full, EntryEdited)
    assert set(full.fields) == fields
    values = full.model_dump(include={"subject", "place", "categories", "shown_as"}, exclude_none=True)
    assert values == told
    [little] = judge(item, known(shown()), ours(), detail=Detail.FREE_BUSY).events
    assert isinstance(little, EntryEdited)
    assert set(little.fields) == fields
    assert (little.subject, little.place, little.categories) == (None, None, None)


def test_a_body_is_compared_with_what_was_seen_and_never_with_what_was_written() -> None:
    assert judge(shown(change_key="k2", body_preview="else"), None, ours()).events == ()
    since = known(shown(), base_key="k0")
    assert judge(shown(change_key="k2", body_preview="else"), since, ours()).events == ()


def test_moved_and_edited_at_once_is_two_events_of_one_state() -> None:
    verdict = judge(replace(LATER, subject="Mine"), known(shown()), ours())
    assert [type(event) for event in verdict.events] == [EntryRescheduled, EntryEdited]
    assert {event.change_key for event in verdict.events} == {"k2"}
    assert len({event_id_of(event) for event in verdict.events}) == 2
    assert verdict.touch is not None
    assert verdict.touch.edited


def test_an_edit_on_top_of_a_write_of_ours_that_nobody_saw_is_told_without_our_own_part() -> None:
    before = known(shown(subject="before", start=LATER.start - 3 * HOUR), base_key="k0")
    [moved] = judge(LATER, before, ours()).events
    assert isinstance(moved, EntryRescheduled)


def test_an_edit_is_told_though_a_newer_plan_waits() -> None:
    newer = entry(replace(CONTENT, subject="newer"), content_hash=ENTRY.applied.content_hash)
    newer = replace(newer, desired=replace(newer.desired, content_hash=b"newer"))
    [moved] = judge(LATER, known(shown()), ours(newer)).events
    assert isinstance(moved, EntryRescheduled)


def test_a_deletion_is_believed_when_the_event_is_not_found() -> None:
    assert judge(Removed(EVENT), known(shown()), ours()) == Verdict(read=True)
    # Out of the window, and as it was: nothing happened.
    assert judge(shown(), known(shown()), ours()).events == ()
    verdict = judge(Gone(EVENT), known(shown()), ours(), touched=Touched.RESTORE)
    [removed] = verdict.events
    assert isinstance(removed, EntryRemoved)
    assert (removed.change_key, removed.occurrence) == ("", None)
    assert verdict.touch == Touch(ENTRY.entry_id, Touched.RESTORE, "", removed=True)
    assert verdict.after is not None
    assert verdict.after.gone
    assert judge(Gone(EVENT), verdict.after, ours()) == Verdict()


@pytest.mark.parametrize("of", [entry(), entry(None, intent=Intent.ABSENT, parked=True)])
def test_a_deletion_is_told_though_the_entry_was_never_seen_or_waits_to_go(of: Entry) -> None:
    before = None if of.desired.content else known(shown())
    [removed] = judge(Gone(EVENT), before, ours(of)).events
    assert isinstance(removed, EntryRemoved)


def test_an_entry_that_comes_back_is_told_by_its_times() -> None:
    gone = judge(Gone(EVENT), None, ours()).after
    assert gone is not None
    for item in (shown(), shown(change_key="k2")):
        verdict = judge(item, gone, ours())
        [back] = verdict.events
        assert isinstance(back, EntryRescheduled)
        assert back.start == shown().start
        assert verdict.after is not None
        assert not verdict.after.gone


def test_a_second_removal_has_another_id_than_the_first() -> None:
    first = judge(Gone(EVENT), known(shown()), ours())
    back = judge(shown(change_key="k2"), first.after, ours())
    second = judge(Gone(EVENT), back.after, ours())
    assert event_id_of(first.events[0], first.gone_key) != event_id_of(second.events[0], second.gone_key)


def test_a_removal_that_a_writer_met_is_told_as_it_was_then() -> None:
    desired = replace(ENTRY.desired, revision=ENTRY.desired.revision + 2)
    applied = replace(ENTRY.applied, event_id="e2", etag='W/"k2"')
    loss = Loss(KEY, ENTRY.desired.revision + 1, NOW - HOUR)
    verdict = lost(view(), EVENT, known(shown()), replace(ENTRY, desired=desired, applied=applied), loss)
    [removed] = verdict.events
    assert isinstance(removed, EntryRemoved)
    assert (removed.event_id, removed.revision, removed.seen_at) == (EVENT, loss.revision, loss.found_at)
    assert verdict.touch is None
    told = known(shown(), gone=True)
    assert lost(view(), EVENT, told, ENTRY, loss) == Verdict(forget=True)


def test_what_is_out_of_the_contracts_years_is_kept_and_not_told() -> None:
    far = datetime(2150, 1, 1, tzinfo=UTC)
    verdict = judge(shown(change_key="k2", start=far, end=far + HOUR), known(shown()), ours())
    assert verdict.events == ()
    assert verdict.after is not None


def test_an_entry_of_another_account_with_the_same_mailbox_is_nobodys_appointment() -> None:
    other = ours(entry(assignee="bob"))
    assert judge(LATER, None, other) == Verdict()
    assert judge(Gone(EVENT), None, other) == Verdict()


def test_what_was_taken_for_an_appointment_is_taken_back_when_it_is_known_to_be_ours() -> None:
    before = judge(shown(), None, None).after
    verdict = judge(shown(), before, ours())
    [removed] = verdict.events
    assert isinstance(removed, AppointmentRemoved)
    assert verdict.after is not None
    assert verdict.after.entry_id == ENTRY.entry_id


# --- Occurrences of our series ---


THURSDAY = date(2026, 11, 26)
NINE = datetime(2026, 11, 26, 8, tzinfo=UTC)


def test_a_moved_occurrence_is_told_by_when_the_rule_has_it_begin() -> None:
    there = occurrence(THURSDAY, change_key="k2", start=NINE + 3 * HOUR, end=NINE + 4 * HOUR)
    before = known(occurrence(THURSDAY, kind=OCCURRENCE))
    verdict = judge(there, before, ours(entry(DAILY), master=known(shown(DAILY))))
    [moved] = verdict.events
    assert isinstance(moved, EntryRescheduled)
    assert moved.occurrence == NINE
    assert verdict.touch == Touch(
        ENTRY.entry_id, Touched.REPORT, "k2", THURSDAY, occurrence=True,
        moved_to=Times(NINE + 3 * HOUR, NINE + 4 * HOUR),
    )  # fmt: skip


def test_a_moved_whole_day_is_told_by_its_date() -> None:
    there = occurrence(
        THURSDAY, WHOLE_DAYS, change_key="k2", start=THURSDAY + DAY, end=THURSDAY + 2 * DAY,
        original_start=datetime(2026, 11, 25, 23, tzinfo=UTC),
    )  # fmt: skip
    [moved] = judge(there, None, ours(entry(WHOLE_DAYS))).events
    assert isinstance(moved, EntryRescheduled)
    assert (moved.occurrence, moved.start) == (THURSDAY, THURSDAY + DAY)


def test_an_exception_of_ours_that_the_user_moves_elsewhere_is_told() -> None:
    day = date(2026, 11, 25)
    there = occurrence(day, change_key="k9", start=NINE - DAY)
    [moved] = judge(there, known(occurrence(day)), ours(entry(DAILY))).events
    assert isinstance(moved, EntryRescheduled)
    assert moved.occurrence == NINE - DAY


def test_an_edited_occurrence_is_told() -> None:
    [edited] = judge(occurrence(THURSDAY, change_key="k2", subject="Mine"), None, ours(entry(DAILY))).events
    assert isinstance(edited, EntryEdited)
    assert (edited.occurrence, edited.fields) == (NINE, (EditedField.SUBJECT,))


def test_a_deleted_occurrence_is_told() -> None:
    verdict = judge(Gone("o26"), known(occurrence(THURSDAY)), ours(entry(DAILY), master=known(shown(DAILY))))
    [removed] = verdict.events
    assert isinstance(removed, EntryRemoved)
    assert removed.occurrence == NINE
    assert verdict.touch == Touch(ENTRY.entry_id, Touched.REPORT, "", THURSDAY, occurrence=True, removed=True)


def test_a_series_moved_as_a_whole_is_one_event() -> None:
    [moved] = judge(
        shown(DAILY, change_key="k2", start=shown(DAILY).start + HOUR, end=shown(DAILY).end + HOUR),
        known(shown(DAILY)),
        ours(entry(DAILY)),
    ).events
    assert isinstance(moved, EntryRescheduled)
    assert moved.occurrence is None


def test_an_occurrence_of_which_nobody_can_say_which_it_is_is_not_told() -> None:
    assert judge(occurrence(THURSDAY, subject="Mine", original_start=None), None, ours(entry(DAILY))).events == ()


# --- Appointments of the user's own ---


LUNCH = shown(event_id="f1", subject="Lunch", place="Canteen", categories=("Red",))


def told(*events: object) -> list[type]:
    return [type(event) for event in events]


def test_an_appointment_is_told_in_full() -> None:
    verdict = judge(LUNCH)
    [upserted] = verdict.events
    assert upserted == AppointmentUpserted(
        tenant=TENANT, user=ASSIGNEE, calendar="", event_id="f1", change_key=KEY, seen_at=NOW, start=LUNCH.start,
        end=LUNCH.end, all_day=False, shown_as=Shown.BUSY, private=False, detail=Detail.FULL, subject="Lunch",
        place="Canteen", categories=("Red",),
    )  # fmt: skip
    assert judge(LUNCH, verdict.after).events == ()
    assert judge(replace(LUNCH, change_key="k2"), verdict.after).events == ()
    assert told(*judge(replace(LUNCH, change_key="k2", subject="Brunch"), verdict.after).events) == [
        AppointmentUpserted
    ]


@pytest.mark.parametrize("how", [{"detail": Detail.FREE_BUSY}, {}])
def test_private_appointments_and_little_detail_carry_and_keep_no_more_than_times(how: dict[str, Any]) -> None:
    verdict = judge(replace(LUNCH, private="detail" not in how), None, None, **how)
    [upserted] = verdict.events
    assert isinstance(upserted, AppointmentUpserted)
    assert (upserted.subject, upserted.place, upserted.categories) == (None, None, None)
    assert upserted.shown_as is Shown.BUSY
    assert verdict.after is not None
    assert "Lunch" not in verdict.after.to_json()
    assert "what" not in verdict.after.to_json()
    # What may not be told is no change either.
    other = replace(LUNCH, private="detail" not in how, change_key="k2", subject="Brunch", body_preview="")
    assert judge(other, verdict.after, None, **how).events == ()


def test_an_appointment_that_becomes_private_is_told_so() -> None:
    [upserted] = judge(replace(LUNCH, change_key="k2", private=True), judge(LUNCH).after).events
    assert isinstance(upserted, AppointmentUpserted)
    assert upserted.private
    assert upserted.subject is None


def test_a_copy_of_our_entry_is_the_users_own() -> None:
    assert told(*judge(shown(event_id="copy", change_key="k5")).events) == [AppointmentUpserted]


def test_a_removal_is_read_before_it_is_believed() -> None:
    before = judge(LUNCH).after
    assert judge(Removed("f1"), before) == Verdict(read=True)
    # Moved back meanwhile, or out of the window, or deleted.
    assert judge(LUNCH, before).events == ()
    away = judge(replace(LUNCH, start=END + DAY, end=END + DAY + HOUR), before)
    assert told(*away.events) == [AppointmentRemoved]
    gone = judge(Gone("f1"), before)
    assert told(*gone.events) == [AppointmentRemoved]
    assert gone.forget
    assert away.forget
    assert gone.gone_key == KEY


def test_delta_says_removed_of_what_is_written_out_of_sight() -> None:
    assert judge(Removed("f9")) == Verdict()
    assert judge(replace(LUNCH, start=BEGIN - DAY, end=BEGIN)) == Verdict()


def test_an_appointment_that_reaches_into_the_window_is_in_it() -> None:
    assert told(*judge(replace(LUNCH, start=BEGIN - DAY, end=BEGIN + HOUR)).events) == [AppointmentUpserted]


def test_only_accounts_that_read_tell_and_keep_appointments() -> None:
    up = {"publishes_appointments": False}
    assert judge(LUNCH, None, None, **up) == Verdict()
    assert judge(Removed("f1"), None, None, **up) == Verdict()
    assert judge(LUNCH, judge(LUNCH).after, None, **up) == Verdict(forget=True)
    assert told(*judge(LATER, known(shown()), ours(), **up).events) == [EntryRescheduled]


def test_each_occurrence_is_an_appointment_and_the_series_itself_is_none() -> None:
    series = replace(shown(DAILY), event_id="m1")
    verdict = judge(series)
    assert verdict.events == ()
    assert verdict.after is not None
    one = replace(LUNCH, type=OCCURRENCE, series_id="m1", event_id="o1", original_start=LUNCH.start)
    [upserted] = judge(one).events
    assert isinstance(upserted, AppointmentUpserted)
    assert upserted.series_id == "m1"
    [removed] = judge(Removed("o1", series_gone=True), judge(one).after).events
    assert isinstance(removed, AppointmentRemoved)
    assert removed.series_id == "m1"
    assert judge(Gone("m1"), verdict.after) == Verdict(forget=True)


def test_an_appointment_that_becomes_a_series_is_gone_as_such() -> None:
    verdict = judge(replace(shown(DAILY), event_id="f1"), judge(LUNCH).after)
    assert told(*verdict.events) == [AppointmentRemoved]
    assert verdict.after is not None
    assert verdict.after.type == MASTER
    assert told(*judge(LUNCH, verdict.after).events) == [AppointmentUpserted]


def test_an_entry_that_calbus_let_go_is_the_users_own_once_that_is_sure() -> None:
    first = judge(LATER, known(shown()), None)
    assert first.later
    assert first.events == ()
    assert judge(Gone(EVENT), first.after, None) == Verdict(forget=True)
    assert told(*judge(LATER, first.after, None).events) == [AppointmentUpserted]


def test_an_entry_of_another_tenant_is_an_appointment_like_any_other() -> None:
    other = ours(entry(item=ITEM._replace(tenant="fabrikam")))
    assert told(*judge(shown(), None, other).events) == [AppointmentUpserted]


# --- Ids ---


def test_ids_are_the_same_for_the_same_state_of_the_same_event() -> None:
    [one] = judge(LUNCH).events
    [again] = classify(view(), LUNCH, None, None, NOW + DAY).events
    assert event_id_of(one) == event_id_of(again)
    others: list[tuple[Seen, View]] = [
        (replace(LUNCH, change_key="k2"), view()),
        (replace(LUNCH, event_id="f2"), view()),
        (LUNCH, view(calendar="Team")),
        (LUNCH, view(user="bob")),
        (LUNCH, view(tenant="fabrikam")),
    ]
    ids = {event_id_of(classify(by, item, None, None, NOW).events[0]) for item, by in others}
    assert len(ids | {event_id_of(one)}) == 6
