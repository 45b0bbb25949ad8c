"""What Microsoft Graph and Entra ID can answer, and that it never costs an event, an outcome or another mailbox."""

import asyncio
from typing import Any

import pytest

from schemas.results import Ending
from simulator.client import App, Fault, MailboxKind
from tests.support.waiting import until
from tests.support.world import CLIENT_ID, CLIENT_SECRET, Tenant, World


async def applied_once(tenant: Tenant, *items: str, user: str = "ann") -> None:
    """Each item stands exactly once in the calendar, and nothing was done that Microsoft asks not to do."""
    assert await tenant.subjects(user) == sorted(f"○ Do {item}" for item in items)
    assert not (await tenant.stats()).violations


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 503, "empty_body": True}, id="503"),
        pytest.param({"status": 503, "empty_body": True, "after_apply": True}, id="503 after it was applied"),
        pytest.param({"status": 500, "code": "ErrorInternalServerTransientError"}, id="500"),
        pytest.param({"drop": True}, id="connection lost"),
        pytest.param({"drop": True, "after_apply": True}, id="answer lost"),
        pytest.param({"status": 429, "code": "ApplicationThrottled", "retry_after_s": 1}, id="429"),
        pytest.param({"status": 412, "code": "ErrorIrresolvableConflict"}, id="spurious 412"),
        pytest.param({"status": 404, "code": "MailboxNotEnabledForRESTAPI"}, id="mailbox away for a moment"),
        pytest.param({"status": 401, "code": "InvalidAuthenticationToken"}, id="401"),
    ],
)
@pytest.mark.parametrize("operation", ["create", "update", "delete"])
async def test_a_passing_fault(running: World, operation: str, fault: dict[str, Any]) -> None:
    async with running.tenant("ann") as tenant:
        other = tenant.action("other", "ann")
        item = tenant.action("item", "ann")
        await tenant.publish(other)
        await tenant.outcome(other, "ann")
        if operation != "create":
            await tenant.publish(item)
            await tenant.outcome(item, "ann")
        await running.admin.add_fault(Fault(tenant=tenant.directory, operation=operation, times=2, **fault))
        last: Any = {
            "create": lambda: item,
            "update": lambda: tenant.action("item", "ann", description="Changed"),
            "delete": lambda: tenant.deleted("item"),
        }[operation]()
        await tenant.publish(last)
        outcome = await tenant.outcome(last, "ann")
        assert outcome.ending is (Ending.WITHDRAWN if operation == "delete" else Ending.APPLIED)
        await applied_once(tenant, *(["other"] if operation == "delete" else ["other", "item"]))
        if operation == "update":
            described = {event.subject: event.body_text for event in await tenant.calendar("ann")}
            assert described["○ Do item"] == "Changed"


