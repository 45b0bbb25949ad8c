"""A Microsoft Graph that costs next to nothing: events are made, changed and deleted, alone or in `$batch`.

It is no witness: the simulator is. It keeps the rules that decide about speed: a request takes its time, a batch works
on four items at a time, a mailbox serves four at once and so many in ten minutes, and refuses the rest with 429. It
lives in its own process, prints its addresses as one line of JSON, and ends when its standard input does.
"""

import asyncio
import ssl
import sys
import time
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from urllib.parse import parse_qs, unquote, urlsplit

import orjson
import trustme
import uvloop

BATCH_AT_A_TIME = 4
MAILBOX_AT_A_TIME = 4
WINDOW_S = 600.0
WINDOW_MAX_REQUESTS = 10_000
RETRY_AFTER_S = 1

_HEAD = (
    b'{"@odata.context":"https://graph.microsoft.com/v1.0/$metadata#users(\'u\')/calendar/events/$entity",'
    b'"@odata.etag":"W/\\"%s\\"","id":"%s","createdDateTime":"2026-11-21T03:00:50.7579581Z",'
    b'"lastModifiedDateTime":"2026-11-21T03:00:51.245372Z","changeKey":"%s","originalStartTimeZone":"Europe/Paris",'
    b'"originalEndTimeZone":"Europe/Paris","iCalUId":"040000008200E00074C5B7101A82E008000000005B0F6B3C","subject":%s,'
    b'"start":%s,"end":%s,'
)
# What else an answer says of an event (documented sample of "user-post-events"), in the usual length.
_TAIL = orjson.dumps(
    {
        "categories": ["Work"],
        "reminderMinutesBeforeStart": 0,
        "isReminderOn": False,
        "hasAttachments": False,
        "bodyPreview": "Bring the long ladder, the paint and what is left of the primer. " * 3,
        "importance": "normal",
        "sensitivity": "normal",
        "isAllDay": False,
        "isCancelled": False,
        "isOrganizer": True,
        "isDraft": False,
        "responseRequested": True,
        "seriesMasterId": None,
        "showAs": "busy",
        "type": "singleInstance",
        "webLink": "https://outlook.office365.com/owa/?itemid=AAMkAGI1&exvsurl=1&path=/calendar/item",
        "onlineMeetingUrl": None,
        "isOnlineMeeting": False,
        "onlineMeetingProvider": "unknown",
        "onlineMeeting": None,
        "allowNewTimeProposals": True,
        "hideAttendees": False,
        "recurrence": None,
        "attendees": [],
        "responseStatus": {"response": "organizer", "time": "0001-01-01T00:00:00Z"},
        "body": {"contentType": "html", "content": "<html><body>Bring the long ladder</body></html>"},
        "location": {"displayName": "", "locationType": "default", "uniqueIdType": "unknown"},
        "locations": [],
        "organizer": {"emailAddress": {"name": "Dana Swope", "address": "danas@contoso.onmicrosoft.com"}},
    }
)[1:]
_THROTTLED = b'{"error":{"code":"ApplicationThrottled","message":"Application is over its MailboxConcurrency limit."}}'
_GONE = b'{"error":{"code":"ErrorItemNotFound","message":"The specified object was not found in the store."}}'
_UNKNOWN = b'{"error":{"code":"ErrorInvalidRequest","message":"The stub does not know this."}}'
_JSON = "application/json"
_STATUS = {
    200: b"200 OK",
    201: b"201 Created",
    204: b"204 No Content",
    400: b"400 Bad Request",
    404: b"404 Not Found",
    429: b"429 Too Many Requests",
}


@dataclass(slots=True)
class Mailbox:
    """What one mailbox holds, and what was asked of it."""

    events: dict[str, str] = field(default_factory=dict)
    """Ids to etags."""
    made: dict[str, str] = field(default_factory=dict)
    """Transaction ids to ids."""
    categories: list[str] = field(default_factory=list)
    in_flight: int = 0
    window: deque[float] = field(default_factory=deque)


@dataclass(slots=True)
class Answer:
    """An answer to one request, alone or in a batch."""

    status: int
    body: bytes = b""


