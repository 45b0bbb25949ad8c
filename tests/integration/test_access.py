"""Assigning needs edit access: who may put an entry into whose calendar, and how a refusal comes and goes."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from calbus.graph.calls import Request
from calbus.graph.client import graph_client
from schemas.reasons import NextActor
from schemas.results import AccessRecheckRequested, Ending, Outcome
from schemas.switches import AccountUnlinked, Assigning, Leftovers
from services.writer.settings import WriterSettings
from simulator.client import Fault, MailboxKind
from tests.support.waiting import until
from tests.support.world import CLIENT_ID, ROLES, Tenant, World

WITH_GROUPS = (*ROLES, "GroupMember.Read.All")
ACCEPTED = (Ending.APPLIED, "written")
LACKS = (Ending.REFUSED, "assigner_lacks_access")
LOOKS = ("list_permissions", "get_calendar", "list_member_of")
# Lifts what it can soon, as a writer does within minutes.
SOON = {"writer_access_ttl_s": 0.4, "writer_access_refusal_ttl_s": 0.2, "writer_refusal_recheck_s": 0.5}


async def share(tenant: Tenant, role: str, user: str | None = "olga", of: str = "ann") -> None:
    """Give a person, or everybody, a role on somebody's calendar."""
    address = tenant.mailbox(user) if user is not None else ""
    await tenant.world.admin.share_calendar(tenant.directory, tenant.mailbox(of), role, address)


async def looks(tenant: Tenant) -> Counter[str]:
    """How often Graph was asked who may do what."""
    page = await tenant.world.admin.ledger(tenant.directory)
    return Counter(entry.operation for entry in page.value if entry.operation in LOOKS)


async def says(tenant: Tenant, event: Any, user: str = "ann") -> tuple[Ending, str]:
    """How the event's newest plan ended, once it has."""
    outcome = await tenant.outcome(event, user)
    return outcome.ending, outcome.reason.value


async def assign(tenant: Tenant, item: str = "a1", owner: str = "olga", user: str = "ann", **fields: Any) -> Any:
    """Publish an action by one user for another; gives how it ended."""
    event = tenant.action(item, user, owner=owner, **fields)
    await tenant.publish(event)
    return await says(tenant, event, user)


async def is_lifted(tenant: Tenant, event: Any) -> Outcome:
    """Wait until the refused revision is applied."""

    async def look() -> Outcome | None:
        outcome = await tenant.outcome(event, "ann")
        return outcome if outcome.ending is Ending.APPLIED else None

    outcome = await until(look, "the refusal to be lifted")
    assert outcome is not None
    return outcome


@pytest.mark.parametrize("role", ["write", "delegateWithoutPrivateEventAccess", "delegateWithPrivateEventAccess"])
async def test_granted_by_name(running: World, role: str) -> None:
    async with running.tenant("ann", "olga") as tenant:
        await share(tenant, role)
        assert await assign(tenant) == ACCEPTED
        assert (await looks(tenant))["list_member_of"] == 0


async def test_granted_by_the_organisation(running: World) -> None:
    async with running.tenant("ann", "olga") as tenant:
        await share(tenant, "write", None)
        assert await assign(tenant) == ACCEPTED


async def test_a_lesser_role_by_name_goes_before_the_organisations(running: World) -> None:
    async with running.tenant("ann", "olga") as tenant:
        await share(tenant, "write", None)
        await share(tenant, "read")
        assert await assign(tenant) == LACKS


@pytest.mark.parametrize("depth", [1, 3])
async def test_granted_by_a_group(running: World, depth: int) -> None:
    async with running.tenant("ann", "olga", "otto", roles=WITH_GROUPS) as tenant:
        inner = tenant.mailbox("olga")
        for level in range(depth):
            last = level == depth - 1
            await running.admin.put_group(
                tenant.directory, f"g{level}", members=[inner], mail=tenant.mailbox("planners") if last else None
            )
            inner = f"g{level}"
        await share(tenant, "write", "planners")
        assert await assign(tenant) == ACCEPTED
        assert await assign(tenant, "a2", owner="otto") == LACKS


