"""`calbus demo`: a recorded day of five products through the whole of calbus, shown and judged.
Only the command line lives here; the rest is imported when it runs, so that every other command starts fast."""

from pathlib import Path
from typing import Annotated

import typer

from calbus.command import command_of
from calbus.settings import Settings
from calbus.telemetry import configure_logging

EXPECTED = Path(__file__).with_name("expected.json")


def _demo(_: Settings, *, keep: bool, expected: Path) -> None:
    """Start everything, publish a recorded day of five products, show the calendars and judge the result.

    Exits 0 if everything came out as expected, and 1 if not. Leaves nothing running and no files behind.
    """
    from devstack.demo.run import demo

    raise typer.Exit(demo(keep=keep, expected=expected))


command = command_of(
    "demo",
    Settings,
    _demo,
    configure_logging,
    keep=Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Stay up afterwards, to look around, until Ctrl-C.",
            default_factory=bool,
            show_default=False,
        ),
    ],
    expected=Annotated[
        Path,
        typer.Option(
            "--expected",
            help="Judge by this file instead of the recording's own expectation.",
            default_factory=lambda: EXPECTED,
            show_default=False,
            exists=True,
            dir_okay=False,
            readable=True,
        ),
    ],
)
