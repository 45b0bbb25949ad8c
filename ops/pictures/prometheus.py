"""Debian's Prometheus under the stack's guard, with the alerts' rules; and the questions put to it."""

import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from devstack.engine import StartedEngine
from devstack.errors import EngineUnavailableError
from devstack.guarded import Command, Guarded
from devstack.ports import LOOPBACK, free_port
from ops.dashboards import RATE
from ops.pictures.drawing import Line, legend

INSTALL = "apt-get install --no-install-recommends prometheus"
RULES = Path(__file__).resolve().parents[1] / "alerts" / "calbus.yml"
WINDOW = "15s"
"""What stands for Grafana's rate interval: many times the second between two readings."""
STEP_S = 2
REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=20)


class Prometheus(StartedEngine):
    """`targets`: host and port of each service's metrics, by the service's name."""

    title = "Prometheus"

    def __init__(self, guarded: Guarded, targets: Mapping[str, str], session: aiohttp.ClientSession) -> None:
        super().__init__(guarded, "prometheus")
        self._targets = targets
        self._session = session
        self._address = ""

    async def lines(self, expr: str, name: str, began_at: float, ended_at: float) -> list[Line]:
        """What an expression gave over a time: a line for each set of labels, named by Grafana's template."""
        asked: dict[str, str | float] = {
            "query": expr.replace(RATE, WINDOW),
            "start": began_at,
            "end": ended_at,
            "step": STEP_S,
        }
        async with self._session.get(f"http://{self._address}/api/v1/query_range", params=asked) as response:
            response.raise_for_status()
            answer = await response.json()
        lines = []
        for series in answer["data"]["result"]:
            points = tuple((float(at), float(value)) for at, value in series["values"] if value != "NaN")
            lines.append(Line(legend(name, series["metric"]), points))
        return lines

    async def _prepare(self) -> None:
        if shutil.which("prometheus") is None:
            raise EngineUnavailableError(f"prometheus is not installed. On Debian: {INSTALL}")
        self._address = f"{LOOPBACK}:{free_port()}"
        jobs = [{"targets": [address], "labels": {"service": name}} for name, address in self._targets.items()]
        # YAML takes JSON.
        self._config.write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                    "rule_files": [str(RULES)],
                    "scrape_configs": [{"job_name": "calbus", "static_configs": jobs}],
                }
            )
        )

    def _command(self) -> Command:
        return Command(
            argv=[
                "prometheus",
                f"--config.file={self._config}",
                f"--storage.tsdb.path={self.directory / 'data'}",
                f"--web.listen-address={self._address}",
            ],
            stdout=str(self._log),
            stderr=str(self._log),
        )

    async def _answers(self) -> bool:
        try:
            async with self._session.get(f"http://{self._address}/-/ready") as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    @property
    def _config(self) -> Path:
        return self.directory / "prometheus.yml"

    @property
    def _log(self) -> Path:
        return self.directory / "prometheus.log"

    @property
    def _logs(self) -> Sequence[Path]:
        return (self._log,)


@asynccontextmanager
async def watching(targets: Mapping[str, str]) -> AsyncIterator[Prometheus]:
    """A Prometheus that reads these; it ends with the context, and leaves nothing behind."""
    guarded = await Guarded.open()
    try:
        async with aiohttp.ClientSession(timeout=REQUEST_TIMEOUT) as session:
            prometheus = Prometheus(guarded, targets, session)
            await prometheus.start()
            yield prometheus
    finally:
        await guarded.close()
