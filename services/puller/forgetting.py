"""What `calbus forget-user` and `calbus forget-tenant` share: publishing, waiting, taking subscriptions back."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import asyncpg
from rich.console import Console

from calbus.bus.asking import publish_all
from calbus.bus.publish import Message
from calbus.command import CommandError
from calbus.graph.client import graph_client
from calbus.lifecycle import at_most
from calbus.outage import Dependency, postgres
from calbus.settings import GraphSettings, KafkaSettings, PostgresSettings, load
from calbus.store import subscriptions
from calbus.store.asking import asking_postgres
from calbus.store.connection import Connection
from calbus.store.migrate import require_schema
from calbus.store.pool import connect
from schemas.events import TOPICS, Topic
from services.puller.subscription_settings import SubscriptionSettings
from services.puller.subscriptions import Subscriber

LOOK_INTERVAL_S = 0.2
LEASE_S = 120.0
# So many mailboxes are taken from the pullers at once: what is done with them one after another is to end in that time.
CLAIM_MAX_MAILBOXES = 50
WAIT_DEFAULT_S = 300
# A person waits: a server that is away is told of at once, and one that does not answer after this.
OPENING_MAX_S = 30.0
# What waits for Microsoft has at least so long, however little the whole has left.
MAILBOX_MIN_S = 60.0
DEADLOCKS_MAX = 5
# Topics whose messages may name a person, and are kept for a time.
_NAMING = frozenset((Topic.ACTIONS, Topic.CONTACTS, Topic.OUTCOMES, Topic.CHANGES, Topic.REQUESTS, Topic.DEAD_LETTERS))

T = TypeVar("T")

out = Console(highlight=False, soft_wrap=True)


class ForgetSettings(KafkaSettings, PostgresSettings, GraphSettings):
    """Settings of the commands that forget."""


class Forgetting:
    """One run of such a command. What it waits for, it waits for until `deadline_s` of the monotonic clock."""

    def __init__(self, settings: ForgetSettings, pool: asyncpg.Pool, deadline_s: float) -> None:
        self.settings = settings
        self.pool = pool
        self._deadline_s = deadline_s

    async def take_back(self, lanes: tuple[str, ...]) -> int:
        """Take back the subscriptions to these mailboxes, which are not wanted any more; gives how many there were."""
        subscribed = await subscriptions.still_subscribed(self.pool, lanes)
        if not subscribed:
            return 0
        done: set[str] = set()
        async with graph_client(self.settings) as graph:
            subscriber = Subscriber(self.pool, graph, load(SubscriptionSettings), postgres=postgres())

            async def none_in_other_hands() -> bool:
                left = [lane for lane in await subscriptions.still_subscribed(self.pool, lanes) if lane not in done]
                before = len(done)
                for start in range(0, len(left), CLAIM_MAX_MAILBOXES):
                    some = left[start : start + CLAIM_MAX_MAILBOXES]
                    now = datetime.now(UTC)
                    for kept in await subscriptions.claim_lanes(self.pool, some, now, now + timedelta(seconds=LEASE_S)):
                        what = f"Microsoft to take {len(left) + before - len(done):,} subscriptions back."
                        if done:
                            self._mind_deadline(what)
                        await self._in_time(subscriber.keep(kept), what)
                        done.add(kept.lane)
                return done.issuperset(left)

            await self.until(none_in_other_hands, "a puller to let go of the subscription.")
        ends = (await subscriptions.still_subscribed(self.pool, lanes)).values()
        for end in ends:
            when = f"at {end.astimezone(UTC).isoformat(' ', 'minutes')}" if end else "within 7 days"
            out.print(
                "a subscription could not be taken back, since Microsoft does not let calbus: it ends by itself "
                f"{when}, and nothing that it tells is kept",
                style="yellow",
            )
        return len(subscribed) - len(ends)

    async def in_transaction(self, do: Callable[[Connection], Awaitable[T]]) -> T:
        """What `do` gives, in a transaction of its own; it is done again where others were in its way."""
        for left in reversed(range(DEADLOCKS_MAX)):
            try:
                async with self.pool.acquire() as connection, connection.transaction():
                    return await do(connection)
            except asyncpg.DeadlockDetectedError:
                if not left:
                    raise
        raise AssertionError

    async def publish(self, *messages: Message) -> None:
        """Send all; returns when Kafka has them. Raises CommandError."""
        await publish_all(self.settings, list(messages), hint="; run this again")

    async def until(self, done: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for it. Raises CommandError with what was waited for."""
        while not await done():
            self._mind_deadline(what)
            await asyncio.sleep(LOOK_INTERVAL_S)

    async def _in_time(self, work: Awaitable[None], what: str) -> None:
        left_s = self._deadline_s - time.monotonic()
        try:
            await at_most(max(left_s, MAILBOX_MIN_S), work)
        except TimeoutError:
            raise _not_yet(what) from None

    def _mind_deadline(self, what: str) -> None:
        if time.monotonic() > self._deadline_s:
            raise _not_yet(what)


def _not_yet(what: str) -> CommandError:
    return CommandError(f"not yet done: waited for {what} Run this again")


def run_command(
    settings: ForgetSettings, forget: Callable[[asyncpg.Pool], Coroutine[Any, Any, None]], limit_s: float | None
) -> None:
    """Run it with a pool, for no longer than this; ends the program with a sentence if it fails.

    The limit is that of the work: without one it takes as long as it takes, but a pool is there soon or never.
    """

    async def with_pool() -> None:
        async with AsyncExitStack() as opened:
            pool = await at_most(OPENING_MAX_S, _open(settings, opened))
            # Its own end is told from that of a query, which says that PostgreSQL does not answer.
            limit = asyncio.timeout(limit_s)
            try:
                async with limit:
                    await forget(pool)
            except TimeoutError:
                if not limit.expired():
                    raise
                raise CommandError(f"not yet done after {limit_s:.0f} s, and broken off. Run this again") from None

    with asking_postgres():
        asyncio.run(with_pool())


async def _open(settings: ForgetSettings, opened: AsyncExitStack) -> asyncpg.Pool:
    pool = await opened.enter_async_context(connect(settings, Dependency("postgresql", lambda _: False)))
    await require_schema(pool)
    return pool


def report(counts: dict[str, int], nothing: str) -> None:
    """Say how much of what was forgotten."""
    done = {name: count for name, count in counts.items() if count}
    out.print("forgotten:" if done else nothing)
    for name, count in done.items():
        out.print(f"{count:8,} {name}")


def report_out_of_reach(left: int, whose: str) -> None:
    """Say what stays: entries, and what is on the bus, in backups and in logs; but for upstream's own."""
    out.print("\nNot within reach of calbus:")
    if left:
        out.print(f"- {left:,} entries that stay in {whose}, as was asked")
    out.print("- what was published before, until Kafka lets it go:")
    for topic, shape in TOPICS.items():
        if topic in _NAMING and shape.retention_days is not None:
            out.print(f"    {topic.value}: {shape.retention_days} days, if the topic is as `calbus topics` makes it")
    out.print("- compacted topics: the old values go when Kafka compacts the segment that holds them")
