"""What one application may ask of one tenant's directory: resource units in a window.

It decides and counts; it neither waits nor answers. Source: Microsoft docs "throttling-limits", identity and access.
"""

from dataclasses import dataclass, field

from simulator.errors import GraphError
from simulator.graph.tally import Tally
from simulator.limits import Limits

MEDIUM_TENANT_FROM_USERS = 50
LARGE_TENANT_ABOVE_USERS = 500

_SHARE_SHOWN_ABOVE, _SHARE_SHOWN_MAX = 0.8, 1.8


def directory_units_max(limits: Limits, users: int) -> int | None:
    """The units of a tenant of this size in one window; None if they are not limited."""
    if users < MEDIUM_TENANT_FROM_USERS:
        return limits.directory_small_units_max
    if users <= LARGE_TENANT_ABOVE_USERS:
        return limits.directory_medium_units_max
    return limits.directory_large_units_max


@dataclass(frozen=True, slots=True)
class Spent:
    """A call that was counted: its units, the share of the limit used with it, how long to wait if it is refused."""

    units: int
    share: float
    retry_after_s: int | None

    def headers(self) -> dict[str, str]:
        """What the answer says about it."""
        shown = {"x-ms-resource-unit": str(self.units)}
        if self.share > _SHARE_SHOWN_ABOVE:
            shown["x-ms-throttle-limit-percentage"] = f"{min(self.share, _SHARE_SHOWN_MAX):.2f}"
        return shown


@dataclass(slots=True)
class DirectoryBudget:
    """The units of one application in one tenant. Refused calls count too."""

    tally: Tally = field(default_factory=Tally)

    def spend(self, now: float, units: int, limits: Limits, users: int) -> Spent:
        """Counts a call that begins now."""
        units_max = directory_units_max(limits, users)
        if units_max is None:
            return Spent(units, 0.0, None)
        retry_after_s = self.tally.spend(now, units, units_max, limits.directory_window_s)
        return Spent(units, self.tally.total / units_max, retry_after_s)


def directory_throttled(client_id: str, tenant_id: str, retry_after_s: int) -> GraphError:
    """429 of the directory, with the scope of the limit: reads and writes together."""
    return GraphError(
        429,
        "TooManyRequests",
        f"Too many requests from Identifier:{client_id}/{tenant_id}. Please try again later.",
        headers={
            "Retry-After": str(retry_after_s),
            "x-ms-throttle-scope": f"Tenant_Application/ReadWrite/{client_id}/{tenant_id}",
            "x-ms-throttle-information": "ResourceUnitLimitExceeded",
        },
    )
