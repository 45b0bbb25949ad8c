"""What an administrator or a user does outside Graph: setting tenants up, and using Outlook.

Changes of state only; reading requests and writing answers is `web`'s part. Bad input raises ValueError.
"""

import uuid
from dataclasses import asdict
from typing import Any

import orjson
from cryptography import x509
from pydantic import TypeAdapter, ValidationError

from simulator.control.messages import App, Seed, StoredEvent, UserInfo, UserSettings
from simulator.entra.apps import AppRegistration, AppSecret
from simulator.exchange.event import Event
from simulator.exchange.times import find_zone
from simulator.exchange.user import User
from simulator.limits import Limits
from simulator.tenant import Tenant
from simulator.world import World

JsonObject = dict[str, Any]

_APP_NAMESPACE = uuid.UUID("0c1de9f4-6f0c-4a7c-9a5f-5d5b1b0b7c11")
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
        object_id=str(uuid.uuid5(_APP_NAMESPACE, f"{tenant.id}/{app.client_id.lower()}")),
        secrets=tuple(secrets),
        certificates=tuple(_certificate(pem) for pem in app.certificates),
        roles=app.roles,
        scoped_mailboxes=frozenset(name.lower() for name in app.scoped_mailboxes),
        disabled=app.disabled,
    )


def put_tenant(world: World, tenant_id: str, domain: str | None, apps: tuple[App, ...]) -> Tenant:
    """Adds or changes a tenant; the apps replace those it had."""
    tenant = world.put_tenant(tenant_id, domain)
    registrations = [_registration(tenant, app) for app in apps]
    tenant.apps = {registration.client_id: registration for registration in registrations}
    return tenant


def put_user(tenant: Tenant, upn: str, settings: UserSettings) -> User:
    """Adds or changes a user; the content of the mailbox stays."""
    find_zone(settings.time_zone)
    return tenant.put_user(upn, settings.id, settings.display_name, settings.mailbox, settings.time_zone)


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
    for given in seed.tenants:
        tenant = put_tenant(world, given.id, given.domain, given.apps)
        set_tenant_limits(world, tenant, given.limits)
        for user in given.users:
            settings = UserSettings(user.id, user.display_name, user.mailbox, user.time_zone)
            put_user(tenant, user.upn, settings)


def user_info(user: User) -> UserInfo:
    """The user as the interface shows it."""
    return UserInfo(user.id, user.upn, user.display_name, user.kind, user.time_zone)


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
