"""Charitylog: outstanding actions and contacts with clients, assigned by people with the right to."""

import pytest

from schemas.reasons import NextActor
from schemas.results import Ending
from simulator.client import MailboxKind
from tests.integration.test_commands import calbus
from tests.support.waiting import until
from tests.support.world import SOURCE, World


async def test_actions_and_contacts_are_shown(running: World) -> None:
    async with running.tenant("ann") as charity:
        action = charity.action("referral", "ann")
        contact = charity.contact(
            "talk", "ann", contact_kind="visit", client={"name": "Mrs Example"}, place="Day centre, room 4"
        )
        await charity.publish(action, contact)
        await charity.outcome(action, "ann")
        await charity.outcome(contact, "ann")
        talk, referral = sorted(await charity.calendar("ann"), key=lambda event: "Meet" not in event.subject)
        assert referral.subject == "○ Do referral"
        assert "Mrs Example" in talk.body_text
        assert "Visit" in talk.body_text
        assert talk.graph["location"]["displayName"] == "Day centre, room 4"
        assert not talk.subject.startswith("○")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (MailboxKind.UNLICENSED, "mailbox_not_in_cloud"),
        (MailboxKind.ON_PREMISES, "mailbox_not_in_cloud"),
        (MailboxKind.MISSING, "mailbox_unknown"),
    ],
)
async def test_a_user_needs_a_mailbox(running: World, kind: MailboxKind, reason: str) -> None:
    async with running.tenant("ann", "bob") as charity:
        await running.admin.put_user(charity.directory, charity.mailbox("ann"), mailbox=kind)
        actions = [charity.action(f"a{number}", "ann") for number in range(40)]
        fine = charity.action("fine", "bob")
        await charity.publish(*actions, fine)
        assert (await charity.outcome(fine, "bob")).ending is Ending.APPLIED
        status = await charity.status("ann", reason)
        assert status.next_actor is NextActor.ADMINISTRATOR
        assert status.remedy
        await running.admin.put_user(charity.directory, charity.mailbox("ann"), mailbox=MailboxKind.OK)
        for action in actions:
            assert (await charity.outcome(action, "ann")).ending is Ending.APPLIED
        await charity.status("ann", "working")
        assert len(charity.statuses("ann")) == 2, "one status for the trouble, one for its end"


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("none", False),
        ("freeBusyRead", False),
        ("limitedRead", False),
        ("read", False),
        ("write", True),
        ("delegateWithoutPrivateEventAccess", True),
        ("delegateWithPrivateEventAccess", True),
    ],
)
async def test_assigning_needs_edit_access(running: World, role: str, allowed: bool) -> None:
    async with running.tenant("ann", "boss") as charity:
        if role != "none":
            await running.admin.share_calendar(
                charity.directory, charity.mailbox("ann"), role, charity.mailbox("boss"), name="Boss"
            )
        action = charity.action("referral", "ann", owner="boss")
        await charity.publish(action)
        told = await charity.outcome(action, "ann")
        assert told.ending is (Ending.APPLIED if allowed else Ending.REFUSED)
        assert bool(await charity.calendar("ann")) is allowed
        if not allowed:
            assert (told.reason, told.next_actor) == ("assigner_lacks_access", NextActor.UPSTREAM)
            assert "Can edit" in told.remedy


async def test_assigning_needs_edit_access__and_sharing_lifts_the_refusal(running: World) -> None:
    async with running.tenant("ann", "boss") as charity:
        action = charity.action("referral", "ann", owner="boss")
        await charity.publish(action)
        refused = await charity.outcome(action, "ann")
        assert refused.ending is Ending.REFUSED
        await running.admin.share_calendar(
            charity.directory, charity.mailbox("ann"), "write", charity.mailbox("boss"), name="Boss"
        )

        async def lifted() -> bool:
            return (1, Ending.APPLIED, "written") in charity.ended("referral", "ann")

        await until(lifted, "the refusal to be lifted")
        assert [ending for _, ending, _ in charity.ended("referral", "ann")] == [Ending.REFUSED, Ending.APPLIED]


