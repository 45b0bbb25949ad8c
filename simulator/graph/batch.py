"""`$batch`: reading the envelope, the order of its items, and running them four at a time whatever their mailboxes.

Sources: Microsoft docs "json-batching", "throttling" (Outlook items of a batch), "known-issues" (dependsOn).
"""

import asyncio
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from simulator.control.faults import Fault
from simulator.control.ledger import BATCH
from simulator.errors import GraphError, bad_request
from simulator.graph.call import Answer, Call, waits_for
from simulator.graph.gateway import Gateway, fault_answer, record_refusal
from simulator.graph.told import INSIDE_RETRY_AFTER, Place

JsonObject = dict[str, Any]

ITEMS_MAX = 20
CONCURRENT_MAX = 4
_METHODS = frozenset({"GET", "POST", "PATCH", "PUT", "DELETE"})
_FAILED_FROM_STATUS = 400
_FAILED_DEPENDENCY = Answer(
    424,
    {
        "error": {
            "code": "FailedDependency",
            "message": "The request was not executed because a request it depends on failed.",
        }
    },
)


@dataclass(frozen=True, slots=True)
class Item:
    """One request of a batch. `after` is the lower-case id of the item it depends on."""

    id: str
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: Any
    after: str | None


def is_batch(path: str) -> bool:
    """True for the address of batches below the version, however it is percent-encoded."""
    return urllib.parse.unquote(path).strip("/").lower() == "$batch"


def read_batch(document: Any) -> list[Item]:
    """The items of an envelope. Raises GraphError (400) if any of them is malformed."""
    requests = document.get("requests") if type(document) is dict else None
    if type(requests) is not list or not requests:
        raise bad_request("Invalid batch payload format.")
    if len(requests) > ITEMS_MAX:
        raise bad_request(f"Number of batch request steps exceeds the max value of {ITEMS_MAX}.")
    items = [_read_item(request) for request in requests]
    ids = {item.id.lower() for item in items}
    if len(ids) < len(items):
        raise bad_request("Request ids of a batch must be unique.")
    _check_order(items, ids)
    return items


def _read_item(request: Any) -> Item:
    # Other members are ignored: Microsoft's own SDK for Python sends an empty `depends_on`.
    if type(request) is not dict:
        raise bad_request("Invalid batch payload format.")
    item_id, method, url = request.get("id"), request.get("method"), request.get("url")
    if type(item_id) is not str or not item_id:
        raise bad_request("Every request of a batch needs an 'id'.")
    if type(method) is not str or method.upper() not in _METHODS:
        raise bad_request(f"The request '{item_id}' needs a 'method'.")
    if type(url) is not str or not url or "://" in url.partition("?")[0]:
        raise bad_request(f"The request '{item_id}' needs a 'url' relative to the version of the API.")
    path, _, query = url.partition("?")
    if is_batch(path):
        raise bad_request("A batch cannot contain a batch.")
    headers = _read_headers(item_id, request.get("headers"))
    body = request.get("body")
    if body is not None and "content-type" not in headers:
        raise bad_request(f"The request '{item_id}' has a body and needs a Content-Type header.")
    return Item(item_id, method.upper(), path, query, headers, body, _read_depends_on(item_id, request))


def _read_headers(item_id: str, given: Any) -> dict[str, str]:
    if given is None:
        return {}
    if type(given) is not dict or not all(type(value) is str for value in given.values()):
        raise bad_request(f"The headers of the request '{item_id}' must be strings.")
    return {name.lower(): value for name, value in given.items()}


def _read_depends_on(item_id: str, request: JsonObject) -> str | None:
    given = request.get("dependsOn")
    if given is None or given == []:
        return None
    if type(given) is not list or len(given) != 1 or type(given[0]) is not str:
        raise bad_request(f"The request '{item_id}' can depend on one other request.")
    return given[0].lower()


def _check_order(items: list[Item], ids: set[str]) -> None:
    """Only three shapes are allowed: none depends, each depends on the one before, all depend on the same one."""
    parents = [item.after for item in items]
    if not ids.issuperset(parent for parent in parents if parent is not None):
        raise bad_request("A request depends on a request that is not in the batch.")
    if is_parallel(items) or _is_serial(items):
        return
    named = {parent for parent in parents if parent is not None}
    root = next(iter(named))
    if len(named) > 1 or [item.id.lower() for item in items if item.after is None] != [root]:
        raise bad_request("The requests of a batch must be all parallel, all serial, or all depend on one request.")


