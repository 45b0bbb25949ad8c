"""Publishing events from a file: one CloudEvent in JSON a line, all checked before the first is sent."""

from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from calbus.bus.cloudevents import UnreadableError, decode
from calbus.bus.kafka import producer, topic_name
from calbus.outage import kafka
from calbus.settings import KafkaSettings
from schemas.events import EVENT_TYPES, Topic
from schemas.fields import Model
from schemas.items import ActionDeleted, ActionUpserted, ContactDeleted, ContactUpserted
from schemas.results import AccessRecheckRequested, RemovalsConfirmed, SyncRequested
from schemas.switches import SettingsEvent, settings_key

Published = Counter[str]

HEADERS = [("content-type", b"application/cloudevents+json; charset=utf-8")]


class PublishError(Exception):
    """A line of the file is not an event that can be published; the message names the line and the fault."""


Message = tuple[Topic, bytes, bytes | None]
"""Topic, key and value; a value of None is a tombstone."""


def read_file(file: Path) -> list[Message]:
    """The file's events, in order: topic, key and value in structured mode.

    Raises PublishError if a line breaks the contract, unless it bears the attribute `calbusunchecked`, which is for
    showing what happens to malformed events.
    """
    lines = enumerate(file.read_bytes().splitlines(), start=1)
    return [_message(number, line) for number, line in lines if line.strip()]


async def publish(settings: KafkaSettings, messages: list[Message]) -> Published:
    """Send all, in order; gives how many went to each topic, once all are acknowledged."""
    published: Published = Counter()
    async with producer(settings, kafka()) as sender:
        acknowledgements = []
        for topic, key, value in messages:
            name = topic_name(settings, topic)
            acknowledgements.append(await sender.send(name, key=key, value=value, headers=HEADERS))
            published[name] += 1
        for acknowledgement in acknowledgements:
            await acknowledgement
    return published


def _message(number: int, line: bytes) -> Message:
    try:
        envelope: Any = orjson.loads(line)
        unchecked = isinstance(envelope, dict) and envelope.pop("calbusunchecked", False)
        if unchecked:
            return EVENT_TYPES[envelope["type"]].topic, str(envelope["id"]).encode(), orjson.dumps(envelope)
        event = decode(HEADERS, line)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise PublishError(f"line {number} is not a CloudEvent in JSON") from None
    except UnreadableError as error:
        raise PublishError(f"line {number}: {error.reason}: {error.detail}") from None
    if not event.type.from_upstream:
        raise PublishError(f"line {number}: {event.type.name} is published by calbus, not to it")
    return event.type.topic, key_of(event.data).encode(), line


def key_of(data: Model) -> str:
    """The message key that keeps an item's, a setting's or a tenant's messages together and in order."""
    if isinstance(data, ActionUpserted | ActionDeleted | ContactUpserted | ContactDeleted):
        return f"{data.tenant}/{data.source}/{data.id}"
    if isinstance(data, AccessRecheckRequested | RemovalsConfirmed | SyncRequested):
        return data.tenant
    assert isinstance(data, SettingsEvent)
    return settings_key(data)
