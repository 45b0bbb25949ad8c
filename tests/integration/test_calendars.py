"""The account's calendar: found by its name, waited for where there is none, left when another is chosen."""

from typing import Any
from urllib.parse import quote

from calbus.graph.calls import Request
from calbus.graph.client import graph_client
from schemas.results import Ending
from services.writer.settings import WriterSettings
from tests.support.waiting import until
from tests.support.world import Tenant, World


async def as_the_user(tenant: Tenant, user: str, method: str, path: str, body: Any = None) -> Any:
    """Do something in the user's mailbox."""
    async with graph_client(tenant.world.settings(WriterSettings)) as graph:
        request = Request("test", method, f"/users/{tenant.mailbox(user)}/{path}", {}, body)
        (response,) = await graph.send(tenant.directory, [request])
    assert response.fault is None, response
    return response.body


async def make_calendar(tenant: Tenant, user: str, name: str) -> str:
    """The user makes a calendar."""
    made = await as_the_user(tenant, user, "POST", "calendars", {"name": name})
    return str(made["id"])


async def subjects_in(tenant: Tenant, user: str, calendar_id: str) -> list[str]:
    """What stands in one calendar."""
    listed = await as_the_user(tenant, user, "GET", f"calendars/{quote(calendar_id, safe='')}/events")
    return sorted(event["subject"] for event in listed["value"])


async def test_entries_stand_in_the_calendar_that_the_account_names_whatever_its_case(running: World) -> None:
    async with running.tenant("ann") as tenant:
        planned = await make_calendar(tenant, "ann", "Planned work")
        await tenant.publish(tenant.account("ann", calendar="planned WORK"))
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED
        assert await subjects_in(tenant, "ann", planned) == ["○ Do a1"]


async def test_another_calendar_moves_the_entries_and_back(running: World) -> None:
    async with running.tenant("ann") as tenant:
        actions = [tenant.action(f"a{number}", "ann") for number in range(5)]
        await tenant.publish(*actions)
        for action in actions:
            await tenant.outcome(action, "ann")
        planned = await make_calendar(tenant, "ann", "Planned work")
        default = (await as_the_user(tenant, "ann", "GET", "calendar"))["id"]
        for calendar, full, empty in (("Planned work", planned, default), (None, default, planned)):
            await tenant.publish(tenant.account("ann", calendar=calendar))

            async def moved(full: str = full, empty: str = empty) -> bool:
                return len(await subjects_in(tenant, "ann", full)) == 5 and not await subjects_in(tenant, "ann", empty)

            await until(moved, "the entries to stand in the other calendar alone")
        assert len(await tenant.calendar("ann")) == 5


async def test_a_calendar_that_is_missing_is_waited_for(running: World) -> None:
    async with running.tenant("ann", "bob") as tenant:
        await tenant.publish(tenant.account("ann", calendar="Planned work"))
        action, other = tenant.action("a1", "ann"), tenant.action("b1", "bob")
        await tenant.publish(action, other)
        await tenant.outcome(other, "bob")

        async def asked() -> bool:
            ledger = await running.admin.ledger(tenant.directory, operation="list_calendars")
            return bool(ledger.value)

        await until(asked, "the calendar to be looked for")
        assert await tenant.calendar("ann") == []
        assert tenant.ended("a1", "ann") == []
        planned = await make_calendar(tenant, "ann", "Planned work")
        assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED
        assert await subjects_in(tenant, "ann", planned) == ["○ Do a1"]


async def test_a_calendar_made_anew_under_its_name_is_found_again(running: World) -> None:
    async with running.tenant("ann") as tenant:
        first = await make_calendar(tenant, "ann", "Planned work")
        await tenant.publish(tenant.account("ann", calendar="Planned work"))
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        await tenant.outcome(action, "ann")
        await as_the_user(tenant, "ann", "DELETE", f"calendars/{quote(first, safe='')}")
        second = await make_calendar(tenant, "ann", "Planned work")
        later = tenant.action("a2", "ann")
        await tenant.publish(later)
        assert (await tenant.outcome(later, "ann")).ending is Ending.APPLIED
        assert await subjects_in(tenant, "ann", second) == ["○ Do a2"]


async def test_what_goes_with_its_calendar_is_believed_to_be_gone(running: World) -> None:
    async with running.tenant("ann") as tenant:
        planned = await make_calendar(tenant, "ann", "Planned work")
        await tenant.publish(tenant.account("ann", calendar="Planned work"))
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        await tenant.outcome(action, "ann")
        await as_the_user(tenant, "ann", "DELETE", f"calendars/{quote(planned, safe='')}")
        gone = tenant.deleted("a1")
        await tenant.publish(gone)
        assert (await tenant.outcome(gone, "ann")).ending is Ending.WITHDRAWN
