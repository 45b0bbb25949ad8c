"""`calbus publish`: the events of a file, all of them or none."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from aiokafka.errors import KafkaError

from calbus.bus.publish import Published, PublishError, publish, read_file
from calbus.command import command_of, fail
from calbus.lifecycle import EXIT_USAGE, at_most
from calbus.settings import KafkaSettings
from calbus.telemetry import configure_logging

KAFKA_TIMEOUT_S = 30.0


def _publish(settings: KafkaSettings, file: Path) -> None:
    """Publish the events of a JSON Lines file, each line a CloudEvent in JSON."""
    try:
        messages = read_file(file)
        if not messages:
            fail(f"{file} holds no events", EXIT_USAGE)
        published: Published = asyncio.run(at_most(KAFKA_TIMEOUT_S, publish(settings, messages)))
    except TimeoutError:
        fail(f"Kafka (CALBUS_KAFKA_BOOTSTRAP={settings.kafka_bootstrap}) did not answer for {KAFKA_TIMEOUT_S:.0f} s")
    except PublishError as error:
        fail(str(error), EXIT_USAGE)
    except (OSError, KafkaError) as error:
        fail(f"Kafka (CALBUS_KAFKA_BOOTSTRAP): {error}")
    for topic, count in sorted(published.items()):
        typer.echo(f"{count:6} to {topic}")


command = command_of(
    "publish",
    KafkaSettings,
    _publish,
    configure_logging,
    file=Annotated[Path, typer.Argument(help="The file.", exists=True, dir_okay=False, readable=True)],
)
