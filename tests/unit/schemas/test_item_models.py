"""What upstream may publish about items: which times, texts and lists are accepted, and what is said of the others."""

import json
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.examples import EXAMPLES
from schemas.fields import ASSIGNEES_MAX, DURATION_MAX_MINUTES, REMINDER_MAX_MINUTES, REVISION_MAX
from schemas.items import ActionDeleted, ActionUpserted, ContactDeleted, ContactUpserted, ItemEvent, ItemUpserted, Kind
from tests.unit import strategies as some

SMALLEST = {"tenant": "contoso", "source": "erp", "id": "A-1", "revision": 1, "title": "Call back"}


def action(**fields: object) -> ActionUpserted:
    return ActionUpserted.model_validate_json(json.dumps(SMALLEST | fields))


def refusal(**fields: object) -> str:
    with pytest.raises(ValidationError) as caught:
        action(**fields)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in caught.value.errors())


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2026-03-31T09:00", datetime(2026, 3, 31, 9, 0)),
        ("2026-03-31T00:00:00", datetime(2026, 3, 31)),
        ("2026-03-31T09:00Z", datetime(2026, 3, 31, 9, 0, tzinfo=UTC)),
        ("2026-03-31T09:00:00.5+02:00", datetime(2026, 3, 31, 9, 0, 0, 500_000, timezone(timedelta(hours=2)))),
        ("2026-03-31T09:00:00.123456789-11:30", datetime(2026, 3, 31, 20, 30, 0, 123_456, UTC)),
        ("1970-01-01T00:00", datetime(1970, 1, 1)),
        ("2099-12-31T23:59:59", datetime(2099, 12, 31, 23, 59, 59)),
    ],
)
def test_a_time_is_read_as_written(written: str, read: datetime) -> None:
    start = action(start=written).start
    assert isinstance(start, datetime)
    assert (start.tzinfo is None) == (read.tzinfo is None)
    assert start == read


def test_a_date_is_a_date_and_midnight_is_a_time() -> None:
    assert action(start="2026-03-31", all_day=True).start == date(2026, 3, 31)
    assert type(action(start="2026-03-31", all_day=True).start) is date
    assert type(action(start="2026-03-31T00:00:00Z").start) is datetime


@pytest.mark.parametrize(
    "written",
    [
        20260331,  # all of these are seconds since 1970 to pydantic
        1774947600,
        "20260331",
        "1774947600",
        "2026",
        True,
        "2026-03-31 09:00",
        "2026-03-31T09",
        "2026-03-31T24:00",
        "2026-03-31T09:00:60Z",
        "2026-03-31T09:00+0200",
        "2026-03-31T09:00:00+24:00",
        "2026-W14-2",
        "2026-13-01",
        "2026-02-30",
        " 2026-03-31T09:00",
        "2026-03-31T09:00\n",
        "٢٠٢٦-03-31",
        "1969-12-31T23:59:59",
        "2100-01-01",
        "",
    ],
)
def test_anything_else_is_not_a_time(written: object) -> None:
    assert refusal(start=written, all_day=True).startswith("start: Value error, ")


def test_years_out_of_range_are_refused_in_python_too() -> None:
    with pytest.raises(ValidationError, match="in the years 1970 to 2099"):
        ActionUpserted(tenant="t", source="s", id="i", revision=1, title="t", start=datetime(2100, 1, 1))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("PT45M", timedelta(minutes=45)),
        ("P1DT2H3M4.5S", timedelta(days=1, hours=2, minutes=3, seconds=4.5)),
        ("P1W2D", timedelta(days=9)),
        ("PT0S", timedelta(0)),
        ("P366D", timedelta(days=366)),
    ],
)
def test_a_duration_is_read_as_written(written: str, read: timedelta) -> None:
    assert action(start="2026-03-31T09:00", duration=written).duration == read


@pytest.mark.parametrize("days", [364, 365, 366])
def test_a_long_duration_is_written_without_years(days: int) -> None:
    item = action(duration=f"P{days}D")
    assert "Y" not in item.model_dump(mode="json")["duration"]
    assert ActionUpserted.model_validate_json(item.model_dump_json()) == item


@pytest.mark.parametrize("written", [45, "45", "00:45:00", "P1M", "P1Y", "P", "PT", "-PT5M", "pt45m", "PT4.5M", ""])
def test_anything_else_is_not_a_duration(written: object) -> None:
    assert "duration: Value error, is not an ISO 8601 duration" in refusal(duration=written)


