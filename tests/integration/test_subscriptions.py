"""Subscriptions and the webhook, against the simulator and real PostgreSQL: told within a second, polled otherwise."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
import pytest

from calbus.entry import Place
from calbus.graph.client import graph_client
from calbus.graph.subscriptions import create, digest_of, endpoints_below
from calbus.outage import postgres
from calbus.settings import AdminSettings, GraphSettings, PostgresSettings
from calbus.store.pool import connect
from calbus.telemetry import NOTIFICATIONS
from devstack.stack import Stack
from services.puller.notices import Inbox, NoticeTaker
from services.puller.subscription_settings import SubscriptionSettings
from services.puller.subscriptions import Subscriber
from services.puller.webhook import webhook_server
from simulator.client import Fate, Fault, SubscriptionInfo
from tests.support.waiting import until
from tests.support.world import Tenant, World, _free_port, new_world

NEVER = datetime(2999, 1, 1, tzinfo=UTC)
DAY_S = 86_400
QUICK = {
    "puller_subscription_interval_s": 0.05,
    "puller_subscription_follow_s": 0.05,
    "puller_subscription_lease_s": 60.0,
    "puller_subscription_retry_first_s": 0.05,
    "puller_subscription_retry_max_s": 0.2,
    "puller_subscription_reprobe_first_s": 0.2,
    "puller_subscription_reprobe_max_s": 0.4,
}


@pytest.fixture(scope="module")
async def world(stack: Stack) -> AsyncIterator[World]:
    """A world with nothing running in it, for all tests of this module: each keeps to its own tenants."""
    async with new_world(stack) as world:
        yield world


class ToldSettings(PostgresSettings, GraphSettings, SubscriptionSettings, AdminSettings):
    """What this part of the puller needs."""


@dataclass
class Puller:
    """The part of a puller that is told of changes, without the part that reads calendars."""

    world: World
    settings: ToldSettings
    shift: timedelta = timedelta()
    inbox: Inbox = field(default_factory=lambda: Inbox(1_000))
    pool: asyncpg.Pool | None = None
    subscriber: Subscriber | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift

    @property
    def url(self) -> str:
        assert self.settings.puller_public_url is not None
        return self.settings.puller_public_url

    @property
    def notify_url(self) -> str:
        return endpoints_below(self.url).notifications

    @property
    def lifecycle_url(self) -> str:
        return endpoints_below(self.url).lifecycle


@asynccontextmanager
async def told(
    world: World, *, shift: timedelta = timedelta(), listen: bool = True, keep: bool = True, **overrides: Any
):
    """A puller that listens and keeps subscriptions; its clock is ahead by `shift`."""
    port = overrides.pop("puller_webhook_port", None) or _free_port()
    given = {**QUICK, "puller_webhook_port": port, "puller_public_url": f"http://127.0.0.1:{port}/hooks"} | overrides
    settings = world.settings(ToldSettings, **given)
    puller = Puller(world, settings, shift, Inbox(settings.puller_webhook_max_notices))
    database = postgres()
    async with AsyncExitStack() as stack:
        if listen:
            await stack.enter_async_context(webhook_server(settings, puller.inbox))
        puller.pool = await stack.enter_async_context(connect(settings, database))
        client = await stack.enter_async_context(graph_client(settings))
        puller.subscriber = Subscriber(
            puller.pool, client, settings, postgres=database, clock=puller.now, dice=lambda: 0.0
        )
        taker = NoticeTaker(puller.pool, puller.inbox, postgres=database, clock=puller.now)
        puller.tasks = [asyncio.create_task(taker.run())]
        if keep:
            puller.tasks.append(asyncio.create_task(puller.subscriber.run()))
        try:
            yield puller
        finally:
            for task in puller.tasks:
                task.cancel()
            for result in await asyncio.gather(*puller.tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    raise result


@asynccontextmanager
async def mailboxes(world: World, *users: str) -> AsyncIterator[Tenant]:
    """A tenant whose users' calendars are pulled, and are due at no time unless somebody asks for it."""
    tenant = Tenant(world, f"t{uuid4().hex[:10]}", str(uuid4()))
    await tenant.approve(("Calendars.ReadWrite",))
    for user in users:
        await world.admin.put_user(tenant.directory, tenant.mailbox(user))
        await pull(tenant, user)
    try:
        yield tenant
    finally:
        await world.admin.reset(tenant.directory)
        await world.fetch("DELETE FROM calendar_pull WHERE tenant = $1", tenant.id)
        await world.fetch("DELETE FROM mailbox_subscription WHERE directory = $1", tenant.directory)


