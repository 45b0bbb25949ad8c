"""Meetings: what reaches the guests of the tenant, what reaches the organiser, and which mails are counted."""

import asyncio
import urllib.parse

import pytest

from simulator.client import App, MailboxKind
from tests.support.receiver import receiving, subscribe

BEN, EVE = "ben@contoso.example", "eve@contoso.example"
OUTSIDE = "fay@elsewhere.example"
DAILY = {"type": "daily", "interval": 1}
DECEMBER = {"startDateTime": "2026-12-01", "endDateTime": "2027-01-01"}
NEVER = "0001-01-01T00:00:00Z"


def people(*addresses):
    return [{"emailAddress": {"address": address}} for address in addresses]


def every_day(number=4):
    return {"pattern": DAILY, "range": {"type": "numbered", "startDate": "2026-12-01", "numberOfOccurrences": number}}


class Calendar:
    """Somebody's calendar, over Graph."""

    def __init__(self, lab, user):
        self.lab, self.user = lab, user

    def path(self, event, tail=""):
        return f"/users/{self.user}/events/{urllib.parse.quote(event['id'], safe='')}{tail}"

    async def events(self):
        return (await self.lab.graph("GET", f"/users/{self.user}/events")).body["value"]

    async def only(self):
        (event,) = await self.events()
        return event

    async def view(self):
        query = {**DECEMBER, "$top": "100"}
        return (await self.lab.graph("GET", f"/users/{self.user}/calendarView", query=query)).body["value"]

    async def call(self, method, event, body=None, tail=""):
        reply = await self.lab.graph(method, self.path(event, tail), body)
        assert reply.status < 300, reply.body
        return reply.body


@pytest.fixture
async def dana(lab):
    return Calendar(lab, lab.user)


@pytest.fixture
async def ben(lab):
    await lab.admin.put_user(lab.tenant_id, BEN, display_name="Ben")
    return Calendar(lab, BEN)


@pytest.fixture
async def eve(lab):
    await lab.admin.put_user(lab.tenant_id, EVE, display_name="Eve")
    return Calendar(lab, EVE)


@pytest.fixture
async def meeting(lab, make_event, ben, eve):
    return await lab.create(make_event(attendees=people(BEN, EVE), showAs="oof"))


async def mails(lab):
    """The mails of every call that wrote, by operation."""
    entries = (await lab.admin.ledger(lab.tenant_id, mutation=True)).value
    assert (await lab.admin.stats(lab.tenant_id)).invitations == sum(entry.invitations for entry in entries)
    return [(entry.operation, entry.invitations) for entry in entries]


def answers(event):
    return {one["emailAddress"]["address"]: one["status"]["response"] for one in event["attendees"]}


async def test_guests_get_a_copy(lab, ben, make_event):
    made = await lab.create(
        make_event(attendees=people(BEN, OUTSIDE), categories=["HR"], body={"contentType": "text", "content": "Come"})
    )
    copy = await ben.only()
    for name in ("id", "changeKey", "@odata.etag", "webLink"):
        assert copy[name] != made[name]
    for name in ("iCalUId", "subject", "start", "end", "bodyPreview", "organizer", "responseRequested", "attendees"):
        assert copy[name] == made[name]
    assert (copy["isOrganizer"], copy["showAs"], copy["categories"]) == (False, "tentative", [])
    assert copy["responseStatus"] == {"response": "notResponded", "time": NEVER}
    assert copy["organizer"]["emailAddress"]["address"] == lab.user
    assert await mails(lab) == [("create", 2)]


async def test_copies_go_to_the_default_calendar(lab, ben, make_event):
    made = (await lab.graph("POST", f"/users/{lab.user}/calendars", {"name": "Meetings"})).body
    path = f"/users/{lab.user}/calendars/{urllib.parse.quote(made['id'], safe='')}/events"
    assert (await lab.graph("POST", path, make_event(attendees=people(BEN)))).status == 201
    assert [event["subject"] for event in await ben.view()] == ["Leave"]