@pytest.mark.parametrize("role", ["none", "freeBusyRead", "limitedRead", "read", "custom"])
async def test_denied(running: World, role: str) -> None:
    async with running.tenant("ann", "olga") as tenant:
        await share(tenant, role)
        event = tenant.action("a1", "ann", owner="olga")
        await tenant.publish(event)
        outcome = await tenant.outcome(event, "ann")
        assert (outcome.ending, outcome.reason) == LACKS
        assert outcome.next_actor is NextActor.UPSTREAM
        assert "shares the calendar" in outcome.remedy
        assert await tenant.calendar("ann") == []
        page = await running.admin.ledger(tenant.directory, mutation=True)
        assert page.value == [], "nothing at all was written, not even a category"


async def test_who_assigns_to_themselves_needs_nothing(running: World) -> None:
    async with running.tenant("ann") as tenant:
        assert await assign(tenant, owner="ann") == ACCEPTED
        event = tenant.action("a2", "ann")
        await tenant.publish(event)
        assert await says(tenant, event) == ACCEPTED
        assert not await looks(tenant)


async def test_a_tenant_that_lets_anyone_assign_is_not_asked(running: World) -> None:
    async with running.tenant("ann", assigning=Assigning.ANYONE) as tenant:
        assert await assign(tenant, owner="nobody") == ACCEPTED
        assert not await looks(tenant)


async def test_each_assignee_has_an_answer_of_their_own(running: World) -> None:
    async with running.tenant("ann", "bob", "olga") as tenant:
        await share(tenant, "write", of="ann")
        event = tenant.action("a1", "ann", "bob", "olga", owner="olga")
        await tenant.publish(event)
        assert await says(tenant, event, "ann") == ACCEPTED
        assert await says(tenant, event, "bob") == LACKS
        assert await says(tenant, event, "olga") == ACCEPTED
        assert await tenant.calendar("bob") == []


