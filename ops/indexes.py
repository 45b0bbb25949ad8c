"""Lists of the runbooks and of the decisions, from these pages themselves: `make docs`; `--check` only compares."""

import argparse
import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1] / "docs"
INDEX = "README.md"


def runbooks(folder: Path) -> str:
    """A table of the alerts by severity: what each means, in its runbook's own first words."""
    rows = []
    for page in _pages(folder):
        text = page.read_text(encoding="utf-8")
        severity = re.search(r"^Severity: (\w+)\.$", text, re.MULTILINE)
        meaning = re.search(r"^## Meaning\n\n(.+?)\n\n", text, re.MULTILINE | re.DOTALL)
        if severity is None or meaning is None:
            raise ValueError(f"{page.name} has no severity, or no meaning")
        rows.append((severity[1], f"| [{page.stem}]({page.name}) | {severity[1]} | {' '.join(meaning[1].split())} |"))
    table = "\n".join(row for _, row in sorted(rows))
    return (
        "# Runbooks\n\nOne for each alert of [ops/alerts](../../ops/alerts/calbus.yml), which links to it: what it "
        "means, whom it hurts, how to\nfind the cause and how to mend it. This page is written by `make docs`.\n\n"
        f"| alert | severity | it means |\n|---|---|---|\n{table}\n"
    )


def decisions(folder: Path) -> str:
    """The titles, in order."""
    rows = []
    for page in _pages(folder):
        title = page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
        number, _, words = title.partition(". ")
        rows.append(f"{number}. [{words}]({page.name})")
    listed = "\n".join(rows)
    return (
        "# Decisions\n\nWhy calbus is as it is: what was decided, what else there was, and what it costs. This page is "
        f"written by `make docs`.\n\n{listed}\n"
    )


def _pages(folder: Path) -> list[Path]:
    return [page for page in sorted(folder.glob("*.md")) if page.name != INDEX]


def documents() -> dict[Path, str]:
    """Every file and what should be in it."""
    return {
        DOCS / "runbooks" / INDEX: runbooks(DOCS / "runbooks"),
        DOCS / "adr" / INDEX: decisions(DOCS / "adr"),
    }


def main() -> None:
    """Bring the files up to date; with --check change nothing, and exit with 1 if one is not."""
    parser = argparse.ArgumentParser(prog="python -m ops.indexes", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a file is out of date")
    wanted = documents()
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if parser.parse_args().check:
        if stale:
            sys.exit(f"Out of date, run `make docs`: {', '.join(str(path) for path in stale)}")
        return
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")


if __name__ == "__main__":
    main()
