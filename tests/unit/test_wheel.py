"""What is installed holds what the code reads at run time: catalogs and migrations, not only modules."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from schemas.switches import Locale

ROOT = Path(__file__).parents[2]


def test_catalogs_and_migrations_are_in_the_wheel(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {f"services/ingest/locale/{locale}.po" for locale in Locale} <= names
    assert {f"schemas/migrations/{step.name}" for step in (ROOT / "schemas" / "migrations").glob("*.sql")} <= names
