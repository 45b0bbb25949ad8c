"""One batch of messages: read it, plan it, store it, tell about it. The offsets move only after this returns.

The decisions stand in intake.py and planner.py; here is the order of effects and what happens when one fails.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial

import asyncpg
from aiokafka import AIOKafkaProducer, ConsumerRecord
from pydantic import TypeAdapter

from calbus.bus.cloudevents import Event, UnreadableError, decode
from calbus.bus.dead_letters import send_dead_letters
from calbus.bus.kafka import topic_name
from calbus.bus.wakeups import send_wakeups
from calbus.correlation import correlation_of
from calbus.outage import Dependency
from calbus.outcomes import Told
from calbus.revisions import Verdict
from calbus.settings import KafkaSettings
from calbus.store import entries, items, outbox, switches, unread
from calbus.store.connection import Connection
from calbus.store.entries import Due
from calbus.store.touched import end_overrides, overrides_of
from calbus.telemetry import INGEST_SECONDS, OUTCOMES, PLANS, RECORDS, UNPLANNABLE, frames_of, log
from schemas.events import Topic
from schemas.fields import Identifier
from schemas.items import ItemEvent
from schemas.reasons import Reason
from schemas.results import AccessRecheckRequested, RemovalsConfirmed, SyncRequested
from schemas.switches import Scope, SettingsEvent, settings_key
from services.ingest import removals
from services.ingest.breaker import Thresholds
from services.ingest.intake import Arrival, Intake, arrival_of, settings_needed, take_in
from services.ingest.spans import Arriving, follow
from services.ingest.unread import unread_of

GROUP = "ingest"
INPUT = (Topic.ACTIONS, Topic.CONTACTS, Topic.SETTINGS, Topic.REQUESTS)

NOT_STORABLE = "a message cannot be stored"

_IDENTIFIER = TypeAdapter(Identifier)

Unreadable = tuple[ConsumerRecord, UnreadableError]
Change = tuple[ConsumerRecord, switches.SettingKey, SettingsEvent | None]


class UnplannableError(Exception):
    """Planning one of these items raised what it never should; whose move: calbus's developers. Caused by the error."""


@contextmanager
def planning() -> Iterator[None]:
    """Around pure planning: whatever it raises becomes an UnplannableError, so that no outage is mistaken for one."""
    try:
        yield
    except Exception as error:
        raise UnplannableError from error


@dataclass(slots=True)
class _Batch:
    spans: Arriving
    items: list[tuple[ConsumerRecord, Arrival]] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    requests: list[tuple[ConsumerRecord, AccessRecheckRequested | RemovalsConfirmed]] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Left:
    """What a batch leaves to others: outcomes stored for the relay, and changed settings for the replanner."""

    outcomes: int
    changes: int


