"""Quick3: field service appointments, in directions that each account chooses."""

import time
from statistics import median

import pytest

from schemas.changes import AppointmentRemoved, AppointmentUpserted
from schemas.results import AccountState, Ending, SyncRequested, Way
from schemas.switches import Backfill
from tests.integration.test_calendars import make_calendar, subjects_in
from tests.support.waiting import until
from tests.support.world import CLIENT_ID, World


async def test_only_support_switches_it_on(running: World) -> None:
    async with running.tenant("ann", enabled=False) as service:
        visit = service.contact("visit", "ann", contact_kind="visit")
        await service.publish(visit)
        assert (await service.outcome(visit, "ann")).reason == "tenant_not_enabled"
        assert (await service.stats()).requests == 0
        await service.set_tenant()
        later = service.contact("later", "ann", contact_kind="visit")
        await service.publish(later)
        assert (await service.outcome(later, "ann")).ending is Ending.APPLIED


@pytest.mark.parametrize(("direction", "written"), [("up", True), ("both", True), ("down", False), ("none", False)])
async def test_direction_is_chosen_for_each_account(running: World, direction: str, written: bool) -> None:
    async with running.tenant("ann", "bob") as service:
        await service.publish(service.account("ann", direction=direction))
        await service.settings_known(3)
        job = service.action("job", "ann", "bob")
        await service.publish(job)
        assert (await service.outcome(job, "bob")).ending is Ending.APPLIED
        told = await service.outcome(job, "ann")
        assert (told.ending is Ending.APPLIED) is written
        assert written or told.reason == "direction_not_up"
        assert bool(await service.calendar("ann")) is written


async def test_direction_is_chosen_for_each_account__none_pauses_and_resumes(running: World) -> None:
    async with running.tenant("ann") as service:
        job = service.action("job", "ann")
        await service.publish(job)
        await service.outcome(job, "ann")
        await service.publish(service.account("ann", direction="none"))
        await service.settings_known(2)
        changed, fresh = service.action("job", "ann", title="Mend the pump"), service.action("fresh", "ann")
        await service.publish(changed, fresh)
        assert (await service.outcome(changed, "ann")).reason == "direction_not_up"
        assert await service.subjects("ann") == ["○ Do job"]
        await service.publish(service.account("ann", direction="up"))

        async def resumed() -> bool:
            return await service.subjects("ann") == ["○ Do fresh", "○ Mend the pump"]

        await until(resumed, "what came meanwhile")


async def test_up_goes_out_at_once(running: World) -> None:
    async with running.tenant("ann") as service:
        seconds = []
        for number in range(9):
            job = service.action(f"job-{number}", "ann")
            begun = time.monotonic()
            await service.publish(job)
            await service.outcome(job, "ann")
            seconds.append(time.monotonic() - begun)
        assert median(seconds) < 2.0, seconds


async def test_only_one_calendar_goes_up(running: World) -> None:
    async with running.tenant("ann") as service:
        planned = await make_calendar(service, "ann", "Jobs")
        await make_calendar(service, "ann", "Private")
        await service.publish(service.account("ann", calendar="Jobs"))
        job = service.action("job", "ann")
        await service.publish(job)
        await service.outcome(job, "ann")

        async def in_its_calendar() -> bool:
            return await subjects_in(service, "ann", planned) == ["○ Do job"]

        await until(in_its_calendar, "the job in the calendar that the account names")
        assert len(await service.calendar("ann")) == 1


@pytest.mark.parametrize(
    ("backfill", "shown"),
    [(Backfill.NONE, []), (Backfill.FUTURE, ["○ Do coming"]), (Backfill.ALL, ["○ Do coming", "○ Do past"])],
)
async def test_the_first_link_fills_the_calendar(running: World, backfill: Backfill, shown: list[str]) -> None:
    async with running.tenant(backfill=backfill) as service:
        await running.admin.put_user(service.directory, service.mailbox("ann"))
        items = [
            service.action("past", "ann", start="2020-06-01T09:00:00"),
            service.action("coming", "ann", start="2098-06-01T09:00:00"),
        ]
        await service.publish(*items)
        for item in items:
            await service.outcome(item, "ann")
        await service.publish(service.account("ann"))
        after = service.action("after", "ann")
        await service.settings_known(2)
        await service.publish(after)
        await service.outcome(after, "ann")

        async def filled() -> bool:
            return await service.subjects("ann") == sorted(["○ Do after", *shown])

        await until(filled, "what the tenant asked for")


