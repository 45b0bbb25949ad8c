"""Keeps one subscription for each mailbox that is pulled: takes what is due, does the next step, records it.

Any number of pullers share the work. Whoever claims a mailbox has it alone until its lease runs out; results of one
that was overtaken are void. A create leaves its trace before it leaves, so that whoever comes after a kill finds what
was made. No connection to PostgreSQL is held while Graph is called.
"""

import asyncio
import random
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

import asyncpg

from calbus.graph import subscriptions as graph
from calbus.graph.calls import Request, Response
from calbus.graph.client import GraphClient
from calbus.graph.subscriptions import Subscription, digest_of, endpoints_below
from calbus.outage import Dependency
from calbus.store import subscriptions
from calbus.store.subscriptions import Kept
from calbus.telemetry import SUBSCRIPTION_EXPIRY_SECONDS, SUBSCRIPTIONS, log
from services.puller.clock import Clock, utc_now
from services.puller.subscription_plan import (
    Answer,
    Conflict,
    Failed,
    Gate,
    Gone,
    Held,
    Step,
    Trouble,
    after,
    answer_of,
    at_rest,
    attempt,
    found,
    next_step,
)
from services.puller.subscription_settings import SubscriptionSettings

STEPS_MAX = 5
"""At a stretch for one mailbox; the longest sensible way is find, delete, create."""
LIST_MAX_PAGES = 1_000
CLIENT_STATE_BYTES = 32
POSTPONED_SPREAD_S = 5.0
COUNT_INTERVAL_S = 15.0


