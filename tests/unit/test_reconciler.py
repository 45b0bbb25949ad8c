"""Reconciling: from wherever things stand, the same questions lead to the one event that is desired.

A calendar in miniature answers as Graph does, with transaction ids, etags and lost answers; a row in miniature keeps
what PostgreSQL keeps, with its compare-and-set; work on it can stop anywhere.
"""

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from calbus.entry import (
    Applied,
    Content,
    Desired,
    Entry,
    Intent,
    ItemKey,
    Place,
    content_hash_of,
    entry_id_of,
    transaction_id_of,
)
from calbus.graph.calls import Request, Response
from calbus.graph.errors import Fault, Scope
from calbus.graph.events import event_of
from schemas.items import Kind
from schemas.reasons import Reason
from services.writer.handler import STEPS_MAX
from services.writer.reconciler import CLOSED_BEFORE_LEFT, Circumstances, Step, advance, next_step, request_for
from services.writer.retries import Backoff, GiveUp, RetryPolicy, decide_retry
from tests.support.examples import shown
from tests.unit.strategies import content

ITEM = ItemKey("contoso", "planner", Kind.ACTION, "A-1")
ENTRY_ID = entry_id_of(ITEM, "anna")
HERE = Place("contoso.example", "anna@contoso.example")
THERE = Place("contoso.example", "anna.new@contoso.example")
POLICY = RetryPolicy(Backoff(1.0, 300.0), Backoff(60.0, 3_600.0))


def said(words: str) -> Content:
    return content(subject=f"○ {words}")


def desired(intent: Intent = Intent.PRESENT, words: str = "one", *, plan: int = 1, place: Place = HERE) -> Desired:
    if intent is not Intent.PRESENT:
        reason = Reason.DELETED if intent is Intent.ABSENT else Reason.TENANT_NOT_ENABLED
        return Desired(plan, plan, intent, reason, None, None, None)
    stored = said(words).to_json()
    return Desired(plan, plan, intent, Reason.WRITTEN, place, stored, content_hash_of(stored))


def entry(wanted: Desired, applied: Applied = Applied()) -> Entry:  # noqa: B008
    return Entry(ENTRY_ID, ITEM, "anna", wanted, applied, owed=True)


def standing(words: str = "one", **fields: Any) -> Applied:
    """An event of ours with this content, as its writer recorded it."""
    known = Applied(1, HERE, content_hash_of(said(words).to_json()), "E1", 'W/"1"')
    return replace(known, **fields)


# -- the decision -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "applied", "step"),
    [
        (desired(), Applied(), Step.CREATE),
        (desired(), standing(), Step.NOTHING),
        (desired(words="two"), standing(), Step.UPDATE),
        (desired(words="two"), standing(etag=None), Step.READ),
        (desired(place=THERE), standing(), Step.DELETE),
        (desired(place=THERE), standing(etag=None), Step.READ),
        (desired(Intent.ABSENT), standing(etag=None), Step.READ),
        (desired(), Applied(place=HERE, in_doubt=True), Step.FIND),
        (desired(Intent.ABSENT), Applied(), Step.NOTHING),
        (desired(Intent.ABSENT), standing(), Step.DELETE),
        (desired(Intent.ABSENT), Applied(place=HERE, in_doubt=True), Step.FIND),
        (desired(Intent.HOLD), Applied(), Step.NOTHING),
        (desired(Intent.HOLD), standing(), Step.NOTHING),
        (desired(Intent.HOLD), Applied(place=HERE, in_doubt=True), Step.NOTHING),
    ],
)
def test_the_next_step_follows_from_where_things_stand(wanted: Desired, applied: Applied, step: Step) -> None:
    assert next_step(entry(wanted, applied)) is step


@pytest.mark.parametrize(
    "applied", [standing(), standing(etag=None), Applied(place=HERE, in_doubt=True)], ids=["stands", "unread", "doubt"]
)
def test_a_parked_removal_is_left_alone(applied: Applied) -> None:
    assert next_step(replace(entry(desired(Intent.ABSENT), applied), parked=True)) is Step.NOTHING


