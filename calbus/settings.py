"""Settings: one flat set of `CALBUS_…` environment variables, read once per process by pydantic-settings.

Groups that several programs share stand here; each service adds its own in its settings.py.
"""

import os
from datetime import date
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_args

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from calbus.budget import MailboxBudget

PREFIX = "CALBUS_"


class SettingsError(Exception):
    """A setting is missing or wrong. The message has one line for each, which names it; whose move: the operator."""


def _not_empty(value: Any) -> Any:
    """What is set to nothing was meant to be something, such as a secret that was not filled in."""
    if isinstance(value, str) and not value.strip():
        raise PydanticCustomError("empty", "is empty")
    return value


NotEmpty = BeforeValidator(_not_empty)


class SecurityProtocol(StrEnum):
    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_PLAINTEXT = "SASL_PLAINTEXT"
    SASL_SSL = "SASL_SSL"


class SaslMechanism(StrEnum):
    PLAIN = "PLAIN"
    SCRAM_SHA_256 = "SCRAM-SHA-256"
    SCRAM_SHA_512 = "SCRAM-SHA-512"


class LogFormat(StrEnum):
    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Settings(BaseSettings):
    """What every calbus program reads."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    log_level: LogLevel = LogLevel.INFO
    """The least severe log line that is written: debug, info, warning, error."""
    log_format: LogFormat = LogFormat.JSON
    """json for machines, console for people."""


class KafkaSettings(Settings):
    """How to reach Kafka, and how its topics are named."""

    kafka_bootstrap: Annotated[str, NotEmpty, Field(min_length=3, pattern=r"^[^\s,]+:\d+(,[^\s,]+:\d+)*$")]
    """Kafka bootstrap servers: host:port, separated by commas."""
    kafka_security_protocol: SecurityProtocol = SecurityProtocol.PLAINTEXT
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL."""
    kafka_sasl_mechanism: SaslMechanism = SaslMechanism.PLAIN
    """PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512."""
    kafka_sasl_username: str = ""
    """The user name, where the security protocol is a SASL one."""
    kafka_sasl_password: SecretStr = SecretStr("")
    """The password, where the security protocol is a SASL one."""
    kafka_ssl_ca_file: Annotated[Path | None, NotEmpty] = None
    """PEM file of the authority that signed the brokers' certificates; the system's own if left out."""
    kafka_ssl_cert_file: Annotated[Path | None, NotEmpty] = None
    """PEM file of the client's certificate, where brokers ask for one."""
    kafka_ssl_key_file: Annotated[Path | None, NotEmpty] = None
    """PEM file of the client certificate's key."""
    topic_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] = "calbus"
    """First part of every topic and consumer group name."""
    kafka_partitions: Annotated[int, Field(ge=1, le=10_000)] = 12
    """Partitions of the topics that `calbus topics` makes; the commands topic bounds the number of writers."""
    kafka_replication_factor: Annotated[int, Field(ge=-1, le=10)] = -1
    """Replicas of each partition; -1 is the brokers' default."""

    @model_validator(mode="after")
    def _sasl_names_somebody(self) -> Self:
        if self.kafka_security_protocol in (SecurityProtocol.SASL_PLAINTEXT, SecurityProtocol.SASL_SSL):
            given = {"USERNAME": self.kafka_sasl_username, "PASSWORD": self.kafka_sasl_password.get_secret_value()}
            missing = [f"CALBUS_KAFKA_SASL_{name} is missing" for name, value in given.items() if not value.strip()]
            if missing:
                raise ValueError("\n".join(f"{one}. The security protocol is a SASL one." for one in missing))
        return self


class PostgresSettings(Settings):
    """How to reach PostgreSQL."""

    postgres_dsn: Annotated[SecretStr, NotEmpty]
    """PostgreSQL address: postgresql://user:password@host:port/database."""
    postgres_pool_max_connections: Annotated[int, Field(ge=2, le=500)] = 8
    """Connections that one process holds at most."""
    postgres_command_timeout_s: Annotated[float, Field(gt=0, le=3_600)] = 30.0
    """A statement that takes longer is given up and tried again."""


