"""An event as a delta page or a read showed it: which of its members count, in calbus's own terms. Pure.

What is rewritten by Exchange without anybody's doing is left out, or brought into one form.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, date, datetime, time
from hashlib import blake2b
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from tzlocal.windows_tz import win_tz

SINGLE, OCCURRENCE, EXCEPTION, MASTER = "singleInstance", "occurrence", "exception", "seriesMaster"
_TYPES = frozenset((SINGLE, OCCURRENCE, EXCEPTION, MASTER))
# Delta may leave out what did not change; what is null is there.
_MEMBERS = frozenset(
    (
        "isAllDay", "showAs", "sensitivity", "importance", "subject", "location", "categories", "isReminderOn",
        "reminderMinutesBeforeStart", "bodyPreview", "isCancelled",
    )
)  # fmt: skip
# PostgreSQL stores neither NUL nor half of a surrogate pair.
_UNSTORABLE = {0: None, **dict.fromkeys(range(0xD800, 0xE000))}


@dataclass(frozen=True, slots=True)
class Seen:
    """An event as it was last seen. Times are instants in UTC; dates if it takes whole days.

    `original_start`: of an occurrence, when its series has it begin; if that takes whole days, some midnight of the
    day. `recurrence`: of a master, in one form, without its zone. The last members are what calbus knows beside.
    """

    event_id: str
    change_key: str
    type: str
    series_id: str | None
    original_start: datetime | None
    start: datetime | date
    end: datetime | date
    all_day: bool
    shown_as: str
    private: bool
    importance: str
    subject: str
    place: str
    categories: tuple[str, ...]
    reminder_minutes: int | None
    body_preview: str
    recurrence: dict[str, Any] | None
    cancelled: bool
    transaction_id: str | None = None
    """What its creator chose to have repeated creates recognised; copies do not bear it."""
    entry_id: UUID | None = None
    """Of one of ours: the entry that it is, or is an occurrence of."""
    base_key: str | None = None
    """Of one of ours: the change key of our last write when it was judged."""
    gone: bool = False
    """Of one of ours: it was last found to be gone, and that was told."""
    let_go: bool = False
    """It was ours when it was last judged, and no entry knew it any more."""

    @property
    def fingerprint(self) -> bytes:
        """Tells whether two look the same: everything that is seen of them but the change key."""
        seen = [getattr(self, name) for name in _SHOWN]
        return blake2b(orjson.dumps(seen, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()

    def to_json(self) -> str:
        """The stored form."""
        # PostgreSQL's driver has a UUID of its own, which orjson does not know.
        return orjson.dumps(asdict(self), default=str).decode()

    @classmethod
    def from_json(cls, stored: str | bytes) -> "Seen":
        """The inverse of `to_json`."""
        given: dict[str, Any] = orjson.loads(stored)
        moment = date.fromisoformat if given["all_day"] else datetime.fromisoformat
        given["start"], given["end"] = moment(given["start"]), moment(given["end"])
        if given["original_start"] is not None:
            given["original_start"] = datetime.fromisoformat(given["original_start"])
        if given["entry_id"] is not None:
            given["entry_id"] = UUID(given["entry_id"])
        given["categories"] = tuple(given["categories"])
        return cls(**given)


_BESIDE = frozenset(("change_key", "transaction_id", "entry_id", "base_key", "gone", "let_go"))
_SHOWN = tuple(field.name for field in fields(Seen) if field.name not in _BESIDE)


def seen_of(item: Mapping[str, Any], master: Seen | None = None) -> Seen | None:
    """The event that a delta page or a read shows; None if that is too little to tell, so that it must be read.

    Delta tells of a regular occurrence only its times: what it shares with its series is taken from `master`, which
    must be as it stands now.
    """
    kind, event_id, key = item.get("type"), item.get("id"), change_key_of(item.get("@odata.etag"))
    key = key or item.get("changeKey")
    if kind not in _TYPES or not isinstance(event_id, str) or not isinstance(key, str):
        return None
    if not item.keys() >= _MEMBERS:
        if kind != OCCURRENCE or master is None or master.event_id != item.get("seriesMasterId"):
            return None
        return _occurrence(item, event_id, key, master)
    all_day = bool(item["isAllDay"])
    times = _times(item, all_day=all_day)
    if times is None:
        return None
    return Seen(
        event_id=event_id,
        change_key=key,
        type=kind,
        series_id=item.get("seriesMasterId"),
        original_start=_original_start(item, kind, times[0]),
        start=times[0],
        end=times[1],
        all_day=all_day,
        shown_as=item["showAs"] or "unknown",
        private=(item["sensitivity"] or "normal") != "normal",
        importance=item["importance"] or "normal",
        subject=_text(item["subject"]),
        place=_text((item["location"] or {}).get("displayName")),
        categories=tuple(map(_text, item["categories"] or ())),
        reminder_minutes=(item["reminderMinutesBeforeStart"] or 0) if item["isReminderOn"] else None,
        body_preview=_text(item["bodyPreview"]),
        recurrence=recurrence_of(item.get("recurrence")) if kind == MASTER else None,
        cancelled=bool(item["isCancelled"]),
        transaction_id=_transaction_id(item.get("transactionId")),
    )


def _occurrence(item: Mapping[str, Any], event_id: str, key: str, master: Seen) -> Seen | None:
    times = _times(item, all_day=master.all_day)
    if times is None:
        return None
    return replace(
        master,
        event_id=event_id,
        change_key=key,
        type=OCCURRENCE,
        series_id=master.event_id,
        original_start=_instant(times[0]),
        start=times[0],
        end=times[1],
        recurrence=None,
        transaction_id=None,
        entry_id=None,
        base_key=None,
        gone=False,
        let_go=False,
    )


def change_key_of(etag: str | None) -> str | None:
    """The change key in an entity tag, which is `W/"<change key>"` (graph-facts 1.6)."""
    return etag.removeprefix("W/").strip('"') if etag else None


def etag_of(change_key: str) -> str:
    """The inverse of `change_key_of`."""
    return f'W/"{change_key}"'


def recurrence_of(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """A `patternedRecurrence` in one form: only what its types have, since Graph fills in the rest.

    Its zone is left out: by which of several names Graph tells it is not documented, and the times tell.
    """
    if not given:
        return None
    pattern, span = given["pattern"], given["range"]
    kind = pattern["type"]
    plain: dict[str, Any] = {"type": kind, "interval": pattern["interval"]}
    if kind == "weekly" or kind.startswith("relative"):
        plain["days"] = sorted(pattern.get("daysOfWeek") or ())
    if kind == "weekly":
        plain["week_begins"] = pattern.get("firstDayOfWeek") or "sunday"
    if kind.startswith("relative"):
        plain["index"] = pattern.get("index") or "first"
    if kind.startswith("absolute"):
        plain["day"] = pattern.get("dayOfMonth")
    if kind.endswith("Yearly"):
        plain["month"] = pattern.get("month")
    plain["from"] = span["startDate"]
    if span["type"] == "endDate":
        plain["until"] = span["endDate"]
    elif span["type"] == "numbered":
        plain["count"] = span["numberOfOccurrences"]
    return plain


def _times(item: Mapping[str, Any], *, all_day: bool) -> tuple[datetime | date, datetime | date] | None:
    start, end = _moment(item.get("start"), all_day=all_day), _moment(item.get("end"), all_day=all_day)
    return (start, end) if start is not None and end is not None else None


def _moment(given: Any, *, all_day: bool) -> datetime | date | None:
    try:
        wall_clock = datetime.fromisoformat(given["dateTime"]).replace(tzinfo=None)
        if all_day:
            # Days float: whatever zone is asked for, an event shows its own dates (graph-facts 1.5).
            return wall_clock.date()
        return wall_clock.replace(tzinfo=zone_of(given["timeZone"])).astimezone(UTC)
    except (KeyError, TypeError, ValueError, OverflowError, ZoneInfoNotFoundError):
        return None


def zone_of(name: str) -> ZoneInfo:
    """The zone that Graph calls so. Raises ZoneInfoNotFoundError or ValueError if nobody knows it."""
    return ZoneInfo(win_tz.get(name, name))


def _original_start(item: Mapping[str, Any], kind: str, start: datetime | date) -> datetime | None:
    if kind not in (OCCURRENCE, EXCEPTION):
        return None
    text = item.get("originalStart")
    if isinstance(text, str):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    return _instant(start) if kind == OCCURRENCE else None


def _instant(moment: datetime | date) -> datetime:
    return moment if isinstance(moment, datetime) else datetime.combine(moment, time(), UTC)


def _text(given: Any) -> str:
    return given.translate(_UNSTORABLE) if isinstance(given, str) else ""


def _transaction_id(given: Any) -> str | None:
    return given.lower() if isinstance(given, str) and given else None