def test_a_search_takes_place_where_the_create_was_tried() -> None:
    request = request_for(entry(desired(place=HERE), Applied(place=THERE, in_doubt=True)), Step.FIND)
    assert THERE.mailbox in unquote(request.path)


def test_a_repeated_create_has_the_same_transaction_id() -> None:
    bodies = [request_for(entry(desired()), Step.CREATE).body for _ in range(2)]
    assert bodies[0] == bodies[1]
    assert bodies[0] is not None
    assert bodies[0]["transactionId"] == str(transaction_id_of(ENTRY_ID, 0))


def test_a_create_after_the_event_is_gone_is_another_transaction() -> None:
    body = request_for(entry(desired(), Applied(generation=1)), Step.CREATE).body
    assert body is not None
    assert body["transactionId"] != str(transaction_id_of(ENTRY_ID, 0))


def test_of_the_events_that_bear_the_mark_ours_has_the_transaction_id() -> None:
    ours = {"id": "E2", "@odata.etag": 'W/"5"', "transactionId": str(transaction_id_of(ENTRY_ID, 0)).upper()}
    copy = {"id": "E1", "@odata.etag": 'W/"4"', "transactionId": None}
    state = entry(desired(), Applied(place=HERE, in_doubt=True))
    after = advance(state, Step.FIND, Response(200, {"value": [copy, ours]}, None), Circumstances(repeat=None))
    assert (after.entry.applied.event_id, after.entry.applied.etag) == ("E2", 'W/"5"')


def test_a_copy_alone_is_not_ours() -> None:
    copy = {"id": "E1", "@odata.etag": 'W/"4"', "transactionId": None}
    state = entry(desired(), Applied(place=HERE, in_doubt=True))
    after = advance(state, Step.FIND, Response(200, {"value": [copy]}, None), Circumstances(repeat=None))
    assert after.entry.applied == Applied(place=HERE)


def test_deleting_what_is_gone_is_done() -> None:
    gone = Response(404, None, Fault(Reason.EVENT_GONE, Scope.ENTRY))
    after = advance(entry(desired(Intent.ABSENT), standing()), Step.DELETE, gone, Circumstances(repeat=None))
    assert after.fault is None
    assert after.entry.applied.event_id is None


@pytest.mark.parametrize("step", [Step.DELETE, Step.READ])
def test_what_is_gone_from_where_it_was_is_looked_for_where_it_is_to_be(step: Step) -> None:
    gone = Response(404, None, Fault(Reason.EVENT_GONE, Scope.ENTRY))
    state = entry(desired(), replace(standing(), place=THERE))
    after = advance(state, step, gone, Circumstances(repeat=None))
    assert (after.fault, after.reload) == (None, True)
    assert next_step(after.entry) is Step.FIND
    assert after.entry.applied == Applied(plan=1, place=HERE, in_doubt=True, generation=state.applied.generation + 1)


def test_what_was_deleted_where_it_was_is_created_where_it_is_to_be() -> None:
    state = entry(desired(), replace(standing(), place=THERE))
    after = advance(state, Step.DELETE, Response(204, None, None), Circumstances(repeat=None))
    assert next_step(after.entry) is Step.CREATE


def test_a_create_whose_answer_was_lost_is_in_doubt() -> None:
    lost = Response(0, None, Fault(Reason.GRAPH_UNREACHABLE, Scope.ENTRY, may_be_applied=True))
    after = advance(entry(desired()), Step.CREATE, lost, Circumstances(repeat=None))
    assert after.entry.applied == Applied(place=HERE, in_doubt=True)


def test_a_create_that_was_refused_is_not_in_doubt() -> None:
    refused = Response(403, None, Fault(Reason.ACCESS_DENIED, Scope.MAILBOX))
    after = advance(entry(desired()), Step.CREATE, refused, Circumstances(repeat=None))
    assert after.entry.applied == Applied()


# -- the world in miniature -------------------------------------------------------------------------------------------


@dataclass
class Event:
    """An event in a calendar."""

    etag: str
    fields: dict[str, Any]
    transaction: str | None
    marked: bool


