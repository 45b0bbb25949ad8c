"""What ingest reads from the environment."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from calbus.settings import AdminSettings, BudgetSettings, KafkaSettings, PostgresSettings, Settings, TraceSettings
from services.ingest.breaker import Thresholds


class RemovalSettings(Settings):
    """How much may leave calendars without a word."""

    ingest_removals_max_percent: Annotated[float, Field(ge=0, le=100)] = 20.0
    """If more of a mailbox's or a tenant's entries would leave in one window, removal waits for a confirmation."""
    ingest_removals_min_entries: Annotated[int, Field(ge=0, le=1_000_000)] = 50
    """So many entries may leave in one window in any case."""
    ingest_removals_window_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    """The window in which removals are counted; the first removal opens it."""

    @property
    def thresholds(self) -> Thresholds:
        """How much may be removed without a word."""
        return Thresholds(
            self.ingest_removals_max_percent / 100,
            self.ingest_removals_min_entries,
            timedelta(seconds=self.ingest_removals_window_s),
        )


class IngestSettings(KafkaSettings, PostgresSettings, BudgetSettings, RemovalSettings, AdminSettings, TraceSettings):
    """Settings of the ingest service."""

    ingest_member: str | None = None
    """A name of this process that outlives it (in Kubernetes the pod's name): a restart then moves no partitions."""
    ingest_batch_max_messages: Annotated[int, Field(ge=1, le=10_000)] = 2_000
    """Messages that are planned in one transaction at most."""
    ingest_session_timeout_ms: Annotated[int, Field(ge=1_000, le=1_800_000)] = 30_000
    """A process that is not heard of for so long loses its partitions to the others."""
