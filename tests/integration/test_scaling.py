"""Writers are started and stopped under load; what comes of it is counted by the simulator, not by them."""

import asyncio
import json
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from devstack.settings import REPOSITORY


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_scaling_out_and_in_loses_and_doubles_nothing_and_nobody_shares_a_mailbox(tmp_path: Path) -> None:
    arguments = ("--tenants", "30", "--users", "1", "--rate", "30", "--phase-s", "8", "--out", str(tmp_path))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.scaling", *arguments, cwd=REPOSITORY)
    assert await process.wait() == 0
    figures = json.loads((tmp_path / "scaling.json").read_text())
    one, four, two = figures["phases"]
    assert [one["writers"], four["writers"], two["writers"]] == [1, 4, 2]
    assert four["waiting_last"] <= max(one["waiting_peak"] / 4, 30)
    assert figures["published"] == figures["standing"] == figures["outcomes"] > 0
    assert (figures["lost"], figures["doubled"]) == (0, 0)
    service = figures["service"]
    assert (service["overlaps"], service["violations"], service["refusals"]) == (0, 0, 0)
    assert service["mailboxes"] == 30
    assert service["handovers"] > 0
    assert service["max_in_flight"] <= 3
    assert ET.parse(tmp_path / "scaling.svg").getroot().tag.endswith("svg")
    assert "Nothing lost, nothing doubled" in (tmp_path / "scaling.md").read_text()
