"""A call to Graph and its answer, as values."""

from dataclasses import dataclass, field
from typing import Any

from calbus.graph.errors import Fault
from calbus.values import value

BATCH_MAX_REQUESTS = 20
# Microsoft works on so many requests of a batch at a time, the next when one of them is done.
BATCH_AT_A_TIME = 4


@value
class Request:
    """One request; `path` begins with a slash, its parts percent-encoded.

    `operation` is for metrics. `correlation` names the event on the bus because of which it is sent, if one is.
    """

    operation: str
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    correlation: str | None = None

    def because_of(self, correlation: str | None) -> "Request":
        """The same request, sent because of this event."""
        return Request(self.operation, self.method, self.path, self.headers, self.body, correlation)


@dataclass(slots=True)
class Response:
    """An answer. `fault` is None if the request did its work; `body` is None where Graph sends none.

    `bears_roles`: whether the token it was sent with names application permissions; None if that cannot be told.
    """

    status: int
    body: Any
    fault: Fault | None
    bears_roles: bool | None = None
