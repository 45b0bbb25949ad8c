"""The way of every Graph call, alone or in a batch: route, limits, latency, faults, permission, operation, ledger."""

import asyncio
import time
from dataclasses import dataclass

from simulator.control.faults import Fault, Target
from simulator.control.ledger import NO_ROUTE, Entry
from simulator.errors import GraphError, throttled
from simulator.exchange.user import User
from simulator.graph.application_budget import application_throttled
from simulator.graph.call import Answer, Call, waits_for
from simulator.graph.directory_budget import directory_throttled
from simulator.graph.directory_units import directory_units
from simulator.graph.permission import NOBODY, permit
from simulator.graph.routes import find_route
from simulator.graph.task import Effect, Route, Task
from simulator.graph.told import INSIDE_RETRY_AFTER, Place
from simulator.limits import Limits
from simulator.world import World

# Turns of the loop that a call lasts at least. In one of them the server reads what has arrived, in the next it begins
# to answer it.
_TURNS_MIN = 3


@dataclass(slots=True)
class Outcome:
    """What became of a call: its answer and what the ledger says about it."""

    answer: Answer
    effect: Effect
    code: str | None = None
    in_flight: int = 1


@dataclass(slots=True)
class Gateway:
    """Performs calls on a world. Every call leaves exactly one ledger entry, with the rules it broke."""

    world: World

    async def perform(self, call: Call) -> Answer:
        """The answer to an authenticated call. Never raises."""
        identity = call.identity
        # An address that leads nowhere is a request too.
        wait_s = self.world.applications.count(time.monotonic(), identity.client_id, identity.tenant.limits)
        try:
            route = find_route(call.method, call.path, identity.me)
        except GraphError as error:
            answer = self._refusal(call, error)
            record_refusal(call, NO_ROUTE, answer, error.code)
            return answer
        user = identity.tenant.user(route.user)
        place = _place(call, route, user)
        if identity.tenant.told.inside(place, identity.tenant.now()):
            call.breaks(INSIDE_RETRY_AFTER)
        if wait_s is not None:
            outcome = self._throttle(call, application_throttled(identity.client_id, wait_s), "over_application")
        elif route.operation.directory:
            outcome = await self._run_within_directory_limit(call, route, user)
        elif user is None:
            outcome = await self._run(call, route, user)
        else:
            outcome = await self._run_within_limits(call, route, user)
        self._record(call, route, user, outcome)
        outcome.answer.waits = waits_for(place, outcome.answer)
        return outcome.answer

    async def _run_within_directory_limit(self, call: Call, route: Route, user: User | None) -> Outcome:
        tenant, client_id = call.identity.tenant, call.identity.client_id
        budget = tenant.directory_budget(client_id)
        now = tenant.now()
        units = directory_units(route.operation, call.query)
        spent = budget.spend(now, units, tenant.limits, len(tenant.users))
        if spent.retry_after_s is None:
            outcome = await self._run(call, route, user)
        else:
            error = directory_throttled(client_id, tenant.id, spent.retry_after_s)
            outcome = self._throttle(call, error, "over_directory")
        outcome.answer.headers.update(spent.headers())
        return outcome

    def _throttle(self, call: Call, error: GraphError, violation: str) -> Outcome:
        """The 429 of one of the service's own limits, counted."""
        tenant = call.identity.tenant
        call.breaks(violation)
        tenant.counts["refusals"] += 1
        return Outcome(self._refusal(call, error), Effect(), error.code)

    async def _run_within_limits(self, call: Call, route: Route, user: User) -> Outcome:
        tenant = call.identity.tenant
        budget = tenant.budget(call.identity.client_id, user)
        now = tenant.now()
        in_flight = budget.in_flight + 1
        excess = budget.enter(now, call.upload_bytes if route.operation.writes else 0, tenant.limits)
        if excess is not None:
            outcome = self._throttle(call, throttled(excess.limit, excess.retry_after_s), excess.violation)
            outcome.in_flight = in_flight
            return outcome
        try:
            outcome = await self._run(call, route, user)
        finally:
            budget.leave()
        outcome.in_flight = in_flight
        return outcome

    async def _run(self, call: Call, route: Route, user: User | None) -> Outcome:
        await self._take_time(call.identity.tenant.limits)
        fault = self._fault(call, route, user)
        if fault is None:
            return await self._apply(call, route, user)
        applied = await self._apply(call, route, user) if fault.after_apply else None
        if fault.delay_ms:
            await asyncio.sleep(fault.delay_ms / 1000)
        if not fault.answers:
            return applied or await self._apply(call, route, user)
        effect = applied.effect if applied else Effect()
        return Outcome(fault_answer(fault, call.request_id, call.client_request_id), effect, fault.code)

    async def _take_time(self, limits: Limits) -> None:
        """A call always holds its place while others are read: else those that come together would look apart."""
        for _ in range(_TURNS_MIN):
            await asyncio.sleep(0)
        if latency_s := self._latency_s(limits):
            await asyncio.sleep(latency_s)

    def _latency_s(self, limits: Limits) -> float:
        if not limits.latency_jitter_ms:
            return limits.latency_ms / 1000
        jitter_ms = self.world.chance.uniform(-limits.latency_jitter_ms, limits.latency_jitter_ms)
        return max(0.0, limits.latency_ms + jitter_ms) / 1000

    async def _apply(self, call: Call, route: Route, user: User | None) -> Outcome:
        effect = Effect()
        try:
            permitted = NOBODY if route.operation.unaddressed else permit(call.identity, route, user)
            task = Task(
                call,
                permitted.user,
                route.in_calendar,
                route.calendar_id,
                route.event_id,
                effect,
                route.target,
                permitted.basic,
            )
            answer = route.operation.perform(task)
            return Outcome(answer if isinstance(answer, Answer) else await answer, effect)
        except GraphError as error:
            return Outcome(self._refusal(call, error), effect, error.code)

    @staticmethod
    def _refusal(call: Call, error: GraphError) -> Answer:
        return Answer(error.status, error.body(call.request_id, call.client_request_id), error.headers)

    def _fault(self, call: Call, route: Route, user: User | None) -> Fault | None:
        if not self.world.faults.rules:
            return None
        names = (user.id.lower(), user.upn.lower()) if user else (route.user.lower(),)
        identity = call.identity
        return self.world.faults.strike(
            Target(identity.tenant.id, names, identity.client_id, call.method, route.operation.name)
        )

    def _record(self, call: Call, route: Route, user: User | None, outcome: Outcome) -> None:
        tenant, answer, effect = call.identity.tenant, outcome.answer, outcome.effect
        tenant.counts["requests"] += 1
        tenant.counts[f"operation.{route.operation.name}"] += 1
        tenant.counts[f"status.{answer.status}"] += 1
        if effect.mutation:
            tenant.counts["mutations"] += 1
            tenant.counts["invitations"] += effect.invitations
        ledger = tenant.ledger
        ledger.append(
            Entry(
                ledger.next_seq(),
                tenant.now(),
                tenant.id,
                user.upn if user else route.user,
                call.identity.client_id,
                route.operation.name,
                effect.event_id,
                answer.status,
                outcome.code,
                outcome.in_flight,
                effect.mutation,
                effect.invitations,
                call.via_batch,
                answer.drop,
                tuple(call.violations),
                call.headers.get("client-request-id", call.client_request_id),
            )
        )


def fault_answer(fault: Fault, request_id: str, client_request_id: str) -> Answer:
    """The answer that an injected fault gives in place of the real one."""
    headers = {} if fault.retry_after_s is None else {"Retry-After": str(fault.retry_after_s)}
    status = fault.status or 503
    if fault.empty_body or fault.drop:
        return Answer(status, None, headers, drop=fault.drop)
    error = GraphError(status, fault.code, fault.message)
    return Answer(status, error.body(request_id, client_request_id), headers)


def record_refusal(call: Call, operation: str, answer: Answer, code: str | None) -> None:
    """The ledger entry of a call that was refused before it became an operation."""
    tenant = call.identity.tenant
    tenant.ledger.refused(
        operation,
        tenant.now(),
        tenant.id,
        call.identity.client_id,
        answer.status,
        code,
        violations=call.violations,
        dropped=answer.drop,
    )


def _place(call: Call, route: Route, user: User | None) -> Place:
    """What a Retry-After for this call holds for: the caller cannot know of more than what the call was about."""
    client_id = call.identity.client_id
    if route.operation.directory:
        return Place(client_id, "directory")
    if route.operation.unaddressed:
        return Place(client_id, "subscriptions")
    return Place(client_id, "mailbox", user.id if user else route.user.lower())
