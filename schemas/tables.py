"""The tables and examples of docs/event-contract.md that come from the models, and how they get in. Pure."""

import json
import re
from collections.abc import Iterable

from schemas.changes import AppointmentRemoved, AppointmentUpserted, EntryEdited, EntryRemoved, EntryRescheduled
from schemas.events import EVENT_TYPES, TOPICS, TYPE_NAMES, Topic
from schemas.examples import EXAMPLES
from schemas.fields import Model
from schemas.items import ActionUpserted, ContactUpserted
from schemas.json_schema import Json, schema_of
from schemas.reasons import EXPLANATIONS, NextActor, Reason
from schemas.results import AccessRecheckRequested, AccountStatus, DeadLetter, Outcome, RemovalsConfirmed, SyncRequested
from schemas.switches import AccountSettings, AccountUnlinked, ProjectSettings, TenantSettings

_PART = re.compile(r"(<!-- generated: (?P<name>[a-z ]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


class MarkerError(Exception):
    """The page has a marker for a part that nobody makes, or lacks one; whose move: the page's author."""


def with_tables(page: str) -> str:
    """The page with every generated part written anew; applying it twice changes nothing.

    Raises MarkerError unless the page has each part exactly once.
    """
    parts = _parts()
    named = [match["name"] for match in _PART.finditer(page)]
    if sorted(named) != sorted(parts):
        raise MarkerError(f"the page has the parts {sorted(named)}, wanted are {sorted(parts)}")
    return _PART.sub(lambda match: f"{match[1]}\n{parts[match['name']]}\n{match[3]}", page)


def _parts() -> dict[str, str]:
    dead = [reason for reason, said in EXPLANATIONS.items() if said.next_actor is NextActor.PUBLISHER]
    item_fields = schema_of(EVENT_TYPES[TYPE_NAMES[ActionUpserted]])["properties"]
    return {
        "topics": _topics(),
        "event types": _event_types(),
        "item": _fields(ActionUpserted),
        "contact": _fields(ContactUpserted, without=item_fields),
        "tenant": _fields(TenantSettings),
        "project": _fields(ProjectSettings),
        "account": _fields(AccountSettings),
        "unlinked": _fields(AccountUnlinked),
        "outcome": _fields(Outcome),
        "account status": _fields(AccountStatus),
        "access recheck": _fields(AccessRecheckRequested),
        "removals confirmed": _fields(RemovalsConfirmed),
        "sync requested": _fields(SyncRequested),
        "rescheduled": _fields(EntryRescheduled),
        "rescheduled example": _example(EntryRescheduled),
        "edited": _fields(EntryEdited, without=_fields_of(EntryRescheduled)),
        "edited example": _example(EntryEdited),
        "removed example": _example(EntryRemoved),
        "appointment": _fields(AppointmentUpserted),
        "appointment example": _example(AppointmentUpserted),
        "appointment removed example": _example(AppointmentRemoved),
        "reasons": _reasons(reason for reason in EXPLANATIONS if reason not in dead),
        "dead letter": _fields(DeadLetter),
        "dead letter reasons": _reasons(dead),
    }


def _fields_of(model: type[Model]) -> Iterable[str]:
    return list(schema_of(EVENT_TYPES[TYPE_NAMES[model]])["properties"])


def _example(model: type[Model]) -> str:
    """The value of a message of this type; the first of the examples that the schemas carry."""
    value = next(iter(EXAMPLES[model].values()))
    return f"```json\n{json.dumps(value, indent=2, ensure_ascii=False)}\n```\n"


def _topics() -> str:
    return _table(
        ("topic", "what it carries", "key", "kept", "largest message"),
        (
            (
                f"`{topic}`",
                shape.says,
                shape.key,
                "the last of each key" if shape.compacted else f"{shape.retention_days} days",
                f"{shape.max_message_bytes:,} bytes",
            )
            for topic, shape in TOPICS.items()
            if topic is not Topic.COMMANDS
        ),
    )


def _event_types() -> str:
    return _table(
        ("type", "topic", "written by", "schema"),
        (
            (
                f"`{event.name}`",
                f"`{event.topic}`",
                "upstream" if event.from_upstream else "calbus",
                f"[{event.model.__name__}](../schemas/generated/{event.name}.json)",
            )
            for event in EVENT_TYPES.values()
            if event.topic is not Topic.COMMANDS
        ),
    )


def _reasons(reasons: Iterable[Reason]) -> str:
    return _table(
        ("reason", "what it says", "whose move", "what to do"),
        (
            (f"`{reason}`", EXPLANATIONS[reason].says, EXPLANATIONS[reason].next_actor, EXPLANATIONS[reason].remedy)
            for reason in reasons
        ),
    )


def _fields(model: type[Model], without: Iterable[str] = ()) -> str:
    event = EVENT_TYPES[TYPE_NAMES[model]]
    schema = schema_of(event)
    defs = schema.get("$defs", {})

    def row(name: str, field: Json) -> tuple[str, ...]:
        words = (f"`{name}`", _type(field, defs), field["description"])
        if not event.from_upstream:
            return words
        required = name in schema["required"]
        return (*words, "**required**" if required else f"`{json.dumps(field['default'])}`")

    head = ("field", "type", "what it says")
    rows = [row(*named) for named in schema["properties"].items() if named[0] not in without]
    return _table((*head, "if left out") if event.from_upstream else head, rows)


def _type(field: Json, defs: Json) -> str:
    """In words, with the limits that matter to whoever fills the field in."""
    if "$ref" in field:
        return _type(defs[field["$ref"].rpartition("/")[2]], defs)
    if "anyOf" in field:
        kinds = [_type(kind, defs) for kind in field["anyOf"] if kind != {"type": "null"}]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in field:
        return " · ".join(f"`{value}`" for value in field["enum"])
    if "x-extensible-enum" in field:
        return "a word; the list grows"
    match field["type"]:
        case "object":
            inner = ", ".join(f"`{name}`" for name in field["properties"])
            return f"object: {inner}"
        case "array":
            return f"list of up to {field['maxItems']:,}: {_type(field['items'], defs)}"
        case "integer":
            low, high = field["minimum"], field["maximum"]
            return f"integer, {low:,} and up" if high >= 2**31 else f"integer, {low:,} to {high:,}"
        case "string" if "title" in field:
            return str(field["title"]).lower()
        case "string" if "format" in field:
            return str(field["format"])
        case "string":
            return f"text, up to {field['maxLength']:,} characters"
        case other:
            return str(other)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
