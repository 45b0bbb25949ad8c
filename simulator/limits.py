"""The numbers of the service that can be set while it runs: what it allows, how slow it is, where it is unsure.

Values only. Source of the defaults: Microsoft docs "throttling-limits".
"""

from dataclasses import dataclass, fields
from typing import ClassVar

from pydantic import ConfigDict

MILLISECONDS_MAX = 3_600_000
SECONDS_MAX = 10 * 366 * 86_400
BYTES_MAX = 10**12
NUMBER_MAX = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the service allows and how slow it is. Defaults are the documented limits.

    `latency_ms` and `latency_jitter_ms`: how long a call lasts, and by how much more or less. Calls that last no time
    are hardly ever seen to be made at once, so a ledger without violations proves little at 0.

    `directory_*_units_max`: resource units of one application in one tenant's directory, by the tenant's size; null
    lifts the limit. `application_max_requests` is of one application over all tenants, in real time; null lifts it, and
    the number that holds is that of the tenant called.
    `identical_token_requests_max`: so many token requests that are the same within `identical_token_window_s` are no
    loop yet; null never looks for loops. 15 is the documented number, for which a client has to cache its tokens.
    `retry_after_grace_ms`: a call that was on the wire when its mailbox's 429 was written is not disobedience.
    `subject_max_chars`: the real limit is unconfirmed; None allows any length.
    `transaction_ids_outlive_events`: whether a deleted event's transactionId stays used is unconfirmed.
    `delta_page_items`: the size of a delta page whose caller names none. `delta_empty_pages` puts an empty page with a
    nextLink before every other. `delta_replayed_writes`: so many writes before a deltaLink are told again after it.
    `delta_removals_max`: so many removals a mailbox remembers for its delta rounds.
    `token_lifetime_s`: None draws 60 to 90 minutes at random, as Entra ID does; `long_token_lifetime_s`, for clients
    that handle claims challenges, 20 to 28 hours.
    `refresh_token_uses_max`: None lets a refresh token be used again after it was replaced, as documented.
    `sign_in_frequency_s`: after it, refresh tokens need a person again; None never asks.
    `subscriptions_max` is per mailbox. `subscription_authorization_s`: how long applications are notified before they
    are asked to authorise a subscription anew; None is as long as it lasts. An endpoint is judged slow from
    `notification_judged_min` answers on; the real number is not documented.
    `reach_lag_s`: how long a change of RBAC scopes or access policies takes to be in force.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    concurrent_max: int = 4
    concurrency_retry_after_s: int = 1
    window_max_requests: int = 10_000
    window_s: float = 600.0
    upload_max_bytes: int = 150 * 1024 * 1024
    upload_window_s: float = 300.0
    directory_small_units_max: int | None = 3_500
    directory_medium_units_max: int | None = 5_000
    directory_large_units_max: int | None = 8_000
    directory_window_s: float = 10.0
    application_max_requests: int | None = 130_000
    application_window_s: float = 10.0
    identical_token_requests_max: int | None = None
    identical_token_window_s: float = 300.0
    retry_after_grace_ms: float = 100.0
    latency_ms: float = 2.0
    latency_jitter_ms: float = 0.0
    subject_max_chars: int | None = 255
    attendees_max: int = 500
    transaction_ids_outlive_events: bool = True
    delta_page_items: int = 10
    delta_empty_pages: bool = False
    delta_replayed_writes: int = 0
    delta_removals_max: int = 5_000
    token_lifetime_s: int | None = None
    long_token_lifetime_s: int | None = None
    refresh_token_uses_max: int | None = None
    sign_in_frequency_s: int | None = None
    reach_lag_s: float = 0.0
    subscriptions_max: int = 1_000
    subscription_authorization_s: float | None = None
    validation_timeout_ms: float = 10_000.0
    notification_latency_ms: float = 0.0
    notification_timeout_ms: float = 30_000.0
    notification_slow_ms: float = 3_000.0
    notification_drop_ms: float = 10_000.0
    notification_judged_min: int = 10
    notification_batch_max: int = 20
    notification_queue_max: int = 10_000

    def problem(self) -> str | None:
        """What is wrong with the numbers, as a sentence; None if they can be used."""
        for name in (
            "concurrent_max", "window_max_requests", "upload_max_bytes", "attendees_max", "delta_page_items",
            "subscriptions_max", "notification_judged_min", "notification_batch_max", "notification_queue_max",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                return f"{name} must be at least 1."
        for name in (
            "window_s", "upload_window_s", "directory_window_s", "application_window_s", "identical_token_window_s",
            "validation_timeout_ms", "notification_timeout_ms",
        ):  # fmt: skip
            if not getattr(self, name) > 0:
                return f"{name} must be more than 0."
        for name in (
            "concurrency_retry_after_s",
            "retry_after_grace_ms",
            "latency_ms",
            "latency_jitter_ms",
            "delta_replayed_writes",
            "delta_removals_max",
            "reach_lag_s",
            "notification_latency_ms",
            "notification_slow_ms",
            "notification_drop_ms",
        ):
            if not getattr(self, name) >= 0:
                return f"{name} cannot be negative."
        for name in (
            "subject_max_chars", "token_lifetime_s", "long_token_lifetime_s", "refresh_token_uses_max",
            "sign_in_frequency_s", "subscription_authorization_s", "directory_small_units_max",
            "directory_medium_units_max", "directory_large_units_max", "application_max_requests",
            "identical_token_requests_max",
        ):  # fmt: skip
            if (number := getattr(self, name)) is not None and number < 1:
                return f"{name} must be at least 1, or null."
        for field in fields(self):
            number, number_max = getattr(self, field.name), _max_of(field.name)
            if number is not None and number > number_max:
                return f"{field.name} must be at most {number_max}."
        return None


def _max_of(name: str) -> int:
    """Far above anything real, and low enough that nothing overflows or waits for ever: by the unit in the name."""
    if name.endswith("_ms"):
        return MILLISECONDS_MAX
    if name.endswith("_s"):
        return SECONDS_MAX
    return BYTES_MAX if name.endswith("_bytes") else NUMBER_MAX
