"""Entries: what names them, and how their content is stored."""

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbus.entry import (
    Applied,
    Content,
    Desired,
    Entry,
    Intent,
    ItemKey,
    Place,
    ShowAs,
    content_hash_of,
    entry_id_of,
    target_of,
    transaction_id_of,
)
from schemas.items import Kind
from schemas.reasons import Reason
from tests.unit import strategies as some
from tests.unit.strategies import content

ITEM = ItemKey("contoso", "planner", Kind.ACTION, "A-1")
HERE, THERE = Place("contoso.example", "anna@contoso.example"), Place("contoso.example", "bob@contoso.example")

contents = st.builds(
    Content,
    subject=some.texts,
    body=some.texts,
    start=st.datetimes(),
    end=st.datetimes(),
    time_zone=some.zones,
    all_day=st.booleans(),
    show_as=st.sampled_from(ShowAs),
    importance=st.sampled_from(("low", "normal", "high")),
    private=st.booleans(),
    category=some.texts,
    reminder_minutes=st.none() | st.integers(0, 40_320),
    place=some.texts,
    color=st.sampled_from(("none", "preset0", "preset24")),
)
keys = st.builds(ItemKey, some.identifiers, some.identifiers, st.sampled_from(Kind), some.identifiers)


@given(contents)
def test_a_content_is_read_as_it_was_stored(stored: Content) -> None:
    assert Content.from_json(stored.to_json()) == stored


def test_a_content_that_says_more_than_is_known_here_is_refused() -> None:
    # Written and told as applied without what it says besides, it would stay so: its hash says that it stands.
    later = orjson.dumps({**orjson.loads(content().to_json()), "attendees": ["ann"]})
    with pytest.raises(TypeError, match="attendees"):
        Content.from_json(later)


def test_a_content_from_before_colours_and_series_is_read() -> None:
    stored = orjson.loads(content().to_json())
    del stored["color"], stored["recurrence"]
    assert Content.from_json(orjson.dumps(stored)) == replace(content(), color="none", recurrence=None)


@given(contents, contents)
def test_contents_have_the_same_hash_if_and_only_if_they_are_equal(one: Content, other: Content) -> None:
    assert (content_hash_of(one.to_json()) == content_hash_of(other.to_json())) == (one == other)
    assert content_hash_of(replace(one).to_json()) == content_hash_of(one.to_json())


@pytest.mark.parametrize(
    "change",
    [{"subject": "✔ Call back"}, {"start": datetime(2026, 11, 23, 8)}, {"reminder_minutes": 0}, {"private": True}],
)
def test_every_change_of_a_content_changes_its_hash(change: dict[str, Any]) -> None:
    assert content_hash_of(content(**change).to_json()) != content_hash_of(content().to_json())


def test_an_entrys_id_never_changes() -> None:
    """Entries that stand in databases and calendars were named by this."""
    assert entry_id_of(ITEM, "anna") == UUID("bbb40388-c5d1-517d-94f1-2dc9e36d8f68")
    assert transaction_id_of(entry_id_of(ITEM, "anna"), 0) == UUID("55aa8aff-b3c1-5fe2-8dc7-a8ea49148138")


@given(st.tuples(keys, some.identifiers), st.tuples(keys, some.identifiers))
def test_different_entries_have_different_ids(one: tuple[ItemKey, str], other: tuple[ItemKey, str]) -> None:
    assert (entry_id_of(*one) == entry_id_of(*other)) == (one == other)


@pytest.mark.parametrize(
    ("item", "assignee"),
    [
        (ITEM._replace(tenant="fabrikam"), "anna"),
        (ITEM._replace(source="crm"), "anna"),
        (ITEM._replace(kind=Kind.CONTACT), "anna"),
        (ITEM._replace(id="A-2"), "anna"),
        (ITEM, "bob"),
    ],
)
def test_every_part_of_its_name_tells_an_entry_from_others(item: ItemKey, assignee: str) -> None:
    assert entry_id_of(item, assignee) != entry_id_of(ITEM, "anna")


def test_each_generation_is_another_transaction() -> None:
    entry_id = entry_id_of(ITEM, "anna")
    assert len({transaction_id_of(entry_id, generation) for generation in range(100)}) == 100


def test_a_lane_ignores_the_case_of_its_mailbox() -> None:
    assert Place("Contoso.Example", "Anna@Contoso.example").lane == HERE.lane


@pytest.mark.parametrize("place", [THERE, Place("fabrikam.example", "anna@contoso.example")])
def test_another_mailbox_is_another_lane(place: Place) -> None:
    assert place.lane != HERE.lane


def test_a_lane_does_not_give_its_address_away() -> None:
    assert "anna" not in HERE.lane
    assert "contoso" not in HERE.lane


@pytest.mark.parametrize(
    ("applied", "target"),
    [
        (Applied(), HERE),
        (Applied(place=THERE), HERE),
        (Applied(place=THERE, event_id="E1"), THERE),
        (Applied(place=THERE, in_doubt=True), THERE),
    ],
)
def test_work_happens_where_the_event_is_before_where_it_should_be(applied: Applied, target: Place) -> None:
    desired = Desired(1, 1, Intent.PRESENT, Reason.WRITTEN, HERE, b"{}", b"")
    assert Entry(entry_id_of(ITEM, "anna"), ITEM, "anna", desired, applied, owed=True).target == target
    assert target_of(desired.place, applied.place, may_exist=applied.may_exist) == target
