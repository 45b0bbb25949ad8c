"""Badges of the README from facts of this repository: `make docs` writes docs/images/badge-*.svg.

A badge says only what a file here says, so that no other host is asked; `--check` only compares.
"""

import argparse
import json
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "images"
HEIGHT, PADDING, CHARACTER = 20, 7, 6.6


@dataclass(frozen=True, slots=True)
class Badge:
    """`name` is the file's; `fact` is what `about` is said to be."""

    name: str
    about: str
    fact: str


def badges() -> tuple[Badge, ...]:
    """All of them, with what the files say now. Raises if a file no longer bears out what a badge is for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return (
        Badge("python", "Python", project["project"]["requires-python"].replace(">=", "≥ ")),
        Badge("licence", "licence", project["project"]["license"]),
        Badge("kafka", "tested on", f"Apache Kafka {_kafka()}"),
        Badge("contract", "events", f"AsyncAPI {_asyncapi()}"),
        Badge("types", "mypy", _mypy(project["tool"]["mypy"])),
    )


def _kafka() -> str:
    """The version of the broker that the tests start."""
    pom = (ROOT / "devstack" / "kafka" / "pom.xml").read_text(encoding="utf-8")
    found = re.search(r"<kafka\.version>([\d.]+)</kafka\.version>", pom)
    if found is None:
        raise ValueError("devstack/kafka/pom.xml names no version of Kafka")
    return found[1]


def _asyncapi() -> str:
    """The version of the form in which the event contract is published."""
    document = json.loads((ROOT / "schemas" / "generated" / "asyncapi.json").read_text(encoding="utf-8"))
    return str(document["asyncapi"])


def _mypy(settings: dict[str, object]) -> str:
    """`strict`, while every package that is shipped is checked so."""
    if settings["strict"] is not True:
        raise ValueError("mypy is not strict")
    return "strict"


def svg(badge: Badge) -> str:
    """The badge as a picture that needs nothing else."""
    left, right = (round(len(text) * CHARACTER) + 2 * PADDING for text in (badge.about, badge.fact))
    about, fact = escape(badge.about), escape(badge.fact)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{HEIGHT}" role="img" '
        f'aria-label="{about}: {fact}" font-family="Verdana, DejaVu Sans, sans-serif" font-size="11">\n'
        f"<title>{about}: {fact}</title>\n"
        f'<rect width="{left + right}" height="{HEIGHT}" rx="3" fill="#0f6cbd"/>\n'
        f'<path d="M3 0h{left - 3}v{HEIGHT}H3a3 3 0 0 1-3-3V3a3 3 0 0 1 3-3z" fill="#444c56"/>\n'
        f'<g fill="#fff" text-anchor="middle"><text x="{left / 2}" y="14">{about}</text>'
        f'<text x="{left + right / 2}" y="14">{fact}</text></g>\n'
        "</svg>\n"
    )


def documents() -> dict[Path, str]:
    """Every file and what should be in it."""
    return {FOLDER / f"badge-{badge.name}.svg": svg(badge) for badge in badges()}


def main() -> None:
    """Bring the files up to date; with --check change nothing, and exit with 1 if one is not."""
    parser = argparse.ArgumentParser(prog="python -m ops.badges", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a file is out of date")
    wanted = documents()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if parser.parse_args().check:
        if stale:
            sys.exit(f"Out of date, run `make docs`: {', '.join(path.name for path in stale)}")
        return
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")


if __name__ == "__main__":
    main()
