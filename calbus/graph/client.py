"""Calls to Microsoft Graph: one request alone, several in `$batch`; every one gets an answer or a fault of its own."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from ssl import SSLContext, create_default_context
from typing import Any

import aiohttp
import orjson

from calbus.correlation import client_request_id
from calbus.graph.auth import TokenRefusedError, Tokens
from calbus.graph.calls import Request, Response
from calbus.graph.errors import Fault, Scope, fault_of
from calbus.settings import GraphSettings, SettingsError
from calbus.telemetry import GRAPH_FAULTS, GRAPH_REQUESTS, GRAPH_SECONDS, log
from schemas.reasons import Reason, explain

# To Graph, of one process. Whoever limits its calls to more must ask for as many.
CONNECTIONS_MAX = 256
SHOW_INTERVAL_S = 5.0
CLIENT_REQUEST_ID = "client-request-id"
_NO_HEADERS: Mapping[str, str] = {}
# Asked for each request whether it takes a line.
_LOG = logging.getLogger("calbus")


class GraphClient:
    """Speaks to Graph as the application, in any directory that lets it."""

    def __init__(
        self, settings: GraphSettings, session: aiohttp.ClientSession, tokens: Tokens, max_connections: int
    ) -> None:
        self._url = settings.graph_url
        self._session = session
        self._tokens = tokens
        # Waited for here and not in the session, whose timeout counts from the beginning of that wait: a request that
        # was never sent would be said to have had no answer.
        self._connections = asyncio.Semaphore(max_connections)
        self._under_way: set[asyncio.Timeout] = set()

    async def send(self, directory: str, requests: Sequence[Request]) -> list[Response]:
        """Answers in the order of the requests, of which there are at most 20. Never raises for what Graph says.

        A token that Graph rejects, or that has grown old when Graph denies access with it, is replaced and the requests
        that it was refused for are sent once more.
        """
        responses, replaced = await self._send(directory, requests)
        rejected = [i for i, r in enumerate(responses) if r.fault and r.fault.reason in replaced]
        if rejected:
            again, _ = await self._send(directory, [requests[index] for index in rejected])
            for index, response in zip(rejected, again, strict=True):
                responses[index] = response
        _count(requests, responses)
        return responses

    def break_off(self) -> None:
        """Wait no longer for what is under way: each ends now as if it had taken too long, and may be applied."""
        now_s = asyncio.get_running_loop().time()
        while self._under_way:
            self._under_way.pop().reschedule(now_s)

    async def _send(self, directory: str, requests: Sequence[Request]) -> tuple[list[Response], set[Reason]]:
        """The answers, and for which of their reasons the token was replaced."""
        try:
            token = await self._tokens.get(directory)
        except TokenRefusedError as error:
            reason = error.fault.reason
            log.warning("no token", reason=reason, code=error.fault.code, next_actor=explain(reason).next_actor)
            return [Response(0, None, error.fault)] * len(requests), set()
        bears_roles = self._tokens.bears_roles(directory)
        if len(requests) == 1:
            responses = [await self._single(token, requests[0])]
        else:
            responses = await self._batch(token, requests)
        if bears_roles is not None:
            for response in responses:
                response.bears_roles = bears_roles
        reasons = {response.fault.reason for response in responses if response.fault}
        if Reason.TOKEN_REJECTED in reasons:
            self._tokens.reject(directory, token)
            return responses, {Reason.TOKEN_REJECTED}
        if Reason.ACCESS_DENIED in reasons and self._tokens.doubt(directory, token):
            return responses, {Reason.ACCESS_DENIED}
        return responses, set()

    async def _single(self, token: str, request: Request) -> Response:
        started, own_id = time.perf_counter(), client_request_id(request.correlation)
        try:
            sent = {**request.headers, CLIENT_REQUEST_ID: own_id}
            status, headers, body = await self._call(token, request.method, request.path, sent, request.body)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # A call that hangs, sent alone, says something about the mailbox.
            scope = Scope.MAILBOX if isinstance(error, TimeoutError) else Scope.ENTRY
            return _told(request, own_id, Response(0, None, replace(_unanswered(error), scope=scope)))
        finally:
            GRAPH_SECONDS.labels(request.operation).observe(time.perf_counter() - started)
        return _told(request, own_id, _response(status, headers, body), headers)

    async def _batch(self, token: str, requests: Sequence[Request]) -> list[Response]:
        """Pack the requests into one call. An item that the answer leaves out may have been applied."""
        started = time.perf_counter()
        own_ids = [client_request_id(request.correlation) for request in requests]
        items = zip(requests, own_ids, strict=True)
        payload = {"requests": [_item(str(number), *item) for number, item in enumerate(items)]}
        envelope = {CLIENT_REQUEST_ID: client_request_id(None)}
        try:
            status, headers, body = await self._call(token, "POST", "/$batch", envelope, payload)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            unanswered = Response(0, None, _unanswered(error))
            return [_told(*item, unanswered) for item in zip(requests, own_ids, strict=True)]
        finally:
            GRAPH_SECONDS.labels("batch").observe(time.perf_counter() - started)
        if status in (400, 413):
            # Of the batch as such, not of its items: they go alone.
            return list(await asyncio.gather(*(self._single(token, request) for request in requests)))
        answers = _answers(body) if status == 200 else None
        if answers is None:
            fault = fault_of(status, headers, body, now=datetime.now(UTC))
            if fault is None or fault.reason not in _OF_ALL_ITEMS:
                fault = Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, may_be_applied=True, code=f"batch {status}")
            refused = Response(status, None, fault)
            return [_told(*item, refused, headers) for item in zip(requests, own_ids, strict=True)]
        responses = [_of_batch(answers.get(str(number))) for number in range(len(requests))]
        return [_told(*item, headers=headers) for item in zip(requests, own_ids, responses, strict=True)]

    async def _call(
        self, token: str, method: str, path: str, headers: dict[str, str], body: Any
    ) -> tuple[int, dict[str, str], Any]:
        sent = {"Authorization": f"Bearer {token}", **headers}
        data = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            data = orjson.dumps(body)
        url = f"{self._url}{path}"
        async with asyncio.timeout(None) as call:
            self._under_way.add(call)
            try:
                async with (
                    self._connections,
                    self._session.request(method, url, headers=sent, data=data) as response,
                ):
                    content = await response.read()
                    named = {name.lower(): value for name, value in response.headers.items()}
                    return response.status, named, _json(content)
            finally:
                self._under_way.discard(call)


def _told(request: Request, own_id: str, response: Response, headers: Mapping[str, str] = _NO_HEADERS) -> Response:
    """The same, once the log has a line of it where somebody wants so many; a fault bears our own id of the request."""
    fault = response.fault
    if _LOG.isEnabledFor(logging.DEBUG):
        log.debug(
            "graph request",
            operation=request.operation,
            status=response.status,
            reason=fault.reason if fault is not None else None,
            correlation=request.correlation,
            client_request_id=own_id,
            request_id=fault.request_id if fault is not None and fault.request_id else headers.get("request-id", ""),
        )
    return response if fault is None else replace(response, fault=replace(fault, client_request_id=own_id))


def _item(number: str, request: Request, own_id: str) -> dict[str, Any]:
    item: dict[str, Any] = {"id": number, "method": request.method, "url": request.path}
    headers = {**request.headers, CLIENT_REQUEST_ID: own_id}
    if request.body is not None:
        headers["Content-Type"] = "application/json"
        item["body"] = request.body
    item["headers"] = headers
    return item


# What the answer to a whole batch can say of each of its items.
_OF_ALL_ITEMS = frozenset((Reason.TOKEN_REJECTED, Reason.THROTTLED))


def _answers(body: Any) -> dict[str, dict[str, Any]] | None:
    """The batch's answers by id; None if it is not the envelope that it should be."""
    answers = body.get("responses") if isinstance(body, dict) else None
    if not isinstance(answers, list):
        return None
    return {str(answer.get("id")): answer for answer in answers if isinstance(answer, dict)}


