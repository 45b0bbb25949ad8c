"""Subject and body: what they say, in which order, and that they fit whatever the item and the template are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.items import ContactKind, ContactUpserted, ItemUpserted, Status
from schemas.switches import Locale
from services.ingest.shortening import units
from services.ingest.templates import VARIABLES
from services.ingest.texts import texts_in
from services.ingest.wording import (
    BODY_MAX_UNITS,
    CONTACT_ICONS,
    DEFAULT_BODY,
    DEFAULT_SUBJECT,
    ICONS,
    SUBJECT_MAX_UNITS,
    Wording,
    plain,
    word,
)
from tests.unit import strategies as some
from tests.unit.strategies import project, upserted

LINK = "https://planner.example/a/1"


def contact(**fields: Any) -> ContactUpserted:
    action = upserted().model_dump()
    return ContactUpserted.model_validate(action | {"client": {"name": "Mrs. Jansen"}} | fields)


def worded(item: ItemUpserted | None = None, language: Locale = Locale.EN, **given: Any) -> Wording:
    templates = {name: given.pop(name) for name in ("subject_template", "body_template") if name in given}
    return word(item or upserted(**given), texts_in(language), None, **templates)


def subject(template: str, **fields: Any) -> str:
    given = worded(upserted(**fields), subject_template=template)
    assert given.notice == ""
    return given.subject


def body(template: str, item: ItemUpserted) -> str:
    given = worded(item, body_template=template)
    assert given.notice == ""
    return given.body


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.OPEN, "○ Call back"),
        (Status.ACTIVE, "◐ Call back"),
        (Status.COMPLETED, "✔ Call back"),
        (Status.CANCELLED, "✖ Call back"),
    ],
)
def test_the_subject_shows_how_far_the_item_is(status: Status, expected: str) -> None:
    assert worded(status=status).subject == expected


@pytest.mark.parametrize(
    ("kind", "icons"),
    [
        (ContactKind.MEETING, "◇◆✔✖"),
        (ContactKind.CALL, "☏☎✔✖"),
        (ContactKind.VISIT, "⌂☗✔✖"),
        (ContactKind.OTHER, "○◐✔✖"),
    ],
)
def test_a_contact_that_is_to_come_shows_its_kind(kind: ContactKind, icons: str) -> None:
    subjects = [worded(contact(contact_kind=kind, status=status)).subject for status in Status]
    assert subjects == [f"{icon} Call back" for icon in icons]


def test_icons_are_single_characters_and_all_different() -> None:
    icons = [*ICONS.values(), *(icon for of_kind in CONTACT_ICONS.values() for icon in of_kind.values())]
    assert len(set(icons)) == len(icons)
    assert all(units(icon) == 1 for icon in icons)


def test_the_body_has_a_fixed_order() -> None:
    item = contact(contact_kind="visit", place="Dorpsstraat 1", description="Ask for Eva.\n\n\nBring cake.", link=LINK)
    assert worded(item).body == (
        "Kind: Visit\nClient: Mrs. Jansen\nPlace: Dorpsstraat 1\n\n"
        f"Ask for Eva.\n\n\nBring cake.\n\nOpen in planner: {LINK}"
    )
    assert worded(item, Locale.NL).body.splitlines()[:3] == [
        "Soort: Bezoek",
        "Klant: Mrs. Jansen",
        "Locatie: Dorpsstraat 1",
    ]
    assert worded(item, Locale.SV).body.splitlines()[-1] == f"Öppna i planner: {LINK}"
    assert worded(item, Locale.NB).body.splitlines()[2] == "Sted: Dorpsstraat 1"


def test_what_an_item_does_not_have_leaves_no_gap() -> None:
    assert worded().body == ""
    assert worded(description="Ask for Eva.").body == "Ask for Eva."
    assert worded(link=LINK).body == f"Open in planner: {LINK}"
    assert worded(description="Ask for Eva.", link=LINK).body == f"Ask for Eva.\n\nOpen in planner: {LINK}"
    assert worded(contact(client=None, contact_kind="other")).body == ""


def test_a_tenants_template_is_used() -> None:
    given = worded(
        contact(place="Room 2"),
        Locale.NL,
        subject_template="{{ status_text|upper }}: {{ client }} - {{ title }}",
        body_template="{{ kind_text }} / {{ kind }} / {{ place }} / {{ id }}",
    )
    assert given == Wording("OPEN: Mrs. Jansen - Call back", "Bespreking / meeting / Room 2 / A-1")


def test_a_project_goes_by_its_name() -> None:
    item = upserted(project="north")
    for settings, expected in ((None, "north"), (project(), "north"), (project(name="The North"), "The North")):
        assert word(item, texts_in(Locale.EN), settings, subject_template="{{ project }}").subject == expected


def test_a_subject_is_one_line() -> None:
    assert subject("{{ icon }}\n\n  {{ title }}\t!\n") == "○ Call back !"


@pytest.mark.parametrize("template", ["", "  \n", "{{ place }}", "{% if client %}x{% endif %}"])
def test_a_subject_is_never_empty(template: str) -> None:
    given = worded(subject_template=template)
    assert given.subject == "○ Call back"
    assert given.notice == "The subject template was not used, the default was: it gives no text."


def test_a_body_may_be_empty() -> None:
    assert worded(description="Ask for Eva.", body_template="") == Wording("○ Call back", "")


def test_a_template_that_fails_gives_way_to_ours_and_tells() -> None:
    given = worded(
        description="Ask for Eva.", subject_template="{% for x in title %}{% endfor %}", body_template="a\n{{ oops }}"
    )
    assert given == Wording(
        "○ Call back",
        "Ask for Eva.",
        "The subject template was not used, the default was: line 1: a loop is not allowed. "
        "The body template was not used, the default was: line 2: there is no variable `oops`.",
    )


def test_our_templates_written_by_a_tenant_change_nothing() -> None:
    item = contact(place="Room 2", description="Ask for Eva.", link=LINK)
    assert worded(item, subject_template=DEFAULT_SUBJECT, body_template=DEFAULT_BODY) == worded(item)


def test_a_subject_that_just_fits_is_not_shortened() -> None:
    title = "x" * (SUBJECT_MAX_UNITS - 2)
    assert worded(title=title).subject == f"○ {title}"
    longer = worded(title=f"{title}x").subject
    assert len(longer) == SUBJECT_MAX_UNITS
    assert longer.endswith("x…")


def test_in_a_subject_the_title_gives_way() -> None:
    given = subject("{{ title }} ({{ id }})", title="x" * 500)
    assert units(given) == SUBJECT_MAX_UNITS
    assert given.endswith("x… (A-1)")


def test_in_a_body_the_description_gives_way() -> None:
    given = worded(contact(description="x" * 32_000, link=LINK)).body
    assert units(given) == BODY_MAX_UNITS
    assert given.startswith("Kind: Meeting\nClient: Mrs. Jansen\n\nxxx")
    assert given.endswith(f"x…\n\nOpen in planner: {LINK}")


def test_a_description_that_is_written_twice_gives_way_twice() -> None:
    given = body("{{ description }}|{{ description }}|{{ link }}", upserted(description="x" * 32_000, link=LINK))
    assert BODY_MAX_UNITS - 2 <= units(given) <= BODY_MAX_UNITS
    assert given.endswith(f"x…|{LINK}")


def test_what_does_not_give_way_is_cut_at_the_end() -> None:
    given = subject("{{ client }}{{ id }}{{ place }}", place="y" * 255, id="1" * 100)
    assert units(given) == SUBJECT_MAX_UNITS
    assert given.endswith("y…")
    assert units(body("x" * 6_000 + "{{ link }}{{ title }}" * 80, upserted(link=LINK, title="y" * 500))) == 32_000


def test_what_exchange_may_refuse_is_left_out() -> None:
    assert plain("a\x00\x01b\tc\r\nd\re\x0bf\x1fg\x85h\x9f\ufffe\uffff\U0001f44d") == "ab\tc\nd\ne\nf g\nh\U0001f44d"
    assert worded(title="Call\x07 back\x1b").subject == "○ Call back"


@given(some.items(), st.sampled_from(Locale))
def test_our_own_words_are_those_of_our_templates(item: ItemUpserted, language: Locale) -> None:
    ours = worded(item, language, subject_template=DEFAULT_SUBJECT, body_template=DEFAULT_BODY)
    assert worded(item, language) == ours


@given(some.items(), st.sampled_from(Locale))
def test_every_item_is_worded_within_the_limits(item: ItemUpserted, language: Locale) -> None:
    given = worded(item, language)
    assert 0 < units(given.subject) <= SUBJECT_MAX_UNITS
    assert units(given.body) <= BODY_MAX_UNITS
    assert given.notice == ""
    assert "\n" not in given.subject


@given(st.sampled_from(("é", "👩‍👩‍👧‍👦", "🇳🇱", "x ", "e\u0301")), st.integers(1, 500))
def test_a_title_is_kept_as_far_as_it_fits(part: str, size: int) -> None:
    title = (part * size)[:size].strip() or "x"
    given = worded(title=title).subject
    whole = f"○ {' '.join(title.split())}"
    assert units(given) <= SUBJECT_MAX_UNITS
    assert given == whole or (given.endswith("…") and whole.startswith(given[:-1]) and units(whole) > SUBJECT_MAX_UNITS)


@given(st.sampled_from(("é", "👩‍👩‍👧‍👦", "x ", "\n", "👍")), st.integers(15_000, 32_000), st.booleans())
def test_a_body_keeps_its_limit_and_its_link(part: str, size: int, linked: bool) -> None:
    given = worded(description=(part * size)[:size], link=LINK if linked else None).body
    assert units(given) <= BODY_MAX_UNITS
    assert not linked or given.endswith(LINK)


templates = st.lists(
    st.sampled_from((*(f"{{{{ {name} }}}}" for name in VARIABLES), "{{ title|upper }}", "ß", "{% if client %}", " - "))
    | st.text(max_size=20),
    max_size=30,
).map("".join)


@given(some.items(), templates, templates)
def test_whatever_the_templates_are_the_limits_are_kept(item: ItemUpserted, first: str, second: str) -> None:
    given = worded(item, subject_template=first, body_template=second)
    assert 0 < units(given.subject) <= SUBJECT_MAX_UNITS
    assert units(given.body) <= BODY_MAX_UNITS
    assert len(given.notice) <= 1_000