@pytest.mark.parametrize("kind", ["unlicensed", "on_premises", "soft_deleted", "missing"])
async def test_who_has_no_mailbox_is_counted_only(lab, make_event, kind):
    await lab.admin.put_user(lab.tenant_id, BEN, mailbox=MailboxKind(kind))
    await lab.create(make_event(attendees=people(BEN, lab.user.upper(), "", BEN.upper())))
    assert await lab.admin.events(lab.tenant_id, BEN) == []
    # Nobody writes to themselves, or twice to the same person.
    assert await mails(lab) == [("create", 1)]


async def test_a_policy_against_applications_is_none_against_mail(lab, make_event):
    await lab.admin.put_user(lab.tenant_id, BEN, mailbox="blocked_by_policy")
    await lab.create(make_event(attendees=people(BEN)))
    assert len(await lab.admin.events(lab.tenant_id, BEN)) == 1


async def test_another_tenant_gets_nothing(lab, make_event):
    other = f"{lab.tenant_id}-other"
    await lab.admin.put_tenant(other, apps=[App(lab.client_id, lab.secret, ("Calendars.ReadWrite",))])
    await lab.admin.put_user(other, BEN)
    try:
        await lab.create(make_event(attendees=people(BEN)))
        assert await lab.admin.events(other, BEN) == []
        assert await mails(lab) == [("create", 1)]
    finally:
        await lab.admin.reset(other)


async def test_a_repeated_create_invites_once(lab, ben, make_event):
    event = make_event(attendees=people(BEN), transactionId="t")
    assert (await lab.create(event))["id"] == (await lab.create(event))["id"]
    assert await mails(lab) == [("create", 1)]
    await ben.only()


async def test_a_refused_meeting_invites_nobody(lab, ben, make_event):
    reply = await lab.graph("POST", lab.events_path, make_event(attendees=people(BEN), subject="x" * 256))
    assert reply.status == 400
    assert await ben.events() == []


async def test_the_organizers_next_update_overwrites_a_guests_own_changes(lab, dana, ben, eve, meeting):
    copy = await ben.only()
    await ben.call("PATCH", copy, {"subject": "Mine", "categories": ["Own"], "isReminderOn": False})
    assert (await dana.only())["subject"] == (await eve.only())["subject"] == "Leave"
    await dana.call("PATCH", meeting, {"importance": "high"})
    after = await ben.only()
    assert (after["id"], after["subject"], after["importance"]) == (copy["id"], "Leave", "high")
    assert after["@odata.etag"] != copy["@odata.etag"]
    # What no meeting message carries stays the guest's.
    assert (after["categories"], after["isReminderOn"]) == (["Own"], False)
    assert await mails(lab) == [("create", 2), ("update", 0), ("update", 2)]


async def test_a_guest_who_deletes_tells_nobody_and_is_updated_again(lab, dana, ben, meeting):
    await ben.call("DELETE", await ben.only())
    assert answers(await dana.only())[BEN] == "none"
    await dana.call("PATCH", meeting, {"subject": "Other"})
    assert (await ben.only())["subject"] == "Other"
    assert await mails(lab) == [("create", 2), ("delete", 0), ("update", 2)]


@pytest.mark.parametrize("action", ["DELETE", "cancel", "permanentDelete"])
async def test_what_is_called_off_stays_as_a_canceled_copy(lab, dana, ben, eve, meeting, action):
    before = await ben.only()
    if action == "DELETE":
        await dana.call("DELETE", meeting)
    else:
        await dana.call("POST", meeting, tail=f"/{action}")
    for guest in (ben, eve):
        copy = await guest.only()
        assert (copy["isCancelled"], copy["subject"], copy["showAs"]) == (True, "Canceled: Leave", "free")
    assert (await ben.only())["id"] == before["id"]
    assert (await mails(lab))[1][1] == 2
    for answer, code in (("accept", "Accept"), ("tentativelyAccept", "Tentative"), ("decline", "Decline")):
        reply = await lab.graph("POST", ben.path(before, f"/{answer}"))
        assert (reply.status, reply.code) == (400, f"ErrorCalendarIsCancelledFor{code}")
    await ben.call("DELETE", before)


