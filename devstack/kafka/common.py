"""What every broker of the stack has in common: its interface, and the question whether it answers.
Nothing of a particular broker lives here."""

import asyncio
import contextlib
from typing import Protocol

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from calbus.lifecycle import at_most
from devstack.engine import Engine

CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_MS = 5_000


class Kafka(Engine, Protocol):
    """A broker to work with. `engine` is `apache`, `embedded` or `given`; `bootstrap` is `host:port[,host:port]`.

    `warning` says what the engine knowingly cannot do; empty when there is nothing to warn of.
    """

    engine: str
    bootstrap: str
    version: str
    warning: str


async def listens(bootstrap: str) -> bool:
    """Whether the first of the addresses takes a connection. aiokafka logs an error for each one refused."""
    host, _, port = bootstrap.split(",", maxsplit=1)[0].rpartition(":")
    try:
        _, writer = await at_most(CONNECT_TIMEOUT_S, asyncio.open_connection(host, int(port)))
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def serves(bootstrap: str) -> bool:
    """Whether a cluster answers with at least one broker that accepts requests.

    False, not an error, while it refuses connections or is not up yet.
    """
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await client.start()
        cluster = await client.describe_cluster()
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await client.close()
    return bool(cluster["brokers"])
