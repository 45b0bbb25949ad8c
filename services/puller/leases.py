"""Who pulls which mailbox: leases in PostgreSQL, kept up by a heartbeat, taken over by others when they run out.

A lease that was lost ends the work at once, and what it would still write is refused by the row that it is checked
against. So a process that dies or hangs delays its mailboxes by no more than the lease.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TypeVar
from uuid import uuid4

import asyncpg

from calbus.budget import MailboxBudget
from calbus.graph.client import GraphClient
from calbus.lifecycle import at_most
from calbus.outage import Dependency
from calbus.store import pulls
from calbus.store.pulls import Claimed, LeaseLostError, Pull
from calbus.telemetry import PULL_CALENDARS, PULL_FIRST_ITEMS, PULL_LAG_SECONDS, PULL_LEASED, log
from schemas.reasons import OF_CREDENTIAL
from services.puller.mailbox import LeasedMailbox, RestError
from services.puller.rounds import Rounds

# What one claim takes: many pullers then share a morning's work instead of the first taking it all.
CLAIM_MAX_MAILBOXES = 8
CALENDARS_MAX_PER_TURN = 100
# A directory that has an eighth of what a process takes gets more only if no other has anything due: one that hangs, or
# has ten thousand calendars to read for the first time, holds up others for no longer than one turn of a mailbox.
DIRECTORIES_AT_LEAST = 8
# Where no other had, that is asked again after this: the question reads past all that is due of the one.
OTHERS_INTERVAL_S = 5.0
HEARTBEATS_PER_LEASE = 4
COUNT_INTERVAL_S = 10.0
# After a fault of ours: in case it was the moment, and not the calendar.
BROKEN_S = 60.0

T = TypeVar("T")


class Leases:
    """The mailboxes that one process has in hand."""

    def __init__(
        self,
        pool: asyncpg.Pool,
        graph: GraphClient,
        rounds: Rounds,
        budget: MailboxBudget,
        *,
        max_mailboxes: int,
        lease_s: float,
        look_interval_s: float,
        postgres: Dependency,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        """`beat` is called each time that is looked for work."""
        self._pool = pool
        self._graph = graph
        self._rounds = rounds
        self._budget = budget
        self._max_mailboxes = max_mailboxes
        self._lease_s = lease_s
        self._look_interval_s = look_interval_s
        self._postgres = postgres
        self._beat = beat
        self._owner = uuid4().hex
        self._held: dict[str, asyncio.Task[None]] = {}
        self._directories: dict[str, str] = {}
        self._look_at_others_s = 0.0
        self._giving_back: set[str] = set()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something may be due, or there is room again: look at once."""
        self._wake.set()

    async def run(self) -> None:
        """Take what is due until cancelled. What another credential may mend is due at once: this one may have it."""
        await self._insist(partial(pulls.ask_failing_for, self._pool, OF_CREDENTIAL))
        while True:
            self._beat()
            self._wake.clear()
            claimed = await self._claim()
            for one in claimed:
                task = asyncio.create_task(self._work(one))
                self._held[one.lane], self._directories[one.lane] = task, one.directory
                task.add_done_callback(lambda task, lane=one.lane: self._over(lane, task))  # type: ignore[misc]
            if not claimed:
                with suppress(TimeoutError):
                    await at_most(self._look_interval_s, self._wake.wait())

    async def keep(self) -> None:
        """Lengthen the leases until cancelled; work whose lease was lost is ended."""
        while True:
            await asyncio.sleep(self._lease_s / HEARTBEATS_PER_LEASE)
            held = dict(self._held)
            if not held:
                continue
            kept = await self._insist(partial(pulls.keep, self._pool, self._owner, list(held), lease_s=self._lease_s))
            for lane in held.keys() - kept:
                # One that was given back meanwhile, and perhaps taken up again, was not lost.
                if self._held.get(lane) is held[lane] and lane not in self._giving_back:
                    log.warning("a mailbox's lease was lost", lane=lane)
                    held[lane].cancel()

    async def count(self) -> None:
        """Show how the calendars stand, whoever pulls them, until cancelled."""
        while True:
            counts = await self._insist(lambda: pulls.count(self._pool))
            for state, number in (
                ("all", counts.calendars),
                ("due", counts.due),
                ("failing", counts.failing),
                ("first", counts.first_pulls),
            ):
                PULL_CALENDARS.labels(state).set(number)
            PULL_FIRST_ITEMS.set(counts.first_items)
            PULL_LEASED.set(counts.leased)
            PULL_LAG_SECONDS.set(counts.lag_s)
            await asyncio.sleep(COUNT_INTERVAL_S)

    async def drain(self, wait_s: float) -> None:
        """End what is under way; requests in flight are dropped, and mailboxes given back, in at most so long."""
        for task in list(self._held.values()):
            task.cancel()
        if self._held:
            await asyncio.wait(list(self._held.values()), timeout=wait_s)

    async def _claim(self) -> list[Claimed]:
        room = min(self._max_mailboxes - len(self._held), CLAIM_MAX_MAILBOXES)
        if room <= 0:
            return []
        now_s = asyncio.get_running_loop().time()
        shares = Counter(self._directories.values())
        full = [directory for directory, held in shares.items() if held * DIRECTORIES_AT_LEAST >= self._max_mailboxes]
        if full and now_s >= self._look_at_others_s:
            if claimed := await self._claim_beside(full, room):
                return claimed
            self._look_at_others_s = now_s + OTHERS_INTERVAL_S
        return await self._claim_beside([], room)

    async def _claim_beside(self, directories: list[str], limit: int) -> list[Claimed]:
        return await self._insist(
            lambda: pulls.claim(self._pool, self._owner, lease_s=self._lease_s, limit=limit, beside=directories)
        )

    def _over(self, lane: str, task: asyncio.Task[None]) -> None:
        if self._held.get(lane) is task:  # and not one that took it up once more meanwhile
            del self._held[lane], self._directories[lane]
        self._giving_back.discard(lane)
        self._wake.set()

    async def _work(self, claimed: Claimed) -> None:
        mailbox = LeasedMailbox.leased(self._graph, self._owner, claimed.lane, self._budget, claimed.spent_until)
        rests_s = 0.0
        try:
            for pull in await self._insist(lambda: pulls.due_of(self._pool, claimed.lane, CALENDARS_MAX_PER_TURN)):
                await self._turn(mailbox, pull)
        except RestError as rest:
            rests_s = rest.wait_s
        except LeaseLostError:
            log.info("a mailbox went to another process, or its settings changed", lane=claimed.lane)
        except asyncio.CancelledError:
            with suppress(Exception):
                # Asked once and not insisted on: whoever comes next waits for the lease to run out.
                await at_most(1.0, self._release(claimed.lane, mailbox.spent_until, 0.0))
            raise
        except Exception:  # noqa: BLE001
            log.exception("pulling a mailbox broke off", lane=claimed.lane)
            rests_s = BROKEN_S
        self._giving_back.add(claimed.lane)
        await self._insist(lambda: self._release(claimed.lane, mailbox.spent_until, rests_s))

    async def _turn(self, mailbox: LeasedMailbox, pull: Pull) -> None:
        try:
            await self._rounds.turn(mailbox, pull)
        except (RestError, LeaseLostError):
            raise
        except Exception:  # noqa: BLE001 - one calendar must not hold up the others of its mailbox
            log.exception("pulling a calendar broke off", lane=mailbox.lane, pull_id=pull.pull_id)
            await self._rounds.broke(pull, BROKEN_S)

    async def _release(self, lane: str, spent_until: datetime | None, rests_s: float) -> None:
        await pulls.release(self._pool, self._owner, lane, spent_until=spent_until, rests_s=rests_s)

    async def _insist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        return await self._postgres.insist(attempt)
