"""Actions on events: cancelling, responding, forwarding, reminders, deleting for good."""

import pytest

INVITED = [{"emailAddress": {"address": "ben@contoso.example"}}, {"emailAddress": {"address": "eve@contoso.example"}}]


@pytest.fixture
async def act(lab):
    """Performs an action on an event."""

    async def act(event_id, action, body=None):
        return await lab.graph("POST", f"{lab.event_path(event_id)}/{action}", body)

    return act


@pytest.fixture
async def invited(lab, make_event):
    """An invitation from somebody else."""
    event = make_event(attendees=INVITED)
    return await lab.admin.invite(lab.tenant_id, lab.user, "boss@contoso.example", event, organizer_name="The Boss")


async def test_an_organizer_cancels(lab, act, make_event):
    event = await lab.create(make_event(attendees=INVITED))
    reply = await act(event["id"], "cancel", {"comment": "Snow."})
    assert (reply.status, reply.body) == (202, None)
    assert (await lab.graph("GET", lab.event_path(event["id"]))).status == 404
    entry = (await lab.admin.ledger(lab.tenant_id, operation="cancel")).value[0]
    assert (entry.mutation, entry.invitations, entry.event_id) == (True, 2, event["id"])
    assert (await act(event["id"], "cancel")).code == "ErrorItemNotFound"


async def test_an_attendee_cannot_cancel(act, invited):
    reply = await act(invited.id, "cancel")
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")
    assert reply.message == "Your request can't be completed. You need to be an organizer to cancel a meeting."


async def test_an_invitation_is_somebody_elses(lab, invited):
    event = (await lab.graph("GET", lab.event_path(invited.id))).body
    assert event["isOrganizer"] is False
    assert event["organizer"] == {"emailAddress": {"name": "The Boss", "address": "boss@contoso.example"}}
    assert event["responseStatus"]["response"] == "notResponded"


@pytest.mark.parametrize(("action", "response"), [("accept", "accepted"), ("tentativelyAccept", "tentativelyAccepted")])
async def test_an_attendee_responds(lab, act, invited, action, response):
    assert (await act(invited.id, action, {"comment": "", "sendResponse": True})).status == 202
    event = (await lab.graph("GET", lab.event_path(invited.id))).body
    assert event["responseStatus"]["response"] == response
    assert event["@odata.etag"] != invited.etag


async def test_a_declined_event_leaves_the_calendar(lab, act, invited):
    assert (await act(invited.id, "decline")).status == 202
    assert (await lab.graph("GET", lab.event_path(invited.id))).status == 404


async def test_a_new_time_can_be_proposed_in_a_response_that_is_sent(act, invited, moment):
    proposal = {"start": moment("2026-12-01T11:00:00"), "end": moment("2026-12-01T12:00:00")}
    reply = await act(invited.id, "tentativelyAccept", {"sendResponse": False, "proposedNewTime": proposal})
    assert (reply.status, reply.code) == (400, "ErrorInvalidParameter")
    assert (await act(invited.id, "accept", {"proposedNewTime": proposal})).status == 400
    assert (await act(invited.id, "tentativelyAccept", {"proposedNewTime": proposal})).status == 202


@pytest.mark.parametrize("action", ["accept", "tentativelyAccept", "decline"])
async def test_nobody_responds_to_their_own_event(lab, act, action):
    reply = await act((await lab.create())["id"], action, {"sendResponse": True})
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")


async def test_an_attendee_changes_their_own_copy_only(lab, invited):
    assert (await lab.graph("PATCH", lab.event_path(invited.id), {"subject": "Mine"})).status == 200
    assert (await lab.graph("DELETE", lab.event_path(invited.id))).status == 204
    assert (await lab.admin.stats(lab.tenant_id)).invitations == 0


async def test_forwarding_invites_more_people(lab, act, make_event):
    event = await lab.create(make_event())
    assert (await act(event["id"], "forward", {"ToRecipients": INVITED, "Comment": "Come too."})).status == 202
    assert (await lab.admin.stats(lab.tenant_id)).invitations == 2
    for body in ({}, {"toRecipients": []}, {"toRecipients": [{"emailAddress": {"name": "x"}}]}):
        assert (await act(event["id"], "forward", body)).code == "ErrorInvalidRecipients"


async def test_reminders(lab, act, moment):
    event = await lab.create()
    assert (await act(event["id"], "dismissReminder")).status == 200
    assert (await act(event["id"], "snoozeReminder", {"newReminderTime": moment("2026-12-01T08:30:00")})).status == 200
    assert (await act(event["id"], "snoozeReminder", {})).status == 400
    assert (await lab.graph("GET", lab.event_path(event["id"]))).body["@odata.etag"] == event["@odata.etag"]


async def test_deleting_for_good(lab, act, make_event):
    event = await lab.create(make_event(attendees=INVITED))
    assert (await act(event["id"], "permanentDelete")).status == 204
    assert (await lab.graph("GET", lab.event_path(event["id"]))).status == 404
    assert (await lab.admin.stats(lab.tenant_id)).invitations == 4


@pytest.mark.parametrize(
    ("action", "body"),
    [
        ("cancel", {"comment": 1}), ("cancel", {"reason": "x"}), ("accept", {"sendResponse": "yes"}), ("accept", []),
        ("decline", {"proposedNewTime": {"at": 1}}), ("dismissReminder", {"x": 1}),
    ],
)  # fmt: skip
async def test_bad_parameters_are_refused(act, invited, action, body):
    assert (await act(invited.id, action, body)).status == 400