async def pull(tenant: Tenant, user: str, calendar: str = "") -> None:
    """The user's calendar is one that is pulled."""
    lane = Place(tenant.directory, tenant.mailbox(user)).lane
    await tenant.world.fetch("INSERT INTO pull_lane (lane) VALUES ($1) ON CONFLICT DO NOTHING", lane)
    await tenant.world.fetch(
        "INSERT INTO calendar_pull (tenant, username, calendar, directory, mailbox, lane, publishes, due_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, true, $7)",
        tenant.id,
        user,
        calendar,
        tenant.directory,
        tenant.mailbox(user),
        lane,
        NEVER,
    )


async def settle(tenant: Tenant) -> None:
    """As if all calendars had just been pulled."""
    await tenant.world.fetch("UPDATE calendar_pull SET due_at = $1, asked_at = NULL, full_asked = false", NEVER)


async def due(tenant: Tenant) -> dict[str, bool]:
    """The users whose calendars are due, and whether a full round is."""
    rows = await tenant.world.fetch(
        "SELECT username, full_asked FROM calendar_pull WHERE tenant = $1 AND due_at <= now() AND asked_at <= now()",
        tenant.id,
    )
    return {row["username"]: row["full_asked"] for row in rows}


async def kept(tenant: Tenant, user: str) -> Any:
    """What is known of the user's subscription."""
    rows = await tenant.world.fetch(
        "SELECT * FROM mailbox_subscription WHERE lane = $1", Place(tenant.directory, tenant.mailbox(user)).lane
    )
    return rows[0] if rows else None


async def held(tenant: Tenant) -> list[SubscriptionInfo]:
    """What Microsoft has."""
    found: list[SubscriptionInfo] = await tenant.world.admin.subscriptions(tenant.directory)
    return found


async def subscribed(tenant: Tenant, user: str, *, other_than: str | None = None) -> str:
    """Wait until the user's mailbox has a subscription that calbus knows of; gives its id."""

    async def look() -> str | None:
        row, there = await kept(tenant, user), {one.id for one in await held(tenant)}
        known = row["subscription_id"] if row is not None else None
        return known if known in there and known != other_than and not row["in_doubt"] else None

    found = await until(look, f"a subscription of {user}")
    assert found is not None
    return found


async def operations(tenant: Tenant, operation: str) -> list[int]:
    """The statuses of the calls of this kind so far."""
    return [entry.status for entry in (await tenant.world.admin.ledger(tenant.directory, operation=operation)).value]


def counted(result: str) -> float:
    return NOTIFICATIONS.labels(result)._value.get()


async def post(url: str, body: Any = None, *, data: bytes | None = None, **params: str) -> tuple[int, str, float]:
    """Status, body and seconds of a POST to the webhook."""
    began = time.monotonic()
    async with aiohttp.ClientSession() as session, session.post(url, json=body, data=data, params=params) as answer:
        return answer.status, await answer.text(), time.monotonic() - began


def item(subscription_id: str, state: str = "hush", **more: str) -> dict[str, str]:
    return {"subscriptionId": subscription_id, "clientState": state, "changeType": "updated", **more}


async def know_secret(tenant: Tenant, user: str, state: str = "hush") -> str:
    """Let the test know the secret of the user's subscription, which is stored as a digest only; gives its id."""
    subscription_id = await subscribed(tenant, user)
    await tenant.world.fetch(
        "UPDATE mailbox_subscription SET state_digest = $1 WHERE subscription_id = $2",
        digest_of(state),
        subscription_id,
    )
    return subscription_id


def soon(look: Callable[[], Awaitable[Any]], what: str) -> Awaitable[Any]:
    """What must be so within a second; the machine may be slow, so it is measured by whoever asks for it."""
    return until(look, what)


# -- the webhook ------------------------------------------------------------------------------------------------------


