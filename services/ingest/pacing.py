"""When the entries of a re-plan come due, so that a mailbox's live events need not queue behind thousands of them.

Pure, no clock: whoever asks says what time it is. One of these for each process; what it forgets in a crash costs no
more than a few entries that come due earlier.
"""

from datetime import datetime, timedelta

from calbus.budget import REPLAN_WOKEN_MAX_ENTRIES, MailboxBudget

# With more mailboxes than this, those whose turn has come are forgotten.
REMEMBERED_MAX_MAILBOXES = 20_000


class Pace:
    """Gives each mailbox's entries out at a share of what the mailbox may have."""

    def __init__(self, budget: MailboxBudget) -> None:
        self._interval = timedelta(seconds=budget.replan_interval_s)
        self._burst = REPLAN_WOKEN_MAX_ENTRIES * self._interval
        # When the next entry would come, had the burst not been let through: GCRA, as in the writer's lanes.
        self._next_at: dict[str, datetime] = {}

    def due_at(self, lane: str, now: datetime) -> datetime | None:
        """When the mailbox's next entry should come due; None if it may be woken at once."""
        next_at = max(self._next_at.get(lane, now), now)
        self._next_at[lane] = next_at + self._interval
        if len(self._next_at) > REMEMBERED_MAX_MAILBOXES:
            self._next_at = {name: at for name, at in self._next_at.items() if at > now}
        at = next_at - self._burst
        return at if at > now else None
