"""CloudEvents 1.0 over Kafka, binary and structured mode: bytes and headers to models, and back.

Pure: nothing here talks to Kafka. Written by hand because the published library parses every message twice and
takes Kafka's list of headers for a dictionary; the tests use that library as an independent witness.
"""

from base64 import b64decode
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

import orjson
from pydantic import ValidationError

from calbus.values import value
from schemas.events import EVENT_TYPES, TYPE_NAMES, EventType
from schemas.fields import Model
from schemas.reasons import Reason

Headers = Sequence[tuple[str, bytes]]

REQUIRED = ("specversion", "id", "source", "type")
_HEADERS = tuple(f"ce_{name}" for name in REQUIRED)
STRUCTURED = "application/cloudevents"
JSON = b"application/json"
FAULTS_NAMED_MAX = 10
_KNOWN: dict[bytes | None, EventType] = {name.encode(): event_type for name, event_type in EVENT_TYPES.items()}


class UnreadableError(Exception):
    """The message is not what the contract says; whose move: its publisher.

    `detail` names fields and rules, never values.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


@value
class Event:
    """A message that was understood."""

    type: EventType
    id: str
    source: str
    data: Model


def decode(headers: Headers, value: bytes | None) -> Event:
    """Read a message in either mode. Of headers with one name the last counts; first of all if it is in lower case.

    Raises UnreadableError with one of not_a_cloudevent, unknown_type, invalid_json, invalid_data.
    """
    named = dict(headers)
    if named.get("content-type") == JSON and (known := _KNOWN.get(named.get("ce_type"))) is not None:
        # As nearly all of them are: in binary mode, and as the contract has it.
        event_id, source = named.get("ce_id"), named.get("ce_source")
        if named.get("ce_specversion") == b"1.0" and event_id and source and value:
            data = _validated(known, value)
            return Event(known, event_id.decode("utf-8", "replace"), source.decode("utf-8", "replace"), data)
    return _decode_with_care(headers, value)


def _decode_with_care(headers: Headers, value: bytes | None) -> Event:
    """The same for whatever may come; says what is wrong with it."""
    named = {name.lower(): content for name, content in headers}
    content_type = (named.get("content-type") or b"").decode("utf-8", "replace").lower()
    data: bytes | None
    if content_type.startswith(STRUCTURED):
        attributes, data = _structured(content_type, value)
        given = [attributes.get(name) for name in REQUIRED]
    else:
        data = value
        given = [content.decode("utf-8", "replace") if (content := named.get(name)) else None for name in _HEADERS]
    version, event_id, source, type_name = given
    if not (version and event_id and source and type_name):
        absent = [name for name, content in zip(REQUIRED, given, strict=True) if not content]
        raise UnreadableError(Reason.NOT_A_CLOUDEVENT, f"missing attributes: {', '.join(absent)}")
    event_type = _known_type(version, type_name)
    if not data:
        raise UnreadableError(Reason.INVALID_JSON, "the message has no data")
    return Event(event_type, event_id, source, _validated(event_type, data))


def _structured(content_type: str, value: bytes | None) -> tuple[dict[str, str], bytes]:
    if "json" not in content_type.partition(";")[0]:
        raise UnreadableError(Reason.NOT_A_CLOUDEVENT, "structured mode is understood as JSON only")
    try:
        envelope: Any = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        raise UnreadableError(Reason.INVALID_JSON, "the structured event is not JSON") from None
    if not isinstance(envelope, dict):
        raise UnreadableError(Reason.NOT_A_CLOUDEVENT, "the structured event is not a JSON object")
    attributes = {name: content for name, content in envelope.items() if isinstance(content, str)}
    if "data_base64" in envelope:
        try:
            return attributes, b64decode(attributes.get("data_base64", ""), validate=True)
        except ValueError:
            raise UnreadableError(Reason.NOT_A_CLOUDEVENT, "data_base64 is not Base64") from None
    data = envelope.get("data")
    try:
        return attributes, orjson.dumps(data) if data is not None else b""
    except orjson.JSONEncodeError:  # orjson writes less deeply nested data than it reads
        raise UnreadableError(Reason.INVALID_JSON, "the data is nested too deeply") from None


def _known_type(version: str, type_name: str) -> EventType:
    if version != "1.0":
        raise UnreadableError(Reason.NOT_A_CLOUDEVENT, "specversion must be 1.0")
    event_type = EVENT_TYPES.get(type_name)
    if event_type is None:
        raise UnreadableError(Reason.UNKNOWN_TYPE, "the type is not in the contract")
    return event_type


def _validated(event_type: EventType, data: bytes) -> Model:
    try:
        return event_type.model.read_json(data)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        if faults[0]["type"] == "json_invalid":
            raise UnreadableError(Reason.INVALID_JSON, "the data is not JSON") from None
        named = [
            f"{'.'.join(map(str, fault['loc'])) or 'item'}: {fault['msg'].removeprefix('Value error, ')}"
            for fault in faults[:FAULTS_NAMED_MAX]
        ]
        if len(faults) > FAULTS_NAMED_MAX:
            named.append(f"and {len(faults) - FAULTS_NAMED_MAX} more")
        raise UnreadableError(Reason.INVALID_DATA, "; ".join(named)) from None


def headers_for(
    model: type[Model], *, event_id: str, source: str, time: datetime, content_type: bytes = JSON
) -> list[tuple[str, bytes]]:
    """The headers of binary mode for an event of this model."""
    return [*_headers_of_all(model, source, time, content_type), ("ce_id", event_id.encode())]


@lru_cache(maxsize=1_024)
def _headers_of_all(
    model: type[Model], source: str, time: datetime, content_type: bytes
) -> tuple[tuple[str, bytes], ...]:
    """What events of one model and one moment, of which hundreds are decided together, have in common."""
    return (
        ("content-type", content_type),
        ("ce_specversion", b"1.0"),
        ("ce_source", source.encode()),
        ("ce_type", TYPE_NAMES[model].encode()),
        ("ce_time", time.isoformat().encode()),
    )
