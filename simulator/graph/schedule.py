"""The operation getSchedule: who is free when, as a string of digits and a list of entries per person.

Source: Microsoft docs "calendar-getschedule"; limits and error codes as observed by third parties.
"""

from datetime import datetime, timedelta
from typing import Any

from simulator.errors import GraphError, invalid_request, unknown_property, unreadable_body
from simulator.exchange import settings
from simulator.exchange.event import Event
from simulator.exchange.mailbox import MailboxKind
from simulator.exchange.sharing import PRIVATE
from simulator.exchange.times import Moment, in_zone, read_moment, show
from simulator.exchange.user import User
from simulator.exchange.view import view
from simulator.graph.call import Answer
from simulator.graph.prefer import Preferences
from simulator.graph.task import Task

JsonObject = dict[str, Any]

SCHEDULES_MAX = 20
RANGE_MAX_DAYS = 62
ENTRIES_MAX = 1000
INTERVAL_MIN_MINUTES, INTERVAL_MAX_MINUTES, INTERVAL_DEFAULT_MINUTES = 5, 1440, 30
_DIGITS = {"free": "0", "unknown": "0", "tentative": "1", "busy": "2", "oof": "3", "workingElsewhere": "4"}
# Where several meet, the one that keeps a person most is shown.
_RANKS = ("0", "4", "1", "2", "3")
_MEMBERS = frozenset({"schedules", "startTime", "endTime", "availabilityViewInterval"})


def get_schedule(task: Task) -> Answer:
    """POST .../calendar/getSchedule. A person that cannot be found is an entry with an error, not a refusal."""
    task.no_options()
    preferences = task.preferences()
    given = task.call.json()
    if type(given) is not dict:
        raise unreadable_body("The request body must be a JSON object.")
    for member in given:
        if member not in _MEMBERS and "@" not in member:
            raise unknown_property(member, "microsoft.graph.getSchedule")
    names = given.get("schedules")
    if type(names) is not list or not names or not all(type(name) is str for name in names):
        raise unreadable_body("The parameter 'schedules' needs an array of 'Edm.String'.")
    if len(names) > SCHEDULES_MAX:
        raise GraphError(400, "ErrorInvalidParameter", f"At most {SCHEDULES_MAX} schedules can be asked for at a time.")
    begin, end = read_moment("startTime", given.get("startTime")).utc, read_moment("endTime", given.get("endTime")).utc
    if end <= begin:
        raise invalid_request("Your request can't be completed. The end of the range is not after its start.")
    if end - begin > timedelta(days=RANGE_MAX_DAYS):
        raise GraphError(400, "ErrorTimeIntervalTooBig", "The specified time interval is too big.")
    interval = _read_interval(given.get("availabilityViewInterval"))
    context = f"{task.call.origin}/v1.0/$metadata#Collection(microsoft.graph.scheduleInformation)"
    value = [_schedule(task, name, begin, end, interval, preferences) for name in names]
    headers = {"Preference-Applied": preferences.applied} if preferences.applied else {}
    return Answer(200, {"@odata.context": context, "value": value}, headers)


def _read_interval(given: Any) -> timedelta:
    minutes = INTERVAL_DEFAULT_MINUTES if given is None else given
    if type(minutes) is not int or not INTERVAL_MIN_MINUTES <= minutes <= INTERVAL_MAX_MINUTES:
        raise GraphError(
            400,
            "ErrorInvalidParameter",
            f"The availabilityViewInterval needs {INTERVAL_MIN_MINUTES} to {INTERVAL_MAX_MINUTES} minutes.",
        )
    return timedelta(minutes=minutes)


def _failed(name: str, code: str, message: str) -> JsonObject:
    return {
        "scheduleId": name, "availabilityView": "", "scheduleItems": None, "workingHours": None,
        "error": {"message": message, "responseCode": code},
    }  # fmt: skip


def _schedule(
    task: Task, name: str, begin: datetime, end: datetime, interval: timedelta, preferences: Preferences
) -> JsonObject:
    user = task.tenant.user(name)
    if user is None or user.kind is not MailboxKind.OK:
        return _failed(name, "5016", "The recipient's mailbox was not found.")
    events = [shown.event() for shown in view(user.mailbox, user.mailbox.default_calendar.id, begin, end)]
    if len(events) > ENTRIES_MAX:
        return _failed(name, "5006", "The result set contains too many calendar entries.")
    return {
        "scheduleId": name,
        "availabilityView": _availability(events, begin, end, interval),
        "scheduleItems": [_entry(event, preferences) for event in events],
        "workingHours": _working_hours(user),
    }


def _availability(events: list[Event], begin: datetime, end: datetime, interval: timedelta) -> str:
    slots = -((begin - end) // interval)
    ranks = [0] * slots
    for event in events:
        rank = _RANKS.index(_DIGITS[event.wire["showAs"]])
        first = max(0, (event.begins - begin) // interval)
        after = min(slots, -((begin - event.ends) // interval))
        for slot in range(first, after):
            ranks[slot] = max(ranks[slot], rank)
    return "".join(_RANKS[rank] for rank in ranks)


def _entry(event: Event, preferences: Preferences) -> JsonObject:
    def at(moment: Moment) -> JsonObject:
        if event.wire["isAllDay"]:
            return show(moment.local, preferences.zone_name)
        if preferences.zone is None:
            return show(moment.utc, preferences.zone_name)
        return show(in_zone(moment, preferences.zone), preferences.zone_name)

    is_private = event.wire["sensitivity"] in PRIVATE
    entry: JsonObject = {"isPrivate": is_private, "status": event.wire["showAs"]}
    if not is_private:
        entry |= {"subject": event.wire["subject"], "location": event.wire["location"]["displayName"]}
    return {**entry, "start": at(event.start), "end": at(event.end)}


def _working_hours(user: User) -> JsonObject:
    hours: JsonObject = settings.shown(user.mailbox.settings, user.time_zone)["workingHours"]
    return hours
