"""What a turn may still write when its lease, or what the settings want, was lost under it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest

from calbus.store import pulls
from calbus.store.pulls import LeaseLostError, Pull
from tests.support.waiting import until
from tests.support.world import Tenant, World

HOUR_S = 3_600.0


async def follow(tenant: Tenant, pool: asyncpg.Pool, **fields: Any) -> None:
    """The account's settings are these, and the calendars that are pulled follow."""
    account = tenant.account("ann", **{"direction": "down", **fields})
    await tenant.publish(account)

    async def known() -> bool:
        rows = await tenant.world.fetch(
            "SELECT FROM setting WHERE tenant = $1 AND scope = 'account' AND revision = $2", tenant.id, account.revision
        )
        return bool(rows)

    await until(known, "the settings to be stored")
    await pulls.keep_in_step(pool)


@asynccontextmanager
async def one_calendar(world: World) -> AsyncIterator[tuple[Tenant, asyncpg.Pool, Pull]]:
    """A calendar whose mailbox `me` has the lease of, for an hour."""
    async with world.ingest(), world.tenant("ann") as tenant, asyncpg.create_pool(world.dsn, min_size=1) as pool:
        await follow(tenant, pool)
        [claimed] = await pulls.claim(pool, "me", lease_s=HOUR_S, limit=8)
        [pull] = await pulls.due_of(pool, claimed.lane, 8)
        yield tenant, pool, pull


async def holds(pool: asyncpg.Pool, owner: str, pull: Pull) -> bool:
    async with pool.acquire() as connection, connection.transaction():
        try:
            await pulls.hold(connection, owner, pull)
        except LeaseLostError:
            return False
        return True


@pytest.mark.parametrize(
    "fields", [{"direction": "none"}, {"blocked": True}, {"direction": "up"}, {"detail": "full"}], ids=str
)
async def test_a_turn_ends_when_the_settings_no_longer_want_what_it_was_begun_for(
    world: World, fields: dict[str, Any]
) -> None:
    async with one_calendar(world) as (tenant, pool, pull):
        assert await holds(pool, "me", pull)
        assert not await holds(pool, "somebody else", pull)
        await follow(tenant, pool, **fields)
        assert not await holds(pool, "me", pull)


async def test_a_missed_notification_between_look_and_round_is_not_forgotten(world: World) -> None:
    async with one_calendar(world) as (tenant, pool, pull):
        await pulls.ask(pool, tenant.id, "ann", full=True)
        async with pool.acquire() as connection:
            under_way = await pulls.begin(connection, pull)
            await pulls.finish(connection, under_way, HOUR_S)
        [again] = await pulls.due_of(pool, pull.place.lane, 8)
        assert again.full_asked


@pytest.mark.parametrize(("soonest_s", "is_due"), [(0.0, True), (HOUR_S, False)])
async def test_what_is_asked_for_while_a_turn_fails_is_tried_as_soon_as_it_may_be(
    world: World, soonest_s: float, is_due: bool
) -> None:
    async with one_calendar(world) as (tenant, pool, pull):
        await pulls.ask(pool, tenant.id, "ann")
        await pulls.put_off(pool, pull, HOUR_S, soonest_s=soonest_s, failures=1, error="access_denied")
        assert bool(await pulls.due_of(pool, pull.place.lane, 8)) is is_due
        [again] = await world.fetch("SELECT due_at FROM calendar_pull")
        assert again["due_at"].astimezone(UTC) > datetime.now(UTC) or is_due
