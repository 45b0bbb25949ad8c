"""Access tokens for Graph: how Entra ID writes them and how Graph reads them.

Source: Microsoft docs "access-token-claims-reference", "configurable-token-lifetimes".
"""

import uuid
from dataclasses import dataclass, field
from typing import Any

import jwt

from simulator.entra.apps import AppRegistration
from simulator.entra.keys import SigningKey
from simulator.errors import invalid_token
from simulator.tenant import Tenant

AUDIENCE = "https://graph.microsoft.com"
_KEPT_TOKENS_MAX = 4096


def issue(key: SigningKey, tenant: Tenant, app: AppRegistration, *, by_certificate: bool, lifetime_s: int) -> str:
    """An app-only token. Without a consented role it has no `roles` claim, and is issued all the same."""
    now = int(tenant.now())
    claims: dict[str, Any] = {
        "aud": AUDIENCE, "iss": f"https://sts.windows.net/{tenant.id}/", "iat": now, "nbf": now,
        "exp": now + lifetime_s, "aio": "simulated", "appid": app.client_id,
        "appidacr": "2" if by_certificate else "1", "idp": f"https://sts.windows.net/{tenant.id}/",
        "idtyp": "app", "oid": app.object_id, "sub": app.object_id, "tid": tenant.id, "uti": uuid.uuid4().hex,
        "ver": "1.0",
    }  # fmt: skip
    if app.roles:
        claims["roles"] = list(app.roles)
    return jwt.encode(claims, key.private, algorithm="RS256", headers={"kid": key.kid, "x5t": key.kid})


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls: an application in a tenant, with the roles its token shows."""

    tenant: Tenant
    client_id: str
    roles: frozenset[str]

    def has_role(self, *any_of: str) -> bool:
        """True if the token shows at least one of the roles."""
        return not self.roles.isdisjoint(any_of)


@dataclass(slots=True)
class TokenReader:
    """Reads bearer tokens; a signature that was verified is remembered, an expiry is checked every time."""

    key: SigningKey
    _kept: dict[str, dict[str, Any]] = field(default_factory=dict)

    def read(self, authorization: str | None, tenants: dict[str, Tenant]) -> Identity:
        """The caller behind an Authorization header. Raises InvalidAuthenticationToken (401)."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise invalid_token("Access token is empty.")
        claims = self._claims(token.strip())
        tenant = tenants.get(claims["tid"])
        if tenant is None:
            raise invalid_token("Access token validation failure. Invalid tenant.")
        now = tenant.now()
        if now >= claims["exp"]:
            raise invalid_token("Lifetime validation failed, the token is expired.")
        if now < claims["nbf"] - 1:
            raise invalid_token("Access token has expired or is not yet valid.")
        return Identity(tenant, claims["appid"], frozenset(claims.get("roles", ())))

    def _claims(self, token: str) -> dict[str, Any]:
        if (kept := self._kept.get(token)) is not None:
            return kept
        try:
            claims = jwt.decode(
                token,
                self.key.private.public_key(),
                algorithms=["RS256"],
                audience=AUDIENCE,
                options={
                    "require": ["tid", "appid", "exp", "nbf", "iss"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except jwt.InvalidAudienceError:
            raise invalid_token("Access token validation failure. Invalid audience.") from None
        except jwt.InvalidTokenError:
            raise invalid_token("Access token validation failure.") from None
        if claims["iss"] != f"https://sts.windows.net/{claims['tid']}/":
            raise invalid_token("Access token validation failure. Invalid issuer.")
        if len(self._kept) >= _KEPT_TOKENS_MAX:
            self._kept.clear()
        self._kept[token] = claims
        return claims