class Handler:
    """Does the work of a batch. Repeating one that was interrupted changes nothing that was done."""

    def __init__(
        self,
        settings: KafkaSettings,
        pool: asyncpg.Pool,
        producer: AIOKafkaProducer,
        thresholds: Thresholds,
        watch: removals.Watch,
        *,
        postgres: Dependency,
        kafka: Dependency,
    ) -> None:
        self._settings = settings
        self._thresholds = thresholds
        self._watch = watch
        self._pool = pool
        self._producer = producer
        self._postgres = postgres
        self._kafka = kafka
        self._prefix = f"{settings.topic_prefix}."
        self._group = f"{settings.topic_prefix}.{GROUP}"
        self._topics = {topic_name(settings, topic): topic for topic in INPUT}
        self._item_topics = frozenset(topic_name(settings, topic) for topic in (Topic.ACTIONS, Topic.CONTACTS))

    async def handle(self, records: Sequence[ConsumerRecord]) -> Left:
        """Take a batch in; gives what it leaves to others.

        Returns only when every message is planned, ignored with a count, or acknowledged as a dead letter.
        """
        began_s = time.perf_counter()
        batch = self._read(records)
        # In the order in which tenants and the status of their accounts are locked everywhere, so that two processes
        # never wait for each other's locks; the sort is stable, so the messages of one setting stay in theirs.
        batch.changes.sort(key=lambda change: (change[1].tenant, change[1].name))
        if batch.changes:
            verdicts = await self._postgres.insist(lambda: self._change_settings(batch.changes))
            for (record, _, settings), verdict in zip(batch.changes, verdicts, strict=True):
                self._judge(record, verdict, settings.revision if settings else 0, batch)
        wakeups, outcomes = await self._take_in(batch)
        for record, request in batch.requests:
            answer = partial(self._answer, request, _published_at(record, time.time()))
            await self._postgres.insist(answer)
            self._count(record, Verdict.ACCEPTED)
        await self._kafka.insist(lambda: self._tell(wakeups, batch.unreadable))
        await self._remember(batch.unreadable)
        batch.spans.end()
        INGEST_SECONDS.observe(time.perf_counter() - began_s)
        return Left(outcomes, len(batch.changes))

    def _read(self, records: Sequence[ConsumerRecord]) -> _Batch:
        batch = _Batch(Arriving(self._group))
        now_s = time.time()
        for record in records:
            try:
                if record.topic in self._item_topics:
                    self._read_item(record, batch, now_s)
                else:
                    self._read_other(record, batch)
            except UnreadableError as error:
                batch.unreadable.append((record, error))
                batch.spans.refuse(record, error.reason)
                self._count(record, "dead_letter")
        return batch

    def _read_item(self, record: ConsumerRecord, batch: _Batch, now_s: float) -> None:
        event = self._decode(record)
        item: ItemEvent = event.data  # type: ignore[assignment] # no other type belongs on these topics
        correlation = correlation_of(event.source, event.id)
        try:
            arrival = arrival_of(item, _published_at(record, now_s), correlation)
        except Exception as error:  # noqa: BLE001 (ours, as in planning: it costs one message, and not the batch)
            name = tell_at_fault(NOT_STORABLE, "message", error, unplannable=True)
            raise UnreadableError(Reason.NOT_STORABLE, name) from None
        arrival.trace = batch.spans.begin(record, item.tenant, correlation)
        batch.items.append((record, arrival))

    def _read_other(self, record: ConsumerRecord, batch: _Batch) -> None:
        if record.value is None and self._topics[record.topic] is Topic.SETTINGS:
            batch.changes.append((record, _key_of_tombstone(record.key), None))
            return
        data = self._decode(record).data
        if isinstance(data, AccessRecheckRequested | RemovalsConfirmed):
            batch.requests.append((record, data))
            return
        if isinstance(data, SyncRequested):
            # For the puller, which reads the topic in a group of its own; what nobody can read ends here.
            self._count(record, "ignored")
            return
        assert isinstance(data, SettingsEvent)
        expected = settings_key(data)
        if record.key != expected.encode():
            raise UnreadableError(Reason.INVALID_KEY, "the key must be made of scope, tenant and name")
        batch.changes.append((record, switches.key_of(data), data))

    def _decode(self, record: ConsumerRecord) -> Event:
        """The message as an event of its topic; raises UnreadableError."""
        event = decode(record.headers, record.value)
        if event.type.topic is not self._topics[record.topic]:
            raise UnreadableError(Reason.WRONG_TOPIC, f"{event.type.name} belongs on {event.type.topic}")
        return event

    async def _change_settings(self, changes: list[Change]) -> list[Verdict]:
        async with self._pool.acquire() as connection, connection.transaction():
            return [
                await switches.change(connection, key, settings, _published_at(record, time.time()))
                for record, key, settings in changes
            ]

    async def _answer(self, request: AccessRecheckRequested | RemovalsConfirmed, asked_at: datetime) -> None:
        """Do what is asked, by letting the sweeper find it due."""
        match request:
            case AccessRecheckRequested():
                await entries.ask_access(self._pool, request.tenant, assignee=request.assignee, owner=request.owner)
            case RemovalsConfirmed():
                await removals.confirm(self._pool, request, asked_at, datetime.now(UTC))
                self._watch.wake()

    async def _take_in(self, batch: _Batch) -> tuple[list[Due], int]:
        """Plan the items; one that the database refuses, or planning fails at, is found by halving: a dead letter."""
        wakeups: list[Due] = []
        outcomes = 0
        parts = [batch.items] if batch.items else []
        while parts:
            part = parts.pop()
            try:
                intake = await self._postgres.insist(lambda part=part: self._store([a for _, a in part]))  # type: ignore[misc]
            except (asyncpg.DataError, ValueError, UnplannableError) as error:
                # Refused by the database, or by our own models when they read what is stored, or planning has an error:
                # one message is at fault, and must not stop those of all other tenants.
                if len(part) > 1:
                    middle = len(part) // 2
                    parts += [part[middle:], part[:middle]]
                    continue
                name = tell_at_fault(NOT_STORABLE, "message", error)
                batch.spans.fail(part[0][1], Reason.NOT_STORABLE)
                batch.unreadable.append((part[0][0], UnreadableError(Reason.NOT_STORABLE, name)))
                self._count(part[0][0], "dead_letter")
                continue
            self._judge_all(part, intake.verdicts, batch)
            count_outcomes(intake.outcomes)
            PLANS.labels("event").inc(intake.plans)
            batch.spans.judge((arrival for _, arrival in part), intake.verdicts)
            _tell_taken_in(part, intake)
            if intake.removals:
                self._watch.wake()
            wakeups += due(intake)
            outcomes += len(intake.outcomes)
        return wakeups, outcomes

    def _judge_all(self, part: list[tuple[ConsumerRecord, Arrival]], verdicts: list[Verdict], batch: _Batch) -> None:
        counts: Counter[tuple[str, Verdict]] = Counter()
        for (record, arrival), verdict in zip(part, verdicts, strict=True):
            if verdict is Verdict.REUSED:
                self._judge(record, verdict, arrival.incoming.revision, batch)
            else:
                counts[record.topic, verdict] += 1
        for (topic, verdict), count in counts.items():
            RECORDS.labels(topic.removeprefix(self._prefix), verdict).inc(count)

    def _judge(self, record: ConsumerRecord, verdict: Verdict, revision: int, batch: _Batch) -> None:
        if verdict is Verdict.REUSED:
            detail = f"revision {revision} was seen before with other content"
            batch.unreadable.append((record, UnreadableError(Reason.REVISION_REUSED, detail)))
            self._count(record, "dead_letter")
        else:
            self._count(record, verdict)

    async def _store(self, arrivals: list[Arrival]) -> Intake:
        while True:
            try:
                async with self._pool.acquire() as connection, connection.transaction():
                    intake, alarms = await store(connection, arrivals, self._thresholds, datetime.now(UTC))
            except items.RacedError:
                continue
            removals.tell(alarms)
            return intake

    async def _tell(self, wakeups: list[Due], unreadable: list[Unreadable]) -> None:
        now = datetime.now(UTC)
        letters = topic_name(self._settings, Topic.DEAD_LETTERS)
        await send_dead_letters(self._producer, letters, unreadable, group=self._group, now=now)
        await send_wakeups(self._producer, topic_name(self._settings, Topic.COMMANDS), wakeups)

    async def _remember(self, unreadable: list[Unreadable]) -> None:
        """Keep, for `calbus why`, which items have dead letters."""
        now = datetime.now(UTC)
        known = [one for record, error in unreadable if (one := unread_of(record, error, now)) is not None]
        if known:
            await self._postgres.insist(lambda: unread.put(self._pool, known, now))

    def _count(self, record: ConsumerRecord, result: str) -> None:
        RECORDS.labels(record.topic.removeprefix(self._prefix), result).inc()


