"""What happens between a person and the sign-in pages: who they are, what is put before them, what they answer.

Each step is a value; showing it is `pages`' part. Decisions and the state they change, no HTTP.
"""

import hmac
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from simulator.entra import refusals
from simulator.entra.authorization import Asked, Purpose, full_scope
from simulator.entra.consent import grant_for_all, grant_for_user, may_grant, missing_scopes
from simulator.entra.grants import Code, Session
from simulator.entra.permissions import SIGN_IN
from simulator.entra.refusals import Refused
from simulator.entra.token_service import client_info, expand
from simulator.exchange.user import User
from simulator.tenant import Tenant
from simulator.world import World


@dataclass(frozen=True, slots=True)
class Person:
    """Who sits at the browser, and how we know. `just_now`: they signed in or answered in this very request."""

    tenant: Tenant
    user: User
    session: Session
    just_now: bool = False


@dataclass(frozen=True, slots=True)
class AskWho:
    """The sign-in page; `error` is what went wrong the last time."""

    error: Refused | None = None


@dataclass(frozen=True, slots=True)
class AskSecondFactor:
    """The page on which the person shows a second factor, or does what else is required; `required` says what."""

    person: Person
    required: Refused


@dataclass(frozen=True, slots=True)
class AskConsent:
    """The page that lists what the application wants. `for_all`: the person may grant it for everybody."""

    person: Person
    scopes: frozenset[str]
    roles: tuple[str, ...]
    for_all: bool


@dataclass(frozen=True, slots=True)
class AskAdministrator:
    """The page that says that only an administrator can grant this."""

    person: Person
    refused: Refused


Step = AskWho | AskSecondFactor | AskConsent | AskAdministrator


def find_person(world: World, session: Session | None) -> Person | None:
    """Who signed in in this browser, if the session is still worth something."""
    tenant = None if session is None else world.tenants.get(session.tenant_id)
    user = None if session is None or tenant is None else tenant.user(session.user_id)
    if session is None or tenant is None or user is None:
        return None
    if user.account.sessions_valid_from_s > session.signed_in_at_s or user.account.refusal() is not None:
        return None
    return Person(tenant, user, session)


def sign_in(world: World, asked: Asked, name: str, password: str) -> tuple[str, Person]:
    """Opens a session and returns its cookie. Raises Refused as the sign-in page words it."""
    tenant, user = _look_up(world, asked, name)
    account = user.account
    if (refused := account.refusal_before_password()) is not None:
        raise refused
    if account.password is not None and not hmac.compare_digest(account.password.encode(), password.encode()):
        raise refusals.wrong_password()
    if (refused := account.refusal()) is not None:
        raise refused
    cookie = world.grants.open_session(tenant.id, user.id, tenant.now())
    return cookie, Person(tenant, user, world.grants.sessions[cookie], just_now=True)


def _look_up(world: World, asked: Asked, name: str) -> tuple[Tenant, User]:
    if asked.tenant is not None:
        if (user := asked.tenant.user(name)) is not None:
            return asked.tenant, user
        for other in world.tenants.values():
            if other.user(name) is not None:
                raise refusals.foreign_user(name, other.id, asked.tenant.id, asked.app.client_id)
        raise refusals.unknown_user(name, asked.tenant.id)
    # A name's domain shows its tenant; an id needs no more.
    by_domain = world.tenant(name.rpartition("@")[2])
    for tenant in [*([by_domain] if by_domain else []), *world.tenants.values()]:
        if (user := tenant.user(name)) is not None:
            return tenant, user
    raise refusals.unknown_user(name, "any")


def next_step(world: World, asked: Asked, person: Person | None) -> Step:
    """What is put before the person now. Raises SentBack once the application can be told, Refused for an end page."""
    if person is None or not _is_meant(asked, person):
        if asked.prompt == "none":
            raise asked.refuse(refusals.nobody_signed_in())
        return AskWho()
    if asked.prompt in ("login", "select_account") and not person.just_now:
        return AskWho()
    required = person.user.account.more_required(second_factor=person.session.second_factor)
    if required is not None:
        if asked.prompt == "none":
            raise asked.refuse(required)
        return AskSecondFactor(person, required)
    if asked.is_admin_consent:
        return _administrator_step(asked, person)
    return _user_step(world, asked, person)


