"""What cannot be understood goes to the dead letters, whole, with the reason; it never stops the partition."""

from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import InvalidTimestampError

from schemas.events import Topic
from schemas.results import DeadLetter
from tests.support.waiting import until
from tests.support.world import Tenant, World

STRUCTURED = [("content-type", b"application/cloudevents+json")]


def envelope(tenant: Tenant, **changes: Any) -> dict[str, Any]:
    data = tenant.action("a1", "ann").model_dump(mode="json", exclude_unset=True)
    return {
        "specversion": "1.0",
        "id": "1",
        "source": "/tests",
        "type": "calbus.action.upserted.v1",
        "data": data | changes.pop("data", {}),
    } | changes


async def dead_letter(world: World, value: bytes | None, key: bytes | None) -> tuple[DeadLetter, Any]:
    async def look() -> tuple[DeadLetter, Any] | None:
        found = [
            (letter, record) for letter, record in world.dead_letters if (record.value, record.key) == (value, key)
        ]
        return found[0] if found else None

    found = await until(look, "the dead letter")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("change", "reason", "named"),
    [
        pytest.param({"type": "calbus.action.exploded.v1"}, "unknown_type", "type", id="unknown type"),
        pytest.param({"type": "calbus.contact.deleted.v1"}, "wrong_topic", "contacts.v1", id="wrong topic"),
        pytest.param({"specversion": "0.3"}, "not_a_cloudevent", "specversion", id="wrong version"),
        pytest.param({"id": ""}, "not_a_cloudevent", "id", id="no id"),
        pytest.param({"data": {"revision": 0}}, "invalid_data", "revision", id="no revision"),
        pytest.param({"data": {"title": "a\x00b"}}, "invalid_data", "title", id="nul"),
        pytest.param({"data": {"time_zone": "Mars/Olympus"}}, "invalid_data", "time_zone", id="unknown zone"),
        pytest.param(
            {"data": {"end": "2026-11-01T09:00:00", "duration": None}}, "invalid_data", "`end`", id="ends early"
        ),
    ],
)
async def test_a_malformed_event(running: World, change: dict, reason: str, named: str) -> None:
    async with running.tenant("ann") as tenant:
        key = f"{tenant.id}/poison".encode()
        value = orjson.dumps(envelope(tenant, **change))
        headers = [*STRUCTURED, ("trace", b"\xff\x00"), ("trace", b"twice")]
        await running.publish_raw(Topic.ACTIONS, value, key=key, headers=headers)
        follower = tenant.action("after", "ann")
        await tenant.publish(follower)
        letter, record = await dead_letter(running, value, key)
        assert letter.reason == reason
        assert named in letter.detail
        assert "Mars" not in letter.detail
        originals = [(name, content) for name, content in record.headers if name.startswith("original_")]
        assert originals == [(f"original_{name}", content) for name, content in headers]
        assert letter.topic.endswith(".actions.v1")
        await tenant.outcome(follower, "ann")
        assert await tenant.subjects("ann") == ["○ Do after"]


@pytest.mark.parametrize("value", [b"", b"\xff\xfe", b"[]", b"{}", b"null", b"{" * 5_000], ids=repr)
async def test_bytes_that_are_no_event(running: World, value: bytes) -> None:
    async with running.tenant("ann") as tenant:
        key = tenant.id.encode()
        await running.publish_raw(Topic.ACTIONS, value, key=key, headers=STRUCTURED)
        await dead_letter(running, value, key)


