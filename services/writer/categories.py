"""The gate of categories: before an event names one, it is in the mailbox's list with its colour, once.

After that it is the owner's: deleted or given another colour, it stays so. A category is an ornament. No event waits
for it longer than a few attempts, and none is refused for want of it.
"""

import asyncio
import time
from dataclasses import dataclass, field, replace
from itertools import islice

import asyncpg

from calbus.entry import Place, content_of
from calbus.graph.calls import Request, Response
from calbus.graph.categories import create_category, is_there_already, list_categories, names_of
from calbus.graph.errors import Fault
from calbus.outage import Dependency
from calbus.recent import Recent
from calbus.store import categories
from calbus.store.entries import Loaded
from calbus.telemetry import log
from schemas.reasons import Reason
from services.writer.gates import Passage
from services.writer.side_calls import Graph

# A mailbox that is forgotten is looked up in PostgreSQL again.
REMEMBERED_MAX_MAILBOXES = 20_000
LOOK_UP_MAX_MAILBOXES = 500
# A mailbox whose categories are closed to us is not asked again for so long.
CLOSED_S = 86_400.0
TOLD_MAX_DIRECTORIES = 10_000
# An event that has failed so often is written without its category, if that is what stands in its way.
ATTEMPTS_MAX = 3

_OPEN = Passage()
# Graph's answers that waiting does not change: the permission, a policy, a list that does not exist there.
_CLOSED = frozenset((Reason.ACCESS_DENIED, Reason.ACCESS_POLICY, Reason.EVENT_REJECTED, Reason.EVENT_GONE))
_NOT_SUPPORTED_STATUSES = frozenset((405, 501))


@dataclass(slots=True)
class _Mailbox:
    seen: set[str] = field(default_factory=set)
    closed_until_s: float = 0.0

    def lets_pass(self, name: str) -> bool:
        return name in self.seen or time.monotonic() < self.closed_until_s


