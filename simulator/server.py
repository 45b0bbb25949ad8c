"""Starts the simulator: one application on an HTTPS port and an HTTP port, with a certificate of its own authority."""

import asyncio
import ipaddress
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from aiohttp import web

from simulator.control import office, state_file
from simulator.control.exchange_web import ExchangeHandler
from simulator.control.requests import ADMIN_PREFIX, explain
from simulator.control.web import AdminHandler
from simulator.entra.sign_in_web import SignInHandler
from simulator.entra.web import LoginHandler
from simulator.graph.web import PREFIX as GRAPH_PREFIX
from simulator.graph.web import GraphHandler
from simulator.notifications.web import NotificationsHandler
from simulator.outlook.web import OutlookHandler
from simulator.world import World

REQUEST_MAX_BYTES = 4 * 1024 * 1024
PORT_MAX = 65_535
CA_FILE = "ca.pem"
_CA_KEY_FILE = "ca.key"
_NAMES = ("localhost", "127.0.0.1", "::1")
# Calls that still wait out their latency are not worth waiting for.
_SHUTDOWN_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to start. Port 0 takes a free one; without a state directory a temporary one is made and removed.

    The state file is loaded at the start if it is there, and written at the end; a seed file adds to it. Endpoints
    of subscriptions may have certificates of the authorities in `trusted_ca_files` (PEM) too. `names` are host names
    under which others reach it, for its certificate.
    """

    host: str = "127.0.0.1"
    https_port: int = 0
    http_port: int = 0
    state_dir: Path | None = None
    seed_file: Path | None = None
    state_file: Path | None = None
    trusted_ca_files: tuple[Path, ...] = ()
    names: tuple[str, ...] = ()

    def problem(self) -> str | None:
        """What is wrong with the settings, as a sentence; None if they can be used."""
        for name in ("https_port", "http_port"):
            if not 0 <= getattr(self, name) <= PORT_MAX:
                return f"{name} must be from 0 to {PORT_MAX}."
        return None


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the simulator answers. `ca_file` is the certificate authority to trust, in PEM.

    Of a host with several addresses it is one of them; of all interfaces (0.0.0.0, ::) the loopback one.
    """

    graph_url: str
    login_url: str
    http_url: str
    ca_file: str


def build_app(world: World, ca_file: Path) -> web.Application:
    """The application: Graph, Entra ID and the administrative interface on one world."""

    async def certificate_authority(_: web.Request) -> web.FileResponse:
        return web.FileResponse(ca_file, headers={"Content-Type": "application/x-pem-file"})

    app = web.Application(client_max_size=REQUEST_MAX_BYTES, middlewares=[explain])
    graph = GraphHandler(world)
    app.router.add_route("*", GRAPH_PREFIX, graph.handle)
    app.router.add_route("*", GRAPH_PREFIX + "/{rest:(?s:.*)}", graph.handle)
    app.router.add_get(f"{ADMIN_PREFIX}/{CA_FILE}", certificate_authority)
    app.add_routes(AdminHandler(world).routes())
    app.add_routes(NotificationsHandler(world).routes())
    app.add_routes(OutlookHandler(world).routes())
    app.add_routes(ExchangeHandler(world).routes())
    app.add_routes(LoginHandler(world).routes())
    app.add_routes(SignInHandler(world).routes())
    return app


def _authority(directory: Path) -> trustme.CA:
    """The authority that the directory has, so that whoever trusts it need not begin anew; or a new one."""
    certificate, key = directory / CA_FILE, directory / _CA_KEY_FILE
    if certificate.exists() and key.exists():
        return trustme.CA.from_pem(certificate.read_bytes(), key.read_bytes())
    authority = trustme.CA()
    key.touch(mode=0o600)
    authority.private_key_pem.write_to_path(key)
    authority.cert_pem.write_to_path(certificate)
    return authority


def _tls_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def _close(runner: web.AppRunner) -> None:
    connections = runner.server.connections if runner.server else []
    transports = [connection.transport for connection in connections if connection.transport]
    await runner.cleanup()
    # A TLS connection waits half a minute for its peer's farewell; what is aborted is closed on the loop's next turn.
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0)


@contextmanager
def _directory(given: Path | None) -> Iterator[Path]:
    """The given directory, made if it is not there; or a temporary one, which goes whatever happens."""
    if given is None:
        with tempfile.TemporaryDirectory(prefix="graph-simulator-") as made:
            yield Path(made)
    else:
        given.mkdir(parents=True, exist_ok=True)
        yield given


def _filled_world(settings: Settings) -> World:
    """The world of the settings' files. Raises OSError or ValueError with the name of the file that is not usable."""
    if problem := settings.problem():
        raise ValueError(problem)
    world = World()
    for authority in settings.trusted_ca_files:
        try:
            world.sender.trust(authority)
        except OSError as error:
            raise ValueError(f"{authority} is no certificate authority in PEM: {error.strerror}.") from None
    if settings.state_file is not None:
        state_file.check_writable(settings.state_file)
        if settings.state_file.exists():
            state_file.load(world, settings.state_file)
    if settings.seed_file is not None:
        try:
            office.plant(world, settings.seed_file.read_bytes())
        except ValueError as error:
            raise ValueError(f"{settings.seed_file} is no seed file: {error}") from None
    return world


def _in_url(address: str) -> str:
    return f"[{address}]" if ":" in address else address


async def _listen(runner: web.AppRunner, settings: Settings, context: ssl.SSLContext | None) -> tuple[str, int]:
    """Opens a port, and returns an address that it is bound to."""
    before = len(runner.addresses)
    port = settings.http_port if context is None else settings.https_port
    await web.TCPSite(runner, settings.host, port, ssl_context=context).start()
    bound = runner.addresses[before]
    return bound[0], bound[1]


def _reached_at(bound: str, *, secure: bool) -> str:
    """The host of the address to print. The loopback interface has the name that its certificate always had."""
    address = ipaddress.ip_address(bound)
    if address.is_unspecified or bound == "127.0.0.1":
        return "localhost" if secure else "[::1]" if address.version == 6 else "127.0.0.1"
    return _in_url(bound)


@asynccontextmanager
async def serve(settings: Settings) -> AsyncIterator[Addresses]:
    """Runs the simulator while the context is open; afterwards its ports are free and its own files gone.

    Raises OSError if a port is taken or a file cannot be read or written, ValueError if a file holds what it should
    not, both before anything has begun.
    """
    with _directory(settings.state_dir) as state_dir:
        world = _filled_world(settings)
        ca_file = state_dir / CA_FILE
        authority = _authority(state_dir)
        names = (*_NAMES, *settings.names)
        context = _tls_context(authority, *names)
        world.sender.trust(ca_file)
        runner = web.AppRunner(build_app(world, ca_file), access_log=None, shutdown_timeout=_SHUTDOWN_S)
        began = False
        try:
            await runner.setup()
            host, https_port = await _listen(runner, settings, context)
            if host not in names:
                authority.issue_cert(*names, host).configure_cert(context)
            http_host, http_port = await _listen(runner, settings, None)
            login_url = f"https://{_reached_at(host, secure=True)}:{https_port}"
            began = True
            yield Addresses(
                graph_url=login_url + GRAPH_PREFIX,
                login_url=login_url,
                http_url=f"http://{_reached_at(http_host, secure=False)}:{http_port}",
                ca_file=str(ca_file),
            )
        finally:
            try:
                world.stop()
                await world.sender.close()
                await _close(runner)
            finally:
                if began and settings.state_file is not None:
                    state_file.save(world, settings.state_file)
