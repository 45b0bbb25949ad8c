"""Points in time as Exchange stores and shows them: a local time with a zone name, and its instant in UTC.

Zone names are Windows or IANA. Source: Microsoft docs "datetimetimezone", "event-get", "event-update".
"""

import re
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from tzlocal.windows_tz import win_tz

from simulator.errors import invalid_request, time_zone_not_supported, unknown_property, unreadable_body

_LOCAL_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,7})?)?")
_NOT_ZONES = frozenset({"localtime", "posixrules", "factory"})


class Moment(NamedTuple):
    """A local wall-clock time in a named zone. `utc` is the same instant; both datetimes are naive."""

    local: datetime
    zone_name: str
    utc: datetime


@cache
def _iana_names() -> dict[str, str]:
    return {name.lower(): name for name in available_timezones() if name.lower() not in _NOT_ZONES}


@cache
def _windows_names() -> dict[str, str]:
    return {name.lower(): iana for name, iana in win_tz.items()}


@cache
def zone_names(*, iana: bool) -> tuple[str, ...]:
    """Every name of one of the two kinds, in order."""
    return tuple(sorted(_iana_names().values() if iana else win_tz))


@cache
def utc_offset_text(name: str) -> str:
    """The zone's distance from UTC in winter's first days, as `UTC+01:00`."""
    offset = find_zone(name).utcoffset(datetime(2026, 1, 1)) or timedelta(0)  # noqa: DTZ001 - a local time
    minutes = round(offset.total_seconds() / 60)
    return f"UTC{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}" if minutes else "UTC"


@lru_cache(maxsize=2048)
def find_zone(name: str) -> ZoneInfo:
    """The zone of a Windows or IANA name, in any case. Raises TimeZoneNotSupportedException (400)."""
    key = name.lower()
    iana = _windows_names().get(key) or _iana_names().get(key)
    if iana is None:
        raise time_zone_not_supported(name)
    return ZoneInfo(iana)


def read_local(text: str, name: str) -> datetime:
    """The naive datetime of a `dateTime` member. An offset or `Z` is refused: the zone is a member of its own."""
    if _LOCAL_TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text)
        except ValueError:
            pass
    raise invalid_request(f"The value '{text}' of property '{name}.dateTime' is not a valid local date and time.")


def read_moment(name: str, value: Any) -> Moment:
    """A `dateTimeTimeZone` from a request body."""
    if type(value) is not dict:
        raise unreadable_body(f"The property '{name}' needs an object with 'dateTime' and 'timeZone'.")
    for member in value:
        if member not in ("dateTime", "timeZone") and "@" not in member:
            raise unknown_property(member, "microsoft.graph.dateTimeTimeZone")
    text = value.get("dateTime")
    zone_name = value.get("timeZone") or ""
    if type(text) is not str or type(zone_name) is not str:
        raise unreadable_body(f"The members of property '{name}' must be of type 'Edm.String'.")
    zone = find_zone(zone_name)
    local = read_local(text, name)
    return Moment(local, zone_name, to_utc(local, zone, name))


def to_utc(local: datetime, zone: ZoneInfo, name: str) -> datetime:
    """The naive UTC datetime of a local time; times at the edge of the calendar are refused."""
    try:
        return local - (zone.utcoffset(local) or timedelta(0))
    except OverflowError:
        raise invalid_request(f"The date and time of property '{name}' are out of range.") from None


def in_zone(moment: Moment, zone: ZoneInfo) -> datetime:
    """The naive local time of a moment in another zone."""
    if find_zone(moment.zone_name) is zone:
        return moment.local
    try:
        return moment.utc.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None)
    except OverflowError:
        return moment.utc


def show(local: datetime, zone_name: str) -> dict[str, str]:
    """A `dateTimeTimeZone` as Graph writes it: seven fractional digits, no offset."""
    return {"dateTime": local.isoformat(timespec="microseconds") + "0", "timeZone": zone_name}


def timestamp(epoch_s: float) -> str:
    """An instant as Graph writes `createdDateTime`: seven fractional digits and `Z`."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="microseconds")[:26] + "0Z"
