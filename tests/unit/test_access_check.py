"""The access check: how often Graph is asked, what is kept for how long, and that unknown is never denied."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest

from calbus.entry import Applied, Desired, Entry, Intent, ItemKey, Place, entry_id_of
from calbus.graph.calls import Request, Response
from calbus.graph.errors import Fault, Scope
from calbus.store.entries import Loaded
from schemas.items import Kind
from schemas.reasons import Reason
from services.writer.access_check import PAGES_MAX, PEOPLE_MAX, AccessCheck
from services.writer.calendars import Whereabouts
from services.writer.gates import Passage

DIRECTORY = "contoso.example"
ANNA = Place(DIRECTORY, "anna@contoso.example")
OLGA = "olga@contoso.example"
GRANTED, LACKS, HOMELESS = (
    Passage(),
    Passage(refusal=Reason.ASSIGNER_LACKS_ACCESS),
    Passage(refusal=Reason.OWNER_HAS_NO_MAILBOX),
)


@dataclass
class Office:
    """Answers as Graph does for one calendar and its sharers, and counts what it is asked."""

    roles: dict[str, str] = field(default_factory=dict)
    everybody: str = "freeBusyRead"
    groups: list[dict[str, Any]] = field(default_factory=list)
    no_mailboxes: tuple[str, ...] = ("team@contoso.example",)
    faults: dict[str, Fault] = field(default_factory=dict)
    """By operation."""
    primary: dict[str, str] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    paths: list[str] = field(default_factory=list)
    page_size: int = 100
    now_s: float = 1_000.0
    endless: bool = False

    async def send(self, _directory: str, requests: Sequence[Request]) -> list[Response]:
        await asyncio.sleep(0)
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Response:
        self.asked[request.operation] += 1
        path = unquote(request.path)
        self.paths.append(path)
        if (fault := self.faults.get(request.operation)) is not None:
            return Response(503, None, fault)
        user = path.split("/")[2]
        match request.operation:
            case "get_calendar" if user in self.no_mailboxes:
                return Response(404, None, Fault(Reason.MAILBOX_UNKNOWN, Scope.MAILBOX))
            case "get_calendar":
                return Response(200, {"owner": {"address": self.primary.get(user, user)}}, None)
            case "list_permissions":
                lines: list[dict[str, Any]] = [
                    {"id": name, "role": role, "isInsideOrganization": True, "emailAddress": {"address": name}}
                    for name, role in self.roles.items()
                ]
                lines.append({"id": "RGVmYXVsdA==", "role": self.everybody, "isInsideOrganization": True})
                return self._page(path, lines)
        return self._page(path, self.groups)

    def _page(self, path: str, items: list[dict[str, Any]]) -> Response:
        whole, _, skip = path.partition("&skip=")
        start = int(skip or 0)
        body: dict[str, Any] = {"value": items[start : start + self.page_size]}
        if self.endless or len(items) > start + self.page_size:
            follows = start if self.endless else start + self.page_size
            link = whole if "?" in whole else f"{whole}?"
            body["@odata.nextLink"] = f"https://graph.microsoft.com/v1.0{link}&skip={follows}"
        return Response(200, body, None)

    async def whereabouts(self, place: Place) -> Whereabouts:
        return Whereabouts(place.calendar and f"id of {place.calendar}")

    def forget(self, _place: Place) -> None:
        self.asked["forget"] += 1


@pytest.fixture
def office() -> Office:
    return Office()


@pytest.fixture
def check(office: Office) -> AccessCheck:
    return new_check(office)


def new_check(office: Office, max_facts: int = 100) -> AccessCheck:
    return AccessCheck(office, office, ttl_s=900.0, refusal_ttl_s=60.0, max_facts=max_facts, clock=lambda: office.now_s)


def loaded(
    *,
    tenant: str = "contoso",
    item: str = "A-1",
    assigner: str | None = OLGA,
    place: Place = ANNA,
    applied: Applied = Applied(),  # noqa: B008
    asked_at: datetime | None = None,
) -> Loaded:
    key = ItemKey(tenant, "planner", Kind.ACTION, item)
    desired = Desired(1, 1, Intent.PRESENT, Reason.WRITTEN, place, b"", b"", assigner)
    entry = Entry(entry_id_of(key, "anna"), key, "anna", desired, applied, owed=True)
    return Loaded(entry, 1, 0, None, None, access_asked_at=asked_at)


def passed(passage: Passage) -> Passage:
    """The answer without what it cost, and what it says of the mailbox by the way."""
    return replace(passage, requests=0, answered=False)


async def test_who_needs_nobodys_consent_is_not_asked_for(office: Office, check: AccessCheck) -> None:
    assert await check.admit(loaded(assigner=None)) == GRANTED
    assert not office.asked


async def test_what_was_accepted_is_not_asked_again_while_it_stands(office: Office, check: AccessCheck) -> None:
    new = loaded()
    stands = Applied(place=ANNA, event_id="e", grant=new.entry.desired.grant)
    assert await check.admit(loaded(applied=stands)) == GRANTED
    assert not office.asked
    assert passed(await check.admit(loaded(applied=replace(stands, event_id=None)))) == LACKS, "assigned anew"
    assert passed(await check.admit(loaded(assigner="otto@contoso.example", applied=stands))) == LACKS, "another owner"
    elsewhere = replace(ANNA, calendar="Work")
    assert passed(await check.admit(loaded(place=elsewhere, applied=stands))) == LACKS, "another calendar"


async def test_a_thousand_entries_cause_one_read(office: Office, check: AccessCheck) -> None:
    office.roles["team@contoso.example"] = "write"
    office.groups = [{"id": "1", "displayName": "Team", "mail": "team@contoso.example"}]
    passages = await asyncio.gather(*(check.admit(loaded(item=f"A-{number}")) for number in range(1_000)))
    assert {passed(passage) for passage in passages} == {GRANTED}
    assert office.asked == {"list_permissions": 1, "get_calendar": 1, "list_groups": 1}
    assert sum(passage.requests for passage in passages) == 1, "only the assignee's mailbox pays, and once"


async def test_groups_are_not_asked_without_need(office: Office, check: AccessCheck) -> None:
    office.roles[OLGA] = "write"
    office.roles["team@contoso.example"] = "write"
    assert passed(await check.admit(loaded())) == GRANTED
    assert not office.asked["list_groups"]


async def test_a_grant_lasts_and_a_refusal_is_asked_again_soon(office: Office, check: AccessCheck) -> None:
    office.roles[OLGA] = "write"
    assert passed(await check.admit(loaded())) == GRANTED
    office.roles[OLGA] = "read"
    office.now_s += 899
    assert passed(await check.admit(loaded())) == GRANTED, "known for as long as it may be kept"
    office.now_s += 1
    assert passed(await check.admit(loaded())) == LACKS
    office.roles[OLGA] = "write"
    office.now_s += 59
    assert passed(await check.admit(loaded())) == LACKS
    office.now_s += 1
    assert passed(await check.admit(loaded())) == GRANTED


async def test_a_refusal_never_stands_on_what_is_old(office: Office, check: AccessCheck) -> None:
    office.roles["otto@contoso.example"] = "write"
    assert passed(await check.admit(loaded(assigner="otto@contoso.example"))) == GRANTED
    office.roles[OLGA] = "write"
    office.now_s += 61
    assert passed(await check.admit(loaded())) == GRANTED, "the sharing that was held says no, and was read anew"


async def test_a_recheck_voids_what_was_read_before_it_once(office: Office, check: AccessCheck) -> None:
    assert passed(await check.admit(loaded())) == LACKS
    office.roles[OLGA] = "write"
    # The database's clock may be ahead of ours, or behind.
    for skew in (timedelta(seconds=30), timedelta(seconds=-30)):
        office.asked.clear()
        asked_at = datetime.now(UTC) + skew
        passages = [await check.admit(loaded(item=f"A-{n}", asked_at=asked_at)) for n in range(100)]
        if skew > timedelta(0):
            assert {passed(passage) for passage in passages} == {GRANTED}
        assert office.asked["list_permissions"] <= 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY),
        Fault(Reason.GRAPH_UNREACHABLE, Scope.MAILBOX),
        Fault(Reason.THROTTLED, Scope.MAILBOX, 7.0),
        Fault(Reason.TOKEN_REJECTED, Scope.MAILBOX),
        Fault(Reason.CONSENT_MISSING, Scope.MAILBOX),
        Fault(Reason.ENTRA_UNAVAILABLE, Scope.MAILBOX),
        Fault(Reason.EVENT_GONE, Scope.ENTRY),
        Fault(Reason.EVENT_REJECTED, Scope.ENTRY),
        Fault(Reason.CONFLICT, Scope.ENTRY),
    ],
)
@pytest.mark.parametrize("operation", ["list_permissions", "get_calendar", "list_groups"])
async def test_unknown_is_never_denied(office: Office, check: AccessCheck, operation: str, fault: Fault) -> None:
    office.roles["team@contoso.example"] = "write"
    office.faults[operation] = fault
    passage = await check.admit(loaded())
    assert passage.refusal is None
    assert passage.fault is not None
    assert passage.fault.retry_after_s == fault.retry_after_s
    if operation != "list_permissions":
        assert passage.fault.scope is Scope.ENTRY, "another mailbox's trouble is not this lane's"
        assert passage.fault.reason is not Reason.THROTTLED


@pytest.mark.parametrize("reason", [Reason.MAILBOX_UNKNOWN, Reason.MAILBOX_NOT_IN_CLOUD])
async def test_trouble_with_the_assignees_mailbox_is_its_own(
    office: Office, check: AccessCheck, reason: Reason
) -> None:
    office.faults["list_permissions"] = Fault(reason, Scope.MAILBOX)
    passage = await check.admit(loaded())
    assert passage == Passage(1, fault=Fault(reason, Scope.MAILBOX))


@pytest.mark.parametrize(
    "reason", [Reason.MAILBOX_UNKNOWN, Reason.MAILBOX_NOT_IN_CLOUD, Reason.ACCESS_DENIED, Reason.ACCESS_POLICY]
)
async def test_an_owner_without_mailbox_is_refused(office: Office, check: AccessCheck, reason: Reason) -> None:
    office.roles[OLGA] = "write"
    office.faults["get_calendar"] = Fault(reason, Scope.MAILBOX)
    assert passed(await check.admit(loaded())) == HOMELESS
    office.faults.clear()
    office.now_s += 60
    assert passed(await check.admit(loaded())) == GRANTED


async def test_a_mailbox_that_shows_its_sharing_answered_whatever_is_said_of_the_owner(
    office: Office, check: AccessCheck
) -> None:
    office.faults["get_calendar"] = Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY)
    assert (await check.admit(loaded())).answered
    office.faults.clear()
    office.now_s += 60
    refused = await check.admit(loaded())
    assert refused.refusal is not None
    # What is remembered says nothing about now.
    assert not (await check.admit(loaded())).answered


async def test_an_owner_is_known_by_the_primary_address_too(office: Office, check: AccessCheck) -> None:
    office.primary["o.owner@contoso.example"] = OLGA
    office.roles[OLGA] = "delegateWithoutPrivateEventAccess"
    assert passed(await check.admit(loaded(assigner="O.Owner@contoso.example".lower()))) == GRANTED


async def test_one_mailbox_under_two_names_is_its_own(office: Office, check: AccessCheck) -> None:
    office.primary["a.alias@contoso.example"] = ANNA.mailbox
    assert passed(await check.admit(loaded(assigner="a.alias@contoso.example"))) == GRANTED


async def test_a_forbidden_look_at_groups_is_unknown_and_rarely_repeated(office: Office, check: AccessCheck) -> None:
    office.roles["team@contoso.example"] = "write"
    office.faults["list_groups"] = Fault(Reason.ACCESS_DENIED, Scope.MAILBOX)
    for number in range(100):
        passage = await check.admit(loaded(item=f"A-{number}"))
        assert passage.fault is not None
        assert (passage.fault.reason, passage.fault.scope) == (Reason.ACCESS_CHECK_FORBIDDEN, Scope.ENTRY)
    assert office.asked["list_groups"] == 1
    office.faults.clear()
    office.groups = [{"id": "1", "displayName": "Team", "mail": "team@contoso.example"}]
    office.now_s += 60
    assert passed(await check.admit(loaded())) == GRANTED


async def test_where_groups_are_forbidden_people_are_still_told_from_groups(office: Office, check: AccessCheck) -> None:
    office.roles["otto@contoso.example"] = "write"
    office.roles["uma@contoso.example"] = "write"
    office.faults["list_groups"] = Fault(Reason.ACCESS_DENIED, Scope.MAILBOX)
    for number in range(10):
        assert passed(await check.admit(loaded(item=f"A-{number}"))) == LACKS
    assert office.asked == {"list_permissions": 1, "list_groups": 1, "get_calendar": 3}
    office.roles |= {f"person{number}@contoso.example": "write" for number in range(PEOPLE_MAX)}
    office.now_s += 60
    passage = await check.admit(loaded())
    assert passage.fault is not None, "too many to look at each"
    assert passage.fault.reason is Reason.ACCESS_CHECK_FORBIDDEN


async def test_groups_that_are_hidden_are_unknown_and_asked_again_soon(office: Office, check: AccessCheck) -> None:
    office.roles["team@contoso.example"] = "write"
    office.groups = [{"id": "1"}]
    passage = await check.admit(loaded())
    assert passage.fault is not None
    assert passage.fault.reason is Reason.ACCESS_CHECK_FORBIDDEN
    office.groups = [{"id": "1", "displayName": "Team", "mail": "team@contoso.example"}]
    office.now_s += 60
    assert passed(await check.admit(loaded())) == GRANTED


async def test_lists_are_read_to_their_end(office: Office, check: AccessCheck) -> None:
    office.page_size = 3
    office.roles = {f"person{number}@contoso.example": "read" for number in range(10)} | {OLGA: "write"}
    passage = await check.admit(loaded())
    assert passed(passage) == GRANTED
    assert passage.requests == office.asked["list_permissions"] == 4


async def test_a_list_without_end_is_unknown(office: Office, check: AccessCheck) -> None:
    office.endless = True
    passage = await check.admit(loaded())
    assert passage.fault is not None
    assert passage.fault.reason is Reason.GRAPH_UNAVAILABLE
    assert office.asked["list_permissions"] <= PAGES_MAX


async def test_an_empty_sharing_is_not_the_owners_view(office: Office, check: AccessCheck) -> None:
    office.everybody = "none"
    office.page_size = 0
    passage = await check.admit(loaded())
    assert passage.fault is not None


async def test_a_calendar_by_name_is_asked_for_by_its_id(office: Office, check: AccessCheck) -> None:
    await check.admit(loaded(place=replace(ANNA, calendar="Work")))
    assert f"/users/{ANNA.mailbox}/calendars/id of Work/calendarPermissions" in office.paths
    office.faults["list_permissions"] = Fault(Reason.EVENT_GONE, Scope.ENTRY)
    await check.admit(loaded(place=replace(ANNA, calendar="Other")))
    assert office.asked["forget"], "a calendar that is not there must be found anew"


async def test_a_retry_after_is_honoured_by_all(office: Office, check: AccessCheck) -> None:
    office.faults["get_calendar"] = Fault(Reason.THROTTLED, Scope.MAILBOX, 30.0)
    await check.admit(loaded())
    office.now_s += 29
    passage = await check.admit(loaded(item="A-2", asked_at=datetime.now(UTC) + timedelta(days=1)))
    assert passage.fault is not None
    assert passage.fault.retry_after_s == pytest.approx(1.0)
    assert office.asked["get_calendar"] == 1
    office.now_s += 1
    office.faults.clear()
    assert passed(await check.admit(loaded())) == LACKS


async def test_a_failed_read_takes_nothing_from_what_is_known(office: Office, check: AccessCheck) -> None:
    office.roles["otto@contoso.example"] = "write"
    otto = loaded(assigner="otto@contoso.example")
    assert passed(await check.admit(otto)) == GRANTED
    office.now_s += 61
    office.faults["list_permissions"] = Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY)
    assert (await check.admit(loaded())).fault is not None, "Olga's refusal would need a fresh look"
    assert passed(await check.admit(otto)) == GRANTED


async def test_tenants_know_nothing_of_each_other(office: Office, check: AccessCheck) -> None:
    assert passed(await check.admit(loaded(tenant="contoso"))) == LACKS
    office.roles[OLGA] = "write"
    assert passed(await check.admit(loaded(tenant="fabrikam"))) == GRANTED
    assert passed(await check.admit(loaded(tenant="contoso"))) == LACKS


async def test_what_is_held_is_bounded(office: Office) -> None:
    check = new_check(office, max_facts=10)
    for number in range(50):
        await check.admit(loaded(place=Place(DIRECTORY, f"u{number}@contoso.example"), assigner=f"o{number}@x.example"))
    assert len(check._permissions) == len(check._owners) == 10


async def test_who_waits_goes_on_when_the_reader_is_cancelled(office: Office, check: AccessCheck) -> None:
    office.roles[OLGA] = "write"
    first = asyncio.create_task(check.admit(loaded()))
    second = asyncio.create_task(check.admit(loaded(item="A-2")))
    await asyncio.sleep(0)
    first.cancel()
    assert passed(await second) == GRANTED
    assert (await asyncio.gather(first, return_exceptions=True))[0].__class__ is asyncio.CancelledError


async def test_a_move_asks_in_the_new_mailbox_and_charges_nothing_to_the_old(
    office: Office, check: AccessCheck
) -> None:
    old = Place(DIRECTORY, "anna.old@contoso.example")
    office.faults["list_permissions"] = Fault(Reason.THROTTLED, Scope.MAILBOX, 5.0)
    passage = await check.admit(loaded(applied=Applied(place=old, event_id="e", grant="other")))
    assert passage.requests == 0
    assert passage.fault == Fault(Reason.GRAPH_UNAVAILABLE, Scope.ENTRY, 5.0)
