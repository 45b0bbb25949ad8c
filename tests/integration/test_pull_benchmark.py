"""The benchmark of the way down runs, and what it reports adds up; figures of this size say nothing of speed."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from devstack.settings import REPOSITORY


@pytest.mark.slow
async def test_the_pull_benchmark_accounts_for_every_call_and_every_change(tmp_path: Path) -> None:
    arguments = ("--calendars", "200", "--changed", "10", "--events", "2", "--rounds", "1", "--out", str(tmp_path))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.pull", *arguments, cwd=REPOSITORY)
    assert await process.wait() == 0
    figures = json.loads((tmp_path / "pull.json").read_text())
    rounds = [figures[name] for name in ("first", "quiet", "changed")]
    assert [one["told"] for one in rounds] == [400, 0, 10]
    assert all(200 <= one["calls"] <= 220 for one in rounds), rounds
    assert all(one["cpu_s"] > 0 and one["peak_rss_mb"] > 10 for one in rounds), rounds
    assert figures["violations"] == 0
    assert "| 10 calendars changed (median of 1) | 2" in (tmp_path / "pull.md").read_text()
