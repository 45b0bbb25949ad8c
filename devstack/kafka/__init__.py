"""Kafka for the stack: the broker that was given, a real Apache Kafka, or the embedded broker.
Only the common interface and the making of the right one live here."""

from devstack.engine import Report
from devstack.guarded import Guarded
from devstack.kafka.apache import ApacheKafka
from devstack.kafka.choice import APACHE, choose, look_around
from devstack.kafka.common import Kafka
from devstack.kafka.embedded import EmbeddedKafka
from devstack.kafka.given import GivenKafka
from devstack.settings import Settings

__all__ = ["Kafka", "kafka"]


def kafka(settings: Settings, guarded: Guarded, report: Report) -> Kafka:
    """The broker that the settings and the machine ask for, not yet started.

    Raises `EngineUnavailableError` when none can be had, or when the one that is forced cannot.
    """
    if settings.kafka_bootstrap is not None:
        return GivenKafka(settings.kafka_bootstrap)
    found = look_around(settings.cache_path)
    if choose(settings.devstack_kafka, found) == APACHE:
        assert found.java is not None
        return ApacheKafka(guarded, found.java, settings.cache_path, report)
    assert found.embedded is not None
    return EmbeddedKafka(guarded, found.embedded)
