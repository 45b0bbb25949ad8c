"""The administrative interface: tenants, users, a user's own edits, ledger, resets, and its sentences on bad input."""

from datetime import datetime

import pytest

from simulator.client import AdminRefused, App

SOURCE = "String {66f5a359-4659-4830-9070-00040ec6ac6e} Name SourceId"


async def test_everything_that_is_stored_can_be_seen(lab, make_event):
    created = await lab.create(
        make_event(
            transactionId="t",
            categories=["HR"],
            body={"contentType": "text", "content": "note"},
            singleValueExtendedProperties=[{"id": SOURCE, "value": "abc"}],
        )
    )
    box = await lab.admin.mailbox(lab.tenant_id, lab.user_id)
    assert (box.created_count, box.deleted_count) == (1, 0)
    event = box.value[0]
    assert (event.id, event.etag, event.graph) == (
        created["id"],
        created["@odata.etag"],
        {name: value for name, value in created.items() if name != "@odata.context"},
    )
    assert (event.start, event.start_time_zone) == (datetime(2026, 12, 1, 9), "Europe/Paris")
    assert (event.start_utc, event.end_utc) == (datetime(2026, 12, 1, 8), datetime(2026, 12, 1, 9))
    assert (event.body_text, event.categories, event.transaction_id) == ("note", ["HR"], "t")
    assert event.extended_properties == {SOURCE: "abc"}
    assert (event.is_all_day, event.writes) == (False, 1)


async def test_a_user_moves_edits_and_deletes_events_in_outlook(lab):
    created = await lab.create()
    args = (lab.tenant_id, lab.user, created["id"])
    moved = await lab.admin.user_moves(*args, datetime(2026, 12, 2, 9), datetime(2026, 12, 2, 10), "Europe/Paris")
    assert moved.start == datetime(2026, 12, 2, 9)
    edited = await lab.admin.user_edits(*args, {"subject": "Mine now"})
    assert len({created["@odata.etag"], moved.etag, edited.etag}) == 3
    read = await lab.graph("GET", lab.event_path(created["id"]))
    assert (read.body["subject"], read.body["@odata.etag"]) == ("Mine now", edited.etag)
    await lab.admin.user_deletes(*args)
    assert (await lab.graph("GET", lab.event_path(created["id"]))).status == 404
    assert (await lab.admin.mailbox(lab.tenant_id, lab.user)).deleted_count == 1
    # What a user does is not a call of the application.
    assert {entry.operation for entry in (await lab.admin.ledger(lab.tenant_id)).value} == {"create", "get"}


async def test_a_user_makes_an_appointment_in_outlook(lab, make_event):
    made = await lab.admin.user_creates(lab.tenant_id, lab.user, make_event(subject="Dentist"))
    assert (await lab.graph("GET", lab.event_path(made.id))).body["subject"] == "Dentist"


async def test_the_ledger_can_be_followed_and_filtered(lab, make_event):
    created = await lab.create()
    await lab.graph("GET", lab.event_path(created["id"]))
    page = await lab.admin.ledger(lab.tenant_id)
    assert [entry.operation for entry in page.value] == ["create", "get"]
    assert page.value[0].event_id == created["id"]
    assert (page.value[0].tenant, page.value[0].user, page.value[0].app) == (lab.tenant_id, lab.user, lab.client_id)
    last = page.value[-1].seq
    await lab.graph("POST", lab.events_path, {"x": 1})
    await lab.graph("DELETE", lab.event_path(created["id"]))
    newer = await lab.admin.ledger(lab.tenant_id, after=last)
    assert [(entry.operation, entry.status) for entry in newer.value] == [("create", 400), ("delete", 204)]
    assert [entry.status for entry in (await lab.admin.ledger(lab.tenant_id, operation="create")).value] == [201, 400]
    assert [entry.operation for entry in (await lab.admin.ledger(lab.tenant_id, mutation=True)).value] == [
        "create",
        "delete",
    ]
    assert [entry.code for entry in (await lab.admin.ledger(lab.tenant_id, status=400)).value] == ["RequestBodyRead"]
    assert len((await lab.admin.ledger(lab.tenant_id, limit=2)).value) == 2
    everyone = (await lab.admin.ledger(after=last)).value
    assert [entry.seq for entry in everyone] == sorted(entry.seq for entry in everyone)
    with pytest.raises(AdminRefused) as refused:
        await lab.admin.ledger("unknown")
    assert refused.value.status == 404


