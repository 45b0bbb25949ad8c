"""What the metrics say of real work: in and out reconcile, labels are those foreseen, and a request names its event."""

import asyncio
import re
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

from calbus.bus.publish import HEADERS
from schemas.events import TYPE_NAMES, Topic
from tests.support.metrics import here, of_port, total, unforeseen
from tests.support.waiting import until
from tests.support.world import World

_OPEN = "SELECT count(*) FROM entry WHERE owed"
_STRANDED = "SELECT count(*) FROM entry WHERE owed AND due_at IS NULL AND parked_at IS NULL"


async def test_what_was_planned_has_ended_or_is_open(world: World) -> None:
    before = here()

    def since(name: str, **labels: str) -> float:
        return total(here(), name, **labels) - total(before, name, **labels)

    async with world.ingest(), world.writer(), world.tenant("ann", "bob") as tenant:
        # One that waits for an administrator: its entry stays open.
        await tenant.publish(tenant.account("cas", mailbox=f"nobody@{tenant.domain}"))
        await tenant.settings_known(4)
        burst = [tenant.action("often", "ann", "bob", title=f"Draft {number}") for number in range(20)]
        ends = [
            tenant.action("moved", "ann"),
            tenant.action("moved", "bob"),
            tenant.action("unplanned", "ann", start=None, duration=None),
            tenant.action("stranger", "nobody"),
            tenant.action("gone", "ann"),
            tenant.deleted("gone"),
        ]
        await tenant.publish(*burst, *ends, tenant.action("rests", "cas"))
        await world.publish_raw(Topic.ACTIONS, b'{"tenant": "Robert\'); DROP TABLE"}', key=b"x")
        await tenant.outcome(burst[-1], "ann")
        await tenant.status("cas", "mailbox_unknown")

        async def reconciled() -> bool:
            [[open_]] = await world.fetch(_OPEN)
            return since("calbus_plans_total") == since("calbus_outcomes_total") + open_ and open_ == 1

        await until(reconciled, "as many outcomes as plans, but for the one that rests")
        [[stranded]] = await world.fetch(_STRANDED)
        assert stranded == 0
        assert since("calbus_plans_total", cause="event") >= len(burst) * 2 + len(ends)
        assert since("calbus_dead_letters_total") == 1

        async def published() -> bool:
            return since("calbus_published_events_total", topic="outcomes.v1") == since("calbus_outcomes_total")

        await until(published, "every outcome to be on the bus")
        assert since("calbus_event_to_calendar_seconds_count") > 0
        assert since("calbus_job_seconds_count", result="settled") > 0
    # What tests before this one made up is theirs.
    assert unforeseen({one: value for one, value in here().items() if one not in before}) == set()


async def test_a_request_to_graph_and_the_log_name_the_event(world: World, tmp_path: Path) -> None:
    log = tmp_path / "writer.log"
    with log.open("wb") as stderr:
        async with (
            world.ingest(),
            world.process("writer", log_level="debug", stderr=stderr),
            world.tenant("ann", "bob") as tenant,
        ):
            action = tenant.action("a1", "ann", "bob")
            source, event_id = "/planner", "7c0f/7f4e é"
            envelope = {"specversion": "1.0", "id": event_id, "source": source, "type": TYPE_NAMES[type(action)]}
            event = orjson.dumps(envelope | {"data": action.model_dump(mode="json", exclude_unset=True)})
            await world.publish_raw(Topic.ACTIONS, event, key=b"a1", headers=HEADERS)
            await tenant.outcome(action, "ann")
            await tenant.outcome(action, "bob")
            page = await world.admin.ledger(tenant.directory, operation="create")
            own_ids = [entry.client_request_id for entry in page.value]
    # As docs/logs.md tells support staff to compute it.
    correlation = sha256(f"{source}\n{event_id}".encode()).hexdigest()[:16]
    assert len(own_ids) == len(set(own_ids)) == 2
    form = f"{correlation[:8]}-{correlation[8:12]}-{correlation[12:]}-[0-9a-f]{{4}}-[0-9a-f]{{12}}"
    assert all(re.fullmatch(form, own_id) for own_id in own_ids)
    lines = [orjson.loads(line) for line in log.read_bytes().splitlines() if line.startswith(b"{")]
    told = {line["client_request_id"]: line for line in lines if line["event"] == "graph request"}
    for own_id in own_ids:
        assert told[own_id]["correlation"] == correlation
        assert told[own_id]["operation"] == "create"
        assert told[own_id]["request_id"]
    assert f"ann@{tenant.domain}" not in log.read_text()
    assert "Do a1" not in log.read_text()


async def test_what_users_change_is_timed_and_what_stood_there_before_is_not(world: World) -> None:
    before = here()

    def timed() -> float:
        series = here()
        return total(series, "calbus_outlook_to_bus_seconds_count") - total(
            before, "calbus_outlook_to_bus_seconds_count"
        )

    async with world.ingest(), world.puller(), world.tenant() as tenant:
        await world.admin.put_user(tenant.directory, tenant.mailbox("ann"))
        await tenant.appointment("ann", "Stood there before")
        await tenant.publish(tenant.account("ann", direction="down"))
        await until(lambda: _told(world, tenant.id, 1), "what stood there to be told")
        await tenant.pulled("ann")
        assert timed() == 0
        await tenant.appointment("ann", "New")
        await until(lambda: _told(world, tenant.id, 2), "what is new to be told")

        async def counted() -> bool:
            return timed() == 1

        await until(counted, "it to be timed")


async def _told(world: World, tenant: str, number: int) -> bool:
    return len(world.changes[tenant]) >= number


@pytest.mark.slow
@pytest.mark.timeout(3_600)
async def test_ten_thousand_mailboxes_leave_the_number_of_series_as_it_is(world: World) -> None:
    few, many = 20, 10_000
    async with (
        world.process("ingest"),
        world.process("writer"),
        world.process("puller"),
        world.tenant() as tenant,
    ):
        users = [f"user-{number}" for number in range(many)]

        async def work(of: list[str]) -> None:
            for at in range(0, len(of), 100):
                part = of[at : at + 100]
                await asyncio.gather(*(world.admin.put_user(tenant.directory, tenant.mailbox(user)) for user in part))
            await tenant.publish(*(tenant.account(user) for user in of))
            await tenant.settings_known(int(of[-1].partition("-")[2]) + 2)
            await tenant.publish(*(tenant.action(f"item of {user}", user) for user in of))

            async def settled() -> bool:
                [[count]] = await world.fetch("SELECT count(*) FROM entry WHERE NOT owed AND event_id IS NOT NULL")
                return count == int(of[-1].partition("-")[2]) + 1

            await until(settled, f"{len(of)} entries to be written", timeout_s=1_500)
            # A second time, so that operations which only the second revision needs are seen with few mailboxes too.
            first = tenant.action(f"item of {of[0]}", of[0], title="Edited")
            await tenant.publish(first)
            await tenant.outcome(first, of[0], timeout_s=1_500)

        async def series() -> set[str]:
            found = set()
            for port in world.admin_ports.values():
                shown = await of_port(port)
                assert unforeseen(shown) == set()
                found |= {f"{port} {name} {sorted(labels)}" for name, labels in shown}
            return found

        await work(users[:few])
        before = await series()
        await work(users[few:])
        after = await series()
    # Results and operations that came up only later are of closed lists: they are not many, and not by mailbox.
    assert len(after - before) < 40
    assert not any("user-" in one or tenant.id in one for one in after)
