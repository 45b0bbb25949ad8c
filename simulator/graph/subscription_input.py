"""What a request body may say about a subscription: every property checked, on its own and against the clock.

Sources: Microsoft docs "subscription", "subscription-post-subscriptions", "change-notifications-subscription-lifetime",
"outlook-change-notifications-overview", "change-notifications-with-resource-data".
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from simulator.errors import (
    certificate_refused,
    invalid_subscription,
    not_held,
    resource_refused,
    unknown_property,
    unreadable_body,
)
from simulator.graph.odata import LIST_OPTIONS, Query, options_of, read_query
from simulator.notifications.encryption import read_recipient
from simulator.notifications.resource_data import ResourceData
from simulator.notifications.subscription import CHANGE_TYPES

JsonObject = dict[str, Any]

LIFE_MAX_MINUTES = 10_080
LIFE_WITH_RESOURCE_DATA_MAX_MINUTES = 1_440
LIFE_MIN_MINUTES = 45
CLIENT_STATE_MAX_CHARS = 128
CERTIFICATE_ID_MAX_CHARS = 128
URL_MAX_CHARS = 2048

_READ_ONLY = frozenset({"applicationId", "creatorId", "id"})
_ENCRYPTION = ("encryptionCertificate", "encryptionCertificateId")
_WRITABLE = frozenset(
    {
        "changeType", "clientState", "expirationDateTime", "includeResourceData", "latestSupportedTlsVersion",
        "lifecycleNotificationUrl", "notificationQueryOptions", "notificationUrl", "notificationUrlAppId", "resource",
        *_ENCRYPTION,
    }
)  # fmt: skip
_CHANGEABLE = frozenset({"expirationDateTime", "notificationUrl"})
_UNWATCHABLE = frozenset({"$top", "$skip", "$orderby", "$count"})
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


@dataclass(frozen=True, slots=True)
class Resource:
    """What is to be watched, as it was `written`; no `user` is the signed-in one. `options` are still encoded."""

    written: str
    user: str | None
    options: str


def watched(given: JsonObject) -> Resource:
    """The resource of a subscription."""
    resource = _text(given, "resource") or ""
    path, _, options = resource.partition("?")
    segments = path.strip("/").split("/")
    keywords = [segment.lower() for segment in segments]
    if keywords == ["me", "events"]:
        return Resource(resource, None, options)
    if len(segments) == 3 and keywords[0] == "users" and segments[1] and keywords[2] == "events":
        return Resource(resource, segments[1], options)
    raise invalid_subscription(
        f"The resource '{resource}' cannot be subscribed to. Use '/me/events' or '/users/{{id}}/events'."
    )


def resource_data(given: JsonObject, resource: Resource, now: float) -> ResourceData | None:
    """What rich notifications are to say and for whom they are encrypted; None if basic ones are wanted.

    Properties are selected in the resource, because rich notifications must, and basic ones have nothing to select.
    """
    rich = given.get("includeResourceData", False)
    if type(rich) is not bool:
        raise unreadable_body("Cannot convert the value of 'includeResourceData' to the expected type 'Edm.Boolean'.")
    certificate, certificate_id = (_text(given, name) for name in _ENCRYPTION)
    if not rich:
        if certificate is not None or certificate_id is not None:
            raise invalid_subscription("An encryption certificate needs 'includeResourceData' to be true.")
        if resource.options:
            raise invalid_subscription("A resource with query options needs 'includeResourceData' to be true.")
        return None
    query = _selection(resource)
    for name, text in zip(_ENCRYPTION, (certificate, certificate_id), strict=True):
        if not text:
            raise certificate_refused(f"The property '{name}' is required with resource data.")
    if len(certificate_id or "") > CERTIFICATE_ID_MAX_CHARS:
        raise certificate_refused(
            f"The encryptionCertificateId can have at most {CERTIFICATE_ID_MAX_CHARS} characters."
        )
    try:
        return ResourceData(query, read_recipient(certificate or "", certificate_id or "", now))
    except ValueError as problem:
        raise certificate_refused(str(problem)) from None


def _selection(resource: Resource) -> Query:
    """What the resource selects of an event, and expands. Refusals are worded as public threads show them."""
    given = options_of(resource.options, LIST_OPTIONS)
    query = read_query(resource.options, LIST_OPTIONS)
    if query.select is None:
        raise resource_refused("select clause should be present in query string to support rich notifications")
    navigates = query.expand_exceptions or query.expand_extensions is not None
    if navigates or not _UNWATCHABLE.isdisjoint(given) or "body" in query.select:
        raise resource_refused(
            "$top, $skip, $orderby, $select=body,uniqueBody and $expand other than "
            "singleValueExtendedProperties,multiValueExtendedProperties are not supported in subscription resource Url."
        )
    if "$filter" in given:
        raise not_held("a $filter in the resource of a subscription")
    return query


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


def expiry_s(given: JsonObject, now: float, *, rich: bool) -> float:
    """When the subscription ends: not before 45 minutes have passed, whatever was asked for.

    It may ask for 10,080 minutes at most, and with resource data for 1,440.
    """
    life_max_minutes = LIFE_WITH_RESOURCE_DATA_MAX_MINUTES if rich else LIFE_MAX_MINUTES
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
    if at_s > now + life_max_minutes * 60:
        raise invalid_subscription(f"Subscription expiration can only be {life_max_minutes} minutes in the future.")
    return max(at_s, now + LIFE_MIN_MINUTES * 60)