async def test_who_is_not_synchronised_cannot_assign(running: World) -> None:
    async with running.tenant("ann") as charity:
        theirs, own = charity.action("theirs", "ann", owner="volunteer"), charity.action("own", "ann", owner="ann")
        await charity.publish(theirs, own)
        told = await charity.outcome(theirs, "ann")
        assert (told.ending, told.reason) == (Ending.REFUSED, "owner_has_no_account")
        assert told.remedy
        assert (await charity.outcome(own, "ann")).ending is Ending.APPLIED
        assert await charity.subjects("ann") == ["○ Do own"]


async def test_who_is_not_synchronised_cannot_assign__but_keeps_items_of_their_own(running: World) -> None:
    async with running.tenant("ann") as charity:
        own = charity.action("own", "volunteer", owner="volunteer")
        await charity.publish(own)
        told = await charity.outcome(own, "volunteer")
        assert (told.ending, told.reason) == (Ending.WITHDRAWN, "no_account")


@pytest.mark.parametrize("off", ["tenant", "project", "account"])
async def test_three_switches_are_needed(running: World, off: str) -> None:
    async with running.tenant("ann", backfill="all") as charity:
        await charity.set_tenant(enabled=off != "tenant", backfill="all")
        await charity.set_project("advice", enabled=off != "project")
        await charity.publish(charity.account("ann", allowed=off != "account"))
        await charity.settings_known(3)
        action = charity.action("referral", "ann", project="advice")
        await charity.publish(action)
        told = await charity.outcome(action, "ann")
        assert told.ending is Ending.WITHDRAWN
        assert off in told.reason
        assert await charity.calendar("ann") == []
        await charity.set_tenant(backfill="all")
        await charity.set_project("advice")
        await charity.publish(charity.account("ann"))
        assert await until(lambda: charity.calendar("ann"), "the action with all three on")


async def test_items_from_before_stay_out(running: World) -> None:
    async with running.tenant(enabled=False) as charity:
        await running.admin.put_user(charity.directory, charity.mailbox("ann"))
        before = charity.action("before", "ann", start="2098-06-01T09:00:00")
        await charity.publish(before, charity.account("ann"))
        await charity.outcome(before, "ann")
        await charity.set_tenant()
        await charity.settings_known(2)
        old = charity.action("old", "ann", created_at="2019-01-01T00:00:00Z")
        after = charity.action("after", "ann")
        await charity.publish(old, after)
        assert (await charity.outcome(after, "ann")).ending is Ending.APPLIED
        assert (await charity.outcome(old, "ann")).reason == "before_activation"

        async def left_out() -> bool:
            return any(reason == "before_activation" for _, _, reason in charity.ended("before", "ann"))

        await until(left_out, "the item from before to be left out")
        assert await charity.subjects("ann") == ["○ Do after"]


async def test_sharing_is_never_changed(running: World) -> None:
    async with running.tenant("ann", "boss") as charity:
        action = charity.action("referral", "ann", owner="boss")
        await charity.publish(action)
        await charity.outcome(action, "ann")
        stats = await charity.stats()
        touched = {name for name in stats.operations if "permission" in name}
        assert touched <= {"list_permissions", "get_permission"}


async def test_troubleshooting_is_a_command(running: World) -> None:
    async with running.tenant("ann", "boss") as charity:
        await charity.set_project("advice", default_duration_minutes=50)
        action = charity.action("referral", "ann", owner="boss")
        await charity.publish(action)
        await charity.outcome(action, "ann")
        code, out, _ = await calbus("why", f"{charity.id}/{SOURCE}/action/referral", **running.environment())
        assert code == 0
        assert "The item's owner may not edit the assignee's calendar." in out
        thin = charity.action("thin", "ann", project="advice", duration="PT0S")
        await charity.publish(thin)
        await charity.outcome(thin, "ann")
        (event,) = await charity.calendar("ann")
        assert (event.end - event.start).total_seconds() == 50 * 60
