"""Settings from the environment: what is said of missing and wrong ones, and what is never shown."""

import os
import sys
from pathlib import Path
from typing import get_args

import pytest

from calbus import cli
from calbus.bus.kafka import HEARTBEAT_INTERVAL_MAX_MS, REBALANCE_TIMEOUT_MS
from calbus.command import is_secret
from calbus.settings import (
    GraphSettings,
    KafkaSettings,
    NotEmpty,
    PostgresSettings,
    SettingsError,
    as_far_as_valid,
    load,
    unknown_variables,
)
from services.ingest.settings import IngestSettings
from services.puller.settings import PullerSettings
from services.writer.dispatcher import COMMIT_TIMEOUT_S, RECORD_S
from services.writer.settings import DRAIN_MAX_S, WriterSettings

SECRET = "S3cret-Value"
COMPLETE = {
    "CALBUS_KAFKA_BOOTSTRAP": "kafka:9092",
    "CALBUS_POSTGRES_DSN": f"postgresql://calbus:{SECRET}@db/calbus",
    "CALBUS_CLIENT_ID": "11111111-2222-4333-8444-555555555555",
    "CALBUS_CLIENT_SECRET": SECRET,
    "CALBUS_KAFKA_SASL_PASSWORD": SECRET,
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without settings, and a terminal wide enough for a table."""
    for name in [name for name in os.environ if name.upper().startswith("CALBUS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setenv("NO_COLOR", "1")
    return monkeypatch


def given(environment: pytest.MonkeyPatch, **changed: str | None) -> None:
    """All settings that there must be, but for these."""
    for name, value in (COMPLETE | changed).items():
        if value is not None:
            environment.setenv(name, value)


def fault(settings: type) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(settings)
    return str(caught.value).splitlines()


def run(environment: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the program; gives its exit code."""
    environment.setattr(sys, "argv", ["calbus", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_settings_come_from_the_environment(environment: pytest.MonkeyPatch) -> None:
    given(environment, CALBUS_WRITER_MAX_CALLS="7")
    settings = load(WriterSettings)
    assert (settings.kafka_bootstrap, settings.writer_max_calls) == ("kafka:9092", 7)


def test_an_option_comes_before_the_environment(environment: pytest.MonkeyPatch) -> None:
    given(environment)
    assert load(KafkaSettings, kafka_bootstrap="other:9092").kafka_bootstrap == "other:9092"


def test_every_missing_setting_is_named_with_what_it_is_for() -> None:
    assert sorted(fault(WriterSettings)) == [
        "CALBUS_CLIENT_ID is missing. It is for: The application (client) id of calbus in Microsoft Entra ID.",
        "CALBUS_KAFKA_BOOTSTRAP is missing. It is for: Kafka bootstrap servers: host:port, separated by commas.",
        "CALBUS_POSTGRES_DSN is missing. It is for: PostgreSQL address: postgresql://user:password@host:port/database.",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CALBUS_KAFKA_BOOTSTRAP", "kafka"),
        ("CALBUS_KAFKA_SECURITY_PROTOCOL", "TLS"),
        ("CALBUS_KAFKA_PARTITIONS", "many"),
        ("CALBUS_KAFKA_PARTITIONS", "0"),
        ("CALBUS_TOPIC_PREFIX", "with space"),
        ("CALBUS_LOG_LEVEL", "loud"),
        ("CALBUS_GRAPH_URL", "https://graph.microsoft.com/v1.0/"),
        ("CALBUS_WRITER_LANE_MAX_IN_FLIGHT", "5"),
        ("CALBUS_WRITER_LANE_MAX_REQUESTS_PER_10_MIN", "10001"),
    ],
)
def test_a_wrong_setting_is_named(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    given(environment, **{name: value})
    (line,) = fault(WriterSettings)
    assert line.startswith(f"{name} is wrong: ")


@pytest.mark.parametrize("value", ["", "  "])
@pytest.mark.parametrize(
    "name",
    [
        "CALBUS_KAFKA_BOOTSTRAP",
        "CALBUS_KAFKA_SSL_CA_FILE",
        "CALBUS_KAFKA_SSL_CERT_FILE",
        "CALBUS_KAFKA_SSL_KEY_FILE",
        "CALBUS_POSTGRES_DSN",
        "CALBUS_CLIENT_ID",
        "CALBUS_CLIENT_SECRET",
        "CALBUS_CLIENT_CERTIFICATE_FILE",
        "CALBUS_GRAPH_CA_FILE",
    ],
)
def test_what_is_set_to_nothing_is_not_taken_for_set(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    given(environment, **{name: value})
    (line,) = fault(WriterSettings)
    assert line.startswith(f"{name} is empty. It is for: ")


def test_every_secret_and_every_file_is_asked_whether_it_is_empty(environment: pytest.MonkeyPatch) -> None:
    for settings in (IngestSettings, WriterSettings, PullerSettings):
        for name, field in settings.model_fields.items():
            if is_secret(field) or Path in (field.annotation, *get_args(field.annotation)):
                # The password has a default that is empty, and is asked for where the protocol needs it.
                assert NotEmpty in field.metadata or name == "kafka_sasl_password", name


@pytest.mark.parametrize("password", [None, "", " "])
def test_a_sasl_protocol_needs_a_name_and_a_password(environment: pytest.MonkeyPatch, password: str | None) -> None:
    given(environment, CALBUS_KAFKA_SECURITY_PROTOCOL="SASL_SSL", CALBUS_KAFKA_SASL_PASSWORD=password)
    assert fault(KafkaSettings) == [
        f"CALBUS_KAFKA_SASL_{name} is missing. The security protocol is a SASL one."
        for name in ("USERNAME", "PASSWORD")
    ]


def test_no_fault_tells_the_value(environment: pytest.MonkeyPatch) -> None:
    given(environment, CALBUS_KAFKA_BOOTSTRAP=SECRET, CALBUS_KAFKA_PARTITIONS=SECRET, CALBUS_CLIENT_ID="")
    assert SECRET not in "".join(fault(WriterSettings))


@pytest.mark.parametrize("settings", [KafkaSettings, PostgresSettings, GraphSettings])
def test_settings_in_a_log_line_keep_their_secrets(environment: pytest.MonkeyPatch, settings: type) -> None:
    given(environment)
    assert SECRET not in repr(load(settings))
    assert SECRET not in str(as_far_as_valid(settings))


def test_a_variable_that_is_no_setting_gets_a_hint(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CALBUS_KAFKA_BOOTSTRAPS", "kafka:9092")
    assert unknown_variables([KafkaSettings]) == [
        "CALBUS_KAFKA_BOOTSTRAPS is set, but is no setting of calbus: did you mean CALBUS_KAFKA_BOOTSTRAP?"
    ]


def test_a_variable_like_no_other_is_named_all_the_same(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("CALBUS_XYZZY_QWERTY", "1")
    assert unknown_variables([PostgresSettings]) == ["CALBUS_XYZZY_QWERTY is set, but is no setting of calbus."]


def test_known_and_foreign_variables_are_passed_over(environment: pytest.MonkeyPatch) -> None:
    given(environment)
    environment.setenv("OTHER_VARIABLE", "1")
    assert unknown_variables([WriterSettings]) == []


# -- the command line -------------------------------------------------------------------------------------------------


def test_the_settings_in_force_are_shown_with_secrets_masked(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(environment)
    assert run(environment, "settings") == 0
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err
    for name in ("CALBUS_POSTGRES_DSN", "CALBUS_CLIENT_SECRET", "CALBUS_KAFKA_SASL_PASSWORD"):
        (line,) = [line for line in shown.out.splitlines() if f"{name} " in line]
        assert "********" in line


def test_a_faulty_setting_does_not_uncover_the_secrets(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(environment, CALBUS_KAFKA_PARTITIONS="many")
    assert run(environment, "settings") == 2
    shown = capsys.readouterr()
    assert SECRET not in shown.out + shown.err
    assert "CALBUS_KAFKA_PARTITIONS is wrong" in shown.err


def test_missing_settings_are_said_once_each(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(environment, "settings") == 2
    lines = capsys.readouterr().err.splitlines()
    assert sorted(line.split()[0] for line in lines) == [
        "CALBUS_CLIENT_ID",
        "CALBUS_KAFKA_BOOTSTRAP",
        "CALBUS_POSTGRES_DSN",
    ]


def test_a_service_without_its_settings_ends_with_a_line_for_each(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(environment, "ingest") == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.split(".")[0] for line in sorted(shown.err.splitlines())] == [
        "CALBUS_KAFKA_BOOTSTRAP is missing",
        "CALBUS_POSTGRES_DSN is missing",
    ]


def test_every_setting_that_is_no_secret_is_an_option(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(environment, "writer", "--help") == 0
    shown = capsys.readouterr().out
    assert "--writer-max-calls" in shown
    assert "--client-id" in shown
    assert "--client-secret " not in shown
    assert "--postgres-dsn" not in shown


def test_a_hand_over_of_mailboxes_fits_into_the_time_that_kafka_gives(environment: pytest.MonkeyPatch) -> None:
    heard_s = HEARTBEAT_INTERVAL_MAX_MS / 1_000
    assert heard_s + DRAIN_MAX_S + RECORD_S + COMMIT_TIMEOUT_S < REBALANCE_TIMEOUT_MS / 1_000
    given(environment, CALBUS_WRITER_DRAIN_S=str(DRAIN_MAX_S))
    assert load(WriterSettings).writer_drain_s == DRAIN_MAX_S
    given(environment, CALBUS_WRITER_DRAIN_S=str(DRAIN_MAX_S + 1))
    [line] = fault(WriterSettings)
    assert line.startswith("CALBUS_WRITER_DRAIN_S is wrong: ")
    assert "less than or equal to 40" in line
    assert f"Kafka gives a move of mailboxes {REBALANCE_TIMEOUT_MS // 1_000} s in all" in line


def test_ingest_knows_its_own_settings(environment: pytest.MonkeyPatch) -> None:
    given(environment)
    assert load(IngestSettings).ingest_batch_max_messages == 2_000


def test_a_window_that_graph_does_not_read_is_refused(environment: pytest.MonkeyPatch) -> None:
    given(environment, CALBUS_PULLER_BACK_DAYS="400", CALBUS_PULLER_AHEAD_DAYS="1400")
    assert load(PullerSettings).puller_ahead_days == 1_400
    given(environment, CALBUS_PULLER_BACK_DAYS="401")
    [line] = fault(PullerSettings)
    assert "CALBUS_PULLER_BACK_DAYS and CALBUS_PULLER_AHEAD_DAYS are more than 1800 days together" in line
