"""Dead letters: a message that could not be understood, kept whole beside what is wrong with it.

The record's value and key are the original's own bytes, and so are its headers, each prefixed `original_`; the
CloudEvent's attributes and `calbus_letter` (the DeadLetter as JSON) stand beside them. To replay one, strip the prefix.
"""

from datetime import datetime

from aiokafka import AIOKafkaProducer, ConsumerRecord

from calbus.bus.cloudevents import UnreadableError, headers_for
from calbus.telemetry import DEAD_LETTERS
from schemas.results import DeadLetter

ORIGINAL = "original_"
LETTER = "calbus_letter"
DETAIL_MAX_CHARACTERS = 2_000
# The topic takes 1,100,000 bytes; what stands beside the original takes the rest.
ORIGINAL_MAX_BYTES = 1_050_000
KEY_MAX_BYTES = 1_000


async def send_dead_letters(
    producer: AIOKafkaProducer,
    topic: str,
    unreadable: list[tuple[ConsumerRecord, UnreadableError]],
    *,
    group: str,
    now: datetime,
) -> None:
    """Publish one dead letter for each; returns when all are acknowledged, and raises if any is not.

    The CloudEvents id is the original's position, so that a repetition can be told.
    """
    acknowledgements = [
        await producer.send(
            topic,
            value=record.value if _fits(record) else None,
            key=record.key if _fits(record) or record.key is None else record.key[:KEY_MAX_BYTES],
            headers=_headers(record, error, group=group, now=now),
        )
        for record, error in unreadable
    ]
    for acknowledgement in acknowledgements:
        await acknowledgement
    for _, error in unreadable:
        DEAD_LETTERS.labels(error.reason).inc()


def _size(record: ConsumerRecord) -> int:
    headers = sum(len(ORIGINAL) + len(name) + len(content or b"") for name, content in record.headers)
    return len(record.value or b"") + len(record.key or b"") + headers


def _fits(record: ConsumerRecord) -> bool:
    # A compressed batch can carry more than its topic's limit says.
    return _size(record) <= ORIGINAL_MAX_BYTES


def _headers(record: ConsumerRecord, error: UnreadableError, *, group: str, now: datetime) -> list[tuple[str, bytes]]:
    letter = DeadLetter(
        reason=error.reason,
        detail=error.detail[:DETAIL_MAX_CHARACTERS],
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        timestamp_ms=record.timestamp,
        original_bytes=_size(record),
        original_kept=_fits(record),
        consumer_group=group,
        dead_at=now,
    )
    return [
        *headers_for(
            DeadLetter,
            event_id=f"{record.topic}/{record.partition}/{record.offset}",
            source=f"/calbus/{group}",
            time=now,
            # The original's own type, if it had one, stands beside it.
            content_type=b"application/octet-stream",
        ),
        (LETTER, letter.model_dump_json().encode()),
        *((f"{ORIGINAL}{name}", content) for name, content in record.headers if _fits(record)),
    ]
