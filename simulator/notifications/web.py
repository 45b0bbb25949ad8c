"""The part of the administrative interface that is about notifications, below `/_sim/tenants/{t}`."""

import time
from itertools import islice

from aiohttp import web
from pydantic import TypeAdapter

from simulator.control.requests import ADMIN_PREFIX, Unknown, at_least, read_object, seconds, tenant_of, wanted
from simulator.notifications.deliveries import Delivery, Fate
from simulator.notifications.messages import DeliveryPage, LifecycleEvent, SubscriptionInfo
from simulator.notifications.outbox import SUBSCRIPTION_REMOVED
from simulator.notifications.subscription import Subscription
from simulator.notifications.switches import Switches
from simulator.tenant import Tenant
from simulator.wire import json_response
from simulator.world import World

PAGE_MAX_ENTRIES = 1_000
WAIT_MAX_S = 60.0

_KINDS = {kind: kind for kind in ("validation", "notification", "lifecycle")}
_SWITCHES = TypeAdapter(Switches)
_LIFECYCLE = TypeAdapter(LifecycleEvent)


def _info(subscription: Subscription) -> SubscriptionInfo:
    return SubscriptionInfo(
        id=subscription.id,
        client_id=subscription.client_id,
        user=subscription.mailbox_of.upn,
        change_types=sorted(subscription.change_types),
        notification_url=subscription.notification_url,
        lifecycle_url=subscription.lifecycle_url,
        expires_at_s=subscription.expires_at_s,
        authorized_until_s=subscription.authorized_until_s,
        asked_to_authorize=subscription.asked_to_authorize,
    )


class NotificationsHandler:
    """Answers for subscriptions, deliveries and switches."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """What this handler answers."""
        tenant = f"{ADMIN_PREFIX}/tenants/{{tenant}}"
        subscription = f"{tenant}/subscriptions/{{subscription}}"
        return [
            web.get(f"{tenant}/subscriptions", self.list_subscriptions),
            web.delete(subscription, self.remove_subscription),
            web.post(f"{subscription}/lifecycle", self.tell_lifecycle),
            web.get(f"{tenant}/deliveries", self.deliveries),
            web.get(f"{tenant}/notification-switches", self.get_switches),
            web.put(f"{tenant}/notification-switches", self.put_switches),
        ]

    def _subscription(self, request: web.Request) -> tuple[Tenant, Subscription]:
        tenant = tenant_of(self._world, request)
        tenant.outbox.review()
        subscription = tenant.outbox.subscriptions.get(request.match_info["subscription"].lower())
        if subscription is None:
            raise Unknown(f"There is no subscription {request.match_info['subscription']} in the tenant.")
        return tenant, subscription

    async def list_subscriptions(self, request: web.Request) -> web.Response:
        """All that have not ended, of every application."""
        outbox = tenant_of(self._world, request).outbox
        outbox.review()
        return json_response({"value": [_info(known) for known in outbox.subscriptions.values()]})

    async def remove_subscription(self, request: web.Request) -> web.Response:
        """The service ends a subscription and tells its application."""
        tenant, subscription = self._subscription(request)
        tenant.outbox.removed_by_service(subscription)
        return web.Response(status=204)

    async def tell_lifecycle(self, request: web.Request) -> web.Response:
        """Sends a lifecycle notification; `subscriptionRemoved` also ends the subscription."""
        tenant, subscription = self._subscription(request)
        event = _LIFECYCLE.validate_python(await read_object(request)).event
        if event == SUBSCRIPTION_REMOVED:
            tenant.outbox.removed_by_service(subscription)
        else:
            tenant.outbox.tell_lifecycle(subscription, event)
        return web.Response(status=204)

    async def deliveries(self, request: web.Request) -> web.Response:
        """The ledger above a number, oldest first; waits up to `wait_s` for the first entry there is to show."""
        tenant = tenant_of(self._world, request)
        after = wanted(request, "after", at_least(0)) or 0
        limit = min(wanted(request, "limit", at_least(1)) or PAGE_MAX_ENTRIES, PAGE_MAX_ENTRIES)
        kind, fate = wanted(request, "kind", _KINDS.__getitem__), wanted(request, "fate", Fate)
        subscription = request.query.get("subscription")
        ends_at_s = time.monotonic() + min(wanted(request, "wait_s", seconds) or 0.0, WAIT_MAX_S)

        def passes(entry: Delivery) -> bool:
            return (
                (kind is None or entry.kind == kind)
                and (fate is None or entry.fate is fate)
                and (subscription is None or any(told.subscription_id == subscription for told in entry.told))
            )

        ledger = tenant.outbox.deliveries
        found = list(islice(filter(passes, ledger.after(after)), limit))
        while not found and (left_s := ends_at_s - time.monotonic()) > 0:
            await ledger.more(left_s)
            found = list(islice(filter(passes, ledger.after(after)), limit))
        under_way = tenant.courier.under_way
        return json_response(DeliveryPage(found, ledger.fallen_off, tenant.outbox.waiting(), under_way))

    async def get_switches(self, request: web.Request) -> web.Response:
        """The faults that are switched on."""
        return json_response(tenant_of(self._world, request).outbox.switches)

    async def put_switches(self, request: web.Request) -> web.Response:
        """Switches faults on and off; those not named are off."""
        tenant = tenant_of(self._world, request)
        switches = _SWITCHES.validate_python(await read_object(request))
        if problem := switches.problem():
            raise ValueError(problem)
        tenant.outbox.switch(switches)
        return json_response(switches)