def _is_meant(asked: Asked, person: Person) -> bool:
    """Whether the session's user is one the request can be about."""
    if asked.tenant is not None and person.tenant is not asked.tenant:
        return False
    hint = asked.login_hint.lower()
    return person.just_now or not hint or hint in person.user.names


def _administrator_step(asked: Asked, person: Person) -> Step:
    if not person.user.account.administrator:
        return AskAdministrator(person, refusals.approval_required(asked.app.name))
    roles = asked.app.requested_roles if asked.scopes.default else ()
    return AskConsent(person, expand(asked.scopes, asked.app, frozenset()), roles, for_all=True)


def _user_step(world: World, asked: Asked, person: Person) -> Step:
    tenant, user, app = person.tenant, person.user, asked.app
    principal = tenant.principals.get(app.client_id)
    if principal is not None and principal.disabled:
        raise refusals.app_disabled(app.client_id)
    if principal is not None and not principal.admits(user.names):
        refused = refusals.not_assigned(user.upn, app.client_id, app.name)
        raise asked.refuse(refused) if asked.prompt == "none" else refused
    granted = principal.granted_scopes(user.id) if principal is not None else frozenset[str]()
    wanted = expand(asked.scopes, app, granted)
    missing = missing_scopes(tenant, app.client_id, user, wanted)
    if not missing and asked.prompt != "consent":
        raise asked.send_back(_code(world, asked, person, wanted))
    if asked.prompt == "none":
        raise asked.refuse(_silent(refusals.not_consented(app.client_id, app.name)))
    if not may_grant(tenant, user, missing):
        by_request = tenant.approval_by_request
        make = refusals.approval_can_be_requested if by_request else refusals.approval_required
        return AskAdministrator(person, make(app.name))
    return AskConsent(person, wanted, (), for_all=user.account.administrator)


def _silent(refused: Refused) -> Refused:
    """The same where no page may be shown."""
    return Refused(refused.status, "interaction_required", refused.code, refused.message, suberror=refused.suberror)


def _code(world: World, asked: Asked, person: Person, scopes: frozenset[str]) -> dict[str, str]:
    tenant, user, session = person.tenant, person.user, person.session
    code = Code(
        tenant.id,
        user.id,
        asked.app.client_id,
        asked.reply_to.redirect_uri,
        scopes,
        asked.nonce,
        asked.challenge,
        tenant.now(),
        session.second_factor,
    )
    parameters = {"code": world.grants.give_code(code)}
    if asked.wants_client_info:
        parameters["client_info"] = client_info(tenant, user)
    return {**parameters, "session_state": str(uuid.uuid5(uuid.NAMESPACE_OID, session.canary))}


def answer(world: World, asked: Asked, person: Person, form: Mapping[str, str]) -> Step:
    """What follows on the person's answer to a page. Raises SentBack or Refused, as `next_step` does."""
    if not hmac.compare_digest(form.get("canary", ""), person.session.canary):
        raise refusals.invalid_parameter("canary")
    step = next_step(world, asked, person)
    given = form.get("answer")
    match step:
        case AskSecondFactor():
            if given != "approve":
                raise asked.cancelled()
            person.session.second_factor = True
            person.user.account.did_more()
            return next_step(world, asked, person)
        case AskAdministrator():
            raise asked.cancelled()
        case AskConsent():
            if given != "accept":
                raise asked.declined()
            return _grant(world, asked, step, everybody=form.get("everybody") == "yes")
        case AskWho():
            return step


def _grant(world: World, asked: Asked, step: AskConsent, *, everybody: bool) -> Step:
    """Keeps the consent and tells the application. Raises SentBack."""
    person = step.person
    tenant, user = person.tenant, person.user
    if asked.is_admin_consent:
        grant_for_all(tenant, asked.app, step.scopes, step.roles)
        parameters = {"tenant": tenant.id}
        if asked.purpose is Purpose.ADMIN_CONSENT_V2:
            parameters["scope"] = full_scope(asked)
        raise asked.send_back(parameters)
    if everybody and step.for_all:
        grant_for_all(tenant, asked.app, step.scopes - SIGN_IN)
    grant_for_user(tenant, asked.app, user, step.scopes)
    raise asked.send_back(_code(world, asked, person, step.scopes))
