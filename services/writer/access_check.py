"""The access check: a gate that lets an item into somebody else's calendar only if its owner may edit that calendar.

Finds out what the decision in access.py needs, and keeps it for a while. "Unknown" is never "denied": a refusal stands
on answers that Graph gave in full.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol

from calbus.entry import Place
from calbus.graph import permissions
from calbus.graph.calls import Request
from calbus.graph.errors import Fault, Scope
from calbus.graph.permissions import Group, PageReader, Permission, T, unclear
from calbus.store.entries import Loaded
from calbus.telemetry import ACCESS_CHECKS
from schemas.reasons import Reason
from services.writer.access import Verdict, editors, judge
from services.writer.calendars import Whereabouts
from services.writer.facts import FAULT_KEPT_S, Demand, Facts, Reading
from services.writer.gates import Passage
from services.writer.side_calls import Graph

PAGES_MAX = 20
# Where groups may not be read: so many of those who may edit are looked at, whether they are people.
PEOPLE_MAX = 10
# So says Graph of a mailbox that is not there, and of one that calbus is kept out of.
_NO_MAILBOX = frozenset(
    (Reason.MAILBOX_UNKNOWN, Reason.MAILBOX_NOT_IN_CLOUD, Reason.ACCESS_DENIED, Reason.ACCESS_POLICY)
)
_FORBIDDEN = frozenset((Reason.ACCESS_DENIED, Reason.ACCESS_POLICY))
_GROUPS_HIDDEN = Fault(Reason.ACCESS_CHECK_FORBIDDEN, Scope.ENTRY, code="groups hidden")
# Said of events; of a question they say nothing that helps.
_OF_EVENTS = frozenset((Reason.EVENT_GONE, Reason.EVENT_REJECTED, Reason.CONFLICT, Reason.IN_DOUBT))


class Calendars(Protocol):
    """What the check needs to know of named calendars."""

    async def whereabouts(self, place: Place) -> Whereabouts:
        """See calendars.Calendars.whereabouts."""

    def forget(self, place: Place) -> None:
        """See calendars.Calendars.forget."""


@dataclass(frozen=True, slots=True)
class _Question:
    """May whoever has the mailbox `assigner` edit the calendar at `place`?"""

    tenant: str
    place: Place
    assigner: str
    asked_at: datetime | None
    own_lane: bool
    """Whether the calendar is in the mailbox whose lane this work is in."""

    def key(self, mailbox: str, calendar: str = "") -> "_Key":
        return self.tenant, self.place.directory.casefold(), mailbox.casefold(), calendar.casefold()


# The tenant is a part of it, though the directory would do: what is known of one never speaks for another.
_Key = tuple[str, str, str, str]


class AccessCheck:
    """Checks at assignment, and when the owner or the calendar changes; what was accepted is not asked again."""

    def __init__(
        self,
        graph: Graph,
        calendars: Calendars,
        *,
        ttl_s: float,
        refusal_ttl_s: float,
        max_facts: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._graph = graph
        self._calendars = calendars
        self._ttl_s = ttl_s
        self._refusal_ttl_s = min(refusal_ttl_s, ttl_s)
        self._permissions: Facts[_Key, tuple[Permission, ...]] = Facts(max_facts, clock)
        # The owner's primary address; None where there is no mailbox that calbus may open.
        self._owners: Facts[_Key, str | None] = Facts(max_facts, clock)
        self._groups: Facts[_Key, tuple[Group, ...]] = Facts(max_facts, clock)

    def lets_pass(self, loaded: Loaded) -> bool:
        """Whether what is held says that it is granted; everything else is for `admit` to say."""
        question = _question(loaded)
        if question is None:
            return True
        demand, place = Demand(self._ttl_s, question.asked_at), question.place
        sharing = self._permissions.peek(question.key(place.mailbox, place.calendar or ""), demand)
        address = self._owners.peek(question.key(question.assigner), demand)
        if sharing is None or address is None:
            return False
        names = frozenset((question.assigner.lower(), address))
        if place.mailbox.lower() not in names:
            verdict = judge(names, sharing, None)
            if verdict is Verdict.ASK_GROUPS:
                groups = self._groups.peek(question.key(question.assigner), demand)
                verdict = verdict if groups is None else judge(names, sharing, groups)
            if verdict is not Verdict.GRANTED:
                return False
        ACCESS_CHECKS.labels("granted").inc()
        return True

    async def admit(self, loaded: Loaded) -> Passage:
        """Let pass what is accepted already, or needs nobody's consent; refuse only on what was read lately."""
        # What stands in the way may have been mended: that is asked anew much sooner than what is granted.
        question = _question(loaded)
        if question is None:
            return Passage()
        passage = await self._answer(question, self._ttl_s)
        if passage.refusal is not None or _forbidden(passage):
            again = await self._answer(question, self._refusal_ttl_s)
            answered = passage.answered or again.answered
            passage = replace(again, requests=passage.requests + again.requests, answered=answered)
        ACCESS_CHECKS.labels(_result(passage)).inc()
        return passage

    async def _answer(self, question: _Question, max_age_s: float) -> Passage:
        demand = Demand(max_age_s, question.asked_at)
        place = question.place
        sharing, owner = await asyncio.gather(
            self._permissions.get(
                question.key(place.mailbox, place.calendar or ""), demand, lambda: self._read_permissions(place)
            ),
            self._owners.get(
                question.key(question.assigner), demand, lambda: self._read_owner(question, question.assigner)
            ),
        )
        requests = sharing.requests if question.own_lane else 0
        if isinstance(sharing.value, Fault):
            return Passage(requests, fault=_said_of(sharing.value, own_lane=question.own_lane))
        said = Passage(requests, answered=requests > 0)
        if isinstance(owner.value, Fault):
            return replace(said, fault=_said_of(owner.value, own_lane=False))
        if owner.value is None:
            return replace(said, refusal=Reason.OWNER_HAS_NO_MAILBOX)
        address = owner.value
        names = frozenset((question.assigner.lower(), address))
        if place.mailbox.lower() in names:  # one mailbox under two names
            return said
        verdict = judge(names, sharing.value, None)
        if verdict is Verdict.ASK_GROUPS:
            asked = await self._judge_by_groups(question, names, sharing.value, demand)
            if isinstance(asked, Fault):
                return replace(said, fault=_said_of(asked, own_lane=False))
            verdict = asked
        return replace(said, refusal=None if verdict is Verdict.GRANTED else Reason.ASSIGNER_LACKS_ACCESS)

    async def _judge_by_groups(
        self, question: _Question, names: frozenset[str], sharing: tuple[Permission, ...], demand: Demand
    ) -> Verdict | Fault:
        """Granted or denied; a fault where that cannot be told."""
        groups = await self._groups.get(
            question.key(question.assigner), demand, lambda: self._read_groups(question, names)
        )
        hidden = _GROUPS_HIDDEN
        if isinstance(groups.value, Fault):
            if groups.value.reason is not Reason.ACCESS_CHECK_FORBIDDEN:
                return groups.value
            hidden = groups.value
        else:
            verdict = judge(names, sharing, groups.value)
            if verdict is not Verdict.HIDDEN:
                return verdict
        return Verdict.DENIED if await self._are_people(question, editors(sharing), demand) else hidden

    async def _are_people(self, question: _Question, addresses: frozenset[str], demand: Demand) -> bool:
        """Whether none of these can be a group: under `/users`, Graph opens no group's calendar."""
        if len(addresses) > PEOPLE_MAX:
            return False
        found = await asyncio.gather(
            *(
                self._owners.get(question.key(address), demand, partial(self._read_owner, question, address))
                for address in addresses
            )
        )
        return {reading.value for reading in found} == addresses

    async def _read_permissions(self, place: Place) -> Reading[tuple[Permission, ...]]:
        where = await self._calendars.whereabouts(place)
        if where.fault is not None:
            return Reading(where.fault, where.requests)
        request = permissions.ask_permissions(place.mailbox, where.calendar_id)
        reading = await self._read_all(place.directory, request, permissions.read_permissions)
        match reading.value:
            case Fault(reason=Reason.EVENT_GONE):
                self._calendars.forget(place)
            case ():
                # An owner's view has a line at least: everybody's. Somebody else's view is empty, and says nothing.
                reading = replace(reading, value=unclear("no permissions shown"))
        return replace(reading, requests=reading.requests + where.requests)

    async def _read_owner(self, question: _Question, mailbox: str) -> Reading[str | None]:
        request = permissions.ask_owner(mailbox)
        (response,) = await self._graph.send(question.place.directory, [request])
        if response.fault is not None and response.fault.reason in _NO_MAILBOX:
            return Reading(None)
        return Reading(permissions.read_owner(response))

    async def _read_groups(self, question: _Question, names: frozenset[str]) -> Reading[tuple[Group, ...]]:
        """The directory knows a user by the user principal name, which is one of both, most often."""
        directory = question.place.directory
        reading: Reading[tuple[Group, ...]] = Reading(unclear("no such user"), 0)
        for name in sorted(names, key=lambda name: name != question.assigner.lower()):
            reading = await self._read_all(directory, permissions.ask_groups(name), permissions.read_groups)
            match reading.value:
                case Fault(reason=Reason.MAILBOX_UNKNOWN):
                    reading = replace(reading, value=unclear("no such user"))
                case Fault(reason=reason) if reason in _FORBIDDEN:
                    fault = replace(reading.value, reason=Reason.ACCESS_CHECK_FORBIDDEN)
                    return replace(reading, value=fault, fault_kept_s=self._refusal_ttl_s)
                case _:
                    return reading
        return reading

    async def _read_all(self, directory: str, request: Request, read: PageReader[T]) -> Reading[tuple[T, ...]]:
        """All pages of a list, or the fault of the one that failed; a list that has no end is one."""
        items: list[T] = []
        asked: set[str] = set()
        for _ in range(PAGES_MAX):
            asked.add(request.path)
            (response,) = await self._graph.send(directory, [request])
            page = read(response)
            if isinstance(page, Fault):
                return Reading(page, len(asked), FAULT_KEPT_S)
            items += page.items
            if page.next_path is None:
                return Reading(tuple(items), len(asked))
            if page.next_path in asked:
                break
            request = permissions.ask_next(request, page.next_path)
        return Reading(unclear("a list without end"), len(asked))


