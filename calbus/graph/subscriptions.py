"""Subscriptions to the changes of a mailbox, and what Microsoft sends because of them: requests and readers. Pure.

Sources: Microsoft docs "subscription-post-subscriptions", "change-notifications-subscription-lifetime",
"change-notifications-lifecycle-events".
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from calbus.graph.calls import Request

CHANGE_TYPES = frozenset(("created", "updated", "deleted"))
NOTIFICATIONS_PATH = "/graph/notifications"
LIFECYCLE_PATH = "/graph/lifecycle"
CLIENT_STATE_MAX_CHARS = 128

_SUBSCRIPTION_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_IMMUTABLE_IDS = {"Prefer": 'IdType="ImmutableId"'}


class Told(StrEnum):
    """What an item that Microsoft sends says of its subscription; the values are Microsoft's own."""

    CHANGED = "changed"
    """Something in the mailbox's calendars did: not Microsoft's word, a notification of a change has none."""
    REAUTHORIZATION_REQUIRED = "reauthorizationRequired"
    REMOVED = "subscriptionRemoved"
    MISSED = "missed"


@dataclass(frozen=True, slots=True)
class Notice:
    """One item of a POST. The secret it came with is kept as a digest only."""

    subscription_id: str
    state_digest: bytes
    told: Told


@dataclass(frozen=True, slots=True)
class Endpoints:
    """The two addresses that Microsoft posts to."""

    notifications: str
    lifecycle: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription as Microsoft shows it. `client_state` is None where it does not show that."""

    id: str
    resource: str
    change_types: frozenset[str]
    endpoints: Endpoints
    client_state: str | None
    expires_at: datetime


def endpoints_below(public_url: str) -> Endpoints:
    """The addresses below the one under which Microsoft reaches the puller."""
    return Endpoints(f"{public_url}{NOTIFICATIONS_PATH}", f"{public_url}{LIFECYCLE_PATH}")


def digest_of(client_state: str) -> bytes:
    """What is stored and compared of a secret."""
    return sha256(client_state.encode()).digest()


def create(mailbox: str, endpoints: Endpoints, client_state: str, expires_at: datetime) -> Request:
    """Be told of every change of the mailbox's events. Microsoft asks both addresses before it answers."""
    body = {
        "changeType": ",".join(sorted(CHANGE_TYPES)),
        "notificationUrl": endpoints.notifications,
        "lifecycleNotificationUrl": endpoints.lifecycle,
        "resource": f"users/{quote(mailbox, safe='@')}/events",
        "expirationDateTime": _instant(expires_at),
        "clientState": client_state,
    }
    return Request("create_subscription", "POST", "/subscriptions", dict(_IMMUTABLE_IDS), body)


def renew(subscription_id: str, expires_at: datetime) -> Request:
    """Let it live until then; this authorises it anew as well."""
    return Request(
        "renew_subscription", "PATCH", _path(subscription_id), body={"expirationDateTime": _instant(expires_at)}
    )


def delete(subscription_id: str) -> Request:
    """Be told no more."""
    return Request("delete_subscription", "DELETE", _path(subscription_id))


def list_subscriptions() -> Request:
    """Every subscription that calbus has in the directory."""
    return Request("list_subscriptions", "GET", "/subscriptions")


def next_page(body: Any) -> Request | None:
    """The request for the page after this one; None if it was the last."""
    link = body.get("@odata.nextLink") if isinstance(body, dict) else None
    query = urlsplit(link).query if isinstance(link, str) else ""
    return Request("list_subscriptions", "GET", f"/subscriptions?{query}") if query else None


def listed_in(body: Any) -> list[Subscription]:
    """The subscriptions of a page; what cannot be read as one is left out."""
    found = body.get("value") if isinstance(body, dict) else None
    read = [subscription_of(one) for one in (found if isinstance(found, list) else [])]
    return [one for one in read if one is not None]


def subscription_of(body: Any) -> Subscription | None:
    """Read a subscription; None if it lacks an id that can be used, or an expiry."""
    if not isinstance(body, dict):
        return None
    subscription_id, expires_at = id_of(body), expiry_of(body)
    if subscription_id is None or expires_at is None:
        return None
    state = body.get("clientState")
    return Subscription(
        subscription_id,
        _text(body, "resource"),
        frozenset(kind.strip().lower() for kind in _text(body, "changeType").split(",")),
        Endpoints(_text(body, "notificationUrl"), _text(body, "lifecycleNotificationUrl")),
        state if isinstance(state, str) and state else None,
        expires_at,
    )


def watches(subscription: Subscription, mailbox: str) -> bool:
    """Whether it is one to the events of this mailbox, as `create` asks for it."""
    resource = unquote(subscription.resource).strip("/").casefold()
    return resource == f"users/{mailbox}/events".casefold() and subscription.change_types == CHANGE_TYPES


def id_of(body: Any) -> str | None:
    """The id in the answer to a create, in lower case."""
    value = body.get("id") if isinstance(body, dict) else None
    return value.lower() if isinstance(value, str) and _SUBSCRIPTION_ID.fullmatch(value) else None


def expiry_of(body: Any) -> datetime | None:
    """Until when the subscription lives, which need not be what was asked for."""
    value = body.get("expirationDateTime") if isinstance(body, dict) else None
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def notices_of(body: Any) -> tuple[list[Notice], int]:
    """The items of a POST, and how many there were that could not be read; a body that is none counts as one."""
    items = body.get("value") if isinstance(body, dict) else None
    if not isinstance(items, list):
        return [], 1
    read = [_notice(item) for item in items]
    notices = [notice for notice in read if notice is not None]
    return notices, len(read) - len(notices)


def _notice(item: Any) -> Notice | None:
    if not isinstance(item, dict):
        return None
    subscription_id, state = item.get("subscriptionId"), item.get("clientState", "")
    event = item.get("lifecycleEvent", Told.CHANGED.value)
    if not isinstance(subscription_id, str) or not _SUBSCRIPTION_ID.fullmatch(subscription_id):
        return None
    if not isinstance(state, str) or len(state) > CLIENT_STATE_MAX_CHARS:
        state = ""  # the secret of no subscription
    try:
        return Notice(subscription_id.lower(), digest_of(state), Told(event))
    except ValueError:  # an event that Microsoft did not have yet, or half a character
        return None


def _path(subscription_id: str) -> str:
    return f"/subscriptions/{quote(subscription_id, safe='')}"


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    return value if isinstance(value, str) else ""


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
