"""Writes the documents that are made from the models: `python -m schemas.generate`, or `--check` to compare only."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from schemas.asyncapi import asyncapi_document
from schemas.events import EVENT_TYPES
from schemas.json_schema import schema_of
from schemas.tables import with_tables

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ROOT / "schemas" / "generated"
PAGE = ROOT / "docs" / "event-contract.md"


def documents() -> dict[Path, str]:
    """Every generated file and what the models say should be in it."""
    schemas = {GENERATED / f"{event.name}.json": _as_text(schema_of(event)) for event in EVENT_TYPES.values()}
    return {
        **schemas,
        GENERATED / "asyncapi.json": _as_text(asyncapi_document()),
        PAGE: with_tables(PAGE.read_text(encoding="utf-8")),
    }


def out_of_date(wanted: dict[Path, str]) -> list[Path]:
    """The files that are absent, differ, or stand in the folder without being made any more."""
    differing = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    return differing + [path for path in sorted(GENERATED.glob("*")) if path not in wanted]


def main() -> None:
    """Bring the files up to date; with --check change nothing, and exit with 1 if one is not."""
    parser = argparse.ArgumentParser(prog="python -m schemas.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a file is out of date")
    wanted = documents()
    stale = out_of_date(wanted)
    if parser.parse_args().check:
        if stale:
            names = "\n".join(f"  {path.relative_to(ROOT)}" for path in stale)
            sys.exit(f"Out of date, run `make schemas`:\n{names}")
        return
    GENERATED.mkdir(exist_ok=True)
    for path in stale:
        if path in wanted:
            path.write_text(wanted[path], encoding="utf-8")
        else:
            path.unlink()
        sys.stdout.write(f"{path.relative_to(ROOT)}\n")


def _as_text(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
