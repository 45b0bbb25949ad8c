"""The parent's side of the guardian: opening it, and starting, signalling and awaiting processes under it.
Nothing here knows what an engine is."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from calbus.lifecycle import at_most
from devstack import guard
from devstack.errors import DevstackError

CLOSE_TIMEOUT_S = guard.STOP_GRACE_S + guard.KILL_GRACE_S + 10.0


@dataclass(frozen=True)
class Command:
    """A process to start. `env` is its whole environment, or None for the parent's.

    `stop_signal` asks it to stop in order; `end_signal` is sent when the whole run ends and its data go with it.
    """

    argv: Sequence[str]
    stdout: str
    stderr: str
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    user: int | None = None
    group: int | None = None
    stop_signal: int = signal.SIGTERM
    end_signal: int = signal.SIGTERM


class Process:
    """A process under guard. `exited` gives its exit code once it and everything it started are gone."""

    def __init__(self, guardian: "Guarded", name: str) -> None:
        self._guardian = guardian
        self._name = name
        self.pid = 0
        self.spawned: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def signal(self, number: int) -> None:
        """Signal the process group."""
        self._guardian.request(do="signal", name=self._name, signal=number)


class Guarded:
    """A run directory and the processes in it, which end and vanish when this process closes them or dies."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self._processes: dict[str, Process] = {}
        self._transport: asyncio.BaseTransport | None = None
        self._opened: asyncio.Future[Path] = asyncio.get_running_loop().create_future()
        self._listener: asyncio.Task[None] | None = None
        self._broken = "its process is gone"
        self.directory = Path()

    @classmethod
    async def open(cls) -> "Guarded":
        """Start a guardian and learn its run directory."""
        # Not asyncio's subprocess: closing the loop would kill the guardian, and with it the cleaning up.
        guardian = cls(
            subprocess.Popen(  # noqa: ASYNC220 (see above; it takes milliseconds)
                [sys.executable, "-I", "-S", guard.__file__, tempfile.gettempdir()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        try:
            reader = asyncio.StreamReader()
            guardian._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), guardian._popen.stdout
            )
            guardian._listener = asyncio.create_task(guardian._listen(reader))
            guardian.directory = await guardian._opened
        except BaseException:
            await guardian.close()
            raise
        return guardian

    def request(self, **fields: Any) -> None:
        """Send one request; small enough never to block on the pipe."""
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.write(json.dumps(fields).encode() + b"\n")
            self._popen.stdin.flush()

    async def spawn(self, name: str, command: Command) -> Process:
        """Start a process under guard; raises `DevstackError` when it cannot be started at all."""
        before = self._processes.get(name)
        if before is not None and not before.exited.done():
            raise DevstackError(f"{name} is running already (process {before.pid})")
        if self._listener is None or self._listener.done():
            raise self._gone()
        process = self._processes[name] = Process(self, name)
        self.request(do="spawn", name=name, **asdict(command))
        process.pid = await process.spawned
        return process

    async def close(self) -> None:
        """End every process and remove the run directory. Returns when that is done.

        The pipe is closed before anything is awaited: also if the waiting is cancelled, the guardian cleans up.
        """
        assert self._popen.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._popen.stdin.close()
        if self._listener is not None:
            try:
                await at_most(CLOSE_TIMEOUT_S, self._listener)
            except TimeoutError:
                self._popen.kill()
        if self._transport is not None:
            self._transport.close()
        await asyncio.to_thread(self._popen.wait)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self._heard(json.loads(line))
        self._lost()

    def _heard(self, event: dict[str, Any]) -> None:
        if event["event"] == "open":
            self._opened.set_result(Path(event["directory"]))
            return
        if event["event"] == "broken":
            self._broken = event["error"]
            return
        process = self._processes[event["name"]]
        if event["event"] == "spawned" and not process.spawned.cancelled():
            process.spawned.set_result(event["pid"])
        elif event["event"] == "refused" and not process.spawned.cancelled():
            process.spawned.set_exception(DevstackError(f"{event['name']} cannot be started: {event['error']}"))
        elif event["event"] == "exited" and not process.exited.cancelled():
            process.exited.set_result(event["code"])

    def _lost(self) -> None:
        """The guardian is gone, and its processes with it: nobody may wait for them any longer."""
        if not self._opened.done():
            self._opened.set_exception(self._gone())
        for process in self._processes.values():
            if not process.spawned.done():
                process.spawned.set_exception(self._gone())
            if not process.exited.done():
                process.exited.set_result(-signal.SIGKILL)

    def _gone(self) -> DevstackError:
        return DevstackError(f"the guardian of the stack's processes has ended ({self._broken}): start the stack anew")
