"""Each kind of break is found, what is no break is let through, and the released contract is kept."""

import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas.compatibility import LOWER, UPPER, Schema, breaks_publishers, breaks_readers
from schemas.events import EVENT_TYPES
from schemas.generate import GENERATED
from schemas.json_schema import schema_of

PUBLISHED = sorted((GENERATED.parent / "published").glob("*.json"))

BASE: Schema = {
    "type": "object",
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[a-z]+$"},
        "count": {"type": "integer", "minimum": 1, "maximum": 10},
        "note": {"anyOf": [{"type": "string", "maxLength": 20}, {"type": "null"}], "default": None},
        "status": {"$ref": "#/$defs/Status", "default": "open"},
        "when": {"type": "string", "format": "date"},
        "who": {"type": "array", "items": {"type": "string", "maxLength": 9}, "maxItems": 5, "default": []},
        "client": {"anyOf": [{"$ref": "#/$defs/Client"}, {"type": "null"}], "default": None},
        "reason": {"type": "string", "pattern": "^[a-z_]+$", "x-extensible-enum": ["late", "lost"]},
    },
    "required": ["id", "count"],
    "$defs": {
        "Status": {"type": "string", "enum": ["open", "done"]},
        "Client": {
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 50}, "since": {"type": "integer", "default": 0}},
            "required": ["name"],
        },
    },
}


def changed(path: str, value: Any) -> Schema:
    """BASE with what stands at `path` set to `value`, or removed if that is None."""
    schema = deepcopy(BASE)
    *way, last = path.split("/")
    node: Any = schema
    for part in way:
        node = node[int(part)] if isinstance(node, list) else node[part]
    if value is None:
        del node[last]
    else:
        node[last] = value
    return schema


TIGHTENED = {
    "longer at least": ("properties/id/minLength", 2, "data.id: `minLength` was 1 and is 2"),
    "shorter": ("properties/id/maxLength", 127, "data.id: `maxLength` was 128 and is 127"),
    "other pattern": ("properties/id/pattern", "^[a-y]+$", "data.id: `pattern` was ^[a-z]+$ and is ^[a-y]+$"),
    "higher minimum": ("properties/count/minimum", 2, "data.count: `minimum` was 1 and is 2"),
    "lower maximum": ("properties/count/maximum", 9, "data.count: `maximum` was 10 and is 9"),
    "other format": ("properties/when/format", "date-time", "data.when: `format` was date and is date-time"),
    "new limit": ("properties/when/maxLength", 10, "data.when: `maxLength` was not set and is 10"),
    "fewer items": ("properties/who/maxItems", 4, "data.who: `maxItems` was 5 and is 4"),
    "items required": ("properties/who/minItems", 1, "data.who: `minItems` was not set and is 1"),
    "unique items": ("properties/who/uniqueItems", True, "data.who: `uniqueItems` was not set and is True"),
    "shorter items": ("properties/who/items/maxLength", 8, "data.who[]: `maxLength` was 9 and is 8"),
    "alternative tightened": (
        "properties/note/anyOf",
        [{"type": "string", "maxLength": 19}, {"type": "null"}],
        "data.note: `maxLength` was 20 and is 19",
    ),
    "alternative gone": (
        "properties/note/anyOf",
        [{"type": "string", "maxLength": 20}],
        "data.note: `type` was null and",
    ),
    "value gone": ("$defs/Status/enum", ["open"], "data.status: the values ['done'] are gone"),
    "list instead of any": ("properties/when/enum", ["2026-01-01"], "data.when: `enum` was not set and is"),
    "nested tightened": (
        "$defs/Client/properties/name/maxLength",
        49,
        "data.client.name: `maxLength` was 50 and is 49",
    ),
    "nested required": ("$defs/Client/required", ["name", "since"], "data.client.since: must now be given"),
    "required": ("required", ["id", "count", "when"], "data.when: must now be given"),
    "other type": ("properties/when/type", "integer", "data.when: `type` was string and is integer"),
    "closed": ("additionalProperties", False, "data: `additionalProperties` was not set and is False"),
    "unknown keyword": ("properties/when/not", {"const": "x"}, "data.when: `not` was not set and is"),
}
"""Each of these refuses something that BASE accepts; turned round, it lets something through that BASE does not."""


@pytest.mark.parametrize(("path", "value", "says"), TIGHTENED.values(), ids=TIGHTENED)
def test_a_tighter_rule_breaks_publishers(path: str, value: Any, says: str) -> None:
    found = breaks_publishers(BASE, changed(path, value))
    assert len(found) == 1
    assert found[0].startswith(says)
    assert "publishers" in found[0]


