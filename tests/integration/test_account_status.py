"""Mailboxes and tenants in trouble: told once with whose move it is, looked at seldom, and mended by themselves."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from calbus.entry import Applied, Desired, Entry, Intent, ItemKey, Place, entry_id_of
from calbus.store import accounts
from calbus.store.accounts import Account
from schemas.items import Kind
from schemas.reasons import NextActor, Reason, explain
from schemas.results import AccountState, AccountStatus, Ending
from schemas.switches import AccountUnlinked, Leftovers
from services.writer import prober
from services.writer.accounts import Accounts
from services.writer.retries import Backoff
from services.writer.troubles import Finding, Pace
from simulator.client import App, Fault, MailboxKind, Secret
from tests.support.waiting import until
from tests.support.world import CLIENT_ID, CLIENT_SECRET, ROLES, Tenant, World, kill

GOOD = App(CLIENT_ID, secret=CLIENT_SECRET, roles=ROLES)
QUICK_SESSION = {"writer_session_timeout_ms": 6_000}
# Longer than any token: consent that is given or withdrawn shows in the next one.
TOKEN_LASTS_S = 7_200
# So seldom that no probe but the confirming one happens while a test counts.
SELDOM = {"writer_reprobe_first_s": 600.0, "writer_reprobe_max_s": 600.0}


def check(status: AccountStatus, reason: str, next_actor: NextActor) -> None:
    """The status says what is wrong, whose move it is and what to do."""
    assert (status.state, status.reason, status.next_actor) == (AccountState.TROUBLED, reason, next_actor)
    assert status.message == explain(Reason(reason)).says
    assert status.remedy


def told(tenant: Tenant, user: str | None) -> list[str]:
    """The reasons that were published, oldest first."""
    return [status.reason.value for status in tenant.statuses(user)]


async def resting(world: World, tenant: Tenant) -> int:
    """How many entries rest."""
    [row] = await world.fetch("SELECT count(*) FROM entry WHERE tenant = $1 AND due_at = 'infinity'", tenant.id)
    return int(row[0])


async def at_rest(world: World, tenant: Tenant, count: int) -> None:
    """Wait until so many entries rest."""

    async def look() -> bool:
        return await resting(world, tenant) == count

    await until(look, f"{count} entries to rest")


async def calls(tenant: Tenant, user: str | None = None) -> int:
    """How many requests addressed the tenant's users, or one of them."""
    address = tenant.mailbox(user) if user is not None else None
    ledger = await tenant.world.admin.ledger(tenant.directory, user=address)
    return len([entry for entry in ledger.value if entry.operation != "token"])


@pytest.mark.parametrize(
    ("mailbox", "reason"),
    [
        (MailboxKind.UNLICENSED, "mailbox_not_in_cloud"),
        (MailboxKind.ON_PREMISES, "mailbox_not_in_cloud"),
        (MailboxKind.MISSING, "mailbox_unknown"),
        (MailboxKind.BLOCKED_BY_POLICY, "access_policy"),
    ],
)
async def test_a_mailbox_in_trouble_is_told_once_and_mends_itself(
    running: World, mailbox: MailboxKind, reason: str
) -> None:
    async with running.tenant("ann", "bob") as tenant:
        first = tenant.action("a0", "ann", "bob")
        await tenant.publish(first)
        await asyncio.gather(tenant.outcome(first, "ann"), tenant.outcome(first, "bob"))
        await running.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=mailbox)
        actions = [tenant.action(f"a{number}", "ann", "bob") for number in range(1, 21)]
        await tenant.publish(*actions)
        # The tenant's other account is not touched.
        await asyncio.gather(*(tenant.outcome(action, "bob") for action in actions))
        check(await tenant.status("ann", reason), reason, NextActor.ADMINISTRATOR)
        await at_rest(running, tenant, 20)
        await running.admin.put_user(tenant.directory, tenant.mailbox("ann"))
        ended = await asyncio.gather(*(tenant.outcome(action, "ann") for action in actions))
        assert {outcome.ending for outcome in ended} == {Ending.APPLIED}
        await tenant.status("ann", "working")
        assert told(tenant, "ann") == ["working", reason, "working"]
        assert (told(tenant, "bob"), told(tenant, None)) == (["working"], [])
        assert len(await tenant.subjects("ann")) == 21


