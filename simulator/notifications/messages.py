"""What crosses the administrative interface about notifications: read by the server, used by the client."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict

from simulator.notifications.deliveries import Delivery


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """The body that sends a lifecycle notification."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    event: Literal["reauthorizationRequired", "subscriptionRemoved", "missed"]


@dataclass(frozen=True, slots=True)
class SubscriptionInfo:
    """A subscription as the simulator holds it; `user` is the mailbox's. Times are seconds on the tenant's clock."""

    id: str
    client_id: str
    user: str
    change_types: list[str]
    notification_url: str
    lifecycle_url: str | None
    expires_at_s: float
    authorized_until_s: float | None
    asked_to_authorize: bool


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Entries of the ledger of notifications, oldest first. `fallen_off` counts entries that are no longer held.

    `waiting` notifications have yet to be sent or sent again; `under_way` POSTs wait for their answer.
    """

    value: list[Delivery]
    fallen_off: int
    waiting: int
    under_way: int
