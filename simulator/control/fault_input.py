"""Reading fault rules: names are resolved to what calls show, and a rule that no call could ever meet is refused."""

from collections import defaultdict
from dataclasses import dataclass, replace

from simulator.control.faults import Fault
from simulator.graph.operations import OPERATIONS
from simulator.graph.routes import PATHS
from simulator.tenant import Tenant
from simulator.world import World


@dataclass(frozen=True, slots=True)
class Kind:
    """The calls of one operation: their methods, and whether their paths name a user."""

    methods: frozenset[str]
    names_user: bool


def _kinds() -> dict[str, Kind]:
    with_user = {resource for end, starts, resource in PATHS if any("{user}" in f"{start}/{end}" for start in starts)}
    methods, naming = defaultdict[str, set[str]](set), set[str]()
    for resource, by_method in OPERATIONS.items():
        for method, operation in by_method.items():
            methods[operation.name].add(method)
            if resource in with_user:
                naming.add(operation.name)
    kinds = {name: Kind(frozenset(found), name in naming) for name, found in methods.items()}
    post = frozenset({"POST"})
    outside_graph = {
        "batch": Kind(post, names_user=False),
        "token": Kind(post, names_user=False),
        "authorize": Kind(post | {"GET"}, names_user=False),
    }
    return kinds | outside_graph


KINDS = _kinds()


def read_fault(world: World, fault: Fault) -> Fault:
    """The rule with its matchers as calls show them. Raises ValueError with the matcher that nothing can meet."""
    if problem := fault.problem():
        raise ValueError(problem)
    tenants = list(world.tenants.values())
    if fault.tenant is not None:
        tenant = world.tenant(fault.tenant)
        if tenant is None:
            raise ValueError(f"There is no tenant {fault.tenant}.")
        tenants = [tenant]
    _check_operation(fault)
    return replace(
        fault,
        tenant=None if fault.tenant is None else tenants[0].id,
        user=None if fault.user is None else _user(fault.user, tenants),
        app=None if fault.app is None else _app(world, fault.app, tenants),
        method=None if fault.method is None else fault.method.upper(),
    )


def _check_operation(fault: Fault) -> None:
    kinds = list(KINDS.values())
    if fault.operation is not None:
        if fault.operation not in KINDS:
            raise ValueError(f"There is no operation {fault.operation}.")
        kinds = [KINDS[fault.operation]]
    if fault.method is not None and not any(fault.method.upper() in kind.methods for kind in kinds):
        of = f" for the operation {fault.operation}" if fault.operation else ""
        raise ValueError(f"There is no method {fault.method}{of}.")
    if fault.user is not None and not any(kind.names_user for kind in kinds):
        raise ValueError(f"Calls of the operation {fault.operation} name no user.")


def _user(name: str, tenants: list[Tenant]) -> str:
    if all(tenant.user(name) is None for tenant in tenants):
        raise ValueError(f"There is no user {name}.")
    return name.lower()


def _app(world: World, name: str, tenants: list[Tenant]) -> str:
    """An app that a tenant knows, or that could be consented to there."""
    client_id = name.lower()
    known = any(client_id in tenant.principals or world.registration(tenant, client_id) for tenant in tenants)
    if not known:
        raise ValueError(f"There is no app {name}.")
    return client_id
