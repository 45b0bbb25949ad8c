"""The texts in each language: none missing, none too many, and the same things to fill in."""

import re

import pytest
from babel.messages.catalog import Message

from schemas.items import ContactKind, Kind, Priority, Status
from schemas.switches import Locale
from services.ingest.texts import catalog_of, read_all_texts, texts_in

PLACEHOLDERS = re.compile(r"%\(\w+\)[a-z]|%.")


def texts_of(language: Locale) -> list[Message]:
    return [message for message in catalog_of(language) if message.id]


def ids(language: Locale) -> set[tuple[str | None, str]]:
    return {(message.context, str(message.id)) for message in texts_of(language)}


@pytest.mark.parametrize("language", Locale)
def test_every_text_is_translated(language: Locale) -> None:
    assert ids(language) == ids(Locale.EN)
    for message in texts_of(language):
        assert message.string, message.id
        assert message.string == str(message.string).strip()
        assert not message.fuzzy
    assert str(catalog_of(language).locale) == language


@pytest.mark.parametrize("language", Locale)
def test_the_same_things_are_filled_in(language: Locale) -> None:
    for message in texts_of(language):
        assert PLACEHOLDERS.findall(str(message.string)) == PLACEHOLDERS.findall(str(message.id))
        assert not list(message.check())


def test_english_says_what_the_ids_say() -> None:
    assert all(message.string == message.id for message in texts_of(Locale.EN))


@pytest.mark.parametrize("language", Locale)
def test_every_word_is_there_and_each_status_has_another(language: Locale) -> None:
    texts = texts_in(language)
    assert set(texts.status) == set(Status)
    # They name categories, which Outlook tells apart in no case.
    assert len({name.casefold() for name in texts.status.values()}) == len(Status)
    assert set(texts.priority) == set(Priority)
    kinds = {texts.kind(Kind.CONTACT, kind) for kind in ContactKind} | {texts.kind(Kind.ACTION, None)}
    assert len(kinds) == len(ContactKind) + 1
    assert "planner" in texts.open_in("planner")


def test_every_text_in_the_catalogs_is_used() -> None:
    texts = texts_in(Locale.EN)
    used = {
        *(("status", word) for word in texts.status.values()),
        *(("priority", word) for word in texts.priority.values()),
        *(("kind", word) for word in (*texts.contact_kind.values(), texts.action)),
        *(("label", word) for word in (texts.kind_label, texts.client_label, texts.place_label)),
        ("label", texts.open_in("%(source)s")),
    }
    assert ids(Locale.EN) == used


def test_a_source_with_a_percent_sign_is_only_a_name() -> None:
    assert texts_in(Locale.EN).open_in("100%(x)s") == "Open in 100%(x)s"


def test_after_the_start_no_event_waits_for_texts():
    texts_in.cache_clear()
    read_all_texts()
    assert texts_in.cache_info().currsize == len(Locale)
