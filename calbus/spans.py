"""Spans by OpenTelemetry's SDK. The only file that imports it; imported when traces are wanted, and not before.

Sampler, limits, resource, exporter and batches read the OTEL_… variables themselves.
"""

import logging
import os
import time
from collections.abc import Iterable, Sequence
from threading import Thread

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from calbus.settings import SettingsError
from calbus.telemetry import TRACE_SPANS, VERSION, log
from calbus.tracing import TRACEPARENT, TRACESTATE, Attributes, Kind

CLOSE_TIMEOUT_S = 2.0
QUEUE_MAX_SPANS = 2_048
"""Unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise; OpenTelemetry's own default."""
# Of a collector that is away the SDK speaks with every batch; the metric says it better.
SAME_LINE_EVERY_S = 300.0
_KINDS: dict[Kind, trace.SpanKind] = {
    "consumer": trace.SpanKind.CONSUMER,
    "producer": trace.SpanKind.PRODUCER,
    "client": trace.SpanKind.CLIENT,
    "internal": trace.SpanKind.INTERNAL,
}
_W3C = TraceContextTextMapPropagator()


class Span:
    """One that is sampled, and not ended yet. `context` is what those under it, and links to it, name it by."""

    __slots__ = ("_span", "context")

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.context = _context_of(span.get_span_context())

    def set(self, name: str, value: str | int) -> None:
        """Say something of it."""
        self._span.set_attribute(name, value)

    def fail(self, error_type: str) -> None:
        """Mark it as failed, for a reason from a short list."""
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(trace.StatusCode.ERROR)

    def end(self, at_ns: int | None = None) -> None:
        """It is over, now or as of this time."""
        self._span.end(at_ns)


class Spans:
    """All that one process makes."""

    def __init__(self, exporter: SpanExporter, service: str, topic_prefix: str) -> None:
        _speak_seldom()
        self.topic_prefix = topic_prefix
        # What is handed over at the end is handed over by `close`, which does not wait as long as the SDK would.
        self._provider = TracerProvider(resource=_resource(service), shutdown_on_exit=False)
        self._provider.add_span_processor(_bounded(exporter))
        self._tracer = self._provider.get_tracer("calbus", VERSION)
        self._broken = False

    def begin(
        self,
        name: str,
        kind: Kind,
        attributes: Attributes,
        parent: str | None,
        links: Iterable[str],
        at_ns: int | None,
    ) -> Span | None:
        """See `calbus.tracing.begin`."""
        try:
            span = self._tracer.start_span(
                name,
                _parsed(parent),
                _KINDS[kind],
                attributes,
                [trace.Link(trace.get_current_span(_parsed(link)).get_span_context()) for link in links],
                start_time=at_ns,
            )
        except Exception as error:  # noqa: BLE001 (a sampler may be anybody's: it must not break the work)
            if not self._broken:
                log.error("spans cannot be made", error=type(error).__name__)
            self._broken = True
            return None
        return Span(span) if span.is_recording() and span.get_span_context().trace_flags.sampled else None

    def close(self) -> None:
        """Hand over what waits, for two seconds at most; the rest is lost."""
        closing = Thread(target=self._provider.shutdown, name="spans-close", daemon=True)
        closing.start()
        closing.join(CLOSE_TIMEOUT_S)


def otlp() -> SpanExporter:
    """Sends spans as the OTEL_EXPORTER_OTLP_… variables say. Raises SettingsError for one that cannot be read."""
    try:
        return OTLPSpanExporter()
    except Exception as error:  # noqa: BLE001 (whatever its parts raise, it is what they were told)
        # Their values may be secrets: which one it is the library does not say.
        raise SettingsError(f"An OTEL_EXPORTER_OTLP_… variable is wrong: {type(error).__name__}.") from None


def _resource(service: str) -> Resource:
    """Who speaks: as OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, and by our own names where they are silent."""
    said = OTELResourceDetector().detect().attributes
    ours = {SERVICE_NAME: f"calbus-{service}", SERVICE_NAMESPACE: "calbus", SERVICE_VERSION: VERSION}
    return Resource.create({name: value for name, value in ours.items() if name not in said})


def _parsed(context: str | None) -> Context:
    """Empty if it is none: a span under it is a root."""
    if context is None:
        return Context()
    traceparent, _, tracestate = context.partition(" ")
    return _W3C.extract({TRACEPARENT: traceparent, TRACESTATE: tracestate}, Context())


def _context_of(context: trace.SpanContext) -> str:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, trace.set_span_in_context(trace.NonRecordingSpan(context), Context()))
    return " ".join(filter(None, (carrier[TRACEPARENT], carrier.get(TRACESTATE))))


class _Counted(SpanExporter):
    """Counts what is taken from the queue, and what became of it. In the SDK's own thread."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.taken = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            TRACE_SPANS.labels("sent" if result is SpanExportResult.SUCCESS else "refused").inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class _Bounded(SpanProcessor):
    """Lets spans into the queue while there is room, and counts those that find none."""

    def __init__(self, queue: SpanProcessor, exporter: _Counted, max_spans: int) -> None:
        self._queue = queue
        self._exporter = exporter
        self._max_spans = max_spans
        self._put = 0

    def on_end(self, span: ReadableSpan) -> None:
        # Each number is written by one thread only: by this one, and by the SDK's.
        if self._put - self._exporter.taken >= self._max_spans:
            TRACE_SPANS.labels("dropped").inc()
            return
        self._put += 1
        self._queue.on_end(span)

    def shutdown(self) -> None:
        self._queue.shutdown()


def _bounded(exporter: SpanExporter) -> SpanProcessor:
    counted = _Counted(exporter)
    try:
        max_spans = int(os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE, QUEUE_MAX_SPANS))
        queue = BatchSpanProcessor(counted, max_queue_size=max_spans)
    except ValueError as error:
        raise SettingsError(f"An OTEL_BSP_… variable is wrong: {error}") from None
    return _Bounded(queue, counted, max_spans)


class _Seldom(logging.Handler):
    """Puts a line of the SDK into our log, each once in five minutes, and without values that may be secrets."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said_s: dict[tuple[str, int], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        line, now_s = (record.pathname, record.lineno), time.monotonic()
        if now_s < self._said_s.get(line, float("-inf")) + SAME_LINE_EVERY_S:
            return
        self._said_s[line] = now_s
        # What cannot be read of OTEL_EXPORTER_OTLP_HEADERS it quotes, and those carry tokens.
        quotes = record.name.startswith("opentelemetry.util")
        says = str(record.msg) if quotes else record.getMessage()
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        log.warning("opentelemetry", says=says, error=error)


def _speak_seldom() -> None:
    speaker = logging.getLogger("opentelemetry")
    speaker.propagate = False
    speaker.handlers[:] = [_Seldom()]
