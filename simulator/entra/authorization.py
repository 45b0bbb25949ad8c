"""What an application asks a person for: reading requests to the authorize and administrator-consent addresses.

No HTTP and no page here. Sources: Microsoft docs "v2-oauth2-auth-code-flow", "v2-admin-consent", "v1-admin-consent".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

from simulator.entra import refusals
from simulator.entra.apps import AppRegistration
from simulator.entra.permissions import DEFAULT, RESOURCE, Scopes, read_scopes
from simulator.entra.refusals import Refused
from simulator.tenant import Tenant
from simulator.world import World

# Authorities that name no tenant: whoever signs in brings their own.
ANY_TENANT = frozenset({"common", "organizations"})
_RESPONSE_MODES = frozenset({"query", "fragment", "form_post"})
_PROMPTS = frozenset({"", "login", "none", "consent", "select_account"})
_CHALLENGE = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_NO_SCOPES = Scopes(frozenset(), frozenset(), default=False)


class Purpose(StrEnum):
    """Which address was called."""

    SIGN_IN = "sign_in"
    ADMIN_CONSENT_V1 = "admin_consent_v1"
    ADMIN_CONSENT_V2 = "admin_consent_v2"


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Where the answer goes and how. The address is registered: it was checked before this was made."""

    redirect_uri: str
    state: str | None
    mode: str