@pytest.mark.parametrize(("path", "value", "says"), TIGHTENED.values(), ids=TIGHTENED)
def test_a_looser_rule_breaks_readers(path: str, value: Any, says: str) -> None:
    found = breaks_readers(changed(path, value), BASE)
    assert len(found) == 1
    assert found[0].split(":")[0] == says.split(":")[0]
    assert "readers" in found[0]


EQUALITY = {"other pattern", "other format", "other type"}


@pytest.mark.parametrize(
    ("path", "value"), [case[:2] for name, case in TIGHTENED.items() if name not in EQUALITY and "required" not in name]
)
def test_the_other_way_round_neither_is_hurt(path: str, value: Any) -> None:
    assert breaks_publishers(changed(path, value), BASE) == []
    assert breaks_readers(BASE, changed(path, value)) == []


@pytest.mark.parametrize("path", ["properties/when", "properties/id", "$defs/Client/properties/since"])
def test_a_removed_property_breaks_both(path: str) -> None:
    new = changed(path, None)
    name = path.removeprefix("properties/").replace("$defs/Client/properties/", "client.")
    for found in (breaks_publishers(BASE, new), breaks_readers(BASE, new)):
        assert [line.partition(": publishers")[0].partition(": readers")[0] for line in found] == [
            f"data.{name}: is gone"
        ]


def test_a_required_property_that_goes_is_told_once() -> None:
    new = changed("properties/id", None) | {"required": ["count"]}
    assert [line.split(": readers")[0] for line in breaks_readers(BASE, new)] == ["data.id: is gone"]


def test_a_rule_beside_a_reference_counts() -> None:
    new = changed("properties/status/maxLength", 4)
    assert breaks_publishers(BASE, new)[0].startswith("data.status: `maxLength` was not set and is 4")


def test_a_renamed_property_breaks_readers() -> None:
    new = deepcopy(BASE)
    new["properties"]["day"] = new["properties"].pop("when")
    assert [line.split(": readers")[0] for line in breaks_readers(BASE, new)] == ["data.when: is gone"]


def test_a_field_that_may_now_be_left_out_breaks_readers_only() -> None:
    new = changed("required", ["id"])
    assert breaks_publishers(BASE, new) == []
    assert breaks_readers(BASE, new)[0].startswith("data.count: may now be left out")


def test_another_default_breaks_publishers_only() -> None:
    new = changed("properties/status/default", "done")
    assert breaks_publishers(BASE, new)[0].startswith("data.status: `default` was open and is done")
    assert breaks_readers(BASE, new) == []


def test_a_default_for_what_had_to_be_given_breaks_nobody_upstream() -> None:
    new = changed("required", ["id"])
    new["properties"]["count"]["default"] = 1
    assert breaks_publishers(BASE, new) == []


def test_a_new_value_of_a_list_breaks_readers_and_not_publishers() -> None:
    new = changed("$defs/Status/enum", ["open", "done", "stuck"])
    assert breaks_publishers(BASE, new) == []
    assert breaks_readers(BASE, new)[0].startswith("data.status: the values ['stuck'] are new")


@pytest.mark.parametrize("known", [["late", "lost", "stuck"], ["late"], []])
def test_a_list_that_is_declared_open_may_change(known: list[str]) -> None:
    new = changed("properties/reason/x-extensible-enum", known)
    assert breaks_publishers(BASE, new) == breaks_readers(BASE, new) == []


def test_a_new_optional_property_breaks_nobody() -> None:
    new = changed("properties/extra", {"type": "string", "maxLength": 5, "default": ""})
    assert breaks_publishers(BASE, new) == breaks_readers(BASE, new) == []


def test_a_new_required_property_breaks_publishers_only() -> None:
    new = changed("properties/extra", {"type": "string"})
    new["required"] = ["id", "count", "extra"]
    assert [line.split(": publishers")[0] for line in breaks_publishers(BASE, new)] == ["data.extra: must now be given"]
    assert breaks_readers(BASE, new) == []


def test_words_do_not_matter_nor_where_a_definition_stands() -> None:
    new = changed("properties/status", {"type": "string", "enum": ["done", "open"], "default": "open"})
    new |= {"title": "Another", "description": "Other words.", "examples": [{}], "$id": "urn:other"}
    assert breaks_publishers(BASE, new) == breaks_readers(BASE, new) == []


def test_a_whole_number_is_a_number_and_not_the_other_way_round() -> None:
    number = changed("properties/count/type", "number")
    assert breaks_publishers(BASE, number) == []
    assert "`type` was integer and is number" in breaks_readers(BASE, number)[0]


def test_a_list_of_types_is_read_as_alternatives() -> None:
    new = changed("properties/when/type", ["string", "null"])
    assert breaks_publishers(BASE, new) == []
    assert "`type` was string and is null" in breaks_readers(BASE, new)[0]


