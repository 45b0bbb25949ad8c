"""Wake-ups: keyed by mailbox, so that one writer at a time owns it."""

from sys import intern
from uuid import UUID

import orjson
from aiokafka import AIOKafkaProducer, ConsumerRecord
from asyncpg.pgproto.pgproto import UUID as QuickUUID  # noqa: N811 (a UUID, made without Python's own work)

from calbus.bus.batches import Record, send_all
from calbus.store.entries import Due
from calbus.tracing import headers_of


async def send_wakeups(producer: AIOKafkaProducer, topic: str, due: list[Due]) -> None:
    """Wake the writers; returns when all are acknowledged. An entry without a mailbox goes to any one of them."""
    if due:
        await send_all(producer, topic, map(_record, due))


def _record(entry: Due) -> Record:
    entry_id = str(entry.entry_id)
    key = entry.target.lane if entry.target is not None else entry_id
    value = orjson.dumps({"tenant": entry.tenant, "entry_id": entry_id})
    return Record(key.encode(), value, headers_of(entry.trace))


def read_wakeup(record: ConsumerRecord) -> tuple[str, str, UUID] | None:
    """Lane, tenant and entry of a wake-up; None if it is not one, which only a foreign producer can cause."""
    try:
        fields = orjson.loads(record.value)
        # A hundred thousand of one tenant may wait at a time: they share its name.
        return record.key.decode(), intern(fields["tenant"]), QuickUUID(fields["entry_id"])
    except (TypeError, ValueError, KeyError, AttributeError):
        return None
