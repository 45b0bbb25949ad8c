"""Debian's Prometheus and Alertmanager, started for a test on ports of their own."""

import asyncio
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.support.waiting import until

RULES = Path(__file__).resolve().parents[2] / "ops" / "alerts" / "calbus.yml"
INSTALL = "apt-get install --no-install-recommends prometheus prometheus-alertmanager"
WINDOW = "15s"
STOP_TIMEOUT_S = 20.0


def program(name: str) -> str:
    """Where one of the programs is; a test that needs one that is missing fails, and says how to get it."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is not installed. On Debian: {INSTALL}", pytrace=False)
    return found


async def run(*command: str, given: bytes | None = None) -> tuple[int, str]:
    """Run one to its end: its code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        program(command[0]),
        *command[1:],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate(given)
    return process.returncode or 0, said.decode()


def hastened(rules: str) -> str:
    """The rules with every window a few seconds long, and no patience: what takes hours is seen in a test."""
    rules = re.sub(r"^( +for: ).*$", r"\g<1>0s", rules, flags=re.MULTILINE)
    return re.sub(r"\[\d+[mh]\]", f"[{WINDOW}]", rules)


@dataclass(frozen=True, slots=True)
class Monitoring:
    """Both, running."""

    prometheus: str
    alertmanager: str
    session: aiohttp.ClientSession

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """What an expression gives now. Fails with what Prometheus says of one that is wrong."""
        async with self.session.get(f"{self.prometheus}/api/v1/query", params={"query": expr}) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{expr}: {answer}"
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    async def active(self) -> dict[str, list[dict[str, Any]]]:
        """The alerts that Alertmanager holds for active, by name."""
        async with self.session.get(f"{self.alertmanager}/api/v2/alerts", params={"active": "true"}) as response:
            alerts = await response.json()
        found: dict[str, list[dict[str, Any]]] = {}
        for alert in alerts:
            found.setdefault(alert["labels"]["alertname"], []).append(alert)
        return found


@asynccontextmanager
async def monitoring(folder: Path, targets: Mapping[str, int]) -> AsyncIterator[Monitoring]:
    """Prometheus reads the services on these ports every second, judges by hastened rules, and tells Alertmanager."""
    ports = [_free_port(), _free_port()]
    alertmanager_config = {"route": {"receiver": "nobody", "group_wait": "0s"}, "receivers": [{"name": "nobody"}]}
    prometheus_config = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.yml")],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [f"127.0.0.1:{ports[1]}"]}]}]},
        "scrape_configs": [
            {
                "job_name": "calbus",
                "static_configs": [
                    {"targets": [f"127.0.0.1:{port}"], "labels": {"service": service}}
                    for service, port in targets.items()
                ],
            }
        ],
    }
    (folder / "rules.yml").write_text(hastened(RULES.read_text()))
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(alertmanager_config))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(prometheus_config))
    commands = [
        [
            program("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{ports[0]}",
            "--query.lookback-delta=10s",
        ],
        [
            program("prometheus-alertmanager"),
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{ports[1]}",
            "--cluster.listen-address=",
        ],
    ]
    with (folder / "monitoring.log").open("wb") as log:
        running = [
            await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, env=dict(os.environ))
            for command in commands
        ]
        try:
            async with aiohttp.ClientSession() as session:
                for port in ports:
                    await until(lambda port=port: _ready(session, port), f"port {port} to be ready")  # type: ignore[misc]
                yield Monitoring(f"http://127.0.0.1:{ports[0]}", f"http://127.0.0.1:{ports[1]}", session)
        finally:
            for process in running:
                if process.returncode is None:
                    process.terminate()
            for process in running:
                try:
                    await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)
                except TimeoutError:
                    process.kill()
                    await process.wait()


async def _ready(session: aiohttp.ClientSession, port: int) -> bool:
    try:
        async with session.get(f"http://127.0.0.1:{port}/-/ready") as response:
            return response.status == 200
    except aiohttp.ClientConnectionError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
