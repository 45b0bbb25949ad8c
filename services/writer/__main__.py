"""Composition root of the writer: opens what it needs, runs the loops, drains when asked to end."""

import asyncio
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from uuid import UUID

from aiokafka import AIOKafkaConsumer

from calbus.admin import Pulse, admin_server
from calbus.bus.kafka import consumer, producer, topic_name, watch_kafka, watch_lag
from calbus.bus.outbox import Relay
from calbus.bus.wakeups import send_wakeups
from calbus.command import command_of
from calbus.graph.client import graph_client
from calbus.lifecycle import run
from calbus.outage import kafka, postgres
from calbus.store import entries
from calbus.store.entries import Due
from calbus.store.migrate import require_schema
from calbus.store.pool import connect
from calbus.telemetry import configure_logging, log
from calbus.tracing import traced
from calbus.vitals import watch_process
from schemas.events import Topic
from services.writer.access_check import AccessCheck
from services.writer.accounts import Accounts
from services.writer.calendars import Calendars
from services.writer.categories import Categories
from services.writer.dispatcher import COMMIT_INTERVAL_S, Dispatcher, HandOver, LaneRests
from services.writer.handler import Handler
from services.writer.lanes import Lanes
from services.writer.pipeline import calls_at_most
from services.writer.prober import READS_MAX_CALLS, Prober
from services.writer.retries import Backoff, RetryPolicy
from services.writer.settings import WriterSettings
from services.writer.side_calls import ALL_MAX_CALLS, Graph, SideCalls
from services.writer.sweeper import Sweeper
from services.writer.troubles import Pace

GROUP = "writer"
POLL_MS = 500
POLL_MAX_RECORDS = 2_000
SHOW_INTERVAL_S = 5.0


async def serve(settings: WriterSettings) -> None:
    """Write until cancelled."""
    database, broker, pulse = postgres(), kafka(), Pulse()
    commands = topic_name(settings, Topic.COMMANDS)
    async with AsyncExitStack() as stack:
        stack.enter_context(traced(settings, GROUP, settings.topic_prefix))
        await stack.enter_async_context(admin_server(settings, GROUP, pulse, [database, broker]))
        pool = await stack.enter_async_context(connect(settings, database))
        await require_schema(pool)
        # As many as all that is under way can need, and the prober. Only where a batch as such is refused, and its
        # requests go alone, may one have to wait.
        connections = calls_at_most(settings.writer_max_calls) + ALL_MAX_CALLS + READS_MAX_CALLS
        graph = await stack.enter_async_context(graph_client(settings, max_connections=connections))
        side_calls = SideCalls(graph)
        sender = await stack.enter_async_context(producer(settings, broker))
        relay = Relay(pool, sender, settings.topic_prefix, postgres=database, kafka=broker)

        async def postpone(waits_s: dict[UUID, float]) -> None:
            now = datetime.now(UTC)
            until = {entry_id: now + timedelta(seconds=wait_s) for entry_id, wait_s in waits_s.items()}
            await database.insist(lambda: entries.postpone(pool, until))

        async def send_elsewhere(due: list[Due]) -> None:
            await broker.insist(lambda: send_wakeups(sender, commands, due))

        known = Accounts(_pace(settings))
        # The pipeline lets no more than the setting ask at a time.
        lanes = Lanes(settings.lane_limits.ahead)
        calendars = Calendars(side_calls)
        rests = LaneRests(lanes)
        dispatcher = Dispatcher(
            lanes,
            rests,
            Handler(
                pool,
                graph,
                _policy(settings),
                rests,
                calendars=calendars,
                accounts=known,
                # Whoever may not assign leaves nothing behind, not even a category.
                gates=[
                    _access_check(settings, side_calls, calendars),
                    Categories(pool, side_calls, postgres=database),
                ],
                doubt_s=settings.writer_doubt_s,
                recheck_s=settings.writer_refusal_recheck_s,
                postgres=database,
            ),
            max_calls=settings.writer_max_calls,
            max_in_flight=settings.writer_lane_max_in_flight,
            postpone=postpone,
            send_elsewhere=send_elsewhere,
            settled=relay.wake,
        )
        hand_over = HandOver(dispatcher, graph.break_off, settings.writer_drain_s)
        reader = await stack.enter_async_context(
            consumer(
                settings,
                broker,
                group=GROUP,
                topics=[Topic.COMMANDS],
                member=settings.writer_member,
                session_timeout_ms=settings.writer_session_timeout_ms,
                listener=hand_over,
            )
        )
        hand_over.consumer = reader
        sweeper = Sweeper(
            pool,
            sender,
            commands,
            interval_s=settings.writer_sweep_interval_s,
            again_s=settings.writer_sweep_again_s,
            postgres=database,
            kafka=broker,
        )
        prober = Prober(
            pool,
            sender,
            commands,
            graph,
            known,
            interval_s=settings.writer_sweep_interval_s,
            claim_s=settings.writer_sweep_again_s,
            postgres=database,
            kafka=broker,
        )
        log.info("writer is running")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(watch_kafka(sender, broker))
                tasks.create_task(watch_lag(reader, settings, [Topic.COMMANDS], lambda: dispatcher.in_hand))
                tasks.create_task(watch_process(pool, database))
                tasks.create_task(relay.run())
                tasks.create_task(sweeper.run())
                tasks.create_task(sweeper.count())
                tasks.create_task(prober.run())
                tasks.create_task(prober.count())
                tasks.create_task(dispatcher.run())
                tasks.create_task(_consume(reader, dispatcher, pulse))
                tasks.create_task(_commit(reader, dispatcher))
                tasks.create_task(_show(dispatcher))
        finally:
            await dispatcher.drain(settings.writer_drain_s)
            await dispatcher.abandon()
            await dispatcher.commit(reader)