async def test_stats_count_what_happened(lab):
    created = await lab.create()
    await lab.graph("GET", f"{lab.events_path}/nonsense")
    await lab.graph("DELETE", lab.event_path(created["id"]))
    stats = await lab.admin.stats(lab.tenant_id)
    assert (stats.requests, stats.mutations, stats.refusals, stats.batches) == (3, 2, 0, 0)
    assert stats.operations == {"create": 1, "get": 1, "delete": 1}
    assert stats.statuses == {"201": 1, "400": 1, "204": 1}
    assert (stats.violations, stats.max_in_flight) == ({}, {lab.user: 1})
    assert (stats.tokens_issued, stats.token_requests, stats.token_refusals) == (1, 1, 0)


async def test_users_are_changed_without_losing_their_events(lab):
    await lab.create()
    info = await lab.admin.put_user(lab.tenant_id, lab.user, display_name="D. Swope", time_zone="Europe/Paris")
    assert info.id == lab.user_id
    assert [user.display_name for user in await lab.admin.users(lab.tenant_id)] == ["D. Swope"]
    assert len(await lab.admin.events(lab.tenant_id, lab.user)) == 1
    with pytest.raises(AdminRefused, match="belongs to another user"):
        await lab.admin.put_user(lab.tenant_id, "ben@contoso.example", user_id=lab.user_id)


async def test_a_reset_of_one_tenant_leaves_the_others(lab):
    await lab.admin.health()
    await lab.admin.put_tenant("other-tenant", apps=[App("a", "b")])
    await lab.admin.reset("other-tenant")
    await lab.admin.reset("other-tenant")
    with pytest.raises(AdminRefused, match="There is no tenant"):
        await lab.admin.stats("other-tenant")
    assert (await lab.graph("GET", lab.events_path)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("PUT", "/tenants/{tenant}", {"apps": [{"secret": "x"}]}, 400),
        ("PUT", "/tenants/{tenant}", {"colour": "red"}, 400),
        ("PUT", "/tenants/{tenant}", {"apps": [{"client_id": "a", "certificates": ["nonsense"]}]}, 400),
        ("PUT", "/tenants/{tenant}/users/ben", {"mailbox": "exploded"}, 400),
        ("PUT", "/tenants/{tenant}/users/ben", {"time_zone": "Mars/Base"}, 400),
        ("PUT", "/tenants/unknown/users/ben", {}, 404),
        ("GET", "/tenants/{tenant}/users/nobody/events", None, 404),
        ("PATCH", "/tenants/{tenant}/users/{user}/events/nonsense", {}, 400),
        ("POST", "/tenants/{tenant}/users/{user}/events", {"colour": "red"}, 400),
        ("POST", "/tenants/{tenant}/clock", {"advance_s": -1}, 400),
        ("POST", "/tenants/{tenant}/clock", {}, 400),
        ("PUT", "/tenants/{tenant}/limits", {"concurrent_max": 0}, 400),
        ("PUT", "/tenants/{tenant}/limits", {"concurent_max": 1}, 400),
        ("PUT", "/tenants/{tenant}/limits", {"latency_ms": -1}, 400),
        ("PUT", "/tenants/{tenant}/limits", [], 400),
        ("POST", "/faults", {"status": "bad"}, 400),
        ("GET", "/ledger?after=soon", None, 400),
        ("GET", "/ledger?mutation=perhaps", None, 400),
        ("GET", "/ledger?limit=-1", None, 400),
        ("GET", "/ledger?limit=0", None, 400),
        ("GET", "/ledger?after=-1", None, 400),
        ("GET", "/ledger?operation=creat", None, 400),
        ("GET", "/ledger?tenants={tenant}", None, 400),
        ("GET", "/ledger?limit=1&limit=2", None, 400),
        ("GET", "/ledger?tenant=unknown", None, 404),
        ("GET", "/faults?tenant=unknown", None, 404),
        ("GET", "/health?verbose=1", None, 400),
        ("POST", "/faults?tenant={tenant}", {"status": 500}, 400),
        ("GET", "/tenants/{tenant}/deliveries?limit=0", None, 400),
        ("GET", "/tenants/{tenant}/deliveries?kind=parcel", None, 400),
        ("GET", "/tenants/{tenant}/deliveries?wait_s=-1", None, 400),
        ("GET", "/tenants/{tenant}/deliveries?wait_s=nan", None, 400),
        ("GET", "/nothing", None, 404),
        ("GET", "", None, 404),
        ("DELETE", "/health", None, 405),
        ("POST", "/tenants/{tenant}/stats", {}, 405),
        ("PUT", "/tenants/{tenant}", {"apps": [{"client_id": "a", "roles": ["Calendars.Write"]}]}, 400),
        ("PUT", "/tenants/{tenant}", {"apps": [{"client_id": "a", "requested_roles": ["Nothing"]}]}, 400),
        ("PUT", "/tenants/{tenant}", {"apps": [{"client_id": "a", "scopes": ["Calendars.Write"]}]}, 400),
        ("PUT", "/tenants/{tenant}", {"apps": [{"client_id": "a", "requested_scopes": ["Nothing"]}]}, 400),
        ("PATCH", "/tenants/{tenant}/apps/{app}", {"roles": ["Calendars.Write"], "disabled": True}, 400),
        ("PATCH", "/tenants/{tenant}/apps/{app}", {"user_scopes": {"nobody": []}, "disabled": True}, 400),
        ("POST", "/tenants/{tenant}/clock", {"advance_s": 1e9 + 1}, 400),
        ("PUT", "/tenants/{tenant}/limits", {"latency_ms": 1e300}, 400),
        ("PUT", "/tenants/{tenant}/limits", {"window_s": 1e300}, 400),
        ("PUT", "/tenants/{tenant}/limits", {"window_max_requests": 10**18}, 400),
        ("PUT", "/tenants/{tenant}/limits", {"upload_max_bytes": 10**18}, 400),
        ("PUT", "/tenants/{tenant}/notification-switches", {"delay_s": 1e300}, 400),
    ],
)
async def test_bad_input_is_answered_with_a_sentence(lab, method, path, body, status):
    url = f"{lab.addresses.http_url}/_sim" + path.format(tenant=lab.tenant_id, user=lab.user, app=lab.client_id)
    async with lab.http.request(method, url, json=body) as response:
        assert response.status == status
        assert (await response.json())["error"].endswith(".")
        assert ("Allow" in response.headers) == (status == 405)
    assert not (await lab.admin.app(lab.tenant_id, lab.client_id)).disabled


