"""What the handlers of people's and administrators' interfaces share: reading requests, and refusing them in words."""

import math
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

# The parameters of the query by method and path; no other administrative call has any.
_PARAMETERS = {
    ("GET", f"{ADMIN_PREFIX}/ledger"): frozenset(
        {"tenant", "user", "operation", "status", "mutation", "after", "limit"}
    ),
    ("GET", f"{ADMIN_PREFIX}/faults"): frozenset({"tenant"}),
    ("GET", f"{ADMIN_PREFIX}/tenants/{{tenant}}/deliveries"): frozenset(
        {"kind", "fate", "subscription", "after", "limit", "wait_s"}
    ),
}

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
        _check_parameters(request)
        return await handler(request)
    except web.HTTPException as refused:
        return _in_words(request, refused)
    except web.RequestPayloadError:
        return json_response({"error": "The body cannot be read."}, 400)
    except Unknown as unknown:
        return json_response({"error": str(unknown)}, 404)
    except ValidationError as error:
        return json_response({"error": sentence(error)}, 400)
    except GraphError as error:
        return json_response({"error": error.message, "code": error.code}, 404 if error.status == 404 else 400)
    except ValueError as error:
        return json_response({"error": str(error)}, 400)


def _in_words(request: web.Request, refused: web.HTTPException) -> web.Response:
    """What the HTTP server refuses by itself: a path or a method that is not there, a body that is too large."""
    if isinstance(refused, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(refused.allowed_methods))
        sentence = f"{request.path} cannot be called with {request.method}, but with {allowed}."
        return json_response({"error": sentence}, refused.status, {"Allow": allowed})
    if isinstance(refused, web.HTTPNotFound):
        return json_response({"error": f"There is no {request.path}."}, refused.status)
    return json_response({"error": f"{refused.reason}."}, refused.status)


def _check_parameters(request: web.Request) -> None:
    """Raises ValueError on a parameter that the call does not have, or that is there twice."""
    resource = request.match_info.route.resource
    if resource is None or not request.path.startswith(ADMIN_PREFIX):
        return
    known = _PARAMETERS.get((request.method, resource.canonical), frozenset())
    for name in set(request.query):
        if name not in known:
            raise ValueError(f"There is no parameter {name} here.")
        if len(request.query.getall(name)) > 1:
            raise ValueError(f"The parameter {name} is there more than once.")


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


def at_least(least: int) -> Callable[[str], int]:
    """Reads a whole number that is not below the least."""

    def convert(text: str) -> int:
        number = int(text)
        if number < least:
            raise ValueError
        return number

    return convert


def seconds(text: str) -> float:
    """Reads a number of seconds. Raises ValueError."""
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError
    return number


def known_tenant(world: World, name: str) -> Tenant:
    """By id or domain. Raises Unknown."""
    tenant = world.tenant(name)
    if tenant is None:
        raise Unknown(f"There is no tenant {name}.")
    return tenant


def tenant_of(world: World, request: web.Request) -> Tenant:
    """The tenant the path names. Raises Unknown."""
    return known_tenant(world, request.match_info["tenant"])


def user_of(world: World, request: web.Request) -> tuple[Tenant, User]:
    """The tenant and the user the path names. Raises Unknown."""
    tenant = tenant_of(world, request)
    user = tenant.user(request.match_info["user"])
    if user is None:
        raise Unknown(f"There is no user {request.match_info['user']} in the tenant.")
    return tenant, user