async def test_an_owner_without_account_is_refused_until_there_is_one(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.put_user(tenant.directory, tenant.mailbox("olga"))
        await share(tenant, "write")
        event = tenant.action("a1", "ann", owner="olga")
        await tenant.publish(event)
        assert await says(tenant, event) == (Ending.REFUSED, "owner_has_no_account")
        assert await tenant.calendar("ann") == []
        await tenant.publish(tenant.account("olga"))
        await is_lifted(tenant, event)
        assert await tenant.subjects("ann") == ["○ Do a1"]
        unlinked = AccountUnlinked(
            tenant=tenant.id, user="olga", revision=tenant.revision("account olga"), entries=Leftovers.KEEP
        )
        await tenant.publish(unlinked)
        assert await assign(tenant, title="By nobody now") == (Ending.REFUSED, "owner_has_no_account")
        assert await tenant.subjects("ann") == ["○ Do a1"]


@pytest.mark.parametrize(
    "kind",
    [MailboxKind.MISSING, MailboxKind.UNLICENSED, MailboxKind.ON_PREMISES, MailboxKind.BLOCKED_BY_POLICY, None],
)
async def test_an_owner_without_mailbox_is_refused(running: World, kind: MailboxKind | None) -> None:
    async with running.tenant("ann") as tenant:
        if kind is not None:
            await running.admin.put_user(tenant.directory, tenant.mailbox("olga"), mailbox=kind)
        await share(tenant, "write")
        await tenant.publish(tenant.account("olga"))
        await tenant.settings_known(3)
        assert await assign(tenant) == (Ending.REFUSED, "owner_has_no_mailbox")
        assert await tenant.calendar("ann") == []


async def test_a_new_owner_without_access_leaves_the_entry_as_last_accepted(running: World) -> None:
    async with running.tenant("ann", "olga", "otto") as tenant:
        await share(tenant, "write")
        assert await assign(tenant) == ACCEPTED
        [before] = await tenant.calendar("ann")
        assert await assign(tenant, owner="otto", title="Taken over") == LACKS
        [after] = await tenant.calendar("ann")
        assert (after.id, after.etag) == (before.id, before.etag)
        # The old owner is still trusted, and the new one once the right is given.
        assert await assign(tenant, title="Given back") == ACCEPTED
        assert await tenant.subjects("ann") == ["○ Given back"]


async def test_a_new_owner_of_the_same_words_is_checked_too(running: World) -> None:
    async with running.tenant("ann", "olga", "otto", "uma") as tenant:
        await share(tenant, "write")
        await share(tenant, "write", "uma")
        assert await assign(tenant) == ACCEPTED
        assert await assign(tenant, owner="otto") == LACKS
        assert (await assign(tenant, owner="uma"))[0] is Ending.APPLIED


async def test_a_revision_under_the_same_owner_is_not_checked_again(world: World) -> None:
    async with world.ingest(), world.writer(**SOON), world.tenant("ann", "olga") as tenant:
        await share(tenant, "write")
        assert await assign(tenant) == ACCEPTED
        before = await looks(tenant)
        await share(tenant, "read")
        for number in range(5):
            assert await assign(tenant, description=f"Version {number}") == ACCEPTED
        assert await looks(tenant) == before


async def test_an_item_that_left_and_comes_back_is_assigned_anew(world: World) -> None:
    async with world.ingest(), world.writer(writer_access_ttl_s=0.001), world.tenant("ann", "olga") as tenant:
        await share(tenant, "write")
        assert await assign(tenant) == ACCEPTED
        away = tenant.action("a1", owner="olga")
        await tenant.publish(away)
        assert (await says(tenant, away))[0] is Ending.WITHDRAWN
        await share(tenant, "read")
        assert await assign(tenant) == LACKS
        assert await tenant.calendar("ann") == []


async def test_another_mailbox_of_the_assignee_is_another_calendar(running: World) -> None:
    async with running.tenant("ann", "olga", "ann.new") as tenant:
        await share(tenant, "write")
        assert await assign(tenant) == ACCEPTED
        event = tenant.action("a2", "ann", owner="olga")
        await tenant.publish(event)
        assert await says(tenant, event) == ACCEPTED
        await tenant.publish(tenant.account("ann", mailbox=tenant.mailbox("ann.new")))

        async def refused() -> bool:
            return await says(tenant, event) == LACKS

        await until(refused, "the move to be refused")
        assert await tenant.subjects("ann") == ["○ Do a1", "○ Do a2"], "what stands is not lost in a refused move"
        assert await tenant.calendar("ann.new") == []
        await share(tenant, "write", of="ann.new")
        await tenant.publish(AccessRecheckRequested(tenant=tenant.id))
        await is_lifted(tenant, event)

        async def moved() -> bool:
            return await tenant.subjects("ann.new") == ["○ Do a1", "○ Do a2"] and await tenant.calendar("ann") == []

        await until(moved, "the entries to move")


@pytest.mark.parametrize("leaves", ["deleted", "unassigned"])
async def test_an_owner_without_access_still_removes(running: World, leaves: str) -> None:
    async with running.tenant("ann", "olga", "otto") as tenant:
        await share(tenant, "write")
        assert await assign(tenant) == ACCEPTED
        assert await assign(tenant, owner="otto") == LACKS
        event = tenant.deleted("a1") if leaves == "deleted" else tenant.action("a1", owner="otto")
        await tenant.publish(event)
        assert await says(tenant, event) == (Ending.WITHDRAWN, leaves)
        assert await tenant.calendar("ann") == []


@pytest.mark.parametrize("operation", ["list_permissions", "get_calendar", "list_member_of"])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 503, "empty_body": True}, id="503"),
        pytest.param({"status": 429, "code": "ApplicationThrottled", "retry_after_s": 1}, id="429"),
        pytest.param({"status": 500, "code": "ErrorInternalServerTransientError"}, id="500"),
        pytest.param({"status": 401, "code": "InvalidAuthenticationToken"}, id="401"),
        pytest.param({"status": 404, "code": "ErrorItemNotFound"}, id="404 that says nothing"),
        pytest.param({"status": 400, "code": "BadRequest"}, id="400"),
        pytest.param({"drop": True}, id="connection lost"),
    ],
)
async def test_unknown_is_tried_again_and_never_refused(running: World, operation: str, fault: dict[str, Any]) -> None:
    async with running.tenant("ann", "olga", roles=WITH_GROUPS) as tenant:
        await running.admin.put_group(
            tenant.directory, "planners", members=[tenant.mailbox("olga")], mail=tenant.mailbox("planners")
        )
        await share(tenant, "write", "planners")
        await running.admin.add_fault(Fault(tenant=tenant.directory, operation=operation, times=3, **fault))
        assert await assign(tenant) == ACCEPTED
        assert tenant.ended("a1", "ann") == [(1, *ACCEPTED)]
        assert not (await tenant.stats()).violations


