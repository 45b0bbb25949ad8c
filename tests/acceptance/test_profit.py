"""AFAS Profit: an ERP's appointments, through one application that a group limits."""

import pytest

from schemas.changes import AppointmentUpserted
from schemas.reasons import NextActor
from schemas.results import Ending
from tests.support.waiting import until
from tests.support.world import CLIENT_ID, World


async def test_appointments_are_synchronised(running: World) -> None:
    async with running.tenant("ann") as firm:
        meeting = firm.contact("meeting", "ann", duration="PT45M")
        await firm.publish(meeting)
        await firm.outcome(meeting, "ann")
        (event,) = await firm.calendar("ann")
        assert (event.end - event.start).total_seconds() == 45 * 60
        moved = firm.contact("meeting", "ann", start="2026-12-03T15:00:00", duration="PT45M")
        await firm.publish(moved)
        await firm.outcome(moved, "ann")
        (after,) = await firm.calendar("ann")
        assert (after.immutable_id, after.start.day) == (event.immutable_id, 3)
        gone = firm.contact_deleted("meeting")
        await firm.publish(gone)
        await firm.outcome(gone, "ann")
        assert await firm.calendar("ann") == []


async def test_blocked_users_are_left_alone(running: World) -> None:
    async with running.tenant("ann") as firm:
        meeting = firm.contact("meeting", "ann")
        await firm.publish(meeting)
        await firm.outcome(meeting, "ann")
        await firm.publish(firm.account("ann", blocked=True))
        await firm.settings_known(2)
        changed = firm.contact("meeting", "ann", title="Changed")
        await firm.publish(changed)
        told = await firm.outcome(changed, "ann")
        assert (told.ending, told.reason) == (Ending.WITHDRAWN, "account_blocked")
        (event,) = await firm.calendar("ann")
        assert "Changed" not in event.subject


async def test_the_mailbox_may_deviate(running: World) -> None:
    async with running.tenant("ann") as firm:
        for mailbox in ("ann.secretariat", "ann.new"):
            await running.admin.put_user(firm.directory, firm.mailbox(mailbox))
        await firm.publish(firm.account("ann", mailbox=firm.mailbox("ann.secretariat")))
        meetings = [firm.contact(f"m{number}", "ann") for number in range(6)]
        await firm.publish(*meetings)
        for meeting in meetings:
            await firm.outcome(meeting, "ann")

        async def there() -> bool:
            # A meeting that is read before the settings is planned anew when they are.
            return len(await firm.calendar("ann.secretariat")) == 6 and not await firm.calendar("ann")

        await until(there, "the entries to stand in the mailbox that was named")
        await firm.publish(firm.account("ann", mailbox=firm.mailbox("ann.new")))

        async def moved() -> bool:
            return len(await firm.calendar("ann.new")) == 6 and not await firm.calendar("ann.secretariat")

        await until(moved, "the entries to move")
        assert await firm.calendar("ann") == []


async def test_access_is_limited_to_a_group(running: World) -> None:
    async with running.tenant("ann", "bob") as firm:
        await running.admin.change_app(firm.directory, CLIENT_ID, allowed_mailboxes=(firm.mailbox("ann"),))
        inside, outside = firm.contact("inside", "ann"), firm.contact("outside", "bob")
        await firm.publish(inside, outside)
        assert (await firm.outcome(inside, "ann")).ending is Ending.APPLIED
        status = await firm.status("bob", "access_policy")
        assert status.next_actor is NextActor.ADMINISTRATOR
        assert "policy" in status.remedy
        await running.admin.change_app(firm.directory, CLIENT_ID, lift_allowed_mailboxes=True)
        assert (await firm.outcome(outside, "bob")).ending is Ending.APPLIED
        await firm.status("bob", "working")


@pytest.mark.parametrize(
    ("detail", "sensitivity", "subject"),
    [("full", "normal", "Dentist"), ("free_busy", "normal", None), ("full", "private", None)],
)
async def test_outlook_shows_in_the_agenda(world: World, detail: str, sensitivity: str, subject: str | None) -> None:
    async with world.ingest(), world.tenant("ann") as firm, world.puller():
        await firm.publish(firm.account("ann", direction="both", detail=detail))
        await firm.appointment("ann", "Dentist", sensitivity=sensitivity)
        told = await firm.change("ann", AppointmentUpserted)
        assert (told.subject, told.private, told.shown_as) == (subject, sensitivity == "private", "busy")


async def test_outlook_shows_in_the_agenda__only_when_ticked(world: World) -> None:
    async with world.ingest(), world.tenant("ann", "bob") as firm, world.puller():
        await firm.publish(firm.account("bob", direction="down"))
        await firm.appointment("ann", "Dentist")
        await firm.appointment("bob", "Dentist")
        await firm.change("bob", AppointmentUpserted)
        await firm.pulled("bob")
        assert firm.changes("ann") == []
