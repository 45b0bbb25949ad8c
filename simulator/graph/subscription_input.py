"""What a request body may say about a subscription: every property checked, on its own and against the clock.

Sources: Microsoft docs "subscription", "subscription-post-subscriptions", "change-notifications-subscription-lifetime".
"""

import ipaddress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from simulator.errors import invalid_subscription, not_held, unknown_property, unreadable_body
from simulator.notifications.subscription import CHANGE_TYPES

JsonObject = dict[str, Any]

LIFE_MAX_MINUTES = 10_080
LIFE_MIN_MINUTES = 45
CLIENT_STATE_MAX_CHARS = 128
URL_MAX_CHARS = 2048

_READ_ONLY = frozenset({"applicationId", "creatorId", "id"})
_RICH = ("includeResourceData", "encryptionCertificate", "encryptionCertificateId")
_WRITABLE = frozenset(
    {
        "changeType", "clientState", "expirationDateTime", "latestSupportedTlsVersion", "lifecycleNotificationUrl",
        "notificationQueryOptions", "notificationUrl", "notificationUrlAppId", "resource", *_RICH,
    }
)  # fmt: skip
_CHANGEABLE = frozenset({"expirationDateTime", "notificationUrl"})
_TLS_VERSIONS = ("v1_0", "v1_1", "v1_2", "v1_3")
_OTHER_CHANNELS = ("eventhub:", "eventgrid:")


def _members(document: Any) -> JsonObject:
    if type(document) is not dict:
        raise unreadable_body("The request body must be a JSON object.")
    for name in document:
        if name not in _WRITABLE and name not in _READ_ONLY and "@" not in name:
            raise unknown_property(name, "microsoft.graph.subscription")
    return {name: value for name, value in document.items() if name in _WRITABLE and value is not None}


def read_new(document: Any) -> JsonObject:
    """The properties of a subscription to be made. Raises GraphError (400, or 501 for what is not held)."""
    given = _members(document)
    for name in ("changeType", "notificationUrl", "resource", "expirationDateTime"):
        if name not in given:
            raise invalid_subscription(f"The property '{name}' of a subscription is required.")
    for name in _RICH:
        if given.get(name, False) is not False:
            raise not_held("notifications with resource data; leave out 'includeResourceData' and its certificate")
    for name in ("notificationQueryOptions", "notificationUrlAppId"):
        if name in given:
            raise not_held(f"the property '{name}' of a subscription")
    return given


def read_changes(document: Any) -> JsonObject:
    """The properties a PATCH may change: expiry and notification address. Raises GraphError (400)."""
    given = _members(document)
    for name in given:
        if name not in _CHANGEABLE:
            raise invalid_subscription(f"The property '{name}' of a subscription cannot be updated.")
    if not given:
        raise invalid_subscription("A subscription needs 'expirationDateTime' or 'notificationUrl' to be updated.")
    return given


def _text(given: JsonObject, name: str) -> str | None:
    value = given.get(name)
    if value is not None and type(value) is not str:
        raise unreadable_body(f"Cannot convert the value of '{name}' to the expected type 'Edm.String'.")
    return value


def change_types(given: JsonObject) -> frozenset[str]:
    """The kinds of change asked for."""
    kinds = [kind.strip().lower() for kind in (_text(given, "changeType") or "").split(",")]
    for kind in kinds:
        if kind not in CHANGE_TYPES:
            raise invalid_subscription(f"The change type '{kind}' is not one of created, updated and deleted.")
    return frozenset(kinds)


def watched_user(given: JsonObject) -> tuple[str, str | None]:
    """The resource as it was written, and the user it names; None is the signed-in one."""
    resource = _text(given, "resource") or ""
    segments = resource.strip("/").split("/")
    keywords = [segment.lower() for segment in segments]
    if keywords == ["me", "events"]:
        return resource, None
    if len(segments) == 3 and keywords[0] == "users" and segments[1] and keywords[2] == "events":
        return resource, segments[1]
    raise invalid_subscription(
        f"The resource '{resource}' cannot be subscribed to. Use '/me/events' or '/users/{{id}}/events'."
    )


def client_state(given: JsonObject) -> str | None:
    """The secret that comes back with every notification."""
    state = _text(given, "clientState")
    if state is not None and len(state) > CLIENT_STATE_MAX_CHARS:
        raise invalid_subscription(f"The clientState can have at most {CLIENT_STATE_MAX_CHARS} characters.")
    return state


def tls_version(given: JsonObject) -> str:
    """The newest version of TLS that the endpoint speaks."""
    version = _text(given, "latestSupportedTlsVersion") or "v1_2"
    if version not in _TLS_VERSIONS:
        raise invalid_subscription(f"The latestSupportedTlsVersion '{version}' is not one of v1_0, v1_1, v1_2, v1_3.")
    return version


def address(given: JsonObject, name: str) -> str | None:
    """An https address; on the loopback interface, and only here in the simulator, plain http too."""
    url = _text(given, name)
    if url is None:
        return None
    if url.lower().startswith(_OTHER_CHANNELS):
        raise not_held("notifications by Event Hubs or Event Grid")
    try:
        parts = urlsplit(url)
        usable = parts.hostname is not None and (parts.port or 1) > 0 and not parts.fragment and parts.username is None
    except ValueError:
        usable, parts = False, urlsplit("")
    secure = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(parts.hostname or ""))
    if not usable or not secure or len(url) > URL_MAX_CHARS or not url.isascii() or not url.isprintable() or " " in url:
        raise invalid_subscription(f"The {name} must be a valid https address of at most {URL_MAX_CHARS} characters.")
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def expiry_s(given: JsonObject, now: float) -> float:
    """When the subscription ends: in at most 10,080 minutes, and not before 45 have passed, whatever was asked for."""
    text = _text(given, "expirationDateTime") or ""
    try:
        asked = datetime.fromisoformat(text)
        at_s = (asked if asked.tzinfo else asked.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise unreadable_body("The value of 'expirationDateTime' is not of type 'Edm.DateTimeOffset'.") from None
    if "T" not in text.upper():
        raise unreadable_body("The value of 'expirationDateTime' is not of type 'Edm.DateTimeOffset'.")
    if at_s <= now:
        raise invalid_subscription("The expirationDateTime of a subscription must be in the future.")
    if at_s > now + LIFE_MAX_MINUTES * 60:
        raise invalid_subscription(f"Subscription expiration can only be {LIFE_MAX_MINUTES} minutes in the future.")
    return max(at_s, now + LIFE_MIN_MINUTES * 60)
