"""Every refusal Graph can give, as one exception with the wire code and text of the real service.

Sources: Microsoft docs "errors", "event-get", "throttling", and bodies seen in public issue threads.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from simulator.entra.claims import encode_challenge

UNAUTHORIZED_CHALLENGE = (
    'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", '
    'client_id="00000003-0000-0000-c000-000000000000"'
)


class GraphError(Exception):
    """A refusal: status, code, message. `bare` leaves `innerError` out, as Exchange's own bodies do."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        headers: Mapping[str, str] | None = None,
        bare: bool = False,
        members: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        self.bare = bare
        self.members = dict(members or {})

    def body(self, request_id: str, client_request_id: str) -> dict[str, Any]:
        """The error envelope."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, **self.members}
        if not self.bare:
            error["innerError"] = {
                "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
                "request-id": request_id,
                "client-request-id": client_request_id,
            }
        return {"error": error}


def bad_request(message: str, code: str = "BadRequest") -> GraphError:
    """400 from the front end: the request could not be read as OData."""
    return GraphError(400, code, message)


def invalid_request(message: str) -> GraphError:
    """400 from Exchange: well-formed, but not acceptable."""
    return GraphError(400, "ErrorInvalidRequest", message)


def unreadable_body(message: str) -> GraphError:
    """400: a member of the body is unknown or of the wrong type."""
    return GraphError(400, "RequestBodyRead", message)


def unknown_property(name: str, type_name: str) -> GraphError:
    """400: the type has no such property."""
    return unreadable_body(
        f"The property '{name}' does not exist on type '{type_name}'. "
        "Make sure to only use property names that are defined by the type."
    )


def unparsable_uri(message: str) -> GraphError:
    """400: a query option could not be read."""
    return GraphError(400, "RequestBroker--ParseUri", message)


def time_zone_not_supported(name: str) -> GraphError:
    """400: neither a Windows nor an IANA time zone name."""
    return GraphError(
        400,
        "TimeZoneNotSupportedException",
        f"A valid TimeZone value must be specified. The following TimeZone value is not supported: '{name}'.",
    )


def malformed_id() -> GraphError:
    """400: the id cannot be the id of anything."""
    return GraphError(400, "ErrorInvalidIdMalformed", "Id is malformed.")


def duplicate_transaction(existing_event_id: str) -> GraphError:
    """400: the transactionId was used for a different event."""
    return GraphError(
        400,
        "ErrorDuplicateTransactionId",
        "Your request can't be completed. The TransactionId specified in the request has already been used "
        "to create a different event.",
        members={"@event.existingEventId": existing_event_id},
    )


def invalid_token(message: str) -> GraphError:
    """401: no token, or one that Graph does not accept."""
    return GraphError(401, "InvalidAuthenticationToken", message, headers={"WWW-Authenticate": UNAUTHORIZED_CHALLENGE})


def insufficient_claims(not_before_s: int) -> GraphError:
    """401: the token was revoked, and its client said that it can come back with a newer one."""
    challenge = f'{UNAUTHORIZED_CHALLENGE}, error="insufficient_claims", claims="{encode_challenge(not_before_s)}"'
    return GraphError(
        401,
        "InvalidAuthenticationToken",
        "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: "
        "TokenIssuedBeforeRevocationTimestamp",
        headers={"WWW-Authenticate": challenge},
    )


def access_denied() -> GraphError:
    """403: the application lacks the role, in Entra ID and in Exchange's own RBAC."""
    return GraphError(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again.")


def blocked_by_policy() -> GraphError:
    """403: an application access policy keeps the application out of this mailbox."""
    return GraphError(
        403,
        "ErrorAccessDenied",
        "Access to OData is disabled: [RAOP] : Blocked by tenant configured AppOnly AccessPolicy settings.",
    )


def directory_denied() -> GraphError:
    """403: a directory call without a directory role."""
    return GraphError(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")


def item_not_found() -> GraphError:
    """404: the event or calendar is gone, or was never in this mailbox."""
    return GraphError(404, "ErrorItemNotFound", "The specified object was not found in the store.")


def invalid_user(name: str) -> GraphError:
    """404: the user principal name resolves to nobody."""
    return GraphError(404, "ErrorInvalidUser", f"The requested user '{name}' is invalid.", bare=True)


def resource_not_found() -> GraphError:
    """404: no mailbox could be discovered for this user."""
    return GraphError(404, "ResourceNotFound", "Resource could not be discovered.", bare=True)


def mailbox_not_enabled() -> GraphError:
    """404: the user has no mailbox in Exchange Online that Graph can open."""
    return GraphError(
        404,
        "MailboxNotEnabledForRESTAPI",
        "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
        bare=True,
    )


def directory_not_found(name: str) -> GraphError:
    """404: the directory has no such user."""
    return GraphError(
        404,
        "Request_ResourceNotFound",
        f"Resource '{name}' does not exist or one of its queried reference-property objects are not present.",
    )


def invalid_subscription(message: str) -> GraphError:
    """400: a property of a subscription cannot be what it is."""
    return GraphError(400, "InvalidRequest", message)


def validation_failed(*, timed_out: bool) -> GraphError:
    """400: an address of a subscription did not answer the validation as it must, or not in time."""
    if timed_out:
        return GraphError(400, "ValidationError", "Subscription validation request timed out.")
    return GraphError(
        400,
        "ValidationError",
        "Subscription validation request failed. Notification endpoint must respond with 200 OK to validation request.",
    )


def certificate_refused(reason: str) -> GraphError:
    """400: resource data cannot be encrypted with what the subscription gives for it."""
    return GraphError(400, "ValidationError", f"Certificate validation error: {reason}")


def resource_refused(reason: str) -> GraphError:
    """400: Exchange cannot watch the resource of a subscription with these query options."""
    return GraphError(
        400, "ExtensionError", f"Operation: Create; Exception: [Status Code: BadRequest; Reason: {reason}]"
    )


def too_many_subscriptions(subscriptions_max: int) -> GraphError:
    """403: the mailbox has all the subscriptions it can have, of all applications together."""
    return GraphError(
        403,
        "ExtensionError",
        "Operation: Create; Exception: [Status Code: Forbidden; Reason: The mailbox has reached its limit of "
        f"{subscriptions_max} active subscriptions.]",
    )


def subscription_not_found() -> GraphError:
    """404: the subscription has ended, or never was, or is another application's."""
    return GraphError(404, "ResourceNotFound", "The object was not found.")


def duplicate_subscription(subscription_id: str) -> GraphError:
    """409: the application has one for the same changes of the same mailbox."""
    return GraphError(
        409, "ExtensionError", f"Subscription Id {subscription_id} already exists for the requested combination"
    )


def method_not_allowed() -> GraphError:
    """405: the resource exists, the method does not."""
    return GraphError(405, "Request_BadRequest", "Specified HTTP method is not allowed for the request target.")


def folder_exists() -> GraphError:
    """409: a calendar of this name exists already."""
    return GraphError(409, "ErrorFolderExists", "A folder with the specified name already exists.")


def stale_change_key() -> GraphError:
    """412: the caller's change key is not the item's."""
    return GraphError(
        412,
        "ErrorIrresolvableConflict",
        "The send or update operation could not be performed because the change key passed in the request "
        "does not match the current change key for the item.",
    )


def too_large() -> GraphError:
    """413: more than 4 MB."""
    return GraphError(413, "BadRequest", "Maximum request length exceeded.")


def throttled(limit: str, retry_after_s: int) -> GraphError:
    """429: over one of the limits per application and mailbox."""
    return GraphError(
        429,
        "ApplicationThrottled",
        f"Application is over its {limit} limit.",
        headers={"Retry-After": str(retry_after_s)},
        bare=True,
    )


def not_held(what: str) -> GraphError:
    """501: the real service can do it, the simulator cannot, and says so rather than lose data silently."""
    return GraphError(501, "NotImplemented", f"The simulator does not hold {what}.")