def _of_batch(answer: dict[str, Any] | None) -> Response:
    if answer is None or not isinstance(answer.get("status"), int):
        fault = Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, may_be_applied=True, code="missing from the batch")
        return Response(0, None, fault)
    if 200 <= answer["status"] < 300:  # what else it says in its headers concerns nobody
        return Response(answer["status"], answer.get("body"), None)
    given = answer.get("headers")
    headers = {str(name).lower(): str(value) for name, value in given.items()} if isinstance(given, dict) else {}
    return _response(answer["status"], headers, answer.get("body"))


def _response(status: int, headers: dict[str, str], body: Any) -> Response:
    return Response(status, body, fault_of(status, headers, body, now=datetime.now(UTC)))


def _unanswered(error: BaseException) -> Fault:
    # A connection that never opened carried nothing; one that broke may have delivered the request.
    delivered = not isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError)
    return Fault(Reason.GRAPH_UNREACHABLE, Scope.ENTRY, may_be_applied=delivered, code=type(error).__name__)


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        return None


def _count(requests: Sequence[Request], responses: Sequence[Response]) -> None:
    pairs = zip(requests, responses, strict=True)
    counted = Counter((request.operation, _status_class(response)) for request, response in pairs)
    for labels, number in counted.items():
        GRAPH_REQUESTS.labels(*labels).inc(number)
    for response in responses:
        if response.fault is not None:
            GRAPH_FAULTS.labels(response.fault.reason).inc()


def _status_class(response: Response) -> str:
    return f"{response.status // 100}xx" if response.status else "none"


async def _show(tokens: Tokens) -> None:
    while True:
        tokens.show()
        await asyncio.sleep(SHOW_INTERVAL_S)


def _trusting(settings: GraphSettings) -> SSLContext | bool:
    if settings.graph_ca_file is None:
        return True
    try:
        return create_default_context(cafile=str(settings.graph_ca_file))
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"CALBUS_GRAPH_CA_FILE is wrong: {settings.graph_ca_file} cannot be read as certificates: {error.strerror}."
        ) from None


@asynccontextmanager
async def graph_client(
    settings: GraphSettings, *, max_connections: int = CONNECTIONS_MAX
) -> AsyncIterator[GraphClient]:
    """A client with its connections and tokens; calls that find no connection free wait for one.

    Raises SettingsError for credentials that cannot be used.
    """
    tokens = Tokens(settings)
    tls = _trusting(settings)
    connector = aiohttp.TCPConnector(limit=max_connections, ssl=tls)
    timeout = aiohttp.ClientTimeout(total=settings.graph_timeout_s)
    try:
        # Graph's gateways set cookies that only pin a client to one of them.
        cookies = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=cookies) as session:
            showing = asyncio.create_task(_show(tokens))
            try:
                yield GraphClient(settings, session, tokens, max_connections)
            finally:
                showing.cancel()
    finally:
        tokens.close()
