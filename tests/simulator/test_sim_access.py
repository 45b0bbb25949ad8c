"""Who gets at which mailbox: delegated tokens, RBAC for Applications, policies, revocation, claims challenges."""

import base64
import json
import re
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from simulator.client import AdminRefused, App, Secret

CP1 = json.dumps({"access_token": {"xms_cc": {"values": ["CP1"]}}})
BEN = "ben@contoso.example"


@pytest.fixture
async def ben(lab):
    return await lab.admin.put_user(lab.tenant_id, BEN)


async def status(lab, path, method="GET", body=None, token=None):
    reply = await lab.graph(method, path, body, token=token)
    return reply.status, reply.code if reply.status >= 400 else None


async def test_me_is_who_signed_in(lab, delegated, make_event):
    token = await delegated("Calendars.ReadWrite", "User.Read")
    assert (await lab.graph("GET", "/me", token=token)).body["userPrincipalName"] == lab.user
    created = await lab.graph("POST", "/me/events", make_event(), token=token)
    assert created.status == 201
    assert [event.id for event in await lab.admin.events(lab.tenant_id, lab.user)] == [created.body["id"]]
    assert len((await lab.graph("GET", f"/users/{lab.user}/events", token=token)).body["value"]) == 1
    batch = {"requests": [{"id": "1", "method": "GET", "url": "/me/calendar"}]}
    reply = await lab.graph("POST", "/$batch", batch, token=token)
    assert reply.body["responses"][0]["status"] == 200
    assert await status(lab, "/me/events") == (400, "BadRequest")


async def test_a_delegated_token_does_what_its_scopes_say(lab, delegated, make_event, ben):
    read = await delegated("Calendars.Read")
    assert await status(lab, "/me/events", token=read) == (200, None)
    assert await status(lab, "/me/events", "POST", make_event(), read) == (403, "ErrorAccessDenied")
    assert await status(lab, "/me", token=read) == (403, "Authorization_RequestDenied")
    profile = await delegated("User.Read")
    assert await status(lab, "/me/events", token=profile) == (403, "ErrorAccessDenied")
    assert await status(lab, "/me", token=profile) == (200, None)
    assert await status(lab, f"/users/{BEN}", token=profile) == (403, "Authorization_RequestDenied")
    assert await status(lab, f"/users/{BEN}", token=await delegated("User.ReadBasic.All")) == (200, None)


async def test_anothers_mailbox_needs_a_shared_scope_and_a_share(lab, delegated, ben):
    path = f"/users/{BEN}/events"
    own = await delegated("Calendars.ReadWrite")
    assert await status(lab, path, token=own) == (403, "ErrorAccessDenied")
    shared = await delegated("Calendars.ReadWrite.Shared")
    assert await status(lab, "/me/events", token=shared) == (200, None)
    assert await status(lab, path, token=shared) == (404, "ErrorItemNotFound")
    assert await status(lab, "/users/nobody@contoso.example/events", token=shared) == (404, "ErrorInvalidUser")


@pytest.mark.parametrize(
    ("role", "reads", "writes"),
    [
        ("none", (404, "ErrorItemNotFound"), (404, "ErrorItemNotFound")),
        ("freeBusyRead", (404, "ErrorItemNotFound"), (404, "ErrorItemNotFound")),
        ("read", (200, None), (403, "ErrorAccessDenied")),
        ("write", (200, None), (201, None)),
        ("delegateWithPrivateEventAccess", (200, None), (201, None)),
    ],
)
async def test_a_share_gives_what_its_role_says(lab, delegated, ben, make_event, role, reads, writes):
    if role == "none":
        await lab.admin.share_calendar(lab.tenant_id, BEN, role)
    else:
        await lab.admin.share_calendar(lab.tenant_id, BEN, role, lab.user)
    path = f"/users/{BEN}/events"
    token = await delegated("Calendars.ReadWrite.Shared")
    assert await status(lab, path, token=token) == reads
    assert await status(lab, path, "POST", make_event(), token) == writes
    reading = await delegated("Calendars.Read.Shared")
    assert await status(lab, path, token=reading) == reads
    assert (await status(lab, path, "POST", make_event(), reading))[0] == 403


async def test_rbac_of_exchange_lags_behind(lab, ben):
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret)])
    await lab.admin.set_limits(lab.tenant_id, reach_lag_s=1800)
    token = await lab.sign_in()
    await lab.admin.change_app(lab.tenant_id, lab.client_id, scoped_mailboxes=(BEN,))
    path = f"/users/{BEN}/events"
    assert await status(lab, path, token=token) == (403, "ErrorAccessDenied")
    await lab.admin.advance_clock(lab.tenant_id, 1801)
    assert await status(lab, path, token=token) == (200, None)
    assert await status(lab, lab.events_path, token=token) == (403, "ErrorAccessDenied")
    info = await lab.admin.change_app(lab.tenant_id, lab.client_id, scoped_mailboxes=())
    assert info.scoped_mailboxes == []
    assert await status(lab, path, token=token) == (200, None)
    await lab.admin.advance_clock(lab.tenant_id, 1700)
    assert await status(lab, path, token=token) == (200, None)
    await lab.admin.advance_clock(lab.tenant_id, 101)
    assert await status(lab, path, token=token) == (403, "ErrorAccessDenied")


