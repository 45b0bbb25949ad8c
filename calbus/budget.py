"""What Microsoft lets an application ask of one mailbox, and how long so many requests take within it. Pure.

The writer keeps to it; whoever foretells how long its work takes counts with the same numbers.
"""

from dataclasses import dataclass

WINDOW_S = 600.0
# The share of the window's requests that may go out at once. A token bucket lets its capacity pass on top of its
# rate: together they must not exceed the limit in any ten minutes.
BURST_SHARE = 0.05
# A re-plan's entries come due at this share of the rate at which a mailbox takes requests. The rest is for what is
# published meanwhile, which would otherwise queue behind them.
REPLAN_SHARE = 0.7
# So many of a mailbox's entries are woken at once: whoever flips a switch for a few items sees it happen.
REPLAN_WOKEN_MAX_ENTRIES = 50
# What one writer is taken to send to all mailboxes together: 64 batches in flight, four requests of each at a time, a
# quarter of a second for each request. Real mailboxes may be slower or quicker.
WRITER_REQUESTS_PER_S = 1_000.0


@dataclass(frozen=True, slots=True)
class MailboxBudget:
    """The requests that one mailbox may have."""

    max_requests_per_10_min: int

    @property
    def burst_requests(self) -> float:
        """What may go out at once after a quiet time."""
        return max(1.0, self.max_requests_per_10_min * BURST_SHARE)

    @property
    def interval_s(self) -> float:
        """Seconds a request costs, so that burst and rate together stay within the window's limit."""
        return WINDOW_S / (self.max_requests_per_10_min - self.burst_requests)

    @property
    def replan_interval_s(self) -> float:
        """Seconds between two entries of a mailbox that a re-plan lets come due."""
        return self.interval_s / REPLAN_SHARE

    def seconds_for(self, requests: int) -> float:
        """How long so many requests take at least, after a quiet time."""
        return max(requests - self.burst_requests, 0.0) * self.interval_s

    def replan_seconds_for(self, entries: int) -> float:
        """How long a re-plan lets so many entries of a mailbox wait until the last one is due."""
        return max(entries - REPLAN_WOKEN_MAX_ENTRIES, 0) * self.replan_interval_s

    def writer_seconds_for(self, requests: int) -> float:
        """How long one writer takes for so many requests, however many mailboxes they go to."""
        return requests / WRITER_REQUESTS_PER_S
