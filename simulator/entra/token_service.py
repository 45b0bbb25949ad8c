"""The decisions of the token endpoint: who asks, with which proof, and the AADSTS refusal or the grant.

No HTTP here. Sources: Microsoft docs "v2-oauth2-client-creds-grant-flow", "v2-oauth2-auth-code-flow",
"refresh-tokens", "reference-error-codes".
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson

from simulator.entra import refusals, tokens
from simulator.entra.apps import AppRegistration, ServicePrincipal
from simulator.entra.assertions import ASSERTION_TYPE, problem_with
from simulator.entra.claims import ClaimsRequest, read_claims
from simulator.entra.grants import RefreshToken
from simulator.entra.permissions import SIGN_IN, Scopes, read_scopes
from simulator.exchange.user import User
from simulator.tenant import Tenant
from simulator.world import World

CODE_LIFETIME_S = 600
REFRESH_TOKEN_INACTIVE_S = 90 * 86400
_LIFETIME_MIN_S, _LIFETIME_MAX_S = 3600, 5400
_LONG_LIFETIME_MIN_S, _LONG_LIFETIME_MAX_S = 20 * 3600, 28 * 3600
_NO_CREDENTIAL, _SECRET, _CERTIFICATE = "0", "1", "2"


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A request to the token endpoint. `tenant` is None at `common` and `organizations`.

    `origin` is where the endpoint is reached; `audiences` are the names an assertion may call it by.
    """

    tenant: Tenant | None
    form: Mapping[str, str]
    origin: str
    audiences: list[str]

    def need(self, name: str) -> str:
        """A parameter that must be there. Raises AADSTS900144."""
        value = self.form.get(name, "")
        if not value:
            raise refusals.missing_parameter(name)
        return value


@dataclass(frozen=True, slots=True)
class _Client:
    """An application that has shown who it is. `credential` is the value of `appidacr`."""

    registration: AppRegistration
    principal: ServicePrincipal
    credential: str

    @property
    def client_id(self) -> str:
        return self.registration.client_id


def redeem(world: World, request: TokenRequest) -> dict[str, Any]:
    """The answer of the token endpoint. Raises Refused."""
    request.need("client_id")
    grant_type = request.form.get("grant_type", "")
    if grant_type == "client_credentials":
        return _client_credentials(world, request)
    if grant_type == "authorization_code":
        return _authorization_code(world, request)
    if grant_type == "refresh_token":
        return _refresh_token(world, request)
    raise refusals.unsupported_grant_type(grant_type)


def _client_credentials(world: World, request: TokenRequest) -> dict[str, Any]:
    tenant = request.tenant
    if tenant is None:
        raise refusals.no_tenant_named()
    client = _client(world, tenant, request)
    if client.registration.is_public:
        raise refusals.no_credential()
    scope = request.form.get("scope")
    asked = read_scopes(scope or "")
    if not asked.default or asked.sign_in:
        raise refusals.bad_scope(scope)
    claims = read_claims(request.form.get("claims"))
    lifetime_s = _lifetime_s(world, tenant, claims)
    token = tokens.issue_for_app(world.key, tenant, client.client_id, client.credential, claims, lifetime_s)
    return {"token_type": "Bearer", "expires_in": lifetime_s, "ext_expires_in": lifetime_s, "access_token": token}


