"""Categories: made once in a mailbox, with their colours, and then its owner's. No event fails for want of one."""

from typing import Any
from urllib.parse import quote

import pytest

from calbus.graph.calls import Request
from calbus.graph.client import graph_client
from calbus.settings import GraphSettings
from schemas.results import Ending
from schemas.switches import Locale
from simulator.client import Fault
from tests.support.waiting import until
from tests.support.world import CLIENT_ID, ROLES, Tenant, World


class Mailbox:
    """The categories of a user's mailbox, as its owner sees and changes them."""

    def __init__(self, tenant: Tenant, user: str = "ann") -> None:
        self._tenant = tenant
        self._path = f"/users/{quote(tenant.mailbox(user))}/outlook/masterCategories"

    async def _call(self, method: str, part: str = "", body: dict[str, Any] | None = None) -> Any:
        async with graph_client(self._tenant.world.settings(GraphSettings)) as graph:
            request = Request("test", method, self._path + part, body=body)
            (response,) = await graph.send(self._tenant.directory, [request])
            assert response.fault is None, response
            return response.body

    async def colors(self) -> dict[str, str]:
        """By name, of those that a new mailbox does not have."""
        listed = (await self._call("GET"))["value"]
        return {one["displayName"]: one["color"] for one in listed if not one["displayName"].endswith(" category")}

    async def add(self, name: str, color: str) -> None:
        await self._call("POST", body={"displayName": name, "color": color})

    async def delete(self, name: str) -> None:
        await self._call("DELETE", f"/{await self._id(name)}")

    async def paint(self, name: str, color: str) -> None:
        await self._call("PATCH", f"/{await self._id(name)}", {"color": color})

    async def _id(self, name: str) -> str:
        return next(str(one["id"]) for one in (await self._call("GET"))["value"] if one["displayName"] == name)


async def asked(tenant: Tenant) -> dict[str, int]:
    """How often calbus read and made categories, whatever the answers."""
    counts = {}
    for operation in ("list_categories", "create_category"):
        counts[operation] = len((await tenant.world.admin.ledger(tenant.directory, operation=operation)).value)
    return counts


async def written(tenant: Tenant, *items: Any) -> dict[str, list[str]]:
    """Publish, wait for every assignee's outcome, and give the categories of each event of ann's by its subject."""
    await tenant.publish(*items)
    for item in items:
        for assignee in item.assignees:
            assert (await tenant.outcome(item, assignee)).ending is Ending.APPLIED
    return {event.subject: event.graph["categories"] for event in await tenant.calendar("ann")}


async def test_each_category_is_made_once_in_its_colour_and_not_again_after_a_restart(world: World) -> None:
    async with world.ingest(), world.tenant("ann", "bob") as tenant:
        async with world.writer():
            given = await written(
                tenant,
                *[tenant.action(f"a{number}", "ann", "bob") for number in range(10)],
                tenant.action("done", "ann", "bob", status="completed"),
                tenant.contact("visit", "ann", "bob", contact_kind="visit", status="active"),
            )
            assert given["○ Do a0"] == ["Open"]
            assert given["✔ Do done"] == ["Completed"]
            assert given["☗ Meet visit"] == ["Active"]
        assert (await asked(tenant))["create_category"] == 6
        for user in ("ann", "bob"):
            expected = {"Open": "preset7", "Completed": "preset4", "Active": "preset1"}
            assert await Mailbox(tenant, user).colors() == expected
        counts = await asked(tenant)
        async with world.writer():
            await written(tenant, tenant.action("later", "ann"), tenant.action("done2", "ann", status="completed"))
            assert await asked(tenant) == counts
            # What is new is made all the same.
            await written(tenant, tenant.action("off", "ann", status="cancelled"))
            assert (await Mailbox(tenant).colors())["Cancelled"] == "preset12"
        assert not (await tenant.stats()).violations
        rows = await world.fetch("SELECT directory, lane, name FROM category")
        assert len(rows) == 7
        assert not [row for row in rows if "@" in "".join(row)]


async def test_what_the_owner_deleted_or_painted_stays_so(running: World) -> None:
    async with running.tenant("ann") as tenant:
        mailbox = Mailbox(tenant)
        await written(tenant, tenant.action("a1", "ann"), tenant.action("a2", "ann", status="active"))
        await mailbox.delete("Open")
        await mailbox.paint("Active", "preset9")
        given = await written(tenant, tenant.action("a3", "ann"), tenant.action("a4", "ann", status="active"))
        assert given["○ Do a3"] == ["Open"]
        assert await mailbox.colors() == {"Active": "preset9"}
        async with running.writer():  # one that has nothing in memory
            await written(tenant, *[tenant.action(f"b{number}", "ann") for number in range(5)])
        assert await mailbox.colors() == {"Active": "preset9"}


