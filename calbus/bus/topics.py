"""Making the topics: idempotent, and never changing one that an operator has made or altered."""

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from calbus.bus.kafka import client_options, topic_name
from calbus.settings import KafkaSettings
from schemas.events import TOPICS, Topic, TopicShape

DAY_MS = 24 * 60 * 60 * 1_000


async def create_topics(settings: KafkaSettings) -> list[str]:
    """Create the topics that are not there yet, and give their names. Safe to run twice and from two places.

    Raises the broker's KafkaError for anything but "already there".
    """
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        response = await admin.create_topics([_new_topic(settings, *topic) for topic in TOPICS.items()])
    finally:
        await admin.close()
    created = []
    for name, code, *rest in response.topic_errors:
        if code == 0:
            created.append(name)
        elif code != TopicAlreadyExistsError.errno:
            raise for_code(code)(f"topic {name}: {rest[0] if rest else ''}")
    return created


def _new_topic(settings: KafkaSettings, topic: Topic, shape: TopicShape) -> NewTopic:
    configs = {
        "cleanup.policy": "compact" if shape.compacted else "delete",
        "max.message.bytes": str(shape.max_message_bytes),
    }
    if shape.retention_days is not None:
        configs["retention.ms"] = str(shape.retention_days * DAY_MS)
    return NewTopic(
        name=topic_name(settings, topic),
        num_partitions=settings.kafka_partitions,
        replication_factor=settings.kafka_replication_factor,
        # aiokafka takes the brokers' default (-1) only beside an explicit, here empty, assignment.
        replica_assignments={} if settings.kafka_replication_factor == -1 else None,
        topic_configs=configs,
    )
