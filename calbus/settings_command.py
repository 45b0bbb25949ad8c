"""`calbus settings`: what is in force for every program, and what is missing or wrong."""

from typing import Any

import typer
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from calbus import settings as kernel
from calbus.command import Command
from calbus.lifecycle import EXIT_USAGE
from calbus.settings import PREFIX, SettingsError, load


def show(commands: list[Command]) -> None:
    """Print the settings of these commands with secrets masked; exits with EXIT_USAGE if one is missing or wrong."""
    out, err = Console(highlight=False), Console(stderr=True, highlight=False)
    table = Table(box=None, header_style="bold")
    table.add_column("Variable", no_wrap=True)
    table.add_column("Value", overflow="fold")
    table.add_column("Used by", overflow="fold")
    users: dict[str, list[str]] = {}
    values: dict[str, Any] = {}
    faults: dict[str, None] = {}
    for command in commands:
        try:
            loaded: Any = load(command.settings)
        except SettingsError as error:
            faults.update(dict.fromkeys(str(error).splitlines()))
            loaded = command.settings.model_construct(**kernel.as_far_as_valid(command.settings))
        for name in command.settings.model_fields:
            users.setdefault(name, []).append(command.name)
            values[name] = getattr(loaded, name, None)
    for name, of in sorted(users.items()):
        table.add_row(f"{PREFIX}{name.upper()}", _shown(values[name]), ", ".join(of))
    out.print(table)
    for sentence in [*faults, *kernel.unknown_variables([command.settings for command in commands])]:
        err.print(sentence, style="yellow", soft_wrap=True)
    if faults:
        raise typer.Exit(EXIT_USAGE)


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, SecretStr):
        return "********" if value.get_secret_value() else "–"
    return str(getattr(value, "value", value))
