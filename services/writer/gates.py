"""What must be right before an event is written: gates that each write passes, in order.

A gate may call Graph; it holds no connection to PostgreSQL meanwhile, and keeps what it learns for a while, so that
most writes pass without a call.
"""

from dataclasses import dataclass
from typing import Protocol

from calbus.entry import Entry, Intent
from calbus.graph.errors import Fault
from calbus.store.entries import Loaded
from schemas.reasons import Reason
from services.writer.reconciler import Step


@dataclass(frozen=True, slots=True)
class Passage:
    """What a gate says of a write; with neither refusal nor fault it may go on.

    `refusal`: it may not, and somebody must change something: the plan ends as refused. `fault`: it cannot be told
    now; it is tried again as after any fault. `requests` were sent to the entry's mailbox, and count to its budget.
    `answered`: the mailbox did what one of them asked, whatever else was found: it works.
    """

    requests: int = 0
    refusal: Reason | None = None
    fault: Fault | None = None
    answered: bool = False


class Gate(Protocol):
    """Something that must be right before an event is created or updated."""

    def lets_pass(self, loaded: Loaded) -> bool:
        """Whether `admit` would let it pass without a call to anybody; most writes are not asked more than this."""

    async def admit(self, loaded: Loaded) -> Passage:
        """Say whether the entry's desired content may be written to its place now."""


def is_gated(entry: Entry, step: Step) -> bool:
    """Whether gates stand before this step. Nothing that only looks, or takes an entry away for good, has any."""
    desired, applied = entry.desired, entry.applied
    if desired.intent is not Intent.PRESENT:
        return False
    match step:
        case Step.FIND | Step.READ:
            return False
        case Step.NOTHING:
            # Assigned by somebody else now, in the same words.
            return desired.grant not in (None, applied.grant)
        case _:
            # The removal with which a move begins is among them: refused afterwards, it would leave no entry at all.
            return True
