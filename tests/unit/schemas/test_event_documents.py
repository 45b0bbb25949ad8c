"""The generated documents: up to date, valid, complete, and limiting everything that the models limit."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from schemas import fields, generate
from schemas.asyncapi import asyncapi_document
from schemas.events import EVENT_TYPES, TOPICS, EventType, Topic
from schemas.examples import EXAMPLES
from schemas.json_schema import schema_of
from schemas.reasons import Reason
from schemas.results import Ending
from schemas.tables import MarkerError, with_tables

EVENTS = pytest.mark.parametrize("event", EVENT_TYPES.values(), ids=lambda event: event.name)
PAGE = generate.PAGE.read_text(encoding="utf-8")


def validator(event: EventType) -> Draft202012Validator:
    return Draft202012Validator(schema_of(event), format_checker=Draft202012Validator.FORMAT_CHECKER)


def leaves(node: object, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema that describes a string, an array, a number or an object."""
    if not isinstance(node, dict):
        return
    if "type" in node:
        yield path, node
    for keyword in ("properties", "$defs"):
        for name, inner in node.get(keyword, {}).items():
            yield from leaves(inner, f"{path}.{name}")
    for inner in node.get("anyOf", []):
        yield from leaves(inner, path)
    yield from leaves(node.get("items"), f"{path}[]")


# --- drift ---


def test_what_is_committed_is_what_the_models_say() -> None:
    stale = [path.name for path in generate.out_of_date(generate.documents())]
    assert stale == [], "run `make schemas`"


@pytest.fixture
def empty_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    page = tmp_path / "page.md"
    page.write_text(re.sub(r"(-->\n)\n\|.*?\n(<!-- /g)", r"\1\2", PAGE, flags=re.DOTALL), encoding="utf-8")
    assert "| `written` |" not in page.read_text(encoding="utf-8")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "GENERATED", tmp_path / "generated")
    monkeypatch.setattr(generate, "PAGE", page)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["generate", *arguments])
    generate.main()


def test_the_generator_writes_what_the_check_then_accepts(
    empty_checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit, match=r"Out of date.*\n  generated/calbus\.action\.upserted\.v1\.json"):
        run(monkeypatch, "--check")
    assert not (empty_checkout / "generated").exists()
    run(monkeypatch)
    run(monkeypatch, "--check")
    assert (empty_checkout / "page.md").read_text(encoding="utf-8") == PAGE


@pytest.mark.parametrize("name", ["generated/asyncapi.json", "generated/calbus.outcome.v1.json", "page.md"])
def test_the_check_sees_every_change(name: str, empty_checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch)
    file = empty_checkout / name
    file.write_text(file.read_text(encoding="utf-8").replace("The reason in words", "Words"), encoding="utf-8")
    if name == "generated/asyncapi.json":
        file.write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit, match=re.escape(name)):
        run(monkeypatch, "--check")


def test_a_document_of_an_event_that_is_no_more_is_removed(
    empty_checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch)
    left_over = empty_checkout / "generated" / "calbus.action.moved.v1.json"
    left_over.write_text("{}", encoding="utf-8")
    with pytest.raises(SystemExit, match="moved"):
        run(monkeypatch, "--check")
    run(monkeypatch)
    assert not left_over.exists()


# --- JSON Schemas ---


@EVENTS
def test_a_schema_is_valid_and_says_what_it_is(event: EventType) -> None:
    schema = schema_of(event)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:calbus:schema:{event.name}"
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["title"] == event.model.__name__
    assert schema["examples"]


@EVENTS
def test_every_field_is_described_in_one_line(event: EventType) -> None:
    for name, field in schema_of(event)["properties"].items():
        assert re.fullmatch(r"\S.*[.)]", field["description"]), name
        assert "  " not in field["description"], name


@EVENTS
def test_everything_in_a_schema_has_a_limit(event: EventType) -> None:
    unlimited = []
    for path, leaf in leaves(schema_of(event)):
        match leaf["type"]:
            case "string":
                limited = bool(leaf.keys() & {"maxLength", "enum", "const", "format"})
            case "array":
                limited = "maxItems" in leaf and "items" in leaf
            case "integer":
                limited = leaf.keys() >= {"minimum", "maximum"}
            case "object":
                limited = "properties" in leaf
            case other:
                limited = other in ("boolean", "null")
        if not limited:
            unlimited.append(path)
    assert unlimited == []


