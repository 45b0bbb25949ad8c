"""The benchmark runs: its stub keeps the rules that decide about speed, and its scenarios give figures."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import aiohttp
import orjson
import pytest

from bench import load, writer_floor
from bench.ground import Ground, fresh, running_stub
from bench.report import write
from bench.scenarios import FLOOR, WRITER, rates, window_share
from calbus.entry import Place, transaction_id_of
from calbus.graph import events
from devstack.stack import Stack


@pytest.fixture(scope="module")
async def stub() -> AsyncIterator[dict[str, str]]:
    async with running_stub() as addresses:
        yield addresses


def create(number: int, mailbox: str) -> dict:
    return {
        "id": str(number),
        "method": "POST",
        "url": f"/users/{mailbox}/events",
        "body": {"subject": f"s{number}", "transactionId": f"{mailbox}/{number}"},
    }


def test_the_floor_sends_what_the_writer_sends() -> None:
    content, entry_id = load.content(7), UUID(int=7)
    row = {"content": content.to_json(), "entry_id": entry_id, "generation": 2}
    ours = events.create(
        Place(load.DIRECTORY, load.mailbox(7)), entry_id, transaction_id_of(entry_id, 2), content, calendar_id=None
    ).body
    assert ours is not None
    for time in (ours["start"], ours["end"]):
        time["timeZone"] = content.time_zone  # the floor knows no other names of zones
    assert writer_floor.event(row) == ours


async def test_the_stub_works_on_four_at_a_time_and_refuses_a_fifth_of_one_mailbox(stub: dict[str, str]) -> None:
    async with aiohttp.ClientSession() as session:

        async def post(url: str, sent: dict) -> dict:
            async with session.post(url, data=orjson.dumps(sent)) as response:
                return orjson.loads(await response.read())

        await post(stub["control_url"], {"clear": True, "latency_ms": 50})
        batches = [
            {"requests": [create(20 * batch + number, f"m{number}@x") for number in range(20)]} for batch in range(2)
        ]
        # Two batches in the same order ask for the same four mailboxes at a time: two of each, which is allowed.
        answers = await asyncio.gather(*(post(f"{stub['graph_url']}/$batch", batch) for batch in batches))
        assert [one["status"] for answer in answers for one in answer["responses"]] == [201] * 40
        # Two batches for one mailbox ask for eight at a time.
        crowd = [
            {"requests": [create(100 + 20 * batch + number, "crowd@x") for number in range(20)]} for batch in range(2)
        ]
        answers = await asyncio.gather(*(post(f"{stub['graph_url']}/$batch", batch) for batch in crowd))
        assert 429 in [one["status"] for answer in answers for one in answer["responses"]]
        told = await post(stub["control_url"], {"clear": True, "latency_ms": 0})
        assert told["max_in_flight"] == 4
        assert told["created"] + told["throttled"] == 80
        # A repeated create makes nothing twice.
        for _ in range(2):
            await post(f"{stub['graph_url']}/users/a@x/events", {"subject": "s", "transactionId": "t"})
        told = await post(stub["control_url"], {"clear": True})
        assert (told["created"], told["repeated"], told["standing"]) == (1, 1, 1)


def test_a_lane_uses_up_what_ten_minutes_permit_and_no_more() -> None:
    assert 0.95 <= window_share() <= 1.0


async def test_rates_in_a_short_form(stack: Stack, stub: dict[str, str], tmp_path) -> None:
    async with aiohttp.ClientSession() as http:
        ground = Ground(stack, stub, http)
        async with fresh(ground):
            names = ["aiohttp, one call per event", "aiohttp, $batch of 20"]
            figures = await rates(ground, rounds=1, entries=100, mailboxes=20, names=names)
    assert set(figures["rows"]) == {*names, FLOOR, WRITER}
    assert all(row["per_s"] > 0 for row in figures["rows"].values())
    page = write("rates", figures, tmp_path).read_text()
    assert all(name in page for name in figures["rows"])
