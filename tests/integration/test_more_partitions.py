"""Topics get more partitions while upstream publishes on: nothing is lost, and no mailbox is served by two at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.coordinator.protocol import ConsumerProtocol

from bench.scaling import service_of
from calbus.bus.kafka import client_options, topic_name
from calbus.settings import KafkaSettings
from schemas.events import Topic
from simulator.client import App
from tests.support.waiting import until
from tests.support.world import CLIENT_SECRET, ROLES, Tenant, World

pytestmark = pytest.mark.slow

# No multiple of what there was, and odd: keys move between the partitions that there were, too, and between writers.
MORE = 7
SESSION = {"writer_session_timeout_ms": 6_000, "ingest_session_timeout_ms": 6_000}
LATENCY_MS = 20
PAUSE_S = 0.1
# Each writer signs in as an application of its own, so that the simulator's ledger tells them apart.
APPLICATIONS = [str(UUID(int=number + 1)) for number in range(6)]


@dataclass
class Upstream:
    """Publishes one revision after the other of a few items of each tenant, through several producers in turn."""

    world: World
    tenants: list[Tenant]
    producers: list[AIOKafkaProducer]
    published: dict[tuple[str, str], str] = field(default_factory=dict)
    count: int = 0
    stopping: bool = False
    running: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        self.stopping = True
        if self.running is not None:
            await self.running

    async def run(self) -> None:
        while not self.stopping:
            for tenant in self.tenants:
                item = f"i{self.count // len(self.tenants) % 5}"
                title = f"{item} as of {self.count}"
                self.world.producer = self.producers[self.count % len(self.producers)]
                await tenant.publish(tenant.action(item, "ann", title=title))
                self.published[tenant.id, item] = f"○ {title}"
                self.count += 1
                await asyncio.sleep(PAUSE_S)


@asynccontextmanager
async def under_load(world: World) -> AsyncIterator[tuple[Upstream, AsyncExitStack]]:
    """Tenants that let every application in, and an upstream that publishes until the block ends."""
    async with AsyncExitStack() as stack:
        async with world.ingest():
            tenants = [await stack.enter_async_context(world.tenant("ann")) for _ in range(9)]
        for tenant in tenants:
            apps = [App(one, secret=CLIENT_SECRET, roles=ROLES) for one in APPLICATIONS]
            await world.admin.put_tenant(tenant.directory, apps=apps, domain=tenant.domain)
            await world.admin.set_limits(tenant.directory, latency_ms=LATENCY_MS)
        upstream = Upstream(world, tenants, [world.producer])
        upstream.running = asyncio.create_task(upstream.run())
        try:
            yield upstream, stack
        finally:
            await upstream.stop()


async def grow(world: World, *topics: Topic) -> None:
    """What `kafka-topics.sh --alter --partitions` does."""
    settings = world.settings(KafkaSettings)
    admin = AIOKafkaAdminClient(**client_options(settings))
    await admin.start()
    try:
        await admin.create_partitions({topic_name(settings, topic): NewPartitions(MORE) for topic in topics})
    finally:
        await admin.close()


async def lag(world: World, group: str, topic: Topic) -> int:
    """Records that the group has not committed, as `kafka-consumer-groups.sh --describe` tells."""
    settings = world.settings(KafkaSettings)
    name = topic_name(settings, topic)
    consumer = AIOKafkaConsumer(
        **client_options(settings), group_id=f"{settings.topic_prefix}.{group}", enable_auto_commit=False
    )
    await consumer.start()
    try:
        metadata = await consumer._client.fetch_all_metadata()
        partitions = [TopicPartition(name, one) for one in metadata.partitions_for_topic(name)]
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        return sum([ends[one] - (await consumer.committed(one) or 0) for one in partitions])
    finally:
        await consumer.stop()


async def members(world: World, group: str) -> list[int]:
    """How many partitions each member of the group has; empty if there is none, or while they are shared out anew."""
    admin = AIOKafkaAdminClient(**client_options(world.settings(KafkaSettings)))
    await admin.start()
    try:
        [response] = await admin.describe_consumer_groups([f"{world.name}.{group}"])
        [(_, _, state, _, _, members, *_)] = response.groups
        shares = [ConsumerProtocol.ASSIGNMENT.decode(member[-1]).partitions() for member in members if member[-1]]
        return [len(share) for share in shares] if state == "Stable" else []
    finally:
        await admin.close()


async def fresh_producer(world: World, stack: AsyncExitStack) -> AIOKafkaProducer:
    """One that knows of the new partitions, unlike those that were there before."""
    producer = AIOKafkaProducer(bootstrap_servers=world.stack.kafka.bootstrap, enable_idempotence=True, linger_ms=0)
    await producer.start()
    stack.push_async_callback(producer.stop)
    return producer


async def told(upstream: Upstream, more: int) -> None:
    """Wait until there are so many outcomes more than there were."""
    world, wanted = upstream.world, len(upstream.world.outcome_ids) + more

    async def look() -> bool:
        return len(world.outcome_ids) >= wanted

    await until(look, f"{more} outcomes more")


async def all_stands_once(upstream: Upstream) -> None:
    """Wait until all is settled; then the last revision of each item stands, and nothing else."""

    async def settled() -> bool:
        rows = await upstream.world.fetch(
            "SELECT (SELECT count(*) FROM entry WHERE owed OR in_doubt) + (SELECT count(*) FROM outbox)"
        )
        return rows[0][0] == 0 and await lag(upstream.world, "ingest", Topic.ACTIONS) == 0

    await until(settled, "everything to be settled", timeout_s=120)
    for tenant in upstream.tenants:
        expected = sorted(subject for (of, _), subject in upstream.published.items() if of == tenant.id)
        assert await tenant.subjects("ann") == expected


def writers(timeout_ms: int) -> list[dict[str, Any]]:
    return [
        {"writer_member": f"w{number}", "client_id": APPLICATIONS[number], "writer_session_timeout_ms": timeout_ms}
        for number in (0, 1)
    ]


async def shared_out(world: World, group: str) -> None:
    """Wait until the group's members have all the partitions that there are now."""

    async def look() -> bool:
        return sum(await members(world, group)) == MORE

    await until(look, f"{MORE} partitions to have a {group}", timeout_s=120)


