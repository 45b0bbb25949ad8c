"""Whatever organisers and guests do, in any order: the copies of a meeting are what its organiser last said."""

import itertools
from dataclasses import dataclass, field
from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.errors import GraphError
from simulator.exchange.event_input import read_changes
from simulator.exchange.ids import occurrence_uid, split_occurrence_uid
from simulator.exchange.mailbox import Mailbox, MailboxKind
from simulator.exchange.meetings import Meetings
from simulator.exchange.series import occurrence
from simulator.exchange.user import User
from simulator.exchange.view import view
from simulator.limits import Limits
from tests.support.examples import shown

# How long an example takes says something about the machine, nothing about the code.
repeatable = settings(derandomize=True, deadline=None, max_examples=shown(100))
HOST = "host@contoso.example"
GUESTS = ("ann@contoso.example", "ben@contoso.example", "eve@contoso.example")
SPAN = (datetime(2026, 11, 1), datetime(2027, 2, 1))
SHOWN = ("subject", "start", "end", "importance")


@dataclass
class Tenant:
    """The little of a tenant that mail needs; its clock counts."""

    users: dict[str, User] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    ticks: itertools.count = field(default_factory=itertools.count)

    def now(self) -> float:
        return 1_800_000_000.0 + next(self.ticks)

    @classmethod
    def of(cls, *addresses: str) -> "Tenant":
        tenant = cls()
        for address in addresses:
            mailbox = Mailbox.open(f"guid of {address}", address, address)
            tenant.users[address] = User(address, address, address, MailboxKind.OK, "UTC", mailbox)
        return tenant

    def mailbox(self, address: str) -> Mailbox:
        return self.users[address].mailbox

    def desk(self, address: str) -> Meetings:
        return Meetings(self, self.mailbox(address))


def at(day, hour):
    times = {"start": f"2026-12-{day:02}T{hour:02}:00:00", "end": f"2026-12-{day:02}T{hour:02}:30:00"}
    return {name: {"dateTime": local, "timeZone": "UTC"} for name, local in times.items()}


def invited(addresses):
    return {"attendees": [{"emailAddress": {"address": address}} for address in sorted(addresses)]}


def held(mailbox):
    """The one event of a mailbox, or None."""
    assert len(mailbox.events) <= 1
    return next(iter(mailbox.events.values()), None)


edits = st.one_of(
    st.builds(lambda text: {"subject": text}, st.sampled_from(["a", "b", "c"])),
    st.builds(lambda hour: {"hour": hour}, st.integers(8, 17)),
    st.builds(lambda level: {"importance": level}, st.sampled_from(["low", "high"])),
)
lists = st.builds(invited, st.sets(st.sampled_from(GUESTS)))
doings = st.one_of(
    st.tuples(st.just("host"), st.one_of(edits, lists)),
    st.tuples(st.sampled_from(GUESTS), edits),
    st.tuples(st.sampled_from(GUESTS), st.sampled_from(["accepted", "tentativelyAccepted", "declined", "delete"])),
)


def changes_of(edit, day=1):
    return read_changes(at(day, edit["hour"]) if "hour" in edit else edit)


def answers(event):
    return {one["emailAddress"]["address"]: one["status"]["response"] for one in event.wire["attendees"]}


@repeatable
@given(st.lists(doings, max_size=12))
def test_a_guest_has_what_the_organizer_last_said(doings):
    tenant = Tenant.of(HOST, *GUESTS)
    body = read_changes(at(1, 9) | invited(GUESTS[:2]))
    event = tenant.desk(HOST).create(tenant.mailbox(HOST).default_calendar, body).event
    for who, what in doings:
        if who == "host":
            check_organizers_write(tenant, event, changes_of(what))
        elif held(tenant.mailbox(who)) is not None:
            check_guests_doing(tenant, event, who, what)


def check_organizers_write(tenant, event, changes):
    """Every guest's copy is what the organiser says now."""
    desk, known = tenant.desk(HOST), answers(event).keys()
    desk.change(event, changes)
    present = answers(event)
    assert desk.mails == len(known | present.keys())
    for address in GUESTS:
        copy = held(tenant.mailbox(address))
        if copy is None:
            assert present.get(address, "declined") == "declined"
            continue
        assert copy.wire["isCancelled"] is (address not in present)
        if address in present:
            assert [copy.wire[name] for name in SHOWN] == [event.wire[name] for name in SHOWN]
            assert address in known or copy.wire["responseStatus"]["response"] == "notResponded"


