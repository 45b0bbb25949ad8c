"""What changes of settings leave in the database: when an account is activated, and who waits for whose locks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from calbus.store import accounts, switches
from calbus.store.migrate import migrations
from schemas.switches import AccountSettings, SettingsEvent, TenantSettings
from tests.support.waiting import until
from tests.support.world import World

EARLIER = datetime(2026, 11, 20, 9, tzinfo=UTC)
LATER = EARLIER + timedelta(hours=1)
# Whoever waits for a lock in these tests would wait for ever.
WAIT_MAX_S = 10.0


def tenant(name: str = "t", revision: int = 1, *, enabled: bool = True) -> TenantSettings:
    return TenantSettings(tenant=name, revision=revision, enabled=enabled, directory="contoso.example")


def account(user: str = "ann", revision: int = 1) -> AccountSettings:
    return AccountSettings(tenant="t", user=user, revision=revision, mailbox=f"{user}@contoso.example", allowed=True)


@asynccontextmanager
async def connected(world: World) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(world.dsn)
    try:
        yield connection
    finally:
        await connection.close()


async def change(connection: asyncpg.Connection, settings: SettingsEvent, published_at: datetime) -> None:
    await switches.change(connection, switches.key_of(settings), settings, published_at)


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([(tenant(), EARLIER), (account(), LATER)], id="in order"),
        pytest.param([(account(), LATER), (tenant(), EARLIER)], id="the account's first"),
        pytest.param([(tenant(), LATER), (account(), EARLIER)], id="the tenant's first"),
        pytest.param([(account(), EARLIER), (tenant(), LATER)], id="the tenant's later"),
        pytest.param(
            [(tenant(), LATER), (tenant(revision=2), LATER + timedelta(days=1)), (account(), EARLIER)],
            id="on all the time",
        ),
        pytest.param(
            [
                (tenant(), EARLIER),
                (tenant(revision=2, enabled=False), EARLIER),
                (tenant(revision=3), LATER),
                (account(), EARLIER),
            ],
            id="off for a while",
        ),
    ],
)
async def test_an_account_is_activated_when_the_later_of_both_was_switched_on(
    world: World, messages: list[tuple[SettingsEvent, datetime]]
) -> None:
    async with connected(world) as connection:
        for settings, published_at in messages:
            async with connection.transaction():
                await change(connection, settings, published_at)
        assert await connection.fetchval("SELECT activated_at FROM activation WHERE name = 'ann'") == LATER


async def test_a_re_plan_waits_for_no_settings_that_are_being_changed(world: World) -> None:
    async with connected(world) as one, connected(world) as other:
        for name in ("t", "u"):
            async with one.transaction():
                await change(one, tenant(name), EARLIER)
        async with one.transaction():
            # The re-plan that waited longest is of this tenant.
            await change(one, tenant("t", 2), LATER)
            async with asyncio.timeout(WAIT_MAX_S), other.transaction():
                replan = await switches.next_replan(other)
                assert replan is not None
                assert replan.setting.tenant == "u"
                # What is held of the tenant that was passed over would be waited for here.
                async with asyncio.timeout(WAIT_MAX_S):
                    await change(one, tenant("s"), LATER)
        async with other.transaction():
            replan = await switches.next_replan(other)
            assert replan is not None
            assert replan.setting.tenant == "t"


async def test_a_changed_tenant_locks_the_status_of_its_accounts_in_order(world: World) -> None:
    async with connected(world) as judge, connected(world) as changing:
        for user in ("bob", "ann"):
            await judge.execute(
                "INSERT INTO account_status (tenant, assignee, reason, since, probe_at)"
                " VALUES ('t', $1, 'mailbox_unknown', now(), now())",
                user,
            )
        async with judge.transaction():
            await accounts.lock(judge, [accounts.Account("t", "ann")])
            process = changing.get_server_pid()
            probing = asyncio.create_task(accounts.probe_at_once(changing, "t", ""))

            async def waits() -> bool:
                rows = await world.fetch("SELECT true FROM pg_locks WHERE pid = $1 AND NOT granted", process)
                return bool(rows)

            await until(waits, "the change to wait for the first account")
            await judge.execute("SELECT FROM account_status WHERE assignee = 'bob' FOR UPDATE NOWAIT")
        await asyncio.wait_for(probing, WAIT_MAX_S)


async def test_owners_of_items_from_before_they_were_kept_are_filled_in(world: World) -> None:
    [step] = [one for one in migrations() if one.number == 12]
    async with connected(world) as connection:
        await connection.execute("ALTER TABLE setting DROP COLUMN on_since")
        await connection.executemany(
            "INSERT INTO item (tenant, source, kind, id, revision, content_hash, body) VALUES"
            " ('t', 's', 'action', $1, 1, '', $2)",
            [("owned", '{"owner": "olga"}'), ("nobody's", '{"owner": null}'), ("without", "{}"), ("deleted", None)],
        )
        await connection.execute(step.sql)
        owners = {row["id"]: row["owner"] for row in await connection.fetch("SELECT id, owner FROM item")}
    assert owners == {"owned": "olga", "nobody's": None, "without": None, "deleted": None}
