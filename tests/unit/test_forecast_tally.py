"""The tally of a forecast: what each entry would cost, and what the hypothesis assumes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from calbus.budget import REPLAN_WOKEN_MAX_ENTRIES, MailboxBudget
from calbus.entry import Applied, Entry
from calbus.store.entries import Look
from calbus.store.items import StoredItem
from calbus.store.switches import SettingKey, Settings, key_of
from schemas.items import ItemUpserted
from schemas.reasons import Reason
from schemas.switches import Backfill, Scope, SettingsEvent
from services.ingest.breaker import Thresholds
from services.ingest.forecast import Fate, Forecast, Hypothesis, Removals, Tally
from services.ingest.intake import key_of as key_of_item
from services.ingest.intake import plan_anew, settings_needed
from services.ingest.pacing import Pace
from tests.unit.strategies import ASSIGNEE, PROJECT, TENANT, account, project, tenant, upserted

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
BUDGET = MailboxBudget(9_000)
AS_IT_IS = Hypothesis(TENANT)
START = "2026-11-23T09:00"


def known(*events: SettingsEvent) -> Settings:
    return Settings({key_of(event): event for event in events})


def planned(item: ItemUpserted, settings: Settings) -> Entry:
    """The item's entry as ingest left it."""
    key = key_of_item(item)
    intake = plan_anew({key: StoredItem(1, b"", item)}, [], settings, NOW)
    [only] = intake.planned.values()
    return only.entry


def standing(entry: Entry, **applied: object) -> Entry:
    """The entry as a writer left it."""
    desired = entry.desired
    stands = Applied(
        plan=desired.plan, place=desired.place, content_hash=desired.content_hash, event_id="event", etag="etag"
    )
    return replace(entry, owed=False, applied=replace(stands, grant=desired.grant, **applied))


def looked(entry: Entry, refusal: Reason | None = None, last_error: Reason | None = None) -> Look:
    return Look(entry, 0, last_error, refusal, None, None)


def foretold(
    item: ItemUpserted, look: Look, settings: Settings, hypothesis: Hypothesis = AS_IT_IS, times: int = 1
) -> Forecast:
    """The forecast for a tenant with nothing but this item, or with so many of its like."""
    key = key_of_item(item)
    needed = settings_needed([item], [look.entry], [TENANT])
    assumed = hypothesis.applied_to(settings, needed, NOW)
    tally = Tally(set())
    for _ in range(times):
        tally.add(1, [look], plan_anew({key: StoredItem(1, b"", item)}, [look.entry], assumed, NOW))
    return tally.result(BUDGET, {}, Thresholds(), NOW)


def fate(forecast: Forecast) -> Fate:
    [(found, _)] = [(name, count) for name, count in forecast.fates.items() if count]
    return found


OFF = known(tenant(enabled=False), account(), project())
ON = known(tenant(backfill=Backfill.ALL), account(), project())


@pytest.mark.parametrize(
    ("hypothesis", "expected"),
    [
        (AS_IT_IS, Reason.TENANT_NOT_ENABLED),
        (Hypothesis(TENANT, enable=True), Reason.BEFORE_ACTIVATION),
        (Hypothesis(TENANT, enable=True, backfill=Backfill.FUTURE), None),
        (Hypothesis(TENANT, enable=True, backfill=Backfill.ALL), None),
    ],
)
def test_a_switch_on_writes_what_the_cut_off_leaves(hypothesis: Hypothesis, expected: Reason | None) -> None:
    item = upserted(start=START)
    entry = replace(planned(item, OFF), since=NOW - timedelta(days=1))
    forecast = foretold(item, looked(entry), OFF, hypothesis)
    if expected is None:
        assert fate(forecast) is Fate.CREATED
        assert forecast.calls == {"create": 1, "list_categories": 1, "create_category": 1}
        assert (forecast.mailboxes, forecast.accounts_activated) == (1, 0)
    else:
        assert forecast.not_written == {expected: 1}
        assert forecast.calls_in_all == 0


def test_who_was_activated_keeps_that_moment() -> None:
    key = SettingKey(TENANT, Scope.ACCOUNT, ASSIGNEE)
    earlier = NOW - timedelta(days=9)
    settings = Settings(OFF.events, {key: earlier})
    assumed = Hypothesis(TENANT, enable=True).applied_to(settings, [key], NOW)
    assert assumed.activated_at == {key: earlier}
    assert Hypothesis(TENANT, enable=True).applied_to(OFF, [key], NOW).activated_at == {key: NOW}
    assert Hypothesis(TENANT).applied_to(OFF, [key], NOW).activated_at == {}


def test_projects_and_accounts_are_assumed_even_where_nothing_is_known_of_them() -> None:
    item = upserted(start=START, project=PROJECT)
    nothing = known()
    entry = planned(item, nothing)
    bare = Hypothesis(TENANT, enable=True, backfill=Backfill.ALL)
    assert foretold(item, looked(entry), nothing, bare).not_written == {Reason.NO_ACCOUNT: 1}
    linked = replace(bare, accounts=frozenset((ASSIGNEE,)))
    assert foretold(item, looked(entry), nothing, linked).not_written == {Reason.PROJECT_NOT_ENABLED: 1}
    both = replace(linked, projects=frozenset((PROJECT,)))
    assert fate(foretold(item, looked(entry), nothing, both)) is Fate.CREATED


