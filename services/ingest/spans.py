"""Spans of the messages that ingest takes in, and the contexts that go on from there. Nothing, while traces are off."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from aiokafka import ConsumerRecord

from calbus import tracing
from calbus.entry import Entry
from calbus.revisions import Verdict
from calbus.store import traces
from calbus.store.connection import Connection
from calbus.store.traces import NO_CONTEXTS, Contexts
from schemas.reasons import Reason
from services.ingest.intake import Arrival, Intake

if TYPE_CHECKING:
    from calbus.spans import Span


class Arriving:
    """The spans of one batch: one for each item's message, under its publisher's."""

    def __init__(self, group: str) -> None:
        self._group = group
        self._spans: dict[str, Span] = {}

    def begin(self, record: ConsumerRecord, tenant: str, correlation: str) -> str | None:
        """The message was understood; gives the context under which its work goes on."""
        if not tracing.is_on():
            return None
        about = {"calbus.tenant": tenant, "calbus.correlation": correlation}
        span = self._begin(record, about)
        if span is None:
            return None
        self._spans[span.context] = span
        return span.context

    def refuse(self, record: ConsumerRecord, reason: str) -> None:
        """The message could not be understood."""
        if tracing.is_on() and (span := self._begin(record, {})) is not None:
            span.fail(reason)
            span.end()

    def judge(self, arrivals: Iterable[Arrival], verdicts: Iterable[Verdict]) -> None:
        """What became of messages."""
        if self._spans:
            for arrival, verdict in zip(arrivals, verdicts, strict=True):
                if arrival.trace is None:
                    continue
                self._spans[arrival.trace].set("calbus.verdict", verdict)
                if verdict is Verdict.REUSED:
                    self.fail(arrival, Reason.REVISION_REUSED)

    def fail(self, arrival: Arrival, reason: str) -> None:
        """A message that was understood becomes a dead letter all the same."""
        if arrival.trace is not None:
            self._spans[arrival.trace].fail(reason)

    def end(self) -> None:
        """The batch is stored and told."""
        tracing.end_all(self._spans.values())

    def _begin(self, record: ConsumerRecord, about: dict[str, str]) -> "Span | None":
        return tracing.begin(
            f"process {record.topic}",
            "consumer",
            {
                "messaging.system": "kafka",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": record.topic,
                "messaging.destination.partition.id": str(record.partition),
                "messaging.kafka.offset": record.offset,
                "messaging.consumer.group.name": self._group,
                **about,
            },
            parent=tracing.context_in(record.headers),
        )


async def follow(connection: Connection, intake: Intake, before: Iterable[Entry]) -> Contexts:
    """Keep the contexts of what writers are to do; gives those of all plans that the outcomes may be of.

    In the caller's transaction, which has locked the entries `before`, and has stored the new plans.
    """
    if not tracing.is_on():
        return NO_CONTEXTS
    earlier = await traces.of(connection, [entry.entry_id for entry in before])
    planned = [one.entry for one in intake.planned.values()]
    going_on = {
        (entry.entry_id, entry.desired.plan): context
        for entry in planned
        if entry.owed and (context := intake.trace_of(entry)) is not None
    }
    over = {entry.entry_id for entry in planned} - {entry_id for entry_id, _ in going_on}
    await traces.forget(connection, over & {entry_id for entry_id, _ in earlier})
    await traces.put(connection, going_on)
    return {**earlier, **intake.traces}
