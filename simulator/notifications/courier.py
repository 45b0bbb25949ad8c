"""The background task of one tenant that posts its notifications when they are due, one POST per endpoint at a time."""

import asyncio
import math
from typing import TYPE_CHECKING

import orjson

from simulator.entra.keys import SigningKey
from simulator.notifications.deliveries import Fate
from simulator.notifications.endpoint import Endpoint, Item
from simulator.notifications.proof import collection
from simulator.notifications.sender import Sender

if TYPE_CHECKING:
    from simulator.tenant import Tenant

POSTS_AT_ONCE_MAX = 8
ENDPOINTS_KEPT_MAX = 64
VALIDATION = "validation"


class Courier:
    """Delivers what a tenant's outbox holds, from the first subscription until it is stopped."""

    def __init__(self, tenant: "Tenant", sender: Sender, key: SigningKey) -> None:
        self._tenant = tenant
        self._sender = sender
        self._key = key
        self._task: asyncio.Task[None] | None = None
        self._posts: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begins, if it has not."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"notifications of {self._tenant.id}")

    def stop(self) -> None:
        """Ends at once; what is under way may or may not arrive."""
        for task in (self._task, *self._posts):
            if task is not None:
                task.cancel()
        self._task = None

    @property
    def under_way(self) -> int:
        """How many POSTs wait for their answer."""
        return len(self._posts)

    async def validate(self, url: str) -> Fate:
        """Asks an address whether it wants notifications."""
        result = await self._sender.validate(url, self._tenant.limits.validation_timeout_ms)
        self._tenant.outbox.deliveries.add(
            self._tenant.now(), VALIDATION, url, result.fate, (),
            status=result.status, took_ms=result.took_ms, attempt=1,
        )  # fmt: skip
        return result.fate

    async def _run(self) -> None:
        outbox = self._tenant.outbox
        while True:
            outbox.stirred.clear()
            outbox.review()
            self._post_what_is_due()
            if len(outbox.endpoints) > ENDPOINTS_KEPT_MAX:
                outbox.forget_idle_endpoints()
            free = len(self._posts) < POSTS_AT_ONCE_MAX
            wake_at_s = min(outbox.review_at_s, outbox.next_due_s() if free else math.inf)
            wait_s = wake_at_s - self._tenant.now()
            try:
                async with asyncio.timeout(None if math.isinf(wait_s) else max(wait_s, 0.0)):
                    await outbox.stirred.wait()
            except TimeoutError:
                continue

    def _post_what_is_due(self) -> None:
        outbox = self._tenant.outbox
        for endpoint in list(outbox.endpoints.values()):
            if len(self._posts) >= POSTS_AT_ONCE_MAX:
                return
            if not endpoint.busy and (items := outbox.take(endpoint)):
                endpoint.busy = True
                self._posts.add(asyncio.create_task(self._post(endpoint, items)))

    async def _post(self, endpoint: Endpoint, items: list[Item]) -> None:
        content = orjson.dumps(collection(self._key, self._tenant, items))
        timeout_ms = self._tenant.limits.notification_timeout_ms
        try:
            result = await self._sender.post(endpoint.url, content, "application/json; charset=utf-8", timeout_ms)
            self._tenant.outbox.settle(endpoint, items, result)
        finally:
            endpoint.busy = False
            if (this := asyncio.current_task()) is not None:
                self._posts.discard(this)
            self._tenant.outbox.stirred.set()
