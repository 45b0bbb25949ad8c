"""A round over one calendar: the protocol of delta, with no I/O. Requests go out, answers come in, pages are handed on.

Guaranteed: every page that Graph gave is handed on, in order, before the round ends with its delta link; after a full
round also what was known before and no page named. A link is followed once. Sources: graph-facts 4.
"""

from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime

from calbus.entry import Place
from calbus.graph.calls import Request, Response
from calbus.graph.errors import Fault, Scope
from calbus.graph.pulls import DeltaPage, ForeignLinkError, delta_page, first_page, follow, sync_state_lost
from schemas.reasons import Reason

# In one turn: a service that forgets every round at once would otherwise be asked without end.
RESTARTS_MAX = 2


@dataclass(frozen=True, slots=True)
class Start:
    """Where a round begins. `link`: of the next page, or the delta link; None begins a full round.

    `full`: the round that the link belongs to is a full one. `window`: that of a full round that begins now.
    `followed`: pages that were handed on in earlier turns. `doubts`: full rounds in a row that showed nothing.
    """

    place: Place
    calendar_id: str | None
    window: tuple[datetime, datetime]
    link: str | None
    full: bool
    graph_url: str
    page_items: int
    pages_max: int
    followed: int = 0
    doubts: int = 0
    well_filled_events: int = 10
    empty_rounds: int = 3


@dataclass(frozen=True, slots=True)
class Ask:
    """Send this; the answer is a Response."""

    request: Request


@dataclass(frozen=True, slots=True)
class BeginFull:
    """A full round begins: what its pages do not name is no longer in the calendar. The answer is None."""


@dataclass(frozen=True, slots=True)
class Take:
    """Make this page durable, and with it the place of the round: its next link if it has one. The answer is None."""

    page: DeltaPage


@dataclass(frozen=True, slots=True)
class Compare:
    """Count what was known and what this full round named of it. The answer is a Comparison."""


@dataclass(frozen=True, slots=True)
class LookForUnnamed:
    """What was known and not named is to be read, durably, before the link moves. The answer is None."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many events are known, and how many of them a full round named."""

    known: int
    named: int


@dataclass(frozen=True, slots=True)
class Ended:
    """All pages are durable: the link may move."""

    delta_link: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The round could not go on. It goes on where it stopped; `anew`: with a full round."""

    fault: Fault
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Doubted:
    """A well-filled calendar showed nothing at all. It is not believed yet: a full round is made again later."""


Step = Ask | BeginFull | Take | Compare | LookForUnnamed
Answer = Response | Comparison | None
End = Ended | Stopped | Doubted
Round = Generator[Step, Answer, End]


def delta_round(start: Start) -> Round:
    """One round, from a link or anew. What Graph no longer knows, or leads in a circle, becomes a full round."""
    full, restarts = start.full, 0
    followed: set[str] = set()
    request = _followed(start, start.link) if start.link is not None else None
    pages = start.followed
    while True:
        if request is None:
            yield BeginFull()
            full, pages = True, 0
            followed.clear()
            request = first_page(start.place, start.calendar_id, *start.window, start.page_items)
        response = yield Ask(request)
        assert isinstance(response, Response)
        if sync_state_lost(response) and restarts < RESTARTS_MAX:
            restarts, request = restarts + 1, None
            continue
        if response.fault is not None:
            return Stopped(response.fault, anew=sync_state_lost(response))
        page = delta_page(response.body)
        if page.next_link is None and page.delta_link is None:
            return Stopped(_unreadable("a page without a link"))
        pages += 1
        yield Take(page)
        if page.next_link is None:
            break
        if page.next_link in followed or pages >= start.pages_max:
            if restarts == RESTARTS_MAX:
                return Stopped(_unreadable("links in a circle"), anew=True)
            restarts, request = restarts + 1, None
            continue
        followed.add(page.next_link)
        request = _followed(start, page.next_link)
        if request is None and restarts == RESTARTS_MAX:
            return Stopped(_unreadable("a link to elsewhere"), anew=True)
        restarts += request is None
    assert page.delta_link is not None
    if full:
        comparison = yield Compare()
        assert isinstance(comparison, Comparison)
        emptied = comparison.known >= start.well_filled_events and comparison.named == 0
        if emptied and start.doubts + 1 < start.empty_rounds:
            return Doubted()
        yield LookForUnnamed()
    return Ended(page.delta_link)


def _followed(start: Start, link: str) -> Request | None:
    """The request that a link asks for; None if it leads elsewhere, so that the round must begin anew."""
    try:
        return follow(start.graph_url, link, start.page_items)
    except ForeignLinkError:
        return None


def _unreadable(what: str) -> Fault:
    return Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, code=what)
