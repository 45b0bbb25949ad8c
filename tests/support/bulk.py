"""Many items of one tenant, stored as ingest stores them, and settled as writers do; without Kafka and Graph."""

from datetime import UTC, datetime

import asyncpg

from calbus.store import switches
from schemas.items import ActionUpserted
from schemas.switches import SettingsEvent
from services.ingest.breaker import Thresholds
from services.ingest.handler import store
from services.ingest.intake import arrival_of
from tests.support.world import Tenant, World

BATCH_ITEMS = 1_000

# What stands as it is desired. Events' ids are as long as Graph's.
_SETTLE = """
UPDATE entry SET
    applied_plan = plan, applied_directory = directory, applied_mailbox = mailbox, applied_calendar = calendar,
    applied_hash = content_hash, applied_at = now(), owed = false, due_at = NULL, write_version = write_version + 1,
    event_id = 'AAMkAGI1' || repeat(md5(entry_id::text), 4) || 'AAA=',
    etag = 'W/"' || left(md5(entry_id::text), 24) || '"'
WHERE tenant = $1 AND intent = 'present'
"""


async def set_settings(world: World, *settings: SettingsEvent) -> None:
    """Store settings as ingest does, without the re-plans that they ask for."""
    connection = await asyncpg.connect(world.dsn)
    try:
        async with connection.transaction():
            for one in settings:
                await switches.change(connection, switches.key_of(one), one, datetime.now(UTC))
            await connection.execute("DELETE FROM replan")
    finally:
        await connection.close()


def many(tenant: Tenant, count: int, *, users: int, projects: int) -> list[ActionUpserted]:
    """Actions of a usual size: each of one user, made by another, in turn with a project and without."""
    text = "Bring the long ladder, the paint and what is left of the primer. The key is with the neighbours. "
    return [
        tenant.action(
            f"item-{number:06}",
            f"user-{number % users:03}",
            title=f"Paint window frame {number} on the north side",
            description=text * 3,
            start=f"2027-{1 + number % 12:02}-{1 + number % 28:02}T{8 + number % 9:02}:00:00",
            # Every other item keeps its own zone; the rest follows the tenant's.
            time_zone="Europe/London" if number % 2 else None,
            project=f"project-{number % projects:02}" if number % 3 else None,
            owner=f"user-{(number + 1) % users:03}",
            place="North side",
        )
        for number in range(count)
    ]


async def store_items(world: World, actions: list[ActionUpserted]) -> None:
    """Plan and store them as ingest does; their outcomes count as published."""
    connection = await asyncpg.connect(world.dsn)
    try:
        for at in range(0, len(actions), BATCH_ITEMS):
            now = datetime.now(UTC)
            arrivals = [arrival_of(action, now) for action in actions[at : at + BATCH_ITEMS]]
            async with connection.transaction():
                await store(connection, arrivals, Thresholds(), now)
                await connection.execute("DELETE FROM outbox")
    finally:
        await connection.close()


async def settle(world: World, tenant: str) -> None:
    """Have every entry that should stand in a calendar stand there."""
    connection = await asyncpg.connect(world.dsn)
    try:
        await connection.execute(_SETTLE, tenant)
    finally:
        await connection.close()