async def test_in_the_order_that_operations_md_gives_no_mailbox_is_served_by_two_at_once(world: World) -> None:
    # Pods that are back within the session time-out: brokers give each the partitions that it had, and no others.
    settings = writers(timeout_ms=60_000)
    async with under_load(world) as (upstream, stack):
        async with world.writer(**settings[0]), world.writer(**settings[1]):
            async with world.ingest(**SESSION):
                await told(upstream, 50)

            async def read_to_the_end() -> bool:
                return await lag(world, "writer", Topic.COMMANDS) == 0

            await until(read_to_the_end, "the writers to have read all wake-ups")
        await grow(world, Topic.COMMANDS)
        await stack.enter_async_context(world.ingest(**SESSION))
        for one in settings:
            await stack.enter_async_context(world.writer(**one))
        await told(upstream, 50)
        await shared_out(world, "writer")
        await told(upstream, 50)
        await upstream.stop()
        await all_stands_once(upstream)
        service = await service_of(world.admin, {one.id: one.directory for one in upstream.tenants}, LATENCY_MS)
    assert (service.overlaps, service.violations, service.refusals) == (0, 0, 0)
    assert service.mailboxes == len(upstream.tenants)
    assert service.handovers > 0
    assert service.max_in_flight <= 3


async def test_under_the_hands_of_all_that_run_nothing_is_lost_and_nothing_doubled(world: World) -> None:
    async with under_load(world) as (upstream, stack):
        await stack.enter_async_context(world.ingest(**SESSION))
        for one in writers(timeout_ms=6_000):
            await stack.enter_async_context(world.writer(**one))
        await told(upstream, 50)
        await grow(world, Topic.ACTIONS, Topic.CONTACTS, Topic.COMMANDS)
        # From now on revisions of one item go to two partitions, and wake-ups of one mailbox as well.
        upstream.producers.append(await fresh_producer(world, stack))
        await stack.enter_async_context(world.ingest(**SESSION))
        await shared_out(world, "writer")
        await told(upstream, 50)
        await upstream.stop()
        await all_stands_once(upstream)