def test_what_stands_is_left_alone_written_again_moved_or_removed() -> None:
    item = upserted(start=START, project=PROJECT)
    entry = standing(planned(item, ON))
    assert foretold(item, looked(entry), ON).calls_in_all == 0
    assert fate(foretold(item, looked(entry), ON)) is Fate.UNCHANGED

    changed = foretold(item, looked(standing(planned(item, ON), content_hash=b"other")), ON)
    assert (fate(changed), changed.calls["update"]) == (Fate.CHANGED, 1)
    unread = foretold(item, looked(standing(planned(item, ON), content_hash=b"other", etag=None)), ON)
    assert (unread.calls["read"], unread.calls["update"]) == (1, 1)

    elsewhere = known(tenant(backfill=Backfill.ALL), account(mailbox="new@example.org"), project())
    moved = foretold(item, looked(entry), elsewhere)
    assert (fate(moved), moved.calls["delete"], moved.calls["create"], moved.mailboxes) == (Fate.CHANGED, 1, 1, 2)

    shut = known(tenant(backfill=Backfill.ALL), account(), project(enabled=False))
    removed = foretold(item, looked(entry), shut)
    assert (fate(removed), removed.calls) == (Fate.REMOVED, {"delete": 1})
    assert removed.removals == Removals(asked=1, parked=0, trips=0)


def test_so_many_removals_would_wait() -> None:
    item = upserted(start=START, project=PROJECT)
    entry = standing(planned(item, ON))
    shut = known(tenant(backfill=Backfill.ALL), account(), project(enabled=False))
    # The mailbox's breaker trips, and the tenant's.
    assert foretold(item, looked(entry), shut, times=60).removals == Removals(asked=60, parked=60, trips=2)


def test_what_a_writer_refused_stays_refused() -> None:
    item = upserted(start=START)
    entry = replace(planned(item, ON), owed=False)
    refused = foretold(item, looked(entry, refusal=Reason.ASSIGNER_LACKS_ACCESS), ON)
    assert refused.not_written == {Reason.ASSIGNER_LACKS_ACCESS: 1}
    failed = foretold(item, looked(entry, last_error=Reason.EVENT_REJECTED), ON)
    assert failed.not_written == {Reason.EVENT_REJECTED: 1}
    assert fate(foretold(item, looked(replace(entry, owed=True)), ON)) is Fate.CREATED


def test_an_owner_is_looked_up_once_and_a_calendar_once() -> None:
    item = upserted(start=START, owner="bob")
    settings = known(tenant(backfill=Backfill.ALL), account(), account(user="bob", mailbox="bob@example.org"))
    forecast = foretold(item, looked(planned(item, settings)), settings, times=3)
    assert (forecast.calls["create"], forecast.calls["check_access"]) == (3, 3)
    assert forecast.calls["list_categories"] == 1


def test_a_mailbox_takes_as_long_as_its_budget_and_its_pace_say() -> None:
    item = upserted(start=START)
    forecast = foretold(item, looked(planned(item, ON)), ON, times=3_000)
    assert forecast.busiest_mailbox_calls == 3_002
    assert forecast.busiest_mailbox_minutes == round(BUDGET.replan_seconds_for(3_000) / 60, 1)
    assert forecast.one_writer_minutes == forecast.busiest_mailbox_minutes


def test_a_switch_that_is_flipped_to_and_fro_waits_for_its_last_flip_only() -> None:
    pace = Pace(BUDGET)
    setting, other = SettingKey(TENANT, Scope.TENANT, ""), SettingKey(TENANT, Scope.ACCOUNT, ASSIGNEE)
    for flip in range(10):
        begun_at = NOW + timedelta(seconds=flip)
        last = [pace.due_at("lane", setting, begun_at, begun_at) for _ in range(3_000)][-1]
    assert last is not None
    assert abs((last - begun_at).total_seconds() - BUDGET.replan_seconds_for(3_000)) < 2 * BUDGET.replan_interval_s
    # What another setting asks for queues behind it, and what has had its turn is no longer in the way.
    behind = pace.due_at("lane", other, begun_at, begun_at)
    assert behind is not None
    assert timedelta() < behind - last <= timedelta(seconds=2 * BUDGET.replan_interval_s)
    assert pace.due_at("lane", other, begun_at, behind + timedelta(minutes=1)) is None


def test_a_re_plan_wakes_a_few_of_a_mailbox_and_spaces_the_rest() -> None:
    pace = Pace(BUDGET)
    setting = SettingKey(TENANT, Scope.TENANT, "")
    given = [pace.due_at("lane", setting, NOW, NOW) for _ in range(3_000)]
    assert given[:REPLAN_WOKEN_MAX_ENTRIES] == [None] * REPLAN_WOKEN_MAX_ENTRIES
    rest = [at for at in given if at is not None]
    assert rest == sorted(set(rest))
    assert abs((rest[-1] - NOW).total_seconds() - BUDGET.replan_seconds_for(3_000)) < 2 * BUDGET.replan_interval_s
    assert pace.due_at("another", setting, NOW, NOW) is None
    later = rest[-1] + timedelta(minutes=1)
    assert pace.due_at("lane", setting, NOW, later) is None
