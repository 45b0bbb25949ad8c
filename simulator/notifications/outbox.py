"""A tenant's subscriptions and the notifications they cause: who is told what, when, and what comes of it.

State and decisions; sending is `courier`'s part. Sources: Microsoft docs "change-notifications-delivery-webhooks",
"change-notifications-lifecycle-events", "outlook-change-notifications-overview".
"""

import asyncio
import math
import random
from typing import TYPE_CHECKING

from simulator.errors import duplicate_subscription, subscription_not_found, too_many_subscriptions
from simulator.exchange.user import User
from simulator.exchange.watch import DELETED, Written
from simulator.notifications.deliveries import Deliveries, Fate, Told
from simulator.notifications.endpoint import Endpoint, Item
from simulator.notifications.permission import may_read
from simulator.notifications.sender import Result
from simulator.notifications.subscription import Subscription, instant
from simulator.notifications.switches import Switches

if TYPE_CHECKING:
    from simulator.tenant import Tenant

REAUTHORIZATION_REQUIRED = "reauthorizationRequired"
SUBSCRIPTION_REMOVED = "subscriptionRemoved"
MISSED = "missed"
NOTIFICATION = "notification"
LIFECYCLE = "lifecycle"

RETRY_FOR_S = 4 * 3600.0
RETRY_FIRST_S = 10.0
RETRY_MOST_S = 1800.0


def retry_after_s(attempt: int) -> float:
    """How long to wait after so many attempts: twice as long each time, at most half an hour."""
    return float(min(RETRY_FIRST_S * 2 ** min(attempt - 1, 16), RETRY_MOST_S))


