"""The recorded day: which files there are, in which parts they are published, and what people then do in Outlook.
Reads files only; what should come of them is in `verdict.py`."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from calbus.bus.publish import Message, read_file

HERE = Path(__file__).parent
PRODUCTS = ("schoolmonitor", "blikk", "quick3", "charitylog", "profit")
PARTS = ("Morning", "Midday", "Afternoon")


@dataclass(frozen=True, slots=True)
class Directory:
    """A customer's Microsoft Entra directory, as the simulator should have it: `users` are addresses and names.

    `edit_access`: whose calendar may be edited by whom, by addresses.
    """

    id: str
    organisation: str
    product: str
    domain: str
    time_zone: str
    users: dict[str, str]
    edit_access: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the day: what is published then, and which revisions (tenant/kind/id/revision) that brings."""

    name: str
    messages: list[Message]
    revisions: frozenset[str]


@dataclass(frozen=True, slots=True)
class Drag:
    """Somebody drags an entry to another time in Outlook: wall-clock times in the entry's own zone."""

    mailbox: str
    subject: str
    start: datetime
    end: datetime


def drags() -> list[Drag]:
    """What people do in Outlook at the end of the day."""
    return TypeAdapter(list[Drag]).validate_json((HERE / "drags.json").read_bytes())


def directories() -> list[Directory]:
    """The five customers' directories."""
    return TypeAdapter(list[Directory]).validate_json((HERE / "directories.json").read_bytes())


def settings() -> list[Message]:
    """What the administrators have set before the day begins."""
    return read_file(HERE / "00-settings.jsonl")


def day() -> list[Part]:
    """The products' events. In a file, a blank line divides one part of the day from the next."""
    parts: list[tuple[list[Message], set[str]]] = [([], set()) for _ in PARTS]
    for product in PRODUCTS:
        file = HERE / f"{product}.jsonl"
        messages = iter(read_file(file))
        for (into, revisions), lines in zip(parts, _divided(file.read_text().splitlines()), strict=True):
            into += [next(messages) for _ in lines]
            revisions.update(_revision_of(json.loads(line)) for line in lines)
    return [Part(name, into, frozenset(revisions)) for name, (into, revisions) in zip(PARTS, parts, strict=True)]


def _divided(lines: list[str]) -> list[list[str]]:
    return [list(group) for is_text, group in groupby(lines, key=lambda line: bool(line.strip())) if is_text]


def _revision_of(envelope: dict[str, Any]) -> str:
    data, kind = envelope["data"], envelope["type"].split(".")[1]
    return f"{data['tenant']}/{kind}/{data['id']}/{data['revision']}"
