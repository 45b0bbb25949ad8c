"""A puller in miniature, over a mailbox of the simulator in this process: delta pages, reads, and what is kept."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from calbus.entry import Entry
from calbus.touches import Touch
from schemas.changes import AppointmentRemoved, AppointmentUpserted
from schemas.switches import Detail, Touched
from services.puller.classify import (
    Change,
    Gone,
    Ours,
    Removed,
    Verdict,
    View,
    Window,
    classify,
    created_by,
    event_id_of,
)
from services.puller.seen import MASTER, Seen, seen_of
from simulator.errors import GraphError
from simulator.exchange.changes import Reading, Scope, changes, told
from simulator.exchange.mailbox import Mailbox
from simulator.graph.delta import show_told
from simulator.graph.odata import NO_QUERY
from simulator.graph.prefer import Preferences
from simulator.graph.representation import show_event
from tests.unit.strategies import ASSIGNEE, TENANT

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
BEGIN, END = datetime(2026, 10, 22, tzinfo=UTC), datetime(2027, 5, 20, tzinfo=UTC)
PREFERENCES = Preferences()
JUDGED_MAX = 5


def view(**fields: Any) -> View:
    """ASSIGNEE's default calendar, all of which may be told."""
    given = {"tenant": TENANT, "user": ASSIGNEE, "calendar": "", "publishes_appointments": True}
    switches = {"detail": Detail.FULL, "touched": Touched.REPORT, "window": Window(BEGIN, END)}
    return View(**given | switches | fields)


def wire(raw: dict[str, Any]) -> dict[str, Any]:
    """As JSON carries it."""
    copied: dict[str, Any] = orjson.loads(orjson.dumps(raw))
    return copied


@dataclass(slots=True)
class Page:
    """What was shown, and how our entry stood when it was asked for."""

    items: list[dict[str, Any]]
    entry: Entry | None


@dataclass(slots=True)
class Puller:
    """Everything that was told, in order, and the events as they were last seen."""

    mailbox: Mailbox
    view: View = field(default_factory=view)
    entry: Callable[[], Entry | None] = lambda: None
    rows: dict[str, Seen] = field(default_factory=dict)
    told: list[tuple[str, Change]] = field(default_factory=list)
    touches: list[Touch] = field(default_factory=list)
    open: set[str] = field(default_factory=set)
    masters: dict[str, Seen] = field(default_factory=dict)
    reading: Reading | None = None

    @property
    def changes(self) -> list[Change]:
        return [change for _, change in self.told]

    def fetch(self) -> Page:
        """Ask for what changed since the last page; it is judged later."""
        window = self.view.window
        begin, end = window.start.replace(tzinfo=None), window.end.replace(tzinfo=None)
        scope = Scope(self.mailbox.default_calendar.id, begin, end, expand=True)
        seq = self.mailbox.journal.seq
        reading = self.reading or Reading(0, 0, seq, first=True)
        shown = [
            wire(show_told(item, PREFERENCES))
            for change in changes(self.mailbox, scope, reading)
            for item in told(self.mailbox, scope, reading, change)
        ]
        self.reading = Reading(seq, seq, seq, first=False)
        return Page(shown, self.entry())

    def judge(self, page: Page) -> None:
        """Judge what a page shows, masters first."""
        for item in sorted(page.items, key=lambda item: item.get("type") != MASTER):
            if "@removed" in item:
                self._judge(Removed(item["id"], self._series_gone(item["id"])), page.entry)
                continue
            seen = seen_of(item, self.rows.get(item.get("seriesMasterId") or ""))
            if seen is None:
                self.read(item["id"])
                continue
            if seen.type == MASTER:
                self.masters[seen.event_id] = seen
            self._judge(seen, page.entry)

    def read(self, event_id: str) -> None:
        """Ask for one event by its id, and judge what is found."""
        entry = self.entry()
        self._judge(self._found(event_id), entry)

    def _found(self, event_id: str) -> Seen | Gone:
        try:
            event = self.mailbox.event(event_id)
        except GraphError:
            return Gone(event_id)
        seen = seen_of(wire(show_event(event, PREFERENCES, NO_QUERY)))
        assert seen is not None
        return seen

    def pull(self) -> None:
        """A round: what changed, and what was left open."""
        page = self.fetch()
        left, self.open = self.open, set()
        self.judge(page)
        for event_id in sorted(left):
            self.read(event_id)

    def settle(self) -> None:
        """Rounds until nothing is open."""
        for _ in range(JUDGED_MAX):
            self.pull()
            if not self.open:
                return
        raise AssertionError(f"still open: {self.open}")

    def _series_gone(self, event_id: str) -> bool:
        before = self.rows.get(event_id)
        if before is None or before.series_id is None:
            return False
        master = self.rows.get(before.series_id)
        return master is None or master.gone

    def _ours(self, item: Seen | Removed | Gone, before: Seen | None, asked: Entry | None) -> Ours | None:
        entry = self.entry()
        if entry is None:
            return None
        series_id = item.series_id if isinstance(item, Seen) else before.series_id if before else None
        master = self.rows.get(series_id, self.masters.get(series_id)) if series_id else None
        known_by = {item.event_id, series_id} - {None}
        open_end = entry.owed and (entry.applied.content_hash is None or entry.applied.in_doubt)
        recorded_since = asked is not None and asked.applied != entry.applied
        writing = open_end or recorded_since
        doubted = writing and any(isinstance(one, Seen) and created_by(one, entry) for one in (item, master))
        if entry.applied.event_id not in known_by and not doubted:
            return None
        return Ours(entry, writing, master)

    def _judge(self, item: Seen | Removed | Gone, asked: Entry | None) -> None:
        before = self.rows.get(item.event_id)
        verdict = classify(self.view, item, before, self._ours(item, before, asked), NOW)
        self._keep(item.event_id, verdict)
        if verdict.read:
            self.read(item.event_id)

    def _keep(self, event_id: str, verdict: Verdict) -> None:
        if verdict.forget:
            self.rows.pop(event_id, None)
        if verdict.after is not None:
            self.rows[event_id] = verdict.after
        if verdict.later:
            self.open.add(event_id)
        if verdict.touch is not None:
            self.touches.append(verdict.touch)
        self.told += [(event_id_of(change, verdict.gone_key), change) for change in verdict.events]

    def mirror(self) -> dict[str, dict[str, Any]]:
        """The user's own appointments, as whoever reads the events knows them."""
        known: dict[str, dict[str, Any]] = {}
        for change in self.changes:
            if isinstance(change, AppointmentUpserted):
                known[change.event_id] = change.model_dump(exclude={"seen_at", "change_key"})
            elif isinstance(change, AppointmentRemoved):
                # Nothing is taken back that was not told.
                del known[change.event_id]
        return known

    def calendar(self) -> dict[str, dict[str, Any]]:
        """The same as the calendar shows them: told anew to somebody who knows nothing."""
        fresh = replace(self, rows={}, told=[], touches=[], open=set(), masters={}, reading=None)
        fresh.settle()
        return fresh.mirror()