def test_the_walk_over_a_schema_goes_everywhere() -> None:
    paths = {path for path, _ in leaves(schema_of(EVENT_TYPES["calbus.contact.upserted.v1"]))}
    assert paths >= {".tenant", ".start", ".assignees", ".assignees[]", ".Client", ".Client.id", ".Status"}


@EVENTS
def test_patterns_mean_the_same_in_ecmascript(event: EventType) -> None:
    patterns = [leaf["pattern"] for _, leaf in leaves(schema_of(event)) if "pattern" in leaf]
    assert patterns
    for pattern in patterns:
        re.compile(pattern)
        assert pattern.startswith("^")
        assert pattern.endswith("$")
        assert "\x00" not in pattern
        assert not re.search(r"\\[AZzGQEdwb]|\(\?(?![:=!])|[*+?}]\+", pattern), pattern


def test_what_calbus_publishes_always_has_every_field() -> None:
    for event in EVENT_TYPES.values():
        schema = schema_of(event)
        if not event.from_upstream:
            assert schema["required"] == list(schema["properties"])


# --- examples ---


@EVENTS
def test_the_examples_are_valid_for_the_model_and_the_schema(event: EventType) -> None:
    for name, example in EXAMPLES[event.model].items():
        validator(event).validate(example)
        read = event.model.model_validate_json(json.dumps(example))
        validator(event).validate(read.model_dump(mode="json"))
        assert example.keys() <= event.model.model_fields.keys(), name


@EVENTS
def test_one_example_is_complete_and_one_is_minimal(event: EventType) -> None:
    shown = [example.keys() for example in EXAMPLES[event.model].values()]
    required = set(schema_of(event)["required"])
    alternatives = {"end", "duration", "recurrence", "occurrences"}
    assert any(keys >= event.model.model_fields.keys() - alternatives for keys in shown)
    assert any(keys == required for keys in shown)


# --- the schema and the model agree ---

ADAPTERS = {
    name: TypeAdapter(getattr(fields, name))
    for name in ("Identifier", "ShortText", "Title", "Name", "LongText", "Link", "Mailbox", "Directory", "Revision")
}


def made_by(schema: dict[str, Any]) -> st.SearchStrategy[object]:
    if schema["type"] == "integer":
        return st.integers(schema["minimum"], schema["maximum"])
    made = st.from_regex(schema["pattern"], fullmatch=True, alphabet=st.characters(codec="utf-8"))
    return made.filter(lambda text: schema.get("minLength", 0) <= len(text) <= schema["maxLength"])


@pytest.mark.parametrize("name", ADAPTERS)
@given(data=st.data())
def test_what_a_schema_allows_the_model_accepts(name: str, data: st.DataObject) -> None:
    adapter = ADAPTERS[name]
    value = data.draw(made_by(adapter.json_schema()))
    adapter.validate_json(json.dumps(value))


MOMENT = TypeAdapter(fields.Moment)
DURATION = TypeAdapter(fields.Duration)


def refusal_of(adapter: TypeAdapter[Any], value: object) -> str:
    try:
        adapter.validate_json(json.dumps(value))
    except ValidationError as refusal:
        return str(refusal)
    return ""


@given(st.one_of(made_by(kind) for kind in MOMENT.json_schema()["anyOf"]))
def test_what_the_schema_allows_as_a_time_the_model_accepts_if_there_is_such_a_day(written: object) -> None:
    refusal = refusal_of(MOMENT, written)
    assert refusal == "" or "day is out of range for month" in refusal


@given(made_by(DURATION.json_schema()))
def test_what_the_schema_allows_as_a_duration_the_model_accepts_up_to_its_limit(written: object) -> None:
    refusal = refusal_of(DURATION, written)
    assert refusal == "" or "must lie between zero and 366 days" in refusal


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start", "2026-03-31T09:00"),
        ("start", "2026-03-31T09:00:00+02:00"),
        ("start", None),
        ("duration", "PT1H"),
        ("title", "x"),
    ],
)
def test_an_action_with_this_is_valid(field: str, value: object) -> None:
    action = EVENT_TYPES["calbus.action.upserted.v1"]
    validator(action).validate(EXAMPLES[action.model]["minimal"] | {field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("start", 20260331),
        ("start", "20260331"),
        ("start", "2026-03-31 09:00"),
        ("start", "2026-02-30"),
        ("duration", "P1M"),
        ("duration", 45),
        ("title", " "),
        ("title", "a\x00b"),
        ("description", "a\x00b"),
        ("recurrence", "a\x00b"),
        ("id", "a/b"),
        ("id", "\x00"),
        ("assignees", ["u-1", "u-1"]),
        ("revision", "1"),
        ("private", "yes"),
    ],
)
def test_the_schema_refuses_what_the_model_refuses(field: str, value: object) -> None:
    action = EVENT_TYPES["calbus.action.upserted.v1"]
    data = EXAMPLES[action.model]["minimal"] | {field: value}
    assert not validator(action).is_valid(data)
    with pytest.raises(ValidationError):
        action.model.model_validate_json(json.dumps(data))


