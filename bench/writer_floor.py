"""A bare pipeline in place of the writer: `python -m bench.writer_floor`; what its guarantees cost at least.

Wake-ups from Kafka, each entry marked before it is created and recorded with its outcome after, twenty in a `$batch`,
never more at a time in one mailbox than Graph lets, outcomes to Kafka, offsets. It knows creates and nothing else: no
updates, faults, budgets, gates, retries, traces or metrics, nobody's calendar but the default one. No writer that keeps
an entry exactly once could do less.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Coroutine, Sequence
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import orjson
import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from asyncpg.pgproto.pgproto import UUID as QuickUUID  # noqa: N811

from bench.rivals import TOKEN
from calbus.bus.batches import Record, send_all
from calbus.bus.kafka import topic_name
from calbus.correlation import client_request_id
from calbus.graph.calls import BATCH_MAX_REQUESTS
from calbus.graph.events import MARKER
from calbus.settings import GraphSettings, KafkaSettings, PostgresSettings, load
from schemas.events import Topic

GROUP_MAX_ENTRIES = 400
GROUPS_MAX = 2
MAILBOX_AT_A_TIME = 3
CALLS_MAX = 64
COMMIT_S = 0.5
_HEADERS = {"Prefer": 'IdType="ImmutableId"', "Content-Type": "application/json"}

_LOAD = """
UPDATE entry SET in_doubt = true, doubted_at = now(), write_version = write_version + 1,
    applied_directory = directory, applied_mailbox = mailbox
WHERE entry_id = ANY ($1::uuid[]) AND owed
RETURNING entry_id, write_version, tenant, source, kind, id, assignee, revision, plan, mailbox, content
"""
_RECORD = """
UPDATE entry e SET event_id = r.event_id, etag = r.etag, applied_hash = content_hash, applied_plan = plan,
    in_doubt = false, owed = false, due_at = NULL, applied_at = now(), write_version = e.write_version + 1
FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[]) AS r (entry_id, write_version, event_id, etag)
WHERE e.entry_id = r.entry_id AND e.write_version = r.write_version
"""
_TELL = """
INSERT INTO outbox (topic, type, key, event_id, value, created_at)
SELECT $1, '', split_part(o.event_id, ':', 1), o.event_id, o.value, now()
FROM unnest($2::text[], $3::bytea[]) AS o (event_id, value)
"""
_TAKE = """
DELETE FROM outbox WHERE outbox_id IN (SELECT outbox_id FROM outbox ORDER BY outbox_id LIMIT 500 FOR UPDATE SKIP LOCKED)
RETURNING key, event_id, value
"""


class Settings(KafkaSettings, PostgresSettings, GraphSettings):
    """Where Kafka, PostgreSQL and the stub are."""


class Floor:
    """What is under way. A job is an entry's id and the key of its wake-up, which names its mailbox."""

    def __init__(
        self, pool: asyncpg.Pool, session: aiohttp.ClientSession, sender: AIOKafkaProducer, settings: Settings
    ) -> None:
        self._pool = pool
        self._session = session
        self._sender = sender
        self._url = f"{settings.graph_url}/$batch"
        self._outcomes = topic_name(settings, Topic.OUTCOMES)
        self._waiting: dict[bytes, deque[UUID]] = {}
        self._asking: Counter[bytes] = Counter()
        self._ready: deque[tuple[bytes, asyncpg.Record]] = deque()
        self._answered: list[tuple[asyncpg.Record, dict[str, Any]]] = []
        self._loading = self._recording = self._calls = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._told = asyncio.Event()

    def take(self, records: Sequence[ConsumerRecord]) -> None:
        """Wake-ups came in."""
        for record in records:
            entry_id = QuickUUID(orjson.loads(record.value)["entry_id"])
            self._waiting.setdefault(record.key, deque()).append(entry_id)
        self._go_on()

    def _go_on(self) -> None:
        while self._loading < GROUPS_MAX and (group := self._next_group()):
            self._loading += 1
            self._start(self._load(group))
        while self._ready and self._calls < CALLS_MAX:
            self._calls += 1
            packed = [self._ready.popleft() for _ in range(min(len(self._ready), BATCH_MAX_REQUESTS))]
            self._start(self._send(packed))
        if self._answered and self._recording < GROUPS_MAX:
            self._recording += 1
            answered, self._answered = self._answered[:GROUP_MAX_ENTRIES], self._answered[GROUP_MAX_ENTRIES:]
            self._start(self._record(answered))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        task.result()
        self._go_on()

    def _next_group(self) -> dict[UUID, bytes]:
        """Entries of as many mailboxes as there are, of none more than it may be asked at a time."""
        group: dict[UUID, bytes] = {}
        for mailbox, entries in list(self._waiting.items()):
            while entries and self._asking[mailbox] < MAILBOX_AT_A_TIME and len(group) < GROUP_MAX_ENTRIES:
                group[entries.popleft()] = mailbox
                self._asking[mailbox] += 1
            if not entries:
                del self._waiting[mailbox]
        return group

    async def _load(self, group: dict[UUID, bytes]) -> None:
        rows = await self._pool.fetch(_LOAD, list(group))
        self._ready += [(group[row["entry_id"]], row) for row in rows]
        self._loading -= 1

    async def _send(self, packed: list[tuple[bytes, asyncpg.Record]]) -> None:
        requests = [
            {
                "id": str(number),
                "method": "POST",
                "url": f"/users/{row['mailbox']}/calendar/events",
                "headers": {**_HEADERS, "client-request-id": client_request_id(None)},
                "body": _event(row),
            }
            for number, (_, row) in enumerate(packed)
        ]
        async with self._session.post(self._url, data=orjson.dumps({"requests": requests})) as response:
            answers = orjson.loads(await response.read())["responses"]
        for answer in answers:
            if answer["status"] != 201:
                raise RuntimeError(f"refused: {answer}")
            mailbox, row = packed[int(answer["id"])]
            self._asking[mailbox] -= 1
            self._answered.append((row, answer["body"]))
        self._calls -= 1

    async def _record(self, group: list[tuple[asyncpg.Record, dict[str, Any]]]) -> None:
        entry_ids, versions = [row["entry_id"] for row, _ in group], [row["write_version"] for row, _ in group]
        event_ids, etags = [body["id"] for _, body in group], [body["@odata.etag"] for _, body in group]
        now = time.time()
        values = [orjson.dumps(_outcome(row, now)) for row, _ in group]
        names = [f"{row['entry_id']}:{row['plan']}" for row, _ in group]
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_RECORD, entry_ids, versions, event_ids, etags)
            await connection.execute(_TELL, self._outcomes, names, values)
        self._told.set()
        self._recording -= 1

    async def tell(self) -> None:
        """Publish outcomes, until killed."""
        while True:
            await self._told.wait()
            self._told.clear()
            while await self._tell():
                pass

    async def _tell(self) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(_TAKE)
            headers = [("content-type", b"application/json"), ("ce_specversion", b"1.0"), ("ce_source", b"/calbus")]
            records = [Record(key.encode(), value, [*headers, ("ce_id", name.encode())]) for key, name, value in rows]
            await send_all(self._sender, self._outcomes, records)
        return len(rows)


