"""The engine under contract: Apache Kafka. The embedded broker is a stand-in for trying calbus out, and not claimed."""

from collections.abc import AsyncIterator

import pytest

from devstack.settings import Settings
from devstack.stack import Stack
from tests.contract.bus import Bus


@pytest.fixture(scope="session")
async def bus() -> AsyncIterator[Bus]:
    """Apache Kafka, once for the session; that it cannot be had is a failure, never a skip."""
    settings = Settings.model_validate({"devstack_kafka": "apache", "kafka_bootstrap": None})
    async with Stack(postgres=False, simulator=False, settings=settings) as stack:
        yield Bus(stack.kafka, session_timeout_ms=1_000)
