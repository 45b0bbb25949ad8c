"""Delta rounds over a calendar view or over events: tokens, pages, links, and when a sync state is not found.

A token holds the whole state of its round, so that the service keeps none and any page can be asked for again.
Sources: Microsoft docs "event-delta", "delta-query-events"; wire forms as public issue threads show them.
"""

import base64
import binascii
import hashlib
import urllib.parse
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any

import orjson
from pydantic import TypeAdapter

from simulator.errors import GraphError, item_not_found
from simulator.exchange.changes import Reading, Scope, Told, changes, told
from simulator.exchange.event import Event
from simulator.exchange.sharing import OWNER, Rights
from simulator.graph.call import Answer
from simulator.graph.odata import NO_QUERY
from simulator.graph.prefer import Preferences
from simulator.graph.representation import show_event
from simulator.graph.task import Task
from simulator.graph.window import parameters, read_instant, read_window

JsonObject = dict[str, Any]

_SKIP, _DELTA = "$skiptoken", "$deltatoken"
_SEAL_BYTES = 8
_OCCURRENCE_MEMBERS = ("@odata.etag", "id", "seriesMasterId", "type", "start", "end")
_EVENT_TYPE = "#microsoft.graph.event"


@dataclass(frozen=True, slots=True)
class State:
    """What a token says. `page` begins `offset` items into the write after the cursor; `paused` after an empty page.

    `offset_etag`: of the series whose items they are. If it is written between two pages, they are told from the first.
    """

    link: str
    mailbox: str
    generation: int
    scope: Scope
    reading: Reading
    offset_seq: int = 0
    offset: int = 0
    offset_etag: str = ""
    paused: bool = False


_STATE = TypeAdapter(State)


def _write_token(state: State) -> str:
    raw = orjson.dumps(state)
    return base64.urlsafe_b64encode(_seal(raw) + raw).rstrip(b"=").decode()


def _seal(raw: bytes) -> bytes:
    """Shows whether a token was changed on its way; it keeps nothing secret."""
    return hashlib.blake2b(raw, digest_size=_SEAL_BYTES).digest()


def _read_token(text: str) -> State:
    try:
        sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise _sync_state_invalid() from None
    seal, raw = sealed[:_SEAL_BYTES], sealed[_SEAL_BYTES:]
    if seal != _seal(raw):
        raise _sync_state_invalid()
    return _STATE.validate_json(raw)


def _sync_state_invalid() -> GraphError:
    return GraphError(400, "SyncStateInvalid", "The sync state is not valid.")


def _given_token(query: str, resource: str) -> tuple[str, str] | None:
    """The kind and text of the token, if there is one. An empty token asks for a first round."""
    found: tuple[str, str] | None = None
    for part in query.split("&"):
        name, _, value = part.partition("=")
        name = urllib.parse.unquote(name).lower()
        if name in (_SKIP, _DELTA):
            if value:
                found = name, urllib.parse.unquote(value)
        elif name.startswith("$"):
            raise GraphError(
                400,
                "ErrorInvalidUrlQuery",
                f"The following parameters are not supported with change tracking over the '{resource}' resource: "
                "'$orderby, $filter, $select, $expand, $search, $top, $skip, $count'.",
            )
    return found


def view_delta(task: Task) -> Answer:
    """GET .../calendarView/delta: series expanded, between two times."""
    token = _given_token(task.call.query, "CalendarView")
    calendar_id = task.calendar().id
    if token is not None:
        return _go_on(task, token, calendar_id, expand=True)
    window = read_window(task.call.query)
    return _page(task, _first(task, Scope(calendar_id, window.begin, window.end, expand=True)))


def events_delta(task: Task) -> Answer:
    """GET .../events/delta: single events and series masters with their exceptions, from a time on."""
    token = _given_token(task.call.query, "Events")
    calendar_id = task.calendar().id if task.in_calendar else None
    if token is not None:
        return _go_on(task, token, calendar_id, expand=False)
    given = parameters(task.call.query).get("startdatetime")
    if not given:
        raise GraphError(
            400,
            "ErrorInvalidParameter",
            "This request requires a time window specified by the query string parameter StartDateTime.",
        )
    begin = read_instant("StartDateTime", given)
    return _page(task, _first(task, Scope(calendar_id, begin, datetime.max, expand=False)))  # noqa: DTZ901 - naive UTC


