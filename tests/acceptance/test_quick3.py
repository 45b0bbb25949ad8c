"""Quick3: field service appointments, in directions that each account chooses."""

import time
from statistics import median

import pytest

from schemas.changes import AppointmentRemoved, AppointmentUpserted
from schemas.results import Ending, SyncRequested
from schemas.switches import Backfill
from tests.integration.test_calendars import make_calendar, subjects_in
from tests.support.waiting import until
from tests.support.world import World


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
