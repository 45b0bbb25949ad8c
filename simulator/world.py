"""Everything the simulator remembers: tenants, faults, default limits, signing key. State only, no protocol."""

import itertools
import random
from dataclasses import dataclass, field
from typing import Any

from simulator.control.faults import FaultRules
from simulator.control.ledger import Ledger
from simulator.entra.apps import AppRegistration
from simulator.entra.grants import Grants
from simulator.entra.keys import SigningKey
from simulator.graph.application_budget import ApplicationBudgets
from simulator.limits import Limits
from simulator.notifications.sender import Sender
from simulator.tenant import Tenant

CHANCE_SEED = 20261121


@dataclass(slots=True, eq=False)
class World:
    """The state of one simulator process. It lives in memory and ends with the process."""

    key: SigningKey = field(default_factory=SigningKey.generate)
    limits: Limits = field(default_factory=Limits)
    tenants: dict[str, Tenant] = field(default_factory=dict)
    faults: FaultRules = field(default_factory=FaultRules)
    grants: Grants = field(default_factory=Grants)
    sender: Sender = field(default_factory=Sender)
    applications: ApplicationBudgets = field(default_factory=ApplicationBudgets)
    chance: random.Random = field(default_factory=lambda: random.Random(CHANCE_SEED))  # noqa: S311 - repeatable
    _sequence: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _domains: dict[str, Tenant] = field(default_factory=dict)
    strangers: Ledger = field(init=False)

    def __post_init__(self) -> None:
        """Opens the ledger of requests of which no tenant can be told."""
        self.strangers = Ledger(self._sequence)

    def tenant(self, name: str) -> Tenant | None:
        """By tenant id or domain name, in any case."""
        key = name.lower()
        return self.tenants.get(key) or self._domains.get(key)

    def registration(self, tenant: Tenant | None, client_id: str) -> AppRegistration | None:
        """The application as it can be used in the tenant, or anywhere: made there, or open to other tenants."""
        key = client_id.lower()
        if tenant is not None and (own := tenant.registrations.get(key)) is not None:
            return own
        made = (home.registrations.get(key) for home in self.tenants.values())
        return next((app for app in made if app is not None and app.multi_tenant), None)

    def put_tenant(self, tenant_id: str, domain: str | None) -> Tenant:
        """Adds the tenant or renames its domain; users and events stay. Raises ValueError on a domain in use."""
        key = tenant_id.lower()
        tenant = self.tenants.get(key)
        if domain is not None and self._domains.get(domain.lower(), tenant) is not tenant:
            raise ValueError(f"The domain {domain} belongs to another tenant.")
        if tenant is None:
            ledger = Ledger(self._sequence)
            tenant = self.tenants[key] = Tenant(key, ledger, self.limits, self.sender, self.key)
        if tenant.domain is not None:
            del self._domains[tenant.domain]
        tenant.domain = domain.lower() if domain else None
        if tenant.domain is not None:
            self._domains[tenant.domain] = tenant
        return tenant

    def set_limits(self, limits: Limits) -> None:
        """New defaults, for every tenant except where it has numbers of its own."""
        self.limits = limits
        for tenant in self.tenants.values():
            tenant.settle_limits(limits)

    def set_tenant_limits(self, tenant: Tenant, own: dict[str, Any]) -> None:
        """A tenant's own numbers, in place of those it had."""
        tenant.own_limits = own
        tenant.settle_limits(self.limits)

    def forget(self, tenant: Tenant) -> None:
        """Removes a tenant with all that happened in it and the faults made for it."""
        tenant.courier.stop()
        del self.tenants[tenant.id]
        if tenant.domain is not None:
            del self._domains[tenant.domain]
        self.faults.forget_tenant(tenant.id)
        self.grants.forget_tenant(tenant.id)

    def forget_all(self) -> None:
        """Removes every tenant and fault and restores the default limits. Sequence numbers go on."""
        self.stop()
        self.tenants.clear()
        self._domains.clear()
        self.faults.rules.clear()
        self.grants.clear()
        self.applications.tallies.clear()
        self.strangers = Ledger(self._sequence)
        self.limits = Limits()
        self.chance.seed(CHANCE_SEED)

    def beside(self) -> "World":
        """An empty world with the same key, sender and numbers, to be filled before `become` takes what is in it."""
        return World(key=self.key, sender=self.sender, _sequence=self._sequence)

    def become(self, other: "World") -> None:
        """Forgets everything and takes the tenants and limits of another world, which is of no use afterwards."""
        self.forget_all()
        self.limits = other.limits
        self.tenants.update(other.tenants)
        self._domains.update(other._domains)  # noqa: SLF001 - another of the same kind

    def stop(self) -> None:
        """Ends what runs in the background."""
        for tenant in self.tenants.values():
            tenant.courier.stop()
