"""A bare pipeline in place of the writer: `python -m bench.writer_floor`; what its guarantees cost at least.

Wake-ups from Kafka, each entry marked before it is created and recorded with its outcome after, twenty in a `$batch`,
never more at a time in one mailbox than Graph lets, outcomes to Kafka. It knows creates and nothing else: no updates,
faults, budgets, gates, retries, traces or metrics, nobody's calendar but the default one, no other time zones than its
own names for them; and it commits offsets of what is not done, which a writer must not.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
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
from calbus.bus.kafka import BATCH_MAX_BYTES, topic_name
from calbus.correlation import client_request_id
from calbus.entry import transaction_id_of
from calbus.graph.calls import BATCH_MAX_REQUESTS
from calbus.graph.events import MARKER
from calbus.lifecycle import settle_memory
from calbus.outage import postgres
from calbus.settings import GraphSettings, KafkaSettings, PostgresSettings, load
from calbus.store.pool import connect
from schemas.events import Topic

GROUP_MAX_ENTRIES = 400
MAILBOX_AT_A_TIME = 4
CALLS_MAX = 64
COMMIT_S = 0.5
_HEADERS = {"Prefer": 'IdType="ImmutableId"', "Content-Type": "application/json"}

_LOAD = """
UPDATE entry SET in_doubt = true, doubted_at = now(), write_version = write_version + 1,
    applied_directory = directory, applied_mailbox = mailbox