class GraphSettings(Settings):
    """How to reach Microsoft Graph and Microsoft Entra ID, and as which application."""

    graph_url: Annotated[str, Field(pattern=r"^https?://[^\s]+[^/\s]$")] = "https://graph.microsoft.com/v1.0"
    """Microsoft Graph: its address with the version, without a slash at the end."""
    graph_scope: Annotated[str, Field(pattern=r"^https://[^\s]+/\.default$")] = "https://graph.microsoft.com/.default"
    """What tokens are asked for: the cloud's own name for Microsoft Graph, and /.default."""
    login_url: Annotated[str, Field(pattern=r"^https://[^\s]+[^/\s]$")] = "https://login.microsoftonline.com"
    """Microsoft Entra ID: its address, without a slash at the end."""
    graph_ca_file: Annotated[Path | None, NotEmpty] = None
    """PEM file of the authority that signed both; only for a simulator or an inspecting proxy."""
    client_id: Annotated[str, NotEmpty]
    """The application (client) id of calbus in Microsoft Entra ID."""
    client_secret: Annotated[SecretStr | None, NotEmpty] = None
    """The application's secret: its value, not its id. Or set a certificate."""
    client_secret_expires_on: date | None = None
    """The day on which the secret ends, as Entra showed it: 2027-12-31. Only for a metric and an alert in time."""
    client_certificate_file: Annotated[Path | None, NotEmpty] = None
    """PEM file with the application's certificate and private key, instead of a secret."""

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if self.client_secret is None and self.client_certificate_file is None:
            raise ValueError(
                "CALBUS_CLIENT_SECRET is missing (or CALBUS_CLIENT_CERTIFICATE_FILE). It is for: calls to Graph."
            )
        return self

    graph_token_doubt_s: Annotated[float, Field(gt=0, le=3_600)] = 60.0
    """So long Entra's refusal of a token is remembered, and a token kept that Graph denies access with."""
    graph_timeout_s: Annotated[float, Field(gt=0, le=300)] = 30.0
    """A call that takes longer counts as unanswered."""


class BudgetSettings(Settings):
    """What writers may ask of one mailbox; ingest paces re-plans by it, and the forecast counts with it."""

    writer_lane_max_requests_per_10_min: Annotated[int, Field(ge=20, le=10_000)] = 9_000
    """Requests to one mailbox in any ten minutes. Microsoft allows 10,000; the rest is for reading."""

    @property
    def mailbox_budget(self) -> MailboxBudget:
        """The same as a budget."""
        return MailboxBudget(self.writer_lane_max_requests_per_10_min)


class TraceSettings(Settings):
    """Whether a service makes spans."""

    traces: bool = False
    """Whether spans go to an OpenTelemetry collector; where it is, and how many, say the OTEL_… variables."""


class AdminSettings(Settings):
    """Where a service answers probes and Prometheus."""

    admin_host: str = "127.0.0.1"
    """Address on which /livez, /readyz and /metrics are served."""
    admin_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Port on which probes and metrics are served; 0 takes a free one and logs it."""


S = TypeVar("S", bound=Settings)


def load(settings: type[S], **given: Any) -> S:
    """Read the settings from `given` (command-line options) and the environment, in this order.

    Raises SettingsError that names every missing or wrong variable.
    """
    try:
        return settings(**given)
    except ValidationError as error:
        raise SettingsError(_name_faults(settings, error)) from None


_WRONG = {
    "missing": "is missing",
    "empty": "is empty",
    "string_pattern_mismatch": "is wrong: it has not the form that it needs",
}


def _name_faults(settings: type[Settings], error: ValidationError) -> str:
    lines = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        if not fault["loc"]:
            lines.append(fault["msg"].removeprefix("Value error, "))
            continue
        name = str(fault["loc"][0])
        field = settings.model_fields.get(name)
        about = " ".join((field.description or "").split()) if field else ""
        wrong = _WRONG.get(fault["type"], f"is wrong: {fault['msg'].removeprefix('Value error, ')}")
        lines.append(f"{PREFIX}{name.upper()} {wrong}. It is for: {about}")
    return "\n".join(lines)


def unknown_variables(known: list[type[Settings]]) -> list[str]:
    """A sentence for each `CALBUS_…` variable in the environment that no program reads: most likely a slip."""
    names = {f"{PREFIX}{name.upper()}" for settings in known for name in settings.model_fields}
    sentences = []
    for variable in sorted(os.environ):
        if not variable.startswith(PREFIX) or variable in names:
            continue
        near = get_close_matches(variable, names, n=1)
        hint = f": did you mean {near[0]}?" if near else "."
        sentences.append(f"{variable} is set, but is no setting of calbus{hint}")
    return sentences


def as_far_as_valid(settings: type[Settings]) -> dict[str, Any]:
    """What can be read of settings of which some are missing or wrong: for showing, not for running."""
    valid: dict[str, Any] = {}
    for name, field in settings.model_fields.items():
        raw = os.environ.get(f"{PREFIX}{name.upper()}")
        if raw is None:
            if not field.is_required():
                valid[name] = field.get_default(call_default_factory=True)
        else:
            is_secret = SecretStr in (field.annotation, *get_args(field.annotation))
            valid[name] = SecretStr(raw) if is_secret else raw
    return valid
