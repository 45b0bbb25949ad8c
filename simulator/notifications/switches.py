"""Faults of the notification service that can be switched on, each with its probability. Values only."""

from dataclasses import dataclass
from typing import ClassVar

from pydantic import ConfigDict

DELAY_MAX_S = 366 * 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Switches:
    """How likely it is, from 0 to 1, that a notification is lost, sent twice, sent late or overtaken by the next one.

    A lost one is lost silently. A late one is sent `delay_s` later; one to be overtaken waits for the next one to
    the same endpoint, at most `reorder_max_s`. Seconds are on the tenant's clock. The same seed repeats itself exactly.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    lose: float = 0.0
    duplicate: float = 0.0
    delay: float = 0.0
    reorder: float = 0.0
    delay_s: float = 60.0
    reorder_max_s: float = 60.0
    seed: int = 0

    def problem(self) -> str | None:
        """What is wrong with the switches, as a sentence; None if they can be used."""
        for name in ("lose", "duplicate", "delay", "reorder"):
            if not 0 <= getattr(self, name) <= 1:
                return f"{name} must be from 0 to 1."
        for name in ("delay_s", "reorder_max_s"):
            if not getattr(self, name) >= 0:
                return f"{name} cannot be negative."
            if getattr(self, name) > DELAY_MAX_S:
                return f"{name} must be at most {DELAY_MAX_S}."
        return None
