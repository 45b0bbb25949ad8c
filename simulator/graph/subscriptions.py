"""The operations on subscriptions. They address no user, check themselves what a caller may, and wait for endpoints.

Sources: Microsoft docs "subscription-post-subscriptions", "subscription-update", "subscription-reauthorize",
"change-notifications-delivery-webhooks" (validation).
"""

import asyncio
import uuid

from simulator.entra.tokens import Identity
from simulator.errors import access_denied, invalid_subscription, invalid_user, validation_failed
from simulator.exchange.user import User
from simulator.graph import subscription_input as reading
from simulator.graph.call import Answer
from simulator.graph.permission import permit
from simulator.graph.task import Operation, Route, Task
from simulator.notifications.deliveries import Fate
from simulator.notifications.permission import READ
from simulator.notifications.subscription import Subscription
from simulator.tenant import Tenant

# Doing both to one subscription within this time is what Microsoft asks applications not to do.
REPEATED_WITHIN_S = 600.0


def _permit(identity: Identity, named: str, user: User | None) -> None:
    """Raises GraphError (403, 404) unless the caller may read the mailbox, by more than a `.Shared` scope."""
    if identity.user is not None and not identity.has_scope(*READ):
        raise access_denied()
    permit(identity, Route(_READ_MAILBOX, named), user)


def _mailbox(task: Task, named: str | None) -> User:
    """The user whose mailbox is to be watched, if the caller may read it. Raises GraphError (400, 403, 404)."""
    identity = task.call.identity
    if named is None:
        if identity.user is None:
            raise invalid_subscription("The resource '/me/events' needs delegated authentication.")
        named = identity.user.id
    user = identity.tenant.user(named)
    # Documented: no delegated permission, a `.Shared` one neither, lets a user watch another's mailbox.
    if identity.user is not None and user is not identity.user:
        raise access_denied()
    _permit(identity, named, user)
    if user is None:
        raise invalid_user(named)
    return user


def _creator_id(identity: Identity) -> str:
    if identity.user is not None:
        return identity.user.id
    principal = identity.tenant.principals.get(identity.client_id)
    return principal.object_id if principal is not None else identity.client_id


async def _validate(tenant: Tenant, *urls: str | None) -> None:
    """Asks every address at once. Raises ValidationError (400)."""
    wanted = [url for url in urls if url is not None]
    fates = await asyncio.gather(*(tenant.courier.validate(url) for url in wanted))
    if Fate.TIMED_OUT in fates:
        raise validation_failed(timed_out=True)
    if any(fate is not Fate.DELIVERED for fate in fates):
        raise validation_failed(timed_out=False)


def _answer(task: Task, status: int, subscription: Subscription) -> Answer:
    context = f"{task.call.origin}/v1.0/$metadata#subscriptions/$entity"
    return Answer(status, {"@odata.context": context, **subscription.show()})


async def create_subscription(task: Task) -> Answer:
    """POST /subscriptions. Nothing is kept before both addresses have shown that they want notifications."""
    task.no_options()
    preferences = task.preferences()
    given = reading.read_new(task.call.json())
    tenant, identity = task.tenant, task.call.identity
    resource = reading.watched(given)
    resource_data = reading.resource_data(given, resource, tenant.now())
    notification_url = reading.address(given, "notificationUrl") or ""
    lasts_s = tenant.limits.subscription_authorization_s
    subscription = Subscription(
        id=str(uuid.uuid4()),
        client_id=identity.client_id,
        creator_id=_creator_id(identity),
        subscriber=identity.user,
        mailbox_of=_mailbox(task, resource.user),
        resource=resource.written,
        change_types=reading.change_types(given),
        notification_url=notification_url,
        lifecycle_url=reading.address(given, "lifecycleNotificationUrl"),
        client_state=reading.client_state(given),
        expires_at_s=reading.expiry_s(given, tenant.now(), rich=resource_data is not None),
        immutable_ids=preferences.immutable_ids,
        tls_version=reading.tls_version(given),
        authorized_until_s=None if lasts_s is None else tenant.now() + lasts_s,
        resource_data=resource_data,
    )
    outbox = tenant.outbox
    outbox.check_room(subscription)
    await _validate(tenant, notification_url, subscription.lifecycle_url)
    # Others may have subscribed while the addresses were asked.
    outbox.check_room(subscription)
    outbox.add(subscription)
    tenant.courier.start()
    task.effect.mutation = True
    answer = _answer(task, 201, subscription)
    if preferences.applied:
        answer.headers["Preference-Applied"] = preferences.applied
    return answer


