"""What people would use instead, each as a program of its own against the same stub: `python -m bench.rivals NAME …`.

Each makes the same events by the usual means of its library, and prints what that took as one line of JSON. Nothing is
looked up, recorded or told by any of them: they are what the writer would be if it did nothing else.
"""

import asyncio
import resource
import sys
import time
import warnings
from collections.abc import Awaitable, Callable, Coroutine
from datetime import datetime
from typing import Any, Self
from uuid import uuid4

import orjson

from bench.load import DIRECTORY, body, mailbox

Body = dict[str, Any]
AT_A_TIME = 64
TOKEN = {"Authorization": "Bearer stub", "Content-Type": "application/json", "Prefer": 'IdType="ImmutableId"'}


class Measure:
    """Time and this process's own CPU from the first request on."""

    def __enter__(self) -> Self:
        self._cpu, self._wall = _cpu_s(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu_s, self.wall_s = _cpu_s() - self._cpu, time.perf_counter() - self._wall


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _workers(count: int, at_a_time: int, work: Callable[[int], Awaitable[None]]) -> None:
    """Call `work` for each number below `count`, so many at a time."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await work(number)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(at_a_time, count)):
            tasks.create_task(worker())


async def aiohttp_single(url: str, bodies: list[Body], boxes: int) -> Measure:
    """A bare loop of aiohttp: one call for each event."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=AT_A_TIME)
    async with aiohttp.ClientSession(connector=connector, headers=TOKEN) as session:

        async def create(number: int) -> None:
            data = orjson.dumps({**bodies[number], "transactionId": str(uuid4())})
            async with session.post(f"{url}/users/{mailbox(number % boxes)}/events", data=data) as response:
                answer = orjson.loads(await response.read())
                assert response.status == 201, answer

        with Measure() as measure:
            await _workers(len(bodies), AT_A_TIME, create)
    return measure


async def aiohttp_batch(url: str, bodies: list[Body], boxes: int) -> Measure:
    """Bare aiohttp: `$batch` of 20, each of 20 mailboxes."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=AT_A_TIME)
    async with aiohttp.ClientSession(connector=connector, headers=TOKEN) as session:

        async def create(batch: int) -> None:
            requests = [
                {
                    "id": str(number),
                    "method": "POST",
                    "url": f"/users/{mailbox(number % boxes)}/events",
                    "headers": {"Content-Type": "application/json"},
                    "body": {**bodies[number], "transactionId": str(uuid4())},
                }
                for number in range(batch * 20, min(batch * 20 + 20, len(bodies)))
            ]
            async with session.post(f"{url}/$batch", data=orjson.dumps({"requests": requests})) as response:
                answers = orjson.loads(await response.read())["responses"]
                assert all(answer["status"] == 201 for answer in answers), answers

        with Measure() as measure:
            await _workers((len(bodies) + 19) // 20, AT_A_TIME, create)
    return measure


async def httpx_single(url: str, bodies: list[Body], boxes: int) -> Measure:
    """httpx: one call for each event."""
    import httpx

    async with httpx.AsyncClient(headers=TOKEN, trust_env=False, timeout=60) as client:

        async def create(number: int) -> None:
            event = {**bodies[number], "transactionId": str(uuid4())}
            response = await client.post(f"{url}/users/{mailbox(number % boxes)}/events", content=orjson.dumps(event))
            assert response.status_code == 201, response.json()

        with Measure() as measure:
            await _workers(len(bodies), AT_A_TIME, create)
    return measure


def requests_single(url: str, bodies: list[Body], boxes: int) -> Measure:
    """requests: one call for each event, without a session, as business systems' connectors do."""
    import requests

    with Measure() as measure:
        for number in range(len(bodies)):
            event = {**bodies[number], "transactionId": str(uuid4())}
            answer = requests.post(
                f"{url}/users/{mailbox(number % boxes)}/events", json=event, headers=TOKEN, timeout=60
            )
            assert answer.status_code == 201, answer.text
            answer.json()
    return measure


def python_o365(url: str, bodies: list[Body], boxes: int) -> Measure:
    """python-o365 with its default delay between calls, 200 ms, taken away."""
    import msal
    import requests
    from O365 import Account, MSGraphProtocol
    from O365.utils.token import MemoryTokenBackend

    addresses = orjson.loads(sys.argv[2])

    class Protocol(MSGraphProtocol):  # type: ignore[misc]
        _protocol_url = url.removesuffix("v1.0")

    account = Account(
        ("client", "secret"),
        auth_flow_type="credentials",
        tenant_id=DIRECTORY,
        protocol=Protocol(timezone="Europe/Amsterdam"),
        token_backend=MemoryTokenBackend(),
        requests_delay=0,
    )
    trusting = requests.Session()
    trusting.verify = addresses["ca_file"]
    account.con._msal_client = msal.ConfidentialClientApplication(
        "client",
        authority=f"{addresses['login_url']}/{DIRECTORY}",
        client_credential="secret",
        instance_discovery=False,
        token_cache=account.con.token_backend,
        http_client=trusting,
    )
    assert account.authenticate(requested_scopes=["https://graph.microsoft.com/.default"])
    with Measure() as measure:
        for number in range(len(bodies)):
            one = bodies[number]
            event = account.schedule(resource=mailbox(number % boxes)).new_event(subject=one["subject"])
            event.body = one["body"]["content"]
            event.start = datetime.fromisoformat(one["start"]["dateTime"])
            event.end = datetime.fromisoformat(one["end"]["dateTime"])
            event.location = one["location"]["displayName"]
            assert event.save()
    return measure


async def msgraph_sdk(url: str, bodies: list[Body], boxes: int) -> Measure:
    """Microsoft's SDK for Python."""
    warnings.simplefilter("ignore")
    import httpx
    from kiota_abstractions.authentication import AnonymousAuthenticationProvider
    from msgraph import GraphRequestAdapter, GraphServiceClient
    from msgraph.generated.models.body_type import BodyType
    from msgraph.generated.models.date_time_time_zone import DateTimeTimeZone
    from msgraph.generated.models.event import Event
    from msgraph.generated.models.item_body import ItemBody
    from msgraph.generated.models.location import Location
    from msgraph_core import GraphClientFactory

    async with httpx.AsyncHTTPTransport() as transport:
        http = httpx.AsyncClient(transport=transport, trust_env=False, base_url=url, timeout=60, headers=TOKEN)
        adapter = GraphRequestAdapter(
            AnonymousAuthenticationProvider(), GraphClientFactory.create_with_default_middleware(client=http)
        )
        adapter.base_url = url
        graph = GraphServiceClient(request_adapter=adapter)

        async def create(number: int) -> None:
            one = bodies[number]
            made = await graph.users.by_user_id(mailbox(number % boxes)).events.post(
                Event(
                    subject=one["subject"],
                    body=ItemBody(content_type=BodyType.Text, content=one["body"]["content"]),
                    start=DateTimeTimeZone(date_time=one["start"]["dateTime"], time_zone=one["start"]["timeZone"]),
                    end=DateTimeTimeZone(date_time=one["end"]["dateTime"], time_zone=one["end"]["timeZone"]),
                    location=Location(display_name=one["location"]["displayName"]),
                    categories=one["categories"],
                    transaction_id=str(uuid4()),
                )
            )
            assert made is not None
            assert made.id

        await create(0)
        with Measure() as measure:
            await _workers(len(bodies), 16, create)
    return measure


RIVALS: dict[str, Callable[[str, list[Body], int], Measure | Coroutine[Any, Any, Measure]]] = {
    "aiohttp, one call per event": aiohttp_single,
    "aiohttp, $batch of 20": aiohttp_batch,
    "httpx, one call per event": httpx_single,
    "requests, one call per event": requests_single,
    "python-o365": python_o365,
    "msgraph-sdk": msgraph_sdk,
}


def main() -> None:
    name, addresses, count, boxes = sys.argv[1], orjson.loads(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    measured = RIVALS[name](addresses["graph_url"], [body(number) for number in range(count)], boxes)
    if asyncio.iscoroutine(measured):
        import uvloop

        measured = asyncio.Runner(loop_factory=uvloop.new_event_loop).run(measured)
    assert isinstance(measured, Measure)
    print(orjson.dumps({"events": count, "wall_s": measured.wall_s, "cpu_s": measured.cpu_s}).decode())


if __name__ == "__main__":
    main()
