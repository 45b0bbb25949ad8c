"""What is a trouble of an account or a tenant, what rests for it, when it is looked at, and what is published."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbus.entry import Applied, Desired, Entry, Intent, ItemKey, Place
from calbus.graph.errors import Fault, Scope
from calbus.store.accounts import Account, Status
from schemas.items import Kind
from schemas.reasons import NextActor, Reason, explain
from schemas.results import AccountState
from services.writer.reconciler import UNKNOWN_BEFORE_GONE
from services.writer.retries import Backoff
from services.writer.troubles import Finding, Pace, holds, lets_go, may_be_gone, met, stands, told, trouble_of, worked

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
PACE = Pace(Backoff(60.0, 3_600.0), confirm_s=1.0, token_s=60.0, unclear_s=60.0)
ANN, CONTOSO = Account("contoso", "ann"), Account("contoso", "")
HERE, THERE = Place("d1", "ann@contoso.example"), Place("d1", "ann@other.example")
PASSING = [reason for reason in Reason if explain(reason).next_actor in (NextActor.CALBUS, NextActor.NOBODY)]
LASTING = [reason for reason in Reason if reason not in PASSING]

scopes = st.sampled_from(Scope)
faults = st.builds(Fault, st.sampled_from(Reason), scopes)


def entry(*, place: Place | None = HERE, applied: Place | None = None, **desired: Any) -> Entry:
    """An entry to be created at `place`, or with an event at `applied`."""
    intent = Intent.PRESENT if place is not None else Intent.ABSENT
    content = b"{}" if place is not None else None
    given = {"revision": 1, "plan": 1, "reason": Reason.WRITTEN, "content": content, "content_hash": content} | desired
    stands_there = Applied(place=applied, event_id="e1", etag="1") if applied is not None else Applied()
    key = ItemKey("contoso", "planner", Kind.ACTION, "a1")
    return Entry(UUID(int=1), key, "ann", Desired(intent=intent, place=place, **given), stands_there, owed=True)


def status(account: Account = ANN, reason: Reason | None = None, **fields: Any) -> Status:
    """How an account stands, in trouble at HERE if there is a reason."""
    at_trouble = {"directory": HERE.directory, "mailbox": "" if account.is_tenant else HERE.mailbox, "probe_at": NOW}
    given: dict[str, Any] = {"code": "", "directory": "", "mailbox": "", "since": NOW, "attempts": 0, "probe_at": None}
    given |= {"seq": 0, "told": None, "roles_in": None} | (at_trouble if reason is not None else {}) | fields
    return Status(account=account, reason=reason, **given)


def finding(reason: Reason | None = None, scope: Scope = Scope.MAILBOX, **fields: Any) -> Finding:
    """What work said: that it was done, or this fault."""
    fault = Fault(reason, scope) if reason is not None else None
    return Finding(**{"entry": entry(), "fault": fault, "worked": fault is None} | fields)


@given(faults)
def test_what_passes_by_itself_or_is_of_one_entry_is_no_trouble(fault: Fault) -> None:
    trouble = trouble_of(Finding(entry(), fault), None)
    if fault.reason in PASSING or fault.scope is Scope.ENTRY:
        assert trouble is None
    else:
        assert trouble is not None
        assert (trouble.account, trouble.reason) == (CONTOSO if fault.scope is Scope.DIRECTORY else ANN, fault.reason)


def test_a_mailbox_that_the_account_has_left_is_no_trouble_of_it() -> None:
    assert trouble_of(finding(Reason.MAILBOX_UNKNOWN, entry=entry(place=THERE, applied=HERE)), None) is None


@pytest.mark.parametrize(
    ("bears_roles", "roles_in", "account", "reason"),
    [
        pytest.param(False, "d1", CONTOSO, Reason.CONSENT_MISSING, id="had roles, has none"),
        pytest.param(False, None, ANN, Reason.ACCESS_DENIED, id="never had any: let in by Exchange"),
        pytest.param(False, "d2", ANN, Reason.ACCESS_DENIED, id="had some in another directory"),
        pytest.param(True, "d1", ANN, Reason.ACCESS_DENIED, id="has them still"),
        pytest.param(None, "d1", ANN, Reason.ACCESS_DENIED, id="cannot be told"),
    ],
)
def test_consent_is_withdrawn_where_the_token_lost_its_roles(
    bears_roles: bool | None, roles_in: str | None, account: Account, reason: Reason
) -> None:
    trouble = trouble_of(finding(Reason.ACCESS_DENIED, bears_roles=bears_roles), status(CONTOSO, roles_in=roles_in))
    assert trouble is not None
    assert (trouble.account, trouble.reason) == (account, reason)


def test_a_mailbox_is_looked_at_once_more_before_it_is_believed() -> None:
    first = stands(status(), [finding(Reason.ACCESS_POLICY)], None, NOW, PACE)
    assert (first.reason, first.probe_at) == (Reason.ACCESS_POLICY, NOW + timedelta(seconds=1))
    assert told(status(), first, NOW)[1] is None
    second = stands(first, [finding(Reason.ACCESS_POLICY, probes=(ANN,))], None, NOW, PACE)
    stored, event = told(first, second, NOW)
    assert event is not None
    assert (event.state, event.reason, event.user) == (AccountState.TROUBLED, Reason.ACCESS_POLICY, "ann")
    assert (event.next_actor, bool(event.remedy)) == (NextActor.ADMINISTRATOR, True)
    assert (stored.seq, stored.told) == (1, Reason.ACCESS_POLICY)


def test_what_entra_says_of_a_tenant_is_believed_at_once_and_not_asked_while_it_is_remembered() -> None:
    after = stands(status(CONTOSO), [finding(Reason.APP_DISABLED, Scope.DIRECTORY)], None, NOW, PACE)
    assert after.probe_at is not None
    assert after.probe_at >= NOW + timedelta(seconds=PACE.token_s)
    _, event = told(status(CONTOSO), after, NOW)
    assert event is not None
    assert (event.state, event.user) == (AccountState.TROUBLED, None)


def test_only_a_probe_counts_once_a_trouble_is_known() -> None:
    known = status(reason=Reason.ACCESS_POLICY, attempts=2)
    assert stands(known, [finding(Reason.ACCESS_POLICY)], None, NOW, PACE) == known


@given(st.sampled_from(sorted(LASTING)), st.integers(0, 40))
def test_probes_come_ever_more_seldom_up_to_the_longest_wait(reason: Reason, attempts: int) -> None:
    after = stands(status(reason=reason, attempts=attempts), [finding(reason, probes=(ANN,))], None, NOW, PACE)
    assert after.attempts == attempts + 1
    assert after.probe_at is not None
    wait_s = (after.probe_at - NOW).total_seconds()
    full_s = min(60.0 * 2 ** (attempts + 1), 3_600.0)
    assert full_s / 2 <= wait_s <= full_s


@given(st.lists(st.sampled_from((Reason.MAILBOX_UNKNOWN, Reason.MAILBOX_NOT_IN_CLOUD)), min_size=1, max_size=12))
def test_names_that_alternate_are_told_once(names: list[Reason]) -> None:
    now, events = status(told=Reason.WORKING), 0
    for name in names:
        after = stands(now, [finding(name, probes=(ANN,) if now.reason else ())], None, NOW, PACE)
        now, event = told(now, after, NOW)
        events += event is not None
    assert events == (1 if len(names) > 1 else 0)


def test_another_remedy_is_told() -> None:
    known = status(reason=Reason.ACCESS_POLICY, attempts=1, told=Reason.ACCESS_POLICY, seq=4)
    after = stands(known, [finding(Reason.MAILBOX_NOT_IN_CLOUD, probes=(ANN,))], None, NOW, PACE)
    stored, event = told(known, after, NOW)
    assert event is not None
    assert (event.reason, stored.seq) == (Reason.MAILBOX_NOT_IN_CLOUD, 5)
    assert lets_go(known, after)


@given(st.sampled_from(sorted(PASSING)), scopes)
def test_a_probe_that_met_a_passing_fault_says_nothing(reason: Reason, scope: Scope) -> None:
    known = status(reason=Reason.ACCESS_POLICY, attempts=3)
    probe = finding(reason, scope, probes=(ANN,), retry_after_s=90.0)
    after = stands(known, [probe], None, NOW, PACE)
    assert after == replace(known, probe_at=NOW + timedelta(seconds=90))


def test_any_work_that_is_done_ends_the_trouble() -> None:
    known = status(reason=Reason.ACCESS_POLICY, attempts=3, told=Reason.ACCESS_POLICY, seq=1)
    after = stands(known, [finding(Reason.ACCESS_POLICY), finding()], None, NOW, PACE)
    assert (after.reason, after.probe_at, after.attempts) == (None, None, 0)
    stored, event = told(known, after, NOW)
    assert event is not None
    assert (event.state, event.reason, stored.seq) == (AccountState.WORKING, Reason.WORKING, 2)
    assert lets_go(known, after)


def test_a_mailbox_that_lets_us_read_works_unless_the_trouble_is_met_all_the_same() -> None:
    lost = status(reason=Reason.MAILBOX_NOT_IN_CLOUD)
    unknown = finding(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, worked=True)
    assert stands(lost, [unknown], None, NOW, PACE).reason is None
    groups = status(reason=Reason.ACCESS_CHECK_FORBIDDEN)
    same = finding(Reason.ACCESS_CHECK_FORBIDDEN, Scope.ENTRY, worked=True)
    assert stands(groups, [same], None, NOW, PACE).reason is Reason.ACCESS_CHECK_FORBIDDEN


def test_a_trouble_that_was_never_told_ends_without_a_word() -> None:
    known = status(reason=Reason.ACCESS_POLICY, told=Reason.WORKING)
    assert told(known, worked(known, NOW), NOW)[1] is None


def test_an_account_is_told_to_work_once_and_a_tenant_only_after_a_trouble() -> None:
    stored, event = told(status(), stands(status(), [finding()], None, NOW, PACE), NOW)
    assert event is not None
    assert told(stored, stands(stored, [finding()], None, NOW, PACE), NOW)[1] is None
    tenant = status(CONTOSO)
    assert told(tenant, stands(tenant, [finding()], None, NOW, PACE), NOW)[1] is None


def test_a_mailbox_that_graph_speaks_of_shows_that_the_tenants_door_is_open() -> None:
    shut = status(CONTOSO, Reason.APP_DISABLED)
    assert stands(shut, [finding(Reason.MAILBOX_UNKNOWN)], None, NOW, PACE).reason is None
    withdrawn = status(CONTOSO, Reason.CONSENT_MISSING, roles_in="d1")
    met_on = stands(withdrawn, [finding(Reason.MAILBOX_UNKNOWN, bears_roles=False)], None, NOW, PACE)
    assert met_on.reason is Reason.CONSENT_MISSING


def test_a_trouble_holds_what_goes_to_its_place_and_nothing_else() -> None:
    account, tenant = status(reason=Reason.ACCESS_POLICY), status(CONTOSO, Reason.APP_DISABLED)
    assert holds(account, entry())
    assert holds(account, entry(place=None, applied=HERE))
    assert holds(tenant, entry(place=THERE))
    assert not holds(account, entry(place=THERE))
    assert not holds(account, entry(place=THERE, applied=HERE))
    assert not holds(tenant, entry(place=Place("d2", HERE.mailbox)))
    assert not holds(status(), entry())
    assert not holds(account, entry(place=None))


def test_what_needs_no_call_is_never_held() -> None:
    there = entry(applied=HERE)
    settled = replace(there, applied=replace(there.applied, content_hash=there.desired.content_hash))
    assert not holds(status(reason=Reason.ACCESS_POLICY), settled)
    assert not holds(status(CONTOSO, Reason.APP_DISABLED), settled)


@pytest.mark.parametrize("reason", [Reason.CALENDAR_MISSING, Reason.CALENDAR_READ_ONLY])
def test_a_calendar_that_is_not_there_holds_what_is_to_be_made_in_it(reason: Reason) -> None:
    missing = status(reason=reason, told=reason, attempts=1)
    assert holds(missing, entry())
    assert not holds(missing, entry(applied=HERE))
    assert stands(missing, [finding(entry=entry(applied=HERE))], None, NOW, PACE) == missing
    # What stops the others is the wider trouble.
    wider = stands(missing, [finding(Reason.ACCESS_POLICY, entry=entry(applied=HERE))], None, NOW, PACE)
    assert wider.reason is Reason.ACCESS_POLICY


def test_another_mailbox_that_works_ends_the_trouble_and_one_that_does_not_begins_its_own() -> None:
    known = status(reason=Reason.MAILBOX_UNKNOWN, told=Reason.MAILBOX_UNKNOWN, attempts=5)
    assert stands(known, [finding(entry=entry(place=THERE))], None, NOW, PACE).reason is None
    after = stands(known, [finding(Reason.ACCESS_POLICY, entry=entry(place=THERE))], None, NOW, PACE)
    assert (after.reason, after.mailbox, after.attempts) == (Reason.ACCESS_POLICY, THERE.mailbox, 0)
    assert lets_go(known, after)


def test_what_is_to_leave_a_mailbox_that_stays_unknown_is_let_through() -> None:
    leaving = entry(place=None, applied=HERE)
    for attempts in range(UNKNOWN_BEFORE_GONE + 2):
        known = status(reason=Reason.MAILBOX_UNKNOWN, attempts=attempts)
        assert may_be_gone(known, leaving) == (attempts >= UNKNOWN_BEFORE_GONE)
        assert holds(known, leaving) == (attempts < UNKNOWN_BEFORE_GONE)
        assert holds(known, entry())


steps = st.tuples(st.sampled_from((None, *sorted(Reason))), scopes, st.booleans(), st.sampled_from((None, True, False)))


@given(st.lists(steps, max_size=20), st.booleans())
def test_whatever_happens_statuses_alternate_and_numbers_rise(
    happened: list[tuple[Reason | None, Scope, bool, bool | None]], whole: bool
) -> None:
    account = CONTOSO if whole else ANN
    now, events = status(account), []
    for reason, scope, probing, bears_roles in happened:
        probes = (account,) if probing and now.reason is not None else ()
        one = finding(reason, scope, probes=probes, bears_roles=bears_roles)
        after = stands(now, [one], None, NOW, PACE)
        assert (after.reason is None) == (after.probe_at is None)
        stored, event = told(now, after, NOW)
        assert stored.seq == now.seq + (event is not None)
        if event is not None:
            events.append(event)
        now = stored
    for earlier, later in pairwise(events):
        assert earlier.reason != later.reason
    assert not (whole and events and events[0].state is AccountState.WORKING)


@given(st.sampled_from(sorted(LASTING)), st.booleans())
def test_met_never_looks_again_at_once(reason: Reason, probing: bool) -> None:
    trouble = trouble_of(finding(reason), None)
    assert trouble is not None
    after = met(status(reason=reason), trouble, NOW, PACE, probing=probing)
    assert after.probe_at is not None
    assert not probing or after.probe_at >= NOW + timedelta(seconds=PACE.probes.first_s / 2)
