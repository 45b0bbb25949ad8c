"""`calbus forget-user TENANT USER`: takes out what calbus keeps of one person, and says what it cannot reach.

The order makes it repeatable: Microsoft is told first, while it is known what to tell; then the bus, so that nothing
that was published before can bring the person back; then the database, in one transaction. Whatever breaks off is
taken up by running it again.
"""

import time
from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import asyncpg
import typer

from calbus.bus.asking import message_of
from calbus.command import CommandError, command_of, fail
from calbus.lifecycle import EXIT_USAGE
from calbus.store import erasure
from calbus.store.erasure import Account, Person, StillLinkedError, Traces, Work
from calbus.telemetry import configure_logging
from schemas.events import Topic
from schemas.results import Way
from schemas.switches import AccountUnlinked, Leftovers
from services.puller.forgetting import (
    WAIT_DEFAULT_S,
    ForgetSettings,
    Forgetting,
    out,
    report,
    report_out_of_reach,
    run_command,
)

# What is not waiting for others; an outage of PostgreSQL, mostly.
WORK_MAX_S = 120


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
        fail("--remove and --leave are two things: give one", EXIT_USAGE)
    wanted = Leftovers.REMOVE if remove else Leftovers.KEEP if leave else None
    patience_s = WAIT_DEFAULT_S if wait_s is None else wait_s

    async def forgets(pool: asyncpg.Pool) -> None:
        await _Forgetting(settings, pool, Person(tenant, user), wanted, time.monotonic() + patience_s).run()

    run_command(settings, forgets, patience_s + WORK_MAX_S)


class _Forgetting(Forgetting):
    """One run of the command."""

    def __init__(
        self,
        settings: ForgetSettings,
        pool: asyncpg.Pool,
        person: Person,
        wanted: Leftovers | None,
        deadline_s: float,
    ) -> None:
        super().__init__(settings, pool, deadline_s)
        self._person = person
        self._wanted = wanted

    async def run(self) -> None:
        """All of it, in order."""
        work = await self._refuse_if_too_early()
        traces = await self.in_transaction(lambda one: erasure.traces_of(one, self._person))
        if self._wanted is Leftovers.REMOVE and work.standing:
            await self._remove_entries()
            out.print(f"{work.standing} entries have left the calendar")
        seen, taken_back = await self._end_pulling(traces)
        await self.publish((Topic.SETTINGS, self._key, None))
        await self.until(self._is_planned, "ingest to take the end of the account in: is it running?")
        left = (await self._work()).standing
        counts = await self._erase(traces)
        # After all that the relay had to publish of the person: the last message of a key is what stays.
        await self.publish(*((Topic.ACCOUNT_STATUS, self._key + b"/" + way.encode(), None) for way in Way))
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
            await self.publish(message_of(event, "forget-user"))

        async def gone() -> bool:
            work = await self._work()
            return not work.standing and not work.due and not work.replans

        await self.until(
            gone,
            "all entries to leave the calendar: are ingest and a writer running, is the tenant enabled, and the "
            "mailbox within reach? What cannot be removed can be left: --leave.",
        )

    async def _end_pulling(self, traces: Traces) -> tuple[int, int]:
        """Forget what was seen, and take subscriptions back; gives how many of each."""
        now = datetime.now(UTC)
        seen = await self.in_transaction(lambda one: erasure.stop_pulling(one, self._person, traces, now))
        return seen, await self.take_back(traces.lanes)

    async def _is_planned(self) -> bool:
        account = await self._account()
        return not account.is_set and (await self._work()).settled

    async def _erase(self, traces: Traces) -> dict[str, int]:
        pseudonym = f"forgotten-{uuid4().hex}"
        try:
            return await self.in_transaction(lambda one: erasure.erase(one, self._person, traces, pseudonym))
        except StillLinkedError:
            raise CommandError("the account was linked again meanwhile: what was settled of it stays") from None

    @property
    def _key(self) -> bytes:
        return f"account/{self._person.tenant}/{self._person.user}".encode()

    async def _account(self) -> Account:
        return await self.in_transaction(lambda one: erasure.account_of(one, self._person))

    async def _work(self) -> Work:
        return await self.in_transaction(lambda one: erasure.work_for(one, self._person))


def _report(counts: dict[str, int], left: int) -> None:
    report(counts, "nothing was kept of this user")
    out.print("taken off the bus: the account's settings and statuses (compacted topics: tombstones were published)")
    report_out_of_reach(left, "the person's calendar")
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