@dataclass
class Graph:
    """The calendars of all mailboxes. `forgets`: a transaction id may be used again once its event is gone."""

    forgets: bool
    events: dict[str, dict[str, Event]] = field(default_factory=dict)
    used: dict[tuple[str, str], tuple[str, dict[str, Any]]] = field(default_factory=dict)
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    def answer(self, request: Request) -> Response:
        _, _, mailbox, *rest = request.path.partition("?")[0].split("/")
        calendar = self.events.setdefault(unquote(mailbox), {})
        match request.operation:
            case "create":
                return self._create(unquote(mailbox), calendar, request)
            case "find":
                marked = [self._shown(name, event) for name, event in calendar.items() if event.marked]
                return Response(200, {"value": marked}, None)
        event_id = unquote(rest[-1])
        event = calendar.get(event_id)
        if event is None:
            return _refused(404, Reason.EVENT_GONE)
        if request.headers.get("If-Match", event.etag) != event.etag:
            return _refused(412, Reason.CONFLICT)
        match request.operation:
            case "delete":
                del calendar[event_id]
                return Response(204, None, None)
            case "update":
                assert request.body is not None
                # A null takes the property away.
                event.fields = {name: value for name, value in request.body.items() if value is not None}
                event.etag = self._etag()
        return Response(200, self._shown(event_id, event), None)

    def _create(self, mailbox: str, calendar: dict[str, Event], request: Request) -> Response:
        body = dict(request.body or {})
        transaction = body.pop("transactionId")
        marked = bool(body.pop("singleValueExtendedProperties", ()))
        event_id, earlier = self.used.get((mailbox, transaction), ("", {}))
        stands = event_id in calendar
        if stands and earlier == body:
            return Response(201, self._shown(event_id, calendar[event_id]), None)
        if event_id and (stands or not self.forgets):
            return _refused(400, Reason.CONFLICT)
        event_id = f"E{next(self.numbers)}"
        calendar[event_id] = Event(self._etag(), body, transaction, marked)
        self.used[mailbox, transaction] = (event_id, body)
        return Response(201, self._shown(event_id, calendar[event_id]), None)

    def _etag(self) -> str:
        return f'W/"{next(self.numbers)}"'

    def _shown(self, event_id: str, event: Event) -> dict[str, Any]:
        return {"id": event_id, "@odata.etag": event.etag, "transactionId": event.transaction}

    def ours(self) -> list[tuple[str, Event]]:
        """The events that calbus created: a copy has no transaction id."""
        return [
            (mailbox, event)
            for mailbox, calendar in self.events.items()
            for event in calendar.values()
            if event.transaction is not None
        ]

    def copies(self) -> list[Event]:
        return [event for calendar in self.events.values() for event in calendar.values() if event.transaction is None]

    # What the user does.

    def edit(self) -> None:
        for _, event in self.ours():
            event.fields = event.fields | {"subject": "mine now"}
            event.etag = self._etag()

    def remove(self) -> None:
        for calendar in self.events.values():
            for event_id in [name for name, event in calendar.items() if event.transaction is not None]:
                del calendar[event_id]

    def copy(self) -> None:
        for mailbox, event in self.ours():
            self.events[mailbox][f"C{next(self.numbers)}"] = Event(self._etag(), dict(event.fields), None, marked=True)


def _refused(status: int, reason: Reason) -> Response:
    return Response(status, None, Fault(reason, Scope.ENTRY))


