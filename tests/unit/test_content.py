"""What an entry says.

What shortening promises: it never fails, the result keeps the limit in characters (code points), is what was given
up to an ellipsis, and carries the ellipsis only if something was left out. It may part a letter from its accent.
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbus.entry import Content, ShowAs
from schemas.items import ContactUpserted, ItemUpserted, Priority, Status
from schemas.switches import ProjectSettings, TenantSettings
from services.ingest.content import BODY_MAX_CHARACTERS, CATEGORIES, ICONS, SUBJECT_MAX_CHARACTERS, content_of
from tests.unit import strategies as some
from tests.unit.strategies import project, tenant, upserted

START = "2026-11-23T09:00"


def content(**fields: Any) -> Content:
    return content_of_item(upserted(start=START, **fields))


def content_of_item(item: ItemUpserted, *settings: Any) -> Content:
    assert item.start is not None
    return content_of(item, item.start, *(settings or (tenant(), None)))


@pytest.mark.parametrize(
    ("status", "subject"),
    [
        (Status.OPEN, "○ Call back"),
        (Status.ACTIVE, "◐ Call back"),
        (Status.COMPLETED, "✔ Call back"),
        (Status.CANCELLED, "✖ Call back"),
    ],
)
def test_the_subject_shows_how_far_the_item_is(status: Status, subject: str) -> None:
    assert content(status=status).subject == subject


@pytest.mark.parametrize("marks", [ICONS, CATEGORIES])
def test_each_status_has_a_mark_of_its_own(marks: dict[Status, str]) -> None:
    assert set(marks) == set(Status)
    assert len(set(marks.values())) == len(marks)


@pytest.mark.parametrize("status", Status)
def test_the_category_is_the_status(status: Status) -> None:
    assert content(status=status).category == CATEGORIES[status]


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


def test_the_body_gives_the_description_and_the_link() -> None:
    assert content(description="Ask for Eva.", link="https://x.example/1").body == "Ask for Eva.\n\nhttps://x.example/1"


def test_the_body_of_a_contact_begins_with_the_client() -> None:
    fields = upserted(start=START, description="Yearly visit.").model_dump()
    contact = ContactUpserted.model_validate(fields | {"client": {"name": "Mrs. Jansen"}})
    assert content_of_item(contact).body == "Mrs. Jansen\n\nYearly visit."


def test_an_item_without_words_has_an_empty_body() -> None:
    assert content().body == ""


@pytest.mark.parametrize(
    ("project_minutes", "minutes"),
    [(None, 45), (20, 20)],
)
def test_the_projects_default_duration_comes_before_the_tenants(project_minutes: int | None, minutes: int) -> None:
    settings = tenant(default_duration_minutes=45), project(default_duration_minutes=project_minutes)
    planned = content_of_item(upserted(start=START), *settings)
    assert (planned.end - planned.start).total_seconds() == minutes * 60


def test_a_subject_that_just_fits_is_not_shortened() -> None:
    title = "x" * (SUBJECT_MAX_CHARACTERS - 2)
    assert content(title=title).subject == f"○ {title}"


def test_a_subject_that_does_not_fit_ends_in_an_ellipsis() -> None:
    subject = content(title="x" * (SUBJECT_MAX_CHARACTERS - 1)).subject
    assert len(subject) == SUBJECT_MAX_CHARACTERS
    assert subject.endswith("x…")


@given(
    st.one_of(
        some.titles,
        st.sampled_from(("é", "👩‍👩‍👧‍👦", "🇳🇱", " ", "x ")).map(lambda part: "x" + part * 300),
    )
)
def test_a_subject_is_the_title_as_far_as_it_fits(title: str) -> None:
    title = title.strip()[:500].strip()
    subject = content(title=title).subject
    whole = f"○ {' '.join(title.split())}"
    assert len(subject) <= SUBJECT_MAX_CHARACTERS
    assert subject == whole or (subject.endswith("…") and whole.startswith(subject[:-1]) and len(whole) > 255)


@given(st.sampled_from(("é", "👩‍👩‍👧‍👦", "x ", "\n")), st.integers(31_000, 32_000), st.booleans())
def test_a_body_keeps_its_limit(part: str, size: int, linked: bool) -> None:
    description = (part * size)[:size]
    body = content(description=description, link="https://x.example/1" if linked else None).body
    assert len(body) <= BODY_MAX_CHARACTERS


@given(some.items(), some.tenants, st.none() | some.projects)
def test_every_accepted_item_has_a_content_that_can_be_stored(
    item: ItemUpserted, tenant: TenantSettings, project: ProjectSettings | None
) -> None:
    planned = content_of_item(item, tenant, project)
    assert Content.from_json(planned.to_json()) == planned


def test_a_body_too_long_gives_up_description_before_client_and_link() -> None:
    body = content(description="x" * 32_000, link="https://x.example/1").body
    assert len(body) == BODY_MAX_CHARACTERS
    assert body.endswith("x…\n\nhttps://x.example/1")
