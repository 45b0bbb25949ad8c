"""`calbus why` and `GET /why/…` as support staff use them."""

from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson

from schemas.events import Topic
from schemas.reasons import Reason
from simulator.client import Fault, MailboxKind
from tests.integration.test_commands import calbus
from tests.support.waiting import until
from tests.support.world import SOURCE, Tenant, World

# Longer than a test.
WAITS_S = 300
# PostgreSQL's `infinity`, as Python has it.
NEVER = datetime.max.replace(tzinfo=UTC)


async def why(tenant: Tenant, item: str, *options: str) -> tuple[int, str]:
    """What the command says."""
    code, out, err = await calbus("why", item, *options, **tenant.world.environment())
    assert err == ""
    return code, out


async def story(tenant: Tenant, item: str, assignee: str) -> Any:
    """The story for one assignee, as JSON."""
    code, out = await why(tenant, f"{tenant.id}/{SOURCE}/action/{item}", "--assignee", assignee, "--json")
    assert code == 0
    (found,) = orjson.loads(out)["items"]
    (entry,) = found["entries"]
    return entry


async def test_what_stands_in_the_calendar_and_what_does_not(running: World) -> None:
    async with running.tenant("ann") as tenant:
        shown, planless = tenant.action("shown", "ann", "bob"), tenant.action("planless", "ann", start=None)
        await tenant.publish(shown, planless)
        await tenant.outcome(shown, "ann")
        await tenant.outcome(planless, "ann")
        assert (await story(tenant, "shown", "ann"))["verdict"] == "shown"
        assert (await story(tenant, "shown", "bob"))["reason"] == Reason.NO_ACCOUNT
        assert (await story(tenant, "planless", "ann"))["reason"] == Reason.NO_START
        code, out = await why(tenant, f"{tenant.id}/{SOURCE}/action/shown")
        assert code == 0
        assert "ann: The calendar shows it." in out
        assert "bob: The calendar does not show it." in out
        assert "Link the user's mailbox." in out


