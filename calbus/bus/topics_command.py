"""`calbus topics`: the topics as this version needs them."""

import asyncio

import typer
from aiokafka.errors import KafkaError

from calbus.bus.topics import create_topics
from calbus.command import command_of, fail
from calbus.settings import KafkaSettings
from calbus.telemetry import configure_logging


def _topics(settings: KafkaSettings) -> None:
    """Make the topics that are not there yet; those that are stay as they are."""
    try:
        created = asyncio.run(create_topics(settings))
    except (OSError, KafkaError) as error:
        fail(f"Kafka (CALBUS_KAFKA_BOOTSTRAP): {error}")
    for name in created:
        typer.echo(f"made {name}")
    typer.echo("all topics are there")


command = command_of("topics", KafkaSettings, _topics, configure_logging)
