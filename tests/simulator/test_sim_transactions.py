"""transactionId: repeated creates are recognised, reused ids refused."""

import urllib.parse


async def test_an_identical_create_returns_the_same_event(lab, make_event):
    first = await lab.create(make_event(transactionId="t-1"))
    reordered = dict(reversed(list(make_event(transactionId="t-1").items())))
    second = await lab.create(reordered)
    assert first["transactionId"] == "t-1"
    assert second["id"] == first["id"]
    box = await lab.admin.mailbox(lab.tenant_id, lab.user)
    assert (len(box.value), box.created_count) == (1, 1)
    assert [entry.mutation for entry in (await lab.admin.ledger(lab.tenant_id)).value] == [True, False]


async def test_another_body_under_the_same_id_is_refused(lab, make_event):
    first = await lab.create(make_event(transactionId="t-1"))
    reply = await lab.graph("POST", lab.events_path, make_event(transactionId="t-1", subject="Other"))
    assert (reply.status, reply.code) == (400, "ErrorDuplicateTransactionId")
    assert reply.body["error"]["@event.existingEventId"] == first["id"]


async def test_the_same_event_in_another_calendar_is_another_event(lab, make_event):
    first = await lab.create(make_event(transactionId="t-1"))
    visits = (await lab.graph("POST", f"/users/{lab.user}/calendars", {"name": "Visits"})).body["id"]
    path = f"/users/{lab.user}/calendars/{urllib.parse.quote(visits, safe='')}/events"
    reply = await lab.graph("POST", path, make_event(transactionId="t-1"))
    assert (reply.status, reply.code) == (400, "ErrorDuplicateTransactionId")
    assert reply.body["error"]["@event.existingEventId"] == first["id"]
    assert (await lab.graph("GET", path)).body["value"] == []


async def test_ids_belong_to_one_mailbox(lab, make_event):
    first = await lab.create(make_event(transactionId="t-1"))
    await lab.admin.put_user(lab.tenant_id, "ben@contoso.example")
    reply = await lab.graph("POST", "/users/ben@contoso.example/events", make_event(transactionId="t-1"))
    assert reply.status == 201
    assert reply.body["id"] != first["id"]


async def test_whether_ids_outlive_their_events_is_a_setting(lab, make_event):
    first = await lab.create(make_event(transactionId="t-1"))
    await lab.graph("DELETE", lab.event_path(first["id"]))
    reply = await lab.graph("POST", lab.events_path, make_event(transactionId="t-1"))
    assert reply.code == "ErrorDuplicateTransactionId"
    await lab.admin.set_limits(lab.tenant_id, transaction_ids_outlive_events=False)
    second = await lab.create(make_event(transactionId="t-2"))
    await lab.graph("DELETE", lab.event_path(second["id"]))
    assert (await lab.create(make_event(transactionId="t-2")))["id"] != second["id"]


async def test_the_id_of_an_event_cannot_be_changed(lab, make_event):
    path = lab.event_path((await lab.create(make_event(transactionId="t-1")))["id"])
    assert (await lab.graph("PATCH", path, {"transactionId": "t-2"})).status == 400
    assert (await lab.graph("PATCH", path, {"transactionId": "t-1", "subject": "x"})).status == 200
