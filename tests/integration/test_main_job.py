"""Events on Kafka become entries in calendars: the main job, on real engines."""

import asyncio
from datetime import datetime

import pytest

from schemas.results import Ending
from schemas.switches import Direction
from tests.support.waiting import until
from tests.support.world import World

SUPERSEDED = (Ending.SUPERSEDED, "newer_revision")


async def test_an_action_appears_is_changed_and_leaves(running: World) -> None:
    async with running.tenant("ann") as tenant:
        created = tenant.action("a1", "ann", title="Paint the shed", place="Yard", reminder_minutes=15, private=True)
        await tenant.publish(created)
        outcome = await tenant.outcome(created, "ann")
        assert (outcome.ending, outcome.reason) == (Ending.APPLIED, "written")
        [event] = await tenant.calendar("ann")
        assert event.subject == "○ Paint the shed"
        assert (event.start, event.end) == (datetime(2026, 12, 1, 9), datetime(2026, 12, 1, 10))
        assert event.start_time_zone == "W. Europe Standard Time"
        shown = {name: event.graph[name] for name in ("sensitivity", "isReminderOn", "reminderMinutesBeforeStart")}
        assert shown == {"sensitivity": "private", "isReminderOn": True, "reminderMinutesBeforeStart": 15}
        assert event.graph["location"]["displayName"] == "Yard"

        changed = tenant.action("a1", "ann", title="Paint the barn", status="completed")
        await tenant.publish(changed)
        assert (await tenant.outcome(changed, "ann")).ending is Ending.APPLIED
        [after] = await tenant.calendar("ann")
        assert (after.id, after.subject, after.graph["showAs"]) == (event.id, "✔ Paint the barn", "free")

        deleted = tenant.deleted("a1")
        await tenant.publish(deleted)
        outcome = await tenant.outcome(deleted, "ann")
        assert (outcome.ending, outcome.reason) == (Ending.WITHDRAWN, "deleted")
        assert await tenant.calendar("ann") == []
        assert not (await tenant.stats()).violations


async def test_a_contact_names_its_client(running: World) -> None:
    async with running.tenant("ann") as tenant:
        contact = tenant.contact("c1", "ann", client={"name": "Mr Osei"}, description="About the allotment")
        await tenant.publish(contact)
        await tenant.outcome(contact, "ann")
        [event] = await tenant.calendar("ann")
        assert "Mr Osei" in event.body_text
        assert "About the allotment" in event.body_text
        gone = tenant.contact_deleted("c1")
        await tenant.publish(gone)
        assert (await tenant.outcome(gone, "ann")).reason == "deleted"
        assert await tenant.calendar("ann") == []


async def test_several_assignees_each_get_their_entry(running: World) -> None:
    async with running.tenant("ann", "bob", "cas") as tenant:
        action = tenant.action("a1", "ann", "bob", "cas")
        await tenant.publish(action)
        for user in ("ann", "bob", "cas"):
            assert (await tenant.outcome(action, user)).ending is Ending.APPLIED
            assert await tenant.subjects(user) == ["○ Do a1"]


async def test_reassigning_moves_the_entry(running: World) -> None:
    async with running.tenant("ann", "bob") as tenant:
        first = tenant.action("a1", "ann")
        await tenant.publish(first)
        await tenant.outcome(first, "ann")
        second = tenant.action("a1", "bob")
        await tenant.publish(second)
        assert (await tenant.outcome(second, "ann")).reason == "unassigned"
        assert (await tenant.outcome(second, "bob")).ending is Ending.APPLIED
        assert (await tenant.subjects("ann"), await tenant.subjects("bob")) == ([], ["○ Do a1"])


async def test_who_was_unassigned_hears_no_more_and_can_come_back(running: World) -> None:
    async with running.tenant("ann", "bob") as tenant:
        events = [tenant.action("a1", *who) for who in (("ann", "bob"), ("ann",), ("ann",), ("ann", "bob"))]
        for event in events:
            await tenant.publish(event)
            await tenant.outcome(event, "ann")
        await tenant.outcome(events[-1], "bob")
        endings = [(ending, reason) for _, ending, reason in tenant.ended("a1", "bob")]
        revisions = [revision for revision, _, _ in tenant.ended("a1", "bob")]
        assert revisions == [1, 2, 4]
        assert endings[-1] == (Ending.APPLIED, "written")
        assert await tenant.subjects("bob") == ["○ Do a1"]


