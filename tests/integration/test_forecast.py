"""`calbus forecast` as an operator uses it: what it says is what then happens."""

from typing import Any
from uuid import uuid4

import orjson
import pytest

from tests.integration.test_commands import calbus
from tests.integration.test_replan_scale import PROJECTS, USERS, crowd_of
from tests.support.waiting import until
from tests.support.world import Tenant, World


async def forecast(tenant: Tenant, *options: str) -> Any:
    """The forecast as JSON."""
    code, out, err = await calbus("forecast", tenant.id, *options, "--json", **tenant.world.environment())
    assert (code, err) == (0, "")
    return orjson.loads(out)


async def test_a_forecast_is_what_then_happens(running: World) -> None:
    async with running.tenant("ann", "bob", enabled=False) as tenant:
        await tenant.set_project("garden", enabled=False)
        await tenant.settings_known(4)
        actions = [
            *(tenant.action(f"a{number}", "ann", title=f"Take {number}") for number in range(5)),
            *(tenant.action(f"b{number}", "bob", status="completed") for number in range(3)),
            tenant.action("both", "ann", "bob"),
            tenant.action("nobody", "stranger"),
            tenant.action("planless", "ann", start=None, duration=None),
            tenant.action("project", "bob", project="garden"),
            tenant.action("series", "ann", recurrence="RRULE:FREQ=DAILY;COUNT=3"),
        ]
        await tenant.publish(*actions)
        await tenant.outcome(actions[-1], "ann")

        off = await forecast(tenant)
        assert (off["fates"]["created"], off["calls_in_all"]) == (0, 0)
        assert off["not_written"]["tenant_not_enabled"] == 14
        # Everything is from before the activation, which would be now.
        assert (await forecast(tenant, "--enable"))["not_written"]["before_activation"] == 11

        told = await forecast(tenant, "--enable", "--backfill", "all")
        assert told["fates"] == {"created": 11, "changed": 0, "removed": 0, "unchanged": 0, "not_written": 3}
        assert told["not_written"] == {"no_account": 1, "no_start": 1, "project_not_enabled": 1}
        assert (told["mailboxes"], told["accounts_activated"]) == (2, 2)
        more = await forecast(tenant, "--enable", "--backfill", "all", "--project", "garden", "--account", "stranger")
        assert more["fates"]["created"] == 13

        await tenant.set_tenant(enabled=True, backfill="all")
        for action in actions[:9]:
            await tenant.outcome(action, action.assignees[0])

        async def settled() -> bool:
            rows = await running.fetch(
                "SELECT count(*) FILTER (WHERE reason = 'tenant_not_enabled' OR owed) FROM entry WHERE tenant = $1",
                tenant.id,
            )
            return rows[0][0] == 0

        await until(settled, "every entry to be settled")
        ledger = await running.admin.ledger(tenant.directory)
        happened = [entry.operation for entry in ledger.value]
        assert happened.count("create") == told["calls"]["create"] == 11
        assert len(await tenant.calendar("ann")) + len(await tenant.calendar("bob")) == 11

        after = await forecast(tenant)
        assert (after["fates"]["unchanged"], after["calls_in_all"]) == (11, 0)


async def test_what_it_says_in_words_and_of_whom_it_knows_nothing(running: World) -> None:
    async with running.tenant("ann", enabled=False) as tenant:
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        await tenant.outcome(action, "ann")
        environment = running.environment()
        code, out, err = await calbus("forecast", tenant.id, "--enable", "--backfill", "all", **environment)
        assert (code, err) == (0, "")
        assert "1 entries would be created" in " ".join(out.split())
        assert tenant.mailbox("ann") not in out
        unknown = f"t{uuid4().hex[:8]}"
        code, out, err = await calbus("forecast", unknown, **environment)
        assert (code, out) == (1, "")
        assert f"calbus knows no tenant {unknown}" in err


@pytest.mark.slow
@pytest.mark.timeout(1_200)
async def test_a_hundred_thousand_items_are_foretold_within_a_minute(world: World) -> None:
    import time

    async with crowd_of(world, 100_000) as crowd:
        begun_s = time.monotonic()
        told = await forecast(crowd.tenant, "--enable")
        seconds = time.monotonic() - begun_s
        print(f"\n100,000 items foretold in {seconds:.1f} s")  # noqa: T201
        assert told["fates"]["created"] == 100_000
        assert (told["mailboxes"], PROJECTS) == (USERS, 10)
        assert seconds < 60