class Subscriber:
    """The loop. It never ends by itself, whatever Microsoft answers."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        client: GraphClient,
        settings: SubscriptionSettings,
        *,
        postgres: Dependency,
        clock: Clock = utc_now,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._pool = pool
        self._client = client
        self._postgres = postgres
        self._clock = clock
        self._dice = dice
        self._url = settings.puller_public_url
        self._pace = settings.subscription_pace
        self._max_calls = settings.puller_subscription_max_calls
        self._interval_s = settings.puller_subscription_interval_s
        self._follow_s = settings.puller_subscription_follow_s
        self._lease = timedelta(seconds=settings.puller_subscription_lease_s)
        self._gate = Gate()

    async def run(self) -> None:
        """Keep subscriptions until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow())
            tasks.create_task(self._show())
            under_way: set[asyncio.Task[None]] = set()
            while True:
                for kept in await self._claim(self._max_calls - len(under_way)):
                    under_way.add(tasks.create_task(self.keep(kept)))
                if under_way:
                    _, under_way = await asyncio.wait(
                        under_way, timeout=self._interval_s, return_when=asyncio.FIRST_COMPLETED
                    )
                else:
                    await asyncio.sleep(self._interval_s)

    async def _follow(self) -> None:
        while True:
            await self._postgres.insist(lambda: subscriptions.follow_pulls(self._pool, self._clock(), self._url))
            await asyncio.sleep(self._follow_s)

    async def _claim(self, free: int) -> list[Kept]:
        if free <= 0:
            return []
        now = self._clock()
        may_create = self._gate.is_open(now)
        # One tries whether Microsoft reaches us again; the others would fail like it.
        limit = 1 if self._gate.failures and may_create else free
        return await self._postgres.insist(
            lambda: subscriptions.claim(self._pool, now, now + self._lease, limit, may_create=may_create)
        )

    async def keep(self, kept: Kept) -> None:
        """Do what is due for a mailbox that was claimed, step after step, and let it go."""
        for _ in range(STEPS_MAX):
            step = next_step(kept, self._url, self._clock())
            if step is Step.REST:
                kept = at_rest(kept, self._clock())
                break
            if step is Step.FORGET:
                if await self._postgres.insist(lambda kept=kept: subscriptions.forget(self._pool, kept)):  # type: ignore[misc]
                    return
                break
            if step is Step.CREATE and not self._gate.is_open(self._clock()):
                kept = replace(kept, due_at=self._gate.shut_until or kept.due_at)
                break
            taken = await self._take(step, kept)
            if taken is None:
                return
            kept = taken
        await self._record(kept, release=True)

    async def _take(self, step: Step, kept: Kept) -> Kept | None:
        """Do one step and record what came of it; None if somebody else has the mailbox by now."""
        asked_until = self._clock() + self._pace.life
        doing = kept
        match step:
            case Step.CREATE:
                assert self._url is not None
                state = secrets.token_urlsafe(CLIENT_STATE_BYTES)
                doing = attempt(kept, self._url, digest_of(state))
                if not await self._record(doing, release=False):
                    return None
                request = graph.create(kept.mailbox, endpoints_below(self._url), state, asked_until)
                answer = await self._ask(step, doing, request, asked_until)
                if isinstance(answer, Conflict):
                    answer = await self._find(doing)
            case Step.FIND:
                answer = await self._find(kept)
            case Step.RENEW:
                answer = await self._ask(step, kept, graph.renew(_id(kept), asked_until), asked_until)
            case _:
                if await self._postgres.insist(lambda: subscriptions.is_shared(self._pool, kept)):
                    # A directory that two tenants name differently: whoever stays needs it.
                    answer = Gone()
                else:
                    answer = await self._ask(step, kept, graph.delete(_id(kept)), asked_until)
        now = self._clock()
        self._mind_gate(step, answer)
        result = after(step, doing, answer, now, self._pace, self._dice())
        self._tell(step, kept, result)
        is_new = bool(result.url) and result.subscription_id not in (None, kept.subscription_id)
        if not await self._record(result, release=False, pull=is_new):
            return None
        if isinstance(answer, Failed) and answer.of_directory:
            await self._postgres.insist(
                lambda: subscriptions.postpone(self._pool, kept.directory, result.due_at, POSTPONED_SPREAD_S)
            )
        return result

    async def _ask(self, step: Step, kept: Kept, request: Request, asked_until: datetime) -> Answer:
        response = await self._send(kept.directory, request)
        return answer_of(step, kept, response, asked_until)

    async def _send(self, directory: str, request: Request) -> Response:
        [response] = await self._client.send(directory, [request])
        return response

    async def _find(self, kept: Kept) -> Answer:
        """Look among all that calbus has in the directory."""
        listed: list[Subscription] = []
        request: Request | None = graph.list_subscriptions()
        for _ in range(LIST_MAX_PAGES):
            if request is None:
                break
            response = await self._send(kept.directory, request)
            if response.fault is not None:
                return answer_of(Step.FIND, kept, response, self._clock())
            listed += graph.listed_in(response.body)
            request = graph.next_page(response.body)
        return found(kept, listed, self._url)

    async def _record(self, kept: Kept, *, release: bool, pull: bool = False) -> bool:
        """Store it. `pull`: the subscription is new, and what changed before it was there is to be found."""

        async def store() -> bool:
            async with self._pool.acquire() as connection, connection.transaction():
                stored = await subscriptions.record(connection, kept, self._clock(), release=release)
                if stored and pull:
                    await subscriptions.pull_now(connection, [kept.lane])
                return stored

        return await self._postgres.insist(store)

    def _mind_gate(self, step: Step, answer: Answer) -> None:
        was = self._gate
        if isinstance(answer, Failed) and answer.trouble is Trouble.NOT_VALIDATED:
            self._gate = was.failed(self._clock(), self._pace, self._dice())
            if not was.failures:
                log.error(
                    "Microsoft does not get the right answer from the webhook; calendars are polled meanwhile. "
                    "Whose move: the operator, who sees to it that CALBUS_PULLER_PUBLIC_URL leads to the webhook."
                )
        elif step is Step.CREATE and isinstance(answer, Held) and was.failures:
            self._gate = Gate()
            log.info("Microsoft reaches the webhook again")

    def _tell(self, step: Step, before: Kept, now: Kept) -> None:
        """Once when a trouble comes, and once when it has gone."""
        if now.trouble == before.trouble or Trouble.NOT_VALIDATED in (now.trouble, before.trouble):
            return
        if now.trouble is None:
            log.info("mailbox has its subscription again", mailbox=now.lane)
        else:
            log.warning(
                "subscription is not to be had or kept as things stand; the mailbox is polled",
                mailbox=now.lane,
                trouble=now.trouble,
                step=step,
            )

    async def _show(self) -> None:
        while True:
            now = self._clock()
            counts = await self._postgres.insist(lambda now=now: subscriptions.count(self._pool, now))  # type: ignore[misc]
            for state, mailboxes in counts.by_state.items():
                SUBSCRIPTIONS.labels(state).set(mailboxes)
            earliest = counts.earliest_expiry
            SUBSCRIPTION_EXPIRY_SECONDS.set((earliest - now).total_seconds() if earliest is not None else 0)
            await asyncio.sleep(COUNT_INTERVAL_S)


def _id(kept: Kept) -> str:
    assert kept.subscription_id is not None
    return kept.subscription_id
