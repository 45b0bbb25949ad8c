"""From the webhook to PostgreSQL: an inbox that never waits, and the loop that empties it.

A notice only says "look": what changed is read from the calendar. So a notice that is lost costs time, never a change,
and a thousand of one mailbox are as good as one.
"""

import asyncio
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import asyncpg

from calbus.graph.subscriptions import Notice, Told
from calbus.outage import Dependency
from calbus.store import subscriptions
from calbus.store.subscriptions import Known
from calbus.telemetry import NOTIFICATIONS, log
from services.puller.clock import Clock, utc_now

BATCH_MAX_NOTICES = 1_000
LIFECYCLE_SHARE = 0.1
"""Of the inbox is kept for what Microsoft says of subscriptions themselves, which is rare and tells more."""


class Inbox:
    """Notices that wait, each once. Takes and gives at once, and holds no more than it was made for."""

    def __init__(self, max_notices: int) -> None:
        self._max_lifecycle = max(1, int(max_notices * LIFECYCLE_SHARE))
        self._max_changes = max_notices - self._max_lifecycle
        self._changes: dict[Notice, None] = {}
        self._lifecycle: dict[Notice, None] = {}
        self._filled = asyncio.Event()

    def __len__(self) -> int:
        return len(self._changes) + len(self._lifecycle)

    def put(self, notices: Iterable[Notice]) -> None:
        """Keep them, as far as there is room; what there is none for is counted and dropped."""
        for notice in notices:
            changed = notice.told is Told.CHANGED
            waiting, most = (self._changes, self._max_changes) if changed else (self._lifecycle, self._max_lifecycle)
            if notice in waiting:
                NOTIFICATIONS.labels("repeated").inc()
            elif len(waiting) >= most:
                NOTIFICATIONS.labels("dropped").inc()
            else:
                waiting[notice] = None
                self._filled.set()

    async def take(self, limit: int) -> list[Notice]:
        """The oldest of those that wait, what is said of subscriptions themselves first; waits for one."""
        while not len(self):
            self._filled.clear()
            await self._filled.wait()
        taken: list[Notice] = []
        for waiting in (self._lifecycle, self._changes):
            some = list(waiting)[: limit - len(taken)]
            for notice in some:
                del waiting[notice]
            taken += some
        return taken


@dataclass(frozen=True, slots=True)
class Orders:
    """What notices come to: mailboxes by their lane, subscriptions by their id."""

    pull: set[str] = field(default_factory=set)
    pull_in_full: set[str] = field(default_factory=set)
    reauthorize: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    results: list[str] = field(default_factory=list)
    """For each notice what became of it."""


def judge(notices: Iterable[Notice], known: Iterable[Known]) -> Orders:
    """Believe those that bear the secret of the subscription they name; secrets are compared in constant time."""
    by_id: dict[str, list[Known]] = {}
    for one in known:
        by_id.setdefault(one.subscription_id, []).append(one)
    orders = Orders()
    for notice in notices:
        named = by_id.get(notice.subscription_id, [])
        lanes = {one.lane for one in named if hmac.compare_digest(one.state_digest, notice.state_digest)}
        orders.results.append("marked" if lanes else "wrong_secret" if named else "foreign")
        if not lanes:
            continue
        orders.pull.update(lanes)
        match notice.told:
            case Told.MISSED:
                orders.pull_in_full.update(lanes)
            case Told.REMOVED:
                orders.removed.add(notice.subscription_id)
            case Told.REAUTHORIZATION_REQUIRED:
                orders.reauthorize.add(notice.subscription_id)
    return orders


class NoticeTaker:
    """Lets calendars be due that notices are about. While PostgreSQL is away they wait in the inbox."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        inbox: Inbox,
        *,
        postgres: Dependency,
        marked: Callable[[], None] = lambda: None,
        clock: Clock = utc_now,
    ) -> None:
        """`marked` is called when calendars have become due."""
        self._pool = pool
        self._inbox = inbox
        self._postgres = postgres
        self._marked = marked
        self._clock = clock

    async def run(self) -> None:
        """Empty the inbox until cancelled."""
        while True:
            notices = await self._inbox.take(BATCH_MAX_NOTICES)
            orders = await self._postgres.insist(lambda notices=notices: self._obey(notices))  # type: ignore[misc]
            for result in orders.results:
                NOTIFICATIONS.labels(result).inc()
            if orders.removed or orders.pull_in_full:
                log.info(
                    "notifications have stopped or were lost; calendars are read again",
                    subscriptions_removed=len(orders.removed),
                    mailboxes_missed=len(orders.pull_in_full),
                )
            if orders.pull:
                self._marked()

    async def _obey(self, notices: list[Notice]) -> Orders:
        now = self._clock()
        async with self._pool.acquire() as connection, connection.transaction():
            known = await subscriptions.of_ids(connection, (notice.subscription_id for notice in notices))
            orders = judge(notices, known)
            await subscriptions.reauthorize(connection, sorted(orders.reauthorize), now)
            await subscriptions.removed(connection, sorted(orders.removed), now)
            await subscriptions.pull_now(connection, orders.pull - orders.pull_in_full)
            await subscriptions.pull_now(connection, orders.pull_in_full, in_full=True)
        return orders