async def test_a_category_that_is_there_in_any_case_is_left_as_it_is(running: World) -> None:
    async with running.tenant("ann") as tenant:
        mailbox = Mailbox(tenant)
        await mailbox.add("OPEN", "preset22")
        await written(tenant, tenant.action("a1", "ann"))
        assert await mailbox.colors() == {"OPEN": "preset22"}
        assert (await asked(tenant))["create_category"] == 1  # the owner's own


async def test_categories_speak_the_tenants_language(running: World) -> None:
    async with running.tenant("ann", locale=Locale.SV) as tenant:
        item = tenant.contact("c1", "ann", client={"name": "Eva"}, place="Sal 2", link="https://planner.example/c1")
        assert await written(tenant, item) == {"◇ Meet c1": ["Öppen"]}
        [event] = await tenant.calendar("ann")
        assert [line for line in event.body_text.splitlines() if line] == [
            "Typ: Möte",
            "Kund: Eva",
            "Plats: Sal 2",
            "Öppna i planner: https://planner.example/c1",
        ]
        assert await Mailbox(tenant).colors() == {"Öppen": "preset7"}


async def test_without_the_permission_events_are_written_and_nobody_asks_again(running: World) -> None:
    async with running.tenant("ann", roles=("Calendars.ReadWrite",)) as tenant:
        given = await written(tenant, *[tenant.action(f"a{number}", "ann") for number in range(5)])
        assert set(map(tuple, given.values())) == {("Open",)}
        await written(tenant, tenant.action("b", "ann", status="completed"))
        assert await asked(tenant) == {"list_categories": 1, "create_category": 0}
        await running.admin.change_app(tenant.directory, CLIENT_ID, roles=ROLES)
        assert await Mailbox(tenant).colors() == {}
        assert not await running.fetch("SELECT 1 FROM category WHERE directory = $1", tenant.directory)


async def test_a_permission_that_is_given_later_is_noticed_when_the_day_is_over(
    running: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.writer.categories.CLOSED_S", 0.0)
    async with running.tenant("ann", roles=("Calendars.ReadWrite",)) as tenant:
        await written(tenant, tenant.action("a1", "ann"))
        await running.admin.change_app(tenant.directory, CLIENT_ID, roles=ROLES)
        mailbox = Mailbox(tenant)

        async def made() -> bool:
            # The writer's token is from before the consent, until it is doubted.
            await written(tenant, tenant.action("a2", "ann", description=str(tenant.revision("words"))))
            return await mailbox.colors() == {"Open": "preset7"}

        await until(made, "the category to be made")


@pytest.mark.parametrize("operation", ["list_categories", "create_category"])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 429, "code": "ApplicationThrottled", "retry_after_s": 1}, id="429"),
        pytest.param({"status": 503, "empty_body": True}, id="503"),
        pytest.param({"status": 503, "empty_body": True, "after_apply": True}, id="503 after it was applied"),
        pytest.param({"drop": True, "after_apply": True}, id="answer lost"),
    ],
)
async def test_a_passing_fault_delays_event_and_category(running: World, operation: str, fault: dict[str, Any]) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.add_fault(Fault(tenant=tenant.directory, operation=operation, times=1, **fault))
        given = await written(tenant, *[tenant.action(f"a{number}", "ann") for number in range(3)])
        assert len(given) == 3
        assert await Mailbox(tenant).colors() == {"Open": "preset7"}
        assert not (await tenant.stats()).violations


async def test_a_category_that_somebody_made_at_the_same_moment_counts_as_made(running: World) -> None:
    async with running.tenant("ann") as tenant:
        refusal = {"status": 409, "code": "ErrorDuplicateCategory"}
        await running.admin.add_fault(
            Fault(tenant=tenant.directory, operation="create_category", times=1, after_apply=True, **refusal)
        )
        await written(tenant, tenant.action("a1", "ann"), tenant.action("a2", "ann"))
        assert (await asked(tenant))["create_category"] == 1
        assert await Mailbox(tenant).colors() == {"Open": "preset7"}


@pytest.mark.parametrize(
    ("operation", "status", "code"),
    [("list_categories", 503, "ServiceUnavailable"), ("create_category", 400, "ErrorInvalidRequest")],
)
async def test_no_event_waits_for_ever_for_its_colour(running: World, operation: str, status: int, code: str) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.add_fault(
            Fault(tenant=tenant.directory, operation=operation, status=status, code=code, times=100)
        )
        given = await written(tenant, tenant.action("a1", "ann"))
        assert given == {"○ Do a1": ["Open"]}
