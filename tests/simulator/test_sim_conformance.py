"""The conformance table of the simulator's README names tests that exist."""

import fnmatch
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NAMED = re.compile(r"`((?:tests/[a-z_]+/)?test_\w+|…)(?:::(test_[\w*]+))?`")
_TEST = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)


def _named_tests() -> list[tuple[Path, str]]:
    """Files and names, or patterns of names, in the last column; `…` is the file named before."""
    table = (ROOT / "simulator" / "README.md").read_text().partition("## Conformance")[2]
    found = []
    for row in table.splitlines():
        file = Path()
        for place, name in _NAMED.findall(row):
            if place != "…":
                file = ROOT / f"{place if '/' in place else f'tests/simulator/{place}'}.py"
            found.append((file, name or "test_*"))
    return found


def test_every_named_test_is_there():
    named = _named_tests()
    assert len(named) > 100
    missing = [
        f"{file.stem}::{name}"
        for file, name in named
        if not file.is_file() or not fnmatch.filter(_TEST.findall(file.read_text()), name)
    ]
    assert missing == []
