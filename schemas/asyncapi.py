"""The AsyncAPI 3.0 document: topics as channels, what calbus reads and writes there, and how a message looks. Pure."""

from schemas.events import EVENT_TYPES, TOPICS, EventType, Topic
from schemas.examples import EXAMPLES
from schemas.json_schema import Json
from schemas.results import DeadLetter, Outcome, Wakeup

CONTRACT_VERSION = "0.1.0"
"""Rises with every change of the generated documents that is released."""

_BINDING_VERSION = "0.5.0"
_DAY_MS = 24 * 60 * 60 * 1_000
_INTERNAL = {"x-internal": True, "tags": [{"name": "internal", "description": "Not part of the contract."}]}

_MODES = """\
Every message but the internal wake-up is a CloudEvent 1.0 over Kafka. calbus reads both modes and writes binary mode.

* Binary mode: the attributes are the headers `ce_specversion`, `ce_id`, `ce_source`, `ce_type` and `ce_time`; the \
header `content-type` is `application/json` and the value is the data as JSON in UTF-8. This is what the messages \
below describe.
* Structured mode: the header `content-type` is `application/cloudevents+json`, no `ce_` header is needed, and the \
value is one JSON object with `specversion`, `id`, `source`, `type`, `time`, `datacontenttype` and the same data \
under `data`."""


def asyncapi_document() -> Json:
    """The whole document. Payloads refer to the JSON Schemas in the files beside it."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "calbus",
            "version": CONTRACT_VERSION,
            "description": f"Business systems publish what people have planned; calbus writes it into their Outlook "
            f"calendars and tells how each revision ended.\n\n{_MODES}",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{bootstrap}",
                "protocol": "kafka-secure",
                "description": "The Kafka cluster that calbus and the upstream systems share.",
                "variables": {
                    "bootstrap": {
                        "description": "Host and port of a broker.",
                        "default": "kafka.example.com:9093",
                    }
                },
            }
        },
        "channels": {_camel(topic): _channel(topic) for topic in Topic},
        "operations": _operations(),
        "components": {
            "messages": {event.model.__name__: _message(event) for event in EVENT_TYPES.values()},
        },
    }


def _channel(topic: Topic) -> Json:
    shape = TOPICS[topic]
    retention_ms = -1 if shape.retention_days is None else shape.retention_days * _DAY_MS
    return {
        "address": f"{{prefix}}.{topic}",
        "title": topic.value,
        "description": f"{shape.says} Key: {shape.key}",
        "messages": {
            event.model.__name__: {"$ref": f"#/components/messages/{event.model.__name__}"}
            for event in _events_on(topic)
        },
        "parameters": {"prefix": {"description": "The deployment's prefix of topic names.", "default": "calbus"}},
        "bindings": {
            "kafka": {
                "topicConfiguration": {
                    "cleanup.policy": ["compact" if shape.compacted else "delete"],
                    "retention.ms": retention_ms,
                    "max.message.bytes": shape.max_message_bytes,
                },
                "bindingVersion": _BINDING_VERSION,
            }
        },
        **(_INTERNAL if topic is Topic.COMMANDS else {}),
    }


def _operations() -> Json:
    operations: Json = {}
    for topic in Topic:
        if topic is Topic.COMMANDS:
            operations[f"receive{_pascal(topic)}"] = _operation("receive", topic)
            operations[f"send{_pascal(topic)}"] = _operation("send", topic)
        else:
            action = "receive" if all(event.from_upstream for event in _events_on(topic)) else "send"
            operations[f"{action}{_pascal(topic)}"] = _operation(action, topic)
    return operations


def _operation(action: str, topic: Topic) -> Json:
    channel = f"#/channels/{_camel(topic)}"
    return {
        "action": action,
        "channel": {"$ref": channel},
        "summary": f"calbus {'reads' if action == 'receive' else 'writes'}: {TOPICS[topic].says}",
        "messages": [{"$ref": f"{channel}/messages/{event.model.__name__}"} for event in _events_on(topic)],
        **(_INTERNAL if topic is Topic.COMMANDS else {}),
    }


def _message(event: EventType) -> Json:
    message: Json = {
        "name": event.name,
        "title": event.model.__name__,
        "summary": " ".join((event.model.__doc__ or "").split()),
        "contentType": "application/json",
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": TOPICS[event.topic].key},
                "bindingVersion": _BINDING_VERSION,
            }
        },
    }
    payload: Json = {"$ref": f"./{event.name}.json"}
    if event.model is Wakeup:
        return {**message, "payload": payload, "examples": _examples(event), **_INTERNAL}
    if event.model is DeadLetter:
        return {**message, **_dead_letter(event)}
    return {**message, "headers": _headers(event), "payload": payload, "examples": _examples(event)}


def _dead_letter(event: EventType) -> Json:
    headers = _headers(event)
    headers["properties"]["calbus_letter"] = {
        "type": "string",
        "description": f"What is wrong: {event.name} as JSON.",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": f"./{event.name}.json"},
    }
    headers["patternProperties"] = {"^original_": {"description": "The original's headers, each under this prefix."}}
    headers["required"].append("calbus_letter")
    return {
        "headers": headers,
        "contentType": "application/octet-stream",
        "payload": {"description": "The original's value, byte for byte; null if it had none."},
    }


def _headers(event: EventType) -> Json:
    def header(description: str, **rules: object) -> Json:
        return {"type": "string", "description": description, **rules}

    return {
        "type": "object",
        "description": "CloudEvents attributes in binary mode.",
        "required": ["ce_specversion", "ce_id", "ce_source", "ce_type"],
        "properties": {
            "ce_specversion": header("The version of CloudEvents.", const="1.0"),
            "ce_id": header(_IDS.get(event.model, "Unique for this publisher; the same when a message is repeated.")),
            "ce_source": header("Names the publisher.", format="uri-reference"),
            "ce_type": header("The type of the event.", const=event.name),
            "ce_time": header("When it happened.", format="date-time"),
            "content-type": header("The form of the value.", const="application/json"),
        },
    }


_IDS = {
    Outcome: "`{entry_id}:{plan}`: the same when an outcome is published again, so that each is counted once.",
    DeadLetter: "`{topic}/{partition}/{offset}` of the original.",
}


def _examples(event: EventType) -> list[Json]:
    return [{"name": name, "payload": payload} for name, payload in EXAMPLES[event.model].items()]


def _events_on(topic: Topic) -> list[EventType]:
    return [event for event in EVENT_TYPES.values() if event.topic is topic]


def _pascal(topic: Topic) -> str:
    return "".join(part.capitalize() for part in topic.removesuffix(".v1").split("-"))


def _camel(topic: Topic) -> str:
    pascal = _pascal(topic)
    return pascal[0].lower() + pascal[1:]
