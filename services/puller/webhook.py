"""The webhook: where Microsoft posts, on a port of its own, which is the only one that the world can reach.

Whatever is posted is answered within a second, and with 202: Microsoft slows down and then drops an endpoint that is
slow or refuses, and there is nothing about a notification that a caller could mend. Nothing here waits for anything but
the body of the request. What is not understood is counted; what it was about is found by polling.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
from aiohttp import web

from calbus.graph.subscriptions import LIFECYCLE_PATH, NOTIFICATIONS_PATH, notices_of
from calbus.settings import SettingsError
from calbus.telemetry import NOTIFICATIONS, log
from services.puller.notices import Inbox
from services.puller.subscription_settings import SubscriptionSettings

READ_MAX_S = 0.7
"""Within which a body must have come, so that the answer goes out within a second."""
LINGER_MAX_S = 2.0
"""So long what is left of a body that was not read may keep its connection."""
TOKEN_MAX_CHARS = 512
# What Microsoft sends is words, ids and punctuation. None of these characters can begin markup, whoever reads it.
_TOKEN = re.compile(r"[A-Za-z0-9 .,:;_~+/=|@()\[\]{}!*$-]+")
_HARMLESS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "no-store",
}


class _Webhook:
    def __init__(self, settings: SubscriptionSettings, inbox: Inbox) -> None:
        self._max_body_bytes = settings.puller_webhook_max_body_bytes
        self._max_requests = settings.puller_webhook_max_requests
        self._requests = 0
        self._inbox = inbox

    async def handle(self, request: web.Request) -> web.Response:
        """Answer the handshake, or take what is posted; items say themselves of which kind they are."""
        if "validationToken" in request.query:
            return self._handshake(request.query.getall("validationToken"))
        if self._requests >= self._max_requests:
            NOTIFICATIONS.labels("dropped").inc()
            return web.Response(status=202)
        self._requests += 1
        try:
            await self._take(request)
        finally:
            self._requests -= 1
        return web.Response(status=202)

    @staticmethod
    def _handshake(tokens: list[str]) -> web.Response:
        token = tokens[0]
        if len(tokens) != 1 or len(token) > TOKEN_MAX_CHARS or not _TOKEN.fullmatch(token):
            return web.Response(status=400, text="This is no validation token.\n", headers=_HARMLESS)
        return web.Response(text=token, content_type="text/plain", charset="utf-8", headers=_HARMLESS)

    async def _take(self, request: web.Request) -> None:
        try:
            async with asyncio.timeout(READ_MAX_S):
                content = await self._read(request)
        except TimeoutError:
            NOTIFICATIONS.labels("too_slow").inc()
            return
        except Exception:  # noqa: BLE001 - it broke off, or is no HTTP, and nobody is to be told
            NOTIFICATIONS.labels("unreadable").inc()
            return
        if content is None:
            NOTIFICATIONS.labels("too_large").inc()
            return
        try:
            body = orjson.loads(content)
        except orjson.JSONDecodeError:
            body = None
        notices, unreadable = notices_of(body)
        if unreadable:
            NOTIFICATIONS.labels("unreadable").inc(unreadable)
        self._inbox.put(notices)

    async def _read(self, request: web.Request) -> bytes | None:
        """The body; None if it is larger than it may be."""
        if (request.content_length or 0) > self._max_body_bytes:
            return None
        content = bytearray()
        async for chunk in request.content.iter_any():
            content += chunk
            if len(content) > self._max_body_bytes:
                return None
        return bytes(content)


@asynccontextmanager
async def webhook_server(settings: SubscriptionSettings, inbox: Inbox) -> AsyncIterator[int | None]:
    """Take what Microsoft posts; gives the port, or None where no public address is set and nothing is served."""
    if settings.puller_public_url is None:
        log.info("no public address is set: calendars are polled, Microsoft is not asked to tell of changes")
        yield None
        return
    webhook = _Webhook(settings, inbox)
    app = web.Application()
    for path in (NOTIFICATIONS_PATH, LIFECYCLE_PATH):
        # Whatever stands in front may or may not take away the path of the public address.
        app.router.add_post(f"/{{before:(?:.*/)?}}{path.removeprefix('/')}", webhook.handle)
    runner = web.AppRunner(app, access_log=None, lingering_time=LINGER_MAX_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.puller_webhook_host, settings.puller_webhook_port)
        try:
            await site.start()
        except OSError as error:
            raise SettingsError(
                "CALBUS_PULLER_WEBHOOK_HOST and CALBUS_PULLER_WEBHOOK_PORT: "
                f"{settings.puller_webhook_host}:{settings.puller_webhook_port} cannot be opened: {error.strerror}. "
                "Choose another port, or 0 for a free one."
            ) from None
        port: int = runner.addresses[0][1]
        log.info("webhook is open", host=settings.puller_webhook_host, port=port)
        yield port
    finally:
        await runner.cleanup()
