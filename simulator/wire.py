"""What the HTTP handlers of all parts share: writing JSON, and not answering at all."""

from typing import Any

import orjson
from aiohttp import web


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON response."""
    return web.Response(
        status=status, body=orjson.dumps(body), headers={"Content-Type": "application/json", **(headers or {})}
    )


def drop_connection(request: web.Request) -> web.Response:
    """Ends the connection at once; the caller sees a reset, and the returned response goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=503)
