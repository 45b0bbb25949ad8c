"""The Prefer header: which preferences are honoured, and what is said about it in Preference-Applied.

Sources: Microsoft docs "event-get", "outlook-immutable-id".
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

from simulator.exchange.times import find_zone

PAGE_MAX_ITEMS = 1000

_DIGITS_MAX = 9
_PREFERENCE = re.compile(r'\s*([\w.-]+)\s*(?:=\s*("[^"]*"|[^\s,;]+))?\s*(?:[,;]|$)')


@dataclass(frozen=True, slots=True)
class Preferences:
    """What a caller wants of a representation. `page_items` counts in delta rounds only."""

    zone_name: str = "UTC"
    zone: ZoneInfo | None = None
    text_body: bool = False
    immutable_ids: bool = False
    page_items: int | None = None
    applied: str = ""


@lru_cache(maxsize=1024)
def read_preferences(header: str) -> Preferences:
    """The honoured preferences; others are ignored. Raises TimeZoneNotSupportedException (400)."""
    zone_name, zone, text_body, immutable_ids = "UTC", None, False, False
    page_items: int | None = None
    applied: list[str] = []
    for name, quoted in _PREFERENCE.findall(header):
        value = quoted.strip('"')
        key = name.lower()
        if key == "outlook.timezone":
            zone_name, zone = value, find_zone(value)
        elif key == "outlook.body-content-type" and value.lower() in ("text", "html"):
            text_body = value.lower() == "text"
        elif key == "idtype" and value.lower() == "immutableid":
            immutable_ids = True
        elif key == "odata.maxpagesize" and value.isascii() and value.isdigit() and 0 < len(value) <= _DIGITS_MAX:
            page_items = min(int(value), PAGE_MAX_ITEMS) or None
            continue
        else:
            continue
        applied.append(f'{name}="{value}"')
    return Preferences(zone_name, zone, text_body, immutable_ids, page_items, ", ".join(applied))
