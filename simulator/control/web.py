"""The administrative interface over HTTP, below `/_sim`.

It has no authentication: keep it on the loopback interface.
"""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from aiohttp import web
from pydantic import TypeAdapter

from simulator.control import office, state_file
from simulator.control.fault_input import KINDS, read_fault
from simulator.control.faults import Fault, FaultRule
from simulator.control.ledger import NOT_PERFORMED, Entry, Ledger
from simulator.control.messages import (
    AddedFault,
    AppChange,
    ClockAdvance,
    StateFile,
    Stats,
    StoredEvents,
    TenantSettings,
    UserSettings,
)
from simulator.control.requests import (
    ADMIN_PREFIX,
    Unknown,
    at_least,
    known_tenant,
    read_object,
    tenant_of,
    user_of,
    wanted,
)
from simulator.entra.apps import ServicePrincipal
from simulator.exchange.event_input import read_changes
from simulator.exchange.meetings import Meetings
from simulator.exchange.user import User
from simulator.graph.openapi import openapi_document
from simulator.tenant import CLOCK_OFFSET_MAX_S, Tenant
from simulator.wire import json_response
from simulator.world import World

LEDGER_PAGE_MAX_ENTRIES = 10_000

_TENANT_SETTINGS = TypeAdapter(TenantSettings)
_USER_SETTINGS = TypeAdapter(UserSettings)
_APP_CHANGE = TypeAdapter(AppChange)
_FAULT = TypeAdapter(Fault)
_STATE_FILE = TypeAdapter(StateFile)
_ADVANCE = TypeAdapter(ClockAdvance)
_FLAGS = {"true": True, "false": False}