async def test_the_handshake_gives_back_tokens_and_nothing_else(world: World) -> None:
    async with told(world, keep=False) as puller:
        token = "Validation: Testing client application reachability for subscription Request-Id: 1b-2"
        for url in (puller.notify_url, puller.lifecycle_url, puller.notify_url.replace("/hooks", "")):
            params = {"validationToken": token}
            async with aiohttp.ClientSession() as session, session.post(url, params=params) as answer:
                assert (answer.status, await answer.text(), answer.content_type) == (200, token, "text/plain")
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for bad in ("<script>alert(1)</script>", "a&b", 'a"b', "a'b", "x" * 513, "", "a\nb", "é"):
            status, text, _ = await post(puller.notify_url, validationToken=bad)
            assert (status, bad and bad in text) == (400, bad and False)
        async with aiohttp.ClientSession() as session, session.get(puller.notify_url, params=params) as answer:
            assert answer.status == 405


async def test_junk_is_answered_and_counted(world: World) -> None:
    async with told(world, keep=False, puller_webhook_max_body_bytes=20_000) as puller:
        unreadable, too_large, foreign = counted("unreadable"), counted("too_large"), counted("foreign")
        for junk in (b"", b"{", b"null", b"[]", b"\xff\xfe", b'{"value": 1}', b'{"value":[1]}', b"[" * 10_000):
            assert (await post(puller.notify_url, data=junk))[0] == 202
        assert counted("unreadable") == unreadable + 8
        assert (await post(puller.lifecycle_url, data=b"x" * 30_000))[0] == 202

        async def endless() -> AsyncIterator[bytes]:
            for _ in range(100):
                yield b"x" * 1_000

        async with aiohttp.ClientSession() as session, session.post(puller.notify_url, data=endless()) as answer:
            assert answer.status == 202
        assert counted("too_large") == too_large + 2
        assert (await post(puller.notify_url, {"value": [item("nobody's"), item("no-bodys")]}))[0] == 202
        await soon(lambda: _is(counted("foreign") == foreign + 1), "the foreign notice to be counted")


