"""One simulator for the session, and for each test a tenant of its own in it."""

import io
import ssl
import urllib.parse
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import pytest
import trustme
from yarl import URL

from simulator.client import App, SimulatorAdmin
from simulator.server import Addresses, Settings, serve
from tests.support.browser import Browser

CLIENT_ID = "7d1a5f0e-3f7c-4f5e-9a57-0d0e6f2c1b11"
SECRET = "the app's secret"
GRAPH_SCOPE = "https://graph.microsoft.com/.default"


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Any
    body: Any

    @property
    def code(self) -> str:
        return self.body["error"]["code"]

    @property
    def message(self) -> str:
        return self.body["error"]["message"]


class Lab:
    """A tenant with one consented app and one mailbox, and ways to call Graph for it."""

    def __init__(self, addresses: Addresses, admin: SimulatorAdmin, http: aiohttp.ClientSession) -> None:
        self.addresses = addresses
        self.admin = admin
        self.http = http
        self.tenant_id = str(uuid.uuid4())
        self.user = "dana@contoso.example"
        self.user_id = ""
        self.client_id = CLIENT_ID
        self.secret = SECRET
        self.token = ""

    async def token_reply(self, **form: str) -> Reply:
        fields = {
            "client_id": CLIENT_ID,
            "client_secret": SECRET,
            "grant_type": "client_credentials",
            "scope": GRAPH_SCOPE,
            **form,
        }
        url = f"{self.addresses.http_url}/{self.tenant_id}/oauth2/v2.0/token"
        async with self.http.post(url, data={name: value for name, value in fields.items() if value}) as response:
            return Reply(response.status, response.headers, await response.json())

    async def sign_in(self, **form: str) -> str:
        reply = await self.token_reply(**form)
        assert reply.status == 200, reply.body
        return reply.body["access_token"]

    async def graph(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
        token: str | None = None,
    ) -> Reply:
        """Calls Graph; `path` is already percent-encoded, `query` is not, an absolute `path` is taken as it is."""
        sent = {"Authorization": f"Bearer {self.token if token is None else token}"}
        data = raw
        if body is not None:
            data = orjson.dumps(body)
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        base = path if "://" in path else f"{self.addresses.http_url}/v1.0{path}"
        if query:
            base += "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
        stream = None if data is None else io.BytesIO(data)
        async with self.http.request(method, URL(base, encoded=True), data=stream, headers=sent) as response:
            content = await response.read()
            return Reply(response.status, response.headers, orjson.loads(content) if content else None)

    @property
    def events_path(self) -> str:
        return f"/users/{self.user}/events"

    def event_path(self, event_id: str) -> str:
        return f"{self.events_path}/{urllib.parse.quote(event_id, safe='')}"

    async def create(self, event: dict[str, Any] | None = None, **headers: str) -> dict[str, Any]:
        reply = await self.graph("POST", self.events_path, event or an_event(), headers=headers)
        assert reply.status == 201, reply.body
        return reply.body

    async def batch(self, *requests: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The answers by id."""
        reply = await self.graph("POST", "/$batch", {"requests": list(requests)})
        assert reply.status == 200, reply.body
        return {answer["id"]: answer for answer in reply.body["responses"]}

    def creating(self, item_id: str, event: dict[str, Any] | None = None, **members: Any) -> dict[str, Any]:
        """An item of a batch that creates an event."""
        return {
            "id": item_id,
            "method": "POST",
            "url": self.events_path,
            "headers": {"Content-Type": "application/json"},
            "body": event or an_event(),
            **members,
        }


def at(local: str, zone: str = "Europe/Paris") -> dict[str, str]:
    return {"dateTime": local, "timeZone": zone}


def an_event(**changes: Any) -> dict[str, Any]:
    event = {"subject": "Leave", "start": at("2026-12-01T09:00:00"), "end": at("2026-12-01T10:00:00")}
    return {**event, **changes}


@pytest.fixture(scope="session")
def endpoint_authority() -> trustme.CA:
    """A certificate authority that the simulator trusts, beside its own."""
    return trustme.CA()


@pytest.fixture(scope="session")
async def addresses(
    endpoint_authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Addresses]:
    trusted = tmp_path_factory.mktemp("authority") / "ca.pem"
    endpoint_authority.cert_pem.write_to_path(trusted)
    async with serve(Settings(trusted_ca_files=(trusted,))) as addresses:
        yield addresses


@pytest.fixture(scope="session")
async def http(addresses: Addresses) -> AsyncIterator[aiohttp.ClientSession]:
    context = ssl.create_default_context(cafile=addresses.ca_file)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        yield session


@pytest.fixture
async def lab(addresses: Addresses, http: aiohttp.ClientSession) -> AsyncIterator[Lab]:
    lab = Lab(addresses, SimulatorAdmin(addresses.http_url, http), http)
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(CLIENT_ID, SECRET, ("Calendars.ReadWrite",))])
    lab.user_id = (await lab.admin.put_user(lab.tenant_id, lab.user, display_name="Dana Swope")).id
    lab.token = await lab.sign_in()
    yield lab
    await lab.admin.reset(lab.tenant_id)


@pytest.fixture
async def open_browser(addresses: Addresses) -> AsyncIterator[Callable[[], Browser]]:
    """Opens browsers, each of another person."""
    opened: list[aiohttp.ClientSession] = []

    def make() -> Browser:
        context = ssl.create_default_context(cafile=addresses.ca_file)
        opened.append(aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)))
        return Browser(opened[-1], addresses.login_url)

    yield make
    for session in opened:
        await session.close()


@pytest.fixture
def delegated(lab: Lab, open_browser: Callable[[], Browser]) -> Callable[..., Awaitable[str]]:
    """Gets tokens for the lab's user with the scopes it is called with, through the sign-in pages."""
    redirect_uri = "https://app.example/signed-in"

    async def get(*scopes: str, claims: str = "", user: str | None = None) -> str:
        app = App(CLIENT_ID, SECRET, ("Calendars.ReadWrite",), redirect_uris=(redirect_uri,))
        await lab.admin.put_tenant(lab.tenant_id, apps=[app])
        asked = {"client_id": CLIENT_ID, "response_type": "code", "redirect_uri": redirect_uri}
        query = urllib.parse.urlencode({**asked, "scope": " ".join(("openid", *scopes))})
        browser = open_browser()
        page = await browser.go(f"{lab.addresses.login_url}/{lab.tenant_id}/oauth2/v2.0/authorize?{query}")
        page = await browser.press(page, "Sign in", username=user or lab.user)
        callback = await browser.press(page, "Accept")
        form = {"code": callback["code"], "redirect_uri": redirect_uri, "claims": claims, "scope": ""}
        return await lab.sign_in(grant_type="authorization_code", **form)

    return get


@pytest.fixture
def make_event():
    """Builds an event body; keyword arguments replace properties."""
    return an_event


@pytest.fixture
def moment():
    """Builds a dateTimeTimeZone."""
    return at
