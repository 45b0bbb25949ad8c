"""Whether the way down of an account works is told, by whose move it is; what is broken holds up nothing else."""

from schemas.changes import AppointmentRemoved, AppointmentUpserted
from schemas.results import Way
from simulator.client import Fault
from tests.support.waiting import until
from tests.support.world import CLIENT_ID, ROLES, Tenant, World

HOUR_S = 3_600.0


async def down(tenant: Tenant, *users: str, **fields: str) -> None:
    given = {"direction": "down", "detail": "full"} | fields
    await tenant.publish(*[tenant.account(user, **given) for user in users])


async def told(tenant: Tenant, user: str | None) -> list[tuple[str, str]]:
    return [(status.way.value, status.reason.value) for status in tenant.statuses(user)]


async def test_a_directory_that_keeps_calbus_out_is_told_of_the_tenant_only(world: World) -> None:
    async with world.ingest(), world.tenant("ann", "bob", "cid") as tenant:
        await down(tenant, "ann", "bob", "cid")
        await world.admin.remove_app(tenant.directory, CLIENT_ID)
        async with world.puller():
            troubled = await tenant.status(None, "app_not_in_directory")
            assert (troubled.way, troubled.next_actor) == (Way.DOWN, "administrator")
            await until(lambda: _failing(world, 3), "all of them to meet it")
        await tenant.approve(ROLES)
        # Whoever mended it need not wait: a new revision of the settings has all of them tried.
        async with world.puller(puller_reprobe_first_s=HOUR_S, puller_reprobe_max_s=HOUR_S):
            await world.fetch("UPDATE calendar_pull SET due_at = now() + interval '1 hour'")
            await tenant.set_tenant()
            await tenant.status(None, "working")
            for user in ("ann", "bob", "cid"):
                await tenant.status(user, "working")
        assert await told(tenant, None) == [("down", "app_not_in_directory"), ("down", "working")]


async def _failing(world: World, number: int) -> bool:
    return len(await world.fetch("SELECT FROM calendar_pull WHERE failures > 1")) == number


async def test_a_passing_outage_is_not_told_and_what_nobody_pulls_any_more_is_over(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant, world.puller():
        fault = await world.admin.add_fault(Fault(tenant=tenant.directory, operation="delta", status=503))
        await down(tenant, "ann")
        await until(lambda: _failing(world, 1), "some rounds to fail")
        await world.admin.remove_fault(fault)
        await tenant.status("ann", "working")
        await down(tenant, "ann", mailbox=f"nobody@{tenant.domain}")
        await tenant.status("ann", "mailbox_unknown")
        await tenant.publish(tenant.account("ann"))
        await tenant.status("ann", "working")
        assert [reason for _, reason in await told(tenant, "ann")] == ["working", "mailbox_unknown", "working"]


async def test_an_event_that_cannot_be_read_holds_up_no_other(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant, world.puller():
        await down(tenant, "ann")
        goes = await tenant.appointment("ann", "Goes")
        await tenant.change("ann", AppointmentUpserted)
        broken = Fault(tenant=tenant.directory, operation="get", status=500, code="ErrorInternalServerError")
        fault = await world.admin.add_fault(broken)
        await world.admin.user_deletes(tenant.directory, tenant.mailbox("ann"), goes.id)
        await until(lambda: _tried(world), "the event to be read in vain")
        await tenant.appointment("ann", "Comes", day=2)
        assert (await tenant.change("ann", AppointmentUpserted, number=2)).subject == "Comes"
        await world.admin.remove_fault(fault)
        await tenant.change("ann", AppointmentRemoved)


async def _tried(world: World) -> bool:
    return bool(await world.fetch("SELECT FROM pulled_event WHERE attempts > 1"))


async def test_a_calendar_whose_turn_breaks_off_holds_up_no_other_of_its_mailbox(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant:
        await down(tenant, "ann", down_calendars=["Calendar", "Birthdays"])
        await tenant.appointment("ann", "Seen")
        async with world.puller():
            await tenant.change("ann", AppointmentUpserted)
        # What no version of calbus writes: the turn of the calendar that is due first ends in a fault of ours.
        await world.fetch(
            "UPDATE calendar_pull SET due_at = '2020-01-01', delta_link = 'http://[', calendar_id = 'x', "
            "window_start = now(), window_end = now(), rolled_at = now() WHERE calendar = 'Birthdays'"
        )
        async with world.puller():
            await until(lambda: _broken(world), "the turn to break off")
            await tenant.appointment("ann", "Later", day=2)
            assert (await tenant.change("ann", AppointmentUpserted, number=2)).subject == "Later"


async def _broken(world: World) -> bool:
    return bool(await world.fetch("SELECT FROM calendar_pull WHERE last_error = 'broken'"))


async def test_an_event_that_cannot_be_judged_is_not_read_for_ever(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant:
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        await tenant.outcome(action, "ann")
        async with world.puller():
            await tenant.pulled("ann")
            [event] = await tenant.calendar("ann")
            # What no version of calbus writes.
            await world.fetch("UPDATE entry SET content = '{}'")
            await world.admin.user_deletes(tenant.directory, tenant.mailbox("ann"), event.id)
            await until(lambda: _read(tenant), "the event to be read")
            await tenant.pulled("ann")
            await tenant.pulled("ann")
        page = await world.admin.ledger(tenant.directory, operation="get")
        assert len(page.value) == 1


async def _read(tenant: Tenant) -> bool:
    return bool((await tenant.world.admin.ledger(tenant.directory, operation="get")).value)