def _authorization_code(world: World, request: TokenRequest) -> dict[str, Any]:
    code = world.grants.codes.get(request.need("code"))
    if code is None or code.client_id != request.form["client_id"].lower():
        raise refusals.unreadable_grant("code")
    tenant = _tenant_of(world, code.tenant_id, request, "code")
    client = _client(world, tenant, request)
    if code.redeemed:
        raise refusals.code_used()
    if tenant.now() >= code.issued_at_s + CODE_LIFETIME_S:
        raise refusals.expired_code()
    if request.need("redirect_uri") != code.redirect_uri:
        raise refusals.redirect_mismatch(request.form["redirect_uri"], client.client_id)
    if code.challenge is not None and not _proves(request.form.get("code_verifier", ""), *code.challenge):
        raise refusals.wrong_verifier()
    user = _user(tenant, client, code.user_id, second_factor=code.second_factor)
    if user.account.sessions_valid_from_s > code.issued_at_s:
        raise refusals.grant_revoked(code.issued_at_s, user.account.sessions_valid_from_s)
    code.redeemed = True
    held = RefreshToken(
        tenant.id, user.id, client.client_id, code.scopes, code.issued_at_s, tenant.now(), code.second_factor
    )
    return _user_answer(world, request, client, held, user, code.nonce)


def _refresh_token(world: World, request: TokenRequest) -> dict[str, Any]:
    held = world.grants.refresh_tokens.get(request.need("refresh_token"))
    if held is None or held.client_id != request.form["client_id"].lower():
        raise refusals.unreadable_grant("refresh_token")
    tenant = _tenant_of(world, held.tenant_id, request, "refresh_token")
    client = _client(world, tenant, request)
    now, limits = tenant.now(), tenant.limits
    user = _user(tenant, client, held.user_id, second_factor=held.second_factor)
    if user.account.sessions_valid_from_s > held.signed_in_at_s:
        raise refusals.grant_revoked(held.issued_at_s, user.account.sessions_valid_from_s)
    if limits.refresh_token_uses_max is not None and held.uses >= limits.refresh_token_uses_max:
        raise refusals.grant_revoked(held.issued_at_s, now)
    if limits.sign_in_frequency_s is not None and now >= held.signed_in_at_s + limits.sign_in_frequency_s:
        raise refusals.sign_in_too_old(held.signed_in_at_s, limits.sign_in_frequency_s)
    if now >= held.issued_at_s + REFRESH_TOKEN_INACTIVE_S:
        raise refusals.refresh_token_inactive(held.issued_at_s, REFRESH_TOKEN_INACTIVE_S)
    answer = _user_answer(world, request, client, replace(held, issued_at_s=now, uses=0), user, None)
    held.uses += 1
    return answer


def _user_answer(
    world: World, request: TokenRequest, client: _Client, held: RefreshToken, user: User, nonce: str | None
) -> dict[str, Any]:
    """Tokens for a user, with a new refresh token if `offline_access` was granted."""
    tenant = world.tenants[held.tenant_id]
    scopes = _wanted(client, user, request.form.get("scope"), held.scopes)
    claims = read_claims(request.form.get("claims"))
    lifetime_s = _lifetime_s(world, tenant, claims)
    access_token = tokens.issue_for_user(
        world.key,
        tenant,
        client.client_id,
        client.credential,
        claims,
        lifetime_s,
        user,
        scopes,
        second_factor=held.second_factor,
    )
    answer: dict[str, Any] = {
        "token_type": "Bearer", "scope": " ".join(sorted(scopes - {"offline_access"})), "expires_in": lifetime_s,
        "ext_expires_in": lifetime_s, "access_token": access_token,
    }  # fmt: skip
    if "offline_access" in scopes:
        answer["refresh_token"] = world.grants.give_refresh_token(replace(held, scopes=held.scopes | scopes))
    if "openid" in scopes:
        issuer = f"{request.origin}/{tenant.id}/v2.0"
        answer["id_token"] = tokens.issue_id_token(world.key, tenant, client.client_id, issuer, user, nonce, lifetime_s)
    if request.form.get("client_info") == "1":
        answer["client_info"] = client_info(tenant, user)
    return answer


