"""Taking messages in: whatever comes, in whatever batches, each plan ends once and the newest revision stands.

A deployment in miniature stands around the pure functions: what handler, re-planner and writers store between calls.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calbus.entry import Applied, Entry, Intent, ItemKey, entry_id_of
from calbus.outcomes import ending_without_writing, outcome
from calbus.store.items import StoredItem
from calbus.store.switches import SettingKey, Settings, key_of
from schemas.items import ActionDeleted, ActionUpserted, ItemEvent
from schemas.reasons import Reason
from schemas.results import Ending, Outcome
from schemas.switches import AccountSettings, Scope, SettingsEvent
from services.ingest import intake
from services.ingest.intake import WAKEUP_GRACE, Intake, Verdict, arrival_of, plan_anew, settings_needed, take_in
from services.ingest.planner import Switches, decide
from tests.support.examples import shown
from tests.unit.strategies import PROJECT, SOURCE, TENANT, account, project, tenant, upserted

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
USERS = ("anna", "bob")
EVERYTHING_ON: tuple[SettingsEvent, ...] = (
    tenant(),
    project(),
    *(account(user=user, mailbox=f"{user}@contoso.example") for user in USERS),
)


def deleted(revision: int, item_id: str = "A-1") -> ActionDeleted:
    return ActionDeleted(tenant=TENANT, source=SOURCE, id=item_id, revision=revision)


@dataclass
class Deployment:
    """What stands in the database."""

    settings: dict[SettingKey, SettingsEvent] = field(default_factory=dict)
    items: dict[ItemKey, StoredItem] = field(default_factory=dict)
    entries: dict[tuple[ItemKey, str], Entry] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    # Re-plans that are not finished, with the item that was planned last.
    replans: dict[SettingKey, ItemKey | None] = field(default_factory=dict)

    def receive(self, *events: ItemEvent) -> Intake:
        """Take a batch in, given no more than the handler would load for it."""
        keys = {intake.key_of(event) for event in events}
        current = [entry for (key, _), entry in self.entries.items() if key in keys]
        upserts = [event for event in events if isinstance(event, ActionUpserted)]
        needed = settings_needed(upserts, current, {key.tenant for key in keys})
        taken = take_in(
            [arrival_of(event, NOW) for event in events],
            {key: item for key, item in self.items.items() if key in keys},
            current,
            Settings({key: setting for key, setting in self.settings.items() if key in needed}),
            NOW,
        )
        self._store(taken)
        return taken

    def change(self, key: SettingKey, setting: SettingsEvent | None) -> None:
        """Store a setting, or take it away; what it touches is planned anew later."""
        if setting is None:
            self.settings.pop(key, None)
        else:
            self.settings[key] = setting
        self.replans[key] = None

    def replan(self, most: int = 1_000) -> Intake | None:
        """Plan the next chunk of a re-plan anew."""
        if not self.replans:
            return None
        setting, after = next(iter(self.replans.items()))
        touched = sorted(key for key in self.items if self._touches(setting, key) and (after is None or key > after))
        chunk = {key: self.items[key] for key in touched[:most]}
        if not chunk:
            del self.replans[setting]
            return None
        self.replans[setting] = max(chunk)
        taken = plan_anew(
            chunk, [entry for (key, _), entry in self.entries.items() if key in chunk], Settings(self.settings), NOW
        )
        self._store(taken)
        return taken

    def _touches(self, setting: SettingKey, key: ItemKey) -> bool:
        match setting.scope:
            case Scope.PROJECT:
                item = self.items[key].item
                return item is not None and item.project == setting.name
            case Scope.ACCOUNT:
                return (key, setting.name) in self.entries
        return True

    def _store(self, taken: Intake) -> None:
        for name, planned in taken.planned.items():
            before = self.entries.get(name)
            assert before is None or planned.entry.desired.plan > before.desired.plan
            assert planned.entry.applied == (before.applied if before else Applied())
            assert (planned.due_at is not None) == planned.entry.owed
            self.entries[name] = planned.entry
        self.items |= taken.items
        self.outcomes += [Outcome.model_validate_json(told.value) for told in taken.outcomes]

    def doubt(self, name: tuple[ItemKey, str]) -> None:
        """A writer is about to create the event."""
        entry = self.entries[name]
        if entry.owed and entry.desired.intent is Intent.PRESENT and not entry.applied.may_exist:
            applied = replace(entry.applied, in_doubt=True, place=entry.desired.place)
            self.entries[name] = replace(entry, applied=applied)

    def settle(self, name: tuple[ItemKey, str]) -> None:
        """A writer makes the calendar equal to what is desired, and tells."""
        entry = self.entries[name]
        if not entry.owed:
            return
        desired = entry.desired
        if desired.intent is Intent.PRESENT:
            applied = Applied(desired.plan, desired.place, desired.content_hash, event_id="E")
            told = outcome(entry, Ending.APPLIED, Reason.WRITTEN, NOW)
        else:
            applied = Applied(desired.plan, generation=entry.applied.generation + 1)
            told = outcome(entry, ending_without_writing(desired.reason), desired.reason, NOW)
        self.outcomes.append(told)
        self.entries[name] = replace(entry, applied=applied, owed=False)

    def come_to_rest(self) -> None:
        """Nothing more arrives: every re-plan and every writer finishes."""
        while self.replans:
            self.replan()
        for name in list(self.entries):
            self.settle(name)


def ready(*more: SettingsEvent) -> Deployment:
    deployment = Deployment()
    deployment.settings = {key_of(setting): setting for setting in (*EVERYTHING_ON, *more)}
    return deployment


def endings(deployment: Deployment, assignee: str = "anna") -> list[tuple[int, str, str]]:
    return [(told.plan, told.ending, told.reason) for told in deployment.outcomes if told.assignee == assignee]


def planned(revision: int = 1, **fields: Any) -> ActionUpserted:
    return upserted(revision=revision, **{"start": "2026-11-23T09:00", "assignees": ("anna",), **fields})


# -- examples ---------------------------------------------------------------------------------------------------------


def test_a_new_item_owes_an_outcome_and_is_due_after_the_wakeup_had_its_chance() -> None:
    taken = ready().receive(planned())
    ((_, plan),) = taken.planned.items()
    assert plan.entry.owed
    assert plan.due_at == NOW + WAKEUP_GRACE
    assert taken.outcomes == []


def test_an_item_that_is_not_to_be_written_ends_at_once() -> None:
    deployment = ready()
    deployment.receive(planned(start=None))
    assert endings(deployment) == [(1, "withdrawn", "no_start")]


def test_a_recurring_item_that_outlook_cannot_express_is_refused() -> None:
    deployment = ready()
    deployment.receive(planned(recurrence="RRULE:FREQ=HOURLY"))
    assert endings(deployment) == [(1, "refused", "recurrence_not_supported")]
    assert "FREQ=HOURLY: a series in Outlook has at most one occurrence a day." in deployment.outcomes[-1].notice


def test_a_newer_revision_supersedes_one_that_was_not_written() -> None:
    deployment = ready()
    deployment.receive(planned(1), planned(2))
    assert endings(deployment) == [(1, "superseded", "newer_revision")]


def test_a_setting_supersedes_a_revision_that_was_not_written() -> None:
    deployment = ready()
    deployment.receive(planned())
    deployment.change(key_of(tenant()), tenant(enabled=False))
    deployment.replan()
    assert endings(deployment) == [
        (1, "superseded", "settings_changed"),
        (2, "withdrawn", "tenant_not_enabled"),
    ]


def test_a_setting_that_changes_nothing_makes_no_plan() -> None:
    deployment = ready()
    deployment.receive(planned())
    deployment.change(key_of(tenant()), tenant(default_duration_minutes=31))
    deployment.change(key_of(tenant()), tenant())
    taken = deployment.replan()
    assert taken is not None
    assert (taken.planned, taken.outcomes) == ({}, [])


def test_an_entry_that_may_stand_in_the_calendar_is_owed_its_removal() -> None:
    deployment = ready()
    deployment.receive(planned())
    deployment.doubt(next(iter(deployment.entries)))
    taken = deployment.receive(deleted(2))
    assert [plan.entry.owed for plan in taken.planned.values()] == [True]


def test_an_entry_that_never_stood_in_the_calendar_ends_at_once_when_its_item_is_deleted() -> None:
    deployment = ready()
    deployment.receive(planned(), deleted(2))
    assert endings(deployment) == [(1, "superseded", "newer_revision"), (2, "withdrawn", "deleted")]


def test_who_was_told_that_the_item_left_does_not_hear_of_its_next_revisions() -> None:
    deployment = ready()
    deployment.receive(planned(1), planned(2, assignees=("bob",)), planned(3, assignees=("bob",)), deleted(4))
    assert endings(deployment) == [(1, "superseded", "newer_revision"), (2, "withdrawn", "unassigned")]


def test_who_is_assigned_again_hears_of_it() -> None:
    deployment = ready()
    deployment.receive(planned(1), planned(2, assignees=("bob",)), planned(3))
    deployment.come_to_rest()
    assert endings(deployment)[-1] == (3, "applied", "written")


def test_a_repeated_message_names_the_entries_whose_wakeups_may_be_lost() -> None:
    deployment = ready()
    deployment.receive(planned())
    taken = deployment.receive(planned())
    assert taken.verdicts == [Verdict.DUPLICATE]
    assert [entry.assignee for entry in taken.unsettled] == ["anna"]


def test_a_repeated_message_wakes_nobody_once_its_entries_are_settled() -> None:
    deployment = ready()
    deployment.receive(planned())
    deployment.come_to_rest()
    assert deployment.receive(planned()).unsettled == []


@pytest.mark.parametrize(
    ("event", "verdict"),
    [
        (planned(6), Verdict.ACCEPTED),
        (planned(5), Verdict.DUPLICATE),
        (planned(5, title="Other"), Verdict.REUSED),
        (deleted(5), Verdict.REUSED),
        (planned(4), Verdict.STALE),
        (deleted(4), Verdict.STALE),
    ],
)
def test_the_revision_tells_what_becomes_of_a_message(event: ItemEvent, verdict: Verdict) -> None:
    deployment = ready()
    deployment.receive(planned(5))
    assert deployment.receive(event).verdicts == [verdict]


def test_a_deleted_item_is_not_brought_back_by_an_older_revision() -> None:
    deployment = ready()
    taken = deployment.receive(planned(1), deleted(3), planned(2))
    assert taken.verdicts[-1] is Verdict.STALE


def test_an_item_of_another_tenant_is_another_item() -> None:
    deployment = ready(tenant(tenant="fabrikam"), account(tenant="fabrikam", user="anna"))
    taken = deployment.receive(planned(1), planned(1, tenant="fabrikam"))
    assert taken.verdicts == [Verdict.ACCEPTED, Verdict.ACCEPTED]
    assert len({plan.entry.entry_id for plan in taken.planned.values()}) == 2


# -- any history ------------------------------------------------------------------------------------------------------


@st.composite
def arrivals(draw: st.DrawFn, sent: list[ItemEvent]) -> ItemEvent:
    """Mostly a higher revision; now and then the same message again, an older revision, or one used twice."""
    if sent and draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(sent))
    item_id = draw(st.sampled_from(("A-1", "A-1", "A-2")))
    newest = max((event.revision for event in sent if event.id == item_id), default=0)
    revision = max(1, newest + draw(st.sampled_from((1, 1, 1, 1, 0, -1))))
    if draw(st.integers(0, 5)) == 0:
        return deleted(revision, item_id)
    return upserted(
        id=item_id,
        revision=revision,
        title=draw(st.sampled_from(("Call back", "Write down"))),
        start=draw(st.sampled_from(("2026-11-23T09:00", "2026-11-24T09:00", None))),
        project=draw(st.sampled_from((None, PROJECT))),
        assignees=draw(st.sampled_from((("anna",), ("bob",), ("anna", "bob"), ()))),
        recurrence=draw(st.sampled_from((None, None, "RRULE:FREQ=DAILY", "RRULE:FREQ=HOURLY"))),
    )


def _accounts(user: str) -> st.SearchStrategy[AccountSettings | None]:
    return st.none() | st.builds(
        account,
        user=st.just(user),
        mailbox=st.sampled_from((f"{user}@contoso.example", f"{user}.new@contoso.example")),
        allowed=st.sampled_from((True, True, False)),
        blocked=st.sampled_from((False, False, True)),
        direction=st.sampled_from(("up", "both", "down")),
        projects=st.sampled_from((None, (), (PROJECT,))),
    )


changes = st.one_of(
    st.tuples(
        st.just(SettingKey(TENANT, Scope.TENANT, "")),
        st.none() | st.builds(tenant, enabled=st.booleans(), default_duration_minutes=st.sampled_from((30, 60))),
    ),
    st.tuples(
        st.just(SettingKey(TENANT, Scope.PROJECT, PROJECT)), st.none() | st.builds(project, enabled=st.booleans())
    ),
    *(st.tuples(st.just(SettingKey(TENANT, Scope.ACCOUNT, user)), _accounts(user)) for user in USERS),
)


@dataclass(frozen=True)
class Replan:
    most: int


@dataclass(frozen=True)
class Write:
    """A writer looks at an entry; it may be stopped when it has only marked it."""

    item_id: str
    user: str
    finishes: bool


Happening = ItemEvent | tuple[SettingKey, SettingsEvent | None] | Replan | Write


@st.composite
def histories(draw: st.DrawFn) -> list[Happening]:
    """What happens to a deployment: every second thing is a message."""
    sent: list[ItemEvent] = []
    history: list[Happening] = []
    for kind in draw(st.lists(st.sampled_from("mmmmcrww"), min_size=8, max_size=30)):
        match kind:
            case "m":
                sent.append(draw(arrivals(sent)))
                history.append(sent[-1])
            case "c":
                history.append(draw(changes))
            case "r":
                history.append(Replan(draw(st.integers(1, 2))))
            case _:
                write = st.builds(Write, st.sampled_from(("A-1", "A-2")), st.sampled_from(USERS), st.booleans())
                history.append(draw(write))
    return history


def batches(events: Sequence[ItemEvent], sizes: Iterable[int]) -> Iterable[Sequence[ItemEvent]]:
    sizes = iter(sizes)
    while events:
        size = next(sizes, 1)
        yield events[:size]
        events = events[size:]


def live_through(history: Sequence[Happening], sizes: Iterable[int]) -> tuple[Deployment, list[Verdict]]:
    """Everything in this order; messages that follow each other come in batches of these sizes."""
    deployment = ready()
    verdicts: list[Verdict] = []
    waiting: list[ItemEvent] = []
    sizes = iter(sizes)

    def flush() -> None:
        for batch in batches(waiting, sizes):
            verdicts.extend(deployment.receive(*batch).verdicts)
        waiting.clear()

    for happening in history:
        match happening:
            case ActionUpserted() | ActionDeleted():
                waiting.append(happening)
                continue
        flush()
        match happening:
            case Replan(most):
                deployment.replan(most)
            case Write(item_id, user, finishes):
                names = [name for name in deployment.entries if (name[0].id, name[1]) == (item_id, user)]
                for name in names:
                    deployment.doubt(name)
                    if finishes:
                        deployment.settle(name)
            case (key, setting):
                deployment.change(key, setting)
    flush()
    return deployment, verdicts


def messages(history: Sequence[Happening]) -> list[ItemEvent]:
    return [event for event in history if isinstance(event, ActionUpserted | ActionDeleted)]


def newest(history: Sequence[Happening]) -> dict[str, ItemEvent]:
    """Of each item, the message that counts: the first of those with the highest revision."""
    kept: dict[str, ItemEvent] = {}
    for event in messages(history):
        if event.id not in kept or event.revision > kept[event.id].revision:
            kept[event.id] = event
    return kept


some_sizes = st.lists(st.integers(1, 6), max_size=15)


@given(histories(), some_sizes)
@settings(max_examples=shown(60))
def test_every_plan_ends_exactly_once_and_no_other_does(history: list[Happening], sizes: list[int]) -> None:
    deployment, _ = live_through(history, sizes)
    deployment.come_to_rest()
    made = {
        (entry.entry_id, plan): 1 for entry in deployment.entries.values() for plan in range(1, entry.desired.plan + 1)
    }
    assert Counter((told.entry_id, told.plan) for told in deployment.outcomes) == made


@given(histories(), some_sizes)
@settings(max_examples=shown(60))
def test_at_any_moment_a_plan_has_ended_or_is_owed(history: list[Happening], sizes: list[int]) -> None:
    deployment, _ = live_through(history, sizes)
    ended = {(told.entry_id, told.plan) for told in deployment.outcomes}
    for entry in deployment.entries.values():
        assert ((entry.entry_id, entry.desired.plan) in ended) != entry.owed


@given(histories(), some_sizes)
@settings(max_examples=shown(60))
def test_every_accepted_revision_ends_for_everybody_it_concerns(history: list[Happening], sizes: list[int]) -> None:
    deployment, verdicts = live_through(history, sizes)
    deployment.come_to_rest()
    concerned: set[tuple[UUID, int]] = set()
    in_calendars: dict[ItemKey, set[str]] = {}
    for event, verdict in zip(messages(history), verdicts, strict=True):
        if verdict is Verdict.ACCEPTED:
            key = intake.key_of(event)
            assigned = set(event.assignees) if isinstance(event, ActionUpserted) else set()
            hear = in_calendars.get(key, set()) | assigned
            concerned |= {(entry_id_of(key, user), event.revision) for user in hear}
            # Who is told "unassigned" hears no more; a deletion is told to all, time and again.
            in_calendars[key] = assigned if isinstance(event, ActionUpserted) else hear
    assert concerned <= {(told.entry_id, told.revision) for told in deployment.outcomes}


@given(histories(), some_sizes)
@settings(max_examples=shown(60))
def test_in_the_end_the_newest_revision_stands_as_if_it_had_come_alone(
    history: list[Happening], sizes: list[int]
) -> None:
    deployment, _ = live_through(history, sizes)
    deployment.come_to_rest()
    for event in newest(history).values():
        alone = Deployment(settings=deployment.settings)
        alone.receive(event)
        for name, expected in alone.entries.items():
            seen = deployment.entries[name].desired
            assert replace(seen, plan=1) == expected.desired
    _assert_nobody_else_has_it(deployment)


def _assert_nobody_else_has_it(deployment: Deployment) -> None:
    for (key, user), entry in deployment.entries.items():
        item = deployment.items[key].item
        if item is None or user not in item.assignees:
            account_key = SettingKey(TENANT, Scope.ACCOUNT, user)
            tenant_settings: Any = deployment.settings.get(SettingKey(TENANT, Scope.TENANT, ""))
            account_settings: Any = deployment.settings.get(account_key)
            expected = decide(item, user, Switches(tenant_settings, None, account_settings))
            assert entry.desired.intent is expected.intent
            assert entry.desired.reason in (Reason.UNASSIGNED, Reason.DELETED)


@given(histories(), some_sizes)
@settings(max_examples=shown(60))
def test_how_messages_fall_into_batches_changes_nothing(history: list[Happening], sizes: list[int]) -> None:
    one_by_one, expected = live_through(history, ())
    batched, verdicts = live_through(history, sizes)
    assert verdicts == expected
    assert batched.entries == one_by_one.entries
    assert batched.items == one_by_one.items
    assert _told(batched) == _told(one_by_one)


def _told(deployment: Deployment) -> list[tuple[str, int, str, str]]:
    return sorted((str(told.entry_id), told.plan, told.ending, told.reason) for told in deployment.outcomes)


@given(histories())
@settings(max_examples=shown(60))
def test_only_a_higher_revision_changes_anything(history: list[Happening]) -> None:
    known: dict[str, ItemEvent] = {}
    deployment = ready()
    for event in messages(history):
        before = known.get(event.id)
        taken = deployment.receive(event)
        if before is None or event.revision > before.revision:
            known[event.id] = event
            assert taken.verdicts == [Verdict.ACCEPTED]
            continue
        assert (taken.items, taken.planned, taken.outcomes) == ({}, {}, [])
        expected = Verdict.STALE
        if event.revision == before.revision:
            expected = Verdict.DUPLICATE if event == before else Verdict.REUSED
        assert taken.verdicts == [expected]


@given(histories(), some_sizes)
@settings(max_examples=shown(60))
def test_each_accepted_revision_raises_the_plan_by_one(history: list[Happening], sizes: list[int]) -> None:
    deployment = ready()
    for event in messages(history):
        before = {name: entry.desired.plan for name, entry in deployment.entries.items()}
        taken = deployment.receive(event)
        raised = {name: plan.entry.desired.plan - before.get(name, 0) for name, plan in taken.planned.items()}
        assert set(raised.values()) <= {1}


def test_who_was_told_that_the_item_left_hears_nothing_more_if_a_setting_changes() -> None:
    deployment = ready()
    deployment.receive(planned(1), planned(2, assignees=("bob",)), planned(3, assignees=("bob",)))
    deployment.change(key_of(tenant()), tenant(default_duration_minutes=31))
    deployment.replan()
    assert endings(deployment) == [(1, "superseded", "newer_revision"), (2, "withdrawn", "unassigned")]


@given(histories(), some_sizes)
@settings(max_examples=shown(60))
def test_planning_again_under_the_same_settings_makes_no_plan(history: list[Happening], sizes: list[int]) -> None:
    deployment, _ = live_through(history, sizes)
    deployment.come_to_rest()
    again = plan_anew(
        deployment.items, deployment.entries.values(), Settings(deployment.settings), NOW + timedelta(hours=1)
    )
    assert again.outcomes == []
    assert again.planned == {}
