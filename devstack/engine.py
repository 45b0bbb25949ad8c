"""The life of an engine: start, ready, stop, kill, start again on the same data and port.
What a particular engine is (its command, its files, its protocol) lives in that engine's file."""

import asyncio
import signal
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from calbus.lifecycle import at_most
from devstack.errors import DevstackError, EngineFailedError, NotOursError
from devstack.guarded import Command, Guarded, Process

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
TOOL_TIMEOUT_S = 60.0
PROBE_INTERVAL_S = 0.03
LOG_TAIL_LINES = 20

Report = Callable[[str], None]
"""Takes one line of progress for the person at the terminal."""


class Engine(Protocol):
    """What the stack can do with an engine, started here or given."""

    async def start(self) -> None:
        """Start it (again, with the data and the port it had) and return when it answers its own protocol."""

    async def stop(self) -> None:
        """Stop it in order; its data and its port stay for the next `start`."""

    async def kill(self) -> None:
        """SIGKILL it and everything it started; its data and its port stay for the next `start`."""

    def describe(self) -> tuple[str, str, str]:
        """(what it is, product and version, address), for people; never a secret."""


def log_tail(*logs: Path) -> str:
    """The last lines of the logs that exist, for an error's message."""
    lines = [line for log in logs if log.is_file() for line in log.read_text(errors="replace").splitlines()]
    return "\n".join(lines[-LOG_TAIL_LINES:]) or "(it logged nothing)"


class StartedEngine(ABC):
    """An engine that runs under the stack's guardian, in a directory of its own below the run directory."""

    title: str

    def __init__(self, guarded: Guarded, name: str) -> None:
        self._guarded = guarded
        self._name = name
        self._prepared = False
        self._process: Process | None = None
        self.directory = guarded.directory / name

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        running = self._process is not None and not self._process.exited.done()
        return self._process.pid if self._process is not None and running else None

    async def start(self) -> None:
        """See `Engine.start`; raises `EngineFailedError` with the last log lines."""
        if self.pid is not None:
            raise DevstackError(f"{self.title} is running already (process {self.pid})")
        if not self._prepared:
            self.directory.mkdir(mode=0o700)
            await self._prepare()
            self._prepared = True
        self._process = await self._guarded.spawn(self._name, self._command())
        await self._until_ready(self._process)

    async def stop(self) -> None:
        """See `Engine.stop`; one that does not stop within `STOP_TIMEOUT_S` is killed."""
        if self._process is None or self._process.exited.done():
            return
        self._process.signal(self._command().stop_signal)
        try:
            await at_most(STOP_TIMEOUT_S, asyncio.shield(self._process.exited))
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """See `Engine.kill`."""
        if self._process is None or self._process.exited.done():
            return
        self._process.signal(signal.SIGKILL)
        await asyncio.shield(self._process.exited)

    @abstractmethod
    async def _prepare(self) -> None:
        """Once, before the first start: choose ports, write configuration, create the data directory."""

    @abstractmethod
    def _command(self) -> Command:
        """The server's process."""

    @abstractmethod
    async def _answers(self) -> bool:
        """Whether the server answers a request of its own protocol; a refused connection is False, not an error."""

    @property
    @abstractmethod
    def _logs(self) -> Sequence[Path]:
        """Where the server says what went wrong."""

    async def _until_ready(self, process: Process) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while not await self._answers():
                    if process.exited.done():
                        raise self._failed(f"ended with code {process.exited.result()} before it was ready")
                    await asyncio.sleep(PROBE_INTERVAL_S)
        except TimeoutError:
            await self.kill()
            raise self._failed(f"was not ready after {READY_TIMEOUT_S:.0f} s") from None

    def _failed(self, what: str) -> EngineFailedError:
        return EngineFailedError(f"{self.title} {what}. Its last log lines:\n{log_tail(*self._logs)}")

    async def _run_tool(self, command: Command, what: str, timeout_s: float = TOOL_TIMEOUT_S) -> None:
        """Run a helper of the engine under guard, to its end; raises `EngineFailedError` if it does not succeed."""
        tool = await self._guarded.spawn(f"{self._name}-tool", command)
        try:
            code = await at_most(timeout_s, asyncio.shield(tool.exited))
        except TimeoutError:
            tool.signal(signal.SIGKILL)
            raise EngineFailedError(f"{what} was not done after {timeout_s:.0f} s") from None
        if code != 0:
            tail = log_tail(Path(command.stdout), Path(command.stderr))
            raise EngineFailedError(f"{what} failed with code {code}:\n{tail}")


class GivenEngine(ABC):
    """An engine that a setting named: it is used, and never started, stopped or killed."""

    title: str
    setting: str

    async def start(self) -> None:
        """Nothing to start: makes sure that it can be reached."""
        await self._reach()

    async def stop(self) -> None:
        """Refused: it is not ours."""
        raise NotOursError(f"{self.title} was given by {self.setting}: devstack did not start it and will not stop it")

    async def kill(self) -> None:
        """Refused: it is not ours."""
        await self.stop()

    @abstractmethod
    async def _reach(self) -> None:
        """Raise `EngineUnavailableError` unless it answers its own protocol."""
