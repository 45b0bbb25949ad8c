"""`calbus pull`: asks for a mailbox or a user to be pulled now, and tells how far it is until it was."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console

from calbus.bus.asking import message_of, publish_all
from calbus.command import CommandError, command_of
from calbus.lifecycle import EXIT_USAGE
from calbus.settings import KafkaSettings, PostgresSettings
from calbus.store.asking import one_connection
from calbus.store.connection import Connection
from calbus.store.pulls import Progress, progress
from calbus.telemetry import configure_logging
from schemas.results import SyncRequested

LOOK_INTERVAL_S = 0.5
WAIT_DEFAULT_S = 120

out = Console(highlight=False)


class PullSettings(KafkaSettings, PostgresSettings):
    """Settings of `calbus pull`."""


def pull(settings: PullSettings, who: str, tenant: str | None = None, wait_s: int | None = None) -> None:
    """Pull a mailbox's or a user's calendars now, instead of when they are due."""
    asyncio.run(_pull(settings, who, tenant, WAIT_DEFAULT_S if wait_s is None else wait_s))


async def _pull(settings: PullSettings, who: str, tenant: str | None, wait_s: int) -> None:
    async with one_connection(settings) as connection:
        found = await progress(connection, who, tenant)
        if not found:
            raise CommandError(
                "no calendar of this mailbox or user is pulled: its account must be allowed, and its direction be down "
                "or both, or entries stand in its calendar. New settings take some seconds.",
                EXIT_USAGE,
            )
        # Asked for by the database's clock, which is the one that rounds are timed by.
        asked_at = await connection.fetchval("SELECT clock_timestamp()")
        wanted = sorted({SyncRequested(tenant=one.tenant, user=one.user) for one in found}, key=str)
        await publish_all(settings, [message_of(request, "pull") for request in wanted])
        out.print(f"asked for {len(found)} calendars")
        await _follow(connection, who, tenant, asked_at, time.monotonic() + wait_s)


async def _follow(
    connection: Connection,
    who: str,
    tenant: str | None,
    asked_at: datetime,
    deadline_s: float,
) -> None:
    told: dict[tuple[str, str, str], str] = {}
    while True:
        found = await progress(connection, who, tenant)
        for one in found:
            line = _line(one, asked_at)
            name = (one.tenant, one.user, one.calendar)
            if told.get(name) != line:
                told[name] = line
                out.print(f"{'/'.join(name).rstrip('/')}: {line}", markup=False, soft_wrap=True)
        if all(_is_done(one, asked_at) for one in found):
            return
        if time.monotonic() > deadline_s:
            raise CommandError("not yet done: is a puller running? It goes on without this command")
        await asyncio.sleep(LOOK_INTERVAL_S)


def _is_done(one: Progress, asked_at: datetime) -> bool:
    """Whether a round began after the question, and was finished."""
    return one.began_at is not None and one.pulled_at is not None and one.pulled_at >= one.began_at >= asked_at


def _line(one: Progress, asked_at: datetime) -> str:
    if _is_done(one, asked_at):
        assert one.pulled_at is not None
        done_at = one.pulled_at.astimezone(UTC).isoformat(" ", "seconds")
        return f"done at {done_at}: {one.items} events on {one.pages} pages"
    if one.last_error is not None:
        return f"waits, after {one.last_error}"
    if one.under_way:
        return f"{one.items} events on {one.pages} pages so far"
    return "waits for its turn"


command = command_of(
    "pull",
    PullSettings,
    pull,
    configure_logging,
    who=Annotated[str, typer.Argument(metavar="MAILBOX_OR_USER", help="A mailbox's address, or a user's id.")],
    tenant=Annotated[str | None, typer.Option("--tenant", help="Only in this tenant.")],
    wait_s=Annotated[int | None, typer.Option("--wait-s", help="Wait no longer than so many seconds: 120.", min=0)],
)