def test_a_constant_is_a_list_of_one() -> None:
    new = changed("$defs/Status", {"type": "string", "const": "open"})
    assert breaks_readers(BASE, new) == []
    assert "the values ['done'] are gone" in breaks_publishers(BASE, new)[0]


# --- any two schemas ---

bounds = st.none() | st.integers(0, 4)


def with_bounds(schema: Schema, low: str, high: str) -> st.SearchStrategy[Schema]:
    def build(least: int | None, most: int | None) -> Schema:
        limits = {low: least, high: most}
        return schema | {name: limit for name, limit in limits.items() if limit is not None}

    return st.builds(build, bounds, bounds)


scalars = st.one_of(
    with_bounds({"type": "string"}, "minLength", "maxLength"),
    with_bounds({"type": "integer"}, "minimum", "maximum"),
    st.lists(st.sampled_from(["a", "bb", "ccc"]), min_size=1, unique=True).map(lambda values: {"enum": values}),
    st.sampled_from([{"type": "null"}, {"type": "boolean"}, {"const": "a"}]),
)


def nested(inner: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    properties = st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
    return st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda kinds: {"anyOf": kinds}),
        inner.flatmap(lambda item: with_bounds({"type": "array", "items": item}, "minItems", "maxItems")),
        st.builds(
            lambda fields, required: {
                "type": "object",
                "properties": fields,
                "required": sorted(required & set(fields)),
            },
            properties,
            st.sets(st.sampled_from("xyz")),
        ),
    )


any_schema = st.recursive(scalars, nested, max_leaves=6)


def values_of(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that the schema allows, or nearly: a reader of this test has the validator decide."""
    if "anyOf" in schema:
        return st.one_of(values_of(kind) for kind in schema["anyOf"])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    match schema["type"]:
        case "string":
            return st.text("ab", min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 0) + 5)
        case "integer":
            return st.integers(schema.get("minimum", -1), schema.get("maximum", 0) + 5)
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(values_of(schema["items"]), min_size=schema.get("minItems", 0), max_size=5)
        case "object":
            fields = {name: values_of(field) for name, field in schema["properties"].items()}
            required = {name: field for name, field in fields.items() if name in schema["required"]}
            return st.fixed_dictionaries(required, optional={name: fields[name] for name in fields.keys() - required})
        case _:
            return st.none()


def rules_in(schema: object) -> Iterator[Schema]:
    """Every schema inside a schema, the outermost first."""
    if isinstance(schema, dict):
        yield schema
        for inner in (*schema.get("anyOf", []), *schema.get("properties", {}).values(), schema.get("items")):
            yield from rules_in(inner)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Schema, Schema]:
    """A schema, and the same after up to three small changes somewhere inside."""
    old = draw(any_schema)
    new = deepcopy(old)
    for _ in range(draw(st.integers(0, 3))):
        rule = draw(st.sampled_from(list(rules_in(new))))
        if rule.get("required") and draw(st.booleans()):
            rule["required"].pop()
        elif limits := sorted(rule.keys() & {*UPPER, *LOWER}):
            rule[draw(st.sampled_from(limits))] += draw(st.integers(-1, 1))
        elif "enum" in rule:
            rule["enum"] = sorted({*rule["enum"], "dddd"} - {draw(st.sampled_from(["a", "bb", "x"]))})
        elif "anyOf" in rule:
            rule["anyOf"].append(draw(scalars))
        elif rule.get("properties"):
            name = draw(st.sampled_from(sorted(rule["properties"])))
            rule["properties"][name] = {"anyOf": [rule["properties"][name], draw(scalars)]}
    return old, new


@given(pairs(), st.data())
def test_where_no_break_is_found_every_old_value_is_still_valid(
    pair: tuple[Schema, Schema], data: st.DataObject
) -> None:
    old, new = pair
    value = data.draw(values_of(old))
    if not breaks_publishers(old, new) and Draft202012Validator(old).is_valid(value):
        assert Draft202012Validator(new).is_valid(value)


@given(any_schema)
def test_a_schema_never_breaks_itself(schema: Schema) -> None:
    assert breaks_publishers(schema, schema) == breaks_readers(schema, schema) == []


# --- the released contract ---


def test_every_released_event_type_is_still_there() -> None:
    assert {path.stem for path in PUBLISHED} <= set(EVENT_TYPES)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_the_released_contract_is_kept(path: Path) -> None:
    event = EVENT_TYPES[path.stem]
    compare = breaks_publishers if event.from_upstream else breaks_readers
    assert compare(json.loads(path.read_text(encoding="utf-8")), schema_of(event)) == []