@pytest.mark.parametrize("start", [None, "2026-03-31T09:00"])
def test_a_duration_has_a_limit_with_or_without_a_start(start: str | None) -> None:
    assert "must lie between zero and 366 days" in refusal(start=start, duration="P366DT1S")


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"start": "2026-03-31T09:00", "end": "2026-03-31T10:00", "duration": "PT1H"}, "not both"),
        ({"start": "2026-03-31"}, "without a time"),
        ({"start": "2026-03-31T09:00", "end": "2026-03-31"}, "without a time"),
        ({"start": "2026-03-31T09:00", "end": "2026-03-31T10:00Z"}, "both have an offset, or neither"),
        ({"start": "2026-03-31T09:00Z", "end": "2026-03-31T10:00"}, "both have an offset, or neither"),
        ({"start": "2026-03-31T09:00", "end": "2026-03-31T08:59"}, "`end` lies before `start`"),
        ({"start": "2026-03-31T09:00+02:00", "end": "2026-03-31T09:00+03:00"}, "`end` lies before `start`"),
        ({"start": "2026-01-01T00:00", "end": "2027-01-02T00:01"}, "longer than 366 days"),
        ({"start": "2026-03-31", "end": "2026-03-30", "all_day": True}, "`end` lies before `start`"),
        ({"start": "2026-01-01", "end": "2027-01-03", "all_day": True}, "longer than 366 days"),
    ],
)
def test_times_that_make_no_sense_together_are_refused(fields: dict[str, object], fault: str) -> None:
    assert fault in refusal(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"start": "2026-03-31T09:00", "end": "2026-03-31T09:00"},
        {"start": "2026-03-31T09:00+02:00", "end": "2026-03-31T07:00Z"},
        {"start": "2026-01-01T00:00", "end": "2027-01-02T00:00"},
        {"start": "2026-12-31", "end": "2027-01-01", "all_day": True},
        {"start": "2026-01-01", "end": "2027-01-02", "all_day": True},
        {"start": "2026-12-31T22:00", "end": "2026-12-31T08:00", "all_day": True},
        {"start": "2026-12-31T22:00Z", "end": "2027-01-01", "all_day": True},
        {"end": "2026-03-31T09:00", "duration": "PT1H"},  # not planned yet: looked at once there is a start
    ],
)
def test_the_edges_of_what_makes_sense_are_accepted(fields: dict[str, object]) -> None:
    action(**fields)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Amsterdam", "America/Argentina/Buenos_Aires"])
def test_a_zone_of_the_iana_is_accepted(zone: str) -> None:
    assert action(time_zone=zone).time_zone == zone


@pytest.mark.parametrize(
    "zone", ["", "europe/amsterdam", "W. Europe Standard Time", "+02:00", "localtime", "Factory", "../etc/passwd"]
)
def test_any_other_zone_is_refused(zone: str) -> None:
    assert "is not an IANA time zone name" in refusal(time_zone=zone)


@pytest.mark.parametrize("field", ["tenant", "source", "id", "title", "description", "place", "link", "recurrence"])
def test_no_text_may_hold_what_the_database_cannot(field: str) -> None:
    assert f"{field}: " in refusal(**{field: "https://erp.example.com/\x00x"})


def test_a_clients_name_may_not_hold_it_either() -> None:
    with pytest.raises(ValidationError, match=r"U\+0000"):
        ContactUpserted.model_validate(SMALLEST | {"client": {"name": "a\x00b"}})


@pytest.mark.parametrize("name", ["a", "A-1 b", "é", "x" * 128])
def test_identifiers(name: str) -> None:
    assert action(id=name).id == name


@pytest.mark.parametrize("name", ["", " ", "\u00a0", "a/b", "a\tb", "a\x7f", "x" * 129, 7, None])
def test_other_names_are_not_identifiers(name: object) -> None:
    assert refusal(id=name).startswith("id: ")


@pytest.mark.parametrize(
    ("field", "fits", "too_much"),
    [
        ("title", "x" * 500, "x" * 501),
        ("title", "x", " \n "),
        ("description", "x" * 32_000, "x" * 32_001),
        ("place", "x" * 255, "x" * 256),
        ("recurrence", "x" * 2_000, "x" * 2_001),
        ("link", "https://example.com/" + "x" * 2_028, "https://example.com/" + "x" * 2_029),
        ("link", "http://e", "javascript:alert(1)"),
        ("revision", REVISION_MAX, REVISION_MAX + 1),
        ("revision", 1, 0),
        ("reminder_minutes", REMINDER_MAX_MINUTES, REMINDER_MAX_MINUTES + 1),
        ("reminder_minutes", 0, -1),
        ("assignees", [str(n) for n in range(ASSIGNEES_MAX)], [str(n) for n in range(ASSIGNEES_MAX + 1)]),
    ],
)
def test_everything_has_a_limit(field: str, fits: object, too_much: object) -> None:
    action(**{field: fits})
    assert refusal(**{field: too_much}).startswith(f"{field}: ")