class Graph:
    """All mailboxes; made as they are asked for."""

    def __init__(self) -> None:
        self.latency_s = 0.0
        self._clear()

    def _clear(self) -> None:
        self.mailboxes: dict[str, Mailbox] = {}
        self.created = self.repeated = self.updated = self.deleted = self.throttled = self.other = 0
        self.max_in_flight = 0
        self._number = 0
        # Creates by when they were answered: mailbox and seconds of the system's monotonic clock.
        self.log: list[tuple[str, float]] | None = None

    def control(self, orders: dict[str, Any]) -> bytes:
        """Do what the bench asks and tell what was counted so far."""
        counts = {
            name: getattr(self, name)
            for name in ("created", "repeated", "updated", "deleted", "throttled", "other", "max_in_flight")
        }
        told: dict[str, Any] = {**counts, "standing": sum(len(box.events) for box in self.mailboxes.values())}
        if self.log is not None:
            told["log"] = self.log
        if orders.get("clear"):
            self._clear()
        if orders.get("log"):
            self.log = []
        self.latency_s = float(orders.get("latency_ms", self.latency_s * 1_000)) / 1_000
        return orjson.dumps(told)

    def mailbox(self, name: str) -> Mailbox:
        box = self.mailboxes.get(name)
        if box is None:
            box = self.mailboxes[name] = Mailbox()
        return box

    def enter(self, path: str) -> Mailbox | None:
        """Take a place in the mailbox of this path; None if it refuses, as it would a fifth."""
        box = self.mailbox(mailbox_of(path))
        now = time.monotonic()
        window = box.window
        while window and window[0] <= now - WINDOW_S:
            window.popleft()
        window.append(now)
        if box.in_flight >= MAILBOX_AT_A_TIME or len(window) > WINDOW_MAX_REQUESTS:
            self.throttled += 1
            return None
        box.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, box.in_flight)
        return box

    def leave(self, box: Mailbox, method: str, path: str, body: Any) -> Answer:
        """Give the place back, and the answer."""
        box.in_flight -= 1
        match method:
            case "POST" if path.endswith("/events"):
                return self._create(box, path, body)
            case "POST":
                self.other += 1
                return Answer(201, orjson.dumps({"id": "category", **body}))
            case "PATCH":
                return self._update(box, path, body)
            case "DELETE":
                self.deleted += 1
                found = box.events.pop(unquote(path.rpartition("/")[2]), None)
                return Answer(204) if found is not None else Answer(404, _GONE)
            case "GET":
                self.other += 1
                return self._read(box, path)
        return Answer(400, _UNKNOWN)

    def _create(self, box: Mailbox, path: str, body: Any) -> Answer:
        transaction_id = body.get("transactionId")
        event_id = box.made.get(transaction_id) if transaction_id is not None else None
        if event_id is None:
            self.created += 1
            self._number += 1
            event_id = f"AAMkAGI1{self._number:0128x}AAA="
            if transaction_id is not None:
                box.made[transaction_id] = event_id
        else:
            self.repeated += 1
        etag = box.events[event_id] = f"ZlnW4RIAV06KYYwl{self._number:08x}=="
        if self.log is not None:
            self.log.append((mailbox_of(path), time.monotonic()))
        return Answer(201, _event(event_id, etag, body))

    def _update(self, box: Mailbox, path: str, body: Any) -> Answer:
        event_id = unquote(path.rpartition("/")[2])
        if event_id not in box.events:
            return Answer(404, _GONE)
        self.updated += 1
        self._number += 1
        etag = box.events[event_id] = f"ZlnW4RIAV06KYYwl{self._number:08x}=="
        return Answer(200, _event(event_id, etag, body))

    def _read(self, box: Mailbox, path: str) -> Answer:
        bare = path.partition("?")[0]
        if bare.endswith("/calendarPermissions"):
            everybody = {"id": "RGVmYXVsdA==", "role": "write", "isInsideOrganization": True, "isRemovable": False}
            return Answer(200, orjson.dumps({"value": [everybody]}))
        if bare.endswith("/calendar"):
            return Answer(200, orjson.dumps({"id": "c", "owner": {"address": mailbox_of(path)}}))
        if (event_id := unquote(bare.rpartition("/")[2])) in box.events:
            return Answer(200, _event(event_id, box.events[event_id], {}))
        return Answer(200, b'{"value":[]}')


def mailbox_of(path: str) -> str:
    """The part after `/users/`."""
    begin = path.find("/users/") + 7
    return path[begin : path.find("/", begin)].replace("%40", "@")


def _event(event_id: str, etag: str, body: Any) -> bytes:
    key = etag.encode()
    shown = (orjson.dumps(body.get(name)) for name in ("subject", "start", "end"))
    return _HEAD % (key, event_id.encode(), key, *shown) + _TAIL


