"""The `calbus` command line: the commands that kernel and deployables announce, each imported when it is called."""

from importlib.metadata import entry_points, version
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from calbus.announced import Announced

COMMANDS = "calbus.commands"
SETTINGS = "Print the settings in force for every program, with secrets masked, and say what is missing or wrong."


def announced() -> dict[str, Announced]:
    """What is installed, by name. Nothing but the announcements is imported."""
    return {entry.name: entry.load() for entry in sorted(entry_points(group=COMMANDS), key=lambda entry: entry.name)}


def commands() -> list[Any]:
    """All `Command`s, imported, which takes a second."""
    return [_load(name, about) for name, about in announced().items()]


def _load(name: str, about: Announced) -> Any:
    """A command; one whose packages are not installed is there all the same, and says what it needs."""
    try:
        return about.load()
    except ModuleNotFoundError as error:
        missing = error.name
    from calbus.command import command_of, fail
    from calbus.settings import Settings

    def refuse(_: Settings) -> None:
        """Needs packages that are not installed."""
        fail(f"`calbus {name}` needs the package {missing}: install calbus[devstack]")

    return command_of(name, Settings, refuse)


class _Group(TyperGroup):
    """Knows commands by their announcements, and puts the real one in the place of the one that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        about = announced().get(name or "")
        return name, get_command(_load(name or "", about).app()) if about else command, rest


def app() -> typer.Typer:
    """The whole command line."""
    root = typer.Typer(
        cls=_Group,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help="Keeps people's Outlook calendars in step with the work that business systems plan for them.",
        epilog="Every option is also an environment variable, named beside it. Secrets come from the environment only.",
    )
    for name, about in announced().items():
        # Given as the short help, a sentence is wrapped and not cut.
        root.command(name, short_help=about.sentence)(_never_called)

    @root.command("settings", help=SETTINGS, short_help=SETTINGS)
    def show_settings() -> None:
        from calbus.settings_command import show

        show(commands())

    @root.command("version", help="Print the version.")
    def show_version() -> None:
        typer.echo(version("calbus"))

    return root


def _never_called() -> None:
    """The real command takes its place."""


def main() -> None:
    """Entry point of the `calbus` program."""
    app()()
