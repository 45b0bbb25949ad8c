"""One subscription: what an application wants to be told of a mailbox, and until when. Values and state, no HTTP.

Source: Microsoft docs "subscription", "outlook-change-notifications-overview".
"""

from dataclasses import dataclass
from typing import Any

from simulator.exchange.times import timestamp
from simulator.exchange.user import User

JsonObject = dict[str, Any]

CHANGE_TYPES = ("created", "updated", "deleted")


@dataclass(slots=True, eq=False)
class Subscription:
    """A subscription to the events of one mailbox. Times are seconds on the tenant's clock.

    `subscriber` is the user an application subscribed for, None for the application alone. After `authorized_until_s`
    nothing is delivered until it is authorised anew; `asked_to_authorize` says that the application was told.
    """

    id: str
    client_id: str
    creator_id: str
    subscriber: User | None
    mailbox_of: User
    resource: str
    change_types: frozenset[str]
    notification_url: str
    lifecycle_url: str | None
    client_state: str | None
    expires_at_s: float
    immutable_ids: bool
    tls_version: str
    authorized_until_s: float | None
    asked_to_authorize: bool = False
    owes_missed: bool = False
    renewed_at_s: float | None = None
    reauthorized_at_s: float | None = None

    def same_as(self, other: "Subscription") -> bool:
        """Whether both ask for the same changes of the same mailbox for the same caller."""
        return (self.client_id, self.subscriber, self.mailbox_of, self.change_types) == (
            other.client_id,
            other.subscriber,
            other.mailbox_of,
            other.change_types,
        )

    def show(self) -> JsonObject:
        """The subscription as Graph shows it to the application that made it."""
        return {
            "id": self.id, "resource": self.resource, "applicationId": self.client_id,
            "changeType": ",".join(kind for kind in CHANGE_TYPES if kind in self.change_types),
            "clientState": self.client_state, "notificationUrl": self.notification_url,
            "notificationQueryOptions": None, "lifecycleNotificationUrl": self.lifecycle_url,
            "expirationDateTime": instant(self.expires_at_s), "creatorId": self.creator_id,
            "includeResourceData": None, "latestSupportedTlsVersion": self.tls_version, "encryptionCertificate": None,
            "encryptionCertificateId": None, "notificationUrlAppId": None,
        }  # fmt: skip


def instant(epoch_s: float) -> str:
    """A time as subscriptions and notifications write it; whole seconds have no fraction."""
    text = timestamp(epoch_s)
    return text.replace(".0000000Z", "Z")