@dataclass
class Row:
    """The entry's row: what ingest planned, what writers recorded, whether the sweeper would find it."""

    entry: Entry
    write_version: int = 0
    attempts: int = 0
    due: bool = False

    def plan(self, wanted: Desired) -> None:
        """As ingest stores it: what is applied stays as it is."""
        applied = self.entry.applied
        owed = wanted.intent is Intent.PRESENT or (wanted.intent is Intent.ABSENT and applied.may_exist)
        self.entry = replace(self.entry, desired=wanted, owed=owed)
        self.attempts, self.due = 0, owed

    def load(self) -> tuple[Entry, int, int]:
        """The row as it was; one that is about to be written is marked first, durably."""
        before = self.entry
        marked = before.applied
        match next_step(before):
            case Step.CREATE:
                marked = replace(marked, in_doubt=True, place=before.desired.place)
            case Step.READ | Step.UPDATE | Step.DELETE:
                marked = replace(marked, content_hash=None)
        if marked != before.applied:
            self.entry = replace(before, applied=marked)
            self.write_version += 1
        return before, self.write_version, self.attempts

    def record(self, version: int, after: Entry, attempts: int, *, settled: bool, wrote_in: Place | None) -> bool:
        """Compare and set; False if another writer recorded meanwhile, or the plan is no longer the newest.

        What was written all the same leaves a trace, so that somebody looks at what stands there now.
        """
        if version != self.write_version:
            if wrote_in is not None:
                self._disturb(wrote_in)
            return False
        current = self.entry.desired.plan == after.desired.plan
        self.write_version += 1
        owed = self.entry.owed and not (settled and current)
        self.entry = replace(self.entry, applied=after.applied, owed=owed)
        self.due = not (settled and current)
        if current:
            self.attempts = attempts
        return current

    def _disturb(self, place: Place) -> None:
        applied = replace(self.entry.applied, content_hash=None, etag=None)
        if applied.event_id is None and not applied.in_doubt:
            applied = replace(applied, in_doubt=True, place=place)
        self.entry = replace(self.entry, applied=applied)
        self.write_version += 1
        self.due = True


def work(row: Row) -> Generator[Request | None, Response, bool]:
    """One look at the entry, as the writer's handler does it: gives each request, is sent its answer.

    Before the result is recorded it gives None once, so that the process may end there. True: look again at once.
    """
    state, version, attempts = row.load()
    fault, again, failed, wrote_in = None, False, False, None
    repeat: Fault | None = None
    for _ in range(STEPS_MAX):
        step = next_step(state)
        if step is Step.NOTHING:
            break
        place = state.target
        response = yield request_for(state, step)
        after = advance(state, step, response, Circumstances(repeat=repeat))
        if step in WRITING and (response.fault is None or response.fault.may_be_applied):
            wrote_in = place
        state, fault = after.entry, after.fault
        repeat = response.fault if step is Step.CREATE else None
        if fault is not None:
            decision = decide_retry(fault, step, attempts, POLICY, spread=0.0, reload=after.reload)
            failed = isinstance(decision, GiveUp)
            if failed:
                state = replace(state, applied=replace(state.applied, in_doubt=False))
            break
        if after.reload:
            again = True
            break
    yield None
    settled = failed or (fault is None and not again and next_step(state) is Step.NOTHING)
    recorded = row.record(version, state, 0 if settled else attempts + 1, settled=settled, wrote_in=wrote_in)
    return not recorded or not settled


class Looking:
    """A writer at work on the row. `step` carries out its next request, or records."""

    def __init__(self, row: Row, graph: Graph) -> None:
        self._graph = graph
        self._work = work(row)
        self.again = False
        self._request: Request | None = next(self._work)
        self._over = False

    @property
    def over(self) -> bool:
        return self._over

    def step(self, *, applied: bool = True, answered: bool = True) -> None:
        """Send the request: it is applied or not, and its answer comes or not."""
        if self._request is None:
            self._finish()
            return
        answer = self._graph.answer(self._request) if applied else None
        if answer is None or not answered:
            answer = Response(0, None, Fault(Reason.GRAPH_UNREACHABLE, Scope.ENTRY, may_be_applied=True))
        self._request = self._work.send(answer)

    def refuse(self, reason: Reason) -> None:
        """Graph refuses the request, and says that it did not apply it."""
        if self._request is not None:
            self._request = self._work.send(Response(0, None, Fault(reason, Scope.MAILBOX, retry_after_s=1.0)))

    def _finish(self) -> None:
        self._over = True
        try:
            next(self._work)
        except StopIteration as end:
            self.again = end.value


WRITING = (Step.CREATE, Step.UPDATE, Step.DELETE)
LOOKS_MAX = 8