def _question(loaded: Loaded) -> _Question | None:
    """What must be asked before this entry is written; None if nothing must."""
    entry = loaded.entry
    desired, applied = entry.desired, entry.applied
    if desired.grant is None or desired.place is None or desired.assigner is None:
        return None
    if applied.may_exist and applied.grant == desired.grant:
        return None
    target = entry.target
    own_lane = target is not None and target.lane == desired.place.lane
    return _Question(entry.item.tenant, desired.place, desired.assigner, loaded.access_asked_at, own_lane)


def _said_of(fault: Fault, *, own_lane: bool) -> Fault:
    """The fault as the entry's: what another mailbox met must not hold up everything that goes to this one."""
    passing = fault.reason in _OF_EVENTS or (fault.reason is Reason.THROTTLED and not own_lane)
    return replace(
        fault,
        reason=Reason.GRAPH_UNAVAILABLE if passing else fault.reason,
        # A mailbox's; what the whole directory suffers from is this entry's trouble too.
        scope=Scope.ENTRY if fault.scope is Scope.MAILBOX and not own_lane else fault.scope,
        may_be_applied=False,
    )


def _forbidden(passage: Passage) -> bool:
    return passage.fault is not None and passage.fault.reason is Reason.ACCESS_CHECK_FORBIDDEN


def _result(passage: Passage) -> str:
    if passage.fault is not None:
        return "unknown"
    return "granted" if passage.refusal is None else "refused"
