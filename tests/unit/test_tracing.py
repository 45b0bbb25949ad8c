"""Spans and their contexts, with what OpenTelemetry itself keeps of them in memory; and that off is off."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from calbus import tracing
from calbus.entry import ItemKey, entry_id_of
from calbus.graph.calls import Request, Response
from calbus.graph.errors import Fault, Scope
from calbus.revisions import Verdict
from calbus.settings import SettingsError, TraceSettings
from calbus.spans import Spans, otlp
from calbus.store.switches import Settings, key_of
from calbus.tracing import context_in, headers_of
from schemas.items import Kind
from schemas.reasons import Reason
from services.ingest.handler import due
from services.ingest.intake import arrival_of, take_in
from services.ingest.spans import Arriving
from services.writer import spans as job_spans
from tests.support.metrics import here, total
from tests.unit.strategies import upserted
from tests.unit.test_intake import EVERYTHING_ON, NOW

UPSTREAM = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE, SPAN = UPSTREAM.split("-")[1:3]
ON = TraceSettings(traces=True)
OTHER = "00-11111111111111111111111111111111-2222222222222222-01"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that says nothing of traces."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    return monkeypatch


@contextmanager
def recorded(exporter: SpanExporter | None = None) -> Iterator[InMemorySpanExporter]:
    """Spans are made inside, and are all there after the block."""
    memory = InMemorySpanExporter()
    spans = Spans(exporter or memory, "tests", "calbus")
    before, tracing._active = tracing._active, spans
    try:
        yield memory
    finally:
        tracing._active = before
        spans.close()


def told(environment: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The lines that are logged from now on; whatever level the tests log at."""
    lines: list[dict[str, Any]] = []

    def note(event: str, **about: Any) -> None:
        lines.append({"event": event} | about)

    environment.setattr("calbus.spans.log", SimpleNamespace(warning=note, error=note))
    return lines


