"""The planning decision, against a specification of its own: a list of questions of which the first counts."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from calbus.entry import Intent, Place
from schemas.items import ItemUpserted
from schemas.reasons import Reason
from schemas.switches import AccountSettings, Backfill, Direction, ProjectSettings, TenantSettings
from services.ingest.planner import Standing, Switches, decide
from tests.unit import strategies as some
from tests.unit.strategies import ASSIGNEE, PROJECT, account, project, tenant, upserted

START = "2026-11-23T09:00"
WHEN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
HOURLY = "RRULE:FREQ=HOURLY"

TENANTS = (None, tenant(enabled=False), tenant())
PROJECTS = (None, project(enabled=False), project())
ACCOUNTS = (
    None,
    *(
        account(allowed=allowed, blocked=blocked, direction=direction, projects=projects)
        for allowed, blocked, direction, projects in product(
            (True, False), (True, False), Direction, (None, (), ("other",), ("other", PROJECT))
        )
    ),
)
ITEMS = (
    None,
    *(
        upserted(assignees=assignees, start=start, project=of_project, recurrence=recurrence)
        for assignees, start, of_project, recurrence in product(
            ((ASSIGNEE,), ("bob",), ()), (None, START), (None, PROJECT), (None, "RRULE:FREQ=DAILY", HOURLY)
        )
    ),
)


def specified(
    item: ItemUpserted | None,
    tenant: TenantSettings | None,
    project: ProjectSettings | None,
    account: AccountSettings | None,
) -> tuple[Intent, Reason]:
    """What the contract says, from the first question to the last."""
    shut = [
        (tenant is None or not tenant.enabled, Reason.TENANT_NOT_ENABLED),
        (account is None, Reason.NO_ACCOUNT),
        (account is not None and not account.allowed, Reason.ACCOUNT_NOT_ALLOWED),
        (account is not None and account.blocked, Reason.ACCOUNT_BLOCKED),
        (account is not None and account.direction in ("down", "none"), Reason.DIRECTION_NOT_UP),
    ]
    off = any(closed for closed, _ in shut)
    gone = Intent.HOLD if off else Intent.ABSENT
    in_project = item is not None and item.project is not None
    chosen = account.projects if account is not None else None
    questions = [
        (item is None, gone, Reason.DELETED),
        (item is not None and ASSIGNEE not in item.assignees, gone, Reason.UNASSIGNED),
        *((closed, Intent.HOLD, reason) for closed, reason in shut),
        (item is not None and item.start is None, Intent.ABSENT, Reason.NO_START),
        (in_project and (project is None or not project.enabled), Intent.ABSENT, Reason.PROJECT_NOT_ENABLED),
        (in_project and chosen is not None and PROJECT not in chosen, Intent.ABSENT, Reason.PROJECT_NOT_SELECTED),
        (item is not None and item.recurrence == HOURLY, Intent.HOLD, Reason.RECURRENCE_NOT_SUPPORTED),
        (True, Intent.PRESENT, Reason.WRITTEN),
    ]
    return next((intent, reason) for applies, intent, reason in questions if applies)


def test_every_combination_of_switches_and_items_is_decided_as_specified() -> None:
    reached = set()
    for item, *switches in product(ITEMS, TENANTS, PROJECTS, ACCOUNTS):
        decision = decide(item, ASSIGNEE, Switches(*switches))
        assert (decision.intent, decision.reason) == specified(item, *switches), (item, switches)
        reached.add(decision.reason)
    assert reached == {
        Reason.WRITTEN,
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
        Reason.RECURRENCE_NOT_SUPPORTED,
    }


@pytest.mark.parametrize(
    ("recurrence", "kept"),
    [
        (None, False),
        ("RRULE:FREQ=DAILY;UNTIL=20261125", False),
        ("RRULE:FREQ=DAILY;COUNT=3", False),
        ("RRULE:FREQ=DAILY;UNTIL=20261202", True),
        ("RRULE:FREQ=WEEKLY;COUNT=3", True),
        ("RRULE:FREQ=YEARLY", True),
    ],
)
def test_a_series_is_as_old_as_its_last_occurrence(recurrence: str | None, kept: bool) -> None:
    activated = datetime(2026, 12, 1, tzinfo=UTC)
    switches = Switches(tenant(backfill="future"), None, account(), activated_at=activated)
    standing = Standing(since=activated - timedelta(days=30))
    decision = decide(upserted(start=START, recurrence=recurrence), ASSIGNEE, switches, standing)
    assert (decision.reason is Reason.WRITTEN) == kept


def test_an_entry_stands_in_the_accounts_mailbox_of_the_tenants_directory() -> None:
    switches = Switches(tenant(directory="fabrikam.example"), None, account(mailbox="other@fabrikam.example"))
    decision = decide(upserted(start=START), ASSIGNEE, switches)
    assert decision.place == Place("fabrikam.example", "other@fabrikam.example")


@given(
    st.none() | some.items(),
    st.none() | some.tenants,
    st.none() | some.projects,
    st.none() | some.accounts,
)
def test_place_and_content_are_set_if_and_only_if_the_entry_is_to_be_present(
    item: ItemUpserted | None,
    tenant: TenantSettings | None,
    project: ProjectSettings | None,
    account: AccountSettings | None,
) -> None:
    decision = decide(item, ASSIGNEE, Switches(tenant, project, account))
    present = decision.intent is Intent.PRESENT
    assert (decision.place is not None, decision.content is not None) == (present, present)


@given(
    some.wild_series(),
    some.tenants.map(lambda one: one.model_copy(update={"enabled": True})),
    st.sampled_from(Backfill),
    st.none() | st.datetimes(timezones=st.just(UTC)),
)
@example(
    upserted(start=START, recurrence="RRULE:FREQ=WEEKLY;COUNT=3\nEXDATE:99991231T235959Z"), tenant(), Backfill.ALL, None
)
def test_no_item_that_the_contract_admits_breaks_the_planning(
    item: ItemUpserted, of_tenant: TenantSettings, backfill: Backfill, since: datetime | None
) -> None:
    switches = Switches(of_tenant.model_copy(update={"backfill": backfill}), project(), account(), None, WHEN)
    for assignee in (*item.assignees, ASSIGNEE):
        decision = decide(item, assignee, switches, Standing(since))
        assert (decision.content is not None) is (decision.intent is Intent.PRESENT)
        if decision.content is not None:
            decision.content.to_json()
