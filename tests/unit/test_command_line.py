"""The list of commands: whole sentences, and nothing imported for it that a command needs."""

import os
import subprocess
import sys

import pytest

from calbus.cli import announced, commands

HEAVY = ("aiokafka", "aiohttp", "asyncpg", "cryptography", "jinja2", "msal", "pydantic", "rich", "structlog")


def run(*arguments: str) -> tuple[str, set[str]]:
    """What `calbus` prints, and the packages that it has imported at its end."""
    program = (
        "import atexit, sys; from calbus.cli import main; "
        "atexit.register(lambda: print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)); main()"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=os.environ | {"COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout, set(ended.stderr.split())


def test_the_list_of_commands_is_whole_and_imports_none_of_them() -> None:
    shown, imported = run("--help")
    assert "typer" in imported
    assert imported.isdisjoint(HEAVY), imported & set(HEAVY)
    words = " ".join(shown.split())
    for name, about in announced().items():
        assert f" {name} {about.sentence} " in words
    assert "..." not in shown.replace("COMMAND [ARGS]...", "")


@pytest.mark.parametrize(("command", "without"), [("migrate", "aiokafka"), ("why", "aiokafka"), ("capacity", "msal")])
def test_a_command_imports_only_what_it_needs(command: str, without: str) -> None:
    _, imported = run(command, "--help")
    assert "pydantic" in imported
    assert without not in imported


def test_each_command_is_what_was_announced_of_it() -> None:
    for (name, about), command in zip(announced().items(), commands(), strict=True):
        assert command.name == name
        words = " ".join(command.help.split())
        assert f"{words} ".startswith(f"{about.sentence} ")
        assert about.sentence.count(". ") == 0
