"""Access and id tokens: how Entra ID writes them and how Graph reads them.

Source: Microsoft docs "access-token-claims-reference", "id-token-claims-reference", "configurable-token-lifetimes".
"""

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any

import jwt

from simulator.entra.accounts import SignIn
from simulator.entra.claims import ClaimsRequest
from simulator.entra.keys import SigningKey
from simulator.entra.permissions import RESOURCE, RESOURCE_ID, SIGN_IN
from simulator.errors import GraphError, insufficient_claims, invalid_token
from simulator.exchange.user import User
from simulator.tenant import Tenant

_AUDIENCES = (RESOURCE, RESOURCE_ID)
_CHALLENGE_ANSWERED = "xms_sim_nbf"
_KEPT_TOKENS_MAX = 4096


def _common(tenant: Tenant, client_id: str, credential: str, claims: ClaimsRequest, lifetime_s: int) -> dict[str, Any]:
    now = int(tenant.now())
    written: dict[str, Any] = {
        "iss": f"https://sts.windows.net/{tenant.id}/", "iat": now, "nbf": now, "exp": now + lifetime_s,
        "aio": tenant.incarnation, "appid": client_id, "appidacr": credential,
        "idp": f"https://sts.windows.net/{tenant.id}/", "tid": tenant.id, "uti": uuid.uuid4().hex, "ver": "1.0",
    }  # fmt: skip
    if claims.handles_challenges:
        written["xms_cc"] = ["CP1"]
    if claims.not_before_s is not None:
        written[_CHALLENGE_ANSWERED] = claims.not_before_s
    return written


def issue_for_app(
    key: SigningKey, tenant: Tenant, client_id: str, credential: str, claims: ClaimsRequest, lifetime_s: int
) -> str:
    """An app-only token. Without a consented role it has no `roles` claim, and is issued all the same."""
    principal = tenant.principals[client_id]
    written = _common(tenant, client_id, credential, claims, lifetime_s)
    written |= {"aud": RESOURCE, "idtyp": "app", "oid": principal.object_id, "sub": principal.object_id}
    if principal.roles:
        written["roles"] = list(principal.roles)
    return key.sign(written)


def issue_for_user(
    key: SigningKey,
    tenant: Tenant,
    client_id: str,
    credential: str,
    claims: ClaimsRequest,
    lifetime_s: int,
    user: User,
    scopes: frozenset[str],
    *,
    second_factor: bool,
) -> str:
    """A delegated token with the permissions in `scp`."""
    written = _common(tenant, client_id, credential, claims, lifetime_s)
    written |= {
        "aud": RESOURCE_ID, "idtyp": "user", "oid": user.id, "sub": _pairwise(client_id, user), "upn": user.upn,
        "unique_name": user.upn, "name": user.display_name, "scp": " ".join(sorted(scopes - SIGN_IN | {"openid"})),
        "amr": ["pwd", "mfa"] if second_factor else ["pwd"],
    }  # fmt: skip
    return key.sign(written)


def issue_id_token(
    key: SigningKey, tenant: Tenant, client_id: str, issuer: str, user: User, nonce: str | None, lifetime_s: int
) -> str:
    """Who signed in, for the application itself."""
    now = int(tenant.now())
    written: dict[str, Any] = {
        "aud": client_id, "iss": issuer, "iat": now, "nbf": now, "exp": now + lifetime_s, "oid": user.id,
        "sub": _pairwise(client_id, user), "tid": tenant.id, "preferred_username": user.upn, "name": user.display_name,
        "uti": uuid.uuid4().hex, "ver": "2.0",
    }  # fmt: skip
    if nonce is not None:
        written["nonce"] = nonce
    return key.sign(written)


def _pairwise(client_id: str, user: User) -> str:
    """A name of the user that differs from application to application."""
    return hashlib.blake2b(f"{client_id}/{user.id}".encode(), digest_size=24).hexdigest()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who calls: an application in a tenant, alone with its `roles`, or for a `user` with its `scopes`."""

    tenant: Tenant
    client_id: str
    roles: frozenset[str] = frozenset()
    user: User | None = None
    scopes: frozenset[str] = frozenset()

    @property
    def me(self) -> str | None:
        """The id of the user the call is made for."""
        return None if self.user is None else self.user.id

    def has_role(self, *any_of: str) -> bool:
        """True if the token shows at least one of the application permissions."""
        return not self.roles.isdisjoint(any_of)

    def has_scope(self, *any_of: str) -> bool:
        """True if the token shows at least one of the delegated permissions."""
        return not self.scopes.isdisjoint(any_of)


@dataclass(slots=True)
class TokenReader:
    """Reads bearer tokens; a signature that was verified is remembered, an expiry is checked every time."""

    key: SigningKey
    _kept: dict[str, dict[str, Any]] = field(default_factory=dict)

    def read(self, authorization: str | None, tenants: dict[str, Tenant]) -> Identity:
        """The caller behind an Authorization header. Raises InvalidAuthenticationToken (401).

        A token of a client that handles claims challenges is refused with one as soon as it was revoked; any other
        stays good until it ends, whatever happened since.
        """
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise invalid_token("Access token is empty.")
        claims = self._claims(token.strip())
        tenant = tenants.get(claims["tid"])
        if tenant is None:
            raise invalid_token("Access token validation failure. Invalid tenant.")
        if claims["aio"] != tenant.incarnation:
            raise invalid_token(
                "Access token validation failure. The token was issued for another state of the tenant."
            )
        now = tenant.now()
        if now >= claims["exp"]:
            raise invalid_token("Lifetime validation failed, the token is expired.")
        if now < claims["nbf"] - 1:
            raise invalid_token("Access token has expired or is not yet valid.")
        user = None
        if claims.get("idtyp") == "user":
            user = tenant.user(claims["oid"])
            if user is None:
                raise invalid_token("Access token validation failure. The user is not in the directory.")
        if "xms_cc" in claims:
            _check_revocation(claims, tenant, user)
        if user is None:
            return Identity(tenant, claims["appid"], frozenset(claims.get("roles", ())))
        return Identity(tenant, claims["appid"], user=user, scopes=frozenset(claims["scp"].split()))

    def named(self, authorization: str | None) -> tuple[str, str]:
        """The tenant and the application that a header's token names, good or not any more; empty if it is not ours."""
        try:
            claims = self._claims((authorization or "").partition(" ")[2].strip())
        except GraphError:
            return "", ""
        return claims["tid"], claims["appid"]

    def _claims(self, token: str) -> dict[str, Any]:
        if (kept := self._kept.get(token)) is not None:
            return kept
        try:
            claims = jwt.decode(
                token,
                self.key.private.public_key(),
                algorithms=["RS256"],
                audience=_AUDIENCES,
                options={
                    "require": ["tid", "appid", "exp", "nbf", "iss", "aio"],
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


def _check_revocation(claims: dict[str, Any], tenant: Tenant, user: User | None) -> None:
    """Raises a claims challenge (401) if the token was revoked. Source: "concept-continuous-access-evaluation"."""
    principal = tenant.principals.get(claims["appid"])
    if principal is None or principal.disabled or (user is not None and user.account.sign_in is SignIn.DISABLED):
        raise insufficient_claims(int(tenant.now()))
    valid_from_s = principal.tokens_valid_from_s
    if user is not None:
        valid_from_s = max(valid_from_s, user.account.sessions_valid_from_s)
    # A token of the very second counts as older, unless its client says that it saw the challenge.
    if claims["iat"] <= valid_from_s and claims.get(_CHALLENGE_ANSWERED, 0) < int(valid_from_s):
        raise insufficient_claims(int(valid_from_s))
