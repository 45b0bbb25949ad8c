"""How events, calendars and users look in an answer, under the preferences and options of the request."""

from typing import Any

from simulator.exchange.event import Event
from simulator.exchange.mailbox import Calendar
from simulator.exchange.open_extensions import show_extension
from simulator.exchange.permissions import may_edit, may_see_private
from simulator.exchange.series import occurrence
from simulator.exchange.sharing import OWNER, Rights
from simulator.exchange.times import in_zone, show
from simulator.exchange.user import User
from simulator.graph.odata import NO_QUERY, Query
from simulator.graph.prefer import Preferences

JsonObject = dict[str, Any]


def show_event(event: Event, preferences: Preferences, query: Query, rights: Rights = OWNER) -> JsonObject:
    """One event, as somebody with these rights sees it.

    Extended properties appear only if they were expanded by id, and only if the event has them.
    """
    whole, event = event, rights.seen(event)
    wire = event.wire.copy()
    if preferences.immutable_ids:
        wire["id"] = event.immutable_id
        if event.master is not None:
            wire["seriesMasterId"] = event.master.immutable_id
    if preferences.zone is not None:
        if wire["isAllDay"]:
            wire["start"] = show(event.start.local, preferences.zone_name)
            wire["end"] = show(event.end.local, preferences.zone_name)
        else:
            wire["start"] = show(in_zone(event.start, preferences.zone), preferences.zone_name)
            wire["end"] = show(in_zone(event.end, preferences.zone), preferences.zone_name)
    if preferences.text_body and "body" in wire:
        wire["body"] = {"contentType": "text", "content": event.body.text}
    if query.select is not None:
        if event.wire["recurrence"] is not None and "cancelledOccurrences" in query.select:
            wire["cancelledOccurrences"] = _cancelled_occurrences(event, wire["id"])
        kept = query.select | {"@odata.etag", "id"}
        wire = {name: value for name, value in wire.items() if name in kept}
    if query.expand:
        held = [{"id": name, "value": event.properties[name]} for name in query.expand if name in event.properties]
        if held:
            wire["singleValueExtendedProperties"] = held
    if query.expand_extensions is not None and event.extensions:
        wire["extensions"] = [
            show_extension(name, values)
            for name, values in event.extensions.items()
            if not query.expand_extensions or name in query.expand_extensions
        ]
    if query.expand_exceptions and event.wire["recurrence"] is not None:
        days = sorted(event.series.exceptions) if event.series else ()
        wire["exceptionOccurrences"] = [
            show_event(occurrence(whole, day), preferences, NO_QUERY, rights) for day in days
        ]
    return wire


def _cancelled_occurrences(master: Event, shown_id: str) -> list[str]:
    days = sorted(master.series.cancelled) if master.series else ()
    return [f"OID.{shown_id}.{day.isoformat()}" for day in days]


def show_calendar(calendar: Calendar, user: User, role: str | None) -> JsonObject:
    """One calendar, as somebody with this role sees it; None is its owner."""
    return {
        "id": calendar.id, "name": calendar.name, "color": calendar.color, "hexColor": "",
        "isDefaultCalendar": calendar.is_default, "changeKey": calendar.change_key, "canShare": role is None,
        "canViewPrivateItems": role is None or may_see_private(role), "canEdit": role is None or may_edit(role),
        "allowedOnlineMeetingProviders": ["teamsForBusiness"] if calendar.online_meetings else [],
        "defaultOnlineMeetingProvider": "teamsForBusiness" if calendar.online_meetings else "unknown",
        "isTallyingResponses": calendar.is_default, "isRemovable": not calendar.is_default,
        "owner": {"name": user.display_name, "address": user.upn},
    }  # fmt: skip