async def test_who_is_throttled_is_told_when_it_is_tried_again(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.add_fault(
            Fault(
                tenant=tenant.directory,
                operation="create",
                status=429,
                code="ApplicationThrottled",
                retry_after_s=WAITS_S,
            )
        )
        await tenant.publish(tenant.action("a1", "ann"))

        async def throttled() -> Any:
            return await running.fetch(
                "SELECT true FROM entry WHERE tenant = $1 AND owed AND due_at > now() + interval '3 minutes'",
                tenant.id,
            )

        await until(throttled, "the entry to wait")
        entry = await story(tenant, "a1", "ann")
        assert (entry["verdict"], entry["reason"]) == ("absent", Reason.THROTTLED)
        until_s = (datetime.fromisoformat(entry["next_try_at"]) - datetime.now(UTC)).total_seconds()
        assert 0 < until_s <= WAITS_S + 60


async def test_a_trouble_is_told_of_what_rests_for_it_and_of_nothing_else(running: World) -> None:
    async with running.tenant("ann") as tenant:
        stands = tenant.action("stands", "ann")
        await tenant.publish(stands)
        await tenant.outcome(stands, "ann")
        await running.admin.put_user(tenant.directory, tenant.mailbox("ann"), mailbox=MailboxKind.UNLICENSED)
        await tenant.publish(tenant.action("rests", "ann"))
        await tenant.status("ann", Reason.MAILBOX_NOT_IN_CLOUD)

        async def rests() -> Any:
            return await running.fetch(
                "SELECT true FROM entry WHERE tenant = $1 AND id = 'rests' AND due_at = 'infinity'", tenant.id
            )

        await until(rests, "the entry to rest")

        async def told() -> Any:
            # While a probe is under way, nobody knows whether it stands.
            found = await story(tenant, "rests", "ann")
            return found if found["verdict"] == "absent" else None

        resting = await until(told, "what rests to be told as absent")
        assert resting["reason"] == Reason.MAILBOX_NOT_IN_CLOUD
        [trouble] = [line for line in resting["lines"] if line["about"] == "mailbox"]
        assert trouble["sign"] == "stops"
        assert datetime.fromisoformat(resting["next_try_at"]).year < NEVER.year
        code, out = await why(tenant, f"{tenant.id}/{SOURCE}/action/rests")
        assert code == 0
        assert str(NEVER.year) not in out
        standing = await story(tenant, "stands", "ann")
        assert (standing["verdict"], standing["reason"]) == ("shown", Reason.WRITTEN)
        assert [line for line in standing["lines"] if line["about"] == "mailbox"] == []


async def test_a_removal_that_waits_is_told(world: World) -> None:
    services = {"ingest_removals_min_entries": 0, "ingest_removals_max_percent": 1.0}
    async with world.ingest(**services), world.writer(), world.tenant("ann") as tenant:
        actions = [tenant.action(f"a{number}", "ann") for number in range(3)]
        await tenant.publish(*actions)
        for action in actions:
            await tenant.outcome(action, "ann")
        await tenant.publish(*[tenant.deleted(action.id) for action in actions])

        async def parked() -> bool:
            rows = await world.fetch(
                "SELECT true FROM entry WHERE tenant = $1 AND parked_at IS NOT NULL AND judged_by IS NULL", tenant.id
            )
            return len(rows) == len(actions)

        await until(parked, "the removals to be parked")
        entry = await story(tenant, "a0", "ann")
        assert (entry["verdict"], entry["reason"]) == ("outdated", Reason.REMOVAL_PARKED)
        assert entry["next_try_at"] is None
        assert "confirm-removals" in entry["remedy"]


async def test_a_message_that_was_not_understood_is_told(running: World) -> None:
    async with running.tenant("ann") as tenant:
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        await tenant.outcome(action, "ann")
        headers = [
            (name, value.encode())
            for name, value in {
                "ce_specversion": "1.0",
                "ce_id": "1",
                "ce_source": "/tests",
                "ce_type": "calbus.action.upserted.v1",
            }.items()
        ]
        for item in ("a1", "never-read"):
            broken = {"tenant": tenant.id, "source": SOURCE, "id": item, "revision": 9, "title": ""}
            await running.publish_raw(Topic.ACTIONS, orjson.dumps(broken), headers=headers)

        async def known() -> bool:
            return len(await running.fetch("SELECT 1 FROM unread WHERE tenant = $1", tenant.id)) == 2

        await until(known, "the dead letters to be known")
        code, out = await why(tenant, f"{tenant.id}/{SOURCE}/action/a1")
        assert code == 0
        assert "invalid_data" in out
        assert "title" in out
        code, out = await why(tenant, "never-read")
        assert code == 1
        assert "no message about it was ever accepted" in out
        assert "invalid_data" in out


async def test_nobody_knows_the_item_or_the_name_is_odd(running: World) -> None:
    async with running.tenant("ann") as tenant:
        code, out = await why(tenant, "no-such-item")
        assert code == 1
        assert "no message about it was ever accepted" in out
        code, _, err = await calbus("why", "a/b", **running.environment())
        assert code == 2
        assert "TENANT/SOURCE/KIND/ID" in err
        code, out = await why(tenant, "access_policy")
        assert code == 0
        assert "application access policy" in out


async def test_the_admin_port_tells_the_same(world: World) -> None:
    async with world.process("ingest") as process, world.tenant("ann") as tenant:
        action = tenant.action("a1", "ann")
        await tenant.publish(action)

        async def told() -> Any:
            url = f"http://127.0.0.1:{world.admin_ports[process.pid]}/why/{tenant.id}/{SOURCE}/action/a1"
            async with aiohttp.ClientSession() as session, session.get(url, params={"assignee": "ann"}) as answer:
                assert answer.status == 200
                items = (await answer.json())["items"]
            return items[0]["entries"][0] if items else None

        entry = await until(told, "the item to be known")
        assert entry["reason"] == Reason.QUEUED  # no writer runs here
        assert entry["verdict"] == "absent"
        url = f"http://127.0.0.1:{world.admin_ports[process.pid]}/why/a/b"
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == 400