async def store(
    connection: Connection, arrivals: list[Arrival], thresholds: Thresholds, now: datetime
) -> tuple[Intake, list[removals.Alarm]]:
    """Plan the arrivals and store plans and outcomes, in the caller's transaction; with the alarms to tell after it.

    Raises items.RacedError, and UnplannableError if the planning of one of them fails.
    """
    upserts = [item for arrival in arrivals if (item := arrival.incoming.item) is not None]
    tenants = {arrival.key.tenant for arrival in arrivals}
    await switches.lock_for_planning(connection, tenants)
    stored = await items.lock_bare(connection, {arrival.key for arrival in arrivals})
    current = await entries.lock_of_items(connection, stored)
    settings = await switches.fetch(connection, settings_needed(upserts, current, tenants))
    overrides = await overrides_of(connection, [entry.entry_id for entry in current]) if current else {}
    with planning():
        intake = take_in(arrivals, stored, current, settings, now, overrides)
    await end_overrides(connection, intake.overrides_ended)
    await items.put(connection, intake.items, known=stored)
    alarms = await removals.judge_batch(connection, intake, current, thresholds, now)
    await entries.put_desired(connection, list(intake.planned.values()))
    await outbox.add_told(connection, intake.outcomes, now, await follow(connection, intake, current))
    return intake, alarms


