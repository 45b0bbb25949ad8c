"""An error in the planning of one item: it costs that item, and nobody else anything."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from calbus.store import switches
from schemas.items import ActionUpserted
from schemas.reasons import Reason
from schemas.results import Ending
from services.ingest import intake
from services.ingest.planner import Decision, decide
from services.ingest.replans import CHUNK_MAX_ITEMS
from tests.integration.test_replan_scale import crowd_of
from tests.support.waiting import until
from tests.support.world import World


def counted(cause: str) -> float:
    return REGISTRY.get_sample_value("calbus_unplannable_total", {"cause": cause}) or 0.0


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The ids of items whose planning fails as only an error in calbus can."""
    ids: set[str] = set()

    def fails_at_some(item: Any, *others: Any) -> Decision:
        if item is not None and item.id in ids:
            raise OverflowError(item.title)
        return decide(item, *others)

    monkeypatch.setattr(intake, "decide", fails_at_some)
    return ids


async def test_a_message_whose_planning_fails_is_a_dead_letter(world: World, failing: set[str]) -> None:
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant, world.tenant("eve") as other:
        failing.add("bad")
        before = counted("message")
        around = [other.action(f"a{number}", "eve") for number in range(5)]
        await world.publish(*around[:3], tenant.action("bad", "ann"), *around[3:])
        for action in around:
            assert (await other.outcome(action, "eve")).ending is Ending.APPLIED

        async def letter() -> Any:
            return world.dead_letters

        await until(letter, "the dead letter")
        failing.clear()
        again = tenant.action("bad", "ann")
        await tenant.publish(again)
        assert (await tenant.outcome(again, "ann")).ending is Ending.APPLIED
        [(told, _)] = world.dead_letters
        assert (told.reason, told.detail) == (Reason.NOT_STORABLE, "OverflowError")
        assert counted("message") == before + 1


async def test_a_message_that_cannot_be_put_into_json_is_a_dead_letter(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails_at_one(item: ActionUpserted) -> bytes:
        if item.id == "bad":
            raise OverflowError(item.title)
        return to_json(item)

    to_json = ActionUpserted.to_json
    monkeypatch.setattr(ActionUpserted, "to_json", fails_at_one)
    async with world.ingest(), world.writer(), world.tenant("ann") as tenant, world.tenant("eve") as other:
        before = counted("message")
        around = [other.action(f"a{number}", "eve") for number in range(4)]
        await world.publish(*around[:2], tenant.action("bad", "ann"), *around[2:])
        for action in around:
            assert (await other.outcome(action, "eve")).ending is Ending.APPLIED

        async def letter() -> Any:
            return world.dead_letters

        await until(letter, "the dead letter")
        [(told, _)] = world.dead_letters
        assert (told.reason, told.detail) == (Reason.NOT_STORABLE, "OverflowError")
        assert counted("message") == before + 1


async def test_an_item_that_cannot_be_planned_anew_stays_and_the_others_go_on_in_full_chunks(
    world: World, failing: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    async def recorded(connection: Any, replan: switches.Replan, limit: int) -> Any:
        sizes.append(limit)
        return await touched_items(connection, replan, limit)

    touched_items = switches.touched_items
    monkeypatch.setattr(switches, "touched_items", recorded)
    async with crowd_of(world, 2 * CHUNK_MAX_ITEMS) as crowd:
        failing.add("item-000150")
        before = counted("replan")
        async with world.ingest():
            await crowd.switch(enabled=True)

            async def over() -> bool:
                return await crowd.stored("tenant") and not await crowd.replans()

            await until(over, "the re-plan to end")
        assert await crowd.plans() == {(1, "hold"): 1, (2, "present"): 2 * CHUNK_MAX_ITEMS - 1}
        assert counted("replan") == before + 1
        assert sizes[-2:] == [CHUNK_MAX_ITEMS, CHUNK_MAX_ITEMS]
        # One at a time from there on it would have been hundreds.
        assert len(sizes) < 60