@pytest.mark.parametrize(
    ("action", "response", "shown"),
    [("accept", "accepted", "oof"), ("tentativelyAccept", "tentativelyAccepted", "tentative")],
)
async def test_an_answer_reaches_the_organizer(lab, dana, ben, eve, meeting, action, response, shown):
    await ben.call("POST", await ben.only(), {"comment": "Yes"}, f"/{action}")
    copy = await ben.only()
    assert (copy["responseStatus"]["response"], copy["showAs"]) == (response, shown)
    event = await dana.only()
    assert answers(event) == {BEN: response, EVE: "none"}
    assert event["attendees"][0]["status"]["time"] == copy["responseStatus"]["time"] != NEVER
    assert event["@odata.etag"] != meeting["@odata.etag"]
    # Guests do not see each other's answers.
    assert answers(await eve.only()) == {BEN: "none", EVE: "none"}
    # An answer stands through an update that changes no times.
    await dana.call("PATCH", meeting, {"subject": "Other", "attendees": people(BEN, EVE)})
    assert answers(await dana.only()) == {BEN: response, EVE: "none"}
    assert ((await ben.only())["responseStatus"]["response"], (await ben.only())["showAs"]) == (response, shown)
    assert (await mails(lab))[1] == (
        {"accept": "accept", "tentativelyAccept": "tentatively_accept"}[action],
        1,
    )


async def test_an_answer_that_is_not_sent_stays_with_the_guest(lab, dana, ben, meeting):
    await ben.call("POST", await ben.only(), {"sendResponse": False}, "/accept")
    assert (await ben.only())["responseStatus"]["response"] == "accepted"
    assert await dana.only() == (await lab.graph("GET", lab.events_path)).body["value"][0]
    assert (await dana.only())["@odata.etag"] == meeting["@odata.etag"]
    assert await mails(lab) == [("create", 2), ("accept", 0)]


async def test_who_declined_is_asked_again_only_about_other_times(lab, dana, ben, meeting, moment):
    await ben.call("POST", await ben.only(), {}, "/decline")
    assert await ben.events() == []
    assert answers(await dana.only())[BEN] == "declined"
    await dana.call("PATCH", meeting, {"subject": "Other"})
    assert await ben.events() == []
    await dana.call("PATCH", meeting, {"start": moment("2026-12-01T09:30:00")})
    assert (await ben.only())["responseStatus"]["response"] == "notResponded"
    assert answers(await dana.only())[BEN] == "none"


async def test_who_is_invited_again_has_not_answered(dana, ben, meeting):
    await ben.call("POST", await ben.only(), {}, "/accept")
    await dana.call("PATCH", meeting, {"attendees": people(EVE)})
    await dana.call("PATCH", meeting, {"attendees": people(BEN, EVE)})
    assert answers(await dana.only())[BEN] == "none"
    assert (await ben.only())["responseStatus"]["response"] == "notResponded"


async def test_other_times_ask_everybody_anew(lab, dana, ben, eve, meeting, moment):
    for guest in (ben, eve):
        await guest.call("POST", await guest.only(), {}, "/accept")
    await dana.call("PATCH", meeting, {"end": moment("2026-12-01T11:00:00")})
    assert set(answers(await dana.only()).values()) == {"none"}
    for guest in (ben, eve):
        copy = await guest.only()
        assert (copy["responseStatus"]["response"], copy["showAs"]) == ("notResponded", "tentative")
        assert copy["end"]["dateTime"].startswith("2026-12-01T10:00")


