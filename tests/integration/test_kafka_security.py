"""A real cluster wants TLS and a password: the settings for it reach an Apache Kafka that asks for both."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trustme
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest
from cryptography.hazmat.primitives import serialization

from devstack.guarded import Guarded
from devstack.kafka.apache import ApacheKafka
from devstack.kafka.choice import find_java
from devstack.ports import free_port
from devstack.settings import Settings
from devstack.stack import Stack
from schemas.changes import AppointmentUpserted
from schemas.events import Topic
from schemas.results import Ending, SyncRequested
from tests.integration.test_commands import calbus
from tests.support.waiting import until
from tests.support.world import World, new_world

pytestmark = pytest.mark.slow

SECURITY = Path(__file__).parents[2] / "docs" / "security.md"
# As Kafka's protocol numbers them.
TOPIC, GROUP, LITERAL, READ, WRITE, ALLOW = 2, 3, 3, 3, 4, 3

JAAS = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    'user_calbus="right" user_ingest="of-ingest" user_writer="of-writer" user_puller="of-puller";'
)


class SecuredKafka(ApacheKafka):
    """An Apache Kafka with a second listener: TLS, and a user name with a password."""

    secured = ""
    keystore = Path()
    ca_file = Path()

    def _write_configuration(self, properties: dict[str, str]) -> None:
        port = free_port()
        self.secured = f"localhost:{port}"
        listener = f",SASL_SSL://127.0.0.1:{port}"
        super()._write_configuration(
            properties
            | {
                "listeners": properties["listeners"] + listener,
                "advertised.listeners": properties["advertised.listeners"] + listener.replace("127.0.0.1", "localhost"),
                "listener.security.protocol.map": f"{properties['listener.security.protocol.map']},SASL_SSL:SASL_SSL",
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(self.keystore),
                "sasl.enabled.mechanisms": "PLAIN",
                "listener.name.sasl_ssl.plain.sasl.jaas.config": JAAS,
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                # The open listener, and the broker itself, are nobody in particular.
                "super.users": "User:ANONYMOUS;User:calbus",
            }
        )


def _pkcs8(key: bytes) -> bytes:
    """The one form of a private key that Java reads."""
    loaded = serialization.load_pem_private_key(key, password=None)
    return loaded.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture(scope="module")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SecuredKafka]:
    """The secured broker, which is open as well, at another port."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    keystore, ca_file = directory / "broker.pem", directory / "ca.pem"
    keystore.write_bytes(_pkcs8(certificate.private_key_pem.bytes()))
    for link in certificate.cert_chain_pems:
        link.write_to_path(keystore, append=True)
    authority.cert_pem.write_to_path(ca_file)
    guarded = await Guarded.open()
    try:
        java = find_java()
        assert java is not None, "these tests need Java 17"
        broker = SecuredKafka(guarded, java, Settings().cache_path, lambda _: None)
        broker.keystore, broker.ca_file = keystore, ca_file
        await broker.start()
        yield broker
    finally:
        await guarded.close()


@pytest.fixture
def secured(broker: SecuredKafka) -> dict[str, str]:
    """The environment with which a program reaches the secured broker."""
    return {
        "CALBUS_KAFKA_BOOTSTRAP": broker.secured,
        "CALBUS_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "CALBUS_KAFKA_SASL_USERNAME": "calbus",
        "CALBUS_KAFKA_SASL_PASSWORD": "right",
        "CALBUS_KAFKA_SSL_CA_FILE": str(broker.ca_file),
    }