def _wanted(client: _Client, user: User, scope: str | None, of_grant: frozenset[str]) -> frozenset[str]:
    """The scopes of the new tokens: those asked for, or those of the grant. Raises AADSTS65001, AADSTS70011."""
    granted = client.principal.granted_scopes(user.id)
    if not scope:
        wanted = of_grant
    else:
        asked = read_scopes(scope)
        # Without openid or offline_access in the request, the grant's own still hold.
        wanted = expand(asked, client.registration, granted) | (of_grant & SIGN_IN)
    if not wanted <= granted:
        raise refusals.not_consented(client.client_id, client.registration.name)
    return wanted


def expand(asked: Scopes, registration: AppRegistration, granted: frozenset[str]) -> frozenset[str]:
    """The scopes by name, where `/.default` stands for what is registered and what is granted already."""
    permissions = asked.permissions
    if asked.default:
        permissions = frozenset(registration.requested_scopes) | (granted - SIGN_IN)
    return asked.sign_in | permissions


def client_info(tenant: Tenant, user: User) -> str:
    """Names the account to the client library."""
    raw = orjson.dumps({"uid": user.id, "utid": tenant.id})
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _tenant_of(world: World, tenant_id: str, request: TokenRequest, parameter: str) -> Tenant:
    tenant = world.tenants[tenant_id]
    if request.tenant is not None and request.tenant is not tenant:
        raise refusals.unreadable_grant(parameter)
    return tenant


def _lifetime_s(world: World, tenant: Tenant, claims: ClaimsRequest) -> int:
    limits = tenant.limits
    if claims.handles_challenges:
        chosen = world.chance.randint(_LONG_LIFETIME_MIN_S, _LONG_LIFETIME_MAX_S)
        return limits.long_token_lifetime_s or chosen
    return limits.token_lifetime_s or world.chance.randint(_LIFETIME_MIN_S, _LIFETIME_MAX_S)


def _user(tenant: Tenant, client: _Client, user_id: str, *, second_factor: bool) -> User:
    """The user of a grant, if tokens may still be had. Raises Refused."""
    user = tenant.user(user_id)
    if user is None:
        raise refusals.unknown_user(user_id, tenant.id)
    if (refused := user.account.refusal_without_person(second_factor=second_factor)) is not None:
        raise refused
    if not client.principal.admits(user.names):
        raise refusals.not_assigned(user.upn, client.client_id, client.registration.name)
    return user


def _client(world: World, tenant: Tenant, request: TokenRequest) -> _Client:
    """The application, which must be in the tenant and prove itself. Raises Refused."""
    client_id = request.form["client_id"]
    principal = tenant.principals.get(client_id.lower())
    registration = world.registration(tenant, client_id)
    if principal is None or registration is None:
        raise refusals.unknown_app(client_id, tenant.id)
    if principal.disabled:
        raise refusals.app_disabled(client_id)
    return _Client(registration, principal, _prove(registration, tenant, request))


def _prove(app: AppRegistration, tenant: Tenant, request: TokenRequest) -> str:
    """The value of `appidacr`: how the application proved itself. Raises Refused."""
    form = request.form
    if assertion := form.get("client_assertion"):
        problem = problem_with(assertion, app, request.audiences)
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            problem = "The client_assertion_type is not supported."
        if problem:
            raise refusals.bad_assertion(problem)
        return _CERTIFICATE
    offered = form.get("client_secret")
    if not offered:
        if app.is_public:
            return _NO_CREDENTIAL
        raise refusals.no_credential()
    matching = [secret for secret in app.secrets if secret.matches(offered)]
    if not matching:
        raise refusals.wrong_secret(app.client_id)
    now = tenant.now()
    if all(secret.expires_at_s is not None and secret.expires_at_s <= now for secret in matching):
        raise refusals.expired_secret(app.client_id)
    return _SECRET


def _proves(verifier: str, challenge: str, method: str) -> bool:
    """Whether the verifier is the one the PKCE challenge was made of."""
    if method == "S256":
        digest = hashlib.sha256(verifier.encode()).digest()
        verifier = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    return hmac.compare_digest(verifier.encode(), challenge.encode())
