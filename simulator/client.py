"""A typed client of the administrative interface, for tests, demonstrations and benchmarks.

It only sends and reads; what the calls mean is documented at the messages they carry.
"""

import urllib.parse
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import aiohttp
import orjson
from pydantic import TypeAdapter
from yarl import URL

from simulator.control.faults import Fault
from simulator.control.ledger import Entry
from simulator.control.messages import (
    AddedFault,
    App,
    AppChange,
    AppInfo,
    CalendarShare,
    GroupInfo,
    GroupSettings,
    Invitation,
    LedgerPage,
    Secret,
    StateFile,
    Stats,
    StoredEvent,
    StoredEvents,
    TenantSettings,
    UserInfo,
    UserSettings,
)
from simulator.entra.accounts import SignIn
from simulator.exchange.mailbox import MailboxKind
from simulator.limits import Limits
from simulator.notifications.deliveries import Delivery, Fate, Told
from simulator.notifications.messages import DeliveryPage, LifecycleEvent, SubscriptionInfo
from simulator.notifications.switches import Switches

__all__ = [
    "AddedFault",
    "AdminRefused",
    "App",
    "AppInfo",
    "Delivery",
    "DeliveryPage",
    "Entry",
    "Fate",
    "Fault",
    "GroupInfo",
    "LedgerPage",
    "Limits",
    "MailboxKind",
    "Secret",
    "SignIn",
    "SimulatorAdmin",
    "Stats",
    "StoredEvent",
    "StoredEvents",
    "SubscriptionInfo",
    "Switches",
    "Told",
    "UserInfo",
]

_STATS = TypeAdapter(Stats)
_APP = TypeAdapter(AppInfo)
_USER = TypeAdapter(UserInfo)
_USERS = TypeAdapter(list[UserInfo])
_GROUP = TypeAdapter(GroupInfo)
_GROUPS = TypeAdapter(list[GroupInfo])
_EVENT = TypeAdapter(StoredEvent)
_EVENTS = TypeAdapter(StoredEvents)
_LIMITS = TypeAdapter(Limits)
_LEDGER = TypeAdapter(LedgerPage)
_FAULT = TypeAdapter(AddedFault)
_FAULTS = TypeAdapter(list[AddedFault])
_SUBSCRIPTIONS = TypeAdapter(list[SubscriptionInfo])
_DELIVERIES = TypeAdapter(DeliveryPage)
_SWITCHES = TypeAdapter(Switches)
_TIMEOUT = aiohttp.ClientTimeout(total=30)


