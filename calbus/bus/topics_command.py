"""`calbus topics`: the topics as this version needs them."""

import asyncio

import typer

from calbus.bus.asking import asking_kafka
from calbus.bus.topics import create_topics
from calbus.command import command_of
from calbus.settings import KafkaSettings
from calbus.telemetry import configure_logging


def _topics(settings: KafkaSettings) -> None:
    """Make the topics that are not there yet; those that are stay as they are."""
    with asking_kafka(settings):
        created = asyncio.run(create_topics(settings))
    for name in created:
        typer.echo(f"made {name}")
    typer.echo("all topics are there")


command = command_of("topics", KafkaSettings, _topics, configure_logging)
