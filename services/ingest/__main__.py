"""Composition root of ingest: opens what it needs, runs the loop, drains when asked to end."""

import asyncio
from contextlib import AsyncExitStack

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError

from calbus.admin import Pulse, admin_server
from calbus.bus.kafka import consumer, producer, watch_kafka, watch_lag
from calbus.bus.outbox import Relay
from calbus.command import command_of
from calbus.lifecycle import run
from calbus.outage import Dependency, kafka, postgres
from calbus.store.migrate import require_schema
from calbus.store.pool import connect
from calbus.telemetry import configure_logging, log
from calbus.tracing import traced
from calbus.vitals import watch_process
from services.ingest.handler import GROUP, INPUT, Handler
from services.ingest.removals import Watch
from services.ingest.replans import Replanner
from services.ingest.settings import IngestSettings
from services.ingest.texts import read_all_texts
from services.ingest.why_web import WhyRoutes

POLL_MS = 1_000


async def serve(settings: IngestSettings) -> None:
    """Take events in until cancelled."""
    database, broker, pulse = postgres(), kafka(), Pulse()
    async with AsyncExitStack() as stack:
        stack.enter_context(traced(settings, GROUP, settings.topic_prefix))
        why = WhyRoutes()
        await stack.enter_async_context(admin_server(settings, GROUP, pulse, [database, broker], why.routes))
        pool = await stack.enter_async_context(connect(settings, database))
        why.pool = pool
        await require_schema(pool)
        sender = await stack.enter_async_context(producer(settings, broker))
        reader = await stack.enter_async_context(
            consumer(
                settings,
                broker,
                group=GROUP,
                topics=list(INPUT),
                member=settings.ingest_member,
                session_timeout_ms=settings.ingest_session_timeout_ms,
            )
        )
        relay = Relay(pool, sender, settings.topic_prefix, postgres=database, kafka=broker)
        watch, thresholds = Watch(pool, postgres=database), settings.thresholds
        budget = settings.mailbox_budget
        replanner = Replanner(settings, pool, sender, relay, thresholds, watch, budget, postgres=database, kafka=broker)
        handler = Handler(settings, pool, sender, thresholds, watch, postgres=database, kafka=broker)
        read_all_texts()
        log.info("ingest is running")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(watch_kafka(sender, broker))
            tasks.create_task(watch_lag(reader, settings, INPUT))
            tasks.create_task(watch_process(pool, database))
            tasks.create_task(relay.run())
            tasks.create_task(replanner.run())
            tasks.create_task(watch.run())
            tasks.create_task(_consume(settings, reader, handler, relay, replanner, pulse, broker))


async def _consume(
    settings: IngestSettings,
    reader: AIOKafkaConsumer,
    handler: Handler,
    relay: Relay,
    replanner: Replanner,
    pulse: Pulse,
    broker: Dependency,
) -> None:
    while True:
        pulse.beat()
        fetched = await reader.getmany(timeout_ms=POLL_MS, max_records=settings.ingest_batch_max_messages)
        records = [record for of_partition in fetched.values() for record in of_partition]
        if not records:
            continue
        left = await handler.handle(records)
        if left.outcomes:
            relay.wake()
        if left.changes:
            replanner.wake()
        offsets = {partition: of_partition[-1].offset + 1 for partition, of_partition in fetched.items()}
        await broker.insist(lambda offsets=offsets: _commit(reader, offsets))  # type: ignore[misc]


async def _commit(reader: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
    try:
        await reader.commit(offsets)
    except (CommitFailedError, IllegalStateError):
        # The partitions went to another member meanwhile: it repeats the batch, which changes nothing.
        log.info("offsets not committed: the group was rebalanced")
    except KafkaError as error:
        if not error.retriable:
            log.warning("offsets not committed", error=type(error).__name__)
            return
        raise


def main(settings: IngestSettings) -> None:
    """Take events in: validate, plan, and wake the writers. Runs until it is told to end."""
    run(lambda: serve(settings))


command = command_of("ingest", IngestSettings, main, configure_logging)

if __name__ == "__main__":
    command()