def ended(memory: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    spans = memory.get_finished_spans()
    assert len({one.name for one in spans}) == len(spans)
    return {one.name: one for one in spans}


def ids(span: ReadableSpan) -> tuple[str, str]:
    assert span.context is not None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def parent_of(span: ReadableSpan) -> str | None:
    return f"{span.parent.span_id:016x}" if span.parent is not None else None


# -- off --------------------------------------------------------------------------------------------------------------

_IMPORTED = """
import sys
import services.ingest.__main__, services.writer.__main__, services.puller.__main__
from calbus import tracing
from calbus.settings import TraceSettings
with tracing.traced(TraceSettings(), "writer", "calbus"):
    assert not tracing.is_on()
    assert tracing.begin("x", "internal", {}) is None
    with tracing.root("x", "internal", {}) as span, tracing.step("y", "internal", {}) as part:
        assert (span, part, tracing.current()) == (None, None, None)
print(sorted(name for name in sys.modules if name.startswith(("opentelemetry", "google"))))
"""


def python(script: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CALBUS_", "OTEL_"))}
    return subprocess.run(
        [sys.executable, "-c", script], env=kept | environment, capture_output=True, text=True, check=False
    )


def test_off_nothing_of_opentelemetry_is_imported() -> None:
    # Even where a collector is named, as an operator of Kubernetes may do for every pod.
    done = python(_IMPORTED, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_off_no_message_is_looked_at() -> None:
    arriving = Arriving("calbus.ingest")
    assert arriving.begin(record(traceparent=UPSTREAM), "contoso", "c") is None
    arriving.refuse(record(), "invalid_json")
    arriving.end()
    assert job_spans.contexts_of([job()]) == {}


# -- settings ---------------------------------------------------------------------------------------------------------

_WITHOUT = """
import sys
sys.modules["opentelemetry"] = None
sys.argv = ["calbus", "ingest"]
from calbus.cli import main
main()
"""


def test_without_the_packages_a_service_says_what_to_install_and_ends_with_2() -> None:
    given = {
        "CALBUS_KAFKA_BOOTSTRAP": "127.0.0.1:1",
        "CALBUS_POSTGRES_DSN": "postgresql://nobody@127.0.0.1:1/none",
        "CALBUS_TRACES": "true",
    }
    done = python(_WITHOUT, **given)
    assert done.returncode == 2
    assert done.stderr == (
        "CALBUS_TRACES is set, but the package opentelemetry is not installed: install calbus[traces], or unset it.\n"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER", "nobody"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
    ],
)
def test_what_calbus_does_not_do_is_refused(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(SettingsError, match="OTEL_") as caught, tracing.traced(ON, "writer", "calbus"):
        pytest.fail("it began all the same")
    assert value not in str(caught.value).split() or value == "0"


@pytest.mark.parametrize(("name", "value"), [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "true")])
def test_the_usual_switches_turn_it_off(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with tracing.traced(ON, "writer", "calbus"):
        assert not tracing.is_on()


def test_on_is_until_the_end() -> None:
    with tracing.traced(ON, "writer", "calbus"):
        assert tracing.is_on()
    assert not tracing.is_on()


def test_a_service_has_its_name_unless_another_is_given(environment: pytest.MonkeyPatch) -> None:
    def named() -> Any:
        with recorded() as memory:
            begun("a").end()
        return ended(memory)["a"].resource.attributes

    assert (named()["service.name"], named()["service.namespace"]) == ("calbus-tests", "calbus")
    environment.setenv("OTEL_SERVICE_NAME", "mine")
    environment.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=ours,k8s.pod.name=writer-0")
    said = named()
    assert (said["service.name"], said["service.namespace"], said["k8s.pod.name"]) == ("mine", "ours", "writer-0")


def test_a_header_that_cannot_be_read_is_not_logged(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OTEL_EXPORTER_OTLP_HEADERS", "a token without a name")
    lines = told(environment)
    with recorded():
        otlp().shutdown()
    assert [line["event"] for line in lines] == ["opentelemetry"]
    assert "token without" not in str(lines)


# -- contexts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "context"),
    [
        ([], None),
        ([("ce_id", b"1")], None),
        ([("traceparent", b"")], None),
        ([("traceparent", None)], None),
        ([("tracestate", b"a=b")], None),
        ([("traceparent", UPSTREAM.encode())], UPSTREAM),
        ([("tracestate", b"a=b"), ("Traceparent", UPSTREAM.encode())], f"{UPSTREAM} a=b"),
        ([("ce_traceparent", UPSTREAM.encode())], UPSTREAM),
        ([("ce_traceparent", OTHER.encode()), ("traceparent", UPSTREAM.encode())], UPSTREAM),
        ([("traceparent", UPSTREAM.encode()), ("traceparent", OTHER.encode())], UPSTREAM),
    ],
)
def test_a_publishers_context_is_found(headers: Any, context: str | None) -> None:
    assert context_in(headers) == context


@pytest.mark.parametrize("context", [UPSTREAM, f"{UPSTREAM} a=b,c=d"])
def test_a_context_goes_into_headers_and_comes_back(context: str) -> None:
    assert context_in(headers_of(context)) == context


def begun(name: str, **given: Any) -> Any:
    span = tracing.begin(name, "internal", {}, **given)
    assert span is not None
    return span


def test_a_span_belongs_to_the_trace_that_it_is_begun_under() -> None:
    with recorded() as memory:
        above = begun("above", parent=f"{UPSTREAM} a=b")
        below = begun("below", parent=above.context, links=[OTHER])
        tracing.end_all([above, below])
    spans = ended(memory)
    assert (ids(spans["above"])[0], parent_of(spans["above"])) == (TRACE, SPAN)
    assert (ids(spans["below"])[0], parent_of(spans["below"])) == (TRACE, ids(spans["above"])[1])
    assert [f"{link.context.span_id:016x}" for link in spans["below"].links] == ["2" * 16]
    assert below.context == f"00-{TRACE}-{ids(spans['below'])[1]}-01 a=b"


@pytest.mark.parametrize(
    "given",
    ["", "x", "\x00", "ÿ", UPSTREAM[:-3], UPSTREAM.replace("4bf9", "XXXX"), f"00-{'0' * 32}-{SPAN}-01", "00-" * 40],
)
def test_what_is_no_context_begins_a_trace(given: str) -> None:
    with recorded() as memory:
        begun("a", parent=given).end()
    span = ended(memory)["a"]
    assert span.parent is None
    assert ids(span)[0] != TRACE


def test_a_state_that_is_none_is_left_out() -> None:
    with recorded():
        assert " " not in begun("a", parent=f"{UPSTREAM} {'no state ' * 100}").context


def test_what_upstream_does_not_sample_is_not_ours_to_sample() -> None:
    with recorded():
        assert tracing.begin("a", "internal", {}, parent=f"{UPSTREAM[:-1]}0") is None


def test_the_sampler_is_the_one_that_the_environment_names(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    with recorded():
        assert tracing.begin("a", "internal", {}) is None
        assert tracing.begin("a", "internal", {}, parent=UPSTREAM) is not None
        with tracing.root("a", "internal", {}), tracing.step("b", "internal", {}) as part:
            assert part is None


# -- around work ------------------------------------------------------------------------------------------------------


def test_steps_belong_to_the_work_around_them() -> None:
    with recorded() as memory:
        with tracing.step("alone", "internal", {}) as alone:
            assert alone is None
        with tracing.root("work", "internal", {"calbus.tenant": "contoso"}) as work:
            assert work is not None
            assert tracing.current() == work.context
            with tracing.step("part", "client", {}):
                assert tracing.current() != work.context
            tracing.note(pages=3)
        assert tracing.current() is None
    spans = ended(memory)
    assert spans.keys() == {"work", "part"}
    assert parent_of(spans["part"]) == ids(spans["work"])[1]
    assert spans["part"].kind is SpanKind.CLIENT
    assert dict(spans["work"].attributes or {}) == {"calbus.tenant": "contoso", "calbus.pages": 3}
    assert spans["work"].status.status_code is StatusCode.UNSET


def test_work_that_breaks_off_is_seen_by_its_kind_of_error_only() -> None:
    with recorded() as memory:
        with pytest.raises(ValueError, match="secret"), tracing.root("work", "internal", {}):
            raise ValueError("a secret")
        with tracing.root("stopped", "internal", {}):
            tracing.fail("throttled")
    spans = ended(memory)
    assert (spans["work"].attributes or {})["error.type"] == "ValueError"
    assert (spans["stopped"].attributes or {})["error.type"] == "throttled"
    assert all(one.status.status_code is StatusCode.ERROR for one in spans.values())
    assert "secret" not in "".join(one.to_json() for one in spans.values())


# -- nothing waits ----------------------------------------------------------------------------------------------------


class Stuck(SpanExporter):
    """A collector that does not answer until it is let go."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.go = threading.Event()
        self.got = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.go.wait()
        self.got += len(spans)
        return SpanExportResult.SUCCESS


def counted(before: Any, result: str) -> float:
    name = "calbus_trace_spans_total"
    return total(here(), name, result=result) - total(before, name, result=result)


def test_what_finds_no_room_is_dropped_and_counted(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    environment.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    stuck, before = Stuck(), here()
    with recorded(stuck):
        for number in range(4):
            begun(str(number)).end()
        assert stuck.asked.wait(30)
        for number in range(100):
            begun(str(number)).end()
        assert counted(before, "dropped") == 92
        stuck.go.set()
    assert stuck.got == counted(before, "sent") == 12


def test_a_collector_that_hangs_does_not_hold_up_the_end(environment: pytest.MonkeyPatch) -> None:
    environment.setattr("calbus.spans.CLOSE_TIMEOUT_S", 0.05)
    stuck, began_s = Stuck(), time.monotonic()
    with recorded(stuck):
        begun("a").end()
    # The SDK would wait for half a minute.
    assert time.monotonic() - began_s < 20
    stuck.go.set()


class Broken(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002
        raise OSError("no route to a secret host")


def test_a_collector_that_fails_is_counted_and_told_once(environment: pytest.MonkeyPatch) -> None:
    before, lines = here(), told(environment)
    with recorded(Broken()):
        processor = tracing._active._provider._active_span_processor  # type: ignore[union-attr]
        for _ in range(3):
            begun("a").end()
            processor._span_processors[0]._queue.force_flush()
    assert counted(before, "refused") == 3
    assert [(line["error"], line["says"]) for line in lines] == [("OSError", "Exception while exporting Span.")]


def test_a_sampler_that_breaks_breaks_nothing_else(environment: pytest.MonkeyPatch) -> None:
    lines = told(environment)
    with recorded():
        environment.setattr(tracing._active._tracer, "start_span", lambda *_, **__: 1 / 0)  # type: ignore[union-attr]
        assert tracing.begin("a", "internal", {}) is None
        assert tracing.begin("a", "internal", {}) is None
    assert [line["event"] for line in lines] == ["spans cannot be made"]


# -- ingest -----------------------------------------------------------------------------------------------------------


def record(**headers: str) -> Any:
    named = [(name, content.encode()) for name, content in headers.items()]
    return SimpleNamespace(topic="calbus.actions.v1", partition=3, offset=17, headers=named)


def test_a_message_is_a_span_under_its_publishers() -> None:
    with recorded() as memory:
        arriving = Arriving("calbus.ingest")
        context = arriving.begin(record(traceparent=UPSTREAM), "contoso", "3f1d2c4b5a697887")
        arrival = SimpleNamespace(trace=context)
        arriving.judge([arrival, SimpleNamespace(trace=None)], [Verdict.STALE, Verdict.ACCEPTED])  # type: ignore[list-item]
        arriving.end()
    [span] = memory.get_finished_spans()
    assert (span.name, span.kind) == ("process calbus.actions.v1", SpanKind.CONSUMER)
    assert (ids(span)[0], parent_of(span)) == (TRACE, SPAN)
    assert context == f"00-{TRACE}-{ids(span)[1]}-01"
    assert dict(span.attributes or {}) == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "calbus.actions.v1",
        "messaging.destination.partition.id": "3",
        "messaging.kafka.offset": 17,
        "messaging.consumer.group.name": "calbus.ingest",
        "calbus.tenant": "contoso",
        "calbus.correlation": "3f1d2c4b5a697887",
        "calbus.verdict": "stale",
    }


def test_a_revision_that_is_used_again_is_a_span_that_failed() -> None:
    with recorded() as memory:
        arriving = Arriving("calbus.ingest")
        arrival: Any = SimpleNamespace(trace=arriving.begin(record(traceparent=UPSTREAM), "contoso", "c"))
        arriving.judge([arrival], [Verdict.REUSED])
        arriving.end()
    [span] = memory.get_finished_spans()
    assert (span.attributes or {})["error.type"] == "revision_reused"


def test_a_message_that_cannot_be_read_is_a_span_that_failed() -> None:
    with recorded() as memory:
        Arriving("calbus.ingest").refuse(record(traceparent=UPSTREAM), "invalid_json")
    [span] = memory.get_finished_spans()
    assert (parent_of(span), (span.attributes or {})["error.type"]) == (SPAN, "invalid_json")


def test_each_plan_goes_on_under_the_message_that_it_is_of() -> None:
    at = {"start": "2026-12-01T09:00:00", "duration": "PT1H", "time_zone": "Europe/Amsterdam", "assignees": ["anna"]}
    events = [upserted(revision=1, **at), upserted(revision=2, title="Edited", **at)]
    arrivals = [arrival_of(event, NOW, "c", trace) for event, trace in zip(events, (UPSTREAM, OTHER), strict=True)]
    settings = Settings({key_of(setting): setting for setting in EVERYTHING_ON})
    taken = take_in(arrivals, {}, [], settings, NOW)
    [planned] = taken.planned.values()
    assert taken.traces == {(planned.entry.entry_id, 1): UPSTREAM, (planned.entry.entry_id, 2): OTHER}
    assert [one.trace for one in due(taken)] == [OTHER]
    assert [one.trace for one in due(replace(taken, traces={}))] == [None]


# -- the writer -------------------------------------------------------------------------------------------------------


def job(**given: Any) -> Any:
    """As much of a work as its spans need."""
    entry_id = entry_id_of(ItemKey("contoso", "planner", Kind.ACTION, given.pop("item", "A-1")), "anna")
    entry = SimpleNamespace(
        entry_id=entry_id,
        item=SimpleNamespace(tenant="contoso"),
        desired=SimpleNamespace(plan=2),
        target=SimpleNamespace(lane="a-digest"),
    )
    loaded = SimpleNamespace(entry=entry, attempts=0, correlation="3f1d2c4b5a697887")
    return SimpleNamespace(**{"loaded": loaded, "trace": None, "fault": None, "settled": True} | given)


REQUEST = Request("create", "POST", "/users/ann@contoso.example/events")


def test_a_batch_is_linked_with_the_jobs_that_it_carries() -> None:
    works = [job(item=item) for item in ("traced", "too", "not", "older plan")]
    first, second, _, fourth = (one.loaded.entry.entry_id for one in works)
    fault = Fault(Reason.THROTTLED, Scope.MAILBOX, request_id="theirs", client_request_id="ours")
    with recorded() as memory:
        since_ns = time.time_ns()
        job_spans.begin(works, {(first, 2): UPSTREAM, (second, 2): OTHER, (fourth, 1): OTHER}, since_ns)
        calls = job_spans.call(works, [REQUEST] * 4)
        calls.end([Response(201, None, None), Response(429, None, fault), *[Response(201, None, None)] * 2])
        works[1].fault, works[1].settled = fault, False
        assert list(job_spans.over(works)) == [first]
        contexts = job_spans.contexts_of(works)
        job_spans.end(works, time.time_ns())
    spans = memory.get_finished_spans()
    [batch] = [one for one in spans if one.name == "graph $batch"]
    jobs = {f"{one.context.trace_id:032x}": one for one in spans if one.name == "process calbus.commands.v1"}
    creates = {f"{one.context.trace_id:032x}": one for one in spans if one.name == "graph create"}
    assert jobs.keys() == creates.keys() == {TRACE, "1" * 32}
    assert batch.parent is None
    assert {link.context.span_id for link in batch.links} == {one.context.span_id for one in jobs.values()}
    assert (batch.attributes or {})["calbus.graph.requests"] == 4
    for trace, created in creates.items():
        assert parent_of(created) == ids(jobs[trace])[1]
        assert [link.context.span_id for link in created.links] == [batch.context.span_id]
    assert contexts.keys() == {(first, 2), (second, 2)}
    assert contexts[first, 2].split("-")[2] == ids(jobs[TRACE])[1]
    refused = dict(creates["1" * 32].attributes or {})
    assert refused == {
        "http.request.method": "POST",
        "calbus.graph.operation": "create",
        "http.response.status_code": 429,
        "calbus.graph.status_class": "4xx",
        "error.type": "throttled",
        "calbus.graph.client_request_id": "ours",
        "calbus.graph.request_id": "theirs",
    }
    assert (jobs["1" * 32].attributes or {})["error.type"] == "throttled"
    assert [(jobs[one].attributes or {})["calbus.settled"] for one in (TRACE, "1" * 32)] == [True, False]
    assert {(one.attributes or {})["db.operation.batch.size"] for one in spans if one.name in ("load", "record")} == {4}
    assert "@" not in "".join(one.to_json() for one in spans)


def test_a_call_that_carries_one_request_is_no_batch() -> None:
    works = [job()]
    with recorded() as memory:
        job_spans.begin(works, {(works[0].loaded.entry.entry_id, 2): UPSTREAM}, time.time_ns())
        job_spans.call(works, [REQUEST]).end([Response(0, None, Fault(Reason.GRAPH_UNREACHABLE, Scope.ENTRY))])
    [created] = [one for one in memory.get_finished_spans() if one.name.startswith("graph")]
    assert created.links == ()
    assert (created.attributes or {})["calbus.graph.status_class"] == "none"
