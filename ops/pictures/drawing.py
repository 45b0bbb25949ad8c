"""A dashboard drawn as a page: Grafana's layout and titles, the values that Prometheus answered. Pure.

It is not Grafana: the page says so, and draws only the kinds of panel that the dashboard has.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any

ROW_PX, GAP_PX, COLUMN_PX = 30, 8, 58
COLORS = ("#2f9e44", "#e8a10c", "#1c7ed6", "#e8590c", "#c92a2a", "#7048e8", "#0b7285", "#a61e4d", "#5c940d", "#495057")
LEGEND_MAX = 9
TICKS = 4
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 50, 10, 8, 20
TITLE_PX, LEGEND_PX = 26, 38
STYLE = f"""
body {{ margin: 0; padding: 14px; width: {24 * COLUMN_PX}px; background: #f4f5f5; color: #24292e;
  font: 12px "DejaVu Sans", Arial, sans-serif; }}
h1 {{ font-size: 17px; margin: 0 0 2px; }}
p {{ margin: 0 0 12px; color: #6e7781; }}
main {{ display: grid; grid-template-columns: repeat(24, 1fr); grid-auto-rows: {ROW_PX}px; gap: {GAP_PX}px; }}
section {{ background: #fff; border: 1px solid #d8dadd; border-radius: 3px; overflow: hidden; padding: 5px 8px; }}
h2 {{ font-size: 12px; font-weight: 600; margin: 0; height: {TITLE_PX - 4}px; white-space: nowrap; overflow: hidden; }}
.stat {{ font-size: 40px; font-weight: 600; color: #2f9e44; text-align: center; line-height: 84px; }}
.legend {{ height: {LEGEND_PX}px; overflow: hidden; color: #57606a; font-size: 11px; line-height: 17px; }}
.legend b {{ display: inline-block; width: 12px; height: 3px; margin: 0 4px 3px 0; vertical-align: middle; }}
.legend span {{ margin-right: 12px; white-space: nowrap; display: inline-block; }}
.none {{ text-align: center; color: #8c959f; line-height: 140px; }}
text {{ font-size: 10.5px; fill: #6e7781; }}
"""


@dataclass(frozen=True, slots=True)
class Line:
    """A series of a panel: its name in the legend, and seconds since 1970 with their values, in order."""

    name: str
    points: tuple[tuple[float, float], ...]


def page(dashboard: dict[str, Any], answers: Sequence[Sequence[Line]], caption: str) -> str:
    """The dashboard (Grafana's JSON) as HTML; `answers` has the lines of each panel, in its order."""
    times = [at for lines in answers for line in lines for at, _ in line.points]
    span = (min(times), max(times)) if times else (0.0, 1.0)
    panels = "".join(_panel(panel, lines, span) for panel, lines in zip(dashboard["panels"], answers, strict=True))
    return (
        f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>'
        f"<h1>{escape(dashboard['title'])}</h1><p>{escape(caption)}</p><main>{panels}</main>"
    )


def legend(template: str, labels: dict[str, str]) -> str:
    """A line's name: Grafana's template with the labels in it."""
    for name, value in labels.items():
        template = template.replace(f"{{{{{name}}}}}", value)
    return template


def shown(value: float, unit: str) -> str:
    """A value as a person reads it, in one of the units that the dashboards use."""
    match unit:
        case "percentunit":
            return f"{value * 100:.3g}%"
        case "s":
            return f"{value * 1000:.3g} ms" if 0 < abs(value) < 1 else f"{value:.3g} s"
        case "bytes":
            return f"{value / 2**20:.4g} MiB"
        case "d":
            return f"{value:.3g} d"
        case "cps" | "reqps":
            return f"{value:.3g}/s"
        case _:
            return f"{value:,.4g}"


def _panel(panel: dict[str, Any], lines: Sequence[Line], span: tuple[float, float]) -> str:
    place = panel["gridPos"]
    where = f"grid-column: {place['x'] + 1} / span {place['w']}; grid-row: {place['y'] + 1} / span {place['h']}"
    unit = panel["fieldConfig"]["defaults"]["unit"]
    drawn = [line for line in lines if line.points]
    if not drawn:
        body = '<div class="none">No data</div>'
    elif panel["type"] == "stat":
        body = f'<div class="stat">{shown(drawn[0].points[-1][1], unit)}</div>'
    else:
        width = place["w"] * COLUMN_PX - 3 * GAP_PX
        height = place["h"] * (ROW_PX + GAP_PX) - GAP_PX - TITLE_PX - LEGEND_PX - 10
        body = _chart(drawn, unit, span, (width, height)) + _legend(drawn)
    return f'<section style="{where}"><h2>{escape(panel["title"])}</h2>{body}</section>'


def _legend(lines: Sequence[Line]) -> str:
    named = "".join(
        f'<span><b style="background: {COLORS[index % len(COLORS)]}"></b>{escape(line.name)}</span>'
        for index, line in enumerate(lines[:LEGEND_MAX])
    )
    return f'<div class="legend">{named}{" …" if len(lines) > LEGEND_MAX else ""}</div>'


def _chart(lines: Sequence[Line], unit: str, span: tuple[float, float], size: tuple[int, int]) -> str:
    width, height = size
    values = [value for line in lines for _, value in line.points]
    low, step = scale(min(values), max(values))
    high = low + TICKS * step
    began, length = span[0], max(span[1] - span[0], 1.0)

    def x(at: float) -> float:
        return LEFT_PX + (width - LEFT_PX - RIGHT_PX) * (at - began) / length

    def y(value: float) -> float:
        return TOP_PX + (height - TOP_PX - BOTTOM_PX) * (high - value) / (high - low)

    parts = [f'<svg width="{width}" height="{height}">']
    for tick in range(TICKS + 1):
        at = low + tick * step
        parts.append(f'<path d="M{LEFT_PX} {y(at):.1f}H{width - RIGHT_PX}" stroke="#eceef0"/>')
        parts.append(f'<text x="{LEFT_PX - 5}" y="{y(at) + 3.5:.1f}" text-anchor="end">{shown(at, unit)}</text>')
    for share in (0.1, 0.5, 0.9):
        at = began + share * length
        clock = f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"
        parts.append(f'<text x="{x(at):.1f}" y="{height - 4}" text-anchor="middle">{clock}</text>')
    for index, line in enumerate(lines):
        path = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in line.points)
        color = COLORS[index % len(COLORS)]
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.6"/>')
    return "".join([*parts, "</svg>"])


def scale(least: float, most: float) -> tuple[float, float]:
    """Where the axis begins, and the step of its TICKS ticks: round numbers that hold all values, and zero."""
    least, most = min(least, 0.0), max(most, 0.0)
    raw = (most - least) / TICKS or 0.25
    decade = 10.0 ** math.floor(math.log10(raw))
    for factor in (1, 2, 2.5, 5, 10, 20, 50):
        step = factor * decade
        low = math.floor(least / step) * step
        if low + TICKS * step >= most:
            return low, step
    raise AssertionError("a step of 50 decades holds what 4 steps of at most 10 hold")
