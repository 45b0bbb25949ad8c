"""Spans of a writer's jobs, under those of the events that they came from. Nothing, while traces are off.

A job that no traced event asked for has none. Loading and recording serve many jobs at a time: each has a span of its
own there, of the same length, which says how many shared it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import time_ns
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from calbus import tracing
from calbus.graph import call_spans
from calbus.graph.calls import Request, Response
from calbus.graph.errors import Fault
from calbus.store.entries import Loaded
from calbus.store.traces import NO_CONTEXTS, Contexts
from schemas.events import Topic

if TYPE_CHECKING:
    from calbus.spans import Span

GROUP = "writer"


class Traced(Protocol):
    """A job under way, as far as it matters here."""

    loaded: Loaded
    trace: "Span | None"
    fault: Fault | None
    settled: bool


def begin(works: Sequence[Traced], contexts: Contexts, since_ns: int) -> None:
    """Jobs were loaded, which took from `since_ns` until now."""
    now_ns, topic = time_ns(), tracing.topic_of(Topic.COMMANDS)
    for work in works:
        entry = work.loaded.entry
        context = contexts.get((entry.entry_id, entry.desired.plan))
        if context is None:
            continue
        about: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": topic,
            "messaging.consumer.group.name": GROUP,
            "calbus.tenant": entry.item.tenant,
            "calbus.entry_id": str(entry.entry_id),
            "calbus.plan": entry.desired.plan,
            "calbus.attempt": work.loaded.attempts + 1,
        }
        if entry.target is not None:
            about["calbus.lane"] = entry.target.lane
        if work.loaded.correlation is not None:
            about["calbus.correlation"] = work.loaded.correlation
        work.trace = tracing.begin(f"process {topic}", "consumer", about, parent=context, at_ns=since_ns)
        _stage("load", work, len(works), since_ns, now_ns)


def _stage(name: str, work: Traced, shared_by: int, since_ns: int, until_ns: int) -> None:
    if work.trace is None:
        return
    about: tracing.Attributes = {"db.system.name": "postgresql", "db.operation.batch.size": shared_by}
    span = tracing.begin(name, "internal", about, parent=work.trace.context, at_ns=since_ns)
    if span is not None:
        span.end(until_ns)


@dataclass(frozen=True, slots=True)
class Calls:
    """Requests under way: a span for each that is traced, and one for the batch that carries them, if one does."""

    each: Sequence["Span | None"] = ()
    batch: "Span | None" = None

    def end(self, responses: Iterable[Response]) -> None:
        """They were answered."""
        if not self.each:
            return
        for span, response in zip(self.each, responses, strict=True):
            if span is not None:
                call_spans.tell_answer(span, response)
        tracing.end_all(span for span in (*self.each, self.batch) if span is not None)


_NONE = Calls()


def call(jobs: Iterable[Traced], requests: Sequence[Request]) -> Calls:
    """Requests of these jobs are about to be sent, in one call."""
    if not tracing.is_on():
        return _NONE
    works = list(jobs)
    traced = [work.trace.context for work in works if work.trace is not None]
    if not traced:
        return _NONE
    batch, links = None, list[str]()
    if len(requests) > 1:
        about: tracing.Attributes = {"http.request.method": "POST", "calbus.graph.requests": len(requests)}
        batch = tracing.begin("graph $batch", "client", about, links=traced)
        links = [batch.context] if batch is not None else []
    each = [
        tracing.begin(
            call_spans.name_of(request),
            "client",
            call_spans.about(request),
            parent=work.trace.context,
            links=links,
        )
        if work.trace is not None
        else None
        for work, request in zip(works, requests, strict=True)
    ]
    return Calls(each, batch)


def contexts_of(works: Iterable[Traced]) -> Contexts:
    """Under which an outcome of each goes out."""
    if not tracing.is_on():
        return NO_CONTEXTS
    return {
        (work.loaded.entry.entry_id, work.loaded.entry.desired.plan): work.trace.context
        for work in works
        if work.trace is not None
    }


def over(works: Iterable[Traced]) -> Iterator[UUID]:
    """The entries whose plan is through: what is kept for whoever takes it up next is no longer needed."""
    return (work.loaded.entry.entry_id for work in works if work.trace is not None and work.settled)


def end(works: Sequence[Traced], since_ns: int) -> None:
    """Jobs were recorded, which took from `since_ns` until now, and are over."""
    now_ns = time_ns()
    for work in works:
        if work.trace is not None:
            _stage("record", work, len(works), since_ns, now_ns)
            work.trace.set("calbus.settled", work.settled)
            if work.fault is not None:
                work.trace.fail(work.fault.reason)
            work.trace.end(now_ns)
