"""What none of the five has: one countable end for everything, no mailbox in another's way, and no harm in a crash."""

import asyncio
from datetime import UTC, datetime, timedelta

import orjson

from schemas.changes import EntryEdited, EntryRemoved, EntryRescheduled
from schemas.events import Topic
from schemas.results import Ending
from simulator.client import Fault
from tests.integration.test_commands import calbus
from tests.support.waiting import until
from tests.support.world import SOURCE, World, kill

SLOW_MS = 12_000


async def test_every_event_ends_in_one_outcome(running: World) -> None:
    async with running.tenant("ann", "bob") as tenant:
        events = []
        for number in range(20):
            events.append(
                tenant.action(f"a{number}", "ann", "bob", start=None if number % 3 == 0 else "2026-12-01T09:00")
            )
            if number % 4 == 0:
                events.append(tenant.action(f"a{number}", "ann", "bob", title="Changed"))
            if number % 5 == 0:
                events.append(tenant.deleted(f"a{number}"))
        await tenant.publish(*events)
        before = len(running.dead_letters)
        await running.publish_raw(Topic.ACTIONS, orjson.dumps({"tenant": tenant.id}), headers=[("ce_id", b"1")])
        expected = {(event.id, event.revision, user) for event in events for user in ("ann", "bob")}

        async def all_ended() -> bool:
            ended = {(o.id, o.revision, o.assignee) for o in running.outcomes[tenant.id]}
            return ended == expected and len(running.dead_letters) == before + 1

        await until(all_ended, "an outcome for every revision and assignee, and the dead letter")
        plans = [(o.entry_id, o.plan) for o in running.outcomes[tenant.id]]
        assert len(plans) == len(set(plans)) == len(expected)


async def test_no_mailbox_delays_another(running: World) -> None:
    async with running.tenant("slow", "quick") as tenant:
        fault = Fault(tenant=tenant.directory, user=tenant.mailbox("slow"), status=429, retry_after_s=20)
        rule = await running.admin.add_fault(fault)
        slow = [tenant.action(f"s{number}", "slow") for number in range(50)]
        quick = [tenant.action(f"q{number}", "quick") for number in range(50)]
        await tenant.publish(*slow, *quick)
        await asyncio.gather(*(tenant.outcome(action, "quick") for action in quick))
        assert await tenant.calendar("slow") == []
        await running.admin.remove_fault(rule)
        assert (await tenant.stats()).violations == {}


async def test_no_mailbox_delays_another__slow(running: World) -> None:
    users = [f"u{number}" for number in range(8)]
    async with running.tenant("slow", *users) as tenant:
        await running.admin.add_fault(
            Fault(tenant=tenant.directory, user=tenant.mailbox("slow"), delay_ms=SLOW_MS, times=50)
        )
        waiting = [tenant.action(f"s{number}", "slow") for number in range(20)]
        quick = {user: tenant.action(f"q {user}", user) for user in users}
        # Assigned by the owner of the slow mailbox, who has to be asked about.
        checked = tenant.action("checked", "u0", owner="slow")
        await tenant.publish(*waiting, checked, *quick.values())
        async with asyncio.timeout(SLOW_MS / 1_000 / 2):
            await asyncio.gather(*(tenant.outcome(action, user) for user, action in quick.items()))
        assert tenant.ended("checked", "u0") == []
        assert await tenant.calendar("slow") == []


async def test_anything_may_be_killed(world: World) -> None:
    # For so long a group waits for a member that was killed, before another has its partitions.
    session = {"writer_session_timeout_ms": 6_000}
    async with (
        world.process("ingest"),
        world.process("writer", **session) as first,
        world.tenant("ann", "bob") as tenant,
    ):
        actions = [tenant.action(f"a{number}", "ann", "bob") for number in range(100)]
        await world.admin.set_limits(tenant.directory, latency_ms=30)
        await tenant.publish(*actions)

        async def some() -> bool:
            return 5 < len(await tenant.calendar("ann")) < 95

        await until(some, "the writer to be in the middle")
        kill(first)
        await first.wait()
        async with world.process("writer", **session):
            for action in actions:
                assert (await tenant.outcome(action, "ann", timeout_s=90)).ending is Ending.APPLIED
                await tenant.outcome(action, "bob", timeout_s=90)
        for user in ("ann", "bob"):
            assert await tenant.subjects(user) == sorted(f"○ Do a{number}" for number in range(100))


async def test_nobody_is_sent_mail(running: World) -> None:
    async with running.tenant("ann", "bob") as tenant:
        item = tenant.action("shared", "ann", "bob")
        series = tenant.action("series", "ann", "bob", recurrence="RRULE:FREQ=WEEKLY;COUNT=4")
        await tenant.publish(item, series)
        for user in ("ann", "bob"):
            await tenant.outcome(item, user)
            await tenant.outcome(series, user)
        changed, gone = tenant.action("shared", "ann", title="Changed"), tenant.deleted("series")
        await tenant.publish(changed, gone)
        await tenant.outcome(changed, "ann")
        await tenant.outcome(gone, "bob")
        assert (await tenant.stats()).invitations == 0
        for event in await tenant.calendar("ann"):
            assert event.graph["attendees"] == []


async def test_support_staff_can_ask_why(running: World) -> None:
    async with running.tenant("ann") as tenant:
        action = tenant.action("a1", "ann", start=None, duration=None)
        await tenant.publish(action)
        await tenant.outcome(action, "ann")
        named = f"{tenant.id}/{SOURCE}/action/a1"
        code, words, _ = await calbus("why", named, **running.environment())
        assert code == 0
        assert "Plan the item: give it a start." in words
        code, document, _ = await calbus("why", named, "--assignee", "ann", "--json", **running.environment())
        (entry,) = orjson.loads(document)["items"][0]["entries"]
        assert (code, entry["reason"], entry["next_actor"]) == (0, "no_start", "upstream")


async def test_upstream_hears_of_edits(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant, world.puller():
        moved, edited, gone = (tenant.action(name, "ann", start=soon()) for name in ("moved", "edited", "gone"))
        await tenant.publish(moved, edited, gone)
        for action in (moved, edited, gone):
            await tenant.outcome(action, "ann")
        await tenant.pulled("ann")
        assert tenant.changes("ann") == [], "what calbus writes is no news"
        by_subject = {event.subject: event for event in await tenant.calendar("ann")}
        office, mailbox = world.admin, tenant.mailbox("ann")
        later = {"dateTime": soon(hour=15), "timeZone": "Europe/Amsterdam"}
        await office.user_edits(
            tenant.directory,
            mailbox,
            by_subject["○ Do moved"].id,
            {"start": later, "end": {"dateTime": soon(hour=16), "timeZone": "Europe/Amsterdam"}},
        )
        await office.user_edits(tenant.directory, mailbox, by_subject["○ Do edited"].id, {"subject": "Mine"})
        await office.user_deletes(tenant.directory, mailbox, by_subject["○ Do gone"].id)
        assert (await tenant.change("ann", EntryRescheduled)).id == "moved"
        assert (await tenant.change("ann", EntryEdited)).fields == ("subject",)
        assert (await tenant.change("ann", EntryRemoved)).id == "gone"
        await tenant.pulled("ann")
        assert len(tenant.changes("ann")) == 3


def soon(hour: int = 9) -> str:
    """A time on the day after tomorrow."""
    return f"{(datetime.now(UTC) + timedelta(days=2)).date()}T{hour:02}:00:00"
