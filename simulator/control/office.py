"""What an administrator or a user does outside Graph: setting tenants up, and using Outlook.

Changes of state only; reading requests and writing answers is `web`'s part. Bad input raises ValueError.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any

import orjson
from cryptography import x509
from pydantic import TypeAdapter, ValidationError

from simulator.control.messages import (
    App,
    AppChange,
    AppInfo,
    Seed,
    StoredEvent,
    TenantSettings,
    UserInfo,
    UserSettings,
)
from simulator.entra.apps import AppRegistration, AppSecret, MailboxReach, ServicePrincipal
from simulator.entra.consent import principal_for
from simulator.entra.permissions import known_role, known_scope
from simulator.errors import GraphError
from simulator.exchange.event import Event
from simulator.exchange.times import find_zone
from simulator.exchange.user import User
from simulator.limits import Limits
from simulator.tenant import Tenant
from simulator.world import World

JsonObject = dict[str, Any]

_SEED = TypeAdapter(Seed)
_LIMITS = TypeAdapter(Limits)


def sentence(error: ValidationError) -> str:
    """The first thing that is wrong, in words."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "The input"
    return f"{place}: {first['msg']}."


def _certificate(pem: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise ValueError("A certificate is not in PEM format.") from None


def _registration(tenant: Tenant, app: App) -> AppRegistration:
    secrets = [AppSecret(app.secret)] if app.secret else []
    for secret in app.secrets:
        expires_at_s = secret.expires_at.timestamp() if secret.expires_at else None
        secrets.append(AppSecret(secret.value, expires_at_s))
    return AppRegistration(
        client_id=app.client_id.lower(),
        home_tenant=tenant.id,
        name=app.name or app.client_id,
        secrets=tuple(secrets),
        certificates=tuple(_certificate(pem) for pem in app.certificates),
        redirect_uris=app.redirect_uris,
        requested_roles=app.requested_roles,
        requested_scopes=app.requested_scopes,
        multi_tenant=app.multi_tenant,
    )


def _roles(names: Iterable[str]) -> tuple[str, ...]:
    """Application permissions by their proper names. Raises ValueError."""
    return tuple(known_role(name) for name in names)


def _scopes(names: Iterable[str]) -> tuple[str, ...]:
    """Delegated permissions by their proper names. Raises ValueError."""
    return tuple(known_scope(name) for name in names)


def _checked(app: App) -> App:
    """The app with the proper names of what it may and asks for. Raises ValueError."""
    for pem in app.certificates:
        _certificate(pem)
    return replace(
        app,
        roles=_roles(app.roles),
        scopes=_scopes(app.scopes),
        requested_roles=_roles(app.requested_roles),
        requested_scopes=_scopes(app.requested_scopes),
    )


def _lower(names: Iterable[str]) -> frozenset[str]:
    return frozenset(name.lower() for name in names)


def _principal(tenant: Tenant, app: App) -> ServicePrincipal:
    principal = principal_for(tenant, app.client_id, tenant.id)
    principal.roles, principal.scopes, principal.disabled = app.roles, frozenset(app.scopes), app.disabled
    principal.assignment_required, principal.assigned = app.assignment_required, _lower(app.assigned)
    allowed = None if app.allowed_mailboxes is None else _lower(app.allowed_mailboxes)
    reach = MailboxReach(_lower(app.scoped_mailboxes), allowed, _lower(app.denied_mailboxes))
    principal.set_reach(reach, tenant.now(), lag_s=0)
    return principal


def put_tenant(world: World, tenant_id: str, settings: TenantSettings) -> Tenant:
    """Adds or changes a tenant; the apps replace those made in it, those of other tenants stay."""
    apps = [_checked(app) for app in settings.apps]
    tenant = world.put_tenant(tenant_id, settings.domain)
    registrations = [_registration(tenant, app) for app in apps]
    tenant.registrations = {registration.client_id: registration for registration in registrations}
    foreign = {key: known for key, known in tenant.principals.items() if known.home_tenant != tenant.id}
    tenant.principals = foreign | {app.client_id.lower(): _principal(tenant, app) for app in apps}
    tenant.users_may_consent = settings.users_may_consent
    tenant.approval_by_request = settings.approval_by_request
    tenant.outbox.look_again()
    return tenant


def _user_scopes(tenant: Tenant, given: dict[str, tuple[str, ...]]) -> Iterator[tuple[str, frozenset[str]]]:
    for name, scopes in given.items():
        user = tenant.user(name)
        if user is None:
            raise ValueError(f"There is no user {name} in the tenant.")
        yield user.id, frozenset(_scopes(scopes))


def change_app(tenant: Tenant, principal: ServicePrincipal, change: AppChange) -> None:
    """Changes what the tenant grants an app, or nothing. Tokens that are out there keep what they show."""
    roles = None if change.roles is None else _roles(change.roles)
    scopes = None if change.scopes is None else frozenset(_scopes(change.scopes))
    user_scopes = dict(_user_scopes(tenant, change.user_scopes or {}))
    principal.roles = principal.roles if roles is None else roles
    principal.scopes = principal.scopes if scopes is None else scopes
    principal.user_scopes.update(user_scopes)
    for name in ("disabled", "assignment_required"):
        if (value := getattr(change, name)) is not None:
            setattr(principal, name, value)
    if change.assigned is not None:
        principal.assigned = _lower(change.assigned)
    reach = principal.latest_reach()
    if change.scoped_mailboxes is not None:
        reach = replace(reach, granted=_lower(change.scoped_mailboxes))
    if change.allowed_mailboxes is not None or change.lift_allowed_mailboxes:
        lifted = change.lift_allowed_mailboxes or change.allowed_mailboxes is None
        reach = replace(reach, allowed=None if lifted else _lower(change.allowed_mailboxes or ()))
    if change.denied_mailboxes is not None:
        reach = replace(reach, denied=_lower(change.denied_mailboxes))
    principal.set_reach(reach, tenant.now(), tenant.limits.reach_lag_s)


def app_info(principal: ServicePrincipal) -> AppInfo:
    """The app as the interface shows it."""
    reach = principal.latest_reach()
    return AppInfo(
        client_id=principal.client_id,
        object_id=principal.object_id,
        home_tenant=principal.home_tenant,
        roles=list(principal.roles),
        scopes=sorted(principal.scopes),
        user_scopes={user_id: sorted(scopes) for user_id, scopes in principal.user_scopes.items()},
        disabled=principal.disabled,
        assignment_required=principal.assignment_required,
        assigned=sorted(principal.assigned),
        scoped_mailboxes=sorted(reach.granted),
        allowed_mailboxes=None if reach.allowed is None else sorted(reach.allowed),
        denied_mailboxes=sorted(reach.denied),
    )


def put_user(tenant: Tenant, upn: str, settings: UserSettings) -> User:
    """Adds or changes a user; the content of the mailbox stays, and so do sessions."""
    find_zone(settings.time_zone)
    user = tenant.put_user(upn, settings.id, settings.display_name, settings.mailbox, settings.time_zone)
    account = user.account
    account.administrator, account.password, account.sign_in = (
        settings.administrator,
        settings.password,
        settings.sign_in,
    )
    return user


def merged_limits(base: Limits, own: JsonObject) -> Limits:
    """The base with some numbers replaced."""
    limits = _LIMITS.validate_python({**asdict(base), **own})
    if problem := limits.problem():
        raise ValueError(problem)
    return limits


def set_tenant_limits(world: World, tenant: Tenant, numbers: JsonObject) -> None:
    """Replaces some of a tenant's numbers; those not named keep their value."""
    own = {**tenant.own_limits, **numbers}
    limits = merged_limits(world.limits, own)
    world.set_tenant_limits(tenant, {name: getattr(limits, name) for name in own})


def plant(world: World, seed_json: bytes) -> None:
    """Fills the world from a seed file. Raises ValueError."""
    try:
        seed = _SEED.validate_python(orjson.loads(seed_json))
    except ValidationError as error:
        raise ValueError(sentence(error)) from None
    if not seed.tenants:
        raise ValueError("It names no tenants.")
    try:
        _plant(world, seed)
    except ValidationError as error:
        raise ValueError(sentence(error)) from None
    except GraphError as error:
        raise ValueError(error.message) from None


def _plant(world: World, seed: Seed) -> None:
    for given in seed.tenants:
        policy = TenantSettings(given.apps, given.domain, given.users_may_consent, given.approval_by_request)
        tenant = put_tenant(world, given.id, policy)
        set_tenant_limits(world, tenant, given.limits)
        for user in given.users:
            settings = UserSettings(
                user.id,
                user.display_name,
                user.mailbox,
                user.time_zone,
                user.administrator,
                user.password,
                user.sign_in,
            )
            put_user(tenant, user.upn, settings)


def user_info(user: User) -> UserInfo:
    """The user as the interface shows it."""
    return UserInfo(
        user.id, user.upn, user.display_name, user.kind, user.time_zone, user.account.administrator,
        user.account.sign_in,
    )  # fmt: skip


def stored_event(event: Event) -> StoredEvent:
    """The event as the interface shows it."""
    return StoredEvent(
        id=event.id,
        immutable_id=event.immutable_id,
        calendar_id=event.calendar_id,
        etag=event.etag,
        writes=event.writes,
        subject=event.wire["subject"],
        start=event.start.local,
        start_time_zone=event.start.zone_name,
        start_utc=event.begins,
        end=event.end.local,
        end_time_zone=event.end.zone_name,
        end_utc=event.ends,
        is_all_day=event.wire["isAllDay"],
        body_text=event.body.text,
        body_html=event.body.html,
        categories=event.wire["categories"],
        transaction_id=event.transaction_id,
        extended_properties=event.properties,
        graph=event.wire,
    )
