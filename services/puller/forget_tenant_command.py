"""`calbus forget-tenant TENANT`: takes out what calbus keeps of a tenant that has left.

The order is that of `calbus forget-user`, for the same reason: whatever breaks off is taken up by running it again.
What is found by its mailbox goes before the settings do, which tell whose that is.
"""

import time
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import asyncpg
import typer

from calbus.bus.publish import Message
from calbus.command import CommandError, command_of
from calbus.lifecycle import EXIT_USAGE
from calbus.store import departure
from calbus.store.departure import Cursor, Mailboxes, SwitchedOnError
from calbus.telemetry import configure_logging
from schemas.events import Topic
from schemas.results import Way
from schemas.switches import Scope
from services.puller.forgetting import (
    WAIT_DEFAULT_S,
    ForgetSettings,
    Forgetting,
    out,
    report,
    report_out_of_reach,
    run_command,
)


def forget(settings: ForgetSettings, tenant: str, leave: bool | None = None, wait_s: int | None = None) -> None:
    """Forget a tenant that has left: take out all that calbus keeps of it. No account of it may be allowed any more.

    Entries that stand in calendars are left there if you say --leave; to have them removed, unlink the accounts so, and
    wait. Ingest must be running. Safe to run again.
    """
    patience_s = WAIT_DEFAULT_S if wait_s is None else wait_s

    async def forgets(pool: asyncpg.Pool) -> None:
        await _Leaving(settings, pool, tenant, time.monotonic() + patience_s).run(leave=bool(leave))

    # A large tenant takes as long as it takes.
    run_command(settings, forgets, None)


class _Leaving(Forgetting):
    """One run of the command."""

    def __init__(self, settings: ForgetSettings, pool: asyncpg.Pool, tenant: str, deadline_s: float) -> None:
        super().__init__(settings, pool, deadline_s)
        self._tenant = tenant

    async def run(self, *, leave: bool) -> None:
        """All of it, in order."""
        left = await self._refuse_if_too_early(leave=leave)
        mailboxes = await departure.mailboxes_of(self.pool, self._tenant)
        told_of = await departure.told_of(self.pool, self._tenant)
        seen = await departure.stop_pulling(self.pool, self._tenant, mailboxes.lanes, datetime.now(UTC))
        taken_back = await self.take_back(mailboxes.lanes)
        counts = Counter(await self.in_transaction(lambda one: departure.erase_mailboxes(one, mailboxes)))
        keys = [self._key(scope, name) for scope, name in await departure.settings_of(self.pool, self._tenant)]
        await self.publish(*((Topic.SETTINGS, key, None) for key in keys))
        await self.until(self._is_planned, "ingest to take the end of the tenant in: is it running?")
        # Before, lest nobody knows of whom to tell when this breaks off; after, lest the relay has the last word.
        await self.publish(*self._ends_of(told_of))
        await self._erase(mailboxes, counts)
        await self.publish(*self._ends_of(told_of))
        counts.update({"events seen in calendars": seen, "subscriptions": taken_back})
        report(counts, "nothing was kept of this tenant")
        out.print("taken off the bus: settings and statuses (compacted topics: tombstones were published)")
        report_out_of_reach(left, "people's calendars")
        out.print("- backups of PostgreSQL, and logs (which name the tenant and users' ids)")
        out.print("- upstream: an item that is published again is answered `tenant_not_enabled`, and kept")

    async def _refuse_if_too_early(self, *, leave: bool) -> int:
        """How many entries stay in calendars. Raises CommandError if nobody asked for that, or accounts are allowed."""
        work = await departure.work_for(self.pool, self._tenant)
        if work.allowed:
            raise CommandError(
                f"{work.allowed} accounts of {self._tenant} are still allowed, so nothing was forgotten. Whose move: "
                "upstream, which unlinks them first (calbus.account.unlinked.v1)",
                EXIT_USAGE,
            )
        if work.standing and not leave:
            raise CommandError(
                f"{work.standing} entries stand in calendars: unlink their accounts with `entries: remove` and wait, "
                "or say --leave. Once they are forgotten, calbus can no longer remove them",
                EXIT_USAGE,
            )
        return work.standing

    async def _is_planned(self) -> bool:
        return await departure.is_settled(self.pool, self._tenant)

    async def _erase(self, mailboxes: Mailboxes, counts: Counter[str]) -> None:
        """A chunk at a time, then the rest, so that settings tell to the end that the tenant was here."""
        try:
            for table in departure.LARGE:
                after = Cursor()
                while chunk := await self.in_transaction(
                    partial(departure.erase_chunk, tenant=self._tenant, table=table, after=after)
                ):
                    gone, after = chunk
                    counts[table] += gone
            counts.update(await self.in_transaction(lambda one: departure.erase_rest(one, self._tenant, mailboxes)))
        except SwitchedOnError:
            gone_by_then = " and ".join(f"{counts[table]:,} {table}" for table in departure.LARGE)
            raise CommandError(
                f"the tenant was set up again meanwhile: {gone_by_then} were forgotten by then, and what was left "
                "stays. Whose move: upstream, which publishes its items again"
            ) from None

    def _key(self, scope: str, name: str) -> bytes:
        of = self._tenant if scope == Scope.TENANT else f"{self._tenant}/{name}"
        return f"{scope}/{of}".encode()

    def _ends_of(self, told_of: list[str]) -> list[Message]:
        """Tombstones for the statuses of these users, '' being the tenant as a whole."""
        keys = [self._key(Scope.ACCOUNT if name else Scope.TENANT, name) for name in told_of]
        return [(Topic.ACCOUNT_STATUS, key + b"/" + way.encode(), None) for key in keys for way in Way]


command = command_of(
    "forget-tenant",
    ForgetSettings,
    forget,
    configure_logging,
    tenant=Annotated[str, typer.Argument(help="The tenant, as its settings name it.")],
    leave=Annotated[bool | None, typer.Option("--leave", help="Entries that stand stay, and are nobody's.")],
    wait_s=Annotated[int | None, typer.Option("--wait-s", help="Wait no longer than so many seconds: 300.", min=0)],
)
