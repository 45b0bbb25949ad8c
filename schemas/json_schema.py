"""The JSON Schema (2020-12) of each event type, made from its model. Pure."""

import re
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema

from schemas.events import EventType
from schemas.examples import EXAMPLES

Json = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class _Generator(GenerateJsonSchema):
    """pydantic's generator, with docstrings folded into one line and no titles that only repeat a field's name."""

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        generated = super().generate(schema, mode)
        _fold_descriptions(generated)
        return generated

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def schema_of(event: EventType) -> Json:
    """The schema of the event's data, with its examples; equal models give equal documents, key for key.

    What upstream publishes is described as calbus reads it (fields with a default may be left out), what calbus
    publishes as it writes it (every field is there).
    """
    mode: JsonSchemaMode = "validation" if event.from_upstream else "serialization"
    generated = event.model.model_json_schema(mode=mode, schema_generator=_Generator)
    return {
        "$schema": DIALECT,
        "$id": f"urn:calbus:schema:{event.name}",
        "title": generated.pop("title"),
        "description": generated.pop("description"),
        **generated,
        "examples": list(EXAMPLES[event.model].values()),
    }


def _fold_descriptions(node: Any) -> None:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "description" and isinstance(value, str):
                node[name] = re.sub(r"\s+", " ", value)
            else:
                _fold_descriptions(value)
    elif isinstance(node, list):
        for value in node:
            _fold_descriptions(value)
