"""What the programs have: their commands, their settings, and the ports of their image."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from calbus.cli import commands
from calbus.settings import PREFIX, Settings, load
from devstack.demo.deliver import DeliverSettings

ROOT = Path(__file__).parents[2]
DELIVER = ["python3", "-m", "devstack.demo.deliver"]


@cache
def programs() -> dict[str, type[Settings]]:
    """Settings by command."""
    return {command.name: command.settings for command in commands()}


@cache
def image_environment() -> dict[str, str]:
    """The variables that the Dockerfile sets."""
    return dict(re.findall(r"(CALBUS_\w+)=(\S+)", (ROOT / "Dockerfile").read_text()))


def program_of(entrypoint: list[str], arguments: list[str]) -> type[Settings]:
    """The settings of what such a container runs."""
    if entrypoint == DELIVER:
        return DeliverSettings
    assert not entrypoint, entrypoint
    (name,) = arguments
    return programs()[name]


def calbus_variables(environment: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(PREFIX)}


def known(settings: type[Settings]) -> set[str]:
    return {f"{PREFIX}{name.upper()}" for name in settings.model_fields}


def read(monkeypatch: pytest.MonkeyPatch, settings: type[Settings], environment: dict[str, str]) -> Any:
    """The settings, as the program reads them from just this environment; fails if any is missing, wrong or unknown."""
    given = calbus_variables(environment)
    assert set(given) <= known(settings), f"no settings of {settings.__name__}: {set(given) - known(settings)}"
    with monkeypatch.context() as patched:
        for name in {name for one in programs().values() for name in known(one)}:
            patched.delenv(name, raising=False)
        for name, value in given.items():
            patched.setenv(name, value)
        for name, value in image_environment().items():
            if name not in given:
                patched.setenv(name, value)
        return load(settings)
