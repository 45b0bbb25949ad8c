"""How figures are shown: JSON, a table in Markdown, a plot. Nothing is measured here."""

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.scenarios import FLOOR, WRITER, Figures

RESULTS = Path(__file__).parent / "results"


def write(name: str, figures: Figures, directory: Path = RESULTS) -> Path:
    """Keep what a scenario gave, beside what else is there; gives the Markdown file's path."""
    measured = keep(name, figures, directory)
    page = directory / f"{name}.md"
    page.write_text(f"# {name}\n\n{_table(name, figures)}\n{said_of(measured)}\n")
    if name == "rates":
        plot(figures, directory / "rates.png")
    return page


def keep(name: str, figures: Figures, directory: Path) -> dict[str, Any]:
    """Write the figures as JSON, with when and where they were measured; gives all that."""
    directory.mkdir(parents=True, exist_ok=True)
    measured = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpus": os.cpu_count(),
            "python": platform.python_version(),
            "load_average": [round(one, 1) for one in os.getloadavg()],
        },
        "figures": figures,
    }
    (directory / f"{name}.json").write_text(json.dumps(measured, indent=2) + "\n")
    return measured


def said_of(measured: dict[str, Any]) -> str:
    """When and where, in a line."""
    machine = measured["machine"]
    return (
        f"{measured['measured_at']}, {machine['cpus']} CPUs, Python {machine['python']}, "
        f"load average {machine['load_average']} at the end."
    )


def _table(name: str, figures: Figures) -> str:
    if name == "rates":
        return _rates(figures)
    lines = ["| figure | value |", "|---|---|"]
    lines += [f"| {label} | {value} |" for label, value in _flat("", figures)]
    return "\n".join(lines) + "\n"


def _rates(figures: Figures) -> str:
    lines = [
        "| who | entries/s (clock) | entries/s per core | CPU-s per 1,000 | best | calbus is × as fast per core |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in figures["rows"].items():
        ratio = "" if name == WRITER else f"{figures['ratios_per_core'][name]:.2f}"
        lines.append(
            f"| {name} | {row['per_s']:,.0f} | {row['per_core_s']:,.0f} | {row['cpu_s_per_1000']:.3f} "
            f"| {row['best_cpu_s_per_1000']:.3f} | {ratio} |"
        )
    return "\n".join(lines) + f"\n\nMedians of {figures['rounds']} rounds over {figures['mailboxes']} mailboxes.\n"


def _flat(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for name, one in value.items() for pair in _flat(f"{prefix} {name}".strip(), one)]
    if isinstance(value, list):
        return [(prefix, ", ".join(f"{one:,.2f}" for one in value))]
    return [(prefix, f"{value:,.3f}" if isinstance(value, float) else f"{value:,}")]


def plot(figures: Figures, file: Path) -> bool:
    """Bars of the rates per core, on a logarithmic scale; False where matplotlib is not there (the extra `bench`)."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rows = sorted(figures["rows"].items(), key=lambda row: row[1]["per_core_s"])
    values = [row["per_core_s"] for _, row in rows]
    shown, axes = plt.subplots(figsize=(9, 0.5 * len(rows) + 1.2))
    # The floor is nothing that anybody would use.
    colors = [{WRITER: "#0f6cbd", FLOOR: "#cfe4fa"}.get(name, "#b8b8b8") for name, _ in rows]
    bars = axes.barh([name for name, _ in rows], values, color=colors)
    axes.bar_label(bars, labels=[f"{value:,.0f}" for value in values], padding=3)
    axes.set_xscale("log")
    axes.set_xlim(right=max(values) * 2)
    axes.set_xlabel("events a second for each core of the client (logarithmic)")
    axes.spines[["top", "right"]].set_visible(False)
    shown.tight_layout()
    shown.savefig(file, dpi=120)
    plt.close(shown)
    return True
