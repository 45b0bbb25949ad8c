"""A real cluster wants TLS and a password: the settings for it reach an Apache Kafka that asks for both."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from devstack.guarded import Guarded
from devstack.kafka.apache import ApacheKafka
from devstack.kafka.choice import find_java
from devstack.ports import free_port
from devstack.settings import Settings
from tests.integration.test_commands import calbus

pytestmark = pytest.mark.slow

JAAS = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_calbus="right";'


class SecuredKafka(ApacheKafka):
    """An Apache Kafka with a second listener: TLS, and a user name with a password."""

    secured = ""
    keystore = Path()

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
            }
        )


def _pkcs8(key: bytes) -> bytes:
    """The one form of a private key that Java reads."""
    loaded = serialization.load_pem_private_key(key, password=None)
    return loaded.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture(scope="module")
async def secured(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, str]]:
    """The environment with which a program reaches the secured broker."""
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
        broker.keystore = keystore
        await broker.start()
        yield {
            "CALBUS_KAFKA_BOOTSTRAP": broker.secured,
            "CALBUS_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
            "CALBUS_KAFKA_SASL_USERNAME": "calbus",
            "CALBUS_KAFKA_SASL_PASSWORD": "right",
            "CALBUS_KAFKA_SSL_CA_FILE": str(ca_file),
        }
    finally:
        await guarded.close()


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