async def test_a_mailbox_outside_the_scope_is_told_and_let_in_after_the_lag(running: World) -> None:
    async with running.tenant("ann", "bob", roles=()) as tenant:
        await running.admin.change_app(tenant.directory, CLIENT_ID, scoped_mailboxes=(tenant.mailbox("bob"),))
        action = tenant.action("a1", "ann", "bob")
        await tenant.publish(action)
        assert (await tenant.outcome(action, "bob")).ending is Ending.APPLIED
        check(await tenant.status("ann", "access_denied"), "access_denied", NextActor.ADMINISTRATOR)
        await running.admin.set_limits(tenant.directory, reach_lag_s=1.0)
        both = (tenant.mailbox("ann"), tenant.mailbox("bob"))
        await running.admin.change_app(tenant.directory, CLIENT_ID, scoped_mailboxes=both)
        assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED
        await tenant.status("ann", "working")
        assert told(tenant, "ann") == ["access_denied", "working"]
        assert (told(tenant, "bob"), told(tenant, None)) == (["working"], [])


@pytest.mark.parametrize(
    ("app", "reason", "next_actor"),
    [
        pytest.param(App("another", secret="x"), "app_not_in_directory", NextActor.ADMINISTRATOR, id="not there"),
        pytest.param(
            App(CLIENT_ID, secret=CLIENT_SECRET, roles=ROLES, disabled=True),
            "app_disabled",
            NextActor.ADMINISTRATOR,
            id="disabled",
        ),
        pytest.param(
            App(CLIENT_ID, secret="another", roles=ROLES), "credential_wrong", NextActor.OPERATOR, id="secret"
        ),
        pytest.param(
            App(
                CLIENT_ID,
                secrets=(Secret(CLIENT_SECRET, datetime.now(UTC) - timedelta(days=1)),),
                roles=ROLES,
            ),
            "credential_expired",
            NextActor.OPERATOR,
            id="secret expired",
        ),
    ],
)
async def test_a_tenant_whose_door_is_shut_is_told_as_a_whole(
    running: World, app: App, reason: str, next_actor: NextActor
) -> None:
    async with running.tenant("ann", "bob") as shut, running.tenant("eve") as other:
        await running.admin.put_tenant(shut.directory, apps=[app], domain=shut.domain)
        waiting = [shut.action(f"a{number}", "ann", "bob") for number in range(10)]
        free = other.action("a1", "eve")
        await running.publish(*waiting, free)
        assert (await other.outcome(free, "eve")).ending is Ending.APPLIED
        check(await shut.status(None, reason), reason, next_actor)
        await at_rest(running, shut, 20)
        await running.admin.put_tenant(shut.directory, apps=[GOOD], domain=shut.domain)
        ended = await asyncio.gather(*(shut.outcome(action, user) for action in waiting for user in ("ann", "bob")))
        assert {outcome.ending for outcome in ended} == {Ending.APPLIED}
        await shut.status(None, "working")
        assert told(shut, None) == [reason, "working"]
        assert (told(shut, "ann"), told(shut, "bob")) == (["working"], ["working"])
        assert (told(other, "eve"), told(other, None)) == (["working"], [])


