"""Texts made to fit: measured as Outlook measures, cut where a reader sees a border. Pure.

The borders are those of Unicode's text segmentation (UAX #29), or fewer: nothing that a reader takes for one
character is parted.
"""

import unicodedata

ELLIPSIS = "…"
# No writing system makes one visible character of more than this; what does is cut like any other text.
CLUSTER_MAX_CHARACTERS = 64

_ZERO_WIDTH_NON_JOINER, _ZERO_WIDTH_JOINER = "\u200c", "\u200d"
_VIRAMA = 9  # the combining class of signs that join the next consonant to the one before


def units(text: str) -> int:
    """The length in UTF-16 code units, which is how Exchange and Outlook count."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def fits(text: str, limit_units: int) -> bool:
    """Whether the text is no longer than the limit."""
    # A code point takes two units at most, and most texts are far from their limit.
    return 2 * len(text) <= limit_units or units(text) <= limit_units


def shorten(text: str, limit_units: int) -> str:
    """The text itself if it fits; else as much of its beginning as does, and an ellipsis. Never longer than the limit.

    Parts no surrogate pair, no combining sequence and no joined emoji.
    """
    if fits(text, limit_units):
        return text
    if limit_units < len(ELLIPSIS):
        return ""
    end = _whole_characters(text, limit_units - len(ELLIPSIS))
    return text[: _border_before(text, end)].rstrip() + ELLIPSIS


def _whole_characters(text: str, limit_units: int) -> int:
    """How many code points fit."""
    fitting = text.encode("utf-16-le", "surrogatepass")[: 2 * limit_units]
    if fitting and 0xD8 <= fitting[-1] <= 0xDB:  # half a pair
        fitting = fitting[:-2]
    return len(fitting.decode("utf-16-le", "surrogatepass"))


def _border_before(text: str, end: int) -> int:
    for at in range(end, max(end - CLUSTER_MAX_CHARACTERS, 0), -1):
        if is_border(text, at):
            return at
    return 0 if end < CLUSTER_MAX_CHARACTERS else end


def is_border(text: str, at: int) -> bool:
    """Whether the text may be parted before its character number `at`."""
    if at <= 0 or at >= len(text):
        return True
    before, after = text[at - 1], text[at]
    if before == "\r" and after == "\n":
        return False
    if _extends(after) or before == _ZERO_WIDTH_JOINER or _is_prepended(before):
        return False
    if unicodedata.combining(before) == _VIRAMA and unicodedata.category(after) == "Lo":
        return False
    if _is_hangul(after) and _joins_hangul(before, after):
        return False
    return not (_is_flag_half(before) and _is_flag_half(after) and _flag_halves_before(text, at) % 2)


def _extends(character: str) -> bool:
    """Whether it belongs to the character before it."""
    return (
        unicodedata.category(character) in ("Mn", "Mc", "Me")
        or character in (_ZERO_WIDTH_JOINER, _ZERO_WIDTH_NON_JOINER, "\uff9e", "\uff9f")
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= character <= "\U000e007f"  # tags, which spell the flags of regions
        or character == "\u0e33"  # Thai and Lao vowels that begin above the consonant
        or character == "\u0eb3"
    )


def _is_prepended(character: str) -> bool:
    return character in "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"


def _is_hangul(character: str) -> bool:
    return (
        "\u1100" <= character <= "\u11ff"
        or "\uac00" <= character <= "\ud7fb"  # syllables, and the later vowels and finals
        or "\ua960" <= character <= "\ua97c"
    )


def _joins_hangul(before: str, after: str) -> bool:
    """Vowels and finals join what is before them; an initial joins another after an initial."""
    if "\u1160" <= after <= "\u11ff" or "\ud7b0" <= after <= "\ud7fb":
        return _is_hangul(before)
    return "\u1100" <= before <= "\u115f" or "\ua960" <= before <= "\ua97c"


def _is_flag_half(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _flag_halves_before(text: str, at: int) -> int:
    first = at
    while first and _is_flag_half(text[first - 1]):
        first -= 1
    return at - first