@pytest.mark.parametrize(
    ("field", "value"),
    [("revision", "1"), ("revision", 1.5), ("all_day", "yes"), ("private", 1), ("reminder_minutes", "5")],
)
def test_what_looks_like_a_number_or_a_boolean_is_not_one(field: str, value: object) -> None:
    assert refusal(**{field: value}).startswith(f"{field}: ")


def test_white_space_around_texts_goes_but_a_description_keeps_its_own() -> None:
    item = action(id=" A-1 ", title=" Call back\n", description="  indented\n")
    assert (item.id, item.title, item.description) == ("A-1", "Call back", "  indented\n")


@pytest.mark.parametrize("assignees", [["u-1", "u-2", "u-1"], ["u-1", " u-1"]])
def test_an_assignee_is_named_once(assignees: list[str]) -> None:
    assert "names a user twice" in refusal(assignees=assignees)


def test_unknown_fields_are_ignored_and_items_cannot_be_changed() -> None:
    item = action(colour="red")
    assert item == action()
    with pytest.raises(ValidationError, match="frozen"):
        item.revision = 2  # type: ignore[misc]


def test_the_kind_comes_from_the_event_type_and_not_from_the_data() -> None:
    assert action(kind="contact").kind is Kind.ACTION
    assert ContactUpserted.model_validate(SMALLEST).kind is Kind.CONTACT
    assert ActionDeleted.model_validate(SMALLEST).kind is Kind.ACTION


identifiers = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,20}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=60)
offsets = st.none() | st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
titles = texts.filter(lambda text: text.strip() and text.encode().strip(b"\x1c\x1d\x1e\x1f"))
durations = st.timedeltas(timedelta(0), timedelta(minutes=DURATION_MAX_MINUTES))


@st.composite
def spans(draw: st.DrawFn) -> dict[str, object]:
    if draw(st.booleans()):
        first = draw(st.dates(date(1970, 1, 1), date(2098, 1, 1)))
        last = draw(st.none() | st.dates(first, first + timedelta(days=366)))
        return {"all_day": True, "start": first, "end": last}
    start = draw(st.datetimes(datetime(1971, 1, 1), datetime(2098, 1, 1), timezones=offsets))
    length = draw(durations)
    return {"start": start} | draw(st.sampled_from([{}, {"end": start + length}, {"duration": length}]))


@st.composite
def items(draw: st.DrawFn) -> ActionUpserted:
    fields = {
        "tenant": draw(identifiers),
        "source": draw(identifiers),
        "id": draw(identifiers),
        "revision": draw(st.integers(1, REVISION_MAX)),
        "title": draw(titles),
        "description": draw(texts),
        "place": draw(texts),
        "time_zone": draw(st.sampled_from([None, "UTC", "Europe/Amsterdam"])),
        "status": draw(st.sampled_from(["open", "active", "completed", "cancelled"])),
        "project": draw(st.none() | identifiers),
        "assignees": draw(st.lists(identifiers, max_size=5, unique_by=str.strip)),
        "reminder_minutes": draw(st.none() | st.integers(0, REMINDER_MAX_MINUTES)),
        "private": draw(st.booleans()),
    }
    return ActionUpserted.model_validate(fields | draw(st.just({}) | spans()))


@given(items())
def test_every_item_survives_being_written_and_read(item: ActionUpserted) -> None:
    written = item.model_dump_json()
    again = ActionUpserted.model_validate_json(written)
    assert again == item
    assert type(again.start) is type(item.start)
    assert again.model_dump_json() == written


# -- the stored form --------------------------------------------------------------------------------------------------


@given(some.items(), st.none() | st.datetimes(datetime(1970, 1, 1), datetime(2099, 12, 31), timezones=some.offsets))
def test_an_item_is_stored_as_pydantic_writes_it(item: ItemUpserted, made_at: datetime | None) -> None:
    """Its hash tells whether a revision was seen before, also by a version of calbus that knows only the one form."""
    item = type(item).model_validate(item.model_dump() | {"created_at": made_at})
    assert item.to_json() == item.model_dump_json().encode()
    read = type(item).model_validate_json(item.to_json())
    assert read.to_json() == item.to_json() == read.model_dump_json().encode()


@pytest.mark.parametrize("model", [ActionUpserted, ContactUpserted, ActionDeleted, ContactDeleted])
def test_so_are_those_that_are_gone_and_those_with_parts(model: type[ItemEvent]) -> None:
    for example in EXAMPLES[model].values():
        item = model.model_validate(example)
        assert item.to_json() == item.model_dump_json().encode()
