"""Where a named calendar is: found by its name, remembered for a while, looked up anew when it is not there."""

import time
from dataclasses import dataclass

from calbus.entry import Place
from calbus.graph.calendars import Calendar, calendars_of, list_calendars, named, next_page
from calbus.graph.calls import Request
from calbus.graph.errors import Fault, Scope
from calbus.recent import Recent
from schemas.reasons import Reason
from services.writer.side_calls import Graph

PAGES_MAX = 10
REMEMBERED_S = 900.0
REMEMBERED_MAX_CALENDARS = 20_000


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """A calendar's id, None for the mailbox's default calendar; or why it cannot be told. `requests` were sent."""

    calendar_id: str | None = None
    fault: Fault | None = None
    requests: int = 0


class Calendars:
    """What this writer knows of named calendars."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known = Recent[tuple[str, str], tuple[str, float]](REMEMBERED_MAX_CALENDARS)

    async def whereabouts(self, place: Place) -> Whereabouts:
        """Where the calendar of `place` is; asks Graph if that is not known, or was learned too long ago."""
        if place.calendar is None:
            return Whereabouts()
        known = self._known.get(_key(place, place.calendar))
        if known is not None and time.monotonic() < known[1]:
            return Whereabouts(known[0])
        calendars: list[Calendar] = []
        request: Request | None = list_calendars(place)
        requests = 0
        while request is not None and requests < PAGES_MAX:
            (response,) = await self._graph.send(place.directory, [request])
            requests += 1
            if response.fault is not None:
                return Whereabouts(fault=response.fault, requests=requests)
            calendars += calendars_of(response.body)
            request = next_page(place, response.body)
        found = named(calendars, place.calendar)
        if found is None:
            return Whereabouts(fault=Fault(Reason.CALENDAR_MISSING, Scope.MAILBOX), requests=requests)
        if not found.can_edit:
            return Whereabouts(fault=Fault(Reason.CALENDAR_READ_ONLY, Scope.MAILBOX), requests=requests)
        self._known.put(_key(place, place.calendar), (found.id, time.monotonic() + REMEMBERED_S))
        return Whereabouts(found.id, requests=requests)

    def forget(self, place: Place) -> None:
        """The calendar was not where it was said to be."""
        if place.calendar is not None:
            self._known.forget(_key(place, place.calendar))


def _key(place: Place, calendar: str) -> tuple[str, str]:
    return place.lane, calendar.casefold()
