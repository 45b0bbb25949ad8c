"""The `calbus` command line: the kernel's own commands, and those that deployables register.

Every option is a setting, and every setting an environment variable; secrets are read from the environment only.
"""

import asyncio
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points, version
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar, get_args

import asyncpg
import typer
from aiokafka.errors import KafkaError
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from rich.console import Console
from rich.table import Table
from typer.models import ArgumentInfo, ParameterInfo

from calbus import settings as kernel
from calbus.bus.publish import Published, PublishError, publish, read_file
from calbus.bus.topics import create_topics
from calbus.lifecycle import EXIT_FAILURE, EXIT_USAGE, at_most
from calbus.settings import PREFIX, KafkaSettings, PostgresSettings, Settings, SettingsError, load
from calbus.store.migrate import MigrationError, migrate
from calbus.store.pool import WRONG_DSN
from calbus.telemetry import configure_logging

COMMANDS = "calbus.commands"
KAFKA_TIMEOUT_S = 30.0

S = TypeVar("S", bound=Settings)
Configure = Callable[[Settings], None]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


class Command:
    """A command whose options are the fields of a settings model."""

    def __init__(
        self,
        name: str,
        settings: type[S],
        run: Callable[..., None],
        configure: Configure | None,
        **arguments: Any,
    ) -> None:
        self.name = name
        self.settings = settings
        self._run = run
        self._configure = configure
        self._arguments = arguments

    def __call__(self) -> None:
        """Run as a program of its own."""
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        self.register(app)
        _run_app(app)

    def register(self, app: typer.Typer) -> None:
        """Add this command to an app."""

        def call(**given: str | None) -> None:
            arguments = {name: given.pop(name) for name in self._arguments}
            options = {name: value for name, value in given.items() if value is not None}
            settings = load(self.settings, **options)
            if self._configure is not None:
                self._configure(settings)
            self._run(settings, **arguments)

        # typer reads a function's signature; this one is made from the settings model.
        parameters = [*self._arguments.items(), *_options(self.settings).items()]
        call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [
                inspect.Parameter(
                    name,
                    inspect.Parameter.KEYWORD_ONLY,
                    annotation=annotation,
                    default=_default(self._arguments.get(name)),
                )
                for name, annotation in parameters
            ]
        )
        call.__annotations__ = dict(parameters)
        call.__doc__ = inspect.getdoc(self._run) or self.settings.__doc__
        app.command(self.name, epilog=_secrets_of(self.settings))(call)


def command_of(
    name: str,
    settings: type[S],
    run: Callable[..., None],
    configure: Configure | None = None,
    **arguments: Any,
) -> Command:
    """A command `name` that calls `run` with the settings, after `configure` with the same.

    `arguments` are typer annotations of what `run` takes besides: positional arguments, which must be given, and
    options that are no settings, which are None where they are not.
    """
    return Command(name, settings, run, configure, **arguments)


def _default(annotation: Any) -> Any:
    """None for settings and plain options; none at all where typer must ask for one, or makes one."""
    about = [one for one in get_args(annotation) if isinstance(one, ParameterInfo)]
    given_elsewhere = any(isinstance(one, ArgumentInfo) or one.default_factory is not None for one in about)
    return inspect.Parameter.empty if given_elsewhere else None


def _secrets_of(settings: type[Settings]) -> str:
    """The settings that have no option, since a command line is for everybody to see."""
    named = [
        f"{PREFIX}{name.upper()} ({' '.join((field.description or '').split()).rstrip('.')})"
        for name, field in settings.model_fields.items()
        if _is_secret(field)
    ]
    return f"From the environment only: {'; '.join(named)}." if named else ""


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _options(settings: type[Settings]) -> dict[str, Any]:
    options = {}
    for name, field in settings.model_fields.items():
        if _is_secret(field):
            continue
        about = " ".join((field.description or "").split())
        if field.default is not None and not field.is_required() and str(field.default):
            about += f" By default {getattr(field.default, 'value', field.default)}."
        flag = f"--{name.replace('_', '-')}"
        options[name] = Annotated[
            str | None, typer.Option(flag, help=f"{about} [{PREFIX}{name.upper()}]", show_default=False)
        ]
    return options