async def test_the_clock_ends_in_a_hundred_years(lab):
    for _ in range(3):
        await lab.admin.advance_clock(lab.tenant_id, 1e9)
    with pytest.raises(AdminRefused, match="at most"):
        await lab.admin.advance_clock(lab.tenant_id, 1e9)
    assert (await lab.graph("GET", lab.events_path)).status == 401
    lab.token = await lab.sign_in()
    assert (await lab.graph("GET", lab.events_path)).status == 200


async def test_permissions_are_granted_under_their_proper_names(lab):
    await lab.admin.change_app(lab.tenant_id, lab.client_id, roles=("calendars.READ",), scopes=("user.read", "OpenID"))
    app = await lab.admin.app(lab.tenant_id, lab.client_id)
    assert (app.roles, app.scopes) == (["Calendars.Read"], ["User.Read", "openid"])
    lab.token = await lab.sign_in()
    assert (await lab.graph("GET", lab.events_path)).status == 200


async def test_what_was_refused_before_it_was_an_operation_is_in_the_ledger_too(lab):
    start = (await lab.admin.ledger()).value
    after = start[-1].seq if start else 0
    assert (await lab.graph("GET", lab.events_path, token="nonsense")).status == 401
    assert (await lab.graph("GET", "/planets")).status == 400
    assert (await lab.graph("PUT", lab.events_path, {})).status == 405
    assert (await lab.graph("POST", "/$batch", {"requests": []})).status == 400
    assert (await lab.token_reply(client_secret="wrong")).status == 401
    await lab.admin.advance_clock(lab.tenant_id, 7200)
    assert (await lab.graph("GET", lab.events_path)).status == 401
    found = [(entry.operation, entry.status, entry.code) for entry in (await lab.admin.ledger(lab.tenant_id)).value]
    assert found == [
        ("no_route", 400, "BadRequest"),
        ("no_route", 405, "Request_BadRequest"),
        ("batch", 400, "BadRequest"),
        ("token", 401, "AADSTS7000215"),
        ("unauthenticated", 401, "InvalidAuthenticationToken"),
    ]
    # Of a token that is none no tenant can be told.
    strangers = [entry for entry in (await lab.admin.ledger(after=after)).value if entry.tenant == ""]
    assert [(entry.operation, entry.status) for entry in strangers] == [("unauthenticated", 401)]
    assert (await lab.admin.stats(lab.tenant_id)).requests == 0