def come_to_rest(row: Row, graph: Graph) -> None:
    """Look at the entry, undisturbed, until nothing is left to do."""
    looks = 0
    while row.due:
        looks += 1
        assert looks <= LOOKS_MAX, f"no rest after {LOOKS_MAX} looks: {row.entry}"
        looking = Looking(row, graph)
        while not looking.over:
            looking.step()
            assert len(graph.ours()) <= 1


def assert_as_desired(row: Row, graph: Graph) -> None:
    """The calendars show what is desired, and nothing else of ours."""
    wanted = row.entry.desired
    ours = graph.ours()
    if wanted.intent is Intent.ABSENT:
        assert ours == []
        return
    assert wanted.content is not None
    assert wanted.place is not None
    ((mailbox, event),) = ours
    assert mailbox == wanted.place.mailbox
    assert event.fields == event_of(Content.from_json(wanted.content))


# -- whatever happens -------------------------------------------------------------------------------------------------

moves = st.sampled_from(
    (
        "plan",
        "plan elsewhere",
        "plan none",
        "plan hold",
        "look",
        "look",
        "step",
        "step",
        "step",
        "step",
        "lost",
        "not sent",
        "throttled",
        "denied",
        "crash",
        "user edits",
        "user removes",
        "user copies",
    )
)


class World:
    """A row, its calendars, and at most so many writers at work on it."""

    def __init__(self, *, forgets: bool) -> None:
        self.row = Row(entry(desired(Intent.HOLD, plan=0)))
        self.graph = Graph(forgets)
        self.looking: Looking | None = None
        self.copied: list[Event] = []
        self._plans = count(1)

    def plan(self, intent: Intent, place: Place = HERE) -> None:
        plan = next(self._plans)
        self.row.plan(desired(intent, f"plan {plan}", plan=plan, place=place))

    def make(self, move: str) -> None:
        match move:
            case "plan":
                self.plan(Intent.PRESENT)
            case "plan elsewhere":
                self.plan(Intent.PRESENT, THERE)
            case "plan none":
                self.plan(Intent.ABSENT)
            case "plan hold":
                self.plan(Intent.HOLD)
            case "look" if self.looking is None:
                self.looking = Looking(self.row, self.graph)
            case "crash":
                self.looking = None
            case "user edits":
                self.graph.edit()
            case "user removes":
                self.graph.remove()
            case "user copies":
                self.graph.copy()
                self.copied = [replace(event) for event in self.graph.copies()]
        if self.looking is not None:
            self._work(self.looking, move)
        assert len(self.graph.ours()) <= 1
        assert self.graph.copies() == self.copied

    def _work(self, looking: Looking, move: str) -> None:
        match move:
            case "step":
                looking.step()
            case "lost":
                looking.step(answered=False)
            case "not sent":
                looking.step(applied=False)
            case "throttled":
                looking.refuse(Reason.THROTTLED)
            case "denied":
                looking.refuse(Reason.ACCESS_DENIED)
        if looking.over:
            self.looking = None


@given(
    st.lists(moves, min_size=10, max_size=40), st.sampled_from(("plan", "plan elsewhere", "plan none")), st.booleans()
)
@settings(max_examples=shown(500))
def test_whatever_happened_the_calendar_comes_to_show_what_is_desired(
    moves: list[str], last: str, forgets: bool
) -> None:
    world = World(forgets=forgets)
    for move in moves:
        world.make(move)
    world.make(last)
    world.looking = None
    note(str(world.row))
    come_to_rest(world.row, world.graph)
    assert_as_desired(world.row, world.graph)
    assert world.graph.copies() == world.copied


@given(st.lists(moves, min_size=10, max_size=30), st.booleans())
def test_while_the_entry_is_on_hold_nothing_is_asked_of_the_calendar(moves: list[str], forgets: bool) -> None:
    world = World(forgets=forgets)
    for move in moves:
        world.make(move)
    world.plan(Intent.HOLD)
    assert list(work(world.row)) == [None]


