"""From a user's hand to the bus through the webhook: the whole puller, whose own interval is an hour away.

What is told here within seconds can have been told by a notification only. What notices are worth by themselves, and
how subscriptions are kept, is in test_subscriptions.py.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from calbus.entry import Place
from schemas.changes import AppointmentUpserted, EntryRescheduled
from schemas.results import Ending
from simulator.client import Fate, Switches
from tests.support.waiting import until
from tests.support.world import Tenant, World, _free_port

HOUR_S = 3_600.0
SOON_S = 15.0
"""Longer than a slow machine takes; how much shorter it is than the interval is what counts."""


@asynccontextmanager
async def notified(world: World) -> AsyncIterator[None]:
    """A puller that Microsoft can reach, and that by itself looks once an hour."""
    port = _free_port()
    async with world.puller(
        puller_busy_interval_s=HOUR_S,
        puller_idle_interval_s=HOUR_S,
        puller_public_url=f"http://127.0.0.1:{port}/hooks",
        puller_webhook_port=port,
        puller_subscription_interval_s=0.05,
        puller_subscription_follow_s=0.05,
    ):
        yield


async def at_rest(tenant: Tenant, user: str, *, other_than: str | None = None) -> str:
    """Wait until the mailbox has its subscription, and is looked at no more in the next half hour; gives its id."""

    async def look() -> str | None:
        rows = await tenant.world.fetch(
            "SELECT s.subscription_id FROM mailbox_subscription s WHERE lane = $1 AND NOT in_doubt "
            "AND subscription_id IS DISTINCT FROM $2 AND NOT EXISTS (SELECT FROM calendar_pull p "
            "WHERE p.lane = s.lane AND (pulled_at IS NULL OR full_asked OR due_at < now() + interval '30 minutes'))",
            Place(tenant.directory, tenant.mailbox(user)).lane,
            other_than,
        )
        return rows[0]["subscription_id"] if rows else None

    found = await until(look, f"the subscription of {user}, and a rest")
    assert found is not None
    return found


@asynccontextmanager
async def reading(world: World) -> AsyncIterator[Tenant]:
    """Ann, whose entries go up and whose own appointments come down; one of each stands, and has been told."""
    async with world.ingest(), world.tenant("ann") as tenant:
        async with world.writer():
            await tenant.publish(tenant.account("ann", direction="both", detail="full"))
            action = tenant.action("a1", "ann", start=f"{await _day(tenant)}T09:00:00")
            await tenant.publish(action)
            assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED
        async with notified(world):
            assert (await tenant.change("ann", AppointmentUpserted)).subject == "Dentist"
            await at_rest(tenant, "ann")
            yield tenant


async def _day(tenant: Tenant) -> str:
    """The day of an appointment that Ann makes."""
    return (await tenant.appointment("ann", "Dentist", day=3, hour=15)).start.date().isoformat()


async def move(tenant: Tenant, hour: int) -> None:
    """Ann drags the entry to another hour of its day."""
    [event] = [event for event in await tenant.calendar("ann") if event.subject == "○ Do a1"]
    start, end = event.start.replace(hour=hour), event.end.replace(hour=hour + 1)
    zone = event.start_time_zone
    await tenant.world.admin.user_moves(tenant.directory, tenant.mailbox("ann"), event.id, start, end, zone)


async def rename(tenant: Tenant, subject: str) -> None:
    """Ann renames her own appointment."""
    [event] = [event for event in await tenant.calendar("ann") if event.subject != "○ Do a1"]
    changes = {"subject": subject}
    await tenant.world.admin.user_edits(tenant.directory, tenant.mailbox("ann"), event.id, changes)


async def told(tenant: Tenant, kind: type[Any], number: int) -> Any:
    return await tenant.change("ann", kind, number=number, timeout_s=SOON_S)


async def test_what_a_user_does_is_told_because_microsoft_said_so(world: World) -> None:
    async with reading(world) as tenant:
        await move(tenant, 11)
        moved = await told(tenant, EntryRescheduled, 1)
        assert (moved.id, moved.entry_id) == ("a1", tenant.entry_id("a1", "ann"))
        await rename(tenant, "Doctor")
        assert (await told(tenant, AppointmentUpserted, 2)).subject == "Doctor"
        await tenant.appointment("ann", "Swim", day=4)
        assert (await told(tenant, AppointmentUpserted, 3)).subject == "Swim"
        await at_rest(tenant, "ann")
        assert len(tenant.changes("ann")) == 4
        deliveries = (await world.admin.deliveries(tenant.directory, kind="notification")).value
        assert deliveries
        assert {one.fate for one in deliveries} == {Fate.DELIVERED}
        assert not any((await tenant.stats()).violations.values())


@pytest.mark.parametrize("said", ["missed", "reauthorizationRequired", "subscriptionRemoved"])
async def test_what_microsoft_says_of_a_subscription_brings_what_it_did_not_tell(world: World, said: str) -> None:
    async with reading(world) as tenant:
        subscription_id = await at_rest(tenant, "ann")
        await world.admin.switch_notifications(tenant.directory, Switches(lose=1.0))
        await move(tenant, 11)
        await rename(tenant, "Doctor")
        await until(lambda: _lost(tenant, 2), "the notifications to be lost")
        assert await at_rest(tenant, "ann") == subscription_id
        assert len(tenant.changes("ann")) == 1
        await world.admin.switch_notifications(tenant.directory, Switches())

        [[rounds]] = await world.fetch("SELECT round FROM calendar_pull")
        await world.admin.tell_lifecycle(tenant.directory, subscription_id, said)
        await told(tenant, EntryRescheduled, 1)
        assert (await told(tenant, AppointmentUpserted, 2)).subject == "Doctor"

        gone = subscription_id if said == "subscriptionRemoved" else None
        now = await at_rest(tenant, "ann", other_than=gone)
        assert (now == subscription_id) == (gone is None)
        [[rounds_now]] = await world.fetch("SELECT round FROM calendar_pull")
        assert rounds_now - rounds == (1 if said == "missed" else 0), "only what was missed asks for a full round"
        if said == "reauthorizationRequired":
            await until(lambda: _renewed(tenant), "the subscription to be authorised anew")
        # From here on changes are heard of again.
        await rename(tenant, "Surgeon")
        assert (await told(tenant, AppointmentUpserted, 3)).subject == "Surgeon"
        await at_rest(tenant, "ann")
        assert len(tenant.changes("ann")) == 4
        assert not any((await tenant.stats()).violations.values())


async def _lost(tenant: Tenant, number: int) -> bool:
    page = await tenant.world.admin.deliveries(tenant.directory, kind="notification", fate=Fate.LOST)
    return len(page.value) >= number


async def _renewed(tenant: Tenant) -> bool:
    page = await tenant.world.admin.ledger(tenant.directory, operation="update_subscription", status=200)
    return bool(page.value)
