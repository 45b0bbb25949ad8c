"""Consent: what a tenant and its users have granted an application, and how they grant more. State, no protocol."""

import uuid

from simulator.entra.apps import AppRegistration, ServicePrincipal
from simulator.entra.permissions import BY_ADMINISTRATORS
from simulator.exchange.user import User
from simulator.tenant import Tenant

_APP_NAMESPACE = uuid.UUID("0c1de9f4-6f0c-4a7c-9a5f-5d5b1b0b7c11")


def principal_for(tenant: Tenant, client_id: str, home_tenant: str) -> ServicePrincipal:
    """An application newly known in a tenant, with nothing granted. Its object id is always the same."""
    key = client_id.lower()
    return ServicePrincipal(key, str(uuid.uuid5(_APP_NAMESPACE, f"{tenant.id}/{key}")), home_tenant)


def missing_scopes(tenant: Tenant, client_id: str, user: User, wanted: frozenset[str]) -> frozenset[str]:
    """What nobody has granted yet of what the application wants for this user."""
    principal = tenant.principals.get(client_id)
    return wanted if principal is None else wanted - principal.granted_scopes(user.id)


def may_grant(tenant: Tenant, user: User, scopes: frozenset[str]) -> bool:
    """Whether this user can grant the scopes without asking an administrator."""
    return user.account.administrator or (tenant.users_may_consent and scopes.isdisjoint(BY_ADMINISTRATORS))


def _known(tenant: Tenant, app: AppRegistration) -> ServicePrincipal:
    """The application in this tenant; the first consent makes it known."""
    if app.client_id not in tenant.principals:
        tenant.principals[app.client_id] = principal_for(tenant, app.client_id, app.home_tenant)
    return tenant.principals[app.client_id]


def grant_for_user(tenant: Tenant, app: AppRegistration, user: User, scopes: frozenset[str]) -> None:
    """The user lets the application act for them."""
    principal = _known(tenant, app)
    principal.user_scopes[user.id] = principal.user_scopes.get(user.id, frozenset()) | scopes


def grant_for_all(tenant: Tenant, app: AppRegistration, scopes: frozenset[str], roles: tuple[str, ...] = ()) -> None:
    """An administrator lets the application act for everybody, and alone with the roles."""
    principal = _known(tenant, app)
    principal.scopes |= scopes
    principal.roles += tuple(role for role in roles if role not in principal.roles)
