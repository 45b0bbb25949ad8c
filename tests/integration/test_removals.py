"""Many removals at once wait for somebody to look; unlinking says itself what becomes of the entries."""

import asyncio
import os
import pty
from collections import Counter
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest

from calbus.bus.kafka import topic_name
from calbus.bus.wakeups import send_wakeups
from calbus.entry import Place
from calbus.settings import KafkaSettings
from calbus.store.entries import Due
from schemas.events import Topic
from schemas.items import ActionUpserted
from schemas.results import Ending, RemovalsConfirmed
from schemas.switches import AccountUnlinked, Leftovers
from tests.integration.test_commands import CALBUS, calbus
from tests.support.waiting import until
from tests.support.world import Tenant, World, kill

QUICK_SESSION = {"ingest_session_timeout_ms": 6_000}


async def written(tenant: Tenant, actions: list[ActionUpserted]) -> None:
    """Publish actions, and wait until each stands in its calendars and its outcomes are told."""
    await tenant.publish(*actions)
    wanted = {(action.id, action.revision, user) for action in actions for user in action.assignees}

    async def missing() -> str:
        ended = {
            (outcome.id, outcome.revision, outcome.assignee)
            for outcome in tenant.world.outcomes[tenant.id]
            if outcome.ending is Ending.APPLIED
        }
        return "" if wanted <= ended else f"{len(wanted - ended)} are missing; {endings(tenant)}"

    async def told() -> bool:
        return not await missing()

    try:
        await until(told, f"{len(wanted)} entries to be written", timeout_s=60)
    except AssertionError as error:
        raise AssertionError(await missing()) from error


def actions(tenant: Tenant, name: str, count: int, user: str = "ann", **fields: Any) -> list[ActionUpserted]:
    return [tenant.action(f"{name}{number:03}", user, **fields) for number in range(count)]


async def garden(tenant: Tenant, *, of_project: int, others: int) -> None:
    """A calendar with entries of the project `garden`, and others."""
    await tenant.set_project("garden")
    await written(tenant, actions(tenant, "g", of_project, project="garden") + actions(tenant, "o", others))


async def parked(tenant: Tenant, *, judged: bool = True) -> int:
    [row] = await tenant.world.fetch(
        "SELECT count(*) FROM entry WHERE tenant = $1 AND parked_at IS NOT NULL AND (judged_by IS NULL) = $2",
        tenant.id,
        judged,
    )
    return int(row[0])


async def parks(tenant: Tenant, count: int) -> None:
    async def look() -> bool:
        return await parked(tenant) == count

    await until(look, f"{count} removals to be parked")


async def stand(tenant: Tenant, count: int, user: str = "ann", *, timeout_s: float = 30.0) -> None:
    async def look() -> bool:
        return len(await tenant.calendar(user)) == count

    await until(look, f"{count} entries in the calendar", timeout_s=timeout_s)


async def settings_worked_through(tenant: Tenant, project: str, revision: int) -> None:
    """Wait until this revision of the project is stored, and no re-plan of the tenant is under way."""

    async def look() -> bool:
        stored = await tenant.world.fetch(
            "SELECT revision FROM setting WHERE tenant = $1 AND scope = 'project' AND name = $2", tenant.id, project
        )
        open_ = await tenant.world.fetch("SELECT FROM replan WHERE tenant = $1", tenant.id)
        return bool(stored) and stored[0]["revision"] >= revision and not open_

    await until(look, "the settings change to be worked through")


async def calls(tenant: Tenant) -> int:
    """How many requests Graph has seen for this tenant, reads and all."""
    return len((await tenant.world.admin.ledger(tenant.directory)).value)


def endings(tenant: Tenant) -> Counter[tuple[Ending, str]]:
    """How the newest plan of each entry ended, as far as it has."""
    newest = {}
    for outcome in tenant.world.outcomes[tenant.id]:
        known = newest.get(outcome.entry_id)
        if known is None or known.plan < outcome.plan:
            newest[outcome.entry_id] = outcome
    return Counter((outcome.ending, outcome.reason.value) for outcome in newest.values())


