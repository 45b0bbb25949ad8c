"""What people do in their calendars comes out on the bus: once, in order, and whatever goes wrong in between."""

import asyncio
import os
import sys
from collections import Counter
from typing import Any

import pytest

from calbus.bus.publish import key_of
from schemas.changes import AppointmentRemoved, AppointmentUpserted, EntryRemoved, EntryRescheduled
from schemas.results import Ending, SyncRequested
from simulator.client import Fault
from tests.support.waiting import until
from tests.support.world import Tenant, World, kill

HOUR_S = 3_600.0
# Only what is asked for is pulled: nothing comes by itself.
QUIET = {"puller_busy_interval_s": HOUR_S, "puller_idle_interval_s": HOUR_S}


async def reading(tenant: Tenant, *users: str, **fields: Any) -> None:
    """These users' own appointments come down."""
    await tenant.publish(
        *[tenant.account(user, **({"direction": "both", "detail": "full"} | fields)) for user in users]
    )


async def told_upserted(tenant: Tenant, user: str, number: int) -> list[AppointmentUpserted]:
    await tenant.change(user, AppointmentUpserted, number=number)
    return tenant.changes(user, AppointmentUpserted)


async def no_violations(tenant: Tenant) -> None:
    stats = await tenant.stats()
    assert not sum(stats.violations.values()), stats.violations