async def test_a_rejected_entry_fails_once_and_the_next_revision_is_tried(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.add_fault(
            Fault(tenant=tenant.directory, operation="create", times=1, status=400, code="ErrorInvalidRequest")
        )
        first = tenant.action("a1", "ann")
        await tenant.publish(first)
        outcome = await tenant.outcome(first, "ann")
        assert (outcome.ending, outcome.reason) == (Ending.FAILED, "event_rejected")
        second = tenant.action("a1", "ann", description="Mended")
        await tenant.publish(second)
        assert (await tenant.outcome(second, "ann")).ending is Ending.APPLIED
        await applied_once(tenant, "a1")


async def test_what_the_user_removed_comes_back_with_the_next_revision_only(running: World) -> None:
    async with running.tenant("ann") as tenant:
        first = tenant.action("a1", "ann")
        await tenant.publish(first)
        await tenant.outcome(first, "ann")
        [event] = await tenant.calendar("ann")
        await running.admin.user_deletes(tenant.directory, tenant.mailbox("ann"), event.id)
        again, marker = first, tenant.action("marker", "ann")
        await tenant.publish(again, marker)
        await tenant.outcome(marker, "ann")
        assert await tenant.subjects("ann") == ["○ Do marker"]
        second = tenant.action("a1", "ann", description="Still to do")
        await tenant.publish(second)
        assert (await tenant.outcome(second, "ann")).ending is Ending.APPLIED
        await applied_once(tenant, "a1", "marker")


async def test_what_the_user_changed_is_overwritten_by_the_next_revision_only(running: World) -> None:
    async with running.tenant("ann") as tenant:
        first = tenant.action("a1", "ann")
        await tenant.publish(first)
        await tenant.outcome(first, "ann")
        [event] = await tenant.calendar("ann")
        await running.admin.user_edits(tenant.directory, tenant.mailbox("ann"), event.id, {"subject": "Mine"})
        marker = tenant.action("marker", "ann")
        await tenant.publish(first, marker)
        await tenant.outcome(marker, "ann")
        assert await tenant.subjects("ann") == ["Mine", "○ Do marker"]
        second = tenant.action("a1", "ann", description="Still to do")
        await tenant.publish(second)
        assert (await tenant.outcome(second, "ann")).ending is Ending.APPLIED
        await applied_once(tenant, "a1", "marker")


async def test_a_copy_that_the_user_made_is_left_alone(running: World) -> None:
    async with running.tenant("ann") as tenant:
        first = tenant.action("a1", "ann")
        await tenant.publish(first)
        await tenant.outcome(first, "ann")
        [event] = await tenant.calendar("ann")
        copy = {"subject": "Copy", "start": event.graph["start"], "end": event.graph["end"]}
        copy["singleValueExtendedProperties"] = [
            {"id": name, "value": value} for name, value in event.extended_properties.items()
        ]
        await running.admin.user_creates(tenant.directory, tenant.mailbox("ann"), copy)
        await running.admin.add_fault(
            Fault(tenant=tenant.directory, operation="delete", times=1, status=503, empty_body=True)
        )
        gone = tenant.deleted("a1")
        await tenant.publish(gone)
        await tenant.outcome(gone, "ann")
        assert await tenant.subjects("ann") == ["Copy"]


@pytest.mark.parametrize(
    ("mailbox", "reason"),
    [
        (MailboxKind.UNLICENSED, "mailbox_not_in_cloud"),
        (MailboxKind.ON_PREMISES, "mailbox_not_in_cloud"),
        (MailboxKind.MISSING, "mailbox_unknown"),
        (MailboxKind.BLOCKED_BY_POLICY, "access_policy"),
    ],
)
async def test_a_mailbox_that_cannot_be_written_recovers_when_mended(
    running: World, mailbox: MailboxKind, reason: str
) -> None:
    async with running.tenant("ann", "bob") as tenant:
        await running.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=mailbox)
        action = tenant.action("a1", "ann", "bob")
        await tenant.publish(action)
        await tenant.outcome(action, "bob")

        async def told() -> bool:
            rows = await running.fetch("SELECT last_error FROM entry WHERE tenant = $1 AND assignee = 'ann'", tenant.id)
            return bool(rows[0]["last_error"] == reason)

        await until(told, f"the reason {reason}")
        await running.admin.put_user(tenant.directory, tenant.mailbox("ann"))
        assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        pytest.param(App("another", secret="x"), "app_not_in_directory", id="not consented"),
        pytest.param(App(CLIENT_ID, secret="another"), "credential_wrong", id="wrong secret"),
        pytest.param(App(CLIENT_ID, secret=CLIENT_SECRET), "access_denied", id="no role"),
        pytest.param(
            App(CLIENT_ID, secret=CLIENT_SECRET, roles=("Calendars.ReadWrite",), disabled=True),
            "app_disabled",
            id="disabled",
        ),
    ],
)
async def test_a_tenant_whose_door_is_shut_recovers_when_it_opens(running: World, app: App, reason: str) -> None:
    async with running.tenant("ann") as shut, running.tenant("bob") as open_one:
        await running.admin.put_tenant(shut.directory, apps=[app], domain=shut.domain)
        waiting, free = shut.action("a1", "ann"), open_one.action("a1", "bob")
        await running.publish(waiting, free)
        assert (await open_one.outcome(free, "bob")).ending is Ending.APPLIED

        async def told() -> bool:
            rows = await running.fetch("SELECT last_error FROM entry WHERE tenant = $1", shut.id)
            return bool(rows and rows[0]["last_error"] == reason)

        await until(told, f"the reason {reason}")
        good = App(CLIENT_ID, secret=CLIENT_SECRET, roles=("Calendars.ReadWrite",))
        await running.admin.put_tenant(shut.directory, apps=[good], domain=shut.domain)
        assert (await shut.outcome(waiting, "ann")).ending is Ending.APPLIED