class SentBack(Exception):  # noqa: N818 - an answer to the application, not a mistake of the program
    """The application gets these parameters, good or bad news, at the address it named."""

    def __init__(self, reply_to: ReplyTo, parameters: Mapping[str, str]) -> None:
        super().__init__(parameters.get("error", "done"))
        self.reply_to = reply_to
        self.parameters = parameters

    def all_parameters(self) -> dict[str, str]:
        """The parameters with the application's state."""
        state = {} if self.reply_to.state is None else {"state": self.reply_to.state}
        return {**self.parameters, **state}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that can be put before a person. `tenant` is None where the authority names none.

    `challenge` is that of PKCE with its method. `scope` is as it was written.
    """

    purpose: Purpose
    tenant: Tenant | None
    app: AppRegistration
    reply_to: ReplyTo
    scopes: Scopes
    scope: str
    prompt: str = ""
    login_hint: str = ""
    nonce: str | None = None
    challenge: tuple[str, str] | None = None
    wants_client_info: bool = False

    @property
    def is_admin_consent(self) -> bool:
        """True if only an administrator can answer it."""
        return self.purpose is not Purpose.SIGN_IN

    def send_back(self, parameters: Mapping[str, str]) -> SentBack:
        """An answer. The administrator-consent addresses say `admin_consent=True` in every one, refusals too."""
        extra = {"admin_consent": "True"} if self.is_admin_consent else {}
        return SentBack(self.reply_to, {**extra, **parameters})

    def refuse(self, refused: Refused) -> SentBack:
        """A refusal that the application hears of."""
        return self.send_back(refused.callback())

    def cancelled(self) -> SentBack:
        """The person gave up before deciding anything; the real service often says no more than this."""
        return self.send_back({"error": "access_denied", "error_subcode": "cancel"})

    def declined(self) -> SentBack:
        """The person read what is asked for and said no."""
        if self.purpose is Purpose.ADMIN_CONSENT_V1:
            return self.send_back({"error": "permission_denied", "error_description": "The admin canceled the request"})
        declined = refusals.consent_declined().callback()
        if self.purpose is Purpose.ADMIN_CONSENT_V2:
            return self.send_back({**declined, "error": "consent_required"})
        return self.send_back({**declined, "error_subcode": "cancel"})


def _app_and_reply(
    world: World, authority: str, parameters: Mapping[str, str], mode: str
) -> tuple[Tenant | None, AppRegistration, ReplyTo]:
    """Who asks and where the answer goes. Nothing is sent anywhere before this is known. Raises Refused."""
    tenant = world.tenant(authority)
    if tenant is None and authority.lower() not in ANY_TENANT:
        raise refusals.unknown_tenant(authority)
    client_id = parameters.get("client_id", "")
    if not client_id:
        raise refusals.missing_parameter("client_id")
    app = world.registration(tenant, client_id)
    if app is None:
        anywhere = (home.registrations.get(client_id.lower()) for home in world.tenants.values())
        known = next((app for app in anywhere if app is not None), None)
        if known is None or tenant is not None:
            raise refusals.unknown_app(client_id, authority)
        raise refusals.single_tenant(client_id, known.name)
    if tenant is None and not app.multi_tenant:
        raise refusals.single_tenant(client_id, app.name)
    if tenant is not None and (principal := tenant.principals.get(app.client_id)) and principal.disabled:
        raise refusals.app_disabled(client_id)
    redirect_uri = parameters.get("redirect_uri", "")
    if not redirect_uri and len(app.redirect_uris) == 1:
        redirect_uri = app.redirect_uris[0]
    if not app.allows_redirect(redirect_uri):
        raise refusals.redirect_mismatch(redirect_uri, client_id)
    return tenant, app, ReplyTo(redirect_uri, parameters.get("state"), mode)


def read_sign_in(world: World, authority: str, parameters: Mapping[str, str]) -> Asked:
    """A request to `/oauth2/v2.0/authorize`. Raises Refused for a page, SentBack for what the application is told."""
    mode = parameters.get("response_mode") or "query"
    tenant, app, reply_to = _app_and_reply(world, authority, parameters, mode if mode in _RESPONSE_MODES else "query")

    def refuse(refused: Refused) -> NoReturn:
        raise SentBack(reply_to, refused.callback())

    response_type = parameters.get("response_type", "")
    prompt = parameters.get("prompt", "")
    scope = parameters.get("scope", "")
    if mode not in _RESPONSE_MODES:
        refuse(refusals.invalid_parameter("response_mode"))
    if prompt not in _PROMPTS:
        refuse(refusals.invalid_parameter("prompt"))
    for name, value in (("response_type", response_type), ("scope", scope)):
        if not value:
            refuse(refusals.missing_parameter(name))
    if response_type != "code":
        refuse(refusals.unsupported_response_type(response_type))
    try:
        scopes = read_scopes(scope)
        challenge = _challenge(parameters)
    except Refused as refused:
        refuse(refused)
    return Asked(
        Purpose.SIGN_IN,
        tenant,
        app,
        reply_to,
        scopes,
        scope,
        prompt=prompt,
        login_hint=parameters.get("login_hint", ""),
        nonce=parameters.get("nonce"),
        challenge=challenge,
        wants_client_info=parameters.get("client_info") == "1",
    )


def _challenge(parameters: Mapping[str, str]) -> tuple[str, str] | None:
    challenge = parameters.get("code_challenge")
    method = parameters.get("code_challenge_method", "plain")
    if not challenge:
        return None
    if not _CHALLENGE.fullmatch(challenge):
        raise refusals.invalid_parameter("code_challenge")
    if method not in ("S256", "plain"):
        raise refusals.invalid_parameter("code_challenge_method")
    return challenge, method


def read_admin_consent(world: World, authority: str, parameters: Mapping[str, str], *, v2: bool) -> Asked:
    """A request to one of the `adminconsent` addresses. Raises Refused for a page, SentBack as `read_sign_in` does.

    The second version is not there for `common`; application permissions are asked for with `/.default`. The first
    version has no scope and means everything that is registered.
    """
    if v2 and authority.lower() == "common":
        raise refusals.no_tenant_named()
    tenant, app, reply_to = _app_and_reply(world, authority, parameters, "query")
    if not v2:
        return Asked(
            Purpose.ADMIN_CONSENT_V1, tenant, app, reply_to, Scopes(frozenset(), frozenset(), default=True), ""
        )
    scope = parameters.get("scope", "")
    asked = Asked(Purpose.ADMIN_CONSENT_V2, tenant, app, reply_to, _NO_SCOPES, scope)
    if not scope:
        raise asked.refuse(refusals.missing_parameter("scope"))
    try:
        scopes = read_scopes(scope)
    except Refused as refused:
        raise asked.refuse(refused) from None
    return Asked(Purpose.ADMIN_CONSENT_V2, tenant, app, reply_to, scopes, scope)


def full_scope(asked: Asked) -> str:
    """The scope as the second administrator-consent address gives it back: with the resource's address."""
    names = sorted(asked.scopes.permissions) + ([DEFAULT] if asked.scopes.default else [])
    return " ".join([*sorted(asked.scopes.sign_in), *(f"{RESOURCE}/{name}" for name in names)])
