"""The broker that a setting named: used, never started or stopped.
Nothing else lives here."""

from devstack.engine import GivenEngine
from devstack.errors import EngineUnavailableError
from devstack.kafka.common import serves


class GivenKafka(GivenEngine):
    """The broker that CALBUS_KAFKA_BOOTSTRAP names."""

    title = "Kafka"
    setting = "CALBUS_KAFKA_BOOTSTRAP"
    engine = "given"
    version = ""
    warning = ""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def describe(self) -> tuple[str, str, str]:
        """See `Engine.describe`."""
        return "Kafka", "Kafka (given)", self.bootstrap

    async def _reach(self) -> None:
        if not await serves(self.bootstrap):
            raise EngineUnavailableError(
                f"the Kafka that CALBUS_KAFKA_BOOTSTRAP names ({self.bootstrap}) does not answer. "
                "Unset it, and one is started here"
            )
