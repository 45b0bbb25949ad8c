"""One trace from a publisher's span to Microsoft Graph and back to who reads the outcome; and what must not happen."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord

from calbus.bus.cloudevents import headers_for
from calbus.bus.kafka import topic_name
from calbus.bus.publish import key_of
from calbus.correlation import correlation_of
from calbus.tracing import context_in
from schemas.events import EVENT_TYPES, TYPE_NAMES, Topic
from schemas.fields import Model
from schemas.results import Ending, Outcome
from tests.support.collector import Collector, collector
from tests.support.metrics import of_port, total
from tests.support.waiting import until
from tests.support.world import World

PUBLISHER_SPAN = "00f067aa0ba902b7"
STATE = "vendor=opaque"


@pytest.fixture
async def collected(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """A collector that every process which a test starts knows of."""
    async with collector() as one:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", one.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield one


def trace_id(number: int) -> str:
    return f"{number:032x}"


async def publish(world: World, event: Model, trace: str, event_id: str = "e1", flags: str = "01") -> None:
    """As a publisher whose own work is traced."""
    headers = [
        *headers_for(type(event), event_id=event_id, source="/erp", time=datetime.now(UTC)),
        ("traceparent", f"00-{trace}-{PUBLISHER_SPAN}-{flags}".encode()),
        ("tracestate", STATE.encode()),
    ]
    value = event.model_dump_json(exclude_unset=True).encode()
    topic = EVENT_TYPES[TYPE_NAMES[type(event)]].topic
    await world.publish_raw(topic, value, key=key_of(event).encode(), headers=headers)


@asynccontextmanager
async def records(world: World, topic: Topic) -> AsyncIterator[list[ConsumerRecord]]:
    """What a consumer has read of the topic after the block; from its beginning."""
    read: list[ConsumerRecord] = []
    yield read
    name = topic_name(world._kafka, topic)
    consumer = AIOKafkaConsumer(
        name, bootstrap_servers=world.stack.kafka.bootstrap, auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(one) < end for one, end in ends.items()]):
            for of_partition in (await consumer.getmany(timeout_ms=500)).values():
                read += of_partition
    finally:
        await consumer.stop()


async def test_one_trace_leads_from_the_publisher_to_graph_and_to_who_reads_the_outcome(
    world: World, collected: Collector
) -> None:
    first, second = trace_id(0xA1), trace_id(0xB2)
    async with (
        records(world, Topic.OUTCOMES) as outcomes,
        records(world, Topic.COMMANDS) as commands,
        world.process("ingest", traces=True),
        world.tenant("ann", "bob") as tenant,
    ):
        before, after = tenant.action("a1", "ann", "bob"), tenant.action("a1", "ann", "bob", title="Edited secret")
        await publish(world, before, first)
        # The writer comes when the first is overtaken, so that it ends in ingest.
        await until(lambda: planned(world, 2), "the first to be planned")
        await publish(world, after, second, "e2")
        await tenant.outcome(before, "ann")
        async with world.process("writer", traces=True):
            await tenant.outcome(after, "ann")
            await tenant.outcome(after, "bob")
            await until(lambda: seen(collected, "", second, 11), "the trace to be whole")
            await until(lambda: seen(collected, "", first, 3), "the trace of what was overtaken to be whole")
        [[kept]] = await world.fetch("SELECT count(*) FROM trace_context")
        assert kept == 0
    prefix = world.name

    # The first: overtaken before anybody wrote it.
    assert Counter(one.name for one in collected.of_trace(first)) == {
        f"process {prefix}.actions.v1": 1,
        f"send {prefix}.outcomes.v1": 2,
    }
    # The second: to Microsoft, and back.
    spans = collected.of_trace(second)
    assert Counter((one.service, one.name, one.kind) for one in spans if not one.name.startswith("send")) == {
        ("calbus-ingest", f"process {prefix}.actions.v1", "consumer"): 1,
        ("calbus-writer", f"process {prefix}.commands.v1", "consumer"): 2,
        ("calbus-writer", "load", "internal"): 2,
        ("calbus-writer", "graph create", "client"): 2,
        ("calbus-writer", "record", "internal"): 2,
    }
    [taken] = collected.named(f"process {prefix}.actions.v1", second)
    assert taken.parent_id == PUBLISHER_SPAN
    assert taken.attributes["calbus.verdict"] == "accepted"
    assert taken.attributes["calbus.correlation"] == correlation_of("/erp", "e2")
    assert taken.attributes["messaging.system"] == "kafka"
    jobs = {one.span_id: one for one in collected.named(f"process {prefix}.commands.v1", second)}
    assert {one.parent_id for one in jobs.values()} == {taken.span_id}
    for name in ("load", "graph create", "record"):
        parts = collected.named(name, second)
        assert {one.parent_id for one in parts} == jobs.keys(), name
        assert all(jobs[one.parent_id].began_ns <= one.began_ns <= one.ended_ns for one in parts), name
    for created in collected.named("graph create", second):
        assert created.attributes["http.response.status_code"] == 201
        assert created.attributes["calbus.graph.status_class"] == "2xx"
        assert not created.failed
    assert {one.attributes["calbus.correlation"] for one in jobs.values()} == {correlation_of("/erp", "e2")}

    # Whoever reads an outcome, or looks at the commands, finds the context of what it came from.
    sent = {one.span_id: one for one in collected.named(f"send {prefix}.outcomes.v1")}
    told = {}
    for record in outcomes:
        outcome = Outcome.model_validate_json(record.value)
        context = context_in(record.headers)
        assert context is not None
        traceparent, _, tracestate = context.partition(" ")
        _, trace, span, flags = traceparent.split("-")
        told[outcome.revision, outcome.assignee, outcome.ending] = trace
        assert (tracestate, flags) == (STATE, "01")
        assert sent[span].kind == "producer"
        assert sent[span].parent_id in (jobs if trace == second else {one.span_id for one in collected.of_trace(first)})
    assert told == {
        (1, "ann", Ending.SUPERSEDED): first,
        (1, "bob", Ending.SUPERSEDED): first,
        (2, "ann", Ending.APPLIED): second,
        (2, "bob", Ending.APPLIED): second,
    }
    assert {(context_in(record.headers) or "").split("-")[1] for record in commands} == {first, second}

    # Ids, and nothing that people wrote or are addressed by.
    everything = b"".join(collected.raw)
    for never in (b"ann@", b"secret", b"Do a1", tenant.domain.encode()):
        assert never not in everything


async def planned(world: World, entries: int) -> bool:
    [[count]] = await world.fetch("SELECT count(*) FROM entry")
    return bool(count == entries)


async def seen(collected: Collector, begins: str, trace: str, number: int) -> bool:
    return sum(one.name.startswith(begins) for one in collected.of_trace(trace)) == number


async def test_an_outcome_that_ingest_decides_bears_the_trace_of_its_revision(
    world: World, collected: Collector
) -> None:
    async with (
        records(world, Topic.OUTCOMES) as outcomes,
        world.process("ingest", traces=True),
        world.tenant("ann") as tenant,
    ):
        unplanned, waits = tenant.action("a1", "ann", start=None, duration=None), tenant.action("a2", "ann")
        await publish(world, unplanned, trace_id(1))
        await publish(world, waits, trace_id(2), "e2")
        await until(lambda: planned(world, 2), "both to be planned")
        # There is no writer: the switch takes the second away before it is written, and new plans are of no event.
        await tenant.set_tenant(enabled=False)
        await until(lambda: told(world, tenant.id, 4), "all plans to end")
        await until(lambda: seen(collected, "send", trace_id(2), 1), "the trace to be whole")
        kept = await world.fetch("SELECT FROM trace_context")
    found = set()
    for record in outcomes:
        outcome = Outcome.model_validate_json(record.value)
        context = context_in(record.headers)
        found.add((outcome.id, outcome.ending, context.split("-")[1] if context is not None else None))
    assert found == {
        ("a1", Ending.WITHDRAWN, trace_id(1)),
        ("a1", Ending.WITHDRAWN, None),
        ("a2", Ending.SUPERSEDED, trace_id(2)),
        ("a2", Ending.WITHDRAWN, None),
    }
    assert kept == []


async def told(world: World, tenant: str, number: int) -> bool:
    return len(world.outcomes[tenant]) >= number


async def test_what_is_not_sampled_leaves_no_trace(world: World, collected: Collector) -> None:
    async with (
        world.process("ingest", traces=True),
        world.process("writer", traces=True),
        world.tenant("ann") as tenant,
        records(world, Topic.OUTCOMES) as outcomes,
    ):
        unsampled, sampled = tenant.action("a1", "ann"), tenant.action("a2", "ann")
        await publish(world, unsampled, trace_id(1), flags="00")
        await tenant.outcome(unsampled, "ann")
        await publish(world, sampled, trace_id(2), "e2")
        await tenant.outcome(sampled, "ann")
        await until(lambda: seen(collected, "send", trace_id(2), 1), "what is sampled to be sent")
    assert collected.of_trace(trace_id(1)) == []
    bears = {Outcome.model_validate_json(one.value).id: context_in(one.headers) is not None for one in outcomes}
    assert bears == {"a1": False, "a2": True}


async def test_a_collector_that_is_away_holds_up_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with collector() as gone:
        endpoint = gone.endpoint
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    async with (
        world.process("ingest", traces=True) as ingest,
        world.process("writer", traces=True) as writer,
        world.tenant("ann") as tenant,
    ):
        action = tenant.action("a1", "ann")
        await publish(world, action, trace_id(1))
        assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED

        async def counted() -> bool:
            shown = [await of_port(world.admin_ports[one.pid]) for one in (ingest, writer)]
            return all(total(one, "calbus_trace_spans_total", result="refused") > 0 for one in shown)

        await until(counted, "the loss to be counted")
        for process in (ingest, writer):
            process.terminate()
            assert await process.wait() == 0


async def test_a_round_is_traced_to_the_change_that_it_tells(world: World, collected: Collector) -> None:
    async with (
        world.process("ingest"),
        world.process("puller", traces=True),
        world.tenant() as tenant,
        records(world, Topic.CHANGES) as changes,
    ):
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"))
        await tenant.appointment("ann", "A secret meeting")
        await tenant.publish(tenant.account("ann", direction="down"))
        await tenant.settings_known(2)

        async def is_told() -> bool:
            return bool(world.changes[tenant.id]) and bool(collected.named(f"send {world.name}.changes.v1"))

        await until(is_told, "the appointment to be told, and its span to be sent")
        [sent] = collected.named(f"send {world.name}.changes.v1")
        await until(lambda: seen(collected, "pull calendar", sent.trace_id, 1), "the round to be over")
    [change] = changes
    context = context_in(change.headers)
    assert context is not None
    assert context.split("-")[1:3] == [sent.trace_id, sent.span_id]
    [turn] = collected.named("pull calendar", sent.trace_id)
    assert (turn.parent_id, sent.parent_id, turn.service) == ("", turn.span_id, "calbus-puller")
    assert turn.attributes["calbus.changes"] == 1
    asked = collected.named("graph delta", sent.trace_id)
    assert asked
    assert {one.parent_id for one in asked} == {turn.span_id}
    everything = b"".join(collected.raw)
    for never in (b"ann@", b"secret", tenant.domain.encode()):
        assert never not in everything
