"""The page over HTTP, below `/outlook`: its files, a week as JSON, a person's edits, and a stream of changes.

It has no authentication: keep it on the loopback interface. Subjects and names are data, never markup: the page puts
them in as text, and its Content-Security-Policy runs no script that is not a file of ours.
"""

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import date
from importlib import resources
from string import Template

from aiohttp import web
from pydantic import TypeAdapter

from simulator.control.requests import OUTLOOK_PREFIX, Unknown, read_object, tenant_of, user_of, wanted
from simulator.exchange.meetings import Meetings
from simulator.exchange.times import find_zone
from simulator.exchange.user import User
from simulator.exchange.watch import Written
from simulator.outlook.edit import Edit, changes_of
from simulator.outlook.week import local_now, monday_of, show_event, show_week
from simulator.tenant import Tenant
from simulator.wire import json_response
from simulator.world import World

STREAMS_MAX = 200
HEARTBEAT_S = 15.0
RECONNECT_MS = 1000

_EDIT = TypeAdapter(Edit)
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_SAFE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "no-cache"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file of the page, read once."""

    content: bytes
    media_type: str
    version: str


def _assets() -> dict[str, Asset]:
    found: dict[str, Asset] = {}
    for file in resources.files("simulator.outlook").joinpath("assets").iterdir():
        media_type = _TYPES.get(file.name[file.name.rfind(".") :])
        if media_type is not None:
            content = file.read_bytes()
            found[file.name] = Asset(content, media_type, hashlib.blake2b(content, digest_size=8).hexdigest())
    return found


class OutlookHandler:
    """Answers everything below `/outlook`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._files = _assets()
        shell = resources.files("simulator.outlook").joinpath("assets", "index.html").read_text()
        versions = {name.replace(".", "_"): asset.version for name, asset in self._files.items()}
        self._shell = Template(shell).substitute(versions).encode()
        self._streams = 0

    def routes(self) -> list[web.RouteDef]:
        """What this handler answers."""
        api = f"{OUTLOOK_PREFIX}/api/tenants"
        user = f"{api}/{{tenant}}/users/{{user}}"
        return [
            web.get(OUTLOOK_PREFIX, self.page),
            web.get(f"{OUTLOOK_PREFIX}/", self.page),
            web.get(f"{OUTLOOK_PREFIX}/assets/{{name}}", self.asset),
            web.get(api, self.tenants),
            web.get(f"{user}/week", self.week),
            web.get(f"{user}/stream", self.stream, allow_head=False),
            web.post(f"{user}/events", self.create),
            web.patch(f"{user}/events/{{event}}", self.change),
            web.delete(f"{user}/events/{{event}}", self.remove),
            web.get(f"{OUTLOOK_PREFIX}/{{tenant}}/{{user}}", self.page),
        ]

    async def page(self, _request: web.Request) -> web.Response:
        """The page itself; which mailbox it shows is for its script to read from the address."""
        headers = {**_SAFE_HEADERS, "Cache-Control": _ASK_AGAIN}
        return web.Response(body=self._shell, content_type="text/html", charset="utf-8", headers=headers)

    async def asset(self, request: web.Request) -> web.Response:
        """A file: for ever under the version the page asks for, and otherwise to be asked for again each time."""
        asset = self._files.get(request.match_info["name"])
        if asset is None:
            raise Unknown("There is no such file.")
        named = request.query.get("v") == asset.version
        tag = f'"{asset.version}"'
        headers = {**_SAFE_HEADERS, "ETag": tag, "Cache-Control": _FOR_EVER if named else _ASK_AGAIN}
        if request.headers.get("If-None-Match") == tag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=asset.content, content_type=asset.media_type, charset="utf-8", headers=headers)

    async def tenants(self, _request: web.Request) -> web.Response:
        """Every tenant with its users."""
        shown = [
            {
                "id": tenant.id,
                "domain": tenant.domain,
                "users": [
                    {"upn": user.upn, "name": user.display_name, "mailbox": user.kind} for user in tenant.users.values()
                ],
            }
            for tenant in self._world.tenants.values()
        ]
        return self._data({"tenants": shown})

    async def week(self, request: web.Request) -> web.Response:
        """The week of the day `day`, or of today by the tenant's clock."""
        tenant, user = user_of(self._world, request)
        day = wanted(request, "day", date.fromisoformat) or local_now(user, tenant.now()).date()
        return self._data(show_week(user, monday_of(day), tenant.now()))

    async def create(self, request: web.Request) -> web.Response:
        """The user makes an event in the default calendar."""
        tenant, user = self._acting(request)
        changes = changes_of(_EDIT.validate_python(await read_object(request)), None, user.time_zone)
        created = Meetings(tenant, user.mailbox).create(user.mailbox.default_calendar, changes)
        return self._data(show_event(created.event, find_zone(user.time_zone)), 201)

    async def change(self, request: web.Request) -> web.Response:
        """The user drags or edits an event; of a series, this one occurrence."""
        tenant, user = self._acting(request)
        edit = _EDIT.validate_python(await read_object(request))
        event = user.mailbox.event(request.match_info["event"])
        user.mailbox.check_etag(event, edit.etag)
        Meetings(tenant, user.mailbox).change(event, changes_of(edit, event, user.time_zone))
        return self._data(show_event(event, find_zone(user.time_zone)))

    async def remove(self, request: web.Request) -> web.Response:
        """The user deletes an event."""
        tenant, user = self._acting(request)
        Meetings(tenant, user.mailbox).remove(user.mailbox.event(request.match_info["event"]))
        return web.Response(status=204)

    def _acting(self, request: web.Request) -> tuple[Tenant, User]:
        """Refuses (ValueError) what another site's page makes a browser send; JSON alone it could not send unasked."""
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise ValueError("This can only be done from the page itself.")
        if request.method != "DELETE" and request.content_type != "application/json":
            raise ValueError("The body must be application/json.")
        return user_of(self._world, request)

    @staticmethod
    def _data(document: object, status: int = 200) -> web.Response:
        return json_response(document, status, {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: one at the start, and one after each write to the mailbox, or several together.

        It ends when the mailbox is gone; the page then connects again, and is told so.
        """
        tenant, user = user_of(self._world, request)
        if self._streams >= STREAMS_MAX:
            return json_response({"error": f"More than {STREAMS_MAX} pages are open."}, 503)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store"}
        )
        written = asyncio.Event()

        def watch(_: Written) -> None:
            written.set()

        user.mailbox.watchers.append(watch)
        self._streams += 1
        try:
            await response.prepare(request)
            await response.write(f"retry: {RECONNECT_MS}\ndata: changed\n\n".encode())
            while self._stands(request, tenant):
                try:
                    async with asyncio.timeout(HEARTBEAT_S):
                        await written.wait()
                except TimeoutError:
                    await response.write(b": still here\n\n")
                    continue
                written.clear()
                await response.write(b"data: changed\n\n")
        except ConnectionError:
            return response
        finally:
            self._streams -= 1
            user.mailbox.watchers.remove(watch)
        return response

    def _stands(self, request: web.Request, tenant: Tenant) -> bool:
        try:
            return tenant_of(self._world, request) is tenant
        except Unknown:
            return False