async def test_a_directory_that_does_not_exist_is_upstreams_to_correct(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await tenant.set_tenant(directory="00000000-0000-4000-8000-000000000000")
        await tenant.settings_known(2)
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        check(await tenant.status(None, "directory_unknown"), "directory_unknown", NextActor.UPSTREAM)
        await tenant.set_tenant()

        async def applied() -> bool:
            return (1, Ending.APPLIED, "written") in tenant.ended("a1", "ann")

        await until(applied, "the entry in the right directory")
        await tenant.status("ann", "working")


async def test_withdrawn_consent_costs_a_handful_of_calls_however_much_waits(world: World) -> None:
    users = [f"u{number}" for number in range(20)]
    async with world.ingest(), world.writer(**SELDOM), world.tenant(*users) as tenant:
        first = [tenant.action(f"f{number}", user) for number, user in enumerate(users)]
        await tenant.publish(*first)
        await asyncio.gather(*(tenant.outcome(action, action.assignees[0]) for action in first))
        await world.admin.change_app(tenant.directory, CLIENT_ID, roles=())
        await world.admin.advance_clock(tenant.directory, TOKEN_LASTS_S)
        calls_before, before = await calls(tenant), await tenant.stats()
        waiting = [tenant.action(f"w{number}", users[number % 20]) for number in range(400)]
        await tenant.publish(waiting[0])
        check(await tenant.status(None, "consent_missing"), "consent_missing", NextActor.ADMINISTRATOR)
        await tenant.publish(*waiting[1:])
        await at_rest(world, tenant, 400)
        after = await tenant.stats()
        # What the first entry asked before it was known; the other 399 asked nothing.
        assert await calls(tenant) - calls_before <= 8
        assert after.token_requests - before.token_requests <= 3
        assert told(tenant, None) == ["consent_missing"]
        assert all(told(tenant, user) == ["working"] for user in users)
        # A changed setting is a sign that somebody is at work on it: it is looked at at once.
        await world.admin.change_app(tenant.directory, CLIENT_ID, roles=ROLES)
        await world.admin.advance_clock(tenant.directory, TOKEN_LASTS_S)
        await tenant.set_tenant()
        ended = await asyncio.gather(*(tenant.outcome(action, action.assignees[0]) for action in waiting))
        assert {outcome.ending for outcome in ended} == {Ending.APPLIED}
        assert told(tenant, None) == ["consent_missing", "working"]


async def test_a_bulk_for_a_shut_tenant_asks_for_a_token_a_few_times(world: World) -> None:
    users = [f"u{number}" for number in range(20)]
    async with world.ingest(), world.writer(**SELDOM), world.tenant(*users) as tenant:
        await world.admin.put_tenant(tenant.directory, apps=[App("another", secret="x")], domain=tenant.domain)
        await tenant.publish(*[tenant.action(f"a{number}", users[number % 20]) for number in range(400)])
        await tenant.status(None, "app_not_in_directory")
        await at_rest(world, tenant, 400)
        stats = await tenant.stats()
        assert (await calls(tenant), stats.tokens_issued) == (0, 0)
        assert stats.token_requests <= 3


@pytest.mark.slow
async def test_a_bulk_for_a_broken_mailbox_asks_it_a_few_times(world: World) -> None:
    async with world.ingest(), world.writer(**SELDOM), world.tenant("ann") as tenant:
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.UNLICENSED)
        await tenant.publish(*[tenant.action(f"a{number}", "ann") for number in range(300)])
        await tenant.status("ann", "mailbox_not_in_cloud")
        await at_rest(world, tenant, 300)
        # The three that may be under way to a mailbox at a time, and the one that made sure.
        assert await calls(tenant, "ann") <= 8
        # A corrected account is tried at once, whatever the pace of the probes.
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann-new"))
        await tenant.publish(tenant.account("ann", mailbox=tenant.mailbox("ann-new")))

        async def written() -> bool:
            return len(await tenant.calendar("ann-new")) == 300

        await until(written, "all entries in the other mailbox")
        await tenant.status("ann", "working")
        assert told(tenant, "ann") == ["mailbox_not_in_cloud", "working"]


async def test_names_that_alternate_are_one_trouble(running: World) -> None:
    async with running.tenant("ann") as tenant:
        for code in ("ResourceNotFound", "MailboxNotEnabledForRESTAPI"):
            await running.admin.add_fault(
                Fault(tenant=tenant.directory, status=404, code=code, probability=0.5, seed=7, times=4)
            )
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED
        await tenant.status("ann", "working")
        names = told(tenant, "ann")
        assert len(names) <= 2
        assert names[-1] == "working"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"operation": "create", "status": 503, "empty_body": True, "times": 6}, id="503"),
        pytest.param({"status": 429, "code": "ApplicationThrottled", "retry_after_s": 1, "times": 2}, id="429"),
        pytest.param({"status": 404, "code": "MailboxNotEnabledForRESTAPI", "times": 1}, id="away for a moment"),
        pytest.param({"operation": "token", "status": 503, "times": 3}, id="no token for a moment"),
    ],
)
async def test_what_passes_is_no_trouble(running: World, fault: dict[str, Any]) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.add_fault(Fault(tenant=tenant.directory, **fault))
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED
        await tenant.status("ann", "working")
        assert (told(tenant, "ann"), told(tenant, None)) == (["working"], [])


async def test_what_is_to_leave_a_deleted_users_mailbox_does_not_wait_for_it(running: World) -> None:
    async with running.tenant("ann") as tenant:
        actions = [tenant.action(f"a{number}", "ann") for number in range(5)]
        await tenant.publish(*actions)
        await asyncio.gather(*(tenant.outcome(action, "ann") for action in actions))
        await running.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.MISSING)
        gone = [tenant.deleted(action.id) for action in actions]
        await tenant.publish(*gone)
        ended = await asyncio.gather(*(tenant.outcome(event, "ann") for event in gone))
        assert {outcome.ending for outcome in ended} == {Ending.WITHDRAWN}