@given(st.lists(moves, min_size=10, max_size=30), st.booleans())
@example(["plan elsewhere", "look", "crash", "plan", "look", "step", "step"], False)
def test_no_event_is_created_without_a_durable_mark(moves: list[str], forgets: bool) -> None:
    world = World(forgets=forgets)

    class Watched(Graph):
        def answer(self, request: Request) -> Response:
            if request.operation == "create":
                stored = world.row.entry.applied
                assert stored.in_doubt
                assert stored.place is not None
                assert stored.place.mailbox in unquote(request.path)
            return super().answer(request)

    world.graph = Watched(forgets)
    for move in moves:
        world.make(move)


@given(st.lists(moves, min_size=10, max_size=40), st.booleans())
def test_a_rested_entry_asks_nothing_more_of_the_calendar(moves: list[str], forgets: bool) -> None:
    world = World(forgets=forgets)
    for move in moves:
        world.make(move)
    world.looking = None
    world.plan(Intent.PRESENT)
    come_to_rest(world.row, world.graph)
    assert list(work(world.row)) == [None]


# -- what comes back, and two writers at once -------------------------------------------------------------------------


def world_with(words: str) -> World:
    world = World(forgets=False)
    world.row.plan(desired(words=words, plan=1))
    come_to_rest(world.row, world.graph)
    return world


@pytest.mark.parametrize("answered", [True, False])
def test_a_lost_update_is_not_forgotten_when_the_next_plan_goes_back_to_what_was_known(answered: bool) -> None:
    world = world_with("one")
    world.row.plan(desired(words="two", plan=2))
    looking = Looking(world.row, world.graph)
    looking.step(answered=answered)
    if not answered:  # else the process dies before it records
        looking.step()
    world.row.plan(desired(words="one", plan=3))
    come_to_rest(world.row, world.graph)
    assert_as_desired(world.row, world.graph)


@pytest.mark.parametrize("answered", [True, False])
def test_a_lost_delete_is_not_forgotten_when_the_next_plan_brings_the_entry_back(answered: bool) -> None:
    world = world_with("one")
    world.row.plan(desired(Intent.ABSENT, plan=2))
    looking = Looking(world.row, world.graph)
    looking.step(answered=answered)
    if not answered:  # else the process dies before it records
        looking.step()
    world.row.plan(desired(words="one", plan=3))
    come_to_rest(world.row, world.graph)
    assert_as_desired(world.row, world.graph)


def finish(looking: Looking) -> None:
    while not looking.over:
        looking.step()


def rest(world: World, *lookings: Looking) -> None:
    """Those who are told to look again do, then whatever is due."""
    for looking in lookings:
        if looking.again:
            finish(Looking(world.row, world.graph))
    come_to_rest(world.row, world.graph)
    assert_as_desired(world.row, world.graph)


def test_a_create_that_lands_between_another_writers_search_and_create_makes_no_second_event() -> None:
    world = World(forgets=False)
    world.row.plan(desired(words="one", plan=1))
    slow = Looking(world.row, world.graph)
    world.row.plan(desired(words="two", plan=2))
    quick = Looking(world.row, world.graph)
    quick.step()  # finds nothing
    slow.step()  # creates
    finish(quick)
    finish(slow)
    come_to_rest(world.row, world.graph)
    assert len(world.graph.ours()) == 1
    rest(world, slow, quick)


def test_a_create_that_lands_after_another_writers_search_is_not_left_behind() -> None:
    world = World(forgets=False)
    world.row.plan(desired(words="one", plan=1))
    slow = Looking(world.row, world.graph)
    world.row.plan(desired(Intent.ABSENT, plan=2))
    quick = Looking(world.row, world.graph)
    finish(quick)
    finish(slow)
    rest(world, slow, quick)


def test_a_late_delete_does_not_take_away_what_another_writer_wrote() -> None:
    world = world_with("one")
    world.row.plan(desired(Intent.ABSENT, plan=2))
    slow = Looking(world.row, world.graph)
    world.row.plan(desired(words="two", plan=3))
    quick = Looking(world.row, world.graph)
    finish(quick)
    finish(slow)
    rest(world, slow, quick)