WHERE entry_id = ANY ($1::uuid[]) AND owed
RETURNING entry_id, write_version, tenant, source, kind, id, assignee, revision, plan, mailbox, content, generation
"""
# One statement, so that no transaction has to be begun and ended.
_RECORD = """
WITH recorded AS (
    UPDATE entry e SET event_id = r.event_id, etag = r.etag, applied_hash = content_hash, applied_plan = plan,
        in_doubt = false, owed = false, due_at = NULL, applied_at = now(), write_version = e.write_version + 1
    FROM unnest($2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::bytea[])
        AS r (entry_id, write_version, event_id, etag, outcome)
    WHERE e.entry_id = r.entry_id AND e.write_version = r.write_version
    RETURNING e.entry_id::text AS key, e.plan, r.outcome
)
INSERT INTO outbox (topic, type, key, event_id, value, created_at)
SELECT $1, '', key, key || ':' || plan, outcome, now() FROM recorded
"""
_TAKE = """
DELETE FROM outbox WHERE outbox_id IN (SELECT outbox_id FROM outbox ORDER BY outbox_id LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING key, event_id, value
"""
TAKE_MAX_EVENTS = 500


class Settings(KafkaSettings, PostgresSettings, GraphSettings):
    """Where Kafka, PostgreSQL and the stub are."""


class Floor:
    """What is under way. A wake-up's key names its mailbox."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        pool: asyncpg.Pool,
        session: aiohttp.ClientSession,
        sender: AIOKafkaProducer,
        settings: Settings,
    ) -> None:
        self._tasks = tasks
        self._pool = pool
        self._session = session
        self._sender = sender
        self._url = f"{settings.graph_url}/$batch"
        self._outcomes = topic_name(settings, Topic.OUTCOMES)
        self._waiting: dict[bytes, deque[UUID]] = {}
        self._asking: Counter[bytes] = Counter()
        self._ready: deque[tuple[bytes, asyncpg.Record]] = deque()
        self._answered: list[tuple[asyncpg.Record, dict[str, Any]]] = []
        self._loading = self._recording = False
        self._calls = 0
        self._told = asyncio.Event()

    def take(self, records: Sequence[ConsumerRecord]) -> None:
        """Wake-ups came in."""
        for record in records:
            entry_id = QuickUUID(orjson.loads(record.value)["entry_id"])
            self._waiting.setdefault(record.key, deque()).append(entry_id)
        self._go_on()

    def _go_on(self) -> None:
        # While one group is under way the next gathers.
        if not self._loading and (group := self._next_group()):
            self._loading = True
            self._tasks.create_task(self._load(group))
        while self._calls < CALLS_MAX and (
            len(self._ready) >= BATCH_MAX_REQUESTS or (self._ready and not self._loading)
        ):
            self._calls += 1
            packed = [self._ready.popleft() for _ in range(min(len(self._ready), BATCH_MAX_REQUESTS))]
            self._tasks.create_task(self._send(packed))
        if not self._recording and self._answered:
            self._recording = True
            answered, self._answered = self._answered[:GROUP_MAX_ENTRIES], self._answered[GROUP_MAX_ENTRIES:]
            self._tasks.create_task(self._record(answered))

    def _next_group(self) -> dict[UUID, bytes]:
        """Entries of as many mailboxes as there are, of none more than it may be asked at a time."""
        group: dict[UUID, bytes] = {}
        for mailbox in list(self._waiting):
            entries = self._waiting[mailbox]
            while entries and self._asking[mailbox] < MAILBOX_AT_A_TIME:
                group[entries.popleft()] = mailbox
                self._asking[mailbox] += 1
            if not entries:
                del self._waiting[mailbox]
            if len(group) >= GROUP_MAX_ENTRIES:
                break
        return group

    async def _load(self, group: dict[UUID, bytes]) -> None:
        rows = await self._pool.fetch(_LOAD, list(group))
        if len(rows) < len(group):
            raise RuntimeError("a wake-up of an entry that owes nothing")
        self._ready += [(group[row["entry_id"]], row) for row in rows]
        self._loading = False
        self._go_on()

    async def _send(self, packed: list[tuple[bytes, asyncpg.Record]]) -> None:
        requests = [
            {
                "id": str(number),
                "method": "POST",
                "url": f"/users/{row['mailbox']}/calendar/events",
                "headers": {**_HEADERS, "client-request-id": client_request_id(None)},
                "body": event(row),
            }
            for number, (_, row) in enumerate(packed)
        ]
        async with self._session.post(self._url, data=orjson.dumps({"requests": requests})) as response:
            answers = orjson.loads(await response.read())["responses"]
        for answer in answers:
            if answer["status"] != 201:
                raise RuntimeError(f"refused with {answer['status']}")
            mailbox, row = packed[int(answer["id"])]
            self._asking[mailbox] -= 1
            self._answered.append((row, answer["body"]))
        self._calls -= 1
        self._go_on()

    async def _record(self, group: list[tuple[asyncpg.Record, dict[str, Any]]]) -> None:
        entry_ids, versions = [row["entry_id"] for row, _ in group], [row["write_version"] for row, _ in group]
        event_ids, etags = [body["id"] for _, body in group], [body["@odata.etag"] for _, body in group]
        now = time.time()
        values = [orjson.dumps(_outcome(row, now)) for row, _ in group]
        said = await self._pool.execute(_RECORD, self._outcomes, entry_ids, versions, event_ids, etags, values)
        if said != f"INSERT 0 {len(group)}":
            raise RuntimeError("an entry was recorded by somebody else")
        self._told.set()
        self._recording = False
        self._go_on()

    async def tell(self) -> None:
        """Publish outcomes, until killed."""
        while True:
            await self._told.wait()
            self._told.clear()
            while await self._tell() == TAKE_MAX_EVENTS:
                pass

    async def _tell(self) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(_TAKE, TAKE_MAX_EVENTS)
            headers = [("content-type", b"application/json"), ("ce_specversion", b"1.0"), ("ce_source", b"/calbus")]
            records = [Record(key.encode(), value, [*headers, ("ce_id", name.encode())]) for key, name, value in rows]
            await send_all(self._sender, self._outcomes, records)
        return len(rows)


def event(row: Any) -> dict[str, Any]:
    """The event as Graph is sent it."""
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
        "transactionId": str(transaction_id_of(row["entry_id"], row["generation"])),
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
    sender = AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap,
        enable_idempotence=True,
        acks="all",
        max_batch_size=BATCH_MAX_BYTES,
        max_request_size=2 * BATCH_MAX_BYTES,
    )
    await reader.start()
    await sender.start()
    connector, cookies = aiohttp.TCPConnector(limit=CALLS_MAX), aiohttp.DummyCookieJar()
    async with (
        connect(settings, postgres()) as pool,
        aiohttp.ClientSession(connector=connector, headers=TOKEN, cookie_jar=cookies) as session,
        asyncio.TaskGroup() as tasks,
    ):
        floor = Floor(tasks, pool, session, sender, settings)
        tasks.create_task(floor.tell())
        committed_s = 0.0
        while True:
            fetched = await reader.getmany(timeout_ms=1_000, max_records=2_000)
            floor.take([record for of_partition in fetched.values() for record in of_partition])
            if time.monotonic() - committed_s > COMMIT_S:
                committed_s = time.monotonic()
                await reader.commit()


if __name__ == "__main__":
    settle_memory()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(load(Settings)))
