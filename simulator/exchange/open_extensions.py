"""Open extensions of an event: named bags of JSON values. They leave no trace in change keys or delta rounds.

Source: Microsoft docs "opentypeextension", "opentypeextension-post-opentypeextension", "known-issues".
"""

from typing import Any

from simulator.errors import GraphError, bad_request, unreadable_body

JsonObject = dict[str, Any]

_TYPE = "microsoft.graph.openTypeExtension"
_ID_PREFIXES = (f"{_TYPE}.", "Microsoft.OutlookServices.OpenTypeExtension.")
_NAME_MAX_CHARS = 128


def name_of(extension_id: str) -> str:
    """The name in an id; a name alone is taken for one."""
    for prefix in _ID_PREFIXES:
        if extension_id.startswith(prefix):
            return extension_id.removeprefix(prefix)
    return extension_id


def show_extension(name: str, values: JsonObject) -> JsonObject:
    """The extension on the wire."""
    return {"@odata.type": f"#{_TYPE}", "id": f"{_TYPE}.{name}", "extensionName": name, **values}


def read_values(document: Any) -> JsonObject:
    """The values of an extension in a request body, without its name. Raises GraphError (400)."""
    if type(document) is not dict:
        raise unreadable_body("An extension needs a JSON object.")
    if (kind := document.get("@odata.type")) is not None and str(kind).removeprefix("#").lower() != _TYPE.lower():
        raise bad_request(f"The type '{kind}' is not an open type extension.")
    return {name: value for name, value in document.items() if name not in ("extensionName", "id") and "@" not in name}


def read_extension(document: Any) -> tuple[str, JsonObject]:
    """The name and values of a new extension. Raises GraphError (400)."""
    values = read_values(document)
    name = document.get("extensionName")
    if type(name) is not str or not name or len(name) > _NAME_MAX_CHARS:
        raise bad_request(f"An extension needs an 'extensionName' of at most {_NAME_MAX_CHARS} characters.")
    return name, values


def read_extensions(name: str, value: Any) -> dict[str, JsonObject]:
    """The `extensions` of a new event, by name."""
    if type(value) is not list:
        raise unreadable_body(f"The property '{name}' needs an array.")
    read = dict(read_extension(item) for item in value)
    if len(read) < len(value):
        raise extension_exists()
    return read


def with_extension(held: dict[str, JsonObject], name: str, values: JsonObject | None) -> dict[str, JsonObject]:
    """The extensions with another one, or (None) without it; those that were held stay as they are."""
    if values is not None:
        return {**held, name: values}
    return {known: kept for known, kept in held.items() if known != name}


def extension_exists() -> GraphError:
    """409: the event has an extension of this name."""
    return GraphError(409, "ErrorExtensionExists", "An extension with the specified name already exists.")