def is_parallel(items: list[Item]) -> bool:
    """True if no item depends on another."""
    return all(item.after is None for item in items)


def _is_serial(items: list[Item]) -> bool:
    expected = [None, *(item.id.lower() for item in items[:-1])]
    return [item.after for item in items] == expected


class BatchRun:
    """One batch under way. Its items take the same way as calls of their own, with the same limits."""

    def __init__(self, gateway: Gateway, envelope: Call, items: list[Item]) -> None:
        self._gateway = gateway
        self._envelope = envelope
        self._items = items
        self._answers: dict[str, Answer] = {}

    async def run(self) -> Answer:
        """All answers under one 200, in an order that means nothing."""
        if is_parallel(self._items):
            await self._run_parallel(self._items)
        elif _is_serial(self._items):
            for item in self._items:
                await self._run_item(item)
        else:
            await self._run_parallel([item for item in self._items if item.after is None])
            await self._run_parallel([item for item in self._items if item.after is not None])
        responses = [self._response(item) for item in self._items]
        self._gateway.world.chance.shuffle(responses)
        dropped = any(answer.drop for answer in self._answers.values())
        waits = tuple(wait for answer in self._answers.values() for wait in answer.waits)
        return Answer(200, {"responses": responses}, drop=dropped, waits=waits)

    async def _run_parallel(self, items: list[Item]) -> None:
        waiting = iter(items)
        async with asyncio.TaskGroup() as workers:
            for _ in range(min(CONCURRENT_MAX, len(items))):
                workers.create_task(self._work(waiting))

    async def _work(self, waiting: Iterator[Item]) -> None:
        for item in waiting:
            await self._run_item(item)

    async def _run_item(self, item: Item) -> None:
        if item.after is not None and self._failed(item.after):
            self._answers[item.id.lower()] = _FAILED_DEPENDENCY
            return
        envelope = self._envelope
        call = Call(
            envelope.identity,
            item.method,
            item.path if item.path.startswith("/") else f"/{item.path}",
            item.query,
            item.headers,
            envelope.origin,
            envelope.request_id,
            envelope.client_request_id,
            document=item.body,
            via_batch=True,
        )
        self._answers[item.id.lower()] = await self._gateway.perform(call)

    def _failed(self, item_id: str) -> bool:
        return self._answers[item_id].status >= _FAILED_FROM_STATUS

    def _response(self, item: Item) -> JsonObject:
        answer = self._answers[item.id.lower()]
        headers = dict(answer.headers)
        response: JsonObject = {"id": item.id, "status": answer.status, "headers": headers}
        if answer.body is not None:
            headers["Content-Type"] = "application/json"
            response["body"] = answer.body
        return response


async def perform_batch(gateway: Gateway, envelope: Call, fault: Fault | None) -> Answer:
    """The answer to `POST /$batch`: 200 with an answer per item, or a refusal of the whole.

    A fault that strikes the batch replaces its answer, after the items were performed if it says so; what the items
    were told to wait for is then not told. The batch itself has a ledger entry if it was refused or broke a rule.
    """
    identity = envelope.identity
    place = Place(identity.client_id, "batch")
    if identity.tenant.told.inside(place, identity.tenant.now()):
        envelope.breaks(INSIDE_RETRY_AFTER)
    answer = await _answer(gateway, envelope, fault)
    answer.waits = answer.waits + waits_for(place, answer)
    if answer.status >= _FAILED_FROM_STATUS or answer.drop or envelope.violations:
        code = answer.body["error"]["code"] if answer.body and "error" in answer.body else None
        record_refusal(envelope, BATCH, answer, code)
    return answer


async def _answer(gateway: Gateway, envelope: Call, fault: Fault | None) -> Answer:
    if fault is None:
        return await _apply(gateway, envelope)
    applied = await _apply(gateway, envelope) if fault.after_apply else None
    if fault.delay_ms:
        await asyncio.sleep(fault.delay_ms / 1000)
    if not fault.answers:
        return applied or await _apply(gateway, envelope)
    return fault_answer(fault, envelope.request_id, envelope.client_request_id)


async def _apply(gateway: Gateway, envelope: Call) -> Answer:
    try:
        items = read_batch(envelope.json())
    except GraphError as error:
        body = error.body(envelope.request_id, envelope.client_request_id)
        return Answer(error.status, body, error.headers)
    return await BatchRun(gateway, envelope, items).run()
