"""Entra ID over HTTP: discovery, keys and the token endpoint. The decisions are in `token_service`.

Source: Microsoft docs "v2-protocols-oidc".
"""

import asyncio
import uuid

from aiohttp import web

from simulator.control.faults import Fault, Target
from simulator.entra.authorization import ANY_TENANT
from simulator.entra.injected import injected
from simulator.entra.refusals import Refused, unknown_tenant
from simulator.entra.token_service import TokenRequest, redeem
from simulator.tenant import Tenant
from simulator.wire import drop_connection, form_fields, header_text, json_response
from simulator.world import World

_NO_STORE = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}


class LoginHandler:
    """Answers the login host's addresses for every tenant, by id or domain name."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """What this handler answers."""
        return [
            web.get("/{tenant}/v2.0/.well-known/openid-configuration", self.discovery),
            web.get("/{tenant}/.well-known/openid-configuration", self.discovery),
            web.get("/{tenant}/discovery/v2.0/keys", self.keys),
            web.post("/{tenant}/oauth2/v2.0/token", self.token),
        ]

    def _tenant(self, request: web.Request) -> Tenant | None:
        """None for an authority that names no tenant. Raises AADSTS90002."""
        name = request.match_info["tenant"]
        tenant = self._world.tenant(name)
        if tenant is None and name.lower() not in ANY_TENANT:
            raise unknown_tenant(name)
        return tenant

    @staticmethod
    def _refuse(request: web.Request, refused: Refused) -> web.Response:
        correlation_id = header_text(request, "client-request-id") or str(uuid.uuid4())
        waiting = {} if refused.retry_after_s is None else {"Retry-After": str(refused.retry_after_s)}
        return json_response(refused.body(correlation_id), refused.status, {**_NO_STORE, **waiting})

    async def discovery(self, request: web.Request) -> web.Response:
        """The OpenID Connect discovery document."""
        try:
            tenant = self._tenant(request)
        except Refused as refused:
            return self._refuse(request, refused)
        origin = f"{request.scheme}://{request.host}"
        base = f"{origin}/{tenant.id if tenant else request.match_info['tenant'].lower()}"
        issuer = f"{origin}/{tenant.id if tenant else '{tenantid}'}/v2.0"
        return json_response(
            {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
                "jwks_uri": f"{base}/discovery/v2.0/keys",
                "response_modes_supported": ["query", "fragment", "form_post"],
                "response_types_supported": ["code"],
                "subject_types_supported": ["pairwise"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "issuer": issuer,
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "scopes_supported": ["openid", "profile", "email", "offline_access"],
                "tenant_region_scope": "EU" if tenant else None,
                "cloud_instance_name": "microsoftonline.com",
                "msgraph_host": "graph.microsoft.com",
            }
        )

    async def keys(self, request: web.Request) -> web.Response:
        """The keys that tokens are signed with."""
        try:
            self._tenant(request)
        except Refused as refused:
            return self._refuse(request, refused)
        return json_response(self._world.key.jwks())

    async def token(self, request: web.Request) -> web.Response:
        """The token endpoint."""
        form = await form_fields(request)
        try:
            tenant = self._tenant(request)
        except Refused as refused:
            return self._refuse(request, refused)
        counted = tenant or self._tenant_of_grant(form)
        if counted is not None:
            counted.counts["token_requests"] += 1
            client_id = form.get("client_id", "").lower()
            fault = self._world.faults.strike(Target(counted.id, (), client_id, "POST", "token"))
            if fault is not None and fault.delay_ms:
                await asyncio.sleep(fault.delay_ms / 1000)
            if fault is not None and fault.answers:
                return self._faulty(request, fault)
            if (looping := counted.token_loops.refusal(form, counted.now(), counted.limits)) is not None:
                counted.counts["token_refusals"] += 1
                counted.violations["token_loop"] += 1
                return self._refuse(request, looping)
        origin = f"{request.scheme}://{request.host}"
        names = {request.match_info["tenant"]} | ({tenant.id, tenant.domain or tenant.id} if tenant else set())
        audiences = [f"{origin}/{name}/oauth2/v2.0/token" for name in names]
        try:
            answer = redeem(self._world, TokenRequest(tenant, form, origin, audiences))
        except Refused as refused:
            if counted is not None:
                counted.counts["token_refusals"] += 1
            return self._refuse(request, refused)
        if counted is not None:
            counted.counts["tokens_issued"] += 1
        return json_response(answer, headers=_NO_STORE)

    def _tenant_of_grant(self, form: dict[str, str]) -> Tenant | None:
        """Whose code or refresh token it is that comes to an authority that names no tenant."""
        grants = self._world.grants
        held = grants.codes.get(form.get("code", "")) or grants.refresh_tokens.get(form.get("refresh_token", ""))
        return None if held is None else self._world.tenants.get(held.tenant_id)

    def _faulty(self, request: web.Request, fault: Fault) -> web.Response:
        if fault.drop:
            return drop_connection(request)
        headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
        status = fault.status or 503
        if fault.empty_body:
            return web.Response(status=status, headers=headers)
        if (refused := injected(fault)) is not None:
            return self._refuse(request, refused)
        return json_response({"error": fault.code, "error_description": fault.message}, status, headers)