def _event(row: asyncpg.Record) -> dict[str, Any]:
    content = orjson.loads(row["content"])
    return {
        "subject": content["subject"],
        "body": {"contentType": "text", "content": content["body"]},
        "start": {"dateTime": content["start"], "timeZone": content["time_zone"]},
        "end": {"dateTime": content["end"], "timeZone": content["time_zone"]},
        "isAllDay": content["all_day"],
        "showAs": content["show_as"],
        "importance": content["importance"],
        "sensitivity": "private" if content["private"] else "normal",
        "categories": [content["category"]],
        "isReminderOn": content["reminder_minutes"] is not None,
        "reminderMinutesBeforeStart": content["reminder_minutes"] or 0,
        "location": {"displayName": content["place"]},
        "transactionId": client_request_id(None),
        "singleValueExtendedProperties": [{"id": MARKER, "value": str(row["entry_id"])}],
    }


def _outcome(row: asyncpg.Record, now: float) -> dict[str, Any]:
    return {
        "tenant": row["tenant"],
        "source": row["source"],
        "kind": row["kind"],
        "id": row["id"],
        "revision": row["revision"],
        "assignee": row["assignee"],
        "entry_id": str(row["entry_id"]),
        "plan": row["plan"],
        "ending": "applied",
        "reason": "written",
        "decided_at": now,
    }


async def serve(settings: Settings) -> None:
    """Work wake-ups off until killed."""
    reader = AIOKafkaConsumer(
        topic_name(settings, Topic.COMMANDS),
        bootstrap_servers=settings.kafka_bootstrap,
        group_id=f"{settings.topic_prefix}.floor",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=600_000,
    )
    sender = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, enable_idempotence=True, acks="all")
    await reader.start()
    await sender.start()
    pool = await asyncpg.create_pool(settings.postgres_dsn.get_secret_value(), min_size=1, max_size=2 * GROUPS_MAX + 1)
    connector = aiohttp.TCPConnector(limit=CALLS_MAX)
    async with aiohttp.ClientSession(connector=connector, headers=TOKEN) as session, asyncio.TaskGroup() as tasks:
        floor = Floor(pool, session, sender, settings)
        tasks.create_task(floor.tell())
        committed_s = 0.0
        while True:
            fetched = await reader.getmany(timeout_ms=1_000, max_records=2_000)
            floor.take([record for of_partition in fetched.values() for record in of_partition])
            # What is not done yet would be lost in a crash: this is a measure, not a writer.
            if time.monotonic() - committed_s > COMMIT_S:
                committed_s = time.monotonic()
                await reader.commit()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(load(Settings)))
