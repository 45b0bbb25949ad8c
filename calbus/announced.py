"""A command by its name and its sentence: what `calbus --help` needs of it, without an import of what it does."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any


@dataclass(frozen=True, slots=True)
class Announced:
    """A command that is imported when it is called."""

    sentence: str
    """The first sentence of its help."""
    at: str
    """Where the `calbus.command.Command` is: module:name."""

    def load(self) -> Any:
        """The command itself; raises ModuleNotFoundError if a package that it needs is not installed."""
        module, _, name = self.at.partition(":")
        return getattr(import_module(module), name)
