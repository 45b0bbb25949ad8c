"""The README's dashboard: axes, legends and panels by themselves, and both pictures from what really runs."""

import asyncio
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.dashboards import FOLDER, OVERVIEW
from ops.pictures import drawing, traffic
from ops.pictures.drawing import TICKS, Line

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((FOLDER / f"{OVERVIEW.name}.json").read_text(encoding="utf-8"))


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_an_axis_holds_every_value_and_zero(one: float, other: float) -> None:
    least, most = sorted((one, other))
    low, step = drawing.scale(least, most)
    slack = step * 1e-9
    assert low - slack <= min(least, 0)
    assert max(most, 0) <= low + TICKS * step + slack
    assert step > 0


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.9876, "percentunit", "98.8%"),
        (0.25, "s", "250 ms"),
        (0.0, "s", "0 s"),
        (90.0, "s", "90 s"),
        (3 * 2**20, "bytes", "3 MiB"),
        (4.25, "cps", "4.25/s"),
        (1500.0, "short", "1,500"),
    ],
)
def test_values_are_said_in_their_unit(value: float, unit: str, said: str) -> None:
    assert drawing.shown(value, unit) == said


def test_a_legend_has_the_labels() -> None:
    assert drawing.legend("{{topic}} {{result}}", {"topic": "actions.v1", "result": "stale"}) == "actions.v1 stale"
    assert drawing.legend("p50", {}) == "p50"


def test_a_panel_shows_its_lines_or_says_that_there_are_none() -> None:
    lines = [Line("<b> & co", ((0.0, 1.0), (2.0, 3.0)))]
    answers = [lines if panel["title"] == "Event to calendar" else [] for panel in DASHBOARD["panels"]]
    page = drawing.page(DASHBOARD, answers, "Drawn by hand.")
    assert page.count("No data") == len(DASHBOARD["panels"]) - 1
    assert page.count("<polyline") == 1
    assert "&lt;b&gt; &amp; co" in page
    assert "Drawn by hand." in page
    assert all(panel["title"].replace("&", "&amp;") in page for panel in DASHBOARD["panels"])


def test_a_number_is_the_last_value() -> None:
    [number, *others] = DASHBOARD["panels"]
    assert number["type"] == "stat"
    lines = [Line("", ((0.0, 0.5), (2.0, 0.75)))]
    assert ">75%<" in drawing.page(DASHBOARD, [lines, *([] for _ in others)], "")


def test_traffic_is_newer_than_what_was_recorded_and_differs_each_time() -> None:
    for event in traffic.newest():
        versions = [json.loads(traffic.revised(event, number)[2] or b"") for number in (1, 2)]
        revisions = [event["data"]["revision"], *(one["data"]["revision"] for one in versions)]
        assert revisions == sorted(set(revisions))
        assert versions[0]["data"]["place"] != versions[1]["data"]["place"]
        assert len({event["id"], *(one["id"] for one in versions)}) == 3


@pytest.mark.slow
@pytest.mark.ops
@pytest.mark.timeout(400)
async def test_the_pictures_are_made_from_what_runs(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ops.pictures", "--into", str(tmp_path), "--traffic-s", "10"),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    for name in ("week.png", "dashboard.png"):
        content = (tmp_path / name).read_bytes()
        assert content.startswith(b"\x89PNG")
        assert 20_000 < len(content) < 200_000, name
