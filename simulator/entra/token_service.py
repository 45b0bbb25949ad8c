"""The decisions of the token endpoint: who asks, with which proof, and the AADSTS refusal or the grant.

No HTTP here. Sources: Microsoft docs "v2-oauth2-client-creds-grant-flow", "reference-error-codes".
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from simulator.entra import tokens
from simulator.entra.apps import AppRegistration
from simulator.entra.assertions import ASSERTION_TYPE, problem_with
from simulator.tenant import Tenant
from simulator.world import World

_SCOPES = frozenset({"https://graph.microsoft.com/.default", "00000003-0000-0000-c000-000000000000/.default"})
_LIFETIME_MIN_S, _LIFETIME_MAX_S = 3600, 5400


class TokenRefused(Exception):  # noqa: N818 - the protocol calls it a refusal
    """An OAuth error with its AADSTS code."""

    def __init__(self, status: int, error: str, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.code = code
        self.message = message

    def body(self, correlation_id: str) -> dict[str, Any]:
        """The error document, with its description in the form administrators search for."""
        trace_id = str(uuid.uuid4())
        timestamp = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return {
            "error": self.error,
            "error_description": (
                f"AADSTS{self.code}: {self.message}\r\nTrace ID: {trace_id}\r\n"
                f"Correlation ID: {correlation_id}\r\nTimestamp: {timestamp}"
            ),
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace_id,
            "correlation_id": correlation_id,
            "error_uri": f"https://login.microsoftonline.com/error?code={self.code}",
        }


def unknown_tenant(name: str) -> TokenRefused:
    """AADSTS90002."""
    return TokenRefused(
        400,
        "invalid_request",
        90002,
        f"Tenant '{name}' not found. Check to make sure you have the correct tenant ID and are signing into the "
        "correct cloud. Check with your subscription administrator, this may happen if there are no active "
        "subscriptions for the tenant.",
    )


@dataclass(frozen=True, slots=True)
class Grant:
    """A token and its life."""

    access_token: str
    expires_in_s: int

    def body(self) -> dict[str, Any]:
        """The token response; app-only grants have no refresh token."""
        return {
            "token_type": "Bearer",
            "expires_in": self.expires_in_s,
            "ext_expires_in": self.expires_in_s,
            "access_token": self.access_token,
        }


def client_credentials(world: World, tenant: Tenant, form: Mapping[str, str], audiences: list[str]) -> Grant:
    """Answers a client-credentials request. Raises TokenRefused."""
    client_id = form.get("client_id", "")
    if not client_id:
        raise TokenRefused(
            400, "invalid_request", 900144, "The request body must contain the following parameter: 'client_id'."
        )
    grant_type = form.get("grant_type", "")
    if grant_type != "client_credentials":
        raise TokenRefused(
            400, "unsupported_grant_type", 70003, f"The app requested an unsupported grant type '{grant_type}'."
        )
    app = tenant.apps.get(client_id.lower())
    if app is None:
        raise TokenRefused(
            400,
            "unauthorized_client",
            700016,
            f"Application with identifier '{client_id}' was not found in the directory '{tenant.id}'. This can "
            "happen if the application has not been installed by the administrator of the tenant or consented "
            "to by any user in the tenant. You may have sent your authentication request to the wrong tenant.",
        )
    if app.disabled:
        raise TokenRefused(400, "unauthorized_client", 7000112, f"The application '{client_id}' is disabled.")
    by_certificate = _prove(app, tenant, form, audiences)
    if form.get("scope") not in _SCOPES:
        raise TokenRefused(
            400,
            "invalid_scope",
            70011,
            "The provided request must include a 'scope' input parameter. The provided value for the input "
            f"parameter 'scope' is not valid. The scope {form.get('scope')} is not valid.",
        )
    lifetime_s = tenant.limits.token_lifetime_s or world.chance.randint(_LIFETIME_MIN_S, _LIFETIME_MAX_S)
    token = tokens.issue(world.key, tenant, app, by_certificate=by_certificate, lifetime_s=lifetime_s)
    return Grant(token, lifetime_s)


def _prove(app: AppRegistration, tenant: Tenant, form: Mapping[str, str], audiences: list[str]) -> bool:
    """True for a certificate, False for a secret. Raises TokenRefused."""
    if assertion := form.get("client_assertion"):
        problem = problem_with(assertion, app, audiences)
        if form.get("client_assertion_type") != ASSERTION_TYPE:
            problem = "The client_assertion_type is not supported."
        if problem:
            raise TokenRefused(
                401,
                "invalid_client",
                700027,
                f"Client assertion failed signature validation or is not acceptable. {problem}",
            )
        return True
    offered = form.get("client_secret")
    if not offered:
        raise TokenRefused(
            401,
            "invalid_client",
            7000218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        )
    matching = [secret for secret in app.secrets if secret.matches(offered)]
    if not matching:
        raise TokenRefused(
            401,
            "invalid_client",
            7000215,
            "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
            f"value, not the client secret ID, for a secret added to app '{app.client_id}'.",
        )
    now = tenant.now()
    if all(secret.expires_at_s is not None and secret.expires_at_s <= now for secret in matching):
        raise TokenRefused(
            401,
            "invalid_client",
            7000222,
            f"The provided client secret keys for app '{app.client_id}' are expired. Visit the Azure portal to "
            "create new keys for your app, or consider using certificate credentials for added security.",
        )
    return False