class AdminRefused(Exception):  # noqa: N818 - the simulator's refusal of an administrative call
    """The simulator did not do it; the sentence says why."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def _path(*parts: str) -> str:
    return "/_sim/" + "/".join(urllib.parse.quote(part, safe="") for part in parts)


class SimulatorAdmin:
    """Calls the administrative interface at `http_url`, the plain address of the ready line.

    Every method raises AdminRefused if the simulator refuses, and aiohttp.ClientError if it cannot be reached.
    """

    def __init__(self, http_url: str, session: aiohttp.ClientSession) -> None:
        self._http_url = http_url
        self._session = session

    @classmethod
    @asynccontextmanager
    async def connect(cls, http_url: str) -> AsyncIterator["SimulatorAdmin"]:
        """A client with a session of its own, closed with the context."""
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as session:
            yield cls(http_url, session)

    async def _call(self, method: str, path: str, body: Any = None, params: dict[str, str] | None = None) -> Any:
        data = None if body is None else orjson.dumps(body)
        headers = {"Content-Type": "application/json"}
        # The path is percent-encoded already; aiohttp would undo the encoding of a slash in an id.
        query = f"?{urllib.parse.urlencode(params)}" if params else ""
        url = URL(f"{self._http_url}{path}{query}", encoded=True)
        async with self._session.request(method, url, data=data, headers=headers) as response:
            raw = await response.read()
            document = orjson.loads(raw) if raw else None
            if response.status >= 400:
                sentence = document.get("error", "") if isinstance(document, dict) else ""
                raise AdminRefused(response.status, str(sentence))
            return document

    async def health(self) -> None:
        """Returns if the simulator answers."""
        await self._call("GET", _path("health"))

    async def reset(self, tenant_id: str | None = None) -> None:
        """Forgets one tenant with its users, events, faults, ledger and counts; without an id, everything."""
        await self._call("POST", _path("reset") if tenant_id is None else _path("tenants", tenant_id, "reset"))

    async def put_tenant(
        self,
        tenant_id: str,
        *,
        apps: Iterable[App] = (),
        domain: str | None = None,
        users_may_consent: bool = True,
        approval_by_request: bool = False,
    ) -> None:
        """Adds or changes a tenant; the apps replace those made in it, its users stay."""
        settings = TenantSettings(tuple(apps), domain, users_may_consent, approval_by_request)
        await self._call("PUT", _path("tenants", tenant_id), settings)

    async def app(self, tenant_id: str, client_id: str) -> AppInfo:
        """What the tenant grants the app. Refused (404) if the tenant does not know it."""
        return _APP.validate_python(await self._call("GET", _path("tenants", tenant_id, "apps", client_id)))

    async def change_app(self, tenant_id: str, client_id: str, **changes: Any) -> AppInfo:
        """An administrator changes what the tenant grants the app: the fields of AppChange."""
        path = _path("tenants", tenant_id, "apps", client_id)
        return _APP.validate_python(await self._call("PATCH", path, AppChange(**changes)))

    async def remove_app(self, tenant_id: str, client_id: str) -> None:
        """An administrator removes the app from the tenant, with every consent it had there."""
        await self._call("DELETE", _path("tenants", tenant_id, "apps", client_id))

    async def revoke_app_tokens(self, tenant_id: str, client_id: str) -> None:
        """Every token of the app is answered with a claims challenge, if its client handles them."""
        await self._call("POST", _path("tenants", tenant_id, "apps", client_id, "revoke"))

    async def revoke_sessions(self, tenant_id: str, user: str) -> None:
        """The user has to sign in anew: sessions and refresh tokens end, tokens as `revoke_app_tokens` says."""
        await self._call("POST", _path("tenants", tenant_id, "users", user, "revoke"))

    async def put_user(
        self,
        tenant_id: str,
        upn: str,
        *,
        user_id: str | None = None,
        display_name: str | None = None,
        mailbox: MailboxKind | str = MailboxKind.OK,
        time_zone: str = "UTC",
        administrator: bool = False,
        password: str | None = None,
        sign_in: SignIn | str = SignIn.OK,
    ) -> UserInfo:
        """Adds or changes a user; the content of the mailbox stays."""
        settings = UserSettings(
            user_id, display_name, MailboxKind(mailbox), time_zone, administrator, password, SignIn(sign_in)
        )
        return _USER.validate_python(await self._call("PUT", _path("tenants", tenant_id, "users", upn), settings))

    async def users(self, tenant_id: str) -> list[UserInfo]:
        """All users of a tenant."""
        return _USERS.validate_python((await self._call("GET", _path("tenants", tenant_id, "users")))["value"])

    async def advance_clock(self, tenant_id: str, seconds: float) -> None:
        """Puts the tenant's clock forward, so that windows pass and tokens expire without waiting."""
        await self._call("POST", _path("tenants", tenant_id, "clock"), {"advance_s": seconds})

    async def mailbox(self, tenant_id: str, user: str) -> StoredEvents:
        """A mailbox's content with its counts. `user` is an object id or a user principal name."""
        path = _path("tenants", tenant_id, "users", user, "events")
        return _EVENTS.validate_python(await self._call("GET", path))

    async def events(self, tenant_id: str, user: str) -> list[StoredEvent]:
        """The events of a mailbox in the order they were created."""
        return (await self.mailbox(tenant_id, user)).value

    async def user_creates(self, tenant_id: str, user: str, event: dict[str, Any]) -> StoredEvent:
        """The user makes an appointment in Outlook; `event` is a body as Graph takes it."""
        path = _path("tenants", tenant_id, "users", user, "events")
        return _EVENT.validate_python(await self._call("POST", path, event))

    async def user_edits(self, tenant_id: str, user: str, event_id: str, changes: dict[str, Any]) -> StoredEvent:
        """The user changes an event in Outlook, which changes its etag; `changes` as Graph takes them."""
        path = _path("tenants", tenant_id, "users", user, "events", event_id)
        return _EVENT.validate_python(await self._call("PATCH", path, changes))

    async def user_moves(
        self, tenant_id: str, user: str, event_id: str, start: datetime, end: datetime, time_zone: str
    ) -> StoredEvent:
        """The user drags an event to another time; `start` and `end` are naive local times in the zone."""
        times = {
            name: {"dateTime": moment.replace(tzinfo=None).isoformat(), "timeZone": time_zone}
            for name, moment in (("start", start), ("end", end))
        }
        return await self.user_edits(tenant_id, user, event_id, times)

    async def user_moves_to_calendar(self, tenant_id: str, user: str, event_id: str, calendar_id: str) -> StoredEvent:
        """The user drags an event to another calendar of the same mailbox."""
        path = _path("tenants", tenant_id, "users", user, "events", event_id, "calendar")
        return _EVENT.validate_python(await self._call("PUT", path, {"id": calendar_id}))

    async def user_deletes(self, tenant_id: str, user: str, event_id: str) -> None:
        """The user deletes an event in Outlook."""
        await self._call("DELETE", _path("tenants", tenant_id, "users", user, "events", event_id))

    async def put_group(
        self,
        tenant_id: str,
        name: str,
        *,
        members: Iterable[str] = (),
        display_name: str | None = None,
        mail: str | None = None,
        security_enabled: bool = True,
    ) -> GroupInfo:
        """Adds or replaces a group. `name` is a GUID or anything; members are users, and groups by this name or id."""
        settings = GroupSettings(display_name, mail, security_enabled, tuple(members))
        return _GROUP.validate_python(await self._call("PUT", _path("tenants", tenant_id, "groups", name), settings))

    async def groups(self, tenant_id: str) -> list[GroupInfo]:
        """All groups of a tenant."""
        return _GROUPS.validate_python((await self._call("GET", _path("tenants", tenant_id, "groups")))["value"])

    async def remove_group(self, tenant_id: str, name: str) -> None:
        """Removes a group, also from other groups."""
        await self._call("DELETE", _path("tenants", tenant_id, "groups", name))

    async def share_calendar(
        self, tenant_id: str, user: str, role: str, address: str = "", *, name: str = "", calendar_id: str | None = None
    ) -> None:
        """Gives a person, or without an address the organisation, a role on a user's calendar."""
        path = _path("tenants", tenant_id, "users", user, "calendar_permissions")
        await self._call("PUT", path, CalendarShare(role, address, name, calendar_id))

    async def invite(
        self, tenant_id: str, user: str, organizer: str, event: dict[str, Any], *, organizer_name: str = ""
    ) -> StoredEvent:
        """The user gets an invitation from the address `organizer`; `event` is a body as Graph takes it."""
        path = _path("tenants", tenant_id, "users", user, "invitations")
        return _EVENT.validate_python(await self._call("POST", path, Invitation(organizer, event, organizer_name)))

    async def save_state(self, file: Path) -> None:
        """Writes tenants, apps, users, mailboxes, groups and limits to a file on the simulator's machine."""
        await self._call("POST", _path("state", "save"), StateFile(str(file)))

    async def load_state(self, file: Path) -> None:
        """Replaces everything by what a file on the simulator's machine holds."""
        await self._call("POST", _path("state", "load"), StateFile(str(file)))

    async def forget_sync_states(self, tenant_id: str, user: str) -> None:
        """Every delta round of the mailbox is answered with 410 SyncStateNotFound until it begins anew."""
        await self._call("POST", _path("tenants", tenant_id, "users", user, "forget_sync_states"))

    async def add_fault(self, fault: Fault) -> str:
        """Adds a fault rule and returns its id."""
        return _FAULT.validate_python(await self._call("POST", _path("faults"), asdict(fault))).id

    async def faults(self, tenant_id: str | None = None) -> list[AddedFault]:
        """The fault rules, or those made for one tenant."""
        params = {} if tenant_id is None else {"tenant": tenant_id}
        return _FAULTS.validate_python((await self._call("GET", _path("faults"), params=params))["value"])

    async def remove_fault(self, fault_id: str) -> None:
        """Removes a fault rule."""
        await self._call("DELETE", _path("faults", fault_id))

    async def limits(self, tenant_id: str | None = None) -> Limits:
        """The default numbers, or those that hold in a tenant."""
        path = _path("limits") if tenant_id is None else _path("tenants", tenant_id, "limits")
        return _LIMITS.validate_python(await self._call("GET", path))

    async def set_limits(self, tenant_id: str | None = None, **numbers: float | None) -> Limits:
        """Replaces some numbers (fields of Limits) for one tenant, or the defaults; returns those that hold."""
        path = _path("limits") if tenant_id is None else _path("tenants", tenant_id, "limits")
        return _LIMITS.validate_python(await self._call("PUT", path, numbers))

    async def ledger(
        self,
        tenant_id: str | None = None,
        *,
        user: str | None = None,
        operation: str | None = None,
        status: int | None = None,
        mutation: bool | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> LedgerPage:
        """Ledger entries above the sequence number `after`, oldest first, at most 10,000 at a time."""
        wanted = {
            "tenant": tenant_id, "user": user, "operation": operation, "status": status, "after": after,
            "limit": limit, "mutation": None if mutation is None else str(mutation).lower(),
        }  # fmt: skip
        params = {name: str(value) for name, value in wanted.items() if value is not None}
        return _LEDGER.validate_python(await self._call("GET", _path("ledger"), params=params))

    async def stats(self, tenant_id: str) -> Stats:
        """What happened in a tenant, in numbers."""
        return _STATS.validate_python(await self._call("GET", _path("tenants", tenant_id, "stats")))

    async def subscriptions(self, tenant_id: str) -> list[SubscriptionInfo]:
        """The subscriptions of every application that have not ended."""
        found = await self._call("GET", _path("tenants", tenant_id, "subscriptions"))
        return _SUBSCRIPTIONS.validate_python(found["value"])

    async def remove_subscription(self, tenant_id: str, subscription_id: str) -> None:
        """The service ends a subscription and sends `subscriptionRemoved`."""
        await self._call("DELETE", _path("tenants", tenant_id, "subscriptions", subscription_id))

    async def tell_lifecycle(
        self,
        tenant_id: str,
        subscription_id: str,
        event: Literal["reauthorizationRequired", "subscriptionRemoved", "missed"],
    ) -> None:
        """Sends a lifecycle notification; `subscriptionRemoved` also ends the subscription."""
        path = _path("tenants", tenant_id, "subscriptions", subscription_id, "lifecycle")
        await self._call("POST", path, LifecycleEvent(event))

    async def deliveries(
        self,
        tenant_id: str,
        *,
        subscription: str | None = None,
        kind: str | None = None,
        fate: Fate | str | None = None,
        after: int = 0,
        limit: int | None = None,
        wait_s: float | None = None,
    ) -> DeliveryPage:
        """Entries of the ledger of notifications above `after`, oldest first, at most 1,000 at a time.

        With `wait_s` it waits up to that long, at most a minute of real time, for the first entry there is.
        """
        wanted = {
            "subscription": subscription, "kind": kind, "fate": fate, "after": after, "limit": limit, "wait_s": wait_s,
        }  # fmt: skip
        params = {name: str(value) for name, value in wanted.items() if value is not None}
        return _DELIVERIES.validate_python(
            await self._call("GET", _path("tenants", tenant_id, "deliveries"), params=params)
        )

    async def switch_notifications(self, tenant_id: str, switches: Switches) -> Switches:
        """Switches faults of the notification service on and off."""
        path = _path("tenants", tenant_id, "notification-switches")
        return _SWITCHES.validate_python(await self._call("PUT", path, switches))
