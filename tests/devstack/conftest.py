"""What the tests of the stack share: a temporary directory that must be empty again, and settings of their own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack.settings import Settings


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests start engines also where somebody exported the address of one. The cache is worth keeping."""
    for name in os.environ:
        if name.startswith("CALBUS_") and name != "CALBUS_CACHE_DIR":
            monkeypatch.delenv(name)


@pytest.fixture
def scratch(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The temporary directory of the stacks of one test. Not pytest's own: PostgreSQL's user may not pass there."""
    tmp_path_factory.getbasetemp()  # made now, or it would be made in here
    directory = Path(tempfile.mkdtemp(prefix="calbus-test-"))
    directory.chmod(0o711)
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def quick() -> Settings:
    """Settings with which a stack starts soonest."""
    return Settings(devstack_kafka="embedded", devstack_fsync=False)
