"""`calbus forget-user TENANT USER`: takes out what calbus keeps of one person, and says what it cannot reach.

The order makes it repeatable: Microsoft is told first, while it is known what to tell; then the bus, so that nothing
that was published before can bring the person back; then the database, in one transaction. Whatever breaks off is
taken up by running it again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar
from uuid import uuid4

import asyncpg
import typer
from rich.console import Console

from calbus.bus.asking import message_of, publish_all
from calbus.bus.publish import Message
from calbus.command import CommandError, command_of
from calbus.graph.client import graph_client
from calbus.lifecycle import EXIT_USAGE, at_most
from calbus.outage import postgres
from calbus.settings import GraphSettings, KafkaSettings, PostgresSettings, load
from calbus.store import erasure, subscriptions
from calbus.store.asking import asking_postgres
from calbus.store.connection import Connection
from calbus.store.erasure import Account, Person, StillLinkedError, Traces, Work
from calbus.store.migrate import require_schema
from calbus.store.pool import connect
from calbus.telemetry import configure_logging
from schemas.events import TOPICS, Topic
from schemas.results import Way
from schemas.switches import AccountUnlinked, Leftovers
from services.puller.subscription_settings import SubscriptionSettings
from services.puller.subscriptions import Subscriber

LOOK_INTERVAL_S = 0.2
LEASE_S = 120.0
WAIT_DEFAULT_S = 300
# What is not waiting for others; an outage of PostgreSQL, mostly.
WORK_MAX_S = 120
DEADLOCKS_MAX = 5
# Topics whose messages may name a person, and are kept for a time.
_NAMING = frozenset((Topic.ACTIONS, Topic.CONTACTS, Topic.OUTCOMES, Topic.CHANGES, Topic.REQUESTS, Topic.DEAD_LETTERS))

T = TypeVar("T")

out = Console(highlight=False, soft_wrap=True)


class ForgetSettings(KafkaSettings, PostgresSettings, GraphSettings):
    """Settings of `calbus forget-user`."""


def forget(
    settings: ForgetSettings,
    tenant: str,
    user: str,
    remove: bool | None = None,
    leave: bool | None = None,
    wait_s: int | None = None,
) -> None:
    """Forget a user: take out all that calbus keeps of one person. The account must not be allowed any more.

    Entries that stand in the calendar are either removed first or left there: say --remove or --leave. Ingest must be
    running, and with --remove a writer. Safe to run again.
    """
    if remove and leave:
        raise CommandError("--remove and --leave are two things: give one", EXIT_USAGE)
    wanted = Leftovers.REMOVE if remove else Leftovers.KEEP if leave else None
    patience_s = WAIT_DEFAULT_S if wait_s is None else wait_s
    work = _forget(settings, Person(tenant, user), wanted, time.monotonic() + patience_s)
    with asking_postgres():
        asyncio.run(at_most(patience_s + WORK_MAX_S, work))


async def _forget(settings: ForgetSettings, person: Person, wanted: Leftovers | None, deadline_s: float) -> None:
    async with connect(settings, postgres()) as pool:
        await require_schema(pool)
        await _Forgetting(settings, pool, person, wanted, deadline_s).run()


class _Forgetting:
    """One run of the command."""

    def __init__(
        self,
        settings: ForgetSettings,
        pool: asyncpg.Pool,
        person: Person,
        wanted: Leftovers | None,
        deadline_s: float,
    ) -> None:
        self._settings = settings
        self._pool = pool
        self._person = person
        self._wanted = wanted
        self._deadline_s = deadline_s

    async def run(self) -> None:
        """All of it, in order."""
        work = await self._refuse_if_too_early()
        traces = await self._in_transaction(lambda one: erasure.traces_of(one, self._person))
        if self._wanted is Leftovers.REMOVE and work.standing:
            await self._remove_entries()
            out.print(f"{work.standing} entries have left the calendar")
        seen, taken_back = await self._end_pulling(traces)
        await self._publish((Topic.SETTINGS, self._key, None))
        await self._until(self._is_planned, "ingest to take the end of the account in: is it running?")
        left = (await self._work()).standing
        counts = await self._erase(traces)
        # After all that the relay had to publish of the person: the last message of a key is what stays.
        await self._publish(*((Topic.ACCOUNT_STATUS, self._key + b"/" + way.encode(), None) for way in Way))
        _report(counts | {"events seen in calendars": seen, "subscriptions": taken_back}, left)

    async def _refuse_if_too_early(self) -> Work:
        account = await self._account()
        if account.allowed:
            raise CommandError(
                f"the account of {self._person.user} is still allowed, so nothing was forgotten. Whose move: the "
                "tenant's administrator, or the user, who unlinks it first (calbus.account.unlinked.v1)",
                EXIT_USAGE,
            )
        work = await self._work()
        if work.standing and self._wanted is None:
            raise CommandError(
                f"{work.standing} entries stand in the calendar: say --remove or --leave. Once they are forgotten, "
                "calbus can no longer remove them",
                EXIT_USAGE,
            )
        return work

    async def _remove_entries(self) -> None:
        account = await self._account()
        if account.unlinked_with != Leftovers.REMOVE:
            event = AccountUnlinked(
                tenant=self._person.tenant,
                user=self._person.user,
                revision=account.revision + 1,
                entries=Leftovers.REMOVE,
            )
            await self._publish(message_of(event, "forget-user"))

        async def gone() -> bool:
            work = await self._work()
            return not work.standing and not work.due and not work.replans

        await self._until(
            gone,
            "all entries to leave the calendar: are ingest and a writer running, is the tenant enabled, and the "
            "mailbox within reach? What cannot be removed can be left: --leave.",
        )

    async def _end_pulling(self, traces: Traces) -> tuple[int, int]:
        """Forget what was seen, and take subscriptions back; gives how many of each."""
        now = datetime.now(UTC)

        seen = await self._in_transaction(lambda one: erasure.stop_pulling(one, self._person, traces, now))
        before = len(await subscriptions.still_subscribed(self._pool, traces.lanes))
        if not before:
            return seen, 0
        async with graph_client(self._settings) as graph:
            subscriber = Subscriber(self._pool, graph, load(SubscriptionSettings), postgres=postgres())

            async def none_in_other_hands() -> bool:
                claimed_at = datetime.now(UTC)
                until = claimed_at + timedelta(seconds=LEASE_S)
                for kept in await subscriptions.claim_lanes(self._pool, traces.lanes, claimed_at, until):
                    await subscriber.keep(kept)
                    claimed.add(kept.lane)
                return claimed >= set(traces.lanes) or not await subscriptions.still_subscribed(
                    self._pool, [lane for lane in traces.lanes if lane not in claimed]
                )

            claimed: set[str] = set()
            await self._until(none_in_other_hands, "a puller to let go of the subscription")
        ends = await subscriptions.still_subscribed(self._pool, traces.lanes)
        for end in ends:
            when = f"at {end.astimezone(UTC).isoformat(' ', 'minutes')}" if end else "within 7 days"
            out.print(
                "a subscription could not be taken back, since Microsoft does not let calbus: it ends by itself "
                f"{when}, and nothing that it tells is kept",
                style="yellow",
            )
        return seen, before - len(ends)

    async def _is_planned(self) -> bool:
        account = await self._account()
        return not account.is_set and (await self._work()).settled

    async def _erase(self, traces: Traces) -> dict[str, int]:
        pseudonym = f"forgotten-{uuid4().hex}"
        for attempt in range(DEADLOCKS_MAX):
            try:
                return await self._in_transaction(lambda one: erasure.erase(one, self._person, traces, pseudonym))
            except asyncpg.DeadlockDetectedError:
                if attempt == DEADLOCKS_MAX - 1:
                    raise
            except StillLinkedError:
                raise CommandError("the account was linked again meanwhile: what was settled of it stays") from None
        raise AssertionError

    @property
    def _key(self) -> bytes:
        return f"account/{self._person.tenant}/{self._person.user}".encode()

    async def _account(self) -> Account:
        return await self._in_transaction(lambda one: erasure.account_of(one, self._person))

    async def _work(self) -> Work:
        return await self._in_transaction(lambda one: erasure.work_for(one, self._person))

    async def _in_transaction(self, do: Callable[[Connection], Awaitable[T]]) -> T:
        async with self._pool.acquire() as connection, connection.transaction():
            return await do(connection)

    async def _publish(self, *messages: Message) -> None:
        await publish_all(self._settings, list(messages), hint="; run this again")

    async def _until(self, done: Callable[[], Awaitable[bool]], what: str) -> None:
        while not await done():
            if time.monotonic() > self._deadline_s:
                raise CommandError(f"not yet done: waited for {what} Run this again")
            await asyncio.sleep(LOOK_INTERVAL_S)


def _report(counts: dict[str, int], left: int) -> None:
    done = {name: count for name, count in counts.items() if count}
    out.print("forgotten:" if done else "nothing was kept of this user")
    for name, count in done.items():
        out.print(f"{count:8,} {name}")
    out.print("taken off the bus: the account's settings and statuses (compacted topics: tombstones were published)")
    out.print("\nNot within reach of calbus:")
    if left:
        out.print(f"- {left:,} entries that stay in the person's calendar, as was asked")
    out.print("- what was published before, until Kafka lets it go:")
    for topic, shape in TOPICS.items():
        if topic in _NAMING and shape.retention_days is not None:
            out.print(f"    {topic.value}: {shape.retention_days} days, if the topic is as `calbus topics` makes it")
    out.print("- compacted topics: the old values go when Kafka compacts the segment that holds them")
    out.print("- backups of PostgreSQL, and logs (which name the user's id, never an address or a subject)")
    out.print("- upstream: an item that is published again with this user brings their id back")


command = command_of(
    "forget-user",
    ForgetSettings,
    forget,
    configure_logging,
    tenant=Annotated[str, typer.Argument(help="The user's tenant.")],
    user=Annotated[str, typer.Argument(help="The user's id, as items name it in `assignees`.")],
    remove=Annotated[bool | None, typer.Option("--remove", help="Entries leave the calendar first.")],
    leave=Annotated[bool | None, typer.Option("--leave", help="Entries stay in the calendar, and are nobody's.")],
    wait_s=Annotated[int | None, typer.Option("--wait-s", help="Wait no longer than so many seconds: 300.", min=0)],
)