async def test_a_null_value_is_no_action(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await running.publish_raw(Topic.ACTIONS, None, key=tenant.id.encode())
        letter, _ = await dead_letter(running, None, tenant.id.encode())
        assert letter.reason == "not_a_cloudevent"


async def test_a_reused_revision(running: World) -> None:
    async with running.tenant("ann") as tenant:
        first = tenant.action("a1", "ann", title="First")
        second = tenant.action("a1", "ann", title="Second", revision=first.revision)
        await tenant.publish(first)
        await tenant.outcome(first, "ann")
        await tenant.publish(second)
        letter, _ = await dead_letter(
            running, second.model_dump_json(exclude_unset=True).encode(), f"{tenant.id}/planner/a1".encode()
        )
        assert letter.reason == "revision_reused"
        assert await tenant.subjects("ann") == ["○ First"]


async def test_settings_under_a_foreign_key(running: World) -> None:
    async with running.tenant("ann") as tenant:
        value = orjson.dumps(
            {
                "specversion": "1.0",
                "id": "1",
                "source": "/tests",
                "type": "calbus.account.settings.v1",
                "data": tenant.account("ann").model_dump(mode="json"),
            }
        )
        key = f"account/{tenant.id}/bob".encode()
        await running.publish_raw(Topic.SETTINGS, value, key=key, headers=STRUCTURED)
        assert (await dead_letter(running, value, key))[0].reason == "invalid_key"


@pytest.mark.parametrize("key", [b"", b"account/only-two", b"account/a\x00b/c", b"\xff/a/b", b"planet/a/b"], ids=repr)
async def test_a_tombstone_under_a_key_that_is_none(running: World, key: bytes | None) -> None:
    async with running.tenant("ann") as tenant:
        await running.publish_raw(Topic.SETTINGS, None, key=key)
        await dead_letter(running, None, key)
        action = tenant.action("a1", "ann")
        await tenant.publish(action)
        await tenant.outcome(action, "ann")


async def test_a_reused_revision_of_a_setting(running: World) -> None:
    async with running.tenant("ann") as tenant:
        first = tenant.account("ann", blocked=True)
        second = first.model_copy(update={"blocked": False})
        await tenant.publish(first, second)
        letter, _ = await dead_letter(
            running, second.model_dump_json(exclude_unset=True).encode(), f"account/{tenant.id}/ann".encode()
        )
        assert letter.reason == "revision_reused"


async def test_a_tombstone_takes_the_account_away_and_leaves_the_calendar_alone(running: World) -> None:
    async with running.tenant("ann") as tenant:
        first = tenant.action("a1", "ann")
        await tenant.publish(first)
        await tenant.outcome(first, "ann")
        await running.publish_raw(Topic.SETTINGS, None, key=f"account/{tenant.id}/ann".encode())

        async def held() -> bool:
            return tenant.ended("a1", "ann")[-1][2] == "no_account"

        await until(held, "the account to be gone")
        changed = tenant.action("a1", "ann", title="Unseen")
        await tenant.publish(changed)
        assert (await tenant.outcome(changed, "ann")).reason == "no_account"
        assert await tenant.subjects("ann") == ["○ Do a1"]
        await tenant.publish(tenant.account("ann"))

        async def shown() -> bool:
            return await tenant.subjects("ann") == ["○ Unseen"]

        await until(shown, "the account to be back")


async def test_a_message_too_large_to_keep_is_still_told(running: World) -> None:
    async with running.tenant("ann") as tenant:
        large = orjson.dumps(envelope(tenant, data={"description": "x" * 2_000_000}))
        producer = AIOKafkaProducer(
            bootstrap_servers=running.stack.kafka.bootstrap, compression_type="gzip", max_request_size=4_000_000
        )
        await producer.start()
        try:
            topic = f"{running.name}.actions.v1"
            sent = await producer.send_and_wait(topic, large, key=tenant.id.encode(), headers=STRUCTURED)
        finally:
            await producer.stop()

        async def look() -> DeadLetter | None:
            found = [
                letter
                for letter, record in running.dead_letters
                if (letter.topic, letter.partition, letter.offset) == (topic, sent.partition, sent.offset)
            ]
            return found[0] if found else None

        letter = await until(look, "the dead letter")
        assert letter is not None
        assert (letter.reason, letter.original_kept) == ("invalid_data", False)
        assert letter.original_bytes > 2_000_000
        follower = tenant.action("after", "ann")
        await tenant.publish(follower)
        await tenant.outcome(follower, "ann")


@pytest.mark.parametrize("timestamp_ms", [-1, 0, 1_795_000_000_000_000], ids=["none", "zero", "microseconds"])
async def test_a_timestamp_that_is_none(running: World, timestamp_ms: int) -> None:
    async with running.tenant("ann") as tenant:
        value = orjson.dumps(envelope(tenant))
        stamp = {} if timestamp_ms < 0 else {"timestamp_ms": timestamp_ms}
        # Not idempotent: a refusal would leave a gap in such a producer's sequence.
        async with AIOKafkaProducer(bootstrap_servers=running.stack.kafka.bootstrap) as producer:
            # Apache Kafka 4 refuses a stamp too far ahead unless its topic lets it through; older brokers did not.
            try:
                await producer.send_and_wait(f"{running.name}.actions.v1", value, headers=STRUCTURED, **stamp)
            except InvalidTimestampError:
                return
        outcome = await tenant.outcome(tenant.action("a1", "ann", revision=1), "ann")
        assert outcome.ending == "applied"


@pytest.mark.parametrize("compression", ["gzip", "snappy", "lz4", "zstd"])
async def test_whatever_upstream_compresses_with(running: World, compression: str) -> None:
    async with running.tenant("ann") as tenant:
        action = tenant.action("a1", "ann")
        producer = AIOKafkaProducer(bootstrap_servers=running.stack.kafka.bootstrap, compression_type=compression)
        await producer.start()
        try:
            value = orjson.dumps(envelope(tenant, data=action.model_dump(mode="json", exclude_unset=True)))
            await producer.send_and_wait(f"{running.name}.actions.v1", value, headers=STRUCTURED)
        finally:
            await producer.stop()
        await tenant.outcome(action, "ann")