async def test_a_body_that_does_not_come_is_not_waited_for(world: World) -> None:
    async with told(world, keep=False) as puller:
        slow = counted("too_slow")
        reader, writer = await asyncio.open_connection("127.0.0.1", puller.settings.puller_webhook_port)
        began = time.monotonic()
        writer.write(b"POST /graph/notifications HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert b" 202 " in await reader.readline()
        assert time.monotonic() - began < 2
        assert counted("too_slow") == slow + 1
        writer.close()


async def _is(condition: bool) -> bool:
    return condition


# -- from a change to a calendar that is due --------------------------------------------------------------------------


async def test_a_change_makes_the_mailbox_s_calendars_due_within_a_second(world: World) -> None:
    async with mailboxes(world, "anna", "ben") as tenant, told(world) as puller:
        await pull(tenant, "anna", "Travel")
        await subscribed(tenant, "anna")
        await subscribed(tenant, "ben")
        (one, other) = await held(tenant)
        assert (one.notification_url, one.lifecycle_url) == (puller.notify_url, puller.lifecycle_url)
        assert one.change_types == ["created", "deleted", "updated"]
        assert abs(one.expires_at_s - time.time() - 6 * DAY_S) < 60
        assert {one.user, other.user} == {tenant.mailbox("anna"), tenant.mailbox("ben")}
        await settle(tenant)
        await world.admin.set_limits(tenant.directory, notification_latency_ms=0)
        event = {"subject": "Dentist", "start": _at(9), "end": _at(10)}
        began = time.monotonic()
        await world.admin.user_creates(tenant.directory, tenant.mailbox("anna"), event)
        assert await soon(lambda: due(tenant), "the calendar to be due") == {"anna": False}
        assert time.monotonic() - began < 1
        [row] = await world.fetch("SELECT count(*) FROM calendar_pull WHERE due_at <= now() AND tenant = $1", tenant.id)
        assert row[0] == 2
        assert [d.fate for d in (await world.admin.deliveries(tenant.directory, kind="notification")).value] == [
            Fate.DELIVERED
        ]


def _at(hour: int) -> dict[str, str]:
    return {"dateTime": f"2026-12-01T{hour:02}:00:00", "timeZone": "UTC"}


async def test_who_does_not_know_the_secret_is_not_believed(world: World) -> None:
    async with mailboxes(world, "anna") as tenant, told(world) as puller:
        subscription_id = await know_secret(tenant, "anna")
        await settle(tenant)
        wrong = counted("wrong_secret")
        items = [item(subscription_id, "guess"), {"subscriptionId": subscription_id, "lifecycleEvent": "missed"}]
        items.append(item(subscription_id, "x" * 129, lifecycleEvent="subscriptionRemoved"))
        assert (await post(puller.notify_url, {"value": items}))[0] == 202
        await soon(lambda: _is(counted("wrong_secret") >= wrong + 2), "the notices to be counted")
        assert await due(tenant) == {}
        assert (await kept(tenant, "anna"))["subscription_id"] == subscription_id
        # Both kinds are taken at both addresses.
        await post(puller.lifecycle_url, {"value": [item(subscription_id)]})
        assert await soon(lambda: due(tenant), "the calendar to be due") == {"anna": False}


async def test_a_burst_is_answered_while_postgresql_does_not(world: World) -> None:
    async with mailboxes(world, "anna", "ben") as tenant, told(world) as puller:
        ids = [await know_secret(tenant, user) for user in ("anna", "ben")]
        await settle(tenant)
        blocker = await asyncpg.connect(world.dsn)
        async with blocker.transaction():
            await blocker.execute("LOCK calendar_pull, mailbox_subscription IN ACCESS EXCLUSIVE MODE")
            connector = aiohttp.TCPConnector(limit=50)
            took: list[float] = []
            async with aiohttp.ClientSession(connector=connector) as session:

                async def once(number: int) -> None:
                    began = time.monotonic()
                    body = {"value": [item(ids[number % 2]), item(ids[number % 2]), item(f"foreign-{number}")]}
                    async with session.post(puller.notify_url, json=body) as answer:
                        assert answer.status == 202
                    took.append(time.monotonic() - began)

                for start in range(0, 1_000, 50):
                    await asyncio.gather(*(once(number) for number in range(start, start + 50)))
            # Microsoft calls an endpoint slow from three seconds on; a busy machine may stall a moment.
            assert median(took) < 1
            assert max(took) < 3
            assert len(puller.inbox) <= 1_002
        await blocker.close()
        await soon(lambda: _is_due(tenant, {"anna": False, "ben": False}), "both calendars to be due")


async def _is_due(tenant: Tenant, wanted: dict[str, bool]) -> bool:
    return await due(tenant) == wanted


async def test_what_does_not_fit_is_dropped_and_counted(world: World) -> None:
    async with mailboxes(world, "anna") as tenant, told(world, puller_webhook_max_notices=10) as puller:
        subscription_id = await know_secret(tenant, "anna")
        await settle(tenant)
        dropped = counted("dropped")
        puller.tasks[0].cancel()
        await post(puller.notify_url, {"value": [item(f"foreign-{number}") for number in range(100)]})
        await post(puller.lifecycle_url, {"value": [item(subscription_id, lifecycleEvent="missed")]})
        assert (counted("dropped") - dropped, len(puller.inbox)) == (91, 10)
        taker = NoticeTaker(puller.pool, puller.inbox, postgres=postgres())
        puller.tasks.append(asyncio.create_task(taker.run()))
        # What Microsoft says of the subscription itself had its room.
        await soon(lambda: _is_due(tenant, {"anna": True}), "a full round to be due")


# -- the life of a subscription ---------------------------------------------------------------------------------------


async def test_it_is_renewed_well_before_it_ends(world: World) -> None:
    async with mailboxes(world, "anna") as tenant:
        port = _free_port()
        async with told(world, puller_webhook_port=port):
            subscription_id = await subscribed(tenant, "anna")
            row = await kept(tenant, "anna")
            assert row["due_at"] == row["renew_at"] < row["expires_at"] - timedelta(days=1)
        ahead_s = 4 * DAY_S + 3_600
        await world.admin.advance_clock(tenant.directory, ahead_s)
        async with told(world, shift=timedelta(seconds=ahead_s), puller_webhook_port=port) as puller:

            async def renewed() -> bool:
                row = await kept(tenant, "anna")
                return bool(row["expires_at"] > puller.now() + timedelta(days=5.9))

            await until(renewed, "the renewal")
            [one] = await held(tenant)
            assert (one.id, one.expires_at_s > time.time() + ahead_s + 5 * DAY_S) == (subscription_id, True)
            assert await operations(tenant, "create_subscription") == [201]


async def test_one_that_ended_unseen_is_made_anew(world: World) -> None:
    async with mailboxes(world, "anna") as tenant:
        async with told(world):
            first = await subscribed(tenant, "anna")
        ahead_s = 10 * DAY_S
        await world.admin.advance_clock(tenant.directory, ahead_s)
        await settle(tenant)
        async with told(world, shift=timedelta(seconds=ahead_s)):
            await subscribed(tenant, "anna", other_than=first)
            # What changed while there was none is looked for.
            await soon(lambda: _is_due(tenant, {"anna": False}), "the calendar to be due")


async def test_what_microsoft_says_of_the_subscription_is_done(world: World) -> None:
    async with mailboxes(world, "anna", "ben") as tenant, told(world):
        first, bens = await subscribed(tenant, "anna"), await subscribed(tenant, "ben")
        await settle(tenant)

        await world.admin.tell_lifecycle(tenant.directory, first, "missed")
        await soon(lambda: _is_due(tenant, {"anna": True}), "a full round to be due")
        await settle(tenant)

        await world.admin.tell_lifecycle(tenant.directory, first, "reauthorizationRequired")

        async def renewed() -> bool:
            return await operations(tenant, "update_subscription") == [200]

        await until(renewed, "the renewal")
        assert await operations(tenant, "reauthorize_subscription") == []
        await settle(tenant)

        await world.admin.remove_subscription(tenant.directory, first)
        second = await subscribed(tenant, "anna", other_than=first)
        await soon(lambda: _is_due(tenant, {"anna": False}), "the calendar to be due")
        assert {one.id for one in await held(tenant)} == {second, bens}
        assert not any((await tenant.stats()).violations.values())


async def test_a_mailbox_that_is_pulled_no_more_is_unsubscribed(world: World) -> None:
    async with mailboxes(world, "anna", "ben") as tenant, told(world):
        await subscribed(tenant, "anna")
        bens = await subscribed(tenant, "ben")
        await world.fetch("DELETE FROM calendar_pull WHERE username = 'anna'")

        async def gone() -> bool:
            return await kept(tenant, "anna") is None and [one.id for one in await held(tenant)] == [bens]

        await until(gone, "the subscription to go")


async def test_without_a_public_address_nothing_is_subscribed_and_what_was_goes(world: World) -> None:
    async with mailboxes(world, "anna") as tenant:
        async with told(world):
            await subscribed(tenant, "anna")
        async with told(world, puller_public_url=""):

            async def gone() -> bool:
                return await kept(tenant, "anna") is None and await held(tenant) == []

            await until(gone, "the subscription to go")


async def test_another_address_takes_the_place_of_the_first(world: World) -> None:
    async with mailboxes(world, "anna") as tenant:
        async with told(world):
            first = await subscribed(tenant, "anna")
        async with told(world) as puller:
            second = await subscribed(tenant, "anna", other_than=first)
            assert [(one.id, one.notification_url) for one in await held(tenant)] == [(second, puller.notify_url)]


# -- several pullers, kills and refusals ------------------------------------------------------------------------------


async def test_two_pullers_create_each_once(world: World) -> None:
    users = [f"user{number}" for number in range(12)]
    port = _free_port()
    async with mailboxes(world, *users) as tenant:
        url = f"http://127.0.0.1:{port}"
        both = {"puller_public_url": url}
        async with told(world, puller_webhook_port=port, **both), told(world, listen=False, **both):
            for user in users:
                await subscribed(tenant, user)
        assert await operations(tenant, "create_subscription") == [201] * 12
        assert len(await held(tenant)) == 12


async def test_what_a_killed_puller_made_is_found_by_another(world: World) -> None:
    async with mailboxes(world, "anna") as tenant, told(world, keep=False, puller_subscription_lease_s=1) as killed:
        # It was killed after Microsoft had made the subscription, and before it could note it down.
        lane = Place(tenant.directory, tenant.mailbox("anna")).lane
        until_ = datetime.now(UTC) + timedelta(days=6)
        asked = create(tenant.mailbox("anna"), endpoints_below(killed.url), "its secret", until_)
        [made] = await killed.subscriber._client.send(tenant.directory, [asked])
        assert made.status == 201
        await world.fetch(
            "INSERT INTO mailbox_subscription (lane, directory, mailbox, in_doubt, url, state_digest, due_at, lease, "
            "lease_until) VALUES ($1, $2, $3, true, $4, $5, now(), 1, now() + interval '1 second')",
            lane,
            tenant.directory,
            tenant.mailbox("anna"),
            killed.url,
            digest_of("its secret"),
        )
        async with told(world, listen=False, puller_public_url=killed.url):
            assert await subscribed(tenant, "anna") == made.body["id"]
            assert await operations(tenant, "create_subscription") == [201]
            await settle(tenant)
            await post(killed.notify_url, {"value": [item(made.body["id"], "its secret")]})
            await soon(lambda: _is_due(tenant, {"anna": False}), "the calendar to be due")


async def test_one_that_is_known_to_nobody_is_adopted(world: World) -> None:
    async with mailboxes(world, "anna") as tenant:
        port = _free_port()
        async with told(world, puller_webhook_port=port):
            first = await subscribed(tenant, "anna")
        await world.fetch("DELETE FROM mailbox_subscription")
        async with told(world, puller_webhook_port=port):
            assert await subscribed(tenant, "anna") == first
            assert await operations(tenant, "create_subscription") == [201, 409]


async def test_another_deployment_s_is_left_alone(world: World) -> None:
    async with mailboxes(world, "anna") as tenant:
        async with told(world):
            theirs = await subscribed(tenant, "anna")
        await world.fetch("DELETE FROM mailbox_subscription")
        async with told(world):
            await _troubled(tenant, "anna", "subscribed_elsewhere")
            assert [one.id for one in await held(tenant)] == [theirs]
            # Once it is gone there is room for ours.
            await world.admin.remove_subscription(tenant.directory, theirs)
            await subscribed(tenant, "anna")
            assert (await kept(tenant, "anna"))["trouble"] is None


async def _troubled(tenant: Tenant, user: str, trouble: str) -> None:
    async def look() -> bool:
        row = await kept(tenant, user)
        return row is not None and row["trouble"] == trouble

    await until(look, f"the trouble {trouble}")


async def test_a_full_mailbox_is_polled_until_there_is_room(world: World) -> None:
    async with mailboxes(world, "anna") as tenant, told(world, keep=False) as puller:
        await world.admin.set_limits(tenant.directory, subscriptions_max=1)
        asked = create(tenant.mailbox("anna"), endpoints_below(puller.url), "x", datetime.now(UTC) + timedelta(days=1))
        asked.body["changeType"] = "created"
        [made] = await puller.subscriber._client.send(tenant.directory, [asked])
        assert made.status == 201
        puller.tasks.append(asyncio.create_task(puller.subscriber.run()))
        await _troubled(tenant, "anna", "refused")
        await world.admin.remove_subscription(tenant.directory, made.body["id"])
        await subscribed(tenant, "anna")
        assert (await kept(tenant, "anna"))["trouble"] is None


async def test_while_microsoft_does_not_reach_us_one_at_a_time_tries(world: World) -> None:
    users = [f"user{number}" for number in range(10)]
    async with mailboxes(world, *users) as tenant:
        port = _free_port()
        seldom = {"puller_subscription_reprobe_first_s": 1.0, "puller_subscription_reprobe_max_s": 1.0}
        async with told(
            world, listen=False, puller_webhook_port=port, puller_subscription_max_calls=2, **seldom
        ) as one:
            began_s = time.monotonic()
            await until(lambda: _some(tenant, 3), "a few attempts")
            # The two that may be under way when it is found out, and from then on one in a second.
            at_most = 4 + (time.monotonic() - began_s) / 1.0
            assert len(await operations(tenant, "create_subscription")) <= at_most
            async with webhook_server(one.settings, one.inbox):
                for user in users:
                    await subscribed(tenant, user)


async def _some(tenant: Tenant, count: int) -> bool:
    return len(await operations(tenant, "create_subscription")) >= count


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 503, "times": 2},
        {"status": 503, "times": 2, "after_apply": True},
        {"drop": True, "times": 2, "after_apply": True},
        {"status": 429, "retry_after_s": 1, "times": 1},
    ],
)
async def test_faults_pass_and_leave_one_subscription(world: World, fault: dict[str, Any]) -> None:
    async with mailboxes(world, "anna") as tenant:
        await world.admin.add_fault(Fault(tenant=tenant.directory, operation="create_subscription", **fault))
        async with told(world):
            subscription_id = await subscribed(tenant, "anna")
        assert [one.id for one in await held(tenant)] == [subscription_id]
        assert not any((await tenant.stats()).violations.values())


