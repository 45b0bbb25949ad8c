"""Graph over HTTP: reads requests into calls, writes answers out. No decision about calendars is made here."""

import time
import uuid

import orjson
from aiohttp import web

from simulator.control.faults import Target
from simulator.control.ledger import UNAUTHENTICATED, UNREADABLE
from simulator.entra.tokens import Identity, TokenReader
from simulator.errors import GraphError, bad_request, too_large
from simulator.graph.batch import is_batch, perform_batch
from simulator.graph.call import UNREADABLE_JSON, Answer, Call
from simulator.graph.gateway import Gateway
from simulator.wire import as_text, drop_connection, header_text
from simulator.world import World

PREFIX = "/v1.0"
_JSON = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
_DIAGNOSTIC = (
    '{"ServerInfo":{"DataCenter":"Simulated","Slice":"E","Ring":"5","ScaleUnit":"000","RoleInstance":"SIM0000000"}}'
)
_PASSED_ON = ("Content-Type", "If-Match")


class GraphHandler:
    """Answers everything below `/v1.0`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._gateway = Gateway(world)
        self._tokens = TokenReader(world.key)

    async def handle(self, request: web.Request) -> web.Response:
        """One request. Whatever it contains, the answer is one of Graph's."""
        request_id = str(uuid.uuid4())
        client_request_id = header_text(request, "client-request-id") or request_id
        authorization = header_text(request, "Authorization")
        try:
            identity = self._tokens.read(authorization, self._world.tenants)
        except GraphError as error:
            self._record_stranger(authorization, error)
            return self._respond(_refusal(error, request_id, client_request_id), request_id, client_request_id)
        tenant = identity.tenant
        try:
            call = await self._read(request, identity, request_id, client_request_id)
        except GraphError as error:
            tenant.ledger.refused(UNREADABLE, tenant.now(), tenant.id, identity.client_id, error.status, error.code)
            answer = _refusal(error, request_id, client_request_id)
        else:
            answer = await self._perform(call)
        if answer.drop:
            return drop_connection(request)
        if request.transport is not None and not request.transport.is_closing():
            for wait in answer.waits:
                tenant.told.tell(wait, tenant.now(), tenant.limits.retry_after_grace_ms / 1000)
        return self._respond(answer, request_id, client_request_id)

    def _record_stranger(self, authorization: str | None, error: GraphError) -> None:
        """The ledger entry of a 401, in the tenant that the token names if it is one of ours."""
        tenant_id, client_id = self._tokens.named(authorization)
        tenant = self._world.tenants.get(tenant_id)
        if tenant is None:
            self._world.strangers.refused(UNAUTHENTICATED, time.time(), "", client_id, error.status, error.code)
        else:
            tenant.ledger.refused(UNAUTHENTICATED, tenant.now(), tenant.id, client_id, error.status, error.code)

    async def _read(self, request: web.Request, identity: Identity, request_id: str, client_request_id: str) -> Call:
        path, _, query = request.raw_path.removeprefix(PREFIX).partition("?")
        headers = {name.lower(): value for name in _PASSED_ON if (value := header_text(request, name)) is not None}
        if preferences := request.headers.getall("Prefer", []):
            headers["prefer"] = as_text(", ".join(preferences))
        try:
            payload = await request.read() if request.can_read_body else b""
        except web.HTTPRequestEntityTooLarge:
            raise too_large() from None
        except web.RequestPayloadError:
            raise bad_request(UNREADABLE_JSON) from None
        return Call(
            identity,
            request.method,
            path,
            query,
            headers,
            f"{request.scheme}://{request.host}",
            request_id,
            client_request_id,
            payload,
        )

    async def _perform(self, call: Call) -> Answer:
        if not is_batch(call.path) or call.method != "POST":
            return await self._gateway.perform(call)
        tenant = call.identity.tenant
        tenant.counts["batches"] += 1
        fault = self._world.faults.strike(Target(tenant.id, (), call.identity.client_id, "POST", "batch"))
        return await perform_batch(self._gateway, call, fault)

    @staticmethod
    def _respond(answer: Answer, request_id: str, client_request_id: str) -> web.Response:
        headers = {
            "request-id": request_id,
            "client-request-id": client_request_id,
            "strict-transport-security": "max-age=31536000",
            "x-ms-ags-diagnostic": _DIAGNOSTIC,
            "Cache-Control": "private",
            **answer.headers,
        }
        if answer.body is None:
            if answer.status != 204:
                headers["Content-Type"] = "text/plain"
            return web.Response(status=answer.status, headers=headers)
        headers["Content-Type"] = _JSON
        return web.Response(status=answer.status, body=orjson.dumps(answer.body), headers=headers)


def _refusal(error: GraphError, request_id: str, client_request_id: str) -> Answer:
    return Answer(error.status, error.body(request_id, client_request_id), error.headers)
