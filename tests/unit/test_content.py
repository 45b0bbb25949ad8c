"""What an entry says.

How subject and body are worded, and what templates do to them, stands in test_wording.py.
"""

from datetime import date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbus.entry import Content, ShowAs
from calbus.recurrence import Range
from schemas.items import ItemUpserted, Priority, Status
from schemas.switches import Locale, ProjectSettings, TenantSettings
from services.ingest.content import COLORS, PLACE_MAX_UNITS, Draft, draft_of
from services.ingest.recurrences import Refusal
from services.ingest.shortening import units
from services.ingest.texts import texts_in
from tests.unit import strategies as some
from tests.unit.strategies import project, tenant, upserted

START = "2026-11-23T09:00"


def content(**fields: Any) -> Content:
    return content_of_item(upserted(start=START, **fields))


def content_of_item(item: ItemUpserted, *settings: Any) -> Content:
    assert item.start is not None
    draft = draft_of(item, item.start, *(settings or (tenant(), None)))
    assert isinstance(draft, Draft), draft
    return draft.content


@pytest.mark.parametrize("status", Status)
def test_the_category_is_the_status_in_words(status: Status) -> None:
    assert content(status=status).category == texts_in(Locale.EN).status[status]


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("locale", Locale)
def test_category_and_body_speak_the_tenants_language(locale: Locale, status: Status) -> None:
    item = upserted(start=START, place="B 2", status=status)
    planned = content_of_item(item, tenant(locale=locale), None)
    assert (planned.category, planned.color) == (texts_in(locale).status[status], COLORS[status])
    assert planned.body == f"{texts_in(locale).place_label}: B 2"


def test_the_tenants_templates_are_used_and_a_flaw_is_told() -> None:
    settings = tenant(subject_template="{{ title }} / {{ project }}", body_template="{{ cycler }}")
    item = upserted(start=START, project="north", description="Ask for Eva.")
    draft = draft_of(item, date(2026, 11, 23), settings, project(name="The North"))
    assert (draft.content.subject, draft.content.body) == ("Call back / The North", "Ask for Eva.")
    assert "no variable `cycler`" in draft.notice


def test_each_status_has_a_colour_that_outlook_knows() -> None:
    assert set(COLORS) == set(Status)
    assert len(set(COLORS.values())) == len(COLORS)
    assert set(COLORS.values()) <= {f"preset{number}" for number in range(25)}


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        (Status.OPEN, ShowAs.BUSY),
        (Status.ACTIVE, ShowAs.BUSY),
        (Status.COMPLETED, ShowAs.FREE),
        (Status.CANCELLED, ShowAs.FREE),
    ],
)
def test_what_is_over_leaves_the_time_free(status: Status, shown: ShowAs) -> None:
    assert content(status=status).show_as is shown


@pytest.mark.parametrize("priority", Priority)
def test_the_priority_becomes_the_importance(priority: Priority) -> None:
    assert content(priority=priority).importance == priority.value


@pytest.mark.parametrize("private", [True, False])
def test_a_private_item_is_a_private_entry(private: bool) -> None:
    assert content(private=private).private is private


@pytest.mark.parametrize("minutes", [None, 0, 15])
def test_the_reminder_is_kept(minutes: int | None) -> None:
    assert content(reminder_minutes=minutes).reminder_minutes == minutes


def test_the_place_is_kept() -> None:
    assert content(place="Room 2").place == "Room 2"


@given(some.texts)
def test_a_place_keeps_its_limit(place: str) -> None:
    assert units(content(place=place[:255]).place) <= PLACE_MAX_UNITS


@pytest.mark.parametrize(
    ("project_minutes", "minutes"),
    [(None, 45), (20, 20)],
)
def test_the_projects_default_duration_comes_before_the_tenants(project_minutes: int | None, minutes: int) -> None:
    settings = tenant(default_duration_minutes=45), project(default_duration_minutes=project_minutes)
    planned = content_of_item(upserted(start=START), *settings)
    assert (planned.end - planned.start).total_seconds() == minutes * 60


@given(some.items(), some.tenants, st.none() | some.projects)
def test_every_accepted_item_has_a_content_that_can_be_stored(
    item: ItemUpserted, tenant: TenantSettings, project: ProjectSettings | None
) -> None:
    assert item.start is not None
    draft = draft_of(item, item.start, tenant, project)
    if isinstance(draft, Refusal):
        assert item.recurrence is not None
    else:
        assert Content.from_json(draft.content.to_json()) == draft.content


def test_a_recurring_item_begins_with_the_rules_first_day() -> None:
    planned = content(recurrence="RRULE:FREQ=WEEKLY;BYDAY=TH;COUNT=3", duration="PT1H")
    assert (planned.start, planned.end) == (datetime(2026, 11, 26, 9), datetime(2026, 11, 26, 10))
    assert planned.recurrence is not None
    assert planned.recurrence.range == Range(date(2026, 11, 26), date(2026, 12, 10), 3)