async def test_a_throttled_mailbox_does_not_delay_fifty_others(running: World) -> None:
    users = [f"u{number}" for number in range(50)]
    async with running.tenant("slow", *users) as tenant:
        await running.admin.set_limits(tenant.directory, latency_ms=20)
        fault = await running.admin.add_fault(
            Fault(
                tenant=tenant.directory,
                user=tenant.mailbox("slow"),
                status=429,
                code="ApplicationThrottled",
                message="Application is over its MailboxConcurrency limit.",
                retry_after_s=2,
            )
        )
        slow = [tenant.action(f"s{number}", "slow") for number in range(100)]
        await tenant.publish(*slow)
        fast = [tenant.action(f"f{number}", user) for number, user in enumerate(users * 4)]
        await tenant.publish(*fast)
        await asyncio.gather(*(tenant.outcome(action, action.assignees[0]) for action in fast))
        # Another refusal every two seconds: nothing of it was written, and nobody waited for it.
        assert await tenant.calendar("slow") == []
        await running.admin.remove_fault(fault)
        await asyncio.gather(*(tenant.outcome(action, "slow") for action in slow))
        assert len(await tenant.calendar("slow")) == 100
        stats = await tenant.stats()
        assert not stats.violations
        assert max(stats.max_in_flight.values()) <= 3


