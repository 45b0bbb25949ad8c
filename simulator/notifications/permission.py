"""Whether a subscription's application may still read the mailbox, by what the tenant grants it now. Decisions only."""

from typing import TYPE_CHECKING

from simulator.notifications.subscription import Subscription

if TYPE_CHECKING:
    from simulator.tenant import Tenant

READ = frozenset({"Calendars.Read", "Calendars.ReadWrite"})


def may_read(tenant: "Tenant", subscription: Subscription) -> bool:
    """False if the consent was revoked, the application disabled, or the mailbox put out of its reach."""
    principal = tenant.principals.get(subscription.client_id)
    if principal is None or principal.disabled:
        return False
    if subscription.subscriber is not None:
        return not principal.granted_scopes(subscription.subscriber.id).isdisjoint(READ)
    reach, names = principal.reach(tenant.now()), subscription.mailbox_of.names
    return reach.grants(names) or (not READ.isdisjoint(principal.roles) and not reach.blocks(names))
