"""An OpenAPI 3.1 document of every Graph endpoint, made of the tables that route them."""

import re
from typing import Any

from simulator.graph import few
from simulator.graph.odata import ITEM_OPTIONS, LIST_OPTIONS
from simulator.graph.operations import OPERATIONS
from simulator.graph.routes import PATHS

JsonObject = dict[str, Any]

_WINDOW = frozenset({"startDateTime", "endDateTime"})
_DELTA = frozenset({"$skiptoken", "$deltatoken", "$top", "$select", "$filter", "$orderby", "$expand"})
_MEMBERS = frozenset({"$top", "$select", "$skiptoken"})
# The query options of an operation, by its name; others take none.
_OPTIONS: dict[str, frozenset[str]] = {
    "get": ITEM_OPTIONS,
    "list": LIST_OPTIONS,
    "list_view": LIST_OPTIONS | _WINDOW,
    "instances": LIST_OPTIONS | _WINDOW,
    "delta": _DELTA | _WINDOW,
    "get_user": frozenset({"$select"}),
    **dict.fromkeys(("get_calendar", "get_permission", "get_category", "get_settings"), few.ITEM_OPTIONS),
    **dict.fromkeys(
        ("list_calendars", "list_calendar_groups", "list_permissions", "list_categories"), few.LIST_OPTIONS
    ),
    "list_member_of": _MEMBERS,
    "list_members": _MEMBERS,
}
_WITH_BODY = ("POST", "PATCH")
_HEADERS = ("Prefer", "If-Match", "client-request-id")
_FUNCTION_PARAMETER = re.compile(r"\((\w+)\)$")
_NAME = re.compile(r"\{(\w+)\}")
_ERROR: JsonObject = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": {"type": "string", "minLength": 1}, "message": {"type": "string"}},
        }
    },
}


def path_template(start: str, end: str) -> str:
    """The path of an entry of `PATHS`, each name in it once: a second `{target}` is `{target2}`."""
    written = _FUNCTION_PARAMETER.sub(r"(\1={argument})", f"{start}/{end}".strip("/"))
    seen: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        seen.append(match[1])
        count = seen.count(match[1])
        return f"{{{match[1]}{count if count > 1 else ''}}}"

    return "/" + _NAME.sub(numbered, written)


def openapi_document() -> JsonObject:
    """The document; its paths are below `/v1.0`."""
    paths: JsonObject = {
        path_template(start, end): _path_item(path_template(start, end), resource)
        for end, starts, resource in PATHS
        for start in starts
    }
    paths["/$batch"] = {"post": _operation("batch", "POST")}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Microsoft Graph as the simulator holds it", "version": "v1.0"},
        "servers": [{"url": "/v1.0"}],
        "paths": paths,
        "components": {"schemas": {"Error": _ERROR}},
    }


def _path_item(path: str, resource: str) -> JsonObject:
    item: JsonObject = {
        method.lower(): _operation(operation.name, method) for method, operation in OPERATIONS[resource].items()
    }
    if names := _NAME.findall(path):
        item["parameters"] = [_parameter(name, "path") for name in names]
    return item


def _operation(name: str, method: str) -> JsonObject:
    operation: JsonObject = {
        "summary": name,
        "parameters": [
            *(_parameter(option, "query") for option in sorted(_OPTIONS.get(name, ()))),
            *(_parameter(header, "header") for header in _HEADERS),
        ],
        "responses": {
            "2XX": {"description": "What was asked for, or done."},
            "default": {
                "description": "A refusal.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    }
    if method in _WITH_BODY:
        operation["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return operation


def _parameter(name: str, place: str) -> JsonObject:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string"}}
