"""A collector of traces: a little OTLP/HTTP server that decodes what it is sent, by OpenTelemetry's own definitions."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

Value = str | int | bool


@dataclass(frozen=True)
class Collected:
    """A span as it came over the wire."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Value]
    links: list[str]
    failed: bool
    began_ns: int
    ended_ns: int


@dataclass
class Collector:
    """What came. `raw` is every request's content, to look for what must never be in one."""

    endpoint: str = ""
    spans: list[Collected] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        content = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        self.raw.append(content)
        for of_resource in ExportTraceServiceRequest.FromString(content).resource_spans:
            about = {one.key: one.value.string_value for one in of_resource.resource.attributes}
            for scope in of_resource.scope_spans:
                self.spans += [_collected(about["service.name"], span) for span in scope.spans]
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    def of_trace(self, trace_id: str) -> list[Collected]:
        """The trace's spans, in the order in which they began."""
        return sorted((one for one in self.spans if one.trace_id == trace_id), key=lambda one: one.began_ns)

    def named(self, name: str, trace_id: str | None = None) -> list[Collected]:
        """The spans of this name, of one trace or of all."""
        return [one for one in self.spans if one.name == name and trace_id in (None, one.trace_id)]


def _collected(service: str, span: WireSpan) -> Collected:
    attributes: dict[str, Value] = {
        one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes
    }
    return Collected(
        service=service,
        name=span.name,
        kind=WireSpan.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=attributes,
        links=[link.span_id.hex() for link in span.links],
        failed=span.status.code == Status.STATUS_CODE_ERROR,
        began_ns=span.start_time_unix_nano,
        ended_ns=span.end_time_unix_nano,
    )


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """One that listens on a free port of this machine."""
    made = Collector()
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/v1/traces", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        made.endpoint = f"http://127.0.0.1:{port}"
        yield made
    finally:
        await runner.cleanup()
