"""What came of the day, as any other system would see it: calendars in the simulator, messages on the bus.
Reads messages without calbus's own code, so that it cannot share a mistake with it."""

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRecord

from devstack.demo.ground import Ground
from devstack.demo.verdict import Actual, Appointment, Calendars, Change, GraphFigures
from schemas.events import Topic
from simulator.client import StoredEvent

READ_TIMEOUT_MS = 20
# A broker answers one request of a connection after the other: asking for the end offsets waits for the fetch before.
FETCH_WAIT_MS = 50


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter: why and where, never what."""

    reason: str
    detail: str
    place: str


@dataclass(slots=True)
class Bus:
    """What calbus has published so far."""

    consumer: AIOKafkaConsumer
    outcomes_topic: str
    changes_topic: str
    endings: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """By tenant/kind/id/revision/assignee: the ending of each CloudEvents id."""
    letters: dict[str, Letter] = field(default_factory=dict)
    """By CloudEvents id."""

    changes: dict[str, Change] = field(default_factory=dict)
    """By CloudEvents id."""

    async def read(self) -> None:
        """Take in what has come since."""
        fetched = await self.consumer.getmany(timeout_ms=READ_TIMEOUT_MS)
        for records in fetched.values():
            for record in records:
                self._take(record)

    async def read_to_end(self) -> None:
        """Take in everything that stands on the topics now."""
        ends = await self.consumer.end_offsets(self.consumer.assignment())
        while any([await self.consumer.position(partition) < end for partition, end in ends.items()]):
            await self.read()

    def missing(self, keys: set[str]) -> set[str]:
        """Those without an outcome so far."""
        return keys - self.endings.keys()

    def _take(self, record: ConsumerRecord) -> None:
        headers = dict(record.headers)
        event_id = headers["ce_id"].decode()
        if record.topic == self.outcomes_topic:
            outcome: dict[str, Any] = json.loads(record.value)
            key = "/".join(str(outcome[name]) for name in ("tenant", "kind", "id", "revision", "assignee"))
            self.endings[key][event_id] = f"{outcome['ending']} {outcome['reason']}"
        elif record.topic == self.changes_topic:
            self.changes[event_id] = _change(headers["ce_type"].decode(), json.loads(record.value))
        else:
            letter: dict[str, Any] = json.loads(headers["calbus_letter"])
            place = f"{letter['topic']}, partition {letter['partition']}, offset {letter['offset']}"
            self.letters[event_id] = Letter(letter["reason"], letter["detail"], place)


@asynccontextmanager
async def listening(ground: Ground) -> AsyncIterator[Bus]:
    """Listen to outcomes, changes and dead letters, from the first on."""
    outcomes, changes, letters = (ground.topic(one) for one in (Topic.OUTCOMES, Topic.CHANGES, Topic.DEAD_LETTERS))
    consumer = AIOKafkaConsumer(
        outcomes,
        changes,
        letters,
        bootstrap_servers=ground.kafka.kafka_bootstrap,
        group_id=None,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )
    await consumer.start()
    try:
        yield Bus(consumer, outcomes, changes)
    finally:
        await consumer.stop()


async def gather_actual(ground: Ground, bus: Bus) -> Actual:
    """Everything the verdict looks at."""
    return Actual(
        calendars=await _calendars(ground),
        outcomes={key: list(endings.values()) for key, endings in bus.endings.items()},
        dead_letters=[letter.reason for letter in bus.letters.values()],
        changes=list(bus.changes.values()),
        graph=await graph_figures(ground),
    )


async def graph_figures(ground: Ground) -> GraphFigures:
    """What the simulator has counted so far."""
    total = GraphFigures(violations=Counter())
    for directory in ground.directories:
        stats = await ground.office.stats(directory.id)
        total.requests += stats.requests
        total.batches += stats.batches
        # What calbus asks to be told of changes no calendar.
        subscribing = sum(number for name, number in stats.operations.items() if name.endswith("_subscription"))
        total.mutations += stats.mutations - subscribing
        total.refusals += stats.refusals
        total.invitations += stats.invitations
        total.violations.update(stats.violations)
    return total


async def _calendars(ground: Ground) -> Calendars:
    return {
        user.upn: sorted(_appointment(event) for event in await ground.office.events(directory.id, user.upn))
        for directory in ground.directories
        for user in await ground.office.users(directory.id)
    }


def _change(type_: str, data: dict[str, Any]) -> Change:
    names = ("tenant", "kind", "id", "user") if "entry_id" in data else ("tenant", "user")
    times = [datetime.fromisoformat(data[name]) if data.get(name) else None for name in ("start", "end")]
    return Change(type_, "/".join(str(data[name]) for name in names), *times)


def _appointment(event: StoredEvent) -> Appointment:
    return Appointment(
        start=event.start,
        end=event.end,
        subject=event.subject,
        zone=event.start_time_zone,
        all_day=event.is_all_day,
        category=", ".join(event.categories),
        show_as=event.graph["showAs"],
    )