def _first(task: Task, scope: Scope) -> State:
    journal = task.mailbox.journal
    return State(_SKIP, task.mailbox.guid, journal.generation, scope, Reading(0, 0, journal.seq, first=True))


def _go_on(task: Task, token: tuple[str, str], calendar_id: str | None, *, expand: bool) -> Answer:
    link, text = token
    state = _read_token(text)
    scope, journal = state.scope, task.mailbox.journal
    if state.link != link or (scope.calendar_id, scope.expand) != (calendar_id, expand):
        raise _sync_state_invalid()
    if state.mailbox != task.mailbox.guid:
        raise item_not_found()
    reading = state.reading
    known_from = reading.started if reading.first else reading.base
    if state.generation != journal.generation or known_from < journal.trimmed_seq:
        raise _sync_state_not_found(task, state)
    if link == _DELTA:
        base = max(0, reading.base - task.tenant.limits.delta_replayed_writes)
        state = replace(state, reading=Reading(base, base, journal.seq, first=False))
    return _page(task, state)


def _sync_state_not_found(task: Task, state: State) -> GraphError:
    window = {"startDateTime": f"{state.scope.begin.isoformat()}Z"}
    if state.scope.expand:
        window["endDateTime"] = f"{state.scope.end.isoformat()}Z"
    highest = max(task.mailbox.journal.generation, state.generation + 1)
    return GraphError(
        410,
        "SyncStateNotFound",
        f"The sync state generation is not found; generation={state.generation};[highest={highest}].",
        headers={"Location": f"{_url(task)}?{urllib.parse.urlencode(window)}&{_DELTA}="},
    )


def _url(task: Task) -> str:
    return f"{task.call.origin}/v1.0{task.call.path}"


def _page(task: Task, state: State) -> Answer:
    preferences, limits = task.preferences(), task.tenant.limits
    applied = ", ".join(filter(None, ["odata.track-changes", preferences.applied]))
    body: JsonObject = {"@odata.context": f"{task.call.origin}/v1.0/$metadata#Collection(event)", "value": []}
    if limits.delta_empty_pages and not state.paused:
        following = replace(state, link=_SKIP, paused=True)
    else:
        items, following = _fill(task, state, preferences.page_items or limits.delta_page_items)
        body["value"] = [show_told(item, preferences, _rights(task, item)) for item in items]
    name = "@odata.nextLink" if following.link == _SKIP else "@odata.deltaLink"
    body[name] = f"{_url(task)}?{following.link}={_write_token(following)}"
    return Answer(200, body, {"Preference-Applied": applied})


def _fill(task: Task, state: State, page_items: int) -> tuple[list[Told], State]:
    """The items of one page, and the state after it."""
    mailbox, scope, reading = task.mailbox, state.scope, state.reading
    page: list[Told] = []
    cursor = reading.cursor
    for change in changes(mailbox, scope, reading):
        if not task.may_see(change.source.calendar_id):
            continue
        items = told(mailbox, scope, reading, change)
        etag = change.source.etag if isinstance(change.source, Event) else ""
        offset = state.offset if (change.seq, etag) == (state.offset_seq, state.offset_etag) else 0
        taken = offset
        for item in islice(items, offset, None):
            if len(page) == page_items:
                return page, replace(
                    state,
                    link=_SKIP,
                    reading=replace(reading, cursor=cursor),
                    offset_seq=change.seq,
                    offset=taken,
                    offset_etag=etag,
                    paused=False,
                )
            page.append(item)
            taken += 1
        cursor = change.seq
    last = mailbox.journal.seq
    told_all = Reading(last, last, last, first=False)
    return page, replace(state, link=_DELTA, reading=told_all, offset_seq=0, offset=0, offset_etag="", paused=False)


def _rights(task: Task, item: Told) -> Rights:
    return task.rights_on(item.event) if item.event is not None else OWNER


def show_told(item: Told, preferences: Preferences, rights: Rights = OWNER) -> JsonObject:
    """One item of a delta page, as somebody with these rights sees it."""
    if item.event is None:
        shown_id = item.immutable_id if preferences.immutable_ids else item.id
        return {"@odata.type": _EVENT_TYPE, "id": shown_id, "@removed": {"reason": "deleted"}}
    shown = show_event(item.event, preferences, NO_QUERY, rights)
    if shown["type"] == "occurrence":
        # What an occurrence shares with its master is told of the master only.
        shown = {name: shown[name] for name in _OCCURRENCE_MEMBERS}
    return {"@odata.type": _EVENT_TYPE, **shown}