async def test_an_older_revision_after_a_newer_changes_nothing(running: World) -> None:
    async with running.tenant("ann") as tenant:
        newer = tenant.action("a1", "ann", title="New", revision=7)
        older = tenant.action("a1", "ann", title="Old", revision=3)
        marker = tenant.action("marker", "ann")
        await tenant.publish(newer)
        await tenant.outcome(newer, "ann")
        await tenant.publish(older, marker)
        await tenant.outcome(marker, "ann")
        assert await tenant.subjects("ann") == ["○ Do marker", "○ New"]
        assert [revision for revision, _, _ in tenant.ended("a1", "ann")] == [7]


async def test_a_duplicate_changes_nothing(running: World) -> None:
    async with running.tenant("ann") as tenant:
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        await tenant.outcome(action, "ann")
        before = await tenant.writes()
        marker = tenant.action("a1", "ann", title="Next")
        await tenant.publish(action, action, marker)
        await tenant.outcome(marker, "ann")
        assert await tenant.writes() == before + 1
        assert [revision for revision, _, _ in tenant.ended("a1", "ann")] == [1, 2]


async def test_a_burst_of_edits_costs_a_handful_of_calls(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.set_limits(tenant.directory, latency_ms=50)
        burst = [tenant.action("a1", "ann", title=f"Draft {number}") for number in range(1, 51)]
        await tenant.publish(*burst)
        assert (await tenant.outcome(burst[-1], "ann")).ending is Ending.APPLIED
        assert await tenant.subjects("ann") == ["○ Draft 50"]
        assert await tenant.writes() <= 8

        async def all_ended() -> bool:
            return len(tenant.ended("a1", "ann")) == 50

        await until(all_ended, "an outcome for each of the 50 revisions")
        ended = tenant.ended("a1", "ann")
        assert [revision for revision, _, _ in ended] == list(range(1, 51))
        assert {(ending, reason) for _, ending, reason in ended} <= {SUPERSEDED, (Ending.APPLIED, "written")}


async def test_editing_back_before_the_write_leaves_the_calendar_alone(running: World) -> None:
    async with running.tenant("ann") as tenant:
        first = tenant.action("a1", "ann", title="Same")
        await tenant.publish(first)
        await tenant.outcome(first, "ann")
        [before] = await tenant.calendar("ann")
        again = tenant.action("a1", "ann", title="Same", description="")
        await tenant.publish(again)
        assert (await tenant.outcome(again, "ann")).reason == "unchanged"
        assert await tenant.calendar("ann") == [before]


async def test_all_day(running: World) -> None:
    async with running.tenant("ann") as tenant:
        one_day = tenant.action("one", "ann", start="2026-12-01", duration=None, all_day=True)
        two_days = tenant.action("two", "ann", start="2026-12-01", end="2026-12-03", all_day=True)
        await tenant.publish(one_day, two_days)
        await tenant.outcome(one_day, "ann")
        await tenant.outcome(two_days, "ann")
        events = {event.subject: event for event in await tenant.calendar("ann")}
        assert all(event.is_all_day for event in events.values())
        assert (events["○ Do one"].start, events["○ Do one"].end) == (datetime(2026, 12, 1), datetime(2026, 12, 2))
        assert events["○ Do two"].end == datetime(2026, 12, 3)

        timed = tenant.action("one", "ann", start="2026-12-01T14:00:00")
        await tenant.publish(timed)
        assert (await tenant.outcome(timed, "ann")).ending is Ending.APPLIED
        events = {event.subject: event for event in await tenant.calendar("ann")}
        assert not events["○ Do one"].is_all_day
        assert events["○ Do one"].end == datetime(2026, 12, 1, 15)


CLOCK_CHANGES = {
    "over the gap": ("2027-03-28T01:30:00", {"duration": "PT1H"}, "2027-03-28T00:30", "2027-03-28T01:30"),
    "in the gap": ("2027-03-28T02:30:00", {"duration": "PT1H"}, "2027-03-28T01:30", "2027-03-28T02:30"),
    "after the gap": ("2027-03-28T09:00:00", {"end": "2027-03-28T17:00:00"}, "2027-03-28T07:00", "2027-03-28T15:00"),
    "first pass": ("2026-10-25T02:30:00", {"duration": "PT30M"}, "2026-10-25T00:30", "2026-10-25T01:00"),
    "into second": ("2026-10-25T01:30:00", {"duration": "PT2H"}, "2026-10-24T23:30", "2026-10-25T01:30"),
    "second pass": ("2026-10-25T01:15:00Z", {"end": "2026-10-25T01:45:00Z"}, "2026-10-25T01:15", "2026-10-25T01:45"),
}


@pytest.mark.parametrize(("start", "fields", "start_utc", "end_utc"), CLOCK_CHANGES.values(), ids=CLOCK_CHANGES)
async def test_days_on_which_the_clock_changes_in_amsterdam(
    running: World, start: str, fields: dict[str, str], start_utc: str, end_utc: str
) -> None:
    async with running.tenant("ann") as tenant:
        action = tenant.action("a1", "ann", start=start, **fields)
        await tenant.publish(action)
        await tenant.outcome(action, "ann")
        [event] = await tenant.calendar("ann")
        assert event.start_utc == datetime.fromisoformat(start_utc)
        assert event.end_utc == datetime.fromisoformat(end_utc)


async def test_an_item_shows_while_it_has_a_start(running: World) -> None:
    async with running.tenant("ann") as tenant:
        unplanned = tenant.action("a1", "ann", start=None, duration=None)
        await tenant.publish(unplanned)
        outcome = await tenant.outcome(unplanned, "ann")
        assert (outcome.ending, outcome.reason, outcome.next_actor) == (Ending.WITHDRAWN, "no_start", "upstream")
        assert await tenant.calendar("ann") == []

        planned = tenant.action("a1", "ann")
        await tenant.publish(planned)
        assert (await tenant.outcome(planned, "ann")).ending is Ending.APPLIED
        assert await tenant.subjects("ann") == ["○ Do a1"]

        lost = tenant.action("a1", "ann", start=None, duration=None)
        await tenant.publish(lost)
        assert (await tenant.outcome(lost, "ann")).reason == "no_start"
        assert await tenant.calendar("ann") == []


async def test_an_item_without_a_duration_takes_the_default(running: World) -> None:
    async with running.tenant("ann", default_duration_minutes=45) as tenant:
        await tenant.set_project("garden", default_duration_minutes=20)
        await tenant.settings_known(3)
        plain = tenant.action("plain", "ann", duration=None)
        empty = tenant.action("empty", "ann", duration="PT0S", project="garden")
        await tenant.publish(plain, empty)
        await tenant.outcome(plain, "ann")
        await tenant.outcome(empty, "ann")
        ends = {event.subject: event.end for event in await tenant.calendar("ann")}
        assert ends == {"○ Do plain": datetime(2026, 12, 1, 9, 45), "○ Do empty": datetime(2026, 12, 1, 9, 20)}


async def test_nobody_without_an_account_is_written_to(running: World) -> None:
    async with running.tenant("ann") as tenant:
        action = tenant.action("a1", "ann", "stranger")
        await tenant.publish(action)
        outcome = await tenant.outcome(action, "stranger")
        assert (outcome.ending, outcome.reason, outcome.next_actor) == (Ending.WITHDRAWN, "no_account", "user")
        assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED


async def test_an_account_that_comes_later_gets_what_waited(running: World) -> None:
    async with running.tenant(backfill="all") as tenant:
        await running.admin.put_user(tenant.directory, tenant.mailbox("late"))
        action = tenant.action("a1", "late")
        await tenant.publish(action)
        assert (await tenant.outcome(action, "late")).reason == "no_account"
        await tenant.publish(tenant.account("late"))

        async def shown() -> bool:
            return await tenant.subjects("late") == ["○ Do a1"]

        await until(shown, "the entry to appear")


@pytest.mark.parametrize(
    ("off", "on"),
    [
        pytest.param({"allowed": False}, {"allowed": True}, id="not allowed"),
        pytest.param({"blocked": True}, {"blocked": False}, id="blocked"),
        pytest.param({"direction": Direction.NONE}, {"direction": Direction.BOTH}, id="no direction"),
    ],
)
async def test_off_is_off_and_on_again_catches_up(running: World, off: dict, on: dict) -> None:
    async with running.tenant("ann") as tenant:
        before = tenant.action("a1", "ann")
        await tenant.publish(before)
        await tenant.outcome(before, "ann")
        await tenant.publish(tenant.account("ann", **off))

        async def held() -> bool:
            return tenant.ended("a1", "ann")[-1][1] is Ending.WITHDRAWN

        await until(held, "the entry to be held")
        changed, gone = tenant.action("a1", "ann", title="Changed"), tenant.action("a2", "ann")
        await tenant.publish(changed, gone)
        assert (await tenant.outcome(changed, "ann")).ending is Ending.WITHDRAWN
        assert await tenant.subjects("ann") == ["○ Do a1"]
        await tenant.publish(tenant.account("ann", **on))

        async def caught_up() -> bool:
            return await tenant.subjects("ann") == ["○ Changed", "○ Do a2"]

        await until(caught_up, "what was held to be written")


async def test_a_project_is_switched_and_selected(running: World) -> None:
    async with running.tenant("ann") as tenant:
        action = tenant.action("a1", "ann", project="garden")
        await tenant.publish(action)
        assert (await tenant.outcome(action, "ann")).reason == "project_not_enabled"

        async def shown() -> bool:
            return await tenant.subjects("ann") == ["○ Do a1"]

        async def empty() -> bool:
            return not await tenant.calendar("ann")

        await tenant.set_project("garden")
        await until(shown, "the enabled project's item")
        await tenant.publish(tenant.account("ann", projects=["kitchen"]))
        await until(empty, "the deselected project's item to leave")

        async def told() -> bool:
            return tenant.ended("a1", "ann")[-1][2] == "project_not_selected"

        await until(told, "the outcome that says why")
        await tenant.publish(tenant.account("ann", projects=["garden"]))
        await until(shown, "the selected project's item")
        await tenant.set_project("garden", enabled=False)
        await until(empty, "the disabled project's item to leave")


async def test_a_mailbox_that_changes_takes_its_entries_along(running: World) -> None:
    async with running.tenant("ann", "ann-new") as tenant:
        actions = [tenant.action(f"a{number}", "ann") for number in range(5)]
        await tenant.publish(*actions)
        for action in actions:
            await tenant.outcome(action, "ann")
        await tenant.publish(tenant.account("ann", mailbox=tenant.mailbox("ann-new")))

        async def moved() -> bool:
            return len(await tenant.calendar("ann-new")) == 5 and not await tenant.calendar("ann")

        await until(moved, "the entries to move")
        [latest] = {tenant.ended(action.id, "ann")[-1][1:] for action in actions}
        assert latest == (Ending.APPLIED, "written")


async def test_tenants_never_meet(running: World) -> None:
    async with running.tenant("ann") as one, running.tenant("ann") as other:
        mine, theirs = one.action("same-id", "ann", title="One's"), other.action("same-id", "ann", title="Other's")
        await running.publish(mine, theirs)
        await asyncio.gather(one.outcome(mine, "ann"), other.outcome(theirs, "ann"))
        assert (await one.subjects("ann"), await other.subjects("ann")) == (["○ One's"], ["○ Other's"])
        gone = one.deleted("same-id")
        await running.publish(gone)
        await one.outcome(gone, "ann")
        assert (await one.subjects("ann"), await other.subjects("ann")) == ([], ["○ Other's"])


async def test_what_came_in_and_what_came_out_reconcile(running: World) -> None:
    async with running.tenant("ann", "bob") as tenant:
        events = [
            tenant.action(f"a{number % 5}", *(("ann", "bob") if number % 3 else ("ann",)), title=f"Take {number}")
            for number in range(40)
        ]
        await tenant.publish(*events)

        async def settled() -> bool:
            rows = await running.fetch(
                "SELECT count(*), count(*) FILTER (WHERE owed OR due_at IS NOT NULL) FROM entry WHERE tenant = $1",
                tenant.id,
            )
            return bool(rows[0][0] == 10 and rows[0][1] == 0)

        await until(settled, "every entry to be settled")
        plans = await running.fetch("SELECT entry_id, plan FROM entry WHERE tenant = $1", tenant.id)
        expected = {(row["entry_id"], plan) for row in plans for plan in range(1, row["plan"] + 1)}

        async def reported() -> bool:
            return {(o.entry_id, o.plan) for o in running.outcomes[tenant.id]} == expected

        await until(reported, "exactly one outcome for each plan")
        assert len(running.outcomes[tenant.id]) == len(expected)
