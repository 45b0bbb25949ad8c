"""CloudEvents over Kafka in both modes, with the published library as a witness, and whatever else may arrive."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event, to_binary_event, to_structured_event
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from calbus.bus.cloudevents import Headers, UnreadableError, _decode_with_care, decode, headers_for
from schemas.events import EVENT_TYPES, TYPE_NAMES
from schemas.examples import EXAMPLES
from schemas.fields import Model
from schemas.items import ActionUpserted, ItemUpserted
from schemas.reasons import Reason
from tests.unit import strategies as some
from tests.unit.strategies import upserted

NOW = datetime(2026, 11, 21, 9, 51, 35, tzinfo=UTC)
TYPE = TYPE_NAMES[ActionUpserted]
DATA = upserted().model_dump_json().encode()
STRUCTURED = [("content-type", b"application/cloudevents+json")]
ATTRIBUTES = {"specversion": "1.0", "id": "1", "source": "/planner", "type": TYPE}
UNREADABLE = {Reason.NOT_A_CLOUDEVENT, Reason.UNKNOWN_TYPE, Reason.INVALID_JSON, Reason.INVALID_DATA}

every_model = pytest.mark.parametrize(
    "model",
    [
        event.model.model_validate(example)
        for event in EVENT_TYPES.values()
        for example in EXAMPLES[event.model].values()
    ],
    ids=lambda model: type(model).__name__,
)


def binary(**changed: bytes | None) -> list[tuple[str, Any]]:
    """The headers of an action in binary mode, some of them changed; None leaves one out."""
    headers = {f"ce_{name}": value.encode() for name, value in ATTRIBUTES.items()} | changed
    return [(name, value) for name, value in headers.items() if value is not None]


def structured(data: Any = None, **changed: Any) -> bytes:
    """The same in structured mode."""
    envelope = ATTRIBUTES | {"data": json.loads(DATA) if data is None else data} | changed
    return json.dumps(envelope).encode()


def unreadable(headers: Headers, value: bytes | None) -> UnreadableError:
    with pytest.raises(UnreadableError) as caught:
        decode(headers, value)
    return caught.value


def fault_of(headers: Headers, value: bytes | None) -> UnreadableError | None:
    """What is wrong with a message, if anything."""
    try:
        decode(headers, value)
    except UnreadableError as error:
        return error
    return None


def headers_of(model: Model) -> list[tuple[str, bytes]]:
    return headers_for(type(model), event_id="42", source="/planner", time=NOW)


# -- round trips ------------------------------------------------------------------------------------------------------


@every_model
def test_binary_mode_reads_what_it_writes(model: Model) -> None:
    event = decode(headers_of(model), model.model_dump_json().encode())
    assert (event.data, event.id, event.source, event.type.model) == (model, "42", "/planner", type(model))


@every_model
def test_structured_mode_gives_the_same_event(model: Model) -> None:
    value = structured(json.loads(model.model_dump_json()), type=TYPE_NAMES[type(model)])
    assert decode(STRUCTURED, value).data == model


@given(some.items())
def test_any_item_comes_through_both_modes(item: ItemUpserted) -> None:
    written = item.model_dump_json()
    assert decode(headers_of(item), written.encode()).data == item
    value = structured(json.loads(written), type=TYPE_NAMES[type(item)])
    assert decode(STRUCTURED, value).data == item


# -- the published library --------------------------------------------------------------------------------------------


def of_the_library(model: Model) -> CloudEvent:
    attributes = {"id": "42", "source": "/planner", "type": TYPE_NAMES[type(model)], "specversion": "1.0", "time": NOW}
    return CloudEvent(attributes | {"datacontenttype": "application/json"}, json.loads(model.model_dump_json()))


@every_model
def test_the_library_reads_what_is_written(model: Model) -> None:
    headers = dict(headers_of(model))
    message = KafkaMessage(headers, None, model.model_dump_json().encode())
    event = from_kafka_event(message)
    assert event.get_data() == json.loads(model.model_dump_json())
    assert (event.get_id(), event.get_source(), event.get_time()) == ("42", "/planner", NOW)
    assert event.get_type() == TYPE_NAMES[type(model)]


@every_model
@pytest.mark.parametrize("write", [to_binary_event, to_structured_event])
def test_what_the_library_writes_is_read(model: Model, write: Any) -> None:
    message = write(of_the_library(model), JSONFormat())
    event = decode(list(message.headers.items()), message.value)
    assert (event.data, event.id, event.source) == (model, "42", "/planner")


# -- what is let through ----------------------------------------------------------------------------------------------


def test_the_case_of_header_names_does_not_matter() -> None:
    headers = [(name.upper(), value) for name, value in binary()]
    assert decode(headers, DATA).id == "1"


@pytest.mark.parametrize(
    "content_type",
    [
        b"application/cloudevents+json",
        b"application/cloudevents+json; charset=utf-8",
        b"Application/CloudEvents+JSON",
    ],
)
def test_structured_mode_is_known_by_its_content_type(content_type: bytes) -> None:
    assert decode([("Content-Type", content_type)], structured()).id == "1"


def test_headers_that_are_not_ours_are_ignored() -> None:
    assert decode([*binary(), ("traceparent", b"\xff"), ("empty", None), ("ce_extra", None)], DATA).id == "1"  # type: ignore[list-item]


# -- what is not ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
@pytest.mark.parametrize("value", [None, b""])
def test_a_missing_attribute_is_named_in_binary_mode(name: str, value: bytes | None) -> None:
    error = unreadable(binary(**{f"ce_{name}": value}), DATA)
    assert (error.reason, error.detail) == (Reason.NOT_A_CLOUDEVENT, f"missing attributes: {name}")


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
@pytest.mark.parametrize("value", [None, "", 1, {"a": 1}])
def test_a_missing_attribute_is_named_in_structured_mode(name: str, value: Any) -> None:
    error = unreadable(STRUCTURED, structured(**{name: value}))
    assert (error.reason, error.detail) == (Reason.NOT_A_CLOUDEVENT, f"missing attributes: {name}")


@pytest.mark.parametrize(
    ("headers", "value", "reason"),
    [
        ([], DATA, Reason.NOT_A_CLOUDEVENT),
        ([], None, Reason.NOT_A_CLOUDEVENT),
        ([(name, None) for name, _ in binary()], DATA, Reason.NOT_A_CLOUDEVENT),
        ([("content-type", None)], DATA, Reason.NOT_A_CLOUDEVENT),
        (binary(ce_specversion=b"0.3"), DATA, Reason.NOT_A_CLOUDEVENT),
        (binary(ce_type=b"calbus.action.upserted.v2"), DATA, Reason.UNKNOWN_TYPE),
        (binary(ce_type=b"\xff\xfe"), DATA, Reason.UNKNOWN_TYPE),
        (binary(), None, Reason.INVALID_JSON),
        (binary(), b"", Reason.INVALID_JSON),
        (binary(), b"{", Reason.INVALID_JSON),
        (binary(), b"\xff", Reason.INVALID_JSON),
        (binary(), b'{"title": "\xff"}', Reason.INVALID_JSON),
        (binary(), b'{"title": "\\ud800"}', Reason.INVALID_JSON),
        (binary(), DATA + b"\x00", Reason.INVALID_JSON),
        (binary(), b'{"a":' * 100_000, Reason.INVALID_JSON),
        (binary(), b"[]", Reason.INVALID_DATA),
        (binary(), b"null", Reason.INVALID_DATA),
        (binary(), b"{}", Reason.INVALID_DATA),
        (binary(), DATA.replace(b"Call back", b"Call\\u0000back"), Reason.INVALID_DATA),
        (STRUCTURED, None, Reason.INVALID_JSON),
        (STRUCTURED, b"", Reason.INVALID_JSON),
        (STRUCTURED, b"\xff", Reason.INVALID_JSON),
        (STRUCTURED, b"[" * 100_000, Reason.INVALID_JSON),
        (STRUCTURED, b"[]", Reason.NOT_A_CLOUDEVENT),
        (STRUCTURED, b"null", Reason.NOT_A_CLOUDEVENT),
        (STRUCTURED, structured(specversion="0.3"), Reason.NOT_A_CLOUDEVENT),
        (STRUCTURED, structured(type="unheard of"), Reason.UNKNOWN_TYPE),
        (STRUCTURED, json.dumps(ATTRIBUTES).encode(), Reason.INVALID_JSON),
        (STRUCTURED, json.dumps(ATTRIBUTES | {"data": None}).encode(), Reason.INVALID_JSON),
        (STRUCTURED, structured([]), Reason.INVALID_DATA),
        (STRUCTURED, structured("text"), Reason.INVALID_DATA),
        ([("content-type", b"application/cloudevents+avro")], structured(), Reason.NOT_A_CLOUDEVENT),
        ([("content-type", b"application/cloudevents-batch+json")], b"[]", Reason.NOT_A_CLOUDEVENT),
    ],
)
def test_what_cannot_be_read_is_told_apart(headers: Any, value: bytes | None, reason: Reason) -> None:
    assert unreadable(headers, value).reason is reason


def test_every_wrong_field_is_named() -> None:
    data = json.loads(DATA) | {"revision": 0, "status": "stuck", "assignees": ["anna", ""]}
    detail = unreadable(binary(), json.dumps(data).encode()).detail
    assert [part.partition(":")[0] for part in detail.split("; ")] == ["revision", "status", "assignees.1"]


def test_of_many_faults_the_first_are_named_and_the_others_counted() -> None:
    data = json.loads(DATA) | {"assignees": [""] * 15}
    assert unreadable(binary(), json.dumps(data).encode()).detail.endswith("; and 5 more")


SECRET = "S3cret/Value"


@pytest.mark.parametrize("name", sorted(ActionUpserted.model_fields))
@pytest.mark.parametrize("wrong", [SECRET, [SECRET], {SECRET: SECRET}, SECRET + "\x00"])
def test_a_fault_never_tells_the_value(name: str, wrong: Any) -> None:
    for headers, value in (
        (binary(), json.dumps(json.loads(DATA) | {name: wrong}).encode()),
        (STRUCTURED, structured(json.loads(DATA) | {name: wrong})),
    ):
        assert "S3cret" not in str(fault_of(headers, value))


@pytest.mark.parametrize("name", ["specversion", "type"])
def test_a_fault_never_tells_an_attribute(name: str) -> None:
    assert SECRET not in str(unreadable(binary(**{f"ce_{name}": SECRET.encode()}), DATA))


header_values = st.none() | st.binary(max_size=30) | st.sampled_from([value for _, value in binary()])
header_names = st.sampled_from(("content-type", "ce_specversion", "ce_id", "ce_source", "ce_type")) | st.text()
content_types = st.sampled_from(
    (b"application/cloudevents+json", b"application/cloudevents", b"application/json", b"\xff")
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
envelopes = st.builds(
    lambda attributes, data: json.dumps(ATTRIBUTES | attributes | {"data": data}).encode(),
    st.dictionaries(st.sampled_from((*ATTRIBUTES, "time")), json_values, max_size=2),
    json_values | st.dictionaries(st.sampled_from(sorted(ActionUpserted.model_fields)), json_values),
)


@given(
    st.lists(st.tuples(header_names, header_values), max_size=6),
    st.none() | content_types,
    st.none() | st.binary() | envelopes | json_values.map(lambda value: json.dumps(value).encode()),
    st.booleans(),
)
def test_whatever_arrives_is_read_or_unreadable(
    headers: list[tuple[str, Any]], content_type: bytes | None, value: bytes | None, complete: bool
) -> None:
    if content_type is not None:
        headers = [*headers, ("content-type", content_type)]
    if complete:
        headers = [*binary(), *headers]
    error = fault_of(headers, value)
    assert error is None or error.reason in UNREADABLE


@given(
    st.lists(st.tuples(header_names, header_values), max_size=6),
    st.sampled_from((None, b"application/json", b"Application/JSON", *(value for _, value in STRUCTURED))),
    st.sampled_from((None, b"", b"not JSON", b"{}", DATA)),
    st.permutations(binary()),
)
def test_what_is_read_quickly_is_what_is_read_with_care(
    headers: list[tuple[str, Any]], content_type: bytes | None, value: bytes | None, complete: list[tuple[str, Any]]
) -> None:
    headers = [*complete, *headers, ("content-type", content_type)]
    try:
        careful: Any = _decode_with_care(headers, value)
    except UnreadableError as error:
        careful = (error.reason, error.detail)
    try:
        quick: Any = decode(headers, value)
    except UnreadableError as error:
        quick = (error.reason, error.detail)
    assert quick == careful


def test_a_header_in_lower_case_counts_before_others() -> None:
    headers = [*binary(), ("content-type", b"application/json"), ("CE_ID", b"2"), ("Ce_Source", b"/other")]
    event = decode(headers, DATA)
    assert (event.id, event.source) == ("1", "/planner")


@pytest.mark.parametrize("depth", [250, 300, 1_000])
def test_data_nested_deeper_than_json_is_written_is_unreadable(depth: int) -> None:
    value = structured().replace(b'"data": ', b'"data": ' + b"[" * depth, 1)[:-1] + b"]" * depth + b"}"
    assert unreadable(STRUCTURED, value).reason in (Reason.INVALID_JSON, Reason.INVALID_DATA)