class Batch:
    """One `$batch`: four items at a time, in the order they were sent."""

    def __init__(self, graph: Graph, items: list[dict[str, Any]], answer: Callable[[Answer], None]) -> None:
        self._graph = graph
        self._items = items
        self._answer = answer
        self._answers: list[bytes] = []
        self._at = 0

    def go_on(self) -> None:
        """Work on the next items, then on those after them; at the end answer."""
        graph, items = self._graph, self._items
        while self._at < len(items):
            now = items[self._at : self._at + BATCH_AT_A_TIME]
            self._at += BATCH_AT_A_TIME
            entered = [(item, graph.enter(item["url"])) for item in now]
            if graph.latency_s and any(box is not None for _, box in entered):
                asyncio.get_running_loop().call_later(graph.latency_s, self._done, entered)
                return
            self._finish(entered)
        self._answer(Answer(200, b'{"responses":[%s]}' % b",".join(self._answers)))

    def _done(self, entered: list[tuple[dict[str, Any], Mailbox | None]]) -> None:
        self._finish(entered)
        self.go_on()

    def _finish(self, entered: list[tuple[dict[str, Any], Mailbox | None]]) -> None:
        for item, box in entered:
            headers = b'"Content-Type":"application/json"'
            if box is None:
                answer = Answer(429, _THROTTLED)
                headers += b',"Retry-After":"%d"' % RETRY_AFTER_S
            else:
                answer = self._graph.leave(box, item["method"], item["url"], item.get("body"))
            said = (orjson.dumps(item["id"]), answer.status, headers, answer.body or b"null")
            self._answers.append(b'{"id":%s,"status":%d,"headers":{%s},"body":%s}' % said)


class Connection(asyncio.Protocol):
    """One client's connection: requests with a Content-Length, one after the other."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by descent

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            length = _length(head)
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + length]
            self._buffer = self._buffer[end + 4 + length :]
            method, target, _ = head[: head.find(b"\r\n")].decode().split(" ", 2)
            self._serve(method, target, orjson.loads(body) if body else None)

    def _serve(self, method: str, path: str, body: Any) -> None:
        graph = self._graph
        if path == "/control":
            self._send(Answer(200, graph.control(body or {})))
        elif path.endswith("/$batch"):
            Batch(graph, body["requests"], self._send).go_on()
        elif (box := graph.enter(path)) is None:
            self._send(Answer(429, _THROTTLED))
        elif graph.latency_s:
            asyncio.get_running_loop().call_later(graph.latency_s, self._late, box, method, path, body)
        else:
            self._send(graph.leave(box, method, path, body))

    def _late(self, box: Mailbox, method: str, path: str, body: Any) -> None:
        self._send(self._graph.leave(box, method, path, body))

    def _send(self, answer: Answer) -> None:
        if self._transport is None:
            return
        more = b"Retry-After: %d\r\n" % RETRY_AFTER_S if answer.status == 429 else b""
        said = (_STATUS[answer.status], len(answer.body), more)
        head = (
            b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nrequest-id: stub\r\nContent-Length: %d\r\n%s\r\n" % said
        )
        self._transport.write(head + answer.body)


def _length(head: bytes) -> int:
    lowered = head.lower()
    at = lowered.find(b"\r\ncontent-length:")
    if at < 0:
        return 0
    end = lowered.find(b"\r\n", at + 2)
    return int(lowered[at + 17 : end if end >= 0 else None])


async def _login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, address: str) -> None:
    """Entra ID, as far as MSAL asks: where things are, and tokens. One request a connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ", 2)[1].decode()
        body = await reader.readexactly(_length(head))
        directory = urlsplit(path).path.split("/")[1]
        if path.endswith("/token"):
            asked = parse_qs(body.decode())
            said: dict[str, Any] = {
                "token_type": "Bearer",
                "expires_in": 86_399,
                "access_token": token(),
                "scope": asked.get("scope", [""])[0],
            }
        else:
            said = {
                "issuer": f"{address}/{directory}/v2.0",
                "authorization_endpoint": f"{address}/{directory}/oauth2/v2.0/authorize",
                "token_endpoint": f"{address}/{directory}/oauth2/v2.0/token",
                "device_authorization_endpoint": f"{address}/{directory}/oauth2/v2.0/devicecode",
            }
        content = orjson.dumps(said)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            % len(content)
            + content
        )
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        return
    finally:
        writer.close()


def token() -> str:
    """A token that names application permissions, as calbus looks for them."""
    parts = ({"alg": "none"}, {"roles": ["Calendars.ReadWrite", "MailboxSettings.ReadWrite"], "iat": int(time.time())})
    head, claims = (urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode() for part in parts)
    return f"{head}.{claims}.c2ln"


async def serve(directory: Path) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    authority = trustme.CA()
    ca_file = directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(tls)
    graph = Graph()
    plain = await loop.create_server(lambda: Connection(graph), "127.0.0.1", 0)
    addresses: list[str] = [""]
    secure = await asyncio.start_server(
        lambda reader, writer: _login(reader, writer, addresses[0]), "127.0.0.1", 0, ssl=tls
    )
    addresses[0] = f"https://localhost:{secure.sockets[0].getsockname()[1]}"
    port = plain.sockets[0].getsockname()[1]
    told = {
        "graph_url": f"http://localhost:{port}/v1.0",
        "control_url": f"http://localhost:{port}/control",
        "login_url": addresses[0],
        "ca_file": str(ca_file),
    }
    print(orjson.dumps(told).decode(), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with TemporaryDirectory(prefix="calbus-bench-") as made:
        asyncio.Runner(loop_factory=uvloop.new_event_loop).run(serve(Path(made)))
