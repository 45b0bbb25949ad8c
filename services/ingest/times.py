"""When an entry begins and ends. Pure: wall clocks, zones and daylight saving, nothing else."""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from calbus.values import value
from schemas.items import ItemUpserted


@value
class Slot:
    """Wall-clock `start` and `end` in `time_zone`, neither ambiguous nor missing there; `end` is after `start`."""

    start: datetime
    end: datetime
    time_zone: str


def slot_of(item: ItemUpserted, start: datetime | date, tenant_zone: str, default_minutes: int) -> Slot:
    """The time that the item takes.

    A wall-clock time that daylight saving skips moves forward by the gap; one that happens twice is the first. A
    duration is elapsed time. What would be empty or end before it starts takes the default instead.
    """
    zone_name = item.time_zone or tenant_zone
    if item.all_day:
        return _whole_days(item, start, zone_name)
    if item.end is not None and (slot := _plain_slot(start, item.end, zone_name)) is not None:
        return slot
    zone = ZoneInfo(zone_name)
    begin = _instant(start, zone)
    end = begin
    if item.end is not None:
        end = _instant(item.end, zone)
    elif item.duration is not None:
        end = begin + item.duration
    if end <= begin:
        end = begin + timedelta(minutes=default_minutes)
    local_begin, local_end = begin.astimezone(zone), end.astimezone(zone)
    if _happens_twice(local_begin) or _happens_twice(local_end):
        # Which of the two is meant cannot be said in wall-clock time, which is all that Graph takes.
        return Slot(begin.replace(tzinfo=None), end.replace(tzinfo=None), "UTC")
    return Slot(local_begin.replace(tzinfo=None), local_end.replace(tzinfo=None), zone_name)


def _plain_slot(start: datetime | date, end: datetime | date, zone_name: str) -> Slot | None:
    """What nearly every item asks for: two wall-clock times far from any change of clocks. None if it is not that."""
    if not isinstance(start, datetime) or not isinstance(end, datetime) or start.tzinfo or end.tzinfo or end <= start:
        return None
    first, last = start.date(), end.date()
    if not _steady_clock(zone_name, first):
        return None
    plain = last == first or (last - first <= _DAY and _steady_clock(zone_name, last))
    return Slot(start, end, zone_name) if plain else None


_DAY = timedelta(days=1)


# Items are of the weeks around today, and their tenants in few zones.
@lru_cache(maxsize=8_192)
def _steady_clock(zone_name: str, day: date) -> bool:
    """Whether the zone's clocks run without a change from the noon before this day to the noon after it."""
    noon = datetime.combine(day, time(12), ZoneInfo(zone_name))
    return (noon - _DAY).utcoffset() == noon.utcoffset() == (noon + _DAY).utcoffset()


def _happens_twice(moment: datetime) -> bool:
    return moment.replace(fold=0).utcoffset() != moment.replace(fold=1).utcoffset()


def _instant(moment: datetime | date, zone: ZoneInfo) -> datetime:
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(UTC)


def _whole_days(item: ItemUpserted, start: datetime | date, zone_name: str) -> Slot:
    first = _local(start, zone_name).date()
    if item.end is not None:
        end = _local(item.end, zone_name)
        # A time of day means that this day is taken too; a bare date, or midnight, is exclusive.
        after = end.date() + timedelta(days=1 if end.time() > time() else 0)
    else:
        after = first + (max(item.duration or timedelta(), timedelta(days=1)) + _PART_OF_A_DAY)
    after = max(after, first + timedelta(days=1))
    return Slot(datetime.combine(first, time()), datetime.combine(after, time()), zone_name)


# Rounds a duration up to whole days: adding to a date drops what is less than a day.
_PART_OF_A_DAY = timedelta(days=1) - timedelta(microseconds=1)


def _local(moment: datetime | date, zone_name: str) -> datetime:
    if not isinstance(moment, datetime):
        return datetime.combine(moment, time())
    if moment.tzinfo is not None:
        return moment.astimezone(ZoneInfo(zone_name)).replace(tzinfo=None)
    return moment