def test_a_late_delete_does_not_take_away_what_another_writer_left_as_it_was() -> None:
    world = world_with("one")
    world.row.plan(desired(Intent.ABSENT, plan=2))
    slow = Looking(world.row, world.graph)
    world.row.plan(desired(words="one", plan=3))
    quick = Looking(world.row, world.graph)
    finish(quick)
    finish(slow)
    rest(world, slow, quick)


words = ("one", "two", "elsewhere", "none", "hold")
pairs = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from((*words, "look", "look", "step", "step", "step", "step", "lost", "not sent", "throttled")),
    ),
    min_size=6,
    max_size=40,
)


class Pair:
    """Two writers, neither of whom dies, and contents that come back."""

    def __init__(self) -> None:
        self.graph = Graph(forgets=False)
        self.row = Row(entry(desired(Intent.HOLD, plan=0)))
        self.hands: list[Looking | None] = [None, None]
        self.again = False
        self._plans = count(1)

    def plan(self, word: str) -> None:
        plan = next(self._plans)
        match word:
            case "none":
                self.row.plan(desired(Intent.ABSENT, plan=plan))
            case "hold":
                self.row.plan(desired(Intent.HOLD, plan=plan))
            case "elsewhere":
                self.row.plan(desired(words="one", plan=plan, place=THERE))
            case _:
                self.row.plan(desired(words=word, plan=plan))

    def work(self, who: int, move: str) -> None:
        hand = self.hands[who]
        if hand is None:
            if move == "look":
                self.hands[who] = Looking(self.row, self.graph)
            return
        match move:
            case "step":
                hand.step()
            case "lost":
                hand.step(answered=False)
            case "not sent":
                hand.step(applied=False)
            case "throttled":
                hand.refuse(Reason.THROTTLED)
        if hand.over:
            self.again |= hand.again
            self.hands[who] = None

    def finish(self) -> None:
        for who in range(2):
            while self.hands[who] is not None:
                self.work(who, "step")
        if self.again:
            finish(Looking(self.row, self.graph))
        come_to_rest(self.row, self.graph)


@given(pairs, st.sampled_from(("one", "two", "elsewhere", "none")), st.integers(1, 2))
@settings(max_examples=shown(300))
def test_two_writers_side_by_side_do_no_more_harm_than_one(
    moves: list[tuple[int, str]], last: str, writers: int
) -> None:
    pair = Pair()
    for who, move in moves:
        if move in words:
            pair.plan(move)
        else:
            pair.work(who % writers, move)
        assert len(pair.graph.ours()) <= 1
    pair.plan(last)
    pair.finish()
    assert_as_desired(pair.row, pair.graph)


@pytest.mark.parametrize(
    "reason",
    [Reason.ACCESS_DENIED, Reason.ACCESS_POLICY, Reason.MAILBOX_NOT_IN_CLOUD],
)
@pytest.mark.parametrize("etag", ["1", None])
def test_an_event_in_a_mailbox_that_stays_closed_is_left_behind_and_looked_for_in_the_new_one(
    reason: Reason, etag: str | None
) -> None:
    stands = Applied(1, HERE, b"old", "e1", etag)
    moving = entry(desired(place=THERE), stands)
    closed = Response(403, None, Fault(reason, Scope.MAILBOX))
    step = next_step(moving)
    early = advance(moving, step, closed, Circumstances(attempts=CLOSED_BEFORE_LEFT - 1))
    assert early.entry.applied == stands
    late = advance(moving, step, closed, Circumstances(attempts=CLOSED_BEFORE_LEFT))
    assert late.reload
    assert late.entry.applied.left_behind == HERE.lane
    # Never created without having looked: the mailbox may only have got another name.
    assert (next_step(late.entry), late.entry.target) == (Step.FIND, THERE)
    # What only leaves goes on being tried: there is nowhere else to be.
    leaving = entry(desired(Intent.ABSENT), stands)
    stays = advance(leaving, next_step(leaving), closed, Circumstances(attempts=CLOSED_BEFORE_LEFT))
    assert stays.entry.applied == stands