async def test_rbac_adds_to_consent(lab, ben):
    await lab.admin.change_app(lab.tenant_id, lab.client_id, scoped_mailboxes=(BEN,))
    assert await status(lab, lab.events_path) == (200, None)


@pytest.mark.parametrize("policy", [{"allowed_mailboxes": (BEN,)}, {"denied_mailboxes": ("dana@contoso.example",)}])
async def test_an_application_access_policy_takes_mailboxes_away(lab, ben, policy):
    await lab.admin.change_app(lab.tenant_id, lab.client_id, **policy)
    reply = await lab.graph("GET", lab.events_path)
    assert (reply.status, reply.code) == (403, "ErrorAccessDenied")
    assert reply.message.startswith("Access to OData is disabled: [RAOP]")
    assert await status(lab, f"/users/{BEN}/events") == (200, None)
    await lab.admin.change_app(lab.tenant_id, lab.client_id, lift_allowed_mailboxes=True, denied_mailboxes=())
    assert await status(lab, lab.events_path) == (200, None)


async def test_withdrawn_consent_shows_in_the_next_token_only(lab):
    await lab.admin.change_app(lab.tenant_id, lab.client_id, roles=())
    assert await status(lab, lab.events_path) == (200, None)
    token = await lab.sign_in()
    assert await status(lab, lab.events_path, token=token) == (403, "ErrorAccessDenied")
    await lab.admin.advance_clock(lab.tenant_id, 5401)
    assert (await status(lab, lab.events_path))[0] == 401


async def test_a_disabled_or_removed_app_gets_no_new_token(lab):
    await lab.admin.change_app(lab.tenant_id, lab.client_id, disabled=True)
    assert (await lab.token_reply()).body["error_codes"] == [7000112]
    assert await status(lab, lab.events_path) == (200, None)
    await lab.admin.remove_app(lab.tenant_id, lab.client_id)
    assert (await lab.token_reply()).body["error_codes"] == [700016]
    with pytest.raises(AdminRefused, match="There is no app"):
        await lab.admin.app(lab.tenant_id, lab.client_id)


def challenge_of(reply):
    """The claims that a refusal asks for."""
    assert (reply.status, reply.code) == (401, "InvalidAuthenticationToken")
    header = reply.headers["WWW-Authenticate"]
    assert 'error="insufficient_claims"' in header
    return json.loads(base64.b64decode(re.search(r'claims="([^"]+)"', header)[1]))


async def test_a_client_that_handles_claims_challenges_gets_one(lab):
    plain = lab.token
    reply = await lab.token_reply(claims=CP1)
    assert 20 * 3600 <= reply.body["expires_in"] <= 28 * 3600
    token = reply.body["access_token"]
    assert jwt.decode(token, options={"verify_signature": False})["xms_cc"] == ["CP1"]
    assert await status(lab, lab.events_path, token=token) == (200, None)
    await lab.admin.revoke_app_tokens(lab.tenant_id, lab.client_id)
    claims = challenge_of(await lab.graph("GET", lab.events_path, token=token))
    assert claims["access_token"]["nbf"]["essential"] is True
    assert await status(lab, lab.events_path, token=plain) == (200, None)
    claims["access_token"]["xms_cc"] = {"values": ["cp1"]}
    fresh = await lab.sign_in(claims=json.dumps(claims))
    assert await status(lab, lab.events_path, token=fresh) == (200, None)
    assert (await lab.token_reply(claims="{")).body["error_codes"] == [90023]


async def test_disabling_an_app_or_user_ends_their_revocable_tokens(lab, delegated):
    mine = await delegated("Calendars.Read", claims=CP1)
    apps = await lab.sign_in(claims=CP1)
    await lab.admin.put_user(lab.tenant_id, lab.user, sign_in="disabled")
    challenge_of(await lab.graph("GET", "/me/events", token=mine))
    assert await status(lab, lab.events_path, token=apps) == (200, None)
    await lab.admin.put_user(lab.tenant_id, lab.user)
    await lab.admin.revoke_sessions(lab.tenant_id, lab.user)
    challenge_of(await lab.graph("GET", "/me/events", token=mine))
    await lab.admin.change_app(lab.tenant_id, lab.client_id, disabled=True)
    challenge_of(await lab.graph("GET", lab.events_path, token=apps))


async def test_the_life_of_tokens_is_settable(lab):
    await lab.admin.set_limits(lab.tenant_id, token_lifetime_s=600, long_token_lifetime_s=7200)
    assert (await lab.token_reply()).body["expires_in"] == 600
    assert (await lab.token_reply(claims=CP1)).body["expires_in"] == 7200


async def test_a_secret_ends_by_the_tenants_clock(lab):
    soon = datetime.now(UTC) + timedelta(days=1)
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, secrets=(Secret(lab.secret, soon),))])
    assert (await lab.token_reply()).status == 200
    await lab.admin.advance_clock(lab.tenant_id, 86401)
    assert (await lab.token_reply()).body["error_codes"] == [7000222]