async def test_a_proposed_time_is_shown_to_the_organizer(lab, dana, ben, eve, meeting, moment):
    proposal = {"start": moment("2026-12-01T11:00:00"), "end": moment("2026-12-01T12:00:00")}
    await ben.call("POST", await ben.only(), {"proposedNewTime": proposal}, "/tentativelyAccept")
    shown = (await dana.only())["attendees"][0]["proposedNewTime"]
    assert shown["start"] == {"dateTime": "2026-12-01T10:00:00.0000000", "timeZone": "UTC"}
    assert "proposedNewTime" not in (await eve.only())["attendees"][0]
    await ben.call("POST", await ben.only(), {}, "/accept")
    assert "proposedNewTime" not in (await dana.only())["attendees"][0]


async def test_attendees_come_and_go(lab, dana, ben, eve, make_event):
    made = await lab.create(make_event(attendees=people(BEN)))
    await dana.call("PATCH", made, {"attendees": people(EVE)})
    assert ((await ben.only())["isCancelled"], (await eve.only())["isCancelled"]) == (True, False)
    await dana.call("PATCH", made, {"attendees": people(BEN, EVE)})
    back = await ben.only()
    assert (back["isCancelled"], back["subject"], back["responseStatus"]["response"]) == (
        False,
        "Leave",
        "notResponded",
    )
    await dana.call("PATCH", made, {"attendees": []})
    assert [(await guest.only())["isCancelled"] for guest in (ben, eve)] == [True, True]
    assert await mails(lab) == [("create", 1), ("update", 2), ("update", 2), ("update", 2)]


async def test_an_appointment_becomes_a_meeting(lab, dana, ben, make_event):
    made = await lab.create(make_event())
    await dana.call("PATCH", made, {"attendees": people(BEN)})
    assert (await ben.only())["iCalUId"] == made["iCalUId"]


async def test_hidden_attendees_see_themselves_only(lab, ben, eve, make_event):
    await lab.create(make_event(attendees=people(BEN, EVE), hideAttendees=True))
    assert answers(await ben.only()) == {BEN: "none"}
    assert answers(await eve.only()) == {EVE: "none"}


async def test_a_long_subject_is_canceled_all_the_same(lab, dana, ben, make_event):
    made = await lab.create(make_event(attendees=people(BEN), subject="x" * 255))
    await dana.call("DELETE", made)
    assert (await ben.only())["subject"] == "Canceled: " + "x" * 255


async def test_what_reaches_a_guest_is_told_by_delta_and_notifications(lab, dana, ben, make_event):
    delta = f"/users/{BEN}/calendarView/delta"
    first = await lab.graph("GET", delta, query=DECEMBER)
    async with receiving() as receiver:
        await subscribe(lab, receiver, resource=f"users/{BEN}/events")
        made = await lab.create(make_event(attendees=people(BEN)))
        await dana.call("PATCH", made, {"subject": "Other"})
        await dana.call("DELETE", made)
        told = await receiver.wait_for(3)
    copy = await ben.only()
    assert [item["changeType"] for item in told] == ["created", "updated", "updated"]
    assert {item["resourceData"]["id"] for item in told} == {copy["id"]}
    assert told[-1]["resourceData"]["@odata.etag"] == copy["@odata.etag"]
    (item,) = (await lab.graph("GET", first.body["@odata.deltaLink"])).body["value"]
    assert (item["id"], item["subject"], item["isCancelled"]) == (copy["id"], "Canceled: Other", True)


async def test_forwarding_adds_an_attendee(lab, dana, ben, eve, make_event):
    await lab.create(make_event(attendees=people(BEN)))
    body = {"ToRecipients": people(EVE, OUTSIDE), "Comment": "You too."}
    await ben.call("POST", await ben.only(), body, "/forward")
    assert answers(await dana.only()) == {BEN: "none", EVE: "none", OUTSIDE: "none"}
    copy = await eve.only()
    assert (copy["isOrganizer"], copy["organizer"]["emailAddress"]["address"]) == (False, lab.user)
    # The organiser is told who else was invited.
    assert await mails(lab) == [("create", 1), ("forward", 3)]
    await eve.call("POST", copy, {}, "/accept")
    assert answers(await dana.only())[EVE] == "accepted"


