"""The recorded day, delivered to engines that run already."""

from aiokafka import AIOKafkaConsumer, TopicPartition

from calbus.bus.kafka import topic_name
from devstack.demo import recording
from devstack.demo.deliver import DeliverSettings, deliver
from tests.support.world import CLIENT_ID, CLIENT_SECRET, PARTITIONS, World


async def test_the_organisations_are_there_and_their_day_is_on_the_bus(world: World) -> None:
    settings = world.settings(
        DeliverSettings,
        simulator_url=world.stack.simulator.http_url,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
    )
    count = await deliver(settings)
    wanted = recording.settings() + [message for part in recording.day() for message in part.messages]
    assert count == len(wanted)
    topics = {topic_name(settings, topic) for topic, _, _ in wanted}
    consumer = AIOKafkaConsumer(bootstrap_servers=world.stack.kafka.bootstrap)
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(name, n) for name in topics for n in range(PARTITIONS)])
    finally:
        await consumer.stop()
    assert sum(ends.values()) == count
    for directory in recording.directories():
        for address in directory.users:
            assert await world.admin.events(directory.id, address) == []
        await world.admin.reset(directory.id)
