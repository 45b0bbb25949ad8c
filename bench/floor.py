"""A bare loop in place of ingest: `python -m bench.floor`; what the libraries themselves cost, and nothing else.

Events from Kafka, one validation by the contract's models, one INSERT for 500, one wake-up for each, offsets. It plans
nothing, keeps no revisions apart, tells nobody of what is wrong and knows no settings: no ingest could do less.
"""

import asyncio
from datetime import UTC, datetime

import asyncpg
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord

from calbus.bus.batches import Record, send_all
from calbus.bus.kafka import topic_name
from calbus.entry import ItemKey, entry_id_of
from calbus.settings import KafkaSettings, PostgresSettings, load
from schemas.events import EVENT_TYPES, Topic
from schemas.items import ItemUpserted

BATCH_MAX_EVENTS = 500
_TABLE = "CREATE TABLE floor (entry_id uuid PRIMARY KEY, revision bigint NOT NULL, body jsonb NOT NULL, at timestamptz)"
_INSERT = """
INSERT INTO floor SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::jsonb[], $4::timestamptz[])
ON CONFLICT (entry_id) DO UPDATE SET revision = excluded.revision, body = excluded.body, at = excluded.at
"""


class Settings(KafkaSettings, PostgresSettings):
    """Where Kafka and PostgreSQL are."""


async def serve(settings: Settings) -> None:
    """Take events in until killed. When the table is there, it is ready."""
    reader = AIOKafkaConsumer(
        *(topic_name(settings, topic) for topic in (Topic.ACTIONS, Topic.CONTACTS)),
        bootstrap_servers=settings.kafka_bootstrap,
        group_id=f"{settings.topic_prefix}.ingest",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=600_000,
    )
    sender = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, enable_idempotence=True, acks="all")
    database = await asyncpg.connect(settings.postgres_dsn.get_secret_value())
    await reader.start()
    await sender.start()
    await database.execute(_TABLE)
    while True:
        fetched = await reader.getmany(timeout_ms=1_000, max_records=BATCH_MAX_EVENTS)
        if records := [record for of_partition in fetched.values() for record in of_partition]:
            await _take_in(records, database, sender, topic_name(settings, Topic.COMMANDS))
            await reader.commit()


async def _take_in(
    records: list[ConsumerRecord], database: asyncpg.Connection, sender: AIOKafkaProducer, commands: str
) -> None:
    items: list[ItemUpserted] = [
        EVENT_TYPES[dict(record.headers)["ce_type"].decode()].model.model_validate_json(record.value)  # type: ignore[misc]
        for record in records
    ]
    keys = [ItemKey(item.tenant, item.source, item.kind, item.id) for item in items]
    entry_ids = [entry_id_of(key, item.assignees[0]) for key, item in zip(keys, items, strict=True)]
    now = datetime.now(UTC)
    bodies = [record.value.decode() for record in records]
    await database.execute(_INSERT, entry_ids, [item.revision for item in items], bodies, [now] * len(items))
    wakeups = [
        Record(item.assignees[0].encode(), orjson.dumps({"tenant": item.tenant, "entry_id": str(entry_id)}), [])
        for item, entry_id in zip(items, entry_ids, strict=True)
    ]
    await send_all(sender, commands, wakeups)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(load(Settings)))