async def test_tenants_hear_of_their_own_mailboxes_only(world: World) -> None:
    async with mailboxes(world, "anna") as one, mailboxes(world, "anna") as other, told(world) as puller:
        secrets = {"one": await know_secret(one, "anna", "one's"), "other": await know_secret(other, "anna", "other's")}
        await settle(one)
        # One tenant's secret is no good for the other's subscription.
        await post(puller.notify_url, {"value": [item(secrets["other"], "one's"), item(secrets["one"], "one's")]})
        await soon(lambda: _is_due(one, {"anna": False}), "the calendar to be due")
        assert await due(other) == {}


async def test_an_endpoint_that_is_taken_for_too_slow_costs_time_and_no_change(world: World) -> None:
    async with mailboxes(world, "anna") as tenant, told(world) as puller:
        await subscribed(tenant, "anna")
        await settle(tenant)
        # As if every answer took too long: from the first on Microsoft drops what it would tell, for ten minutes.
        await world.admin.set_limits(tenant.directory, notification_judged_min=1, notification_drop_ms=0)
        await tenant.appointment("anna", "Told")
        await soon(lambda: told_fates(tenant, Fate.DELIVERED), "the first notification")
        await settle(tenant)
        await tenant.appointment("anna", "Dropped", day=2)
        await soon(lambda: told_fates(tenant, Fate.DROPPED), "the second to be dropped")
        await world.admin.set_limits(tenant.directory, notification_drop_ms=10_000)
        await world.admin.advance_clock(tenant.directory, 601)
        # What was dropped is not told again; that something was is.
        await soon(lambda: is_due_in_full(tenant, "anna"), "a full round to be due")
        assert len(puller.inbox) == 0
        await settle(tenant)
        await tenant.appointment("anna", "Told again", day=3)
        await soon(lambda: is_due(tenant, "anna"), "notifications to come as before")