async def test_forwarding_keeps_to_the_number_of_attendees(lab, dana, ben, eve, make_event):
    await lab.admin.set_limits(lab.tenant_id, attendees_max=1)
    made = await lab.create(make_event(attendees=people(BEN)))
    reply = await lab.graph("POST", dana.path(made, "/forward"), {"toRecipients": people(EVE)})
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")
    assert await eve.events() == []
    assert await mails(lab) == [("create", 1)]


async def test_an_invitation_from_outside_is_answered_and_forwarded(lab, dana, eve, make_event):
    event = make_event(attendees=people(lab.user))
    invited = await lab.admin.invite(lab.tenant_id, lab.user, "boss@elsewhere.example", event)
    assert invited.graph["showAs"] == "tentative"
    copy = {"id": invited.id}
    await dana.call("POST", copy, {"toRecipients": people(EVE)}, "/forward")
    assert (await eve.only())["organizer"]["emailAddress"]["address"] == "boss@elsewhere.example"
    await dana.call("POST", copy, {}, "/accept")
    assert (await dana.only())["showAs"] == "busy"
    assert await mails(lab) == [("forward", 2), ("accept", 1)]


async def test_what_the_organizer_does_in_outlook_reaches_guests_too(lab, ben, make_event):
    made = await lab.admin.user_creates(lab.tenant_id, lab.user, make_event(attendees=people(BEN)))
    await lab.admin.user_edits(lab.tenant_id, lab.user, made.id, {"subject": "Other"})
    assert (await ben.only())["subject"] == "Other"
    await lab.admin.user_deletes(lab.tenant_id, lab.user, made.id)
    assert (await ben.only())["isCancelled"] is True
    # It is no call of an application.
    assert await mails(lab) == []


async def test_guests_who_invite_each_other_at_once(lab, make_event, ben, eve):
    everybody = [lab.user, BEN, EVE]
    # So slow that the calls overlap.
    await lab.admin.set_limits(lab.tenant_id, latency_ms=20)

    async def invite_all(organizer, number):
        event = make_event(subject=f"{organizer} {number}", attendees=people(*everybody))
        made = await lab.graph("POST", f"/users/{organizer}/events", event)
        path = Calendar(lab, organizer).path(made.body)
        return made.status, (await lab.graph("PATCH", path, {"importance": "high"})).status

    async with asyncio.timeout(30):
        replies = await asyncio.gather(*(invite_all(user, number) for user in everybody for number in range(4)))
    assert set(replies) == {(201, 200)}
    for user in everybody:
        held = (await lab.graph("GET", f"/users/{user}/events", query={"$top": "50"})).body["value"]
        assert len(held) == 12
        assert {event["importance"] for event in held} == {"high"}
    stats = await lab.admin.stats(lab.tenant_id)
    # What reaches a mailbox from another spends nothing of what an application may do to it.
    assert (stats.invitations, stats.violations, stats.refusals) == (48, {}, 0)


# Series.


@pytest.fixture
async def series(lab, make_event, ben):
    return await lab.create(make_event(attendees=people(BEN), recurrence=every_day()))


def told(view):
    return [(event["start"]["dateTime"][8:16], event["subject"]) for event in view]


async def test_a_series_is_copied_as_one(lab, dana, ben, series):
    copy = await ben.only()
    assert (copy["type"], copy["recurrence"]) == ("seriesMaster", series["recurrence"])
    assert told(await ben.view()) == told(await dana.view())
    ours, theirs = await dana.view(), await ben.view()
    assert [event["iCalUId"] for event in ours] == [event["iCalUId"] for event in theirs]


