"""calbus's own processes, under the same guard as the engines: nothing of them outlives the demonstration.
What they read is in `ground.py`."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from devstack.engine import StartedEngine, log_tail
from devstack.errors import EngineFailedError
from devstack.guarded import Command, Guarded
from devstack.ports import LOOPBACK, free_port

PROBE_TIMEOUT = aiohttp.ClientTimeout(total=5)


class Service(StartedEngine):
    """One of calbus's services as a process; it is up when its own readiness probe says so."""

    def __init__(
        self, guarded: Guarded, name: str, environment: Mapping[str, str], session: aiohttp.ClientSession
    ) -> None:
        super().__init__(guarded, name)
        self.title = name
        self._environment = environment
        self._session = session
        self._port = 0
        self._counted: dict[str, Counter[str]] = {}

    @property
    def admin_url(self) -> str:
        """Where it answers probes and Prometheus."""
        return f"http://{LOOPBACK}:{self._port}"

    def log_tail(self) -> str:
        """Its last log lines."""
        return f"The last log lines of {self.title}:\n{log_tail(*self._logs)}"

    def insist_on_life(self) -> None:
        """Raise EngineFailedError, with its last log lines, if it has ended."""
        if self.pid is None:
            raise EngineFailedError(f"{self.title} has ended. {self.log_tail()}")

    async def counts(self, metric: str, label: str) -> Counter[str]:
        """One of its counters by a label; what it last was while it does not answer."""
        try:
            async with self._session.get(f"{self.admin_url}/metrics") as response:
                families = list(text_string_to_metric_families(await response.text()))
        except (aiohttp.ClientError, TimeoutError):
            return self._counted.get(metric, Counter())
        counted = self._counted[metric] = Counter()
        for sample in (sample for family in families for sample in family.samples):
            if sample.name == f"{metric}_total":
                counted[sample.labels[label]] += int(sample.value)
        return counted

    async def _prepare(self) -> None:
        self._port = free_port()

    def _command(self) -> Command:
        return Command(
            argv=[sys.executable, "-m", f"services.{self.title}"],
            stdout=str(self._log),
            stderr=str(self._log),
            env={**self._environment, "CALBUS_ADMIN_PORT": str(self._port)},
        )

    async def _answers(self) -> bool:
        try:
            async with self._session.get(f"{self.admin_url}/readyz") as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    @property
    def _log(self) -> Path:
        return self.directory / "service.log"

    @property
    def _logs(self) -> Sequence[Path]:
        return (self._log,)


@asynccontextmanager
async def running(names: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[dict[str, Service]]:
    """The services, ready; they end with the context, and also when this process is killed."""
    guarded = await Guarded.open()
    try:
        async with aiohttp.ClientSession(timeout=PROBE_TIMEOUT) as session:
            services = {name: Service(guarded, name, environment, session) for name in names}
            await asyncio.gather(*(service.start() for service in services.values()))
            yield services
    finally:
        await guarded.close()
