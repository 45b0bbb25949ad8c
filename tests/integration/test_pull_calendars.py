"""Which calendars come down, under which names, and what is known of them while a switch is off."""

from datetime import UTC, datetime
from urllib.parse import quote

import asyncpg

from calbus.entry import Place
from calbus.store import pulls
from calbus.store.pulls import Lost
from calbus.touches import Loss
from schemas.changes import AppointmentRemoved, AppointmentUpserted, EntryRemoved, EntryRescheduled
from schemas.results import Ending
from tests.integration.test_calendars import as_the_user, make_calendar
from tests.support.mirror import Mirror
from tests.support.waiting import until
from tests.support.world import Tenant, World


async def move_to(tenant: Tenant, event_id: str, calendar_id: str) -> None:
    await tenant.world.admin.user_moves_to_calendar(tenant.directory, tenant.mailbox("ann"), event_id, calendar_id)


async def test_an_appointment_that_goes_to_another_calendar_is_gone_from_the_first(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant, world.puller():
        team = await make_calendar(tenant, "ann", "Team")
        private = await make_calendar(tenant, "ann", "Private")
        await tenant.publish(
            tenant.account("ann", direction="down", detail="full", down_calendars=["Calendar", "Team"])
        )
        event = await tenant.appointment("ann", "Dentist")
        await tenant.change("ann", AppointmentUpserted)
        await move_to(tenant, event.id, team)
        gone = await tenant.change("ann", AppointmentRemoved)
        came = await tenant.change("ann", AppointmentUpserted, number=2)
        assert (gone.calendar, came.calendar, gone.event_id) == ("", "Team", came.event_id)
        await move_to(tenant, event.id, private)
        assert (await tenant.change("ann", AppointmentRemoved, number=2)).calendar == "Team"
        await tenant.pulled("ann")
        assert len(tenant.changes("ann")) == 4


async def test_a_series_goes_to_another_calendar_with_all_its_occurrences(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant, world.puller():
        private = await make_calendar(tenant, "ann", "Private")
        await tenant.publish(tenant.account("ann", direction="down"))
        day = (await tenant.appointment("ann", "Anything")).start.date().isoformat()
        recurrence = {
            "pattern": {"type": "daily", "interval": 1},
            "range": {"type": "numbered", "startDate": day, "numberOfOccurrences": 3},
        }
        swim = await tenant.appointment("ann", "Swim", hour=7, recurrence=recurrence)
        await tenant.change("ann", AppointmentUpserted, number=4)
        await move_to(tenant, swim.id, private)
        await tenant.change("ann", AppointmentRemoved, number=3)
        assert {gone.series_id for gone in tenant.changes("ann", AppointmentRemoved)} != {None}


async def test_an_entry_of_ours_is_told_wherever_in_the_mailbox_it_goes(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant, world.puller():
        private = await make_calendar(tenant, "ann", "Private")
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED
        await tenant.pulled("ann")
        [event] = await tenant.calendar("ann")
        await move_to(tenant, event.id, private)
        await tenant.pulled("ann")
        assert tenant.changes("ann") == []
        await world.admin.user_deletes(tenant.directory, tenant.mailbox("ann"), event.id)


async def test_the_default_calendar_is_told_once_whatever_it_is_called(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant, world.puller():
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED
        await tenant.publish(tenant.account("ann", direction="both", detail="full", down_calendars=["calendar"]))
        await tenant.appointment("ann", "Dentist")
        assert (await tenant.change("ann", AppointmentUpserted)).calendar == ""
        [event] = [event for event in await tenant.calendar("ann") if event.subject != "Dentist"]
        times = {
            "start": {"dateTime": "2026-12-02T10:00:00", "timeZone": "UTC"},
            "end": {"dateTime": "2026-12-02T11:00:00", "timeZone": "UTC"},
        }
        await world.admin.user_edits(tenant.directory, tenant.mailbox("ann"), event.id, times)
        assert (await tenant.change("ann", EntryRescheduled)).calendar == ""
        await tenant.pulled("ann")
        assert len(tenant.changes("ann")) == 2


async def test_several_calendars_come_down_and_one_that_is_deleted_is_told_and_found_again(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant, world.puller():
        team = await make_calendar(tenant, "ann", "Team")
        await tenant.publish(
            tenant.account("ann", direction="down", detail="full", down_calendars=["Calendar", "team"])
        )
        mine = await tenant.appointment("ann", "Dentist")
        theirs = await tenant.appointment("ann", "Stand-up", day=2)
        await move_to(tenant, theirs.id, team)

        async def told() -> bool:
            names = {change.calendar: change.subject for change in tenant.changes("ann", AppointmentUpserted)}
            return names.get("team") == "Stand-up"

        await until(told, "the other calendar to come down")
        removed = len(tenant.changes("ann", AppointmentRemoved))
        await as_the_user(tenant, "ann", "DELETE", f"calendars/{quote(team, safe='')}")
        gone = await tenant.change("ann", AppointmentRemoved, number=removed + 1)
        assert gone.calendar == "team"
        status = await tenant.status("ann", "calendar_missing")
        assert (status.way, status.state, status.next_actor) == ("down", "troubled", "user")
        again = await make_calendar(tenant, "ann", "Team")
        await tenant.status("ann", "working")
        await move_to(tenant, mine.id, again)

        async def found() -> bool:
            last = tenant.changes("ann", AppointmentUpserted)[-1]
            return (last.calendar, last.subject) == ("team", "Dentist")

        await until(found, "the calendar of that name to come down again")


async def test_more_detail_is_told_as_soon_as_it_is_chosen_and_less_keeps_nothing(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant, world.puller():
        await tenant.publish(tenant.account("ann", direction="down"))
        await tenant.appointment("ann", "Dentist")
        assert (await tenant.change("ann", AppointmentUpserted)).subject is None
        await tenant.publish(tenant.account("ann", direction="down", detail="full"))
        assert (await tenant.change("ann", AppointmentUpserted, number=2)).subject == "Dentist"
        await tenant.publish(tenant.account("ann", direction="down"))

        async def forgotten() -> bool:
            rows = await world.fetch("SELECT seen ->> 'subject' AS subject FROM pulled_event")
            return [row["subject"] for row in rows] == [""]

        await until(forgotten, "the subject to be forgotten")


async def test_a_removal_that_the_writer_meets_first_is_told(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant:
        first = tenant.action("a1", "ann")
        await tenant.publish(first)
        assert (await tenant.outcome(first, "ann")).ending is Ending.APPLIED
        async with world.puller():
            await tenant.pulled("ann")
        outcomes = []
        for number in range(2):
            [event] = await tenant.calendar("ann")
            await world.admin.user_deletes(tenant.directory, tenant.mailbox("ann"), event.id)
            newer = tenant.action("a1", "ann", title=f"Anew {number}")
            await tenant.publish(newer)
            outcomes.append(await tenant.outcome(newer, "ann"))
            assert outcomes[-1].ending is Ending.APPLIED
            assert await tenant.subjects("ann") == [f"○ Anew {number}"]
        async with world.puller():
            # Nobody ever saw the second of them.
            await tenant.change("ann", EntryRemoved, number=2)
            await tenant.pulled("ann")
        # Each as the writer met it, before it wrote the entry anew: a reader can tell that it stands again.
        for gone, outcome in zip(tenant.changes("ann"), outcomes, strict=True):
            assert (gone.id, gone.revision) == ("a1", outcome.revision)
            assert gone.seen_at < outcome.decided_at
        mirror = Mirror()
        mirror.take_outcome(outcomes[-1])
        for event_id, change in world.told[tenant.id]:
            mirror.take_change(event_id, change)
        assert mirror.deviations(outcomes[-1].entry_id) == {}
        assert len(tenant.changes("ann")) == 2
        assert len({change.event_id for change in tenant.changes("ann")}) == 2
        assert await world.fetch("SELECT FROM lost_event") == []


async def test_a_removal_that_was_told_is_not_told_again_by_the_writer(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant, world.puller():
        first = tenant.action("a1", "ann")
        await tenant.publish(first)
        assert (await tenant.outcome(first, "ann")).ending is Ending.APPLIED
        await tenant.pulled("ann")
        [event] = await tenant.calendar("ann")
        await world.admin.user_deletes(tenant.directory, tenant.mailbox("ann"), event.id)
        await tenant.change("ann", EntryRemoved)
        newer = tenant.action("a1", "ann", title="Anew")
        await tenant.publish(newer)
        assert (await tenant.outcome(newer, "ann")).ending is Ending.APPLIED
        await tenant.pulled("ann")
        await tenant.pulled("ann")
        assert len(tenant.changes("ann")) == 1


async def test_what_is_known_of_the_last_entry_stays_until_its_removal_is_told(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant:
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        outcome = await tenant.outcome(action, "ann")
        async with world.puller():
            await tenant.pulled("ann")
    # As a writer leaves it that found the event removed, and has not written it anew.
    [[event_id]] = await world.fetch("SELECT event_id FROM entry")
    await world.fetch("UPDATE entry SET event_id = NULL, etag = NULL, applied_hash = NULL")
    place = Place(tenant.directory, tenant.mailbox("ann"))
    loss = Loss("key", action.revision, datetime.now(UTC))
    lost = Lost(event_id, outcome.entry_id, tenant.id, "ann", place, loss)
    async with asyncpg.create_pool(world.dsn, min_size=1, max_size=2) as pool:
        async with pool.acquire() as connection:
            await pulls.put_lost(connection, [lost])
        await pulls.keep_in_step(pool)
        assert len(await world.fetch("SELECT FROM calendar_pull")) == 1
        assert len(await world.fetch("SELECT FROM pulled_event WHERE seen IS NOT NULL")) == 1
        async with pool.acquire() as connection:
            await pulls.forget_lost(connection, tenant.directory, [event_id])
        await pulls.keep_in_step(pool)
        assert await world.fetch("SELECT FROM calendar_pull") == []