def list_subscriptions(task: Task) -> Answer:
    """GET /subscriptions: those the caller made, in one page."""
    task.no_options()
    identity = task.call.identity
    shown = [known.show() for known in task.tenant.outbox.visible(identity.client_id, identity.user)]
    return Answer(200, {"@odata.context": f"{task.call.origin}/v1.0/$metadata#subscriptions", "value": shown})


# Of this operation only the permission counts: watching a mailbox needs what reading it needs.
_READ_MAILBOX = Operation("list_subscriptions", list_subscriptions, full=True)


def _named(task: Task) -> Subscription:
    identity = task.call.identity
    return task.tenant.outbox.find(task.target.lower(), identity.client_id, identity.user)


def get_subscription(task: Task) -> Answer:
    """GET /subscriptions/{id}."""
    task.no_options()
    return _answer(task, 200, _named(task))


def _authorize(task: Task, subscription: Subscription) -> None:
    """Raises GraphError (403, 404) if the caller may no longer read the mailbox."""
    _permit(task.call.identity, subscription.mailbox_of.id, subscription.mailbox_of)
    task.tenant.outbox.authorize(subscription)


def _count_repetition(task: Task, at_s: float | None) -> None:
    if at_s is not None and task.tenant.now() < at_s + REPEATED_WITHIN_S:
        task.call.breaks("renewed_and_reauthorized")


async def update_subscription(task: Task) -> Answer:
    """PATCH /subscriptions/{id}: another expiry, which authorises anew, or another address, which is validated."""
    task.no_options()
    subscription = _named(task)
    given = reading.read_changes(task.call.json())
    tenant = task.tenant
    url = reading.address(given, "notificationUrl")
    expires_at_s = None
    if "expirationDateTime" in given:
        expires_at_s = reading.expiry_s(given, tenant.now(), rich=subscription.resource_data is not None)
    if url is not None:
        await _validate(tenant, url)
        # It may have ended while the address was asked.
        subscription = _named(task)
    if expires_at_s is not None:
        _authorize(task, subscription)
        _count_repetition(task, subscription.reauthorized_at_s)
        subscription.expires_at_s, subscription.renewed_at_s = expires_at_s, tenant.now()
        tenant.outbox.look_again()
    subscription.notification_url = url or subscription.notification_url
    task.effect.mutation = True
    return _answer(task, 200, subscription)


def delete_subscription(task: Task) -> Answer:
    """DELETE /subscriptions/{id}."""
    task.no_options()
    task.tenant.outbox.remove(_named(task))
    task.effect.mutation = True
    return Answer(204)


def reauthorize_subscription(task: Task) -> Answer:
    """POST /subscriptions/{id}/reauthorize: notifications go on, until the same time."""
    task.no_options()
    subscription = _named(task)
    _authorize(task, subscription)
    _count_repetition(task, subscription.renewed_at_s)
    subscription.reauthorized_at_s = task.tenant.now()
    task.effect.mutation = True
    return Answer(204)


SUBSCRIPTION_OPERATIONS: dict[str, dict[str, Operation]] = {
    "subscriptions": {
        "GET": Operation("list_subscriptions", list_subscriptions, unaddressed=True),
        "POST": Operation("create_subscription", create_subscription, unaddressed=True),
    },
    "subscription": {
        "GET": Operation("get_subscription", get_subscription, unaddressed=True),
        "PATCH": Operation("update_subscription", update_subscription, unaddressed=True),
        "DELETE": Operation("delete_subscription", delete_subscription, unaddressed=True),
    },
    "reauthorize": {"POST": Operation("reauthorize_subscription", reauthorize_subscription, unaddressed=True)},
}