@pytest.mark.parametrize("name", ["calbus.outcome.v1", "calbus.dead-letter.v1"])
def test_the_list_of_reasons_is_open_to_readers(name: str) -> None:
    event = EVENT_TYPES[name]
    example = next(iter(EXAMPLES[event.model].values()))
    assert schema_of(event)["properties"]["reason"]["x-extensible-enum"] == list(Reason)
    assert validator(event).is_valid(example | {"reason": "a_reason_of_next_year"})
    assert not validator(event).is_valid(example | {"reason": "A sentence."})


# --- AsyncAPI ---


def resolve(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere() -> None:
    document = asyncapi_document()
    for reference in set(references(document)):
        if reference.startswith("#/"):
            assert resolve(document, reference)
        else:
            assert (generate.GENERATED / reference).exists()


def test_every_topic_is_a_channel_with_the_messages_that_travel_on_it() -> None:
    document = asyncapi_document()
    channels = {channel["title"]: channel for channel in document["channels"].values()}
    assert set(channels) == {topic.value for topic in Topic}
    compacted = (Topic.SETTINGS, Topic.ACCOUNT_STATUS)
    for topic, channel in channels.items():
        expected = {event.model.__name__ for event in EVENT_TYPES.values() if event.topic == topic}
        kafka = channel["bindings"]["kafka"]["topicConfiguration"]
        assert set(channel["messages"]) == expected
        assert channel["address"] == f"{{prefix}}.{topic}"
        assert kafka["max.message.bytes"] == TOPICS[Topic(topic)].max_message_bytes
        assert kafka["cleanup.policy"] == (["compact"] if topic in compacted else ["delete"])
        assert kafka["retention.ms"] == (-1 if topic in compacted else TOPICS[Topic(topic)].retention_days * 86_400_000)


def test_operations_are_told_from_where_calbus_stands() -> None:
    operations = asyncapi_document()["operations"]
    assert {name: operation["action"] for name, operation in operations.items()} == {
        "receiveActions": "receive",
        "receiveContacts": "receive",
        "receiveSettings": "receive",
        "receiveCommands": "receive",
        "sendCommands": "send",
        "sendOutcomes": "send",
        "sendAccountStatus": "send",
        "sendChanges": "send",
        "receiveRequests": "receive",
        "sendDeadLetters": "send",
    }
    assert {name for name, operation in operations.items() if operation.get("x-internal")} == {
        "receiveCommands",
        "sendCommands",
    }


@EVENTS
def test_a_message_names_its_headers_unless_it_is_internal(event: EventType) -> None:
    message = asyncapi_document()["components"]["messages"][event.model.__name__]
    internal = event.topic is Topic.COMMANDS
    assert message.get("x-internal", False) is internal
    if internal:
        assert "headers" not in message
    else:
        assert message["headers"]["properties"]["ce_type"]["const"] == event.name
        assert message["headers"]["properties"]["ce_specversion"]["const"] == "1.0"
        assert {"ce_id", "ce_source", "ce_time", "content-type"} <= message["headers"]["properties"].keys()


# --- the page ---


def test_the_page_names_every_ending_and_reason() -> None:
    assert [word for word in (*Ending, *Reason) if f"| `{word}` |" not in PAGE] == []


def test_filling_in_the_page_twice_changes_nothing() -> None:
    assert with_tables(PAGE) == PAGE
    assert with_tables(PAGE.replace("| `written` |", "| `wrote` |")) == PAGE


@pytest.mark.parametrize(
    "change", [("generated: reasons -->", "generated: raisins -->"), ("<!-- generated: topics -->", "")]
)
def test_a_marker_that_is_wrong_or_missing_is_told(change: tuple[str, str]) -> None:
    with pytest.raises(MarkerError):
        with_tables(PAGE.replace(*change))


def test_the_structured_example_of_the_page_is_what_it_says() -> None:
    found = re.search(r"^value +(\{\"specversion.*?\}\})\n```", PAGE, flags=re.DOTALL | re.MULTILINE)
    assert found
    envelope = json.loads(found[1])
    event = EVENT_TYPES[envelope["type"]]
    assert envelope["data"] == EXAMPLES[event.model]["minimal"]
