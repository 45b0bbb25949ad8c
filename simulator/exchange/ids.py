"""Identifiers as Exchange makes them: item ids of both formats, calendar ids, change keys, iCalendar uids.

Only making and recognising them; which item an id belongs to is the mailbox's knowledge.
"""

import base64
import binascii
import hashlib
import os
from datetime import date

_ORDINARY_HEAD = bytes.fromhex("00032400")
_IMMUTABLE_HEAD = bytes.fromhex("0009002e00000000001d840311aa6611cd9bc800aa002f845a0d00")
_ITEM_TAIL_BYTES = 20
_ORDINARY_PREFIX_BYTES = 93
_IMMUTABLE_PREFIX_BYTES = 45
_CALENDAR_PREFIX_BYTES = 63
_ITEM_PREFIXES_BYTES = {_ORDINARY_HEAD: _ORDINARY_PREFIX_BYTES, _IMMUTABLE_HEAD: _IMMUTABLE_PREFIX_BYTES}
# An occurrence's id is its master's with this mark and the day, as a number of four bytes, behind it.
_OCCURRENCE_MARK = bytes.fromhex("100000")
_DAY_BYTES = 4
_ICAL_DAY_AT = 32
_ICAL_DAY_DIGITS = 8
_ICAL_HEAD = "040000008200E00074C5B7101A82E00800000000"


class IdMaker:
    """Makes the ids of one mailbox. Ids are base64 with `/`, `+` and `=`, so callers must percent-encode them."""

    __slots__ = ("_calendar_prefix", "_changes", "_immutable_prefix", "_ordinary_prefix", "_store_key")

    def __init__(self, mailbox_guid: str) -> None:
        digest = hashlib.sha512(mailbox_guid.encode()).digest()
        ordinary = (_ORDINARY_HEAD + mailbox_guid.encode() + digest)[:_ORDINARY_PREFIX_BYTES]
        immutable = (_IMMUTABLE_HEAD + digest)[:_IMMUTABLE_PREFIX_BYTES]
        # The prefixes are a multiple of three bytes long, so prefix and tail can be encoded apart.
        self._ordinary_prefix = base64.b64encode(ordinary).decode()
        self._calendar_prefix = base64.b64encode(ordinary[:_CALENDAR_PREFIX_BYTES]).decode()
        self._immutable_prefix = base64.b64encode(immutable).decode()
        self._store_key = digest[:16]
        self._changes = 0

    def event_ids(self) -> tuple[str, str]:
        """A fresh pair: the ordinary id (152 characters) and the immutable id (88 characters) of one event."""
        return self._ordinary_prefix + _tail(), self._immutable_prefix + _tail()

    def calendar_id(self) -> str:
        """A fresh calendar id (112 characters)."""
        return self._calendar_prefix + _tail()

    def change_key(self) -> str:
        """A change key that no earlier write to this mailbox got."""
        self._changes += 1
        return base64.b64encode(self._store_key + self._changes.to_bytes(6, "big")).decode()


def _tail() -> str:
    return base64.b64encode(os.urandom(_ITEM_TAIL_BYTES)).decode()


def ical_uid() -> str:
    """A fresh iCalendar uid: 112 hexadecimal digits."""
    random = os.urandom(24).hex().upper()
    return f"{_ICAL_HEAD}{random[:16]}000000000000000010000000{random[16:]}"


def occurrence_uid(master_uid: str, day: date) -> str:
    """The iCalendar uid of one occurrence: the series' uid with the day in it."""
    stamp = f"{day.year:04X}{day.month:02X}{day.day:02X}"
    return master_uid[:_ICAL_DAY_AT] + stamp + master_uid[_ICAL_DAY_AT + len(stamp) :]


def split_occurrence_uid(uid: str) -> tuple[str, date] | None:
    """The series' uid and the day, if this is the uid of an occurrence."""
    stamp = uid[_ICAL_DAY_AT : _ICAL_DAY_AT + _ICAL_DAY_DIGITS]
    try:
        day = date(int(stamp[:4], 16), int(stamp[4:6], 16), int(stamp[6:], 16))
    except ValueError:
        return None
    return uid[:_ICAL_DAY_AT] + "0" * _ICAL_DAY_DIGITS + uid[_ICAL_DAY_AT + _ICAL_DAY_DIGITS :], day


def occurrence_id(master_id: str, day: date) -> str:
    """The id of the occurrence a series has for this day of its pattern, in the format of the master's id."""
    raw = base64.b64decode(master_id) + _OCCURRENCE_MARK + day.toordinal().to_bytes(_DAY_BYTES, "big")
    return base64.b64encode(raw).decode()


def split_occurrence_id(item_id: str) -> tuple[str, date] | None:
    """The master's id and the day, if this is the id of an occurrence."""
    raw = _decoded(item_id)
    if raw is None or _kind(raw) != "occurrence":
        return None
    try:
        day = date.fromordinal(int.from_bytes(raw[-_DAY_BYTES:], "big"))
    except (ValueError, OverflowError):
        return None
    return base64.b64encode(raw[: -len(_OCCURRENCE_MARK) - _DAY_BYTES]).decode(), day


def web_link(item_id: str) -> str:
    """The link that opens an event in Outlook on the web."""
    # Percent-encoding by hand: of all base64 characters only these three need it, and this is on every create.
    item = item_id.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    return f"https://outlook.office365.com/owa/?itemid={item}&exvsurl=1&path=/calendar/item"


def is_well_formed(item_id: str) -> bool:
    """True if the string could be an event or calendar id of some mailbox; a truncated id is not."""
    raw = _decoded(item_id)
    return raw is not None and _kind(raw) is not None


def _decoded(item_id: str) -> bytes | None:
    try:
        return base64.b64decode(item_id, validate=True)
    except (binascii.Error, ValueError):
        return None


def _kind(raw: bytes) -> str | None:
    for head, prefix_bytes in _ITEM_PREFIXES_BYTES.items():
        if raw.startswith(head):
            rest = raw[prefix_bytes + _ITEM_TAIL_BYTES :]
            if len(raw) == prefix_bytes + _ITEM_TAIL_BYTES:
                return "event"
            if len(rest) == len(_OCCURRENCE_MARK) + _DAY_BYTES and rest.startswith(_OCCURRENCE_MARK):
                return "occurrence"
    is_calendar = raw.startswith(_ORDINARY_HEAD) and len(raw) == _CALENDAR_PREFIX_BYTES + _ITEM_TAIL_BYTES
    return "calendar" if is_calendar else None