@pytest.mark.slow
async def test_a_writer_killed_in_the_middle_of_a_trouble_forgets_nothing(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant:
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.UNLICENSED)
        actions = [tenant.action(f"a{number}", "ann") for number in range(10)]
        async with world.process("writer", **QUICK_SESSION) as process:
            await tenant.publish(*actions)
            await tenant.status("ann", "mailbox_not_in_cloud")
            # Killed while a probe is under way: its claim runs out, and the next is made by somebody else.
            await world.admin.add_fault(Fault(tenant=tenant.directory, delay_ms=60_000, times=1))

            async def probing() -> bool:
                [row] = await world.fetch(
                    "SELECT probe_entry IS NULL AND probe_at > now() + interval '1 s' FROM account_status"
                    " WHERE tenant = $1 AND assignee = 'ann'",
                    tenant.id,
                )
                return bool(row[0])

            await until(probing, "a probe to be under way")
            kill(process)
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"))
        async with world.writer(**QUICK_SESSION):
            ended = await asyncio.gather(*(tenant.outcome(action, "ann") for action in actions))
            assert {outcome.ending for outcome in ended} == {Ending.APPLIED}
            await tenant.status("ann", "working")
        assert told(tenant, "ann") == ["mailbox_not_in_cloud", "working"]
        assert len(await tenant.calendar("ann")) == 10


async def test_two_writers_probe_once(world: World) -> None:
    users = [f"u{number}" for number in range(8)]
    pace = {"writer_reprobe_first_s": 1.0, "writer_reprobe_max_s": 1.0}
    async with world.ingest(), world.writer(**pace), world.writer(**pace), world.tenant(*users) as tenant:
        for user in users:
            await world.admin.put_user(tenant.directory, tenant.mailbox(user), mailbox=MailboxKind.UNLICENSED)
        await tenant.publish(*[tenant.action(f"a{number}", users[number % 8]) for number in range(160)])
        for user in users:
            await tenant.status(user, "mailbox_not_in_cloud")
        await at_rest(world, tenant, 160)
        probed = "SELECT sum(attempts) FROM account_status WHERE tenant = $1"
        [[attempts_before]] = await world.fetch(probed, tenant.id)
        calls_before = await calls(tenant)

        async def probed_again() -> bool:
            [[attempts]] = await world.fetch(probed, tenant.id)
            return bool(attempts >= attempts_before + 24)

        await until(probed_again, "three probes of each mailbox")
        [[attempts]] = await world.fetch(probed, tenant.id)
        # One call a probe, and at most one under way in each mailbox.
        assert await calls(tenant) - calls_before <= attempts - attempts_before + 2 * len(users)
        assert len(world.status_ids) == len(set(world.status_ids))
        assert all(told(tenant, user) == ["mailbox_not_in_cloud"] for user in users)


async def test_what_rests_for_no_trouble_is_woken(world: World) -> None:
    async with world.ingest(), world.tenant("ann") as tenant:
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.UNLICENSED)
        actions = [tenant.action(f"a{number}", "ann") for number in range(5)]
        async with world.writer(**SELDOM):
            await tenant.publish(*actions)
            await at_rest(world, tenant, 5)
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"))
        await world.fetch("DELETE FROM account_status WHERE tenant = $1", tenant.id)
        async with world.writer(**SELDOM):
            ended = await asyncio.gather(*(tenant.outcome(action, "ann") for action in actions))
        assert {outcome.ending for outcome in ended} == {Ending.APPLIED}


async def test_an_entry_that_somebody_holds_is_put_to_rest_when_it_is_free(world: World) -> None:
    async with world.ingest(), world.writer(**SELDOM), world.tenant("ann") as tenant:
        await world.admin.add_fault(Fault(tenant=tenant.directory, operation="create", delay_ms=3_000, times=1))
        await tenant.publish(tenant.action("a1", "ann"))

        async def under_way() -> bool:
            return sum(fault.hits for fault in await world.admin.faults(tenant.directory)) == 1

        await until(under_way, "the call to be under way")
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.UNLICENSED)
        connection = await asyncpg.connect(world.dsn)
        try:
            async with connection.transaction():
                stuck = tenant.entry_id("a1", "ann")
                await connection.execute("SELECT FROM entry WHERE entry_id = $1 FOR UPDATE", stuck)
                # What it says of its account does not wait for it.
                await tenant.status("ann", "mailbox_not_in_cloud")
                assert await resting(world, tenant) == 0
        finally:
            await connection.close()
        await at_rest(world, tenant, 1)
        assert told(tenant, "ann") == ["mailbox_not_in_cloud"]


