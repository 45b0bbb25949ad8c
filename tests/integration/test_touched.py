"""What becomes of an entry that its user changed, by the tenant's policy, on real engines."""

from typing import Any
from urllib.parse import quote

from calbus.store.touched import RESTORES_MAX_PER_HOUR
from schemas.changes import EntryEdited, EntryRemoved, EntryRescheduled
from schemas.results import Ending
from schemas.switches import Touched
from tests.integration.test_calendars import as_the_user
from tests.integration.test_series import daily, starts
from tests.support.waiting import until
from tests.support.world import Tenant, World


async def applied(tenant: Tenant, item: Any) -> None:
    await tenant.publish(item)
    assert (await tenant.outcome(item, "ann")).ending is Ending.APPLIED


async def starts_at(tenant: Tenant, hour: int, subject: str) -> None:
    """Wait until the only entry of the calendar begins at this hour of UTC, and says this."""

    async def look() -> bool:
        events = await tenant.calendar("ann")
        return [(event.start_utc.hour, event.subject) for event in events] == [(hour, subject)]

    await until(look, f"{subject} at {hour}")


async def move(tenant: Tenant, hour: int) -> None:
    """The user drags the only entry to this hour of UTC."""
    times = {
        name: {"dateTime": f"2026-12-01T{at:02}:00:00", "timeZone": "UTC"}
        for name, at in (("start", hour), ("end", hour + 1))
    }
    await edit(tenant, times)


async def edit(tenant: Tenant, changes: dict[str, Any]) -> None:
    [event] = await tenant.calendar("ann")
    await tenant.world.admin.user_edits(tenant.directory, tenant.mailbox("ann"), event.id, changes)


async def delete(tenant: Tenant) -> None:
    [event] = await tenant.calendar("ann")
    await tenant.world.admin.user_deletes(tenant.directory, tenant.mailbox("ann"), event.id)


async def test_report_leaves_it_until_the_next_revision_even_one_that_says_the_same(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant, world.puller():
        first = tenant.action("a1", "ann")
        await applied(tenant, first)
        await tenant.pulled("ann")
        await move(tenant, 14)
        await tenant.change("ann", EntryRescheduled)
        await tenant.publish(first)
        await tenant.pulled("ann")
        await starts_at(tenant, 14, "○ Do a1")
        await applied(tenant, tenant.action("a1", "ann"))
        await starts_at(tenant, 8, "○ Do a1")
        await tenant.pulled("ann")
        await delete(tenant)
        await tenant.change("ann", EntryRemoved)
        await tenant.publish(tenant.action("a1", "ann", revision=2))
        await tenant.pulled("ann")
        assert await tenant.calendar("ann") == []
        await applied(tenant, tenant.action("a1", "ann"))
        await starts_at(tenant, 8, "○ Do a1")
        await tenant.pulled("ann")
        assert len(tenant.changes("ann")) == 2


async def test_accept_keeps_the_users_times_until_upstream_changes_its_own(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant, world.puller():
        await tenant.set_tenant(touched=Touched.ACCEPT, assigning="anyone", backfill="all")
        await applied(tenant, tenant.action("a1", "ann"))
        await tenant.pulled("ann")
        await move(tenant, 14)
        await tenant.change("ann", EntryRescheduled)
        await tenant.pulled("ann")
        await starts_at(tenant, 14, "○ Do a1")
        await applied(tenant, tenant.action("a1", "ann", title="Well"))
        await starts_at(tenant, 14, "○ Well")
        await applied(tenant, tenant.action("a1", "ann", title="Well", start="2026-12-01T11:00:00"))
        await starts_at(tenant, 10, "○ Well")
        # Upstream's first times do not bring the user's back.
        await applied(tenant, tenant.action("a1", "ann", title="Well"))
        await starts_at(tenant, 8, "○ Well")
        await tenant.pulled("ann")
        assert len(tenant.changes("ann")) == 1


async def test_accept_keeps_the_removal_of_an_occurrence(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant, world.puller():
        await tenant.set_tenant(touched=Touched.ACCEPT, assigning="anyone", backfill="all")
        await applied(tenant, daily(tenant))
        await tenant.pulled("ann")
        [series] = await tenant.calendar("ann")
        day = quote(f"{series.id}", safe="")
        window = "startDateTime=2026-12-01T00:00:00&endDateTime=2026-12-31T00:00:00"
        shown = await as_the_user(tenant, "ann", "GET", f"events/{day}/instances?{window}")
        third = shown["value"][2]["id"]
        await world.admin.user_deletes(tenant.directory, tenant.mailbox("ann"), third)
        gone = await tenant.change("ann", EntryRemoved)
        assert gone.occurrence.isoformat() == "2026-12-03T08:00:00+00:00"
        await tenant.pulled("ann")
        left = [f"2026-12-0{number} 09:00" for number in (1, 2, 4, 5)]
        await applied(tenant, daily(tenant, title="Well"))
        await tenant.pulled("ann")
        assert await starts(tenant) == left
        # Upstream's own change wins, as it does over times.
        await applied(tenant, daily(tenant, title="Well", start="2026-12-01T10:00:00"))
        assert len(await starts(tenant)) == 5
        await tenant.pulled("ann")
        assert len(tenant.changes("ann")) == 1


async def test_restore_writes_it_again_and_does_not_fight_for_ever(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant, world.puller():
        await tenant.set_tenant(touched=Touched.RESTORE, assigning="anyone", backfill="all")
        await applied(tenant, tenant.action("a1", "ann"))
        await tenant.pulled("ann")
        await delete(tenant)
        await tenant.change("ann", EntryRemoved)
        await starts_at(tenant, 8, "○ Do a1")
        await tenant.pulled("ann")
        for number in range(1, RESTORES_MAX_PER_HOUR):
            await edit(tenant, {"subject": "Mine"})
            await tenant.change("ann", EntryEdited, number=number)
            await starts_at(tenant, 8, "○ Do a1")
            await tenant.pulled("ann")
        await edit(tenant, {"subject": "Mine"})
        await tenant.change("ann", EntryEdited, number=RESTORES_MAX_PER_HOUR)
        await tenant.pulled("ann")
        await starts_at(tenant, 8, "Mine")
        await applied(tenant, tenant.action("a1", "ann"))
        await starts_at(tenant, 8, "○ Do a1")
