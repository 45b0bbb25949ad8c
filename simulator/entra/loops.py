"""Clients that ask for the same token over and over: AADSTS50196. Decides and counts, no HTTP.

Sources: Microsoft docs "reference-breaking-changes" (15 in five minutes), and of MSAL on throttling by the server:
an application on its own behalf gets a 429 with a Retry-After of 60 seconds, one that acts for a user invalid_grant.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.entra.refusals import Refused, client_loop
from simulator.graph.tally import Tally
from simulator.limits import Limits

REQUESTS_HELD_MAX = 1_000
LOOP_RETRY_AFTER_S = 60
# Proofs of who asks: they may differ from one request to the next that is otherwise the same, and are not kept.
_PROOFS = frozenset({"client_secret", "client_assertion"})


@dataclass(slots=True)
class LoopWatch:
    """The token requests of one tenant, each known by a digest; beyond `REQUESTS_HELD_MAX` the oldest is forgotten."""

    tallies: dict[bytes, Tally] = field(default_factory=dict)

    def refusal(self, form: Mapping[str, str], now: float, limits: Limits) -> Refused | None:
        """Counts a request, refused or not; AADSTS50196 if it came too often within the window."""
        if limits.identical_token_requests_max is None:
            return None
        key = _digest(form)
        tally = self.tallies.get(key)
        if tally is None:
            if len(self.tallies) >= REQUESTS_HELD_MAX:
                del self.tallies[next(iter(self.tallies))]
            tally = self.tallies[key] = Tally()
        wait_s = tally.spend(now, 1, limits.identical_token_requests_max, limits.identical_token_window_s)
        if wait_s is None:
            return None
        for_itself = form.get("grant_type") == "client_credentials"
        return client_loop(LOOP_RETRY_AFTER_S if for_itself else None)


def _digest(form: Mapping[str, str]) -> bytes:
    parts = (f"{name}\0{value}" for name, value in sorted(form.items()) if name not in _PROOFS)
    return hashlib.sha256("\0\0".join(parts).encode()).digest()
