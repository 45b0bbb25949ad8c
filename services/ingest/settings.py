"""What ingest reads from the environment."""

from typing import Annotated

from pydantic import Field

from calbus.settings import AdminSettings, KafkaSettings, PostgresSettings


class IngestSettings(KafkaSettings, PostgresSettings, AdminSettings):
    """Settings of the ingest service."""

    ingest_member: str | None = None
    """A name of this process that outlives it (in Kubernetes the pod's name): a restart then moves no partitions."""
    ingest_batch_max_messages: Annotated[int, Field(ge=1, le=10_000)] = 500
    """Messages that are planned in one transaction at most."""
    ingest_session_timeout_ms: Annotated[int, Field(ge=1_000, le=1_800_000)] = 30_000
    """A process that is not heard of for so long loses its partitions to the others."""
