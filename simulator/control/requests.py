"""What the handlers of people's and administrators' interfaces share: reading requests, and refusing them in words."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
from aiohttp import web
from pydantic import ValidationError

from simulator.control.office import sentence
from simulator.errors import GraphError
from simulator.exchange.user import User
from simulator.tenant import Tenant
from simulator.wire import json_response
from simulator.world import World

ADMIN_PREFIX = "/_sim"
OUTLOOK_PREFIX = "/outlook"

T = TypeVar("T")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Unknown(Exception):  # noqa: N818 - it is an answer, not a mistake of the program
    """The thing addressed is not there."""


@web.middleware
async def explain(request: web.Request, handler: _Handler) -> web.StreamResponse:
    """Turns bad input to the interfaces of administrators and people into a sentence."""
    if not request.path.startswith((ADMIN_PREFIX, OUTLOOK_PREFIX)):
        return await handler(request)
    try:
        return await handler(request)
    except Unknown as unknown:
        return json_response({"error": str(unknown)}, 404)
    except ValidationError as error:
        return json_response({"error": sentence(error)}, 400)
    except GraphError as error:
        return json_response({"error": error.message, "code": error.code}, 404 if error.status == 404 else 400)
    except ValueError as error:
        return json_response({"error": str(error)}, 400)


async def read_object(request: web.Request) -> dict[str, Any]:
    """The JSON object in the body; an empty body is an empty object. Raises ValueError."""
    raw = await request.read()
    try:
        document = orjson.loads(raw) if raw else {}
    except orjson.JSONDecodeError:
        raise ValueError("The body is not JSON.") from None
    if type(document) is not dict:
        raise ValueError("The body must be a JSON object.")
    return document


def wanted(request: web.Request, name: str, convert: Callable[[str], T]) -> T | None:
    """A parameter of the query, None if it is not there. Raises ValueError."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        return convert(text)
    except (ValueError, KeyError):
        raise ValueError(f"The parameter {name} cannot be '{text}'.") from None


def tenant_of(world: World, request: web.Request) -> Tenant:
    """The tenant the path names. Raises Unknown."""
    name = request.match_info["tenant"]
    tenant = world.tenant(name)
    if tenant is None:
        raise Unknown(f"There is no tenant {name}.")
    return tenant


def user_of(world: World, request: web.Request) -> tuple[Tenant, User]:
    """The tenant and the user the path names. Raises Unknown."""
    tenant = tenant_of(world, request)
    user = tenant.user(request.match_info["user"])
    if user is None:
        raise Unknown(f"There is no user {request.match_info['user']} in the tenant.")
    return tenant, user
