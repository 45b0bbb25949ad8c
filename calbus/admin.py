"""The admin port of a service: probes for Kubernetes, metrics for Prometheus."""

import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, disable_created_metrics, generate_latest

from calbus.outage import Dependency
from calbus.settings import AdminSettings, SettingsError
from calbus.telemetry import log

STUCK_AFTER_S = 120.0


class Pulse:
    """Says whether the main loop has begun, and still turns; an outage that is being waited out counts as turning."""

    def __init__(self) -> None:
        self._beat_at = time.monotonic()
        self.begun = False

    def beat(self) -> None:
        """The main loop came round."""
        self.begun = True
        self._beat_at = time.monotonic()

    def age_s(self) -> float:
        """Seconds since it last did."""
        return time.monotonic() - self._beat_at


@asynccontextmanager
async def admin_server(
    settings: AdminSettings,
    service: str,
    pulse: Pulse,
    dependencies: list[Dependency],
    routes: Iterable[web.RouteDef] = (),
) -> AsyncIterator[int]:
    """Serve /livez, /readyz, /metrics and the service's own routes; gives the port."""

    async def livez(_: web.Request) -> web.Response:
        away = any(not dependency.up for dependency in dependencies)
        alive = away or not pulse.begun or pulse.age_s() < STUCK_AFTER_S
        return web.Response(text="alive\n" if alive else "stuck\n", status=200 if alive else 503)

    async def readyz(_: web.Request) -> web.Response:
        away = [dependency.name for dependency in dependencies if not dependency.up]
        if away:
            return web.Response(text=f"waiting for {', '.join(away)}\n", status=503)
        if not pulse.begun:
            return web.Response(text="starting\n", status=503)
        return web.Response(text="ready\n")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    # When each series began is no use to anybody here, and doubles what a counter costs.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics), *routes])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.admin_host, settings.admin_port)
        try:
            await site.start()
        except OSError as error:
            raise SettingsError(
                f"CALBUS_ADMIN_HOST and CALBUS_ADMIN_PORT: {settings.admin_host}:{settings.admin_port} cannot be "
                f"opened: {error.strerror}. Choose another port, or 0 for a free one."
            ) from None
        port: int = runner.addresses[0][1]
        log.info("admin port is open", service=service, host=settings.admin_host, port=port)
        yield port
    finally:
        await runner.cleanup()
