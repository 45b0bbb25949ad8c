"""Traces, where a deployment wants them: spans, and the context that ties them together over Kafka and PostgreSQL.

Off, nothing of OpenTelemetry is imported, and a hook costs one comparison. On, no hook waits for anything or raises:
what the collector does not take is dropped and counted (calbus/spans.py). Attributes are ids, never what people wrote.

A context is kept as one text: W3C's `traceparent`, and behind a space its `tracestate` if there is one. Only those of
spans that are sampled are carried on; to whoever comes next the others look like no trace at all.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from time import time_ns
from typing import TYPE_CHECKING, Literal

from calbus.settings import SettingsError, TraceSettings
from schemas.events import Topic

if TYPE_CHECKING:
    from calbus.spans import Span, Spans

TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"
# CloudEvents' own extension for those whose library knows no headers of Kafka.
EXTENSION = "ce_"

Kind = Literal["consumer", "producer", "client", "internal"]
Attributes = Mapping[str, str | int]
Headers = Sequence[tuple[str, bytes]]

_active: "Spans | None" = None
_current: ContextVar["Span | None"] = ContextVar("calbus_span", default=None)


def is_on() -> bool:
    """Whether spans are made in this process."""
    return _active is not None


@contextmanager
def traced(settings: TraceSettings, service: str, topic_prefix: str) -> Iterator[None]:
    """Make spans inside, if the settings say so, and hand over at the end what can be handed over in two seconds.

    Raises SettingsError where packages are missing, or an OTEL_… variable asks for what calbus does not do.
    """
    global _active  # noqa: PLW0603 (as for metrics: one for each process)
    if not settings.traces or _is_off_for_sdk():
        yield
        return
    spans = _spans(service, topic_prefix)
    before, _active = _active, spans
    try:
        yield
    finally:
        _active = before
        spans.close()


def _is_off_for_sdk() -> bool:
    said = os.environ.get
    return said("OTEL_SDK_DISABLED", "").lower() == "true" or said("OTEL_TRACES_EXPORTER", "") == "none"


def _spans(service: str, topic_prefix: str) -> "Spans":
    if os.environ.get("OTEL_TRACES_EXPORTER", "otlp") not in ("otlp", ""):
        raise SettingsError("OTEL_TRACES_EXPORTER is wrong: calbus knows otlp and none.")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if os.environ.get(name, "") not in ("", "http/protobuf"):
            raise SettingsError(
                f"{name} is wrong: calbus speaks http/protobuf only (a collector's port 4318, as a rule)."
            )
    try:
        from calbus.spans import Spans, otlp
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"CALBUS_TRACES is set, but the package {error.name} is not installed: install calbus[traces], or unset it."
        ) from None
    return Spans(otlp(), service, topic_prefix)


def topic_of(topic: Topic) -> str:
    """The topic's full name, while spans are made."""
    return f"{_active.topic_prefix}.{topic}" if _active is not None else topic


def begin(
    name: str,
    kind: Kind,
    attributes: Attributes,
    *,
    parent: str | None = None,
    links: Iterable[str] = (),
    at_ns: int | None = None,
) -> "Span | None":
    """A span, under this context or as the root of a trace; None while off, and if it is not sampled.

    Whoever begins it ends it. One that is never ended is never seen.
    """
    return _active.begin(name, kind, attributes, parent, links, at_ns) if _active is not None else None


@contextmanager
def root(name: str, kind: Kind, attributes: Attributes) -> Iterator["Span | None"]:
    """Around work that begins a trace of its own; `step` and `current` inside belong to it."""
    with _around(begin(name, kind, attributes)) as span:
        yield span


@contextmanager
def step(name: str, kind: Kind, attributes: Attributes) -> Iterator["Span | None"]:
    """Around a part of the work; nothing, where that is not traced."""
    parent = current()
    with _around(begin(name, kind, attributes, parent=parent) if parent is not None else None) as span:
        yield span


@contextmanager
def _around(span: "Span | None") -> Iterator["Span | None"]:
    if span is None:
        yield None
        return
    token = _current.set(span)
    try:
        yield span
    except Exception as error:
        span.fail(type(error).__name__)
        raise
    finally:
        _current.reset(token)
        span.end()


def current() -> str | None:
    """The context of the work that is being done here; None if it is not traced."""
    if _active is None:
        return None
    span = _current.get()
    return span.context if span is not None else None


def fail(reason: str) -> None:
    """Say of the work that is being done here why it did not come to its end."""
    if _active is not None and (span := _current.get()) is not None:
        span.fail(reason)


def note(**counts: int) -> None:
    """Say of the work that is being done here how much it was."""
    if _active is not None and (span := _current.get()) is not None:
        for name, count in counts.items():
            span.set(f"calbus.{name}", count)


def end_all(spans: Iterable["Span"]) -> None:
    """End them at one moment."""
    at_ns = time_ns()
    for span in spans:
        span.end(at_ns)


def headers_of(context: str | None) -> list[tuple[str, bytes]]:
    """The context as headers of a Kafka record."""
    if context is None:
        return []
    traceparent, _, tracestate = context.partition(" ")
    headers = [(TRACEPARENT, traceparent.encode())]
    if tracestate:
        headers.append((TRACESTATE, tracestate.encode()))
    return headers


def context_in(headers: Headers) -> str | None:
    """The context that a publisher put into a record's headers, as it stands there; None if there is none.

    The first of each name counts. What is no context is for the tracer to pass over.
    """
    named: dict[str, bytes] = {}
    for name, content in headers:
        if name.lower().removeprefix(EXTENSION) in (TRACEPARENT, TRACESTATE):
            named.setdefault(name.lower(), content or b"")
    for prefix in ("", EXTENSION):
        if traceparent := named.get(f"{prefix}{TRACEPARENT}"):
            tracestate = named.get(f"{prefix}{TRACESTATE}", b"")
            return b" ".join(filter(None, (traceparent, tracestate))).decode("latin-1")
    return None
