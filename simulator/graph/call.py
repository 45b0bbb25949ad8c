"""A Graph request and its answer as values, the same whether they came alone over HTTP or inside a batch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from simulator.entra.tokens import Identity
from simulator.errors import bad_request
from simulator.graph.told import Place, Wait

UNREADABLE_JSON = (
    "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format."
)
# What OData's own reader takes by default.
DEPTH_MAX = 100


@dataclass(slots=True)
class Call:
    """One request below `/v1.0`. Path and query are still percent-encoded; header names are in lower case.

    A call has a `payload` (bytes from the wire), or a `document` (already parsed, from a batch), or neither.
    """

    identity: Identity
    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    origin: str
    request_id: str
    client_request_id: str
    payload: bytes = b""
    document: Any = None
    via_batch: bool = False
    violations: list[str] = field(default_factory=list)
    _canonical: bytes = field(default=b"", init=False)

    def breaks(self, rule: str) -> None:
        """Counts a rule that the caller breaks with this call."""
        self.violations.append(rule)
        self.identity.tenant.violations[rule] += 1

    @property
    def upload_bytes(self) -> int:
        """What the body counts against the upload limit."""
        if self.document is not None:
            return len(self.canonical_json())
        return len(self.payload)

    def json(self) -> Any:
        """The parsed body. Raises GraphError (400) if it is missing, not declared as JSON, or not JSON."""
        if self.document is None and not self.payload:
            raise bad_request("Empty Payload. JSON content expected.")
        if self.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise bad_request(UNREADABLE_JSON)
        if self.document is not None:
            return self.document
        try:
            self.document = orjson.loads(self.payload)
        except orjson.JSONDecodeError:
            raise bad_request(UNREADABLE_JSON) from None
        if self.payload.count(b"{") + self.payload.count(b"[") > DEPTH_MAX and _too_deep(self.document):
            self.document = None
            raise bad_request(f"The payload is nested more deeply than {DEPTH_MAX} levels.")
        return self.document

    def canonical_json(self) -> bytes:
        """The parsed body in one spelling, equal for equal documents."""
        if not self._canonical:
            self._canonical = orjson.dumps(self.document, option=orjson.OPT_SORT_KEYS)
        return self._canonical


def _too_deep(document: Any) -> bool:
    level = [document]
    for _ in range(DEPTH_MAX + 1):
        level = [
            inner
            for value in level
            for inner in (value.values() if type(value) is dict else value if type(value) is list else ())
        ]
        if not level:
            return False
    return True


@dataclass(slots=True)
class Answer:
    """A response. `drop` means that the caller gets none and the connection ends.

    `waits` are what the caller is told to stay away from as soon as it goes out.
    """

    status: int
    body: dict[str, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    drop: bool = False
    waits: tuple[Wait, ...] = ()


def waits_for(place: Place, answer: Answer) -> tuple[Wait, ...]:
    """The Retry-After of an answer about this place; nothing if it has none."""
    retry_after = answer.headers.get("Retry-After")
    return () if retry_after is None else (Wait(place, int(retry_after)),)
