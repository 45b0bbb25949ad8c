"""A webhook receiver: a little HTTP server that answers validation and notes down what it is sent."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from aiohttp import web

WAIT_S = 20.0


@dataclass
class Receiver:
    """What came, POST by POST. `statuses` are those of the next answers; while `gate` is shut they wait."""

    url: str = ""
    posts: list[dict[str, Any]] = field(default_factory=list)
    validations: list[web.Request] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    validate: Callable[[str], web.Response] = lambda token: web.Response(text=token)
    refused_paths: set[str] = field(default_factory=set)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def notify_url(self) -> str:
        return f"{self.url}/notify"

    @property
    def lifecycle_url(self) -> str:
        return f"{self.url}/lifecycle"

    async def handle(self, request: web.Request) -> web.Response:
        if "validationToken" in request.query:
            self.validations.append(request)
            self.came.set()
            await self.gate.wait()
            return self.validate(request.query["validationToken"])
        self.posts.append({"path": request.path, **orjson.loads(await request.read())})
        self.came.set()
        await self.gate.wait()
        if request.path in self.refused_paths:
            return web.Response(status=503)
        return web.Response(status=self.statuses.pop(0) if self.statuses else 202)

    def items(self, path: str = "/notify") -> list[dict[str, Any]]:
        return [item for post in self.posts if post["path"] == path for item in post["value"]]

    async def wait_for_validations(self, count: int) -> None:
        """Returns once so many were asked for."""
        async with asyncio.timeout(WAIT_S):
            while len(self.validations) < count:
                self.came.clear()
                await self.came.wait()

    async def wait_for(self, count: int, path: str = "/notify") -> list[dict[str, Any]]:
        """The items sent to the path, once there are so many."""
        async with asyncio.timeout(WAIT_S):
            while len(self.items(path)) < count:
                self.came.clear()
                await self.came.wait()
        return self.items(path)


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver on a port of its own, over https if there is a context for it."""
    receiver = Receiver()
    receiver.gate.set()
    app = web.Application()
    app.router.add_post("/{path}", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    scheme = "http" if tls is None else "https"
    receiver.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield receiver
    finally:
        receiver.gate.set()
        await runner.cleanup()


def in_minutes(minutes: float) -> str:
    """An expiry so many minutes from now."""
    return (datetime.now(UTC) + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def wish(lab: Any, receiver: Receiver, **changes: Any) -> dict[str, Any]:
    """The body of a subscription to the lab's mailbox; None leaves a property out."""
    body = {
        "changeType": "created,updated,deleted",
        "notificationUrl": receiver.notify_url,
        "lifecycleNotificationUrl": receiver.lifecycle_url,
        "resource": f"users/{lab.user_id}/events",
        "expirationDateTime": in_minutes(600),
        "clientState": "hush",
    }
    return {name: value for name, value in {**body, **changes}.items() if value is not None}


async def subscribe(lab: Any, receiver: Receiver, **changes: Any) -> Any:
    reply = await lab.graph("POST", "/subscriptions", wish(lab, receiver, **changes))
    assert reply.status == 201, reply.body
    return reply.body