async def test_what_is_too_much_to_be_woken_at_once_is_woken_after(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "WAKE_MAX_ENTRIES", 3)
    monkeypatch.setattr(prober, "COUNT_INTERVAL_S", 0.5)
    monkeypatch.setattr(prober, "WOKEN_MAX_ENTRIES", 2)
    async with world.ingest(), world.tenant("ann") as tenant:
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.UNLICENSED)
        async with world.writer():
            actions = [tenant.action(f"a{number}", "ann") for number in range(9)]
            await tenant.publish(*actions)
            await tenant.status("ann", "mailbox_not_in_cloud")
            await at_rest(world, tenant, 9)
            await world.admin.put_user(tenant.directory, tenant.mailbox("ann"))
            await tenant.status("ann", "working")
            for action in actions:
                assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED


async def test_a_trouble_of_which_only_refused_entries_rest_ends(world: World) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann", "olga") as tenant:
        refused = [tenant.action(f"a{number}", "ann", owner="olga") for number in range(10)]
        await tenant.publish(*refused)
        ended = await asyncio.gather(*(tenant.outcome(action, "ann") for action in refused))
        assert {outcome.ending for outcome in ended} == {Ending.REFUSED}
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.UNLICENSED)
        await tenant.status("ann", "mailbox_not_in_cloud")
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"))
        await tenant.status("ann", "working")
        assert await tenant.calendar("ann") == []


async def test_healthy_entries_are_probed_with_before_refused_ones(world: World) -> None:
    async with world.ingest(), world.tenant("ann", "olga") as tenant:
        async with world.writer(**SELDOM):
            refused = [tenant.action(f"a{number}", "ann", owner="olga") for number in range(10)]
            await tenant.publish(*refused)
            await asyncio.gather(*(tenant.outcome(action, "ann") for action in refused))
            await world.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.UNLICENSED)
            await tenant.publish(tenant.action("mine", "ann"))
            await at_rest(world, tenant, 11)
        connection = await asyncpg.connect(world.dsn)
        try:
            for _ in range(20):
                async with connection.transaction():
                    [probe] = await accounts.due_probes(connection, datetime.now(UTC) + timedelta(hours=1), 10)
                assert probe.entry_id == tenant.entry_id("mine", "ann")
        finally:
            await connection.close()


async def test_rows_of_accounts_are_locked_before_entries_when_a_tenants_trouble_ends(world: World) -> None:
    tenant, ann = Account("contoso", ""), Account("contoso", "ann")
    opening, other = await asyncpg.connect(world.dsn), await asyncpg.connect(world.dsn)
    try:
        await opening.execute(
            "INSERT INTO account_status (tenant, assignee, reason, probe_at)"
            " VALUES ($1, '', 'consent_missing', now()), ($1, 'ann', 'mailbox_unknown', now() + interval '1 h')",
            tenant.tenant,
        )
        async with opening.transaction():
            assert set(await accounts.lock(opening, [tenant])) == {tenant, ann}
            # Nobody can hold the account's row, and wait for an entry, while its tenant's trouble is being ended.
            with pytest.raises(asyncpg.LockNotAvailableError):
                await other.execute("SELECT FROM account_status WHERE assignee = 'ann' FOR UPDATE NOWAIT")
            await accounts.probe_now(opening, [ann])
        [row] = await other.fetch("SELECT probe_at <= now() AS due FROM account_status WHERE assignee = 'ann'")
        assert row["due"]
    finally:
        await opening.close()
        await other.close()


async def test_a_trouble_that_nothing_waits_for_any_more_ends_by_itself(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.UNLICENSED)
        await tenant.publish(tenant.action("a1", "ann"))
        await tenant.status("ann", "mailbox_not_in_cloud")
        gone = tenant.deleted("a1")
        await tenant.publish(gone)
        await tenant.outcome(gone, "ann")
        assert told(tenant, "ann") == ["mailbox_not_in_cloud"]
        await running.admin.put_user(tenant.directory, tenant.mailbox("ann"))
        await tenant.status("ann", "working")
        assert (await tenant.stats()).violations == {}