async def test_down_runs_by_itself(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as service, world.puller():
        await service.publish(service.account("ann", direction="down", detail="full"))
        made = await service.appointment("ann", "Service of the van")
        told = await service.change("ann", AppointmentUpserted)
        assert (told.subject, told.private) == ("Service of the van", False)
        await world.admin.user_deletes(service.directory, service.mailbox("ann"), made.id)
        assert (await service.change("ann", AppointmentRemoved)).event_id == told.event_id
        assert sum((await service.stats()).violations.values()) == 0


async def test_down_runs_by_itself__and_on_request(world: World) -> None:
    quiet = {"puller_busy_interval_s": 3_600.0, "puller_idle_interval_s": 3_600.0}
    async with world.ingest(), world.tenant("ann") as service, world.puller(**quiet):
        await service.publish(service.account("ann", direction="down"))
        await service.pulled("ann")
        await service.appointment("ann", "Service of the van")
        await service.publish(SyncRequested(tenant=service.id, user="ann"))
        told = await service.change("ann", AppointmentUpserted)
        assert (told.subject, told.shown_as) == (None, "busy")


async def test_only_one_calendar_goes_up__and_several_come_down(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as service, world.puller():
        team = await make_calendar(service, "ann", "Team")
        await service.publish(service.account("ann", direction="down", down_calendars=["Calendar", "team"]))
        for subject, day in (("Dentist", 1), ("Stand-up", 2)):
            made = await service.appointment("ann", subject, day=day)
        await world.admin.user_moves_to_calendar(service.directory, service.mailbox("ann"), made.id, team)

        async def told() -> bool:
            return {told.calendar for told in service.changes("ann", AppointmentUpserted)} == {"", "team"}

        await until(told, "both calendars to come down")


async def test_direction_is_chosen_for_each_account__none_pauses_the_way_down_too(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as service, world.puller():
        await service.publish(service.account("ann", direction="down", detail="full"))
        stays = await service.appointment("ann", "Stays")
        goes = await service.appointment("ann", "Goes", day=2)
        await service.change("ann", AppointmentUpserted, number=2)
        for paused in ({"direction": "none"}, {"direction": "down", "blocked": True}):
            await service.publish(service.account("ann", detail="full", **paused))

            async def is_paused() -> bool:
                return bool(await world.fetch("SELECT FROM calendar_pull WHERE paused"))

            await until(is_paused, "the calendar to be paused")
            before = (await service.stats()).requests
            await world.admin.user_edits(
                service.directory, service.mailbox("ann"), stays.id, {"subject": str(sorted(paused))}
            )
            if paused["direction"] == "none":
                await world.admin.user_deletes(service.directory, service.mailbox("ann"), goes.id)
            await service.publish(SyncRequested(tenant=service.id))
            await service.publish(service.account("ann", direction="down", detail="full"))
            number = 3 if paused["direction"] == "none" else 4
            told = await service.change("ann", AppointmentUpserted, number=number)
            assert told.subject == str(sorted(paused))
            assert (await service.stats()).requests - before <= 12
        assert len(service.changes("ann", AppointmentRemoved)) == 1
        await service.pulled("ann")
        assert len(service.changes("ann")) == 5


async def test_down_runs_by_itself__and_says_whose_move_it_is_when_it_cannot(world: World) -> None:
    async with world.ingest(), world.tenant("ann", "bob") as service, world.puller():
        await service.publish(*[service.account(user, direction="down") for user in ("ann", "bob")])
        first = await service.status("ann", "working")
        assert (first.way, first.state) == (Way.DOWN, AccountState.WORKING)
        await service.status("bob", "working")
        closed = [service.mailbox("ann")]
        await world.admin.change_app(service.directory, CLIENT_ID, denied_mailboxes=closed)
        troubled = await service.status("ann", "access_policy")
        assert (troubled.state, troubled.next_actor) == (AccountState.TROUBLED, "administrator")
        assert troubled.remedy
        await world.admin.change_app(service.directory, CLIENT_ID, denied_mailboxes=[])
        # Whoever opened it need not wait until it is tried again.
        await service.publish(SyncRequested(tenant=service.id, user="ann"))
        await service.status("ann", "working")
        await service.pulled("ann")
        assert [status.reason for status in service.statuses("ann")] == ["working", "access_policy", "working"]
        assert [status.reason for status in service.statuses("bob")] == ["working"]
        assert service.statuses(None) == []
