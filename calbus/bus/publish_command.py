"""`calbus publish`: the events of a file, all of them or none."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from calbus.bus.asking import publish_all
from calbus.bus.publish import PublishError, read_file
from calbus.command import command_of, fail
from calbus.lifecycle import EXIT_USAGE
from calbus.settings import KafkaSettings
from calbus.telemetry import configure_logging


def _publish(settings: KafkaSettings, file: Path) -> None:
    """Publish the events of a JSON Lines file, each line a CloudEvent in JSON."""
    try:
        messages = read_file(file)
    except PublishError as error:
        fail(str(error), EXIT_USAGE)
    if not messages:
        fail(f"{file} holds no events", EXIT_USAGE)
    published = asyncio.run(publish_all(settings, messages))
    for topic, count in sorted(published.items()):
        typer.echo(f"{count:6} to {topic}")


command = command_of(
    "publish",
    KafkaSettings,
    _publish,
    configure_logging,
    file=Annotated[Path, typer.Argument(help="The file.", exists=True, dir_okay=False, readable=True)],
)
