"""Starts the simulator: one application on an HTTPS port and an HTTP port, with a certificate of its own authority."""

import asyncio
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme
from aiohttp import web

from simulator.control import office, state_file
from simulator.control.exchange_web import ExchangeHandler
from simulator.control.requests import explain
from simulator.control.web import AdminHandler
from simulator.entra.sign_in_web import SignInHandler
from simulator.entra.web import LoginHandler
from simulator.graph.web import PREFIX as GRAPH_PREFIX
from simulator.graph.web import GraphHandler
from simulator.notifications.web import NotificationsHandler
from simulator.outlook.web import OutlookHandler
from simulator.world import World

REQUEST_MAX_BYTES = 4 * 1024 * 1024
# Calls that still wait out their latency are not worth waiting for.
_SHUTDOWN_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to start. Port 0 takes a free one; without a state directory a temporary one is made and removed.

    The state file is loaded at the start if it is there, and written at the end; a seed file adds to it. Endpoints
    of subscriptions may have certificates of the authorities in `trusted_ca_files` (PEM) too.
    """

    host: str = "127.0.0.1"
    https_port: int = 0
    http_port: int = 0
    state_dir: Path | None = None
    seed_file: Path | None = None
    state_file: Path | None = None
    trusted_ca_files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the simulator answers. `ca_file` is the certificate authority to trust, in PEM."""

    graph_url: str
    login_url: str
    http_url: str
    ca_file: str


def build_app(world: World) -> web.Application:
    """The application: Graph, Entra ID and the administrative interface on one world."""
    app = web.Application(client_max_size=REQUEST_MAX_BYTES, middlewares=[explain])
    graph = GraphHandler(world)
    app.router.add_route("*", GRAPH_PREFIX, graph.handle)
    app.router.add_route("*", GRAPH_PREFIX + "/{rest:(?s:.*)}", graph.handle)
    app.add_routes(AdminHandler(world).routes())
    app.add_routes(NotificationsHandler(world).routes())
    app.add_routes(OutlookHandler(world).routes())
    app.add_routes(ExchangeHandler(world).routes())
    app.add_routes(LoginHandler(world).routes())
    app.add_routes(SignInHandler(world).routes())
    return app


def _tls_context(ca_file: Path) -> ssl.SSLContext:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1", "::1").configure_cert(context)
    return context


async def _close(runner: web.AppRunner) -> None:
    connections = runner.server.connections if runner.server else []
    transports = [connection.transport for connection in connections if connection.transport]
    await runner.cleanup()
    # A TLS connection waits half a minute for its peer's farewell; what is aborted is closed on the loop's next turn.
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0)


@asynccontextmanager
async def serve(settings: Settings) -> AsyncIterator[Addresses]:
    """Runs the simulator while the context is open; afterwards its ports are free and its own files gone.

    Raises OSError if a port is taken or the file of an authority is not usable, ValueError if the seed file or the
    state file is not.
    """
    world = World()
    for authority in settings.trusted_ca_files:
        world.sender.trust(authority)
    if settings.state_file is not None and settings.state_file.exists():
        state_file.load(world, settings.state_file)
    if settings.seed_file is not None:
        office.plant(world, settings.seed_file.read_bytes())
    state_dir = settings.state_dir or Path(tempfile.mkdtemp(prefix="graph-simulator-"))
    runner = web.AppRunner(build_app(world), access_log=None, shutdown_timeout=_SHUTDOWN_S)
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        ca_file = state_dir / "ca.pem"
        context = _tls_context(ca_file)
        world.sender.trust(ca_file)
        await runner.setup()
        await web.TCPSite(runner, settings.host, settings.https_port, ssl_context=context).start()
        await web.TCPSite(runner, settings.host, settings.http_port).start()
        https_port, http_port = (address[1] for address in runner.addresses)
        login_url = f"https://localhost:{https_port}"
        yield Addresses(
            graph_url=login_url + GRAPH_PREFIX,
            login_url=login_url,
            http_url=f"http://127.0.0.1:{http_port}",
            ca_file=str(ca_file),
        )
    finally:
        world.stop()
        await world.sender.close()
        await _close(runner)
        if settings.state_file is not None:
            state_file.save(world, settings.state_file)
        if settings.state_dir is None:
            shutil.rmtree(state_dir)