async def test_tls_and_password_are_used(secured: dict[str, str], tmp_path: Path) -> None:
    code, out, err = await calbus("topics", **secured)
    assert code == 0, err
    assert "made calbus.actions.v1" in out
    line = (
        '{"specversion":"1.0","id":"1","source":"/x","type":"calbus.action.deleted.v1",'
        '"data":{"tenant":"t","source":"s","id":"i","revision":1}}\n'
    )
    file = tmp_path / "events.jsonl"
    file.write_text(line)
    code, out, err = await calbus("publish", str(file), **secured)
    assert (code, "1 to calbus.actions.v1" in out) == (0, True), err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"CALBUS_KAFKA_SASL_PASSWORD": "wrong"}, "CALBUS_KAFKA_BOOTSTRAP"),
        ({"CALBUS_KAFKA_SASL_USERNAME": ""}, "CALBUS_KAFKA_SASL_USERNAME is missing"),
        ({"CALBUS_KAFKA_SSL_CA_FILE": "/nowhere.pem"}, "CALBUS_KAFKA_SSL_…_FILE"),
        ({"CALBUS_KAFKA_SECURITY_PROTOCOL": "SASL"}, "CALBUS_KAFKA_SECURITY_PROTOCOL is wrong"),
    ],
)
async def test_what_is_wrong_is_said(secured: dict[str, str], changes: dict[str, str], says: str) -> None:
    code, _, err = await calbus("topics", **(secured | changes))
    assert code in (1, 2)
    assert says in err
    assert "Traceback" not in err
    assert "right" not in err


def rights() -> dict[str, tuple[list[str], list[str], str]]:
    """Of each program, as the page on security has it: the topics that it reads, those that it writes, its group."""
    section = SECURITY.read_text(encoding="utf-8").partition("\n## Rights on Kafka\n")[2].partition("\n## ")[0]
    rows = [[re.findall(r"`([^`]+)`", cell) for cell in line.split("|")] for line in section.splitlines()]
    return {row[1][0]: (row[2], row[3], row[4][0]) for row in rows if len(row) == 6 and row[1]}


async def grant(broker: SecuredKafka, prefix: str) -> None:
    """Each program's user may do what the page on security says, and nothing else."""
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    try:
        for program, (reads, writes, group) in rights().items():
            allowed = [(TOPIC, f"{prefix}.{topic}", READ) for topic in reads]
            allowed += [(TOPIC, f"{prefix}.{topic}", WRITE) for topic in writes]
            allowed += [(GROUP, group.replace("calbus", prefix), READ)]
            for kind, name, operation in allowed:
                request = CreateAclsRequest(kind, name, LITERAL, f"User:{program}", "*", operation, ALLOW)
                response = await admin._send_to_controller(request)
                assert [code for code, _ in response.creation_responses] == [0], response
    finally:
        await admin.close()


async def test_other_users_with_just_the_rights_they_need_are_rolled_out_without_a_pause(
    stack: Stack, broker: SecuredKafka, secured: dict[str, str]
) -> None:
    engines: Any = SimpleNamespace(kafka=broker, postgres=stack.postgres, simulator=stack.simulator)
    first = {name.removeprefix("CALBUS_").lower(): value for name, value in secured.items()}

    def second(program: str) -> dict[str, str]:
        return first | {"kafka_sasl_username": program, "kafka_sasl_password": f"of-{program}"}

    async with new_world(engines) as world, AsyncExitStack() as new:
        await grant(broker, world.name)
        async with world.ingest(**first), world.writer(**first):
            tenant = await new.enter_async_context(world.tenant("ann"))
            actions = [tenant.action("a0", "ann")]
            await tenant.publish(*actions)
            await tenant.outcome(actions[0], "ann")
            await new.enter_async_context(world.ingest(**second("ingest")))
            actions += [tenant.action("a1", "ann")]
            await tenant.publish(actions[1])
            await new.enter_async_context(world.writer(**second("writer")))
        await new.enter_async_context(world.puller(**second("puller")))
        actions += [tenant.action("a2", "ann")]
        await tenant.publish(actions[2])
        await world.publish_raw(Topic.ACTIONS, b"{}")
        for action in actions:
            assert (await tenant.outcome(action, "ann")).ending is Ending.APPLIED
        assert await tenant.subjects("ann") == ["○ Do a0", "○ Do a1", "○ Do a2"]
        assert len((await world.admin.ledger(tenant.directory, operation="create")).value) == len(actions)
        await until(lambda: _told(world), "the dead letter")
        # The puller reads and tells, too.
        await tenant.publish(tenant.account("ann", direction="both", detail="full"))
        await tenant.appointment("ann", "Dentist")
        await world.publish(SyncRequested(tenant=tenant.id, user="ann"))
        await tenant.change("ann", AppointmentUpserted)


async def _told(world: World) -> bool:
    return bool(world.dead_letters)
