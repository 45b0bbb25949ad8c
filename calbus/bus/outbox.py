"""The outbox relay: events are stored in the transaction that decides them, and published from here.

At least once: rows are deleted in the transaction that read them, after Kafka acknowledged; a crash in between
publishes them again under the same CloudEvents id.
"""

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import asyncpg
from aiokafka import AIOKafkaProducer

from calbus import tracing
from calbus.bus.batches import Record, send_all
from calbus.bus.cloudevents import headers_for
from calbus.lifecycle import at_most
from calbus.outage import Dependency
from calbus.store import outbox
from calbus.store.outbox import Pending
from calbus.telemetry import CHANGE_SECONDS, OUTBOX_SECONDS, PUBLISHED
from schemas.events import Topic

if TYPE_CHECKING:
    from calbus.spans import Span

BATCH_MAX_EVENTS = 500
IDLE_S = 1.0


class Relay:
    """Publishes what stands in the outbox; several relays share the work."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        producer: AIOKafkaProducer,
        topic_prefix: str,
        *,
        postgres: Dependency,
        kafka: Dependency,
    ) -> None:
        self._pool = pool
        self._producer = producer
        self._topic_prefix = topic_prefix
        self._postgres = postgres
        self._kafka = kafka
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Say that there is something new, so that it need not wait for the next look."""
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled; looks by itself every second for what a crashed process left."""
        while True:
            self._wake.clear()
            # What comes after a batch that was not full has woken us, or is found by the next look.
            while await self._kafka.insist(lambda: self._postgres.insist(self.publish_batch)) == BATCH_MAX_EVENTS:
                pass
            try:
                await at_most(IDLE_S, self._wake.wait())
            except TimeoutError:
                continue

    async def publish_batch(self) -> int:
        """Publish up to 500 events; gives how many."""
        async with self._pool.acquire() as connection, connection.transaction():
            taken = await outbox.take(connection, BATCH_MAX_EVENTS)
            sending = _begin_sending(taken)
            outcomes = [event for event in taken if event.topic == Topic.OUTCOMES]
            events = [event for event in taken if event.topic != Topic.OUTCOMES]
            acknowledgements = [
                await self._producer.send(
                    f"{self._topic_prefix}.{event.topic}", value=event.value, key=event.key, headers=_headers(event)
                )
                for event in events
            ]
            if outcomes:
                records = (Record(event.key, event.value, _headers(event)) for event in outcomes)
                await send_all(self._producer, f"{self._topic_prefix}.{Topic.OUTCOMES}", records)
            for acknowledgement in acknowledgements:
                await acknowledgement
        tracing.end_all(sending)
        _count(taken, datetime.now(UTC))
        return len(taken)


def _count(events: list[Pending], now: datetime) -> None:
    for topic, number in Counter(event.topic for event in events).items():
        PUBLISHED.labels(topic).inc(number)
    OUTBOX_SECONDS.observe_all([max((now - event.decided_at).total_seconds(), 0.0) for event in events])
    happened = (event.happened_at for event in events if event.happened_at is not None)
    CHANGE_SECONDS.observe_all([max((now - happened_at).total_seconds(), 0.0) for happened_at in happened])


def _headers(event: Pending) -> list[tuple[str, bytes]]:
    headers = headers_for(event.model, event_id=event.event_id, source="/calbus", time=event.decided_at)
    return headers if event.trace is None else headers + tracing.headers_of(event.trace)


def _begin_sending(events: list[Pending]) -> list["Span"]:
    """A span for each event that is traced; whoever reads it goes on under that."""
    begun = []
    for event in events:
        if event.trace is None or not tracing.is_on():
            continue
        topic = tracing.topic_of(Topic(event.topic))
        about = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic,
            "messaging.message.id": event.event_id,
        }
        if (span := tracing.begin(f"send {topic}", "producer", about, parent=event.trace)) is not None:
            event.trace = span.context
            begun.append(span)
    return begun