async def test_an_owner_whose_mailbox_is_throttled_holds_nobody_up(running: World) -> None:
    async with running.tenant("ann", "olga") as tenant:
        await share(tenant, "write")
        await running.admin.add_fault(
            Fault(tenant=tenant.directory, operation="get_calendar", status=429, retry_after_s=60, times=1)
        )
        held = tenant.action("held", "ann", owner="olga")
        await tenant.publish(held)

        async def asked() -> bool:
            return (await looks(tenant))["get_calendar"] == 1

        await until(asked, "the owner's mailbox to be asked")
        mine = tenant.action("mine", "ann", owner="ann")
        await tenant.publish(mine)
        assert await says(tenant, mine) == ACCEPTED
        assert tenant.ended("held", "ann") == []


async def test_an_owner_whose_mailbox_is_slow_holds_nobody_up(running: World) -> None:
    users = [f"u{number}" for number in range(8)]
    async with running.tenant("ann", "olga", *users) as tenant:
        await share(tenant, "write")
        slow = Fault(
            tenant=tenant.directory, user=tenant.mailbox("olga"), operation="get_calendar", delay_ms=12_000, times=1
        )
        await running.admin.add_fault(slow)
        held = tenant.action("held", "ann", owner="olga")
        others = {user: tenant.action(f"of {user}", user) for user in users}
        await tenant.publish(held, *others.values())
        async with asyncio.timeout(6):
            await asyncio.gather(*(tenant.outcome(action, user) for user, action in others.items()))
        assert tenant.ended("held", "ann") == []
        # What had to wait is written all the same, and was asked about once.
        assert await says(tenant, held) == ACCEPTED
        assert (await looks(tenant))["get_calendar"] == 1


async def test_groups_that_may_not_be_read_are_unknown(world: World) -> None:
    async with world.ingest(), world.writer(**SOON, graph_token_doubt_s=0.2), world.tenant("ann", "olga") as tenant:
        await world.admin.put_group(
            tenant.directory, "planners", members=[tenant.mailbox("olga")], mail=tenant.mailbox("planners")
        )
        await share(tenant, "write", "planners")
        event = tenant.action("a1", "ann", owner="olga")
        await tenant.publish(event)

        async def last_error() -> bool:
            rows = await world.fetch("SELECT last_error, attempts FROM entry WHERE tenant = $1", tenant.id)
            return bool(rows and rows[0]["last_error"] == "access_check_forbidden" and rows[0]["attempts"] > 1)

        await until(last_error, "the check to be forbidden more than once")
        assert tenant.ended("a1", "ann") == []
        await world.admin.change_app(tenant.directory, CLIENT_ID, roles=WITH_GROUPS)
        assert await says(tenant, event) == ACCEPTED