async def _consume(reader: AIOKafkaConsumer, dispatcher: Dispatcher, pulse: Pulse) -> None:
    while True:
        pulse.beat()
        if not dispatcher.accepting:
            await asyncio.sleep(POLL_MS / 1_000 / 10)
            continue
        fetched = await reader.getmany(timeout_ms=POLL_MS, max_records=POLL_MAX_RECORDS)
        records = [record for of_partition in fetched.values() for record in of_partition]
        if records:
            await dispatcher.accept(records)


async def _commit(reader: AIOKafkaConsumer, dispatcher: Dispatcher) -> None:
    while True:
        await asyncio.sleep(COMMIT_INTERVAL_S)
        await dispatcher.commit(reader)


async def _show(dispatcher: Dispatcher) -> None:
    while True:
        dispatcher.show()
        await asyncio.sleep(SHOW_INTERVAL_S)


def _access_check(settings: WriterSettings, graph: Graph, calendars: Calendars) -> AccessCheck:
    return AccessCheck(
        graph,
        calendars,
        ttl_s=settings.writer_access_ttl_s,
        refusal_ttl_s=settings.writer_access_refusal_ttl_s,
        max_facts=settings.writer_access_max_facts,
    )


def _policy(settings: WriterSettings) -> RetryPolicy:
    return RetryPolicy(
        passing=Backoff(settings.writer_retry_first_s, settings.writer_retry_max_s),
        reprobe=Backoff(settings.writer_reprobe_first_s, settings.writer_reprobe_max_s),
    )


def _pace(settings: WriterSettings) -> Pace:
    return Pace(
        probes=Backoff(settings.writer_reprobe_first_s, settings.writer_reprobe_max_s),
        confirm_s=settings.writer_retry_first_s,
        token_s=settings.graph_token_doubt_s,
        unclear_s=settings.writer_reprobe_first_s,
    )


def main(settings: WriterSettings) -> None:
    """Write what is planned into the calendars. Runs until it is told to end."""
    run(lambda: serve(settings))


command = command_of("writer", WriterSettings, main, configure_logging)

if __name__ == "__main__":
    command()
