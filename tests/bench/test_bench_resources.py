"""The measurement that the manifests' resources come from, in small: it measures all services, under real work."""

import asyncio
import json
import sys
from pathlib import Path

import pytest

from devstack.settings import REPOSITORY


@pytest.mark.slow
async def test_every_service_is_measured_while_it_works(tmp_path: Path) -> None:
    arguments = ("--tenants", "2", "--users", "2", "--actions", "40", "--out", str(tmp_path))
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bench.resources", *arguments, cwd=REPOSITORY)
    assert await process.wait() == 0
    figures = json.loads((tmp_path / "resources.json").read_text())
    assert (figures["actions"], figures["mailboxes"], figures["changes"]) == (40, 4, 12)
    assert set(figures["services"]) == {"ingest", "writer", "puller"}
    for used in figures["services"].values():
        assert used["peak_mib"] > 20
        assert used["cpu_s"] > 0
    assert "| writer |" in (tmp_path / "resources.md").read_text()
