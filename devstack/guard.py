"""The guardian: a process that starts the engines and outlives whoever asked for them, so that nothing stays behind.
It may import the standard library only, and nothing of devstack: it runs as a plain file and starts in milliseconds.

Its standard input is a pipe that only the parent holds. One JSON request per line comes in, one JSON event per line
goes out on standard output. When the pipe ends, for whatever reason (an orderly close, Ctrl-C, an exception, SIGKILL
of the parent), the guardian stops every engine, kills what does not stop, and removes the run directory.

    {"do": "spawn", "name", "argv", "env", "cwd", "user", "group", "stdout", "stderr", "end_signal"}
    {"do": "signal", "name", "signal"}
    -> {"event": "open", "directory"}  {"event": "spawned", "name", "pid"}
       {"event": "refused", "name", "error"}  {"event": "exited", "name", "code"}  {"event": "broken", "error"}

An engine counts as exited when it and everything it started are gone.
"""

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STOP_GRACE_S = 5.0
KILL_GRACE_S = 5.0
READ_BYTES = 65_536

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_IPC_RMID = 0
_LINUX = sys.platform == "linux"
_LIBC = ctypes.CDLL(None)


def adopt_orphans() -> None:
    """Make orphans of the engines our children, so that they can be found and waited for (Linux only)."""
    if _LINUX:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_guardian() -> None:
    """Runs in the child before exec: should the guardian itself be killed, its engines go with it (Linux only)."""
    if _LINUX:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def children_of(parent: int) -> set[int]:
    """The living children of a process; empty where there is no /proc."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The command name is in brackets and may hold anything: the fields are counted from its end.
            state, ppid = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if int(ppid) == parent and state != "Z":
                found.add(int(stat.parent.name))
    return found


def release_shared_memory(directory: Path) -> None:
    """A PostgreSQL that was killed cannot free its System V segment; its pid file, still there, names it."""
    for pid_file in directory.glob("*/*/postmaster.pid"):
        lines = pid_file.read_text().splitlines()
        key_and_id = lines[6].split() if len(lines) > 6 else []
        if len(key_and_id) == 2:
            _LIBC.shmctl(int(key_and_id[1]), _IPC_RMID, None)


def signal_group(pid: int, number: int) -> None:
    """Signal an engine's process group; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


@dataclass
class Guardian:
    """The engines under guard and the directory they live in."""

    directory: Path
    wake_fd: int
    engines: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    end_signals: dict[int, int] = field(default_factory=dict)
    ended: list[dict[str, Any]] = field(default_factory=list)
    terminated: bool = False

    def emit(self, **event: Any) -> None:
        """Tell the parent; one that is gone is noticed where its pipe is read."""
        with contextlib.suppress(OSError):
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()

    def serve(self) -> None:
        """Carry out requests until the parent's pipe ends or somebody terminates the guardian."""
        pending = b""
        while not self.terminated:
            readable, _, _ = select.select([sys.stdin.fileno(), self.wake_fd], [], [])
            if self.wake_fd in readable:
                self.woken()
            if sys.stdin.fileno() in readable:
                data = os.read(sys.stdin.fileno(), READ_BYTES)
                if not data:
                    return
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    self.carry_out(json.loads(line))

    def woken(self) -> None:
        """A signal came: a child ended, or the guardian is to end."""
        numbers = os.read(self.wake_fd, READ_BYTES)
        self.terminated = self.terminated or signal.SIGTERM in numbers
        self.reap()

    def carry_out(self, request: dict[str, Any]) -> None:
        """One request of the parent."""
        if request["do"] == "spawn":
            self.spawn(request)
            return
        for pid, name in self.names.items():
            if name == request["name"]:
                signal_group(pid, request["signal"])

    def spawn(self, request: dict[str, Any]) -> None:
        """Start an engine in a process group of its own."""
        name = request["name"]
        try:
            with Path(request["stdout"]).open("ab") as out, Path(request["stderr"]).open("ab") as err:
                process = subprocess.Popen(
                    request["argv"],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    env=request["env"],
                    cwd=request["cwd"],
                    user=request["user"],
                    group=request["group"],
                    extra_groups=None if request["user"] is None else [],
                    process_group=0,
                    preexec_fn=die_with_guardian,  # noqa: PLW1509 (the guardian has one thread)
                )
        except (OSError, subprocess.SubprocessError) as error:
            self.emit(event="refused", name=name, error=str(error))
            return
        self.engines[process.pid] = process
        self.names[process.pid] = name
        self.end_signals[process.pid] = request["end_signal"]
        self.emit(event="spawned", name=name, pid=process.pid)

    def reap(self) -> None:
        """Collect the dead, end what they left running, and report an engine once nothing of it is left."""
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                self.collect(*found)
        # A process whose parent died belongs to no engine any more (PostgreSQL's backends leave the process group).
        strays = children_of(os.getpid()) - self.engines.keys()
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not strays:
            for event in self.ended:
                self.emit(**event)
            self.ended.clear()

    def collect(self, pid: int, status: int) -> None:
        """Note the end of one child, if it is an engine."""
        process = self.engines.pop(pid, None)
        if process is None:
            return
        process.returncode = os.waitstatus_to_exitcode(status)
        signal_group(pid, signal.SIGKILL)
        self.ended.append({"event": "exited", "name": self.names.pop(pid), "code": process.returncode})

    def wait_for_engines(self, grace_s: float) -> None:
        """Wait until no engine and no orphan of one is left, at most `grace_s`."""
        deadline = time.monotonic() + grace_s
        while (self.engines or self.ended) and (left_s := deadline - time.monotonic()) > 0:
            if select.select([self.wake_fd], [], [], left_s)[0]:
                self.woken()

    def finish(self) -> None:
        """Stop everything, kill what does not stop, remove the run directory."""
        for pid, number in self.end_signals.items():
            if pid in self.engines:
                signal_group(pid, number)
        self.wait_for_engines(STOP_GRACE_S)
        for pid in self.engines:
            signal_group(pid, signal.SIGKILL)
        self.wait_for_engines(KILL_GRACE_S)
        release_shared_memory(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)


def main() -> None:
    """`guard.py PARENT_DIRECTORY`: serve until the parent is gone, then clean up."""
    # The terminal's Ctrl-C and hang-up are the parent's affair: it closes the pipe when it has decided.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    wake_fd, signalled_fd = os.pipe()
    os.set_blocking(signalled_fd, False)
    signal.set_wakeup_fd(signalled_fd)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    adopt_orphans()
    directory = Path(tempfile.mkdtemp(prefix="calbus-devstack-", dir=sys.argv[1]))
    # Passable but not readable: PostgreSQL may run as another user in a directory of its own below.
    directory.chmod(0o711)
    guardian = Guardian(directory, wake_fd)
    try:
        guardian.emit(event="open", directory=str(directory))
        guardian.serve()
    except Exception as error:
        guardian.emit(event="broken", error=repr(error))
        raise
    finally:
        guardian.finish()


if __name__ == "__main__":
    main()
