"""Schoolmonitor: actions of school quality planning in teachers' calendars."""

import pytest

from schemas.reasons import NextActor
from schemas.results import AccountState, Ending
from simulator.client import StoredEvent
from tests.support.waiting import until
from tests.support.world import CLIENT_ID, Tenant, World


async def test_planned_actions_appear_and_others_do_not(running: World) -> None:
    async with running.tenant("ann") as school:
        unplanned = school.action("evaluate", "ann", start=None, duration=None)
        await school.publish(unplanned)
        assert (await school.outcome(unplanned, "ann")).reason == "no_start"
        assert await school.calendar("ann") == []
        planned = school.action("evaluate", "ann")
        await school.publish(planned)
        assert (await school.outcome(planned, "ann")).ending is Ending.APPLIED
        assert await school.subjects("ann") == ["○ Do evaluate"]
        unplanned_again = school.action("evaluate", "ann", start=None, duration=None)
        await school.publish(unplanned_again)
        assert (await school.outcome(unplanned_again, "ann")).ending is Ending.WITHDRAWN
        assert await school.calendar("ann") == []


async def test_the_user_picks_the_environments(running: World) -> None:
    async with running.tenant("ann") as school:
        await school.set_project("north")
        await school.set_project("south")
        actions = [school.action(f"of-{place}", "ann", project=place) for place in ("north", "south")]
        await school.publish(*actions, school.action("of-none", "ann"))
        for chosen, shown in (
            (None, ["○ Do of-none", "○ Do of-north", "○ Do of-south"]),
            (("north",), ["○ Do of-none", "○ Do of-north"]),
            ((), ["○ Do of-none"]),
            (("south",), ["○ Do of-none", "○ Do of-south"]),
        ):
            await school.publish(school.account("ann", projects=chosen))

            async def as_chosen(shown: list[str] = shown) -> bool:
                return await school.subjects("ann") == shown

            await until(as_chosen, f"{shown} for the choice {chosen}")


@pytest.mark.parametrize(
    ("status", "icon", "show_as"),
    [("open", "○", "busy"), ("active", "◐", "busy"), ("completed", "✔", "free"), ("cancelled", "✖", "free")],
)
async def test_status_is_seen_at_a_glance(running: World, status: str, icon: str, show_as: str) -> None:
    async with running.tenant("ann", locale="nl") as school:
        action = school.action("evaluate", "ann", status=status)
        await school.publish(action)
        await school.outcome(action, "ann")
        (event,) = await school.calendar("ann")
        assert event.subject == f"{icon} Do evaluate"
        assert event.graph["showAs"] == show_as
        names = {"open": "Open", "active": "Actief", "completed": "Voltooid", "cancelled": "Geannuleerd"}
        assert event.categories == [names[status]]


async def test_status_is_seen_at_a_glance__by_the_tenants_template(running: World) -> None:
    async with running.tenant("ann", subject_template="[{{ status_text }}] {{ title }}") as school:
        action = school.action("evaluate", "ann", status="active")
        await school.publish(action)
        assert (await school.outcome(action, "ann")).notice == ""
        assert await school.subjects("ann") == ["[Active] Do evaluate"]


async def test_status_is_seen_at_a_glance__when_the_template_fails(running: World) -> None:
    async with running.tenant("ann", subject_template="{{ title.__class__ }}") as school:
        action = school.action("evaluate", "ann")
        await school.publish(action)
        told = await school.outcome(action, "ann")
        assert (told.ending, await school.subjects("ann")) == (Ending.APPLIED, ["○ Do evaluate"])
        assert "template" in told.notice


async def test_a_change_shows_directly(running: World) -> None:
    async with running.tenant("ann") as school:
        action = school.action("evaluate", "ann")
        await school.publish(action)
        await school.outcome(action, "ann")
        moved = school.action("evaluate", "ann", title="Evaluate the year", start="2026-12-02T10:30:00")
        await school.publish(moved)
        await school.outcome(moved, "ann")
        (event,) = await school.calendar("ann")
        assert (event.subject, f"{event.start:%d %H:%M}") == ("○ Evaluate the year", "02 10:30")


async def test_a_change_shows_directly__and_a_burst_as_its_last_state(running: World) -> None:
    async with running.tenant("ann") as school:
        edits = [school.action("evaluate", "ann", title=f"Edit {number}") for number in range(30)]
        await school.publish(*edits)
        assert (await school.outcome(edits[-1], "ann")).ending is Ending.APPLIED
        assert await school.subjects("ann") == ["○ Edit 29"]
        assert await school.writes() <= 8


async def test_nobody_before_the_organisation(running: World) -> None:
    async with running.tenant("ann", enabled=False, backfill="all") as school:
        action = school.action("evaluate", "ann")
        await school.publish(action)
        told = await school.outcome(action, "ann")
        assert (told.ending, told.reason) == (Ending.WITHDRAWN, "tenant_not_enabled")
        assert told.remedy == "Enable the organisation in its settings."
        assert await school.calendar("ann") == []
        await school.set_tenant(backfill="all")

        async def shown() -> list[StoredEvent]:
            return await school.calendar("ann")

        assert len(await until(shown, "the team's actions to appear")) == 1


async def _asks_the_administrator(school: Tenant, reason: str) -> None:
    action = school.action("evaluate", "ann")
    await school.publish(action)
    status = await school.status(None, reason)
    assert (status.state, status.next_actor) == (AccountState.TROUBLED, NextActor.ADMINISTRATOR)
    assert status.remedy
    assert school.ended("evaluate", "ann") == []


async def test_admin_approval_is_explained(running: World) -> None:
    async with running.tenant("ann") as school:
        app = await running.admin.app(school.directory, CLIENT_ID)
        await running.admin.remove_app(school.directory, CLIENT_ID)
        await _asks_the_administrator(school, "app_not_in_directory")
        await school.approve(app.roles)
        await school.status(None, "working")
        assert await until(lambda: school.calendar("ann"), "the action once the administrator has approved")


async def test_admin_approval_is_explained__for_an_application_that_was_disabled(running: World) -> None:
    async with running.tenant("ann") as school:
        await running.admin.change_app(school.directory, CLIENT_ID, disabled=True)
        await _asks_the_administrator(school, "app_disabled")
        await running.admin.change_app(school.directory, CLIENT_ID, disabled=False)
        await school.status(None, "working")
        assert await until(lambda: school.calendar("ann"), "the action once the application is enabled")