async def test_a_look_at_a_mailbox_that_hangs_holds_up_no_other_tenants(world: World) -> None:
    writer = world.writer(graph_timeout_s=120, writer_drain_s=0.2)
    async with world.ingest(), writer, world.tenant("ann") as hanging, world.tenant("bob") as other:
        for tenant, user in ((hanging, "ann"), (other, "bob")):
            await world.admin.put_user(tenant.directory, tenant.mailbox(user), mailbox=MailboxKind.UNLICENSED)
            await tenant.publish(tenant.action("a1", user))
            await tenant.status(user, "mailbox_not_in_cloud")
        await world.admin.add_fault(Fault(tenant=hanging.directory, operation="get_calendar", delay_ms=60_000, times=1))
        for tenant, user in ((hanging, "ann"), (other, "bob")):
            await tenant.publish(gone := tenant.deleted("a1"))
            await tenant.outcome(gone, user)
            if tenant is hanging:

                async def hangs() -> bool:
                    return sum(fault.hits for fault in await world.admin.faults(hanging.directory)) == 1

                await until(hangs, "the mailbox to be looked at")
        await world.admin.put_user(other.directory, other.mailbox("bob"))
        await other.status("bob", "working")
        assert told(hanging, "ann") == ["mailbox_not_in_cloud"]


async def test_the_trouble_of_an_account_that_is_unlinked_ends_with_it(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.UNLICENSED)
        await tenant.publish(tenant.action("a1", "ann"))
        await tenant.status("ann", "mailbox_not_in_cloud")
        revision = tenant.revision("account ann")
        await tenant.publish(AccountUnlinked(tenant=tenant.id, user="ann", revision=revision, entries=Leftovers.KEEP))
        assert (await tenant.status("ann", "account_unlinked")).state is AccountState.WORKING
        # Linked again, the account's first success is told as ever.
        await running.admin.put_user(tenant.directory, tenant.mailbox("ann"))
        await tenant.publish(tenant.account("ann"))
        await tenant.publish(tenant.action("a2", "ann"))
        await tenant.status("ann", "working")
        assert told(tenant, "ann") == ["mailbox_not_in_cloud", "account_unlinked", "working"]


async def test_a_tenants_trouble_that_nothing_waits_for_any_more_ends_by_itself(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.put_tenant(tenant.directory, apps=[App("another", secret="x")], domain=tenant.domain)
        await tenant.publish(tenant.action("a1", "ann"))
        await tenant.status(None, "app_not_in_directory")
        gone = tenant.deleted("a1")
        await tenant.publish(gone)
        await tenant.outcome(gone, "ann")
        await running.admin.put_tenant(tenant.directory, apps=[GOOD], domain=tenant.domain)
        await tenant.status(None, "working")


async def test_an_account_that_is_linked_again_is_told_of_within_the_hour(world: World) -> None:
    pace = Pace(Backoff(60.0, 3_600.0), confirm_s=1.0, token_s=60.0, unclear_s=60.0)
    known, now = Accounts(pace), datetime.now(UTC)
    async with world.ingest(), world.tenant("ann") as tenant:
        place = Place(tenant.directory, tenant.mailbox("ann"))
        item = ItemKey(tenant.id, "planner", Kind.ACTION, "a1")
        desired = Desired(1, 1, Intent.PRESENT, Reason.WRITTEN, place, b"{}", b"hash")
        entry = Entry(entry_id_of(item, "ann"), item, "ann", desired, Applied(), owed=True)
        finding = Finding(entry, worked=True, bears_roles=True)
        connection = await asyncpg.connect(world.dsn)
        try:

            async def hear(at: datetime) -> None:
                async with connection.transaction():
                    judgement = await known.judge(connection, [finding], at)
                known.remember(judgement)

            await hear(now)
            assert known.is_known(entry, bears_roles=True)
            assert await connection.execute("DELETE FROM account_status WHERE tenant = $1", tenant.id) == "DELETE 2"
            await hear(now + timedelta(minutes=59))
            assert await connection.fetch("SELECT FROM account_status WHERE tenant = $1", tenant.id) == []
            # Whatever is recorded, also by others, lets the hour pass.
            await known.judge(connection, [], now + timedelta(minutes=60))
            assert not known.is_known(entry, bears_roles=True)
            await hear(now + timedelta(minutes=61))
            told_now = "SELECT told FROM account_status WHERE tenant = $1 AND assignee = 'ann'"
            assert await connection.fetchval(told_now, tenant.id) == "working"
        finally:
            await connection.close()
