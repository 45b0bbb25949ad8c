"""What the HTTP handlers of all parts share: writing JSON, reading forms, and not answering at all."""

from typing import Any
from urllib.parse import parse_qsl

import orjson
from aiohttp import web


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON response."""
    return web.Response(
        status=status, body=orjson.dumps(body), headers={"Content-Type": "application/json", **(headers or {})}
    )


def header_text(request: web.Request, name: str) -> str | None:
    """A header's value as text that can be answered with; bytes that are no text are replaced."""
    value = request.headers.get(name)
    return None if value is None else as_text(value)


def as_text(value: str) -> str:
    """A header's value with the bytes replaced that are no text."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


async def form_fields(request: web.Request) -> dict[str, str]:
    """A form's fields, the last of each name; what is no form has none, and bytes that are no text are replaced."""
    if request.content_type != "application/x-www-form-urlencoded":
        return {}
    try:
        raw = await request.read()
    except web.RequestPayloadError:
        return {}
    return dict(parse_qsl(raw.decode(errors="replace"), keep_blank_values=True))


def drop_connection(request: web.Request) -> web.Response:
    """Ends the connection at once; the caller sees a reset, and the returned response goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)