async def test_an_exception_is_copied(lab, dana, ben, series, moment):
    second = (await dana.view())[1]
    times = {"start": moment("2026-12-02T14:00:00"), "end": moment("2026-12-02T15:00:00")}
    await dana.call("PATCH", second, {"subject": "Moved", **times})
    found = await ben.view()
    assert told(found) == told(await dana.view())
    assert [event["type"] for event in found] == ["occurrence", "exception", "occurrence", "occurrence"]
    await dana.call("PATCH", series, {"subject": "All"})
    assert told(await ben.view()) == told(await dana.view())
    assert await mails(lab) == [("create", 1), ("update", 1), ("update", 1)]


async def test_a_removed_occurrence_is_canceled_for_guests(lab, dana, ben, eve, series):
    await dana.call("DELETE", (await dana.view())[1])
    assert [event["isCancelled"] for event in await ben.view()] == [False, True, False, False]
    assert (await ben.view())[1]["subject"] == "Canceled: Leave"
    # Whoever is invited later never hears of it.
    await dana.call("PATCH", series, {"attendees": people(BEN, EVE)})
    assert told(await eve.view()) == told(await dana.view())
    assert [event["isCancelled"] for event in await ben.view()] == [False, True, False, False]


async def test_a_canceled_series(lab, dana, ben, series):
    await dana.call("PATCH", (await dana.view())[1], {"subject": "Moved"})
    await dana.call("DELETE", series)
    found = await ben.view()
    assert {event["isCancelled"] for event in found} == {True}
    assert [event["subject"] for event in found][:2] == ["Canceled: Leave", "Canceled: Moved"]


async def test_one_occurrence_is_answered_alone(lab, dana, ben, series):
    theirs = await ben.view()
    await ben.call("POST", theirs[1], {}, "/accept")
    await ben.call("POST", theirs[2], {}, "/decline")
    assert [answers(event)[BEN] for event in await dana.view()] == ["none", "accepted", "declined", "none"]
    assert told(await ben.view()) == [told(theirs)[number] for number in (0, 1, 3)]
    # A write to the whole series does not bring back what was declined; an answer to it holds for all.
    await dana.call("PATCH", series, {"subject": "All"})
    assert [subject for _, subject in told(await ben.view())] == ["All"] * 3
    await ben.call("POST", await ben.only(), {}, "/tentativelyAccept")
    assert {answers(event)[BEN] for event in await dana.view()} == {"tentativelyAccepted"}
    assert {event["responseStatus"]["response"] for event in await ben.view()} == {"tentativelyAccepted"}


async def test_somebody_is_invited_to_one_occurrence_only(lab, dana, ben, eve, series):
    second = (await dana.view())[1]
    await dana.call("PATCH", second, {"attendees": people(BEN, EVE)})
    copy = await eve.only()
    assert (copy["type"], copy["iCalUId"]) == ("singleInstance", second["iCalUId"])
    await eve.call("POST", copy, {}, "/accept")
    assert [answers(event).get(EVE) for event in await dana.view()] == [None, "accepted", None, None]
    # Invited to all, they have the series in its place.
    await dana.call("PATCH", series, {"attendees": people(BEN, EVE)})
    assert told(await eve.view()) == told(await dana.view())
    await dana.call("PATCH", series, {"attendees": people(BEN)})
    assert {event["isCancelled"] for event in await eve.view()} == {True}


async def test_who_was_invited_to_one_occurrence_hears_of_its_end(lab, dana, ben, eve, series, moment):
    await dana.call("PATCH", (await dana.view())[1], {"attendees": people(EVE)})
    assert [event["isCancelled"] for event in await ben.view()] == [False, True, False, False]
    await dana.call("DELETE", series)
    assert (await eve.only())["isCancelled"] is True
    assert await mails(lab) == [("create", 1), ("update", 2), ("delete", 2)]
