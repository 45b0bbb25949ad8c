"""Entra ID over HTTP: discovery, keys and the token endpoint. The decisions are in `token_service`.

Source: Microsoft docs "v2-protocols-oidc".
"""

import asyncio
import time
import uuid
from dataclasses import dataclass, field

from aiohttp import web

from simulator.control.faults import Fault, Target
from simulator.control.ledger import TOKEN
from simulator.entra.authorization import ANY_TENANT
from simulator.entra.injected import injected_at_token_endpoint
from simulator.entra.refusals import Refused, unknown_tenant
from simulator.entra.token_service import TokenRequest, redeem
from simulator.graph.told import INSIDE_RETRY_AFTER, Place, Wait
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
        """The token endpoint. What it refuses has an entry in the ledger of the tenant, if one can be told."""
        form = await form_fields(request)
        asking = _Asking(None, form.get("client_id", "").lower())
        try:
            tenant = self._tenant(request)
            asking.tenant = tenant or self._tenant_of_grant(form)
            if asking.tenant is not None:
                asking.tenant.counts["token_requests"] += 1
                if asking.tenant.told.inside(asking.place, asking.tenant.now()):
                    asking.breaks(asking.tenant, INSIDE_RETRY_AFTER)
                fault = self._world.faults.strike(Target(asking.tenant.id, (), asking.client_id, "POST", "token"))
                if fault is not None and fault.delay_ms:
                    await asyncio.sleep(fault.delay_ms / 1000)
                if fault is not None and fault.answers:
                    return self._faulty(request, asking, fault)
                self._look_for_loops(asking, asking.tenant, form)
            answer = redeem(self._world, self._token_request(request, tenant, form))
        except Refused as refused:
            if asking.tenant is not None:
                asking.tenant.counts["token_refusals"] += 1
            return self._refuse_token(request, asking, refused)
        if asking.tenant is not None:
            asking.tenant.counts["tokens_issued"] += 1
            if asking.violations:
                self._record(asking, 200, None)
        return json_response(answer, headers=_NO_STORE)

    @staticmethod
    def _look_for_loops(asking: "_Asking", tenant: Tenant, form: dict[str, str]) -> None:
        """Raises AADSTS50196."""
        if (looping := tenant.token_loops.refusal(form, tenant.now(), tenant.limits)) is not None:
            asking.breaks(tenant, "token_loop")
            raise looping

    @staticmethod
    def _token_request(request: web.Request, tenant: Tenant | None, form: dict[str, str]) -> TokenRequest:
        origin = f"{request.scheme}://{request.host}"
        names = {request.match_info["tenant"]} | ({tenant.id, tenant.domain or tenant.id} if tenant else set())
        return TokenRequest(tenant, form, origin, [f"{origin}/{name}/oauth2/v2.0/token" for name in names])

    def _refuse_token(self, request: web.Request, asking: "_Asking", refused: Refused) -> web.Response:
        self._record(asking, refused.status, f"AADSTS{refused.code}")
        asking.told_to_wait(refused.retry_after_s)
        return self._refuse(request, refused)

    def _record(self, asking: "_Asking", status: int, code: str | None, *, dropped: bool = False) -> None:
        tenant = asking.tenant
        ledger = self._world.strangers if tenant is None else tenant.ledger
        ledger.refused(
            TOKEN,
            time.time() if tenant is None else tenant.now(),
            "" if tenant is None else tenant.id,
            asking.client_id,
            status,
            code,
            violations=asking.violations,
            dropped=dropped,
        )

    def _tenant_of_grant(self, form: dict[str, str]) -> Tenant | None:
        """Whose code or refresh token it is that comes to an authority that names no tenant."""
        grants = self._world.grants
        held = grants.codes.get(form.get("code", "")) or grants.refresh_tokens.get(form.get("refresh_token", ""))
        return None if held is None else self._world.tenants.get(held.tenant_id)

    def _faulty(self, request: web.Request, asking: "_Asking", fault: Fault) -> web.Response:
        status = fault.status or 503
        if fault.drop:
            self._record(asking, status, None, dropped=True)
            return drop_connection(request)
        if not fault.empty_body:
            return self._refuse_token(request, asking, injected_at_token_endpoint(fault))
        self._record(asking, status, None)
        asking.told_to_wait(fault.retry_after_s)
        headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
        return web.Response(status=status, headers=headers)


@dataclass(slots=True)
class _Asking:
    """Who asks for a token, and the rules that are broken with it. Without a tenant, none can be told yet."""

    tenant: Tenant | None
    client_id: str
    violations: list[str] = field(default_factory=list)

    @property
    def place(self) -> Place:
        """What a Retry-After of the token endpoint is about."""
        return Place(self.client_id, "token")

    def breaks(self, tenant: Tenant, rule: str) -> None:
        """Counts a rule that is broken."""
        self.violations.append(rule)
        tenant.violations[rule] += 1

    def told_to_wait(self, retry_after_s: int | None) -> None:
        """The answer goes out, and with it this Retry-After, if it is one."""
        if self.tenant is not None and retry_after_s is not None:
            grace_s = self.tenant.limits.retry_after_grace_ms / 1000
            self.tenant.told.tell(Wait(self.place, retry_after_s), self.tenant.now(), grace_s)
