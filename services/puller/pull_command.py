"""`calbus pull`: asks for a mailbox or a user to be pulled now, and tells how far it is until it was."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import asyncpg
import orjson
import typer
from aiokafka.errors import KafkaError
from rich.console import Console

from calbus.bus.publish import PublishError, key_of, publish
from calbus.command import command_of
from calbus.lifecycle import EXIT_FAILURE, EXIT_USAGE, at_most
from calbus.settings import KafkaSettings, PostgresSettings, SettingsError
from calbus.store.pool import WRONG_DSN
from calbus.store.pulls import Progress, progress
from calbus.telemetry import configure_logging
from schemas.events import TYPE_NAMES, Topic
from schemas.results import SyncRequested

KAFKA_TIMEOUT_S = 30.0
POSTGRES_TIMEOUT_S = 30.0
LOOK_INTERVAL_S = 0.5
WAIT_DEFAULT_S = 120

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class PullSettings(KafkaSettings, PostgresSettings):
    """Settings of `calbus pull`."""


class _CommandError(Exception):
    """Ends the command with a sentence that says whose move it is."""

    def __init__(self, sentence: str, code: int = EXIT_FAILURE) -> None:
        super().__init__(sentence)
        self.code = code


def pull(settings: PullSettings, who: str, tenant: str | None = None, wait_s: int | None = None) -> None:
    """Pull a mailbox's or a user's calendars now, instead of when they are due."""
    try:
        asyncio.run(_pull(settings, who, tenant, WAIT_DEFAULT_S if wait_s is None else wait_s))
    except _CommandError as fault:
        err.print(str(fault), style="red", soft_wrap=True, markup=False)
        raise typer.Exit(fault.code) from None


async def _pull(settings: PullSettings, who: str, tenant: str | None, wait_s: int) -> None:
    connection = await _connect(settings)
    try:
        found = await _look(connection, who, tenant)
        if not found:
            raise _CommandError(
                "no calendar of this mailbox or user is pulled: its account must be allowed, and its direction be down "
                "or both, or entries stand in its calendar. New settings take some seconds.",
                EXIT_USAGE,
            )
        # Asked for by the database's clock, which is the one that rounds are timed by.
        asked_at = await connection.fetchval("SELECT clock_timestamp()")
        for request in sorted({SyncRequested(tenant=one.tenant, user=one.user) for one in found}, key=str):
            await _publish(settings, request)
        out.print(f"asked for {len(found)} calendars")
        await _follow(connection, who, tenant, asked_at, time.monotonic() + wait_s)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _CommandError(f"PostgreSQL (CALBUS_POSTGRES_DSN): {str(error) or type(error).__name__}") from None
    finally:
        await connection.close()


async def _follow(
    connection: "asyncpg.Connection[asyncpg.Record]",
    who: str,
    tenant: str | None,
    asked_at: datetime,
    deadline_s: float,
) -> None:
    told: dict[tuple[str, str, str], str] = {}
    while True:
        found = await _look(connection, who, tenant)
        for one in found:
            line = _line(one, asked_at)
            name = (one.tenant, one.user, one.calendar)
            if told.get(name) != line:
                told[name] = line
                out.print(f"{'/'.join(name).rstrip('/')}: {line}", markup=False, soft_wrap=True)
        if all(_is_done(one, asked_at) for one in found):
            return
        if time.monotonic() > deadline_s:
            raise _CommandError("not yet done: is a puller running? It goes on without this command")
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


async def _connect(settings: PullSettings) -> "asyncpg.Connection[asyncpg.Record]":
    try:
        return await asyncpg.connect(settings.postgres_dsn.get_secret_value(), timeout=POSTGRES_TIMEOUT_S)
    except (ValueError, asyncpg.ClientConfigurationError):
        raise SettingsError(WRONG_DSN) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise _CommandError(f"PostgreSQL (CALBUS_POSTGRES_DSN): {str(error) or type(error).__name__}") from None


async def _look(connection: "asyncpg.Connection[asyncpg.Record]", who: str, tenant: str | None) -> list[Progress]:
    try:
        return await progress(connection, who, tenant)
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError):
        raise SettingsError("The database's schema is too old for this version of calbus: run `calbus migrate`.") from (
            None
        )


async def _publish(settings: KafkaSettings, request: SyncRequested) -> None:
    envelope = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": "/calbus/pull",
        "type": TYPE_NAMES[SyncRequested],
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        "data": request.model_dump(mode="json"),
    }
    message = (Topic.REQUESTS, key_of(request).encode(), orjson.dumps(envelope))
    try:
        await at_most(KAFKA_TIMEOUT_S, publish(settings, [message]))
    except TimeoutError:
        raise _CommandError(
            f"Kafka (CALBUS_KAFKA_BOOTSTRAP={settings.kafka_bootstrap}) did not answer for {KAFKA_TIMEOUT_S:.0f} s"
        ) from None
    except (OSError, KafkaError, PublishError) as error:
        raise _CommandError(f"Kafka (CALBUS_KAFKA_BOOTSTRAP): {error}") from None


command = command_of(
    "pull",
    PullSettings,
    pull,
    configure_logging,
    who=Annotated[str, typer.Argument(metavar="MAILBOX_OR_USER", help="A mailbox's address, or a user's id.")],
    tenant=Annotated[str | None, typer.Option("--tenant", help="Only in this tenant.")],
    wait_s=Annotated[int | None, typer.Option("--wait-s", help="Wait no longer than so many seconds: 120.", min=0)],
)