def check_guests_doing(tenant, event, who, what):
    """Only the guest's own copy and, by an answer, the organiser's event are written."""
    copy, desk = held(tenant.mailbox(who)), tenant.desk(who)
    assert (copy.wire["isOrganizer"], copy.wire["iCalUId"]) == (False, event.wire["iCalUId"])
    others = [held(tenant.mailbox(address)) for address in (HOST, *GUESTS) if address != who]
    etags = [(one, one.etag) for one in others if one is not None]
    answered = isinstance(what, str) and what != "delete" and not copy.wire["isCancelled"]
    if isinstance(what, dict):
        desk.change(copy, changes_of(what))
    elif what == "delete":
        desk.remove(copy)
    elif answered:
        desk.respond(copy, what, sends=True)
        assert answers(event)[who] == what
    assert desk.mails == answered
    for one, etag in etags:
        assert (one.etag == etag) is not (answered and one is event)


series_doings = st.one_of(
    st.tuples(st.just("host"), st.none() | st.integers(1, 5), st.one_of(edits, lists, st.just("delete"))),
    st.tuples(st.sampled_from(GUESTS), st.none() | st.integers(1, 5), st.one_of(edits, st.just("accepted"))),
)


def shown(mailbox):
    found = (showing.event() for showing in view(mailbox, mailbox.default_calendar.id, *SPAN))
    return sorted(
        (event.wire["start"]["dateTime"], event.wire["subject"], event.wire["importance"])
        for event in found
        if not event.wire["isCancelled"]
    )


@repeatable
@given(st.lists(series_doings, max_size=12))
def test_after_a_write_to_the_series_guests_see_the_organizers_view(doings):
    tenant = Tenant.of(HOST, *GUESTS)
    host = tenant.mailbox(HOST)
    daily = {"pattern": {"type": "daily", "interval": 1},
             "range": {"type": "numbered", "startDate": "2026-12-01", "numberOfOccurrences": 5}}  # fmt: skip
    body = at(1, 9) | invited(GUESTS) | {"recurrence": daily}
    master = tenant.desk(HOST).create(host.default_calendar, read_changes(body)).event
    for who, day, what in doings:
        mine = master if who == "host" else held_series(tenant.mailbox(who), master)
        if mine is None or (what == "delete" and day is None):
            continue
        number = datetime(2026, 12, day or 1).date()
        if day is not None and mine.series is not None and number in mine.series.cancelled:
            continue
        desk = tenant.desk(HOST if who == "host" else who)
        target = mine if day is None else occurrence(mine, number)
        try:
            if what == "delete":
                desk.remove(target)
            elif what == "accepted":
                desk.respond(target, what, sends=True)
            else:
                desk.change(target, changes_of(what, day or 1))
        except GraphError as refusal:
            assert refusal.status == 400  # noqa: PT017 - the test goes on
    # Occurrences with guests of their own are another matter: all are invited to all of them at the end.
    for day in sorted(master.series.exceptions) if master.series else ():
        tenant.desk(HOST).change(occurrence(master, day), read_changes(invited(GUESTS)))
    tenant.desk(HOST).change(master, read_changes(invited(GUESTS) | {"categories": ["x"]}))
    for address in GUESTS:
        assert shown(tenant.mailbox(address)) == shown(host)


def held_series(mailbox, master):
    found = mailbox.with_ical_uid(master.wire["iCalUId"])
    return found[0] if found else None


@repeatable
@given(st.dates())
def test_an_occurrences_uid_tells_its_series_and_day(day):
    mailbox = Mailbox.open("guid", "Host", HOST)
    tenant = Tenant(users={HOST: User(HOST, HOST, HOST, MailboxKind.OK, "UTC", mailbox)})
    event = tenant.desk(HOST).create(mailbox.default_calendar, read_changes(at(1, 9))).event
    uid = event.wire["iCalUId"]
    assert split_occurrence_uid(uid) is None
    assert split_occurrence_uid(occurrence_uid(uid, day)) == (uid, day)
