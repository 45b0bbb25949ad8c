"""A round of delta, whatever Graph answers: what is handed on and kept is what the calendar shows."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st

from calbus.entry import Place
from calbus.graph.calls import Request, Response
from calbus.graph.errors import Fault, Scope, fault_of
from schemas.reasons import Reason
from services.puller.delta import (
    Answer,
    Ask,
    BeginFull,
    Compare,
    Comparison,
    Doubted,
    End,
    Ended,
    LookForUnnamed,
    Start,
    Stopped,
    Take,
    delta_round,
)
from tests.support.examples import shown

GRAPH = "https://graph.example/v1.0"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
PLACE = Place("contoso.example", "ann@contoso.example")


def start(link: str | None = None, **fields: Any) -> Start:
    given = {"full": link is None, "page_items": 10, "pages_max": 50, "graph_url": GRAPH} | fields
    return Start(PLACE, None, (NOW, NOW), link, **given)


@dataclass
class Reader:
    """What a turn makes durable: events by id, how many full rounds there were, and which of them named each."""

    known: dict[str, tuple[int, str]] = field(default_factory=dict)
    round: int = 0
    next_link: str | None = None
    delta_link: str | None = None
    doubts: int = 0
    open: set[str] = field(default_factory=set)

    def do(self, step: Any) -> Answer:
        match step:
            case BeginFull():
                self.round, self.next_link, self.delta_link = self.round + 1, None, None
            case Take(page):
                for item in page.items:
                    self.known[item["id"]] = (self.round, item["changeKey"])
                    self.open.discard(item["id"])
                self.open |= set(page.removed) & self.known.keys()
                if page.next_link is not None:
                    self.next_link = page.next_link
            case Compare():
                return Comparison(len(self.known), sum(of >= self.round for of, _ in self.known.values()))
            case LookForUnnamed():
                self.open |= {event_id for event_id, (of, _) in self.known.items() if of < self.round}
        return None


class Calendar:
    """A calendar with a journal, and delta over it with pages as large as `sizes` says; None loses all states."""

    def __init__(self, sizes: list[int | None]) -> None:
        self.sizes = sizes
        self.events: dict[str, str] = {}
        self.journal: list[str] = []
        self.generation = 0
        self.asked = 0

    def write(self, event_id: str, key: str | None) -> None:
        if key is None:
            self.events.pop(event_id, None)
        else:
            self.events[event_id] = key
        self.journal.append(event_id)

    def answer(self, request: Request) -> Response:
        size = self.sizes[self.asked] if self.asked < len(self.sizes) else 100
        self.asked += 1
        query = parse_qs(urlsplit(request.path).query)
        token = (query.get("$skiptoken") or query.get("$deltatoken") or [None])[0]
        if size is None:
            self.generation += 1
        if token is None:
            generation, at, first = self.generation, 0, True
        else:
            generation, at, first = int(token.split(".")[0]), int(token.split(".")[1]), token.endswith("f")
        if generation != self.generation:
            body = {"error": {"code": "SyncStateNotFound", "message": ""}}
            return Response(410, body, fault_of(410, {}, body, now=NOW))
        size = size if size is not None else 1
        page = self.journal[at : at + size]
        value = [
            {"id": one, "changeKey": self.events[one]} if one in self.events else {"id": one, "@removed": {}}
            for one in page
            if one in self.events or not first
        ]
        at += len(page)
        kind, mark = ("$skiptoken", "f" if first else "d") if at < len(self.journal) else ("$deltatoken", "d")
        name = "@odata.nextLink" if kind == "$skiptoken" else "@odata.deltaLink"
        link = f"{GRAPH}/users/ann/calendarView/delta?{kind}={generation}.{at}.{mark}"
        return Response(200, {"value": value, name: link}, None)


def turn(reader: Reader, calendar: Calendar, *, asks_max: int = 1_000) -> End | None:
    """One turn; None if it was broken off after so many requests, as a killed process would."""
    link = reader.next_link or reader.delta_link
    steps = delta_round(start(link, full=reader.delta_link is None, doubts=reader.doubts))
    answer: Answer = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            ended: End = end.value
            break
        if isinstance(step, Ask):
            asks_max -= 1
            if asks_max < 0:
                return None
            answer = calendar.answer(step.request)
        else:
            answer = reader.do(step)
    match ended:
        case Ended(delta_link):
            reader.delta_link, reader.next_link, reader.doubts = delta_link, None, 0
        case Doubted():
            reader.doubts, reader.next_link, reader.delta_link = reader.doubts + 1, None, None
        case Stopped(_, anew) if anew:
            reader.next_link = reader.delta_link = None
    return ended


def settle(reader: Reader, calendar: Calendar) -> None:
    """Read what is open by its id."""
    for event_id in reader.open:
        if event_id in calendar.events:
            reader.known[event_id] = (reader.round, calendar.events[event_id])
        else:
            reader.known.pop(event_id, None)
    reader.open.clear()


WRITES = st.lists(
    st.tuples(st.sampled_from([f"e{number}" for number in range(15)]), st.none() | st.integers(0, 9)), max_size=30
)
STEPS = st.lists(st.one_of(WRITES, st.integers(0, 4)), max_size=12)


@settings(max_examples=shown(300), deadline=None)
@given(steps=STEPS, sizes=st.lists(st.none() | st.integers(1, 7), max_size=60))
def test_whatever_the_pages_and_the_losses_the_calendar_is_known_in_the_end(
    steps: list[Any], sizes: list[int | None]
) -> None:
    calendar, reader = Calendar(sizes), Reader()
    for step in steps:
        if isinstance(step, int):
            turn(reader, calendar, asks_max=step)
        else:
            for event_id, key in step:
                calendar.write(event_id, None if key is None else str(key))
    calendar.sizes = []
    for _ in range(5):
        if isinstance(turn(reader, calendar), Ended):
            break
    # What was written while a round was broken off comes with the next.
    assert isinstance(turn(reader, calendar), Ended)
    settle(reader, calendar)
    assert {event_id: key for event_id, (_, key) in reader.known.items()} == calendar.events


def play(begin: Start, answers: list[Response], comparison: Comparison | None = None) -> tuple[list[Any], End]:
    """All steps of a round that is answered so, and its end."""
    steps, waiting, taken = delta_round(begin), list(answers), []
    answer: Answer = None
    while True:
        try:
            step = steps.send(answer)
        except StopIteration as end:
            return taken, end.value
        taken.append(step)
        answer = waiting.pop(0) if isinstance(step, Ask) else comparison if isinstance(step, Compare) else None


def page(*ids: str, next_link: str | None = None, delta_link: str | None = None) -> Response:
    links = {"@odata.nextLink": next_link, "@odata.deltaLink": delta_link}
    return Response(200, {"value": [{"id": one} for one in ids], **{k: v for k, v in links.items() if v}}, None)


NEXT = f"{GRAPH}/users/ann/calendarView/delta?$skiptoken=1"
DELTA = f"{GRAPH}/users/ann/calendarView/delta?$deltatoken=1"


def test_a_link_is_followed_once_and_a_circle_leads_to_a_full_round_and_then_to_a_stop() -> None:
    taken, end = play(start(DELTA), [page(next_link=NEXT)] * 20)
    assert isinstance(end, Stopped)
    assert (end.anew, end.fault.code) == (True, "links in a circle")
    assert sum(isinstance(step, BeginFull) for step in taken) == 2


def test_a_link_to_another_host_is_never_followed() -> None:
    foreign = "https://evil.example/v1.0/users/ann/calendarView/delta?$skiptoken=1"
    taken, end = play(start(DELTA), [page(next_link=foreign)] * 20)
    assert isinstance(end, Stopped)
    assert all("evil" not in step.request.path for step in taken if isinstance(step, Ask))
    for link in (
        foreign,
        "http://graph.example/v1.0/x",
        "https://graph.example/beta/x",
        "https://graph.example.evil/v1.0/x",
    ):
        taken, _ = play(start(link), [page(delta_link=DELTA)], Comparison(0, 0))
        assert isinstance(taken[0], BeginFull)


def test_a_fault_is_given_back_and_pages_stay_where_they_are() -> None:
    fault = Fault(Reason.THROTTLED, Scope.MAILBOX, 7.0)
    taken, end = play(start(DELTA), [page("a", next_link=NEXT), Response(429, None, fault)])
    assert end == Stopped(fault)
    assert [type(step) for step in taken] == [Ask, Take, Ask]


def test_a_state_that_is_invalid_or_gone_begins_anew_a_few_times() -> None:
    body = {"error": {"code": "SyncStateInvalid"}}
    lost = Response(400, body, fault_of(400, {}, body, now=NOW))
    taken, end = play(start(DELTA), [lost, page("a", delta_link=DELTA)], Comparison(1, 1))
    assert isinstance(end, Ended)
    assert [type(step) for step in taken] == [Ask, BeginFull, Ask, Take, Compare, LookForUnnamed]
    taken, end = play(start(DELTA), [lost] * 9)
    assert isinstance(end, Stopped)
    assert end.anew


def test_an_emptied_calendar_is_doubted_so_many_times() -> None:
    empty = [page(delta_link=DELTA)]
    for doubts, believed in ((0, False), (1, False), (2, True)):
        _, end = play(start(doubts=doubts), empty, Comparison(10, 0))
        assert isinstance(end, Ended) is believed
    assert isinstance(play(start(), empty, Comparison(9, 0))[1], Ended)
    assert isinstance(play(start(), empty, Comparison(50, 1))[1], Ended)


def test_of_an_event_that_comes_twice_on_a_page_the_last_counts() -> None:
    value = [{"id": "a", "n": 1}, {"id": "b"}, {"id": "a", "@removed": {}}, {"id": "b", "n": 2}, "noise", {"id": ""}]
    taken, _ = play(start(DELTA), [Response(200, {"value": value, "@odata.deltaLink": DELTA}, None)])
    [take] = [step for step in taken if isinstance(step, Take)]
    assert (take.page.items, take.page.removed) == (({"id": "b", "n": 2},), ("a",))
