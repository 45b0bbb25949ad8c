"""Settings of notifications: where Microsoft reaches the puller, and how subscriptions are kept."""

from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from calbus.settings import Settings
from services.puller.subscription_plan import Pace

URL_MAX_CHARS = 1_900
"""With the path that is added it stays below Microsoft's 2,048."""


def _public_url(given: str | None) -> str | None:
    if not given:
        return None
    url = given.rstrip("/")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for one that is none
    except ValueError:
        raise ValueError("it is no address") from None
    host = parts.hostname or ""
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError("it must begin with https:// (http:// only on this machine's loopback address)")
    if not host or parts.username is not None or parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError("it must be a host with or without a path, and nothing else")
    if len(url) > URL_MAX_CHARS or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"it must be at most {URL_MAX_CHARS} characters of ASCII")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class SubscriptionSettings(Settings):
    """What the puller's notifications read from the environment."""

    puller_public_url: Annotated[str | None, AfterValidator(_public_url)] = None
    """Address under which Microsoft reaches the webhook: https, with or without a path. Without one: polling only."""
    puller_webhook_host: str = "127.0.0.1"
    """Address on which the webhook listens."""
    puller_webhook_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Port on which the webhook listens; 0 takes a free one and logs it."""
    puller_webhook_max_body_bytes: Annotated[int, Field(ge=10_000, le=16_000_000)] = 1_000_000
    """A larger POST is not read."""
    puller_webhook_max_requests: Annotated[int, Field(ge=1, le=10_000)] = 256
    """POSTs that are read at a time; what comes above that is answered and not read."""
    puller_webhook_max_notices: Annotated[int, Field(ge=10, le=1_000_000)] = 20_000
    """Mailboxes' notices that wait to be noted in PostgreSQL; more are dropped, and their calendars polled later."""
    puller_subscription_days: Annotated[float, Field(ge=0.05, le=6.9)] = 6.0
    """Life of a subscription in days, which Microsoft holds under 7. It is renewed at two thirds of that."""
    puller_subscription_max_calls: Annotated[int, Field(ge=1, le=64)] = 8
    """Calls about subscriptions in flight at a time."""
    puller_subscription_interval_s: Annotated[float, Field(gt=0, le=3_600)] = 1.0
    """How often is looked for subscriptions that are due."""
    puller_subscription_follow_s: Annotated[float, Field(gt=0, le=3_600)] = 10.0
    """How often is looked for mailboxes that began or ceased to be pulled."""
    puller_subscription_lease_s: Annotated[float, Field(ge=1, le=3_600)] = 300.0
    """A process that died holds a mailbox's subscription for no longer than this."""
    puller_subscription_retry_first_s: Annotated[float, Field(gt=0, le=600)] = 5.0
    """Wait after a passing fault; doubled each time."""
    puller_subscription_retry_max_s: Annotated[float, Field(gt=0, le=86_400)] = 900.0
    """The longest such wait."""
    puller_subscription_reprobe_first_s: Annotated[float, Field(gt=0, le=86_400)] = 60.0
    """Wait where somebody else must act first (an administrator, say); doubled each time."""
    puller_subscription_reprobe_max_s: Annotated[float, Field(gt=0, le=86_400)] = 3_600.0
    """The longest such wait."""

    @property
    def subscription_pace(self) -> Pace:
        """The same, for the decisions."""
        return Pace(
            timedelta(days=self.puller_subscription_days),
            self.puller_subscription_retry_first_s,
            self.puller_subscription_retry_max_s,
            self.puller_subscription_reprobe_first_s,
            self.puller_subscription_reprobe_max_s,
        )
