"""What is to be done about an entry that its user changed in Outlook.

Values: the puller finds out what was touched, the store carries out what follows, ingest plans with what was accepted.
A writer finds out what was removed, if it comes first.
"""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from schemas.switches import Touched


@dataclass(frozen=True, slots=True)
class Times:
    """When something takes place: instants in UTC, or dates if it takes whole days; `end` is exclusive."""

    start: datetime | date
    end: datetime | date

    @property
    def all_day(self) -> bool:
        """Whether it takes whole days."""
        return not isinstance(self.start, datetime)


@dataclass(frozen=True, slots=True)
class Touch:
    """A user changed an entry, or one occurrence of it, and the tenant's policy says what follows.

    `day`: of a series, the day that its pattern has the occurrence on; None if that cannot be told.
    `moved_to`: where the user moved it; None if the times are as they were, or cannot be kept. `edited`: it was changed
    in another way.
    `change_key`: of the event as the user left it; empty if it is gone.
    """

    entry_id: UUID
    policy: Touched
    change_key: str
    day: date | None = None
    occurrence: bool = False
    moved_to: Times | None = None
    edited: bool = False
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Loss:
    """A writer found the event of an entry removed when it was to write it, and writes another one next.

    `change_key`: of our last write of the event. `revision`: the item's newest that the writer knew. `found_at`: before
    anything was written anew, and so before the outcome of that is decided.
    """

    change_key: str
    revision: int
    found_at: datetime
