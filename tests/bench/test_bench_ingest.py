"""The bench of ingest runs, and says what it says: each scenario takes in, or plans anew, every event once."""

import json
from pathlib import Path

import aiohttp
import pytest

from bench.ground import Ground
from bench.ingest import SCENARIOS, Bench, Crowd, Used, result_row, write
from devstack.stack import Stack

EVENTS = 40
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
async def test_each_scenario_counts_every_event(stack: Stack) -> None:
    crowd = Crowd(tenants=2, users=3, projects=2)
    addresses = {"graph_url": "http://localhost:9/v1.0", "login_url": "https://localhost:9", "ca_file": ""}
    async with aiohttp.ClientSession() as http:
        used = await Bench(Ground(stack, addresses, http), crowd, EVENTS, REPOSITORY).run()
    assert list(used) == list(SCENARIOS)
    assert all(one.count == EVENTS and one.wall_s > 0 for one in used.values())


def test_items_are_about_600_bytes_and_both_kinds() -> None:
    crowd = Crowd()
    assert all(500 <= len(crowd.item(number, 1)) <= 700 for number in range(100))


def test_a_page_and_a_file_come_of_it(tmp_path: Path) -> None:
    row = result_row([Used(100, 1.0, 0.01, 0.001, 0.005, 0.005), Used(100, 2.0, 0.02, 0.002, 0.005, 0.005)])
    figures = {
        "events": 100,
        "rounds": 2,
        "tenants": 5,
        "mailboxes": 1_000,
        "event_bytes": 600,
        "rows": {"this": dict.fromkeys(SCENARIOS, row)},
    }
    page = write(figures, tmp_path).read_text()
    assert "| creates | this | 7,500 | 10,000 |" in page
    assert json.loads((tmp_path / "ingest.json").read_text())["figures"] == figures
