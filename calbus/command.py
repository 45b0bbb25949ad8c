"""A command whose options are the fields of a settings model.

Every option is a setting, and every setting an environment variable; secrets are read from the environment only.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any, NoReturn, TypeVar, get_args

import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from typer.models import ArgumentInfo, ParameterInfo

from calbus.lifecycle import EXIT_FAILURE, EXIT_USAGE
from calbus.settings import PREFIX, Settings, SettingsError, load

S = TypeVar("S", bound=Settings)
Configure = Callable[[Settings], None]


class CommandError(Exception):
    """Ends a command with a sentence that says what is wrong and whose move it is."""

    def __init__(self, sentence: str, code: int = EXIT_FAILURE) -> None:
        super().__init__(sentence)
        self.code = code


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
        self.app()()

    def app(self) -> typer.Typer:
        """The command line of this command alone.

        Ends with EXIT_USAGE, and a line for each, if settings are wrong; with a CommandError's sentence and code.
        """

        def call(**given: str | None) -> None:
            arguments = {name: given.pop(name) for name in self._arguments}
            options = {name: value for name, value in given.items() if value is not None}
            try:
                settings = load(self.settings, **options)
                if self._configure is not None:
                    self._configure(settings)
                self._run(settings, **arguments)
            except SettingsError as error:
                typer.echo(error, err=True)
                raise typer.Exit(EXIT_USAGE) from None
            except CommandError as error:
                fail(str(error), error.code)

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
        call.__doc__ = self.help
        # Rich cuts long option names off; what cannot be read cannot be typed.
        app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        app.command(self.name, epilog=_secrets_of(self.settings))(call)
        return app

    @property
    def help(self) -> str:
        """What the command does; the first sentence is the one that `calbus --help` shows."""
        return inspect.getdoc(self._run) or self.settings.__doc__ or ""


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
        if is_secret(field)
    ]
    return f"From the environment only: {'; '.join(named)}." if named else ""


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting is one that is never shown, nor given as an option."""
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _options(settings: type[Settings]) -> dict[str, Any]:
    options = {}
    for name, field in settings.model_fields.items():
        if is_secret(field):
            continue
        about = " ".join((field.description or "").split())
        if field.default is not None and not field.is_required() and str(field.default):
            about += f" By default {getattr(field.default, 'value', field.default)}."
        flag = f"--{name.replace('_', '-')}"
        options[name] = Annotated[
            str | None, typer.Option(flag, help=f"{about} [{PREFIX}{name.upper()}]", show_default=False)
        ]
    return options


def fail(sentence: str, code: int = EXIT_FAILURE) -> NoReturn:
    """End the program with this sentence, in red, on standard error."""
    from rich.console import Console

    Console(stderr=True, highlight=False, emoji=False).print(sentence, style="red", soft_wrap=True, markup=False)
    raise typer.Exit(code)
