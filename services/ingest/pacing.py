"""When the entries of a re-plan come due, so that a mailbox's live events need not queue behind thousands of them.

Pure, no clock: whoever asks says what time it is. One of these for each process; what it forgets in a crash costs no
more than a few entries that come due earlier.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from calbus.budget import REPLAN_WOKEN_MAX_ENTRIES, MailboxBudget
from calbus.store.switches import SettingKey

# With more mailboxes than this, those whose turn has come are forgotten.
REMEMBERED_MAX_MAILBOXES = 20_000
_NOTHING = timedelta()


@dataclass(slots=True)
class _Share:
    """What one re-plan has given out to a mailbox that is not due yet, as time. `begun_at` tells its runs apart."""

    begun_at: datetime
    waiting: timedelta


@dataclass(slots=True)
class _Mailbox:
    """What waits for a mailbox, by the setting that asked for it, the oldest first; as it was at `looked_at`."""

    looked_at: datetime
    shares: dict[SettingKey, _Share] = field(default_factory=dict)

    def turn(self) -> datetime:
        """When all of it has had its turn."""
        at = self.looked_at
        for share in self.shares.values():
            at += share.waiting
        return at

    def pass_time(self, now: datetime) -> None:
        """Let the turns come that have come since it was looked at."""
        if now <= self.looked_at:
            return
        passed, self.looked_at = now - self.looked_at, now
        for setting, share in list(self.shares.items()):
            had = min(share.waiting, passed)
            share.waiting -= had
            passed -= had
            if not share.waiting:
                del self.shares[setting]


class Pace:
    """Gives each mailbox's entries out at a share of what the mailbox may have.

    A re-plan that begins again makes new plans for what its earlier run gave out: that is forgotten, lest a switch that
    is flipped back and forth lets each flip wait for those before it. What its earlier run gave out and the new one
    leaves as it is keeps its time, so that for a while up to twice the share may come due; the writer's
    own limit holds.
    """

    def __init__(self, budget: MailboxBudget) -> None:
        self._interval = timedelta(seconds=budget.replan_interval_s)
        self._burst = REPLAN_WOKEN_MAX_ENTRIES * self._interval
        self._mailboxes: dict[str, _Mailbox] = {}

    def due_at(self, lane: str, setting: SettingKey, begun_at: datetime, now: datetime) -> datetime | None:
        """When the mailbox's next entry should come due, for the re-plan of this setting that began then.

        None if it may be woken at once.
        """
        mailbox = self._mailboxes.get(lane)
        if mailbox is None:
            mailbox = self._mailboxes[lane] = _Mailbox(now)
        mailbox.pass_time(now)
        share = mailbox.shares.get(setting)
        if share is None or share.begun_at != begun_at:
            mailbox.shares.pop(setting, None)
            share = mailbox.shares[setting] = _Share(begun_at, _NOTHING)
        # When it would come, had the burst not been let through: GCRA, as in the writer's lanes.
        at = mailbox.turn() - self._burst
        share.waiting += self._interval
        if len(self._mailboxes) > REMEMBERED_MAX_MAILBOXES:
            self._forget_the_idle(now)
        return at if at > now else None

    def _forget_the_idle(self, now: datetime) -> None:
        for mailbox in self._mailboxes.values():
            mailbox.pass_time(now)
        self._mailboxes = {lane: mailbox for lane, mailbox in self._mailboxes.items() if mailbox.shares}
