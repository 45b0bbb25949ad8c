"""One subscription: what an application wants to be told of a mailbox, and until when. Values and state, no HTTP.

Source: Microsoft docs "subscription", "outlook-change-notifications-overview".
"""

from dataclasses import dataclass
from typing import Any

from simulator.exchange.times import timestamp
from simulator.exchange.user import User
from simulator.notifications.resource_data import ResourceData

JsonObject = dict[str, Any]

CHANGE_TYPES = ("created", "updated", "deleted")


@dataclass(slots=True, eq=False)
class Subscription:
    """A subscription to the events of one mailbox. Times are seconds on the tenant's clock.

    `subscriber` is the user an application subscribed for, None for the application alone. After `authorized_until_s`
    nothing is delivered until it is authorised anew; `asked_to_authorize` says that the application was told.
    With `resource_data` its notifications are rich.
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
    resource_data: ResourceData | None = None
    asked_to_authorize: bool = False
    owes_missed: bool = False
    renewed_at_s: float | None = None
    reauthorized_at_s: float | None = None

    def same_as(self, other: "Subscription") -> bool:
        """Whether both ask for the same changes of the same mailbox for the same caller, and for the same content."""
        return self.combination == other.combination

    @property
    def combination(self) -> tuple[object, ...]:
        """Of which there can be one."""
        content = None if self.resource_data is None else self.resource_data.query
        return self.client_id, self.subscriber, self.mailbox_of, self.change_types, content

    def show(self) -> JsonObject:
        """The subscription as Graph shows it to the application that made it."""
        recipient = None if self.resource_data is None else self.resource_data.recipient
        return {
            "id": self.id, "resource": self.resource, "applicationId": self.client_id,
            "changeType": ",".join(kind for kind in CHANGE_TYPES if kind in self.change_types),
            "clientState": self.client_state, "notificationUrl": self.notification_url,
            "notificationQueryOptions": None, "lifecycleNotificationUrl": self.lifecycle_url,
            "expirationDateTime": instant(self.expires_at_s), "creatorId": self.creator_id,
            "includeResourceData": None if recipient is None else True, "latestSupportedTlsVersion": self.tls_version,
            "encryptionCertificate": None if recipient is None else recipient.certificate,
            "encryptionCertificateId": None if recipient is None else recipient.certificate_id,
            "notificationUrlAppId": None,
        }  # fmt: skip


def instant(epoch_s: float) -> str:
    """A time as subscriptions and notifications write it; whole seconds have no fraction."""
    text = timestamp(epoch_s)
    return text.replace(".0000000Z", "Z")
