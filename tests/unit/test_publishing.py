"""Reading a file of events for publishing, and wake-ups from the commands topic."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from calbus.bus import publish
from calbus.bus.publish import PublishError, key_of
from calbus.bus.wakeups import _record, read_wakeup
from calbus.entry import ItemKey, Place, entry_id_of
from calbus.store.entries import Due
from schemas.events import Topic
from schemas.items import ActionDeleted, Kind
from tests.unit.strategies import account, project, tenant, upserted

ENVELOPE = {
    "specversion": "1.0",
    "id": "7",
    "source": "/planner",
    "type": "calbus.action.upserted.v1",
    "data": json.loads(upserted().model_dump_json()),
}
DUE = Due(entry_id_of(ItemKey("contoso", "planner", Kind.ACTION, "A-1"), "anna"), "contoso", None)


def message(**changed: Any) -> publish.Message:
    return publish._message(3, json.dumps(ENVELOPE | changed).encode())


def fault(line: bytes) -> str:
    with pytest.raises(PublishError) as caught:
        publish._message(3, line)
    return str(caught.value)


def test_a_line_becomes_a_message_on_its_topic_under_its_key() -> None:
    topic, key, value = message()
    assert (topic, key, json.loads(value)) == (Topic.ACTIONS, b"contoso/planner/A-1", ENVELOPE)


@pytest.mark.parametrize(
    ("data", "key"),
    [
        (upserted(), "contoso/planner/A-1"),
        (ActionDeleted(tenant="contoso", source="planner", id="A-1", revision=2), "contoso/planner/A-1"),
        (tenant(), "tenant/contoso"),
        (project(), "project/contoso/north"),
        (account(), "account/contoso/anna"),
    ],
)
def test_the_key_keeps_what_belongs_together_in_order(data: Any, key: str) -> None:
    assert key_of(data) == key


@pytest.mark.parametrize(
    "line", [b"{", b"\xff", b'{"calbusunchecked": true}', b'{"calbusunchecked": true, "type": "x"}']
)
def test_a_line_that_is_no_event_is_named(line: bytes) -> None:
    assert fault(line) == "line 3 is not a CloudEvent in JSON"


def test_a_fault_in_a_line_names_the_field() -> None:
    line = json.dumps(ENVELOPE | {"data": ENVELOPE["data"] | {"revision": 0}}).encode()  # type: ignore[operator]
    assert fault(line).startswith("line 3: invalid_data: revision: ")


def test_what_calbus_publishes_is_not_published_to_it() -> None:
    wakeup = {"tenant": "contoso", "entry_id": str(DUE.entry_id)}
    line = json.dumps(ENVELOPE | {"type": "calbus.wakeup.v1", "data": wakeup}).encode()
    assert fault(line) == "line 3: calbus.wakeup.v1 is published by calbus, not to it"


def test_a_malformed_event_is_published_if_that_is_asked_for() -> None:
    topic, key, value = message(data={}, calbusunchecked=True)
    assert (topic, key) == (Topic.ACTIONS, b"7")
    assert json.loads(value) == ENVELOPE | {"data": {}}


def record(key: bytes | None, value: bytes | None) -> Any:
    return SimpleNamespace(key=key, value=value)


def test_a_wakeup_is_read_as_it_was_written() -> None:
    lane = Place("contoso.example", "anna@contoso.example").lane
    assert read_wakeup(record(lane.encode(), _record(DUE).value)) == (lane, "contoso", DUE.entry_id)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, _record(DUE).value),
        (b"\xff", _record(DUE).value),
        (b"lane", None),
        (b"lane", b""),
        (b"lane", b"{"),
        (b"lane", b"[]"),
        (b"lane", b"null"),
        (b"lane", b"{}"),
        (b"lane", b'{"tenant": "contoso", "entry_id": 5}'),
        (b"lane", b'{"tenant": "contoso", "entry_id": "five"}'),
        (b"lane", b'{"tenant": "contoso", "entry_id": []}'),
    ],
)
def test_a_record_that_is_no_wakeup_is_known_as_such(key: bytes | None, value: bytes | None) -> None:
    assert read_wakeup(record(key, value)) is None
