"""What one application may ask of Graph over all tenants together: requests in a window.

It decides and counts; it neither waits nor answers. Source: Microsoft docs "throttling-limits", global limits.
"""

from dataclasses import dataclass, field

from simulator.errors import GraphError
from simulator.graph.tally import Tally
from simulator.limits import Limits

# Above so many applications those that have been silent for a window are forgotten.
APPLICATIONS_SWEPT_FROM = 1_000


@dataclass(slots=True)
class ApplicationBudgets:
    """The requests of every application. Times are of one clock for all tenants, which nobody can put forward."""

    tallies: dict[str, Tally] = field(default_factory=dict)

    def count(self, now: float, client_id: str, limits: Limits) -> int | None:
        """Counts a request. None if it is allowed by the limits of the tenant it goes to, else the seconds to wait."""
        if limits.application_max_requests is None:
            return None
        tally = self.tallies.get(client_id)
        if tally is None:
            self._sweep(now, limits.application_window_s)
            tally = self.tallies[client_id] = Tally()
        return tally.spend(now, 1, limits.application_max_requests, limits.application_window_s)

    def _sweep(self, now: float, window_s: float) -> None:
        if len(self.tallies) < APPLICATIONS_SWEPT_FROM:
            return
        for tally in self.tallies.values():
            tally.leave_behind(now, window_s)
        self.tallies = {key: tally for key, tally in self.tallies.items() if tally.total}


def application_throttled(client_id: str, retry_after_s: int) -> GraphError:
    """429 of the front end: the application asks too much of Graph as a whole."""
    return GraphError(
        429,
        "TooManyRequests",
        f"Too many requests from Identifier:{client_id}. Please try again later.",
        headers={"Retry-After": str(retry_after_s)},
    )