class Outbox:
    """Everything about notifications in one tenant. Times are seconds on the tenant's clock.

    Each endpoint holds at most `notification_queue_max` notifications; what is discarded for the service's reasons
    is told of by one `missed`. Lifecycle notifications are never dropped for slowness; they wait until it is over.
    """

    def __init__(self, tenant: "Tenant") -> None:
        self._tenant = tenant
        self.subscriptions: dict[str, Subscription] = {}
        self._by_mailbox: dict[User, dict[str, Subscription]] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.deliveries = Deliveries()
        self.switches = Switches()
        self._dice = random.Random(0)  # noqa: S311 - repeatable chance, not a secret
        self.review_at_s = math.inf
        self.stirred = asyncio.Event()

    def switch(self, switches: Switches) -> None:
        """New faults in place of the old ones; chance begins anew."""
        self.switches = switches
        self._dice = random.Random(switches.seed)  # noqa: S311 - repeatable chance, not a secret

    # What applications do with subscriptions.

    def check_room(self, wanted: Subscription) -> None:
        """Raises GraphError: 409 if there is one like it, 403 if the mailbox has too many."""
        self.review()
        others = self._by_mailbox.get(wanted.mailbox_of, {})
        for other in others.values():
            if other.same_as(wanted):
                raise duplicate_subscription(other.id)
        if len(others) >= self._tenant.limits.subscriptions_max:
            raise too_many_subscriptions(self._tenant.limits.subscriptions_max)

    def add(self, subscription: Subscription) -> None:
        """From now on the subscription is told of changes."""
        self.subscriptions[subscription.id] = subscription
        self._by_mailbox.setdefault(subscription.mailbox_of, {})[subscription.id] = subscription
        self.look_again()

    def visible(self, client_id: str, subscriber: User | None) -> list[Subscription]:
        """The subscriptions this caller made and that have not ended."""
        self.review()
        return [
            known
            for known in self.subscriptions.values()
            if known.client_id == client_id and known.subscriber is subscriber
        ]

    def find(self, subscription_id: str, client_id: str, subscriber: User | None) -> Subscription:
        """Raises GraphError (404) if there is none, or it is another caller's."""
        self.review()
        found = self.subscriptions.get(subscription_id)
        if found is None or found.client_id != client_id or found.subscriber is not subscriber:
            raise subscription_not_found()
        return found

    def remove(self, subscription: Subscription) -> None:
        """Ends a subscription silently."""
        self.subscriptions.pop(subscription.id, None)
        of_mailbox = self._by_mailbox.get(subscription.mailbox_of, {})
        of_mailbox.pop(subscription.id, None)
        if not of_mailbox:
            self._by_mailbox.pop(subscription.mailbox_of, None)

    def authorize(self, subscription: Subscription) -> None:
        """The caller has shown anew that it may read the mailbox."""
        lasts_s = self._tenant.limits.subscription_authorization_s
        subscription.authorized_until_s = None if lasts_s is None else self._tenant.now() + lasts_s
        subscription.asked_to_authorize = False
        self.look_again()

    # What happens to subscriptions.

    def look_again(self) -> None:
        """A time, a clock or a permission has changed: the courier looks at everything anew."""
        self.review_at_s = -math.inf
        self.stirred.set()

    def review(self) -> None:
        """Ends what has expired; asks for a new authorization where it ran out or was taken away."""
        now = self._tenant.now()
        if now < self.review_at_s:
            return
        for subscription in list(self.subscriptions.values()):
            if subscription.expires_at_s <= now:
                self.remove(subscription)
            elif subscription.mailbox_of.refusal() is not None:
                self.removed_by_service(subscription)
            elif not self._authorized(subscription, now):
                self._ask_to_authorize(subscription)
        times = [math.inf]
        for subscription in self.subscriptions.values():
            times.append(subscription.expires_at_s)
            if subscription.authorized_until_s is not None and not subscription.asked_to_authorize:
                times.append(subscription.authorized_until_s)
        self.review_at_s = min(times)

    def _authorized(self, subscription: Subscription, now: float) -> bool:
        until_s = subscription.authorized_until_s
        return (until_s is None or now < until_s) and may_read(self._tenant, subscription)

    def _ask_to_authorize(self, subscription: Subscription) -> None:
        if not subscription.asked_to_authorize:
            subscription.asked_to_authorize = True
            self.tell_lifecycle(subscription, REAUTHORIZATION_REQUIRED)

    def removed_by_service(self, subscription: Subscription) -> None:
        """Ends a subscription and says so."""
        self.remove(subscription)
        self.tell_lifecycle(subscription, SUBSCRIPTION_REMOVED)

    def tell_lifecycle(self, subscription: Subscription, event: str) -> None:
        """Sends a lifecycle notification, if the subscription has an address for them."""
        if subscription.lifecycle_url is None:
            return
        body = {**self._body(subscription), "lifecycleEvent": event}
        item = Item(subscription, LIFECYCLE, body, Told(subscription.id, event, None), self._tenant.now())
        self._post_to(subscription.lifecycle_url, item)

    def written(self, user: User, written: Written) -> None:
        """An event of the user's mailbox was written; every subscription that asked for it is told."""
        subscriptions = self._by_mailbox.get(user)
        if not subscriptions:
            return
        self.review()
        for subscription in list(subscriptions.values()):
            if written.change_type in subscription.change_types:
                self._tell(subscription, written)

    def _body(self, subscription: Subscription) -> dict[str, object]:
        return {
            "subscriptionId": subscription.id,
            "subscriptionExpirationDateTime": instant(subscription.expires_at_s),
            "clientState": subscription.client_state,
            "tenantId": self._tenant.id,
        }

    def _tell(self, subscription: Subscription, written: Written) -> None:
        event_id = written.immutable_id if subscription.immutable_ids else written.event_id
        path = f"Users/{subscription.mailbox_of.id}/Events/{event_id}"
        body = {
            **self._body(subscription),
            "changeType": written.change_type,
            "resource": path,
            "resourceData": {
                "@odata.type": "#Microsoft.Graph.Event",
                "@odata.id": path,
                "@odata.etag": written.etag,
                "id": event_id,
            },
        }
        if subscription.resource_data is not None and written.change_type != DELETED:
            event = subscription.mailbox_of.mailbox.event(written.event_id)
            immutable_ids = subscription.immutable_ids
            body["encryptedContent"] = subscription.resource_data.sealed(event, immutable_ids=immutable_ids)
        now = self._tenant.now()
        told = Told(subscription.id, written.change_type, event_id)
        item = Item(subscription, NOTIFICATION, body, told, now)
        if not self._authorized(subscription, now):
            self._ask_to_authorize(subscription)
            self._discard(item, subscription.notification_url, Fate.UNAUTHORIZED)
        elif self._strikes(self.switches.lose):
            self._record(item, subscription.notification_url, Fate.LOST)
        else:
            self._send_through_switches(subscription.notification_url, item)

    def _send_through_switches(self, url: str, item: Item) -> None:
        late_s = self.switches.delay_s if self._strikes(self.switches.delay) else 0.0
        twin = Item(item.subscription, item.kind, item.body, item.told, item.born_s)
        twice = self._strikes(self.switches.duplicate)
        overtaken = self._strikes(self.switches.reorder)
        self._post_to(url, item, late_s=late_s, overtaken=overtaken)
        if twice:
            self._post_to(url, twin, late_s=late_s)

    def _strikes(self, probability: float) -> bool:
        return probability > 0 and self._dice.random() < probability

    def _post_to(self, url: str, item: Item, *, late_s: float = 0.0, overtaken: bool = False) -> None:
        now, limits = self._tenant.now(), self._tenant.limits
        endpoint = self.endpoints.get(url)
        if endpoint is None:
            endpoint = self.endpoints[url] = Endpoint(url)
        if item.kind == NOTIFICATION and endpoint.pace.drops(now):
            self._discard(item, url, Fate.DROPPED)
            return
        if len(endpoint) >= limits.notification_queue_max:
            self._discard(item, url, Fate.OVERFLOWED)
            return
        due_s = now + limits.notification_latency_ms / 1000 + endpoint.pace.delay_s(now) + late_s
        item.born_s = due_s
        if overtaken:
            endpoint.hold(item, due_s + self.switches.reorder_max_s)
        else:
            endpoint.put(item, due_s)
        self.stirred.set()

    # What the courier does.

    def take(self, endpoint: Endpoint) -> list[Item]:
        """What is to be posted now, without what its subscription did not live to see."""
        items = endpoint.take(self._tenant.now(), self._tenant.limits.notification_batch_max)
        for item in items:
            if not self._wanted(item):
                self._record(item, endpoint.url, Fate.GONE)
        return [item for item in items if self._wanted(item)]

    def _wanted(self, item: Item) -> bool:
        return item.kind == LIFECYCLE or item.subscription.id in self.subscriptions

    def settle(self, endpoint: Endpoint, items: list[Item], result: Result) -> None:
        """A POST has ended: what was not delivered is tried again, for four hours."""
        now, limits = self._tenant.now(), self._tenant.limits
        endpoint.pace.note(now, result.took_ms, limits)
        for item in items:
            item.attempt += 1
        told = tuple(item.told for item in items)
        self.deliveries.add(
            now, items[0].kind, endpoint.url, result.fate, told,
            status=result.status, took_ms=result.took_ms, attempt=max(item.attempt for item in items),
        )  # fmt: skip
        for item in items:
            if result.fate is Fate.DELIVERED:
                self._end(item)
            elif (due_s := now + retry_after_s(item.attempt)) > item.born_s + RETRY_FOR_S:
                self._discard(item, endpoint.url, Fate.GIVEN_UP)
            else:
                endpoint.put(item, due_s)

    def _record(self, item: Item, url: str, fate: Fate) -> None:
        self.deliveries.add(self._tenant.now(), item.kind, url, fate, (item.told,), attempt=item.attempt)

    def _discard(self, item: Item, url: str, fate: Fate) -> None:
        self._record(item, url, fate)
        self._end(item)
        subscription = item.subscription
        if item.kind == NOTIFICATION and not subscription.owes_missed and subscription.lifecycle_url is not None:
            subscription.owes_missed = True
            self.tell_lifecycle(subscription, MISSED)

    @staticmethod
    def _end(item: Item) -> None:
        if item.told.what == MISSED:
            item.subscription.owes_missed = False

    def waiting(self) -> int:
        """How many notifications have yet to be sent, retries included."""
        return sum(len(endpoint) for endpoint in self.endpoints.values())

    def next_due_s(self) -> float:
        """When there will be something to post, by the tenant's clock; infinity if never."""
        idle = (endpoint for endpoint in self.endpoints.values() if not endpoint.busy)
        return min((due_s for endpoint in idle if (due_s := endpoint.next_due_s()) is not None), default=math.inf)

    def forget_idle_endpoints(self) -> None:
        """Drops the addresses that no subscription names any more and nothing waits for."""
        named = {known.notification_url for known in self.subscriptions.values()}
        named |= {known.lifecycle_url for known in self.subscriptions.values() if known.lifecycle_url is not None}
        self.endpoints = {
            url: endpoint for url, endpoint in self.endpoints.items() if url in named or endpoint.busy or len(endpoint)
        }
