"""A leased mailbox: its requests go out one at a time, inside its budget, and stop when Microsoft asks for rest."""

import asyncio
from datetime import UTC, datetime

from calbus.budget import MailboxBudget
from calbus.graph.calls import Request, Response
from calbus.graph.client import GraphClient
from services.puller.pace import Allowance

# A shorter wait for the budget is waited out; for a longer one the mailbox is given back.
WAIT_MAX_S = 2.0


class RestError(Exception):
    """The mailbox is to be left alone for so long."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


class LeasedMailbox:
    """What one process asks of a mailbox for as long as it has its lease."""

    def __init__(self, graph: GraphClient, owner: str, lane: str, allowance: Allowance) -> None:
        self._graph = graph
        self._allowance = allowance
        self.owner = owner
        self.lane = lane
        self.requests = 0

    @classmethod
    def leased(
        cls, graph: GraphClient, owner: str, lane: str, budget: MailboxBudget, spent_until: datetime | None
    ) -> "LeasedMailbox":
        """One whose budget was used up to a time by whoever had it before."""
        return cls(graph, owner, lane, Allowance(budget, spent_until))

    @property
    def spent_until(self) -> datetime | None:
        """How far its budget is used up."""
        return self._allowance.spent_until

    async def ask(self, directory: str, request: Request) -> Response:
        """Send one request; the caller sends the next when this is answered.

        Raises RestError if the budget does not allow it soon; nothing was sent then.
        """
        while (wait_s := self._allowance.wait_s(datetime.now(UTC))) > 0:
            if wait_s > WAIT_MAX_S:
                raise RestError(wait_s)
            await asyncio.sleep(wait_s)
        self._allowance.spend(datetime.now(UTC))
        self.requests += 1
        (response,) = await self._graph.send(directory, [request])
        return response