class Categories:
    """What this writer knows of mailboxes' categories. A Gate."""

    def __init__(self, pool: asyncpg.Pool, graph: Graph, *, postgres: Dependency) -> None:
        self._pool = pool
        self._graph = graph
        self._postgres = postgres
        self._mailboxes = Recent[str, _Mailbox](REMEMBERED_MAX_MAILBOXES)
        # A mailbox's categories are looked at by one event at a time; the others wait for what it learns.
        self._busy: dict[str, asyncio.Future[Passage]] = {}
        # One for each mailbox, since its categories are looked at by one at a time.
        self._asked: dict[Place, asyncio.Future[set[str]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._told = Recent[str, float](TOLD_MAX_DIRECTORIES)

    def lets_pass(self, loaded: Loaded) -> bool:
        """Whether there is nothing to see to, or it has been seen to."""
        wanted = _wanted(loaded)
        return wanted is None or self._mailbox(wanted[0].lane).lets_pass(wanted[1].casefold())

    async def admit(self, loaded: Loaded) -> Passage:
        """See to the category of the desired content. Never refuses; a fault means that it should be tried again."""
        wanted = _wanted(loaded)
        if wanted is None:
            return _OPEN
        place, name, color = wanted
        lane = place.lane
        while not self._mailbox(lane).lets_pass(name.casefold()):
            if (busy := self._busy.get(lane)) is None:
                return await self._alone(lane, loaded, place, name, color)
            await asyncio.wait([busy])
            if not busy.cancelled() and busy.exception() is None and busy.result().fault is not None:
                # What stopped the other would stop this one; asked again at once, it would count against us.
                return replace(busy.result(), requests=0)
        return _OPEN

    async def _alone(self, lane: str, loaded: Loaded, place: Place, name: str, color: str) -> Passage:
        busy = self._busy[lane] = asyncio.get_running_loop().create_future()
        try:
            passage = await self._see_to(loaded, place, name, color)
            busy.set_result(passage)
            return passage
        finally:
            busy.cancel()
            del self._busy[lane]

    async def _see_to(self, loaded: Loaded, place: Place, name: str, color: str) -> Passage:
        folded = name.casefold()
        seen = await self._looked_up(place)
        self._mailbox(place.lane).seen |= seen
        if folded in seen:
            return _OPEN
        listed = await self._call(place, list_categories(place))
        requests = 1
        if listed.fault is not None:
            return self._without(loaded, place, listed, listed.fault, requests)
        if folded not in names_of(listed.body):
            made = await self._call(place, create_category(place, name, color))
            requests += 1
            if made.fault is not None and not is_there_already(made):
                return self._without(loaded, place, made, made.fault, requests)
        await self._postgres.insist(lambda: categories.see(self._pool, place, folded))
        self._mailbox(place.lane).seen.add(folded)
        return Passage(requests)

    async def _looked_up(self, place: Place) -> set[str]:
        """What was seen to in the mailbox. Mailboxes that come up in one turn of the loop are looked up together."""
        if not self._asked:
            self._looking = asyncio.create_task(self._look_up())
        answer: asyncio.Future[set[str]] = asyncio.get_running_loop().create_future()
        self._asked[place] = answer
        return await answer

    async def _look_up(self) -> None:
        asked = dict(islice(self._asked.items(), LOOK_UP_MAX_MAILBOXES))
        self._asked = dict(islice(self._asked.items(), LOOK_UP_MAX_MAILBOXES, None))
        if self._asked:
            self._looking = asyncio.create_task(self._look_up())
        waiting = {place: answer for place, answer in asked.items() if not answer.done()}
        try:
            names = await self._postgres.insist(lambda: categories.seen(self._pool, list(waiting)))
        except Exception as error:  # noqa: BLE001 (it is told to whoever asked)
            for answer in waiting.values():
                if not answer.done():
                    answer.set_exception(error)
            return
        for place, answer in waiting.items():
            if not answer.done():  # who asked may have been told to wait no longer
                answer.set_result(names.get(place.lane, set()))

    async def _call(self, place: Place, request: Request) -> Response:
        (response,) = await self._graph.send(place.directory, [request])
        return response

    def _without(self, loaded: Loaded, place: Place, response: Response, fault: Fault, requests: int) -> Passage:
        """What a fault means for the event: it waits, or it is written with a category that has no colour."""
        if fault.reason in _CLOSED or response.status in _NOT_SUPPORTED_STATUSES:
            self._mailbox(place.lane).closed_until_s = time.monotonic() + CLOSED_S
            self._tell(loaded, place, fault)
            return Passage(requests)
        if fault.reason is Reason.THROTTLED or loaded.attempts < ATTEMPTS_MAX:
            return Passage(requests, fault=fault)
        return Passage(requests)

    def _mailbox(self, lane: str) -> _Mailbox:
        known = self._mailboxes.get(lane)
        if known is None:
            known = _Mailbox()
            self._mailboxes.put(lane, known)
        return known

    def _tell(self, loaded: Loaded, place: Place, fault: Fault) -> None:
        """Say it once for the directory: its mailboxes are mostly closed for one and the same reason."""
        now_s = time.monotonic()
        if now_s < (self._told.get(place.directory) or 0.0):
            return
        self._told.put(place.directory, now_s + CLOSED_S)
        log.warning(
            "categories stay without colours: grant MailboxSettings.ReadWrite to have them made",
            tenant=loaded.entry.item.tenant,
            reason=fault.reason,
            code=fault.code,
            request_id=fault.request_id,
        )


def _wanted(loaded: Loaded) -> tuple[Place, str, str] | None:
    """The mailbox, and the category and colour that it is to have; None if it needs none."""
    desired = loaded.entry.desired
    if desired.place is None or desired.content is None:
        return None
    content = content_of(desired.content)
    if not content.category or content.color == "none":
        return None
    return desired.place, content.category, content.color
