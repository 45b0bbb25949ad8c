"""Which item a message was about that could not be read, as far as it lets that be seen. Pure."""

from datetime import datetime
from typing import Any

import orjson
from aiokafka import ConsumerRecord
from pydantic import TypeAdapter, ValidationError

from calbus.bus.cloudevents import UnreadableError
from calbus.store.unread import Unread
from schemas.fields import Identifier

DETAIL_MAX_CHARACTERS = 1_000

_IDENTIFIERS = TypeAdapter(tuple[Identifier, Identifier, Identifier])


def unread_of(record: ConsumerRecord, error: UnreadableError, now: datetime) -> Unread | None:
    """What to remember of it; None if it does not say which item it is about."""
    try:
        data: Any = orjson.loads(record.value or b"")
        inner = data.get("data")
        named = inner if isinstance(inner, dict) else data
        tenant, source, item_id = _IDENTIFIERS.validate_python(
            (named.get("tenant"), named.get("source"), named.get("id"))
        )
    except (orjson.JSONDecodeError, AttributeError, ValidationError):
        return None
    position = f"{record.topic}/{record.partition}/{record.offset}"
    detail = error.detail[:DETAIL_MAX_CHARACTERS].replace("\x00", "")
    return Unread(tenant, source, item_id, error.reason, detail, position, now)
