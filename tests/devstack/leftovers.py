"""Finding what a stack would leave behind: processes, ports, shared memory, files.
Only looking is done here."""

import contextlib
import socket
from pathlib import Path

from devstack.guard import children_of
from devstack.ports import LOOPBACK


def family_of(pid: int) -> set[int]:
    """The process and everything below it."""
    family = {pid}
    for child in children_of(pid):
        family |= family_of(child)
    return family


def alive(pids: set[int]) -> set[int]:
    """Which of the processes still run; one that only waits to be collected does not."""
    running = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                running.add(pid)
    return running


def listening(ports: set[int]) -> set[int]:
    """Which of the loopback ports still take connections."""
    taken = set()
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                taken.add(port)
    return taken


def shared_memory_of(pids: set[int]) -> set[str]:
    """System V segments that one of the processes created."""
    rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]]
    return {row[1] for row in rows if int(row[4]) in pids}


def words_in(path: Path) -> str:
    """What a file holds; nothing if it is not there yet."""
    return path.read_text() if path.is_file() else ""


def entries(directory: Path) -> set[str]:
    """What is in a directory."""
    return {path.name for path in directory.iterdir()}
