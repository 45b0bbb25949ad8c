"""Single-value extended properties: the grammar of their ids and the reading of a request's list of them.

Source: Microsoft docs "extended-properties-overview", "singlevaluelegacyextendedproperty-post".
"""

import re
from functools import lru_cache
from typing import Any

from simulator.errors import invalid_request, unknown_property, unreadable_body

_TYPES = {
    name.lower(): name
    for name in (
        "ApplicationTime", "Binary", "Boolean", "CLSID", "Currency", "Double", "Error", "Float", "Integer", "Long",
        "Null", "Object", "Short", "String", "SystemTime",
    )
}  # fmt: skip
_GUID = r"\{([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})\}"
_NAMED = re.compile(rf"(\w+) {_GUID} Name (\S(?:.*\S)?)", re.IGNORECASE | re.DOTALL)
_NUMBERED = re.compile(rf"(\w+) {_GUID} Id (0x[0-9a-fA-F]{{1,8}})", re.IGNORECASE)
_TAGGED = re.compile(r"(\w+) (0x[0-9a-fA-F]{1,8})", re.IGNORECASE)


@lru_cache(maxsize=4096)
def canonical_id(text: str) -> str:
    """One spelling per property: type, GUID and number in any case, but a name only in its own.

    Raises ErrorInvalidRequest (400) if the id has none of the three documented forms.
    """
    if found := _NAMED.fullmatch(text):
        kind, guid, name = found.groups()
        tail = f" {{{guid.lower()}}} Name {name}"
    elif found := _NUMBERED.fullmatch(text):
        kind, guid, number = found.groups()
        tail = f" {{{guid.lower()}}} Id {number.lower()}"
    elif found := _TAGGED.fullmatch(text):
        kind, number = found.groups()
        tail = f" {number.lower()}"
    else:
        kind, tail = "", ""
    spelled = _TYPES.get(kind.lower())
    if spelled is None:
        raise invalid_request(f"The extended property id '{text}' is not valid.")
    return spelled + tail


def read_properties(name: str, value: Any) -> dict[str, str]:
    """The `singleValueExtendedProperties` of a request body, by canonical id."""
    if type(value) is not list:
        raise unreadable_body(f"The property '{name}' needs an array.")
    properties: dict[str, str] = {}
    for item in value:
        if type(item) is not dict:
            raise unreadable_body(f"The property '{name}' needs an array of objects with 'id' and 'value'.")
        for member in item:
            if member not in ("id", "value") and "@" not in member:
                raise unknown_property(member, "microsoft.graph.singleValueLegacyExtendedProperty")
        key, content = item.get("id"), item.get("value")
        if type(key) is not str or type(content) is not str:
            raise unreadable_body(f"The members 'id' and 'value' of '{name}' must be of type 'Edm.String'.")
        properties[canonical_id(key)] = content
    return properties