def due(intake: Intake) -> list[Due]:
    """The entries that a writer has work with."""
    return [
        Due(entry.entry_id, entry.item.tenant, entry.target, intake.trace_of(entry) if intake.traces else None)
        for entry in (*(planned.entry for planned in intake.planned.values()), *intake.unsettled)
        if entry.owed and not entry.parked
    ]


def tell_at_fault(says: str, asked_by: str, error: Exception, *, unplannable: bool = False, **about: str) -> str:
    """Log that an item cannot be planned or stored, and count it if planning itself failed; gives the error's name."""
    cause = error.__cause__ if isinstance(error, UnplannableError) and error.__cause__ is not None else error
    if unplannable or cause is not error:
        UNPLANNABLE.labels(asked_by).inc()
    log.error(says, error=type(cause).__name__, frames=frames_of(cause), **about)
    return type(cause).__name__


def _tell_taken_in(part: list[tuple[ConsumerRecord, Arrival]], intake: Intake) -> None:
    """A line for each message, where somebody wants so many."""
    if not logging.getLogger("calbus").isEnabledFor(logging.DEBUG):
        return
    for (record, arrival), verdict in zip(part, intake.verdicts, strict=True):
        log.debug(
            "event taken in",
            correlation=arrival.correlation,
            tenant=arrival.key.tenant,
            revision=arrival.incoming.revision,
            verdict=verdict,
            position=f"{record.topic}/{record.partition}/{record.offset}",
        )


def count_outcomes(outcomes: Iterable[Told]) -> None:
    """Count decided outcomes, once their transaction has committed."""
    for (ending, reason), count in Counter((one.ending, one.reason) for one in outcomes).items():
        OUTCOMES.labels(ending, reason).inc(count)


def _published_at(record: ConsumerRecord, now_s: float) -> datetime:
    """The record's timestamp; now, if it cannot be one (a producer that counts in microseconds, say)."""
    published_ms = record.timestamp
    return _moment(published_ms) if 0 < published_ms <= now_s * 1_000 else datetime.fromtimestamp(now_s, UTC)


# Where there are many messages, there are many of one millisecond.
@lru_cache(maxsize=1_024)
def _moment(published_ms: int) -> datetime:
    return datetime.fromtimestamp(published_ms / 1_000, UTC)


def _key_of_tombstone(key: bytes | None) -> switches.SettingKey:
    try:
        match (key or b"").decode().split("/"):
            case [Scope.TENANT.value, tenant]:
                return switches.SettingKey(_IDENTIFIER.validate_python(tenant), Scope.TENANT, "")
            case [Scope.PROJECT.value | Scope.ACCOUNT.value as scope, *names] if len(names) == 2:
                tenant, name = map(_IDENTIFIER.validate_python, names)
                return switches.SettingKey(tenant, Scope(scope), name)
    except ValueError:
        pass
    raise UnreadableError(Reason.INVALID_KEY, "a null value needs the key of the setting it takes away")