async def test_where_groups_may_not_be_read_people_are_told_from_groups(running: World) -> None:
    async with running.tenant("ann", "olga", "otto") as tenant:
        await share(tenant, "write", "otto")
        assert await assign(tenant) == LACKS
        assert (await looks(tenant))["list_member_of"] == 1


async def test_a_right_given_later_lifts_the_refusal(world: World) -> None:
    async with world.ingest(), world.writer(**SOON), world.tenant("ann", "olga") as tenant:
        event = tenant.action("a1", "ann", owner="olga")
        await tenant.publish(event)
        assert await says(tenant, event) == LACKS
        await share(tenant, "write")
        outcome = await is_lifted(tenant, event)
        assert (outcome.plan, outcome.revision) == (2, 1)
        assert tenant.ended("a1", "ann") == [(1, *LACKS), (1, *ACCEPTED)]
        assert await tenant.subjects("ann") == ["○ Do a1"]


async def test_a_recheck_that_fails_neither_lifts_nor_loses_the_refusal(world: World) -> None:
    async with world.ingest(), world.writer(**SOON), world.tenant("ann", "olga") as tenant:
        event = tenant.action("a1", "ann", owner="olga")
        await tenant.publish(event)
        assert await says(tenant, event) == LACKS
        await world.admin.add_fault(Fault(tenant=tenant.directory, operation="list_permissions", status=503, times=4))
        before = (await looks(tenant))["list_permissions"]

        async def asked_again() -> bool:
            return (await looks(tenant))["list_permissions"] > before + 4

        await until(asked_again, "some rechecks to fail and one to succeed", timeout_s=60.0)
        assert tenant.ended("a1", "ann") == [(1, *LACKS)]
        await share(tenant, "write")
        await is_lifted(tenant, event)
        assert tenant.ended("a1", "ann") == [(1, *LACKS), (1, *ACCEPTED)]


@pytest.mark.parametrize("narrowed", [{}, {"assignee": "ann"}, {"owner": "olga"}, {"assignee": "ann", "owner": "olga"}])
async def test_a_recheck_on_request_does_not_wait(running: World, narrowed: dict[str, str]) -> None:
    """In this world what leads to a refusal is believed for a minute."""
    async with running.tenant("ann", "olga") as tenant:
        event = tenant.action("a1", "ann", owner="olga")
        await tenant.publish(event)
        assert await says(tenant, event) == LACKS
        await share(tenant, "write")
        await tenant.publish(AccessRecheckRequested(tenant=tenant.id, **narrowed))
        await is_lifted(tenant, event)
        assert tenant.ended("a1", "ann") == [(1, *LACKS), (1, *ACCEPTED)]


async def test_a_recheck_on_request_of_others_lifts_nothing(world: World) -> None:
    # Nothing but a request makes anything be read again.
    times = {"writer_access_refusal_ttl_s": 600.0, "writer_refusal_recheck_s": 600.0}
    async with (
        world.ingest(),
        world.writer(**times),
        world.tenant("ann", "olga") as tenant,
        world.tenant("ann", "olga") as other,
    ):
        for one in (tenant, other):
            assert await assign(one) == LACKS
            await share(one, "write")
        await tenant.publish(
            AccessRecheckRequested(tenant=tenant.id, assignee="olga"),
            AccessRecheckRequested(tenant=tenant.id, owner="ann"),
            AccessRecheckRequested(tenant=other.id),
        )

        async def lifted() -> bool:
            return other.ended("a1", "ann")[-1] == (1, *ACCEPTED)

        await until(lifted, "the other tenant's refusal to be lifted")
        assert tenant.ended("a1", "ann") == [(1, *LACKS)]