async def told_fates(tenant: Tenant, fate: Fate) -> bool:
    page = await tenant.world.admin.deliveries(tenant.directory)
    return any(one.fate is fate for one in page.value)


async def is_due(tenant: Tenant, user: str) -> bool:
    return user in await due(tenant)


async def is_due_in_full(tenant: Tenant, user: str) -> bool:
    return (await due(tenant)).get(user, False)


async def test_a_subscription_that_two_names_of_a_directory_share_stays_with_the_one_that_stays(world: World) -> None:
    async with mailboxes(world, "anna") as tenant, told(world):
        shared = await subscribed(tenant, "anna")
        other = Tenant(world, f"{tenant.id}x", tenant.domain)
        other.domain = tenant.domain
        await pull(other, "anna")
        assert await subscribed_as(tenant, other, "anna") == shared
        await world.fetch("DELETE FROM calendar_pull WHERE tenant = $1", other.id)

        async def forgotten() -> bool:
            return await kept(other, "anna") is None

        await soon(forgotten, "the other to be let go")
        assert [one.id for one in await held(tenant)] == [shared]
        assert (await kept(tenant, "anna"))["subscription_id"] == shared


async def subscribed_as(tenant: Tenant, other: Tenant, user: str) -> str:
    """Wait until the mailbox under its directory's other name has a subscription; gives its id."""

    async def look() -> str | None:
        row, there = await kept(other, user), {one.id for one in await held(tenant)}
        known = row["subscription_id"] if row is not None else None
        return known if known in there and not row["in_doubt"] else None

    found = await until(look, "a subscription under the other name")
    assert found is not None
    return found
