"""Shortening: never longer than the limit, never in the middle of what a reader takes for one character."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.ingest.shortening import CLUSTER_MAX_CHARACTERS, is_border, shorten, units

# Each is one visible character.
CLUSTERS = (
    "é",
    "e\u0301\u0323",
    "👩‍👩‍👧‍👦",
    "👍🏽",
    "🇳🇱",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "❤\ufe0f",
    "1\ufe0f\u20e3",
    "각",
    "\u1100\u1161\u11a8",
    "क्षि",
    "กำ",
    "\r\n",
    "𝒳",
)
mixtures = st.lists(st.sampled_from((*CLUSTERS, "a", " ", "Z")), max_size=60)


def test_the_length_is_counted_as_outlook_counts() -> None:
    assert [units(text) for text in ("", "a", "é", "👍", "🇳🇱")] == [0, 1, 1, 2, 4]


@pytest.mark.parametrize("cluster", CLUSTERS)
def test_a_visible_character_is_not_parted(cluster: str) -> None:
    text = f"a{cluster}b"
    assert [at for at in range(len(text) + 1) if is_border(text, at)] == [0, 1, len(text) - 1, len(text)]


def test_two_flags_are_parted_between_them() -> None:
    text = "🇳🇱🇸🇪🇳🇴"
    assert [at for at in range(len(text) + 1) if is_border(text, at)] == [0, 2, 4, 6]


@given(mixtures, st.integers(0, 80))
def test_only_whole_visible_characters_are_left(parts: list[str], limit: int) -> None:
    text = "".join(parts)
    short = shorten(text, limit)
    assert units(short) <= limit
    if units(text) <= limit:
        assert short == text
    elif limit:
        assert short.endswith("…")
        kept = short[:-1]
        assert text.startswith(kept)
        assert is_border(text, len(kept))


@given(st.text(), st.integers(0, 300))
@example("\ud83d" * 10, 5)
@example("\ud83d\ude00" * 10, 6)
def test_any_text_is_shortened_without_failing(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert units(short) <= limit
    assert short == text or not limit or short.endswith("…")


@given(st.integers(3, 300))
def test_as_much_is_kept_as_fits(limit: int) -> None:
    assert len(shorten("x" * 301, limit)) == limit
    # One unit may be too few for the next pair.
    assert units(shorten("👍" * 301, limit)) >= limit - 1


def test_marks_without_end_are_no_reason_to_drop_everything() -> None:
    short = shorten("Call back " + "e" + "\u0301" * (CLUSTER_MAX_CHARACTERS * 4), 100)
    assert units(short) == 100


def test_what_does_not_fit_at_all_leaves_the_ellipsis() -> None:
    assert shorten("👩‍👩‍👧‍👦", 5) == "…"
    assert shorten("abc", 1) == "…"
    assert shorten("abc", 0) == ""