def _migrate(settings: PostgresSettings) -> None:
    """Bring the database to the newest schema. Safe to run twice, and from two places at once."""

    async def main() -> None:
        connection = await asyncpg.connect(settings.postgres_dsn.get_secret_value())
        try:
            fresh = await migrate(connection)
        finally:
            await connection.close()
        for step in fresh:
            out.print(f"applied {step.name}")
        out.print("the schema is up to date")

    try:
        asyncio.run(main())
    except (ValueError, asyncpg.ClientConfigurationError):
        raise SettingsError(WRONG_DSN) from None
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, MigrationError) as error:
        _fail(f"PostgreSQL (CALBUS_POSTGRES_DSN): {str(error) or type(error).__name__}")


def _topics(settings: KafkaSettings) -> None:
    """Make the topics that are not there yet; those that are stay as they are."""
    try:
        created = asyncio.run(create_topics(settings))
    except (OSError, KafkaError) as error:
        _fail(f"Kafka (CALBUS_KAFKA_BOOTSTRAP): {error}")
    for name in created:
        out.print(f"made {name}")
    out.print("all topics are there")


def _publish(settings: KafkaSettings, file: Path) -> None:
    """Publish the events of a JSON Lines file, each line a CloudEvent in JSON."""
    try:
        messages = read_file(file)
        if not messages:
            _fail(f"{file} holds no events", EXIT_USAGE)
        published: Published = asyncio.run(at_most(KAFKA_TIMEOUT_S, publish(settings, messages)))
    except TimeoutError:
        _fail(f"Kafka (CALBUS_KAFKA_BOOTSTRAP={settings.kafka_bootstrap}) did not answer for {KAFKA_TIMEOUT_S:.0f} s")
    except PublishError as error:
        _fail(str(error), EXIT_USAGE)
    except (OSError, KafkaError) as error:
        _fail(f"Kafka (CALBUS_KAFKA_BOOTSTRAP): {error}")
    for topic, count in sorted(published.items()):
        out.print(f"{count:6} to {topic}")


def _fail(sentence: str, code: int = EXIT_FAILURE) -> NoReturn:
    err.print(sentence, style="red", soft_wrap=True)
    raise typer.Exit(code)


_KERNEL = [
    command_of("migrate", PostgresSettings, _migrate, configure_logging),
    command_of("topics", KafkaSettings, _topics, configure_logging),
    command_of(
        "publish",
        KafkaSettings,
        _publish,
        configure_logging,
        file=Annotated[Path, typer.Argument(help="The file.", exists=True, dir_okay=False, readable=True)],
    ),
]


def _commands(named: str | None) -> list[Command]:
    """All commands; only the one that is named, if it is one, since loading them all takes a second."""
    registered = sorted(entry_points(group=COMMANDS), key=lambda entry: entry.name)
    if any(command.name == named for command in _KERNEL):
        registered = []
    elif any(entry.name == named for entry in registered):
        registered = [entry for entry in registered if entry.name == named]
    return [*_KERNEL, *map(_load, registered)]


def _load(entry: EntryPoint) -> Command:
    """A registered command; one whose packages are not installed is there all the same, and says what it needs."""
    try:
        command: Command = entry.load()
    except ModuleNotFoundError as error:
        missing = error.name

        def refuse(_: Settings) -> None:
            """Needs packages that are not installed."""
            _fail(f"`calbus {entry.name}` needs the package {missing}: install calbus[devstack]")

        return command_of(entry.name, Settings, refuse)
    return command


def app(named: str | None = None) -> typer.Typer:
    """The command line: whole, or with just what the command `named` needs."""
    root = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        # Rich cuts long option names off; what cannot be read cannot be typed.
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        help="Keeps people's Outlook calendars in step with the work that business systems plan for them.",
        epilog="Every option is also an environment variable, named beside it. Secrets come from the environment only.",
    )
    commands = _commands(named)
    for command in commands:
        command.register(root)

    @root.command("settings")
    def show_settings() -> None:
        """Print the settings in force for every program, with secrets masked, and say what is missing or wrong."""
        _show_settings(commands)

    @root.command("version")
    def show_version() -> None:
        """Print the version."""
        out.print(version("calbus"))

    return root


def _show_settings(commands: list[Command]) -> None:
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


def _run_app(root: typer.Typer) -> None:
    try:
        root()
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201
        sys.exit(EXIT_USAGE)


def main() -> None:
    """Entry point of the `calbus` program."""
    _run_app(app(sys.argv[1] if len(sys.argv) > 1 else None))