async def ends(tenant: Tenant, ending: Ending, reason: str, count: int) -> None:
    async def look() -> bool:
        return endings(tenant)[ending, reason] == count

    await until(look, f"{count} entries to end as {ending} with {reason}")


async def wake_everything(world: World, tenant: Tenant) -> None:
    """Command every entry of the tenant by hand, as a writer's queue full of old wake-ups would."""
    rows = await world.fetch(
        "SELECT entry_id, applied_directory, applied_mailbox FROM entry WHERE tenant = $1", tenant.id
    )
    due = [Due(row["entry_id"], tenant.id, Place(row["applied_directory"], row["applied_mailbox"])) for row in rows]
    await send_wakeups(world.producer, topic_name(world.settings(KafkaSettings), Topic.COMMANDS), due)


async def seen_after_wakeups(tenant: Tenant) -> None:
    """Everything that was commanded before now has been looked at: a later entry of the same mailbox is written."""
    marker = tenant.action("zz-marker", "ann")
    await written(tenant, [marker])


async def test_a_project_switched_off_waits_and_goes_when_confirmed(world: World) -> None:
    async with (
        world.process("ingest", stderr=asyncio.subprocess.PIPE) as ingest,
        world.writer(),
        world.tenant("ann") as tenant,
        aiohttp.ClientSession() as session,
    ):
        url = f"http://127.0.0.1:{world.admin_ports[ingest.pid]}/metrics"

        async def gauges() -> tuple[str, str]:
            async with session.get(url) as response:
                lines = dict(line.split(" ", 1) for line in (await response.text()).splitlines() if line[0] != "#")
            return lines["calbus_removals_parked"], lines["calbus_removal_breakers_tripped"]

        await garden(tenant, of_project=60, others=40)
        await tenant.set_project("garden", enabled=False)
        await parks(tenant, 60)
        await until(lambda: _is(gauges, ("60.0", "2.0")), "the gauges to show it")
        await wake_everything(world, tenant)
        await seen_after_wakeups(tenant)
        assert len(await tenant.calendar("ann")) == 101
        assert endings(tenant) == {(Ending.APPLIED, "written"): 101}
        owed = await world.fetch("SELECT owed, due_at FROM entry WHERE parked_at IS NOT NULL")
        assert {(row["owed"], row["due_at"]) for row in owed} == {(True, None)}

        await world.publish(RemovalsConfirmed(tenant=tenant.id))
        await stand(tenant, 41)
        await ends(tenant, Ending.WITHDRAWN, "project_not_enabled", 60)
        await until(lambda: _is(gauges, ("0.0", "0.0")), "the gauges to show that nothing waits")
        told = world.outcome_ids
        assert len(told) == len(set(told))

        ingest.terminate()
        _, err = await ingest.communicate()
    [line] = [orjson.loads(line) for line in err.splitlines() if b"waits for a confirmation" in line]
    wanted = {
        "level": "error",
        "reason": "removal_parked",
        "tenant": tenant.id,
        "cause": "project/garden",
        "parked": 60,
        "would_remove": 60,
        "limit": 50,
        "standing": 100,
        "tripped": "tenant",
        "mailboxes_tripped": 1,
        "next_actor": "operator",
        "remedy": f"calbus confirm-removals {tenant.id}",
    }
    assert {name: line[name] for name in wanted} == wanted
    assert tenant.domain.encode() not in err


async def _is(look: Any, wanted: Any) -> bool:
    return bool(await look() == wanted)


