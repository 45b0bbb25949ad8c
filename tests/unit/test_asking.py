"""A command that cannot reach PostgreSQL or Kafka ends with one sentence that names the setting, and no traceback."""

import socket
from pathlib import Path

import asyncpg
import pytest
from aiokafka.errors import KafkaConnectionError
from typer.testing import CliRunner

from calbus.bus.asking import asking_kafka, message_of
from calbus.command import Command, CommandError
from calbus.lifecycle import EXIT_FAILURE, EXIT_USAGE
from calbus.settings import KafkaSettings, SettingsError
from calbus.store.asking import asking_postgres
from calbus.store.migrate_command import command as migrate
from schemas.events import Topic
from schemas.results import SyncRequested
from services.ingest.confirm_command import command as confirm
from services.puller import forgetting
from services.puller.forget_command import command as forget_user
from services.puller.forget_tenant_command import command as forget_tenant
from services.puller.pull_command import command as pull

KAFKA = KafkaSettings(kafka_bootstrap="broker:9092")


@pytest.fixture
def nowhere() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


COMMANDS = [
    pytest.param(migrate, [], id="migrate"),
    pytest.param(confirm, ["school"], id="confirm-removals"),
    pytest.param(pull, ["ann"], id="pull"),
    pytest.param(forget_user, ["school", "ann"], id="forget-user"),
    pytest.param(forget_tenant, ["school"], id="forget-tenant"),
]
FORGETTING = COMMANDS[-2:]
APPLICATION = {"CALBUS_CLIENT_ID": "calbus", "CALBUS_CLIENT_SECRET": "hush"}


@pytest.mark.parametrize(("command", "arguments"), COMMANDS)
def test_a_command_without_a_server_names_the_setting(command: Command, arguments: list[str], nowhere: int) -> None:
    environment = {
        "CALBUS_POSTGRES_DSN": f"postgresql://me:hush@127.0.0.1:{nowhere}/calbus",
        "CALBUS_KAFKA_BOOTSTRAP": f"127.0.0.1:{nowhere}",
        **APPLICATION,
    }
    ended = CliRunner().invoke(command.app(), arguments, env=environment)
    assert ended.exit_code == EXIT_FAILURE
    assert ended.stderr.startswith("PostgreSQL (CALBUS_POSTGRES_DSN): ")
    assert ended.stderr.count("\n") == 1
    assert "hush" not in ended.output


@pytest.mark.parametrize(("command", "arguments"), COMMANDS)
def test_a_command_with_a_wrong_address_says_what_one_looks_like(command: Command, arguments: list[str]) -> None:
    environment = {
        "CALBUS_POSTGRES_DSN": "postgresql://me:h%ush@here:port/calbus",
        "CALBUS_KAFKA_BOOTSTRAP": "here:1",
        **APPLICATION,
    }
    ended = CliRunner().invoke(command.app(), arguments, env=environment)
    assert ended.exit_code == EXIT_USAGE
    assert "CALBUS_POSTGRES_DSN is wrong" in ended.stderr
    assert "h%ush" not in ended.output


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("command", "arguments"), FORGETTING)
def test_a_command_that_may_take_long_does_not_wait_long_for_a_server_that_is_mute(
    command: Command, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forgetting, "OPENING_MAX_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        environment = {
            "CALBUS_POSTGRES_DSN": f"postgresql://me:hush@127.0.0.1:{port}/calbus",
            "CALBUS_KAFKA_BOOTSTRAP": f"127.0.0.1:{port}",
            **APPLICATION,
        }
        ended = CliRunner().invoke(command.app(), arguments, env=environment)
    assert ended.exit_code == EXIT_FAILURE
    assert ended.stderr == "PostgreSQL (CALBUS_POSTGRES_DSN) does not answer\n"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (TimeoutError(), "PostgreSQL (CALBUS_POSTGRES_DSN) does not answer"),
        (ConnectionRefusedError("refused"), "PostgreSQL (CALBUS_POSTGRES_DSN): refused"),
        (asyncpg.InterfaceError("closed"), "PostgreSQL (CALBUS_POSTGRES_DSN): closed"),
        (ConnectionResetError(), "PostgreSQL (CALBUS_POSTGRES_DSN): ConnectionResetError"),
    ],
)
def test_what_postgresql_meets_is_told(error: Exception, says: str) -> None:
    with pytest.raises(CommandError) as told, asking_postgres():
        raise error
    assert str(told.value) == says


def test_an_old_schema_is_the_operators_move() -> None:
    with pytest.raises(SettingsError, match="run `calbus migrate`"), asking_postgres():
        raise asyncpg.UndefinedColumnError("entry.calendar")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (TimeoutError(), "Kafka (CALBUS_KAFKA_BOOTSTRAP=broker:9092) does not answer; run this again"),
        (
            KafkaConnectionError("no broker"),
            "Kafka (CALBUS_KAFKA_BOOTSTRAP): KafkaConnectionError: no broker; run this",
        ),
    ],
)
def test_what_kafka_meets_is_told(error: Exception, says: str) -> None:
    with pytest.raises(CommandError) as told, asking_kafka(KAFKA, "; run this again"):
        raise error
    assert str(told.value).startswith(says)


def test_faults_of_ours_are_no_outage() -> None:
    with pytest.raises(KeyError), asking_postgres(), asking_kafka(KAFKA):
        raise KeyError


def test_a_request_goes_to_its_topic_under_its_tenant() -> None:
    topic, key, value = message_of(SyncRequested(tenant="school", user="ann"), "pull")
    assert (topic, key) == (Topic.REQUESTS, b"school")
    assert b'"source":"/calbus/pull"' in (value or b"")


def test_markup_in_a_sentence_is_no_markup(tmp_path: Path) -> None:
    """A name that somebody gave may look like Rich's markup."""
    from calbus.bus.publish_command import command as publish

    odd = tmp_path / "[red]odd[bold].jsonl"
    odd.touch()
    ended = CliRunner().invoke(publish.app(), [str(odd)], env={"CALBUS_KAFKA_BOOTSTRAP": "here:1"})
    assert ended.exit_code == EXIT_USAGE
    assert "[red]odd[bold].jsonl holds no events" in ended.stderr
