"""What a span says of a request to Microsoft Graph. Never its path or address: those name mailboxes."""

from typing import TYPE_CHECKING

from calbus.graph.calls import Request, Response
from calbus.tracing import Attributes

if TYPE_CHECKING:
    from calbus.spans import Span


def name_of(request: Request) -> str:
    """The span's name."""
    return f"graph {request.operation}"


def about(request: Request) -> Attributes:
    """What is known before it is answered."""
    return {"http.request.method": request.method, "calbus.graph.operation": request.operation}


def tell_answer(span: "Span", response: Response) -> None:
    """What became of it; `calbus.graph.status_class` is as in `calbus_graph_requests_total`."""
    if response.status:
        span.set("http.response.status_code", response.status)
    span.set("calbus.graph.status_class", f"{response.status // 100}xx" if response.status else "none")
    fault = response.fault
    if fault is None:
        return
    span.fail(fault.reason)
    span.set("calbus.graph.client_request_id", fault.client_request_id)
    span.set("calbus.graph.request_id", fault.request_id)
