"""How commands ask Kafka, and the sentence they end with if it does not answer."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import uuid4

import orjson
from aiokafka.errors import KafkaError

from calbus.bus.publish import Message, Published, key_of, publish
from calbus.command import CommandError
from calbus.lifecycle import at_most
from calbus.settings import KafkaSettings
from schemas.events import EVENT_TYPES, TYPE_NAMES
from schemas.fields import Model

PUBLISH_TIMEOUT_S = 30.0


@contextmanager
def asking_kafka(settings: KafkaSettings, hint: str = "") -> Iterator[None]:
    """Around what asks Kafka: raises CommandError, whose sentence ends with `hint`, if it cannot be reached."""
    try:
        yield
    except TimeoutError:
        raise CommandError(f"Kafka (CALBUS_KAFKA_BOOTSTRAP={settings.kafka_bootstrap}) does not answer{hint}") from None
    except (OSError, KafkaError) as error:
        raise CommandError(f"Kafka (CALBUS_KAFKA_BOOTSTRAP): {error}{hint}") from None


async def publish_all(settings: KafkaSettings, messages: list[Message], hint: str = "") -> Published:
    """Publish, in order; gives how many went to each topic. Raises CommandError, whose sentence ends with `hint`."""
    with asking_kafka(settings, hint):
        return await at_most(PUBLISH_TIMEOUT_S, publish(settings, messages))


def message_of(data: Model, command: str) -> Message:
    """An event that a command publishes for whoever gave it, in structured mode."""
    type_name = TYPE_NAMES[type(data)]
    envelope = {
        "specversion": "1.0",
        "id": str(uuid4()),
        "source": f"/calbus/{command}",
        "type": type_name,
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        "data": data.model_dump(mode="json"),
    }
    return EVENT_TYPES[type_name].topic, key_of(data).encode(), orjson.dumps(envelope)