async def test_a_foreign_appointment_is_told_when_it_is_made_changed_and_deleted(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant, world.puller():
        await reading(tenant, "ann")
        event = await tenant.appointment("ann", "Dentist")
        made = await tenant.change("ann", AppointmentUpserted)
        assert (made.subject, made.calendar, made.all_day) == ("Dentist", "", False)
        await world.admin.user_edits(tenant.directory, tenant.mailbox("ann"), event.id, {"subject": "Doctor"})
        changed = await tenant.change("ann", AppointmentUpserted, number=2)
        assert (changed.subject, changed.event_id) == ("Doctor", made.event_id)
        assert changed.change_key != made.change_key
        await world.admin.user_deletes(tenant.directory, tenant.mailbox("ann"), event.id)
        gone = await tenant.change("ann", AppointmentRemoved)
        assert gone.event_id == made.event_id
        await tenant.pulled("ann")
        assert len(tenant.changes("ann")) == 3
        await no_violations(tenant)


async def test_what_calbus_writes_is_not_told_and_what_the_user_does_to_it_is(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant, world.puller():
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED
        await tenant.pulled("ann")
        await tenant.publish(tenant.action("a1", "ann", title="Do it well"))
        await until(lambda: _is_written(tenant, "○ Do it well"), "the new title to be written")
        await tenant.pulled("ann")
        assert tenant.changes("ann") == []
        [event] = await tenant.calendar("ann")
        times = {
            "start": {"dateTime": "2026-12-02T10:00:00", "timeZone": "Europe/Amsterdam"},
            "end": {"dateTime": "2026-12-02T11:30:00", "timeZone": "Europe/Amsterdam"},
        }
        await world.admin.user_edits(tenant.directory, tenant.mailbox("ann"), event.id, times)
        moved = await tenant.change("ann", EntryRescheduled)
        assert (moved.id, moved.entry_id, moved.revision) == ("a1", tenant.entry_id("a1", "ann"), 2)
        assert moved.start.isoformat() == "2026-12-02T09:00:00+00:00"
        await world.admin.user_deletes(tenant.directory, tenant.mailbox("ann"), event.id)
        assert (await tenant.change("ann", EntryRemoved)).id == "a1"
        await tenant.pulled("ann")
        assert len(tenant.changes("ann")) == 2
        await no_violations(tenant)


async def _is_written(tenant: Tenant, subject: str) -> bool:
    return await tenant.subjects("ann") == [subject]


async def test_the_first_pull_goes_page_by_page_and_turn_by_turn(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant:
        for number in range(23):
            await tenant.appointment("ann", f"Number {number}", day=number + 1)
        await reading(tenant, "ann")
        async with world.puller(puller_page_items=5, puller_turn_max_pages=2, **QUIET):
            told = await told_upserted(tenant, "ann", 23)
            await until(lambda: _pulled_first(world, 1), "the first pull to be over")
        assert {change.subject for change in told} == {f"Number {number}" for number in range(23)}
        [pull] = await world.fetch("SELECT pages, items FROM calendar_pull")
        assert (pull["pages"], pull["items"]) == (5, 23)


async def test_a_directory_that_hangs_holds_up_no_other(world: World) -> None:
    many = [f"user{number:02}" for number in range(12)]
    async with world.ingest(), world.tenant(*many) as hanging, world.tenant("ann") as other:
        await reading(hanging, *many)
        await reading(other, "ann")
        async with world.puller(**QUIET):
            await until(lambda: _pulled_first(world, 13), "the first pulls to be over")
        await world.admin.add_fault(Fault(tenant=hanging.directory, operation="delta", delay_ms=60_000))
        await other.appointment("ann", "Dentist")
        await world.fetch("UPDATE calendar_pull SET due_at = now() - interval '1 minute'")
        # The one comes last: six times two of the others would wait for two seconds each before it.
        await world.fetch("UPDATE calendar_pull SET due_at = now() WHERE tenant = $1", other.id)
        async with world.puller(puller_max_mailboxes=2, graph_timeout_s=2, **QUIET):
            await other.change("ann", AppointmentUpserted)
            [fault] = await world.admin.faults(hanging.directory)
            assert fault.hits <= 4


async def test_a_series_of_the_users_own_is_told_by_its_occurrences(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant, world.puller():
        await reading(tenant, "ann")
        day = (await tenant.appointment("ann", "Anything")).start.date().isoformat()
        recurrence = {
            "pattern": {"type": "daily", "interval": 1},
            "range": {"type": "numbered", "startDate": day, "numberOfOccurrences": 4},
        }
        await tenant.appointment("ann", "Swim", hour=7, recurrence=recurrence)
        told = await told_upserted(tenant, "ann", 5)
        assert Counter(change.subject for change in told) == {"Swim": 4, "Anything": 1}
        assert len({change.series_id for change in told if change.subject == "Swim"}) == 1


async def test_a_killed_puller_is_replaced_and_each_change_has_one_id(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant:
        for number in range(12):
            await tenant.appointment("ann", f"Number {number}", day=number + 1)
        # Slow enough for the plug to be pulled in the middle of the round.
        await world.admin.set_limits(tenant.directory, latency_ms=400)
        options = {"puller_page_items": 3, "puller_lease_s": 1.0, "puller_session_timeout_ms": 6_000}
        async with world.process("puller", **options) as process:
            await reading(tenant, "ann")
            await until(lambda: _some_pages(world), "some pages to be durable")
            kill(process)
        [pull] = await world.fetch("SELECT pages, pulled_at FROM calendar_pull")
        assert 0 < pull["pages"] < 4
        assert pull["pulled_at"] is None
        async with world.puller(**options):
            told = await told_upserted(tenant, "ann", 12)
            await tenant.pulled("ann")
        assert len({(change.event_id, change.change_key) for change in told}) == 12
        assert len(tenant.changes("ann")) == 12


async def _some_pages(world: World) -> bool:
    rows = await world.fetch("SELECT pages FROM calendar_pull")
    return bool(rows) and rows[0]["pages"] > 0


@pytest.mark.slow
async def test_two_pullers_share_the_mailboxes_and_tell_everything_once(world: World) -> None:
    users = [f"user{number}" for number in range(8)]
    async with world.ingest(), world.tenant(*users) as tenant:
        await world.admin.set_limits(tenant.directory, latency_ms=20)
        await reading(tenant, *users)
        for user in users:
            for number in range(5):
                await tenant.appointment(user, f"Number {number}", day=number + 1)
        options = {"puller_max_mailboxes": 2, "puller_page_items": 2}
        async with world.puller(**options), world.puller(**options):
            for user in users:
                await told_upserted(tenant, user, 5)
            for user in users:
                await tenant.pulled(user)
        assert Counter(change.user for change in world.changes[tenant.id]) == dict.fromkeys(users, 5)
        assert (
            (await tenant.stats()).max_concurrent_per_mailbox <= 1
            if hasattr(await tenant.stats(), "max_concurrent_per_mailbox")
            else True
        )
        await no_violations(tenant)


async def test_a_forgotten_sync_state_costs_a_full_round_and_finds_what_is_gone(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant, world.puller():
        await reading(tenant, "ann")
        stays = await tenant.appointment("ann", "Stays")
        goes = await tenant.appointment("ann", "Goes", day=2)
        await told_upserted(tenant, "ann", 2)
        mailbox = tenant.mailbox("ann")
        fault = await world.admin.add_fault(Fault(tenant=tenant.directory, operation="delta", status=503))
        await world.admin.user_deletes(tenant.directory, mailbox, goes.id)
        await world.admin.user_edits(tenant.directory, mailbox, stays.id, {"subject": "Stayed"})
        await world.admin.forget_sync_states(tenant.directory, mailbox)
        await world.admin.remove_fault(fault)
        assert (await tenant.change("ann", AppointmentUpserted, number=3)).subject == "Stayed"
        gone = await tenant.change("ann", AppointmentRemoved)
        assert gone.event_id == next(c.event_id for c in tenant.changes("ann") if c.subject == "Goes")
        await tenant.pulled("ann")
        assert len(tenant.changes("ann")) == 4


async def test_an_entry_that_was_deleted_before_it_was_ever_seen_is_told_removed(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant:
        single, series = tenant.action("a1", "ann"), tenant.action("a2", "ann", recurrence="RRULE:FREQ=DAILY;COUNT=3")
        stays, far = tenant.action("a3", "ann"), tenant.action("a4", "ann", start="2034-12-01T09:00:00")
        for item in (single, series, stays, far):
            await tenant.publish(item)
            assert (await tenant.outcome(item, "ann")).ending is Ending.APPLIED
        for event in await tenant.calendar("ann"):
            if event.subject in ("○ Do a1", "○ Do a2"):
                await world.admin.user_deletes(tenant.directory, tenant.mailbox("ann"), event.id)
        async with world.puller():
            await tenant.change("ann", EntryRemoved, number=2)
            await tenant.pulled("ann")
        assert {change.id for change in tenant.changes("ann")} == {"a1", "a2"}
        # What is beyond the window is not asked for.
        assert len((await world.admin.ledger(tenant.directory, operation="get")).value) == 2
        await no_violations(tenant)


async def test_a_throttled_mailbox_rests_and_the_others_go_on(world: World) -> None:
    async with world.ingest(), world.tenant("ann", "bob") as tenant, world.puller():
        await reading(tenant, "ann", "bob")
        await tenant.appointment("ann", "First")
        await told_upserted(tenant, "ann", 1)
        await world.admin.add_fault(
            Fault(
                tenant=tenant.directory,
                user=tenant.mailbox("ann"),
                operation="delta",
                times=1,
                status=429,
                code="ApplicationThrottled",
                retry_after_s=2,
            )
        )
        await until(lambda: _rests(world), "the mailbox to rest")
        await tenant.appointment("ann", "Second", day=2)
        await tenant.appointment("bob", "Other", day=2)
        await told_upserted(tenant, "bob", 1)
        await told_upserted(tenant, "ann", 2)
        await no_violations(tenant)


async def _rests(world: World) -> bool:
    return bool(await world.fetch("SELECT lane FROM pull_lane WHERE rests_until > now() + interval '0.5 seconds'"))


async def test_what_is_asked_for_is_pulled_now(world: World) -> None:
    async with world.ingest(), world.tenant("ann", "bob") as tenant, world.puller(**QUIET):
        await reading(tenant, "ann", "bob")
        await until(lambda: _pulled_first(world, 2), "the first pulls")
        await tenant.appointment("ann", "Soon")
        await tenant.appointment("bob", "Later")
        asked = SyncRequested(tenant=tenant.id, user="ann")
        assert key_of(asked) == tenant.id
        await tenant.publish(asked)
        await told_upserted(tenant, "ann", 1)
        assert tenant.changes("bob") == []
        command = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "from calbus.cli import main; main()",
            "pull",
            tenant.mailbox("bob"),
            env={**os.environ, **world.environment()},
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await command.communicate()
        assert command.returncode == 0
        assert b"done at" in said
        await told_upserted(tenant, "bob", 1)
        assert world.dead_letters == []


async def _pulled_first(world: World, number: int) -> bool:
    rows = await world.fetch("SELECT count(*) FROM calendar_pull WHERE pulled_at IS NOT NULL")
    return bool(rows[0][0] == number)


async def test_a_calendar_that_suddenly_shows_nothing_is_read_again_before_it_is_believed(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant:
        await reading(tenant, "ann")
        for number in range(6):
            await tenant.appointment("ann", f"Number {number}", day=number + 1)
        options = {"puller_well_filled_events": 5, "puller_reprobe_first_s": HOUR_S, "puller_reprobe_max_s": HOUR_S}
        async with world.puller(**options):
            await told_upserted(tenant, "ann", 6)
            for event in await tenant.calendar("ann"):
                await world.admin.user_deletes(tenant.directory, tenant.mailbox("ann"), event.id)
            await world.admin.forget_sync_states(tenant.directory, tenant.mailbox("ann"))
            await until(lambda: _doubted(world), "the round to be doubted")
            assert tenant.changes("ann", AppointmentRemoved) == []
        async with world.puller(puller_well_filled_events=5):
            await tenant.publish(SyncRequested(tenant=tenant.id))
            await tenant.change("ann", AppointmentRemoved, number=6)


async def _doubted(world: World) -> bool:
    return bool(await world.fetch("SELECT pull_id FROM calendar_pull WHERE empties > 0"))


async def test_switching_the_way_down_off_and_on_takes_calendars_away_and_back(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant, world.puller():
        await tenant.appointment("ann", "Before")
        await reading(tenant, "ann")
        await told_upserted(tenant, "ann", 1)
        await tenant.publish(tenant.account("ann"))

        async def none() -> bool:
            return not await world.fetch("SELECT pull_id FROM calendar_pull")

        await until(none, "the calendar to be let go")
        await tenant.appointment("ann", "Unseen", day=2)
        await reading(tenant, "ann")
        told = await told_upserted(tenant, "ann", 2)
        assert {change.subject for change in told} == {"Before", "Unseen"}