async def test_a_mailbox_is_never_asked_more_than_three_things_at_once(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.set_limits(tenant.directory, latency_ms=30)
        actions = [tenant.action(f"a{number}", "ann") for number in range(60)]
        await tenant.publish(*actions)
        await asyncio.gather(*(tenant.outcome(action, "ann") for action in actions))
        stats = await tenant.stats()
        assert (stats.refusals, stats.violations, stats.invitations) == (0, {}, 0)
        assert stats.max_in_flight[tenant.mailbox("ann")] == 3


async def test_an_update_whose_answer_was_lost_is_not_taken_for_undone(running: World) -> None:
    async with running.tenant("ann") as tenant:
        first = tenant.action("a1", "ann", title="Before")
        await tenant.publish(first)
        await tenant.outcome(first, "ann")
        await running.admin.add_fault(
            Fault(tenant=tenant.directory, operation="update", times=1, status=503, retry_after_s=2, after_apply=True)
        )
        second = tenant.action("a1", "ann", title="Between")
        await tenant.publish(second)

        async def written() -> bool:
            return await tenant.subjects("ann") == ["○ Between"]

        await until(written, "the update whose answer is lost")
        back = tenant.action("a1", "ann", title="Before")
        await tenant.publish(back)
        assert (await tenant.outcome(back, "ann")).ending is Ending.APPLIED
        assert await tenant.subjects("ann") == ["○ Before"]


async def test_a_delete_whose_answer_was_lost_is_not_taken_for_undone(running: World) -> None:
    async with running.tenant("ann") as tenant:
        first = tenant.action("a1", "ann")
        await tenant.publish(first)
        await tenant.outcome(first, "ann")
        await running.admin.add_fault(
            Fault(tenant=tenant.directory, operation="delete", times=1, status=503, retry_after_s=2, after_apply=True)
        )
        await tenant.publish(tenant.deleted("a1"))

        async def removed() -> bool:
            return not await tenant.calendar("ann")

        await until(removed, "the delete whose answer is lost")
        back = tenant.action("a1", "ann")
        await tenant.publish(back)
        assert (await tenant.outcome(back, "ann")).ending is Ending.APPLIED
        await applied_once(tenant, "a1")


async def test_created_and_deleted_again_while_the_mailbox_rests(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.add_fault(
            Fault(tenant=tenant.directory, operation="create", times=1, status=429, retry_after_s=2, delay_ms=300)
        )
        created = tenant.action("a1", "ann")
        await tenant.publish(created)

        async def marked() -> bool:
            rows = await running.fetch("SELECT in_doubt FROM entry WHERE tenant = $1", tenant.id)
            return bool(rows and rows[0]["in_doubt"])

        await until(marked, "the create to be under way")
        gone = tenant.deleted("a1")
        await tenant.publish(gone)
        assert (await tenant.outcome(gone, "ann")).ending is Ending.WITHDRAWN
        assert await tenant.calendar("ann") == []


async def test_a_create_that_arrives_late_leaves_no_orphan(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.add_fault(
            Fault(tenant=tenant.directory, operation="create", times=1, drop=True, after_apply=True)
        )
        await running.admin.add_fault(Fault(tenant=tenant.directory, operation="list", times=1, delay_ms=1))
        created = tenant.action("a1", "ann")
        await tenant.publish(created)

        async def applied() -> bool:
            return bool(await tenant.calendar("ann"))

        await until(applied, "the create whose answer is lost")
        gone = tenant.deleted("a1")
        await tenant.publish(gone)
        assert (await tenant.outcome(gone, "ann")).ending is Ending.WITHDRAWN
        assert await tenant.calendar("ann") == []


async def test_a_mailbox_that_hangs_is_left_alone_and_holds_nobody(world: World) -> None:
    users = [f"u{number}" for number in range(12)]
    async with world.ingest(), world.writer(graph_timeout_s=2), world.tenant("hangs", *users) as tenant:
        await world.admin.add_fault(Fault(tenant=tenant.directory, user=tenant.mailbox("hangs"), delay_ms=60_000))
        stuck = [tenant.action(f"s{number}", "hangs") for number in range(30)]
        quick = [tenant.action(f"q{number}", users[number % 12]) for number in range(120)]
        await tenant.publish(*stuck, *quick)
        await asyncio.gather(*(tenant.outcome(action, action.assignees[0]) for action in quick))
        assert await tenant.calendar("hangs") == []
        for user in users:
            assert len(await tenant.calendar(user)) == 10


async def test_a_mailbox_that_got_another_name_keeps_its_entries(running: World) -> None:
    async with running.tenant("ann") as tenant:
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        await tenant.outcome(action, "ann")
        # The old name is gone, and what stood there stands nowhere: the entry must appear under the new one.
        await running.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.MISSING)
        await running.admin.put_user(tenant.directory, tenant.mailbox("ann-new"))
        await tenant.publish(tenant.account("ann", mailbox=tenant.mailbox("ann-new")))

        async def shown() -> bool:
            return await tenant.subjects("ann-new") == ["○ Do a1"]

        await until(shown, "the entry under the new name")


async def test_one_tenants_bulk_does_not_delay_another(world: World) -> None:
    crowd = [f"u{number}" for number in range(30)]
    async with (
        world.ingest(),
        world.writer(writer_max_entries=200),
        world.tenant(*crowd) as bulk,
        world.tenant("ann") as other,
    ):
        await world.admin.set_limits(bulk.directory, latency_ms=100)
        await bulk.publish(*[bulk.action(f"a{number}", crowd[number % 30]) for number in range(1_500)])

        async def busy() -> bool:
            return bool(world.outcomes[bulk.id])

        await until(busy, "the bulk to be under way")
        action = other.action("a1", "ann")
        await other.publish(action)
        decided_at = (await other.outcome(action, "ann")).decided_at

        async def through() -> bool:
            return len(world.outcomes[bulk.id]) == 1_500

        await until(through, "the bulk to be through")
        # Measured in the bulk's own progress, and not when this test hears of it: that says how busy the machine is.
        assert sum(outcome.decided_at < decided_at for outcome in world.outcomes[bulk.id]) < 1_500 / 2


async def test_what_cannot_leave_a_closed_mailbox_is_left_and_told(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann", "ann-new") as tenant:
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        await tenant.outcome(action, "ann")
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.BLOCKED_BY_POLICY)
        await tenant.publish(tenant.account("ann", mailbox=tenant.mailbox("ann-new")))

        async def moved() -> bool:
            return await tenant.subjects("ann-new") == ["○ Do a1"]

        await until(moved, "the entry in the new mailbox")

        async def told() -> str:
            return (await tenant.outcome(action, "ann")).notice

        assert "left there" in (await until(told, "the notice") or "")
        assert len(tenant.ended("a1", "ann")) == 2
        # Told once: the next revision has nothing to do with it.
        changed = tenant.action("a1", "ann", description="Changed")
        await tenant.publish(changed)
        assert (await tenant.outcome(changed, "ann")).notice == ""
        assert await tenant.subjects("ann-new") == ["○ Do a1"]
