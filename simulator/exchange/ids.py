"""Identifiers as Exchange makes them: item ids of both formats, calendar ids, change keys, iCalendar uids.

Only making and recognising them; which item an id belongs to is the mailbox's knowledge.
"""

import base64
import binascii
import hashlib
import os

_ORDINARY_HEAD = bytes.fromhex("00032400")
_IMMUTABLE_HEAD = bytes.fromhex("0009002e00000000001d840311aa6611cd9bc800aa002f845a0d00")
_ITEM_TAIL_BYTES = 20
_ORDINARY_PREFIX_BYTES = 93
_IMMUTABLE_PREFIX_BYTES = 45
_CALENDAR_PREFIX_BYTES = 63
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


def is_well_formed(item_id: str) -> bool:
    """True if the string could be an event or calendar id of some mailbox; a truncated id is not."""
    try:
        raw = base64.b64decode(item_id, validate=True)
    except (binascii.Error, ValueError):
        return False
    if raw.startswith(_ORDINARY_HEAD):
        return len(raw) - _ITEM_TAIL_BYTES in (_ORDINARY_PREFIX_BYTES, _CALENDAR_PREFIX_BYTES)
    return raw.startswith(_IMMUTABLE_HEAD) and len(raw) - _ITEM_TAIL_BYTES == _IMMUTABLE_PREFIX_BYTES