class AdminHandler:
    """Answers everything below `/_sim`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def routes(self) -> list[web.RouteDef]:
        """What this handler answers."""
        tenant, user = f"{ADMIN_PREFIX}/tenants/{{tenant}}", f"{ADMIN_PREFIX}/tenants/{{tenant}}/users/{{user}}"
        event, app = f"{user}/events/{{event}}", f"{tenant}/apps/{{app}}"
        return [
            web.get(f"{ADMIN_PREFIX}/health", self.health),
            web.get(f"{ADMIN_PREFIX}/openapi.json", self.openapi),
            web.post(f"{ADMIN_PREFIX}/reset", self.reset_all),
            web.get(f"{ADMIN_PREFIX}/limits", self.get_limits),
            web.put(f"{ADMIN_PREFIX}/limits", self.put_limits),
            web.get(f"{ADMIN_PREFIX}/ledger", self.ledger),
            web.get(f"{ADMIN_PREFIX}/faults", self.list_faults),
            web.post(f"{ADMIN_PREFIX}/faults", self.add_fault),
            web.delete(f"{ADMIN_PREFIX}/faults/{{fault}}", self.remove_fault),
            web.post(f"{ADMIN_PREFIX}/state/save", self.save_state),
            web.post(f"{ADMIN_PREFIX}/state/load", self.load_state),
            web.put(tenant, self.put_tenant),
            web.post(f"{tenant}/reset", self.reset_tenant),
            web.post(f"{tenant}/clock", self.advance_clock),
            web.get(f"{tenant}/limits", self.get_tenant_limits),
            web.put(f"{tenant}/limits", self.put_tenant_limits),
            web.get(f"{tenant}/stats", self.stats),
            web.get(f"{tenant}/users", self.list_users),
            web.put(user, self.put_user),
            web.post(f"{user}/revoke", self.revoke_sessions),
            web.get(app, self.get_app),
            web.patch(app, self.change_app),
            web.delete(app, self.remove_app),
            web.post(f"{app}/revoke", self.revoke_app_tokens),
            web.get(f"{user}/events", self.list_events),
            web.post(f"{user}/events", self.user_creates),
            web.patch(event, self.user_edits),
            web.delete(event, self.user_deletes),
            web.put(f"{event}/calendar", self.user_moves_to_calendar),
        ]

    def _tenant(self, request: web.Request) -> Tenant:
        return tenant_of(self._world, request)

    def _user(self, request: web.Request) -> tuple[Tenant, User]:
        return user_of(self._world, request)

    def _app(self, request: web.Request) -> tuple[Tenant, ServicePrincipal]:
        tenant = self._tenant(request)
        principal = tenant.principals.get(request.match_info["app"].lower())
        if principal is None:
            raise Unknown(f"There is no app {request.match_info['app']} in the tenant.")
        return tenant, principal

    async def health(self, _request: web.Request) -> web.Response:
        """Says that the simulator answers."""
        return json_response({"status": "ok", "tenants": len(self._world.tenants)})

    async def openapi(self, _request: web.Request) -> web.Response:
        """Every Graph endpoint, as an OpenAPI document."""
        return json_response(openapi_document())

    async def reset_all(self, _request: web.Request) -> web.Response:
        """Forgets everything."""
        self._world.forget_all()
        return web.Response(status=204)

    async def save_state(self, request: web.Request) -> web.Response:
        """Writes what there is to a file on this machine; nothing else happens meanwhile."""
        given = _STATE_FILE.validate_python(await read_object(request))
        self._use_file(state_file.save, given)
        return web.Response(status=204)

    async def load_state(self, request: web.Request) -> web.Response:
        """Replaces everything by what a file on this machine holds."""
        given = _STATE_FILE.validate_python(await read_object(request))
        self._use_file(state_file.load, given)
        return web.Response(status=204)

    def _use_file(self, use: Callable[[World, Path], None], given: StateFile) -> None:
        try:
            use(self._world, Path(given.file))
        except OSError as error:
            raise ValueError(f"The file {given.file} cannot be used: {error.strerror}.") from None

    async def reset_tenant(self, request: web.Request) -> web.Response:
        """Forgets one tenant; an unknown one is forgotten already."""
        tenant = self._world.tenant(request.match_info["tenant"])
        if tenant is not None:
            self._world.forget(tenant)
        return web.Response(status=204)

    async def put_tenant(self, request: web.Request) -> web.Response:
        """Adds or changes a tenant."""
        settings = _TENANT_SETTINGS.validate_python(await read_object(request))
        tenant = office.put_tenant(self._world, request.match_info["tenant"], settings)
        return json_response({"id": tenant.id, "domain": tenant.domain, "apps": sorted(tenant.registrations)})

    async def advance_clock(self, request: web.Request) -> web.Response:
        """Puts a tenant's clock forward: windows pass and tokens expire without waiting."""
        advance = _ADVANCE.validate_python(await read_object(request))
        tenant = self._tenant(request)
        if tenant.clock_offset_s + advance.advance_s > CLOCK_OFFSET_MAX_S:
            raise ValueError(f"A tenant's clock can be put forward by at most {CLOCK_OFFSET_MAX_S} s in all.")
        tenant.advance_clock(advance.advance_s)
        return json_response({"now": tenant.now()})

    async def put_user(self, request: web.Request) -> web.Response:
        """Adds or changes a user."""
        settings = _USER_SETTINGS.validate_python(await read_object(request))
        user = office.put_user(self._tenant(request), request.match_info["user"], settings)
        return json_response(office.user_info(user))

    async def revoke_sessions(self, request: web.Request) -> web.Response:
        """The user has to sign in anew: sessions and refresh tokens from before this moment are worth nothing."""
        tenant, user = self._user(request)
        user.account.sessions_valid_from_s = tenant.now()
        return web.Response(status=204)

    async def get_app(self, request: web.Request) -> web.Response:
        """What a tenant grants an app."""
        return json_response(office.app_info(self._app(request)[1]))

    async def change_app(self, request: web.Request) -> web.Response:
        """An administrator changes what a tenant grants an app."""
        change = _APP_CHANGE.validate_python(await read_object(request))
        tenant, principal = self._app(request)
        office.change_app(tenant, principal, change)
        tenant.outbox.look_again()
        return json_response(office.app_info(principal))

    async def remove_app(self, request: web.Request) -> web.Response:
        """An administrator removes an app from the tenant; its registration stays where it was made."""
        tenant, principal = self._app(request)
        del tenant.principals[principal.client_id]
        for subscription in list(tenant.outbox.subscriptions.values()):
            if subscription.client_id == principal.client_id:
                tenant.outbox.removed_by_service(subscription)
        return web.Response(status=204)

    async def revoke_app_tokens(self, request: web.Request) -> web.Response:
        """Tokens of the app from before this moment get a claims challenge, where their client handles one."""
        tenant, principal = self._app(request)
        principal.tokens_valid_from_s = tenant.now()
        return web.Response(status=204)

    async def list_users(self, request: web.Request) -> web.Response:
        """All users of a tenant."""
        users = self._tenant(request).users.values()
        return json_response({"value": [office.user_info(user) for user in users]})

    async def list_events(self, request: web.Request) -> web.Response:
        """Everything in a user's mailbox."""
        mailbox = self._user(request)[1].mailbox
        events = [office.stored_event(event) for event in mailbox.events.values()]
        return json_response(StoredEvents(events, mailbox.created_count, mailbox.deleted_count))

    async def user_creates(self, request: web.Request) -> web.Response:
        """The user makes an appointment in Outlook. The body is an event as Graph takes it."""
        tenant, user = self._user(request)
        changes = read_changes(await read_object(request))
        changes.pop("transactionId", None)
        created = Meetings(tenant, user.mailbox).create(user.mailbox.default_calendar, changes)
        return json_response(office.stored_event(created.event), 201)

    async def user_edits(self, request: web.Request) -> web.Response:
        """The user changes an event in Outlook. The body names properties as Graph does."""
        tenant, user = self._user(request)
        event = user.mailbox.event(request.match_info["event"])
        Meetings(tenant, user.mailbox).change(event, read_changes(await read_object(request)))
        return json_response(office.stored_event(event))

    async def user_moves_to_calendar(self, request: web.Request) -> web.Response:
        """The user drags an event to another calendar of the mailbox: the body names its `id`."""
        tenant, user = self._user(request)
        event = user.mailbox.event(request.match_info["event"])
        calendar = user.mailbox.calendar(str((await read_object(request)).get("id", "")))
        if event.master is not None:
            raise ValueError("An occurrence stays in the calendar of its series.")
        user.mailbox.move(event, calendar, tenant.limits, tenant.now())
        return json_response(office.stored_event(event))

    async def user_deletes(self, request: web.Request) -> web.Response:
        """The user deletes an event in Outlook."""
        tenant, user = self._user(request)
        Meetings(tenant, user.mailbox).remove(user.mailbox.event(request.match_info["event"]))
        return web.Response(status=204)

    async def get_limits(self, _request: web.Request) -> web.Response:
        """The default numbers."""
        return json_response(self._world.limits)

    async def put_limits(self, request: web.Request) -> web.Response:
        """Replaces some of the default numbers."""
        self._world.set_limits(office.merged_limits(self._world.limits, await read_object(request)))
        return json_response(self._world.limits)

    async def get_tenant_limits(self, request: web.Request) -> web.Response:
        """The numbers that hold in a tenant."""
        return json_response(self._tenant(request).limits)

    async def put_tenant_limits(self, request: web.Request) -> web.Response:
        """Replaces some of a tenant's numbers."""
        tenant = self._tenant(request)
        office.set_tenant_limits(self._world, tenant, await read_object(request))
        return json_response(tenant.limits)

    async def list_faults(self, request: web.Request) -> web.Response:
        """All fault rules, or those made for one tenant."""
        name = request.query.get("tenant")
        tenant_id = None if name is None else known_tenant(self._world, name).id
        rules = self._world.faults.rules.values()
        shown = [_shown(rule) for rule in rules if tenant_id is None or rule.fault.tenant == tenant_id]
        return json_response({"value": shown})

    async def add_fault(self, request: web.Request) -> web.Response:
        """Adds a fault rule."""
        fault = read_fault(self._world, _FAULT.validate_python(await read_object(request)))
        return json_response(_shown(self._world.faults.add(fault)), 201)

    async def remove_fault(self, request: web.Request) -> web.Response:
        """Removes a fault rule."""
        if self._world.faults.rules.pop(request.match_info["fault"], None) is None:
            raise Unknown(f"There is no fault {request.match_info['fault']}.")
        return web.Response(status=204)

    async def ledger(self, request: web.Request) -> web.Response:
        """Ledger entries after a sequence number, oldest first, by tenant, user, operation, status, mutation."""
        after = wanted(request, "after", at_least(0)) or 0
        limit = min(wanted(request, "limit", at_least(1)) or LEDGER_PAGE_MAX_ENTRIES, LEDGER_PAGE_MAX_ENTRIES)
        status = wanted(request, "status", int)
        mutation = wanted(request, "mutation", _FLAGS.__getitem__)
        user, operation = request.query.get("user"), wanted(request, "operation", _operation)

        def passes(entry: Entry) -> bool:
            return (
                (user is None or entry.user.lower() == user.lower())
                and (operation is None or entry.operation == operation)
                and (status is None or entry.status == status)
                and (mutation is None or entry.mutation == mutation)
            )

        ledgers = self._ledgers(request.query.get("tenant"))
        found = [_oldest_first(filter(passes, ledger.newest_first(after))) for ledger in ledgers]
        merged = list(heapq.merge(*found))[:limit]
        return json_response(
            {
                "value": [entry._asdict() for entry in merged],
                "fallen_off": sum(ledger.fallen_off for ledger in ledgers),
            }
        )

    def _ledgers(self, name: str | None) -> list[Ledger]:
        if name is not None:
            return [known_tenant(self._world, name).ledger]
        return [self._world.strangers, *(tenant.ledger for tenant in self._world.tenants.values())]

    async def stats(self, request: web.Request) -> web.Response:
        """What happened in a tenant, in numbers."""
        tenant = self._tenant(request)
        counts = tenant.counts
        return json_response(
            Stats(
                requests=counts["requests"],
                batches=counts["batches"],
                mutations=counts["mutations"],
                invitations=counts["invitations"],
                refusals=counts["refusals"],
                tokens_issued=counts["tokens_issued"],
                token_requests=counts["token_requests"],
                token_refusals=counts["token_refusals"],
                operations=_below(counts, "operation."),
                statuses=_below(counts, "status."),
                violations=dict(tenant.violations),
                max_in_flight=tenant.max_in_flight(),
            )
        )


def _operation(name: str) -> str:
    """An operation of the ledger. Raises ValueError."""
    if name not in KINDS and name not in NOT_PERFORMED:
        raise ValueError
    return name


def _below(counts: dict[str, int], prefix: str) -> dict[str, int]:
    return {name.removeprefix(prefix): number for name, number in counts.items() if name.startswith(prefix)}


def _oldest_first(entries: Iterator[Entry]) -> list[Entry]:
    return list(entries)[::-1]


def _shown(rule: FaultRule) -> AddedFault:
    return AddedFault(rule.id, rule.hits, asdict(rule.fault))