async def test_few_removals_go_at_once(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await garden(tenant, of_project=40, others=60)
        await tenant.set_project("garden", enabled=False)
        await stand(tenant, 60)
        await ends(tenant, Ending.WITHDRAWN, "project_not_enabled", 40)
        assert await parked(tenant) == 0


async def test_changes_within_one_window_add_up(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await garden(tenant, of_project=40, others=0)
        await tenant.set_project("kitchen")
        await written(tenant, actions(tenant, "k", 30, project="kitchen"))
        await tenant.set_project("garden", enabled=False)
        await stand(tenant, 30)
        await tenant.set_project("kitchen", enabled=False)
        await parks(tenant, 30)
        assert len(await tenant.calendar("ann")) == 30


async def test_what_comes_back_while_parked_is_left_untouched(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await garden(tenant, of_project=60, others=10)
        before = await tenant.calendar("ann")
        await tenant.set_project("garden", enabled=False)
        await parks(tenant, 60)
        called = await calls(tenant)
        await tenant.set_project("garden")
        await parks(tenant, 0)
        await ends(tenant, Ending.APPLIED, "unchanged", 60)
        assert await calls(tenant) == called
        assert await tenant.calendar("ann") == before
        # Nothing waits any more, so nothing has to be confirmed: few removals go at once again.
        await tenant.publish(tenant.deleted("o000"))
        await stand(tenant, 69)


async def test_a_confirmation_arms_the_breaker_anew(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await garden(tenant, of_project=60, others=120)
        await tenant.set_project("garden", enabled=False)
        await parks(tenant, 60)
        await tenant.publish(tenant.deleted("o000"))
        await parks(tenant, 61)
        await running.publish(RemovalsConfirmed(tenant=tenant.id))
        await stand(tenant, 119)
        await tenant.publish(*[tenant.deleted(f"o{number:03}") for number in range(1, 41)])
        await stand(tenant, 79)
        await tenant.publish(*[tenant.deleted(f"o{number:03}") for number in range(41, 120)])
        await ends(tenant, Ending.WITHDRAWN, "deleted", 120 - len(await tenant.calendar("ann")))
        assert len(await tenant.calendar("ann")) >= 69


async def test_a_burst_of_deletions_is_stopped(running: World) -> None:
    async with running.tenant("ann", "bob") as tenant:
        await written(tenant, actions(tenant, "a", 200) + actions(tenant, "b", 200, "bob"))
        gone = [tenant.deleted(f"a{number:03}") for number in range(200)]
        await tenant.publish(*gone)

        async def judged() -> bool:
            rows = await running.fetch(
                "SELECT count(*) FROM entry WHERE tenant = $1 AND intent = 'absent' AND assignee = 'ann'", tenant.id
            )
            return bool(rows[0][0] == 200)

        await until(judged, "all deletions to be planned")
        waits = await parked(tenant)
        assert 150 <= waits <= 200
        await stand(tenant, waits)
        assert len(await tenant.calendar("bob")) == 200

        # A newer revision that still removes waits on, and ends the one before it.
        still_parked = await running.fetch(
            "SELECT id FROM entry WHERE tenant = $1 AND parked_at IS NOT NULL", tenant.id
        )
        one = still_parked[0]["id"]
        again = tenant.deleted(one)
        await tenant.publish(again)

        async def superseded() -> bool:
            return (again.revision - 1, Ending.SUPERSEDED, "newer_revision") in tenant.ended(one, "ann")

        await until(superseded, "the older deletion to be superseded")
        assert await parked(tenant) == waits

        # One that is published again stays where it is.
        other = still_parked[1]["id"]
        await written(tenant, [tenant.action(other, "ann")])
        assert await parked(tenant) == waits - 1
        await running.publish(RemovalsConfirmed(tenant=tenant.id))
        await stand(tenant, 1)
        assert await tenant.subjects("ann") == [f"○ Do {other}"]
        assert tenant.ended(one, "ann")[-1] == (again.revision, Ending.WITHDRAWN, "deleted")


async def test_tenants_are_judged_apart(running: World) -> None:
    async with running.tenant("ann") as one, running.tenant("ann") as other:
        await asyncio.gather(*(garden(tenant, of_project=60, others=10) for tenant in (one, other)))
        await one.set_project("garden", enabled=False)
        await parks(one, 60)
        await other.publish(other.deleted("o000"))
        await stand(other, 69)
        await other.set_project("garden", enabled=False)
        await parks(other, 60)
        await running.publish(RemovalsConfirmed(tenant=other.id))
        await stand(other, 9)
        assert await parked(one) == 60
        assert len(await one.calendar("ann")) == 70


async def test_a_user_can_be_confirmed_alone(running: World) -> None:
    async with running.tenant("ann", "bob") as tenant:
        await tenant.set_project("garden")
        await written(
            tenant,
            actions(tenant, "a", 55, project="garden") + actions(tenant, "b", 30, "bob", project="garden"),
        )
        await tenant.set_project("garden", enabled=False)
        await parks(tenant, 85)
        await running.publish(RemovalsConfirmed(tenant=tenant.id, user="bob"))
        await stand(tenant, 0, "bob")
        assert await parked(tenant) == 55
        await running.publish(RemovalsConfirmed(tenant=tenant.id, user="ann"))
        await stand(tenant, 0)


async def test_switched_off_while_parked_everything_is_held(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await garden(tenant, of_project=60, others=0)
        await tenant.set_project("garden", enabled=False)
        await parks(tenant, 60)
        await tenant.publish(tenant.account("ann", blocked=True))
        await ends(tenant, Ending.WITHDRAWN, "account_blocked", 60)
        await running.publish(RemovalsConfirmed(tenant=tenant.id))
        await tenant.publish(tenant.account("ann"))
        await parks(tenant, 60)
        assert len(await tenant.calendar("ann")) == 60


@pytest.mark.slow
async def test_ingest_killed_in_the_middle_of_a_replan(world: World) -> None:
    async with world.writer():
        async with world.process("ingest", **QUICK_SESSION) as ingest, world.tenant("ann") as tenant:
            await tenant.set_project("garden")
            items = actions(tenant, "a", 60, project="garden") + actions(tenant, "c", 20, project="garden")
            # So many that nobody carries out, that the project is planned anew in two chunks.
            unassigned = [tenant.action(f"b{number:03}", project="garden") for number in range(450)]
            await tenant.publish(*unassigned)
            await written(tenant, items)

            stored = await asyncpg.connect(world.dsn)
            transaction = stored.transaction()
            await transaction.start()
            # An item of the second chunk is locked: there the re-plan stops, and there it is killed.
            await stored.execute("SELECT FROM item WHERE tenant = $1 AND id = 'c019' FOR UPDATE", tenant.id)
            await tenant.set_project("garden", enabled=False)

            async def half() -> bool:
                return await parked(tenant, judged=False) == 60

            await until(half, "the first chunk to be planned")
            # Confirming what nobody was shown lets nothing go.
            await world.publish(RemovalsConfirmed(tenant=tenant.id))
            kill(ingest)
            await ingest.wait()
            await transaction.rollback()
            await stored.close()
            assert await parked(tenant) == 0
            assert len(await tenant.calendar("ann")) == 80

            async with world.process("ingest", **QUICK_SESSION):
                await parks(tenant, 80)
                assert len(await tenant.calendar("ann")) == 80
                await world.publish(RemovalsConfirmed(tenant=tenant.id))
                await stand(tenant, 0)
                await ends(tenant, Ending.WITHDRAWN, "project_not_enabled", 80)
        assert len(world.outcomes[tenant.id]) == 160


def unlinked(tenant: Tenant, user: str, leftovers: Leftovers) -> AccountUnlinked:
    return AccountUnlinked(tenant=tenant.id, user=user, revision=tenant.revision(f"account {user}"), entries=leftovers)


async def test_unlinking_that_removes_was_confirmed_by_who_said_so(running: World) -> None:
    async with running.tenant("ann", "bob") as tenant:
        await written(tenant, actions(tenant, "a", 60) + actions(tenant, "b", 5, "bob"))
        await tenant.publish(unlinked(tenant, "ann", Leftovers.REMOVE))
        await stand(tenant, 0)
        await ends(tenant, Ending.WITHDRAWN, "account_unlinked", 60)
        assert await parked(tenant) == 0
        # Nor does it count: others' few removals go at once.
        await tenant.publish(tenant.deleted("b000"))
        await stand(tenant, 4, "bob")


async def test_unlinking_with_removal_lets_parked_entries_go(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await written(tenant, actions(tenant, "a", 130))
        gone = [tenant.deleted(f"a{number:03}") for number in range(120)]
        await tenant.publish(*gone)

        async def tripped() -> bool:
            rows = await running.fetch("SELECT FROM entry WHERE tenant = $1 AND intent = 'absent'", tenant.id)
            return len(rows) == 120

        await until(tripped, "the deletions to be planned")
        assert await parked(tenant) >= 70
        await tenant.publish(unlinked(tenant, "ann", Leftovers.REMOVE))
        await stand(tenant, 0)
        assert await parked(tenant) == 0


@pytest.mark.parametrize("by_tombstone", [False, True], ids=["keep", "tombstone"])
async def test_unlinking_that_keeps_leaves_the_entries(running: World, *, by_tombstone: bool) -> None:
    async with running.tenant("ann") as tenant:
        await written(tenant, actions(tenant, "a", 60))
        before, called = await tenant.calendar("ann"), await calls(tenant)
        if by_tombstone:
            await running.publish_raw(Topic.SETTINGS, None, key=f"account/{tenant.id}/ann".encode())
        else:
            await tenant.publish(unlinked(tenant, "ann", Leftovers.KEEP))
        await ends(tenant, Ending.WITHDRAWN, "no_account" if by_tombstone else "account_unlinked", 60)
        gone = tenant.deleted("a000")
        await tenant.publish(gone)
        await tenant.outcome(gone, "ann")
        assert await tenant.calendar("ann") == before
        assert await calls(tenant) == called


@pytest.mark.slow
async def test_the_command_line(running: World) -> None:
    environment = running.environment()
    async with running.tenant("ann", "bob") as tenant:
        code, out, err = await calbus("confirm-removals", tenant.id, **environment)
        assert (code, f"no removals of tenant {tenant.id} are parked" in out) == (0, True), err
        await tenant.set_project("garden")
        await written(
            tenant,
            actions(tenant, "a", 55, project="garden") + actions(tenant, "b", 10, "bob", project="garden"),
        )
        await tenant.set_project("garden", enabled=False)
        await parks(tenant, 65)

        code, out, err = await calbus("confirm-removals", tenant.id, **environment)
        assert (code, "no terminal" in err, "--yes" in err) == (2, True, True)
        rows = [line.split() for line in out.splitlines()]
        assert [row[:3] for row in rows[1:]] == [["ann", "55", "project/garden"], ["bob", "10", "project/garden"]]
        assert await parked(tenant) == 65

        code, said = await on_a_terminal("n", "confirm-removals", tenant.id, **environment)
        assert (code, "Remove these 65 entries" in said, "nothing was confirmed" in said) == (1, True, True)
        code, said = await on_a_terminal("y", "confirm-removals", tenant.id, "--user", "bob", **environment)
        assert (code, "Remove these 10 entries" in said, "confirmed: 10 entries" in said) == (0, True, True), said
        await stand(tenant, 0, "bob")
        assert await parked(tenant) == 55

        code, out, err = await calbus("confirm-removals", tenant.id, "--yes", **environment)
        assert (code, f"confirmed: 55 entries of tenant {tenant.id}" in out) == (0, True), err
        await stand(tenant, 0)
        assert running.dead_letters == [] or all(letter.topic != "requests.v1" for letter, _ in running.dead_letters)


async def test_the_command_line_says_what_it_cannot_reach(running: World) -> None:
    environment = running.environment()
    away = environment | {"CALBUS_POSTGRES_DSN": "postgresql://calbus:x@127.0.0.1:1/calbus"}
    code, _, err = await calbus("confirm-removals", "t", **away)
    assert (code, "PostgreSQL (CALBUS_POSTGRES_DSN)" in err) == (1, True)
    del environment["CALBUS_POSTGRES_DSN"]
    code, _, err = await calbus("confirm-removals", "t", **environment)
    assert (code, "CALBUS_POSTGRES_DSN is missing" in err) == (2, True)


async def on_a_terminal(answer: str, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run `calbus` as a person does who types an answer: exit code, and everything it said."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALBUS_")}
    try:
        os.write(ours, f"{answer}\n".encode())
        process = await asyncio.create_subprocess_exec(
            CALBUS,
            *arguments,
            env=kept | environment,
            stdin=theirs,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        out, _ = await process.communicate()
    finally:
        os.close(theirs)
        os.close(ours)
    return process.returncode or 0, out.decode()