async def test_two_hundred_entries_cause_one_read(running: World) -> None:
    async with running.tenant("ann", "olga", roles=WITH_GROUPS) as tenant:
        await running.admin.put_group(
            tenant.directory, "planners", members=[tenant.mailbox("olga")], mail=tenant.mailbox("planners")
        )
        await share(tenant, "write", "planners")
        events = [tenant.action(f"a{number}", "ann", owner="olga") for number in range(200)]
        await tenant.publish(*events)
        for event in events:
            assert await says(tenant, event) == ACCEPTED
        assert await looks(tenant) == {"list_permissions": 1, "get_calendar": 1, "list_member_of": 1}
        assert not (await tenant.stats()).violations


async def test_refused_entries_are_rechecked_on_request_by_one_read(world: World) -> None:
    # Nothing but the request makes anything be read again.
    times = {"writer_access_refusal_ttl_s": 600.0, "writer_refusal_recheck_s": 600.0}
    async with world.ingest(), world.writer(**times), world.tenant("ann", "olga") as tenant:
        events = [tenant.action(f"a{number}", "ann", owner="olga") for number in range(100)]
        await tenant.publish(*events)
        for event in events:
            assert await says(tenant, event) == LACKS
        await share(tenant, "write")
        await tenant.publish(AccessRecheckRequested(tenant=tenant.id))
        for event in events:
            await is_lifted(tenant, event)
        assert await looks(tenant) == {"list_permissions": 2, "get_calendar": 2}
        assert len(await tenant.calendar("ann")) == 100


async def test_one_tenants_answers_are_not_anothers(running: World) -> None:
    async with running.tenant("ann", "olga") as granted, running.tenant("ann", "olga") as refused:
        # Two customers may speak of the same people in the same directory.
        await share(granted, "write")
        assert await assign(granted) == ACCEPTED
        assert await assign(refused) == LACKS
        assert await assign(granted, "a2") == ACCEPTED
        assert await refused.calendar("ann") == []


async def test_a_named_calendar_has_a_sharing_of_its_own(running: World) -> None:
    async with running.tenant("ann", "olga") as tenant:
        await share(tenant, "write")
        async with graph_client(running.settings(WriterSettings)) as graph:
            path = f"/users/{tenant.mailbox('ann')}/calendars"
            (made,) = await graph.send(tenant.directory, [Request("test", "POST", path, {}, {"name": "Work"})])
        await tenant.publish(tenant.account("ann", calendar="Work"))

        async def known() -> bool:
            query = "SELECT body ->> 'calendar' AS calendar FROM setting WHERE tenant = $1 AND name = 'ann'"
            return bool((await running.fetch(query, tenant.id))[0]["calendar"] == "Work")

        await until(known, "the account to name the calendar")
        event = tenant.action("a1", "ann", owner="olga")
        await tenant.publish(event)
        assert await says(tenant, event) == LACKS
        await running.admin.share_calendar(
            tenant.directory, tenant.mailbox("ann"), "write", tenant.mailbox("olga"), calendar_id=made.body["id"]
        )
        await tenant.publish(AccessRecheckRequested(tenant=tenant.id, assignee="ann"))
        await is_lifted(tenant, event)


async def test_a_recheck_on_request_is_not_lost_on_a_check_under_way(world: World) -> None:
    seldom = {"writer_refusal_recheck_s": 600.0, "writer_access_refusal_ttl_s": 600.0}
    async with world.ingest(), world.writer(**seldom), world.tenant("ann", "olga") as tenant:
        # Graph reads the sharing, and takes its time to say so.
        late = Fault(tenant=tenant.directory, operation="list_permissions", delay_ms=3_000, after_apply=True, times=1)
        await world.admin.add_fault(late)
        event = tenant.action("a1", "ann", owner="olga")
        await tenant.publish(event)

        async def asked() -> bool:
            return (await looks(tenant))["list_permissions"] == 1

        await until(asked, "the sharing to be read")
        await share(tenant, "write")
        await tenant.publish(AccessRecheckRequested(tenant=tenant.id))
        outcome = await is_lifted(tenant, event)
        assert outcome.revision == 1
        assert tenant.ended("a1", "ann")[-1] == (1, *ACCEPTED)
