"""Composition root of the puller: opens what it needs, runs the loops, gives its mailboxes back when asked to end."""

import asyncio
from contextlib import AsyncExitStack

from calbus.admin import Pulse, admin_server
from calbus.budget import MailboxBudget
from calbus.bus.kafka import producer, watch_kafka
from calbus.bus.outbox import Relay
from calbus.command import command_of
from calbus.graph.client import graph_client
from calbus.lifecycle import run
from calbus.outage import kafka, postgres
from calbus.store.migrate import require_schema
from calbus.store.pool import connect
from calbus.telemetry import configure_logging, log
from calbus.tracing import traced
from calbus.vitals import watch_process
from services.puller.follow import GROUP, Follower, Requests
from services.puller.leases import Leases
from services.puller.notices import Inbox, NoticeTaker
from services.puller.pace import Pace, Span
from services.puller.rounds import RoundLimits, Rounds
from services.puller.settings import PullerSettings
from services.puller.subscriptions import Subscriber
from services.puller.webhook import webhook_server


async def serve(settings: PullerSettings) -> None:
    """Pull until cancelled."""
    database, broker, pulse = postgres(), kafka(), Pulse()
    async with AsyncExitStack() as stack:
        stack.enter_context(traced(settings, GROUP, settings.topic_prefix))
        await stack.enter_async_context(admin_server(settings, GROUP, pulse, [database, broker]))
        # Microsoft's notices are taken from the first moment on, whatever else is away.
        inbox = Inbox(settings.puller_webhook_max_notices)
        await stack.enter_async_context(webhook_server(settings, inbox))
        pool = await stack.enter_async_context(connect(settings, database))
        await require_schema(pool)
        graph = await stack.enter_async_context(graph_client(settings))
        sender = await stack.enter_async_context(producer(settings, broker))
        relay = Relay(pool, sender, settings.topic_prefix, postgres=database, kafka=broker)
        rounds = Rounds(pool, _limits(settings), _pace(settings), _span(settings), postgres=database, told=relay.wake)
        leases = Leases(
            pool,
            graph,
            rounds,
            MailboxBudget(settings.puller_lane_max_requests_per_10_min),
            max_mailboxes=settings.puller_max_mailboxes,
            lease_s=settings.puller_lease_s,
            look_interval_s=settings.puller_look_interval_s,
            postgres=database,
            beat=pulse.beat,
        )
        follower = Follower(
            pool, leases, interval_s=settings.puller_settings_interval_s, postgres=database, told=relay.wake
        )
        requests = Requests(settings, pool, follower, leases, postgres=database, kafka=broker)
        notices = NoticeTaker(pool, inbox, postgres=database, marked=leases.wake)
        subscriber = Subscriber(pool, graph, settings, postgres=database)
        log.info("puller is running")
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(watch_kafka(sender, broker))
                tasks.create_task(watch_process(pool, database))
                tasks.create_task(relay.run())
                tasks.create_task(follower.run())
                tasks.create_task(requests.run())
                tasks.create_task(notices.run())
                tasks.create_task(subscriber.run())
                tasks.create_task(leases.keep())
                tasks.create_task(leases.count())
                tasks.create_task(leases.run())
        finally:
            await leases.drain(settings.puller_drain_s)


def _limits(settings: PullerSettings) -> RoundLimits:
    return RoundLimits(
        graph_url=settings.graph_url,
        page_items=settings.puller_page_items,
        turn_max_pages=settings.puller_turn_max_pages,
        round_max_pages=settings.puller_round_max_pages,
        well_filled_events=settings.puller_well_filled_events,
        empty_rounds=settings.puller_empty_rounds,
    )


def _pace(settings: PullerSettings) -> Pace:
    return Pace(
        busy_s=settings.puller_busy_interval_s,
        idle_s=settings.puller_idle_interval_s,
        retry_first_s=settings.puller_retry_first_s,
        retry_max_s=settings.puller_retry_max_s,
        reprobe_first_s=settings.puller_reprobe_first_s,
        reprobe_max_s=settings.puller_reprobe_max_s,
        later_s=settings.puller_later_s,
        confirm_s=settings.puller_confirm_s,
    )


def _span(settings: PullerSettings) -> Span:
    return Span(settings.puller_back_days, settings.puller_ahead_days, settings.puller_roll_s)


def main(settings: PullerSettings) -> None:
    """Tell what people change in Outlook. Runs until it is told to end."""
    run(lambda: serve(settings))


command = command_of("puller", PullerSettings, main, configure_logging)

if __name__ == "__main__":
    command()
