"""Microsoft's own authentication library against the simulator, with a browser on the sign-in pages."""

import asyncio
import base64
import json
import re

import msal
import pytest
import requests

from simulator.client import App, Fault
from tests.support.browser import Page

GRAPH = ["https://graph.microsoft.com/.default"]
REDIRECT = "https://app.example/signed-in"
READ = ["Calendars.Read"]
# MSAL recommends form_post; query is what most applications still use.
pytestmark = pytest.mark.filterwarnings("ignore:response_mode='form_post' is recommended:UserWarning")


@pytest.fixture
def session(addresses):
    """What MSAL talks through: it trusts the simulator's authority, whatever the environment names."""
    with requests.Session() as session:
        session.trust_env = False
        session.verify = addresses.ca_file
        yield session


@pytest.fixture
def make_client(lab, session):
    """A fresh client; what it remembers is its own."""

    def make(authority=None, secret=lab.secret, **options):
        return msal.ConfidentialClientApplication(
            lab.client_id,
            authority=f"{lab.addresses.login_url}/{authority or lab.tenant_id}",
            client_credential=secret,
            instance_discovery=False,
            http_client=session,
            **options,
        )

    return lambda *args, **options: asyncio.to_thread(make, *args, **options)


@pytest.fixture
async def registered(lab):
    await lab.admin.put_tenant(
        lab.tenant_id, apps=[App(lab.client_id, lab.secret, ("Calendars.ReadWrite",), redirect_uris=(REDIRECT,))]
    )


async def by_hand(lab, client, browser, scopes=READ, **options):
    """What MSAL makes of a person who signs in and accepts."""
    flow = client.initiate_auth_code_flow(scopes, redirect_uri=REDIRECT, **options)
    page = await browser.go(flow["auth_uri"])
    while isinstance(page, Page):
        buttons = {"Sign in": "Dana", "Permissions requested": "Accept", "Working...": "Continue"}
        page = await browser.press(page, buttons[page.title])
    return await asyncio.to_thread(client.acquire_token_by_auth_code_flow, flow, page.parameters)


async def test_a_token_is_kept_and_used_again(lab, make_client):
    client = await make_client()
    first = await asyncio.to_thread(client.acquire_token_for_client, GRAPH)
    second = await asyncio.to_thread(client.acquire_token_for_client, GRAPH)
    assert (first["token_source"], second["token_source"]) == ("identity_provider", "cache")
    assert second["access_token"] == first["access_token"]
    assert (await lab.admin.stats(lab.tenant_id)).tokens_issued == 2  # the lab's own, and this one


@pytest.mark.parametrize("options", [{}, {"response_mode": "form_post"}, {"login_hint": "dana@contoso.example"}])
async def test_a_person_signs_in_with_pkce(lab, registered, make_client, open_browser, options):
    client = await make_client()
    result = await by_hand(lab, client, open_browser(), **options)
    assert "error" not in result, result
    assert result["id_token_claims"]["preferred_username"] == lab.user
    assert result["scope"].split() == ["Calendars.Read", "openid", "profile"]
    reply = await lab.graph("GET", "/me/events", token=result["access_token"])
    assert reply.status == 200
    account = client.get_accounts()[0]
    assert (account["username"], account["home_account_id"]) == (lab.user, f"{lab.user_id}.{lab.tenant_id}")


async def test_silent_tokens_come_from_the_cache_and_by_refresh_with_rotation(
    lab, registered, make_client, open_browser
):
    cache = msal.TokenCache()
    client = await make_client(token_cache=cache)
    first = await by_hand(lab, client, open_browser())
    account = client.get_accounts()[0]

    def refresh_token():
        return next(iter(cache.search("RefreshToken")))["secret"]

    kept = await asyncio.to_thread(client.acquire_token_silent, READ, account)
    assert kept["access_token"] == first["access_token"]
    before = refresh_token()
    fresh = await asyncio.to_thread(client.acquire_token_silent, READ, account, force_refresh=True)
    assert fresh["access_token"] != first["access_token"]
    assert refresh_token() != before
    by_old = await asyncio.to_thread(client.acquire_token_by_refresh_token, before, READ)
    assert "access_token" in by_old


async def test_error_dicts(lab, registered, make_client, open_browser):
    client = await make_client()
    await by_hand(lab, client, open_browser())
    account = client.get_accounts()[0]

    async def silent(client, scopes=READ):
        acquire = client.acquire_token_silent_with_error
        return await asyncio.to_thread(acquire, scopes, account, force_refresh=True)

    wider = await silent(client, ["Calendars.ReadWrite"])
    assert (wider["error"], wider["error_codes"], wider["suberror"]) == ("invalid_grant", [65001], "consent_required")
    assert wider["classification"] == "consent_required"
    await lab.admin.put_user(lab.tenant_id, lab.user, display_name="Dana Swope", sign_in="mfa_required")
    factor = await silent(client, ["Calendars.Read", "User.Read"])
    assert (factor["error"], factor["error_codes"]) == ("interaction_required", [50076])
    wrong = await make_client(secret="wrong")
    result = await asyncio.to_thread(wrong.acquire_token_for_client, GRAPH)
    assert (result["error"], result["error_codes"]) == ("invalid_client", [7000215])


async def test_a_revoked_session_ends_the_account(lab, registered, make_client, open_browser):
    client = await make_client()
    await by_hand(lab, client, open_browser())
    account = client.get_accounts()[0]
    await lab.admin.revoke_sessions(lab.tenant_id, lab.user)
    acquire = client.acquire_token_silent_with_error
    result = await asyncio.to_thread(acquire, READ, account, force_refresh=True)
    assert (result["error"], result["error_codes"], result["suberror"]) == ("invalid_grant", [50173], "bad_token")


async def test_a_declined_consent_and_a_wrong_state(lab, registered, make_client, open_browser):
    client = await make_client()
    browser = open_browser()
    flow = client.initiate_auth_code_flow(READ, redirect_uri=REDIRECT)
    page = await browser.press(await browser.go(flow["auth_uri"]), "Dana")
    answer = (await browser.press(page, "Cancel")).parameters
    result = client.acquire_token_by_auth_code_flow(flow, answer)
    assert result["error"] == "access_denied"
    assert "AADSTS65004" in result["error_description"]
    with pytest.raises(ValueError, match="state mismatch"):
        client.acquire_token_by_auth_code_flow(flow, {**answer, "state": "another"})


async def test_a_refused_request_is_replayed_for_a_minute(lab, make_client):
    """MSAL answers an identical request from memory after a 400: one POST for two calls. A 401 it sends again."""
    await lab.admin.change_app(lab.tenant_id, lab.client_id, disabled=True)
    client = await make_client()

    async def posts():
        before = (await lab.admin.stats(lab.tenant_id)).token_requests
        results = [await asyncio.to_thread(client.acquire_token_for_client, GRAPH) for _ in range(2)]
        return results[-1]["error_codes"], (await lab.admin.stats(lab.tenant_id)).token_requests - before

    assert await posts() == ([7000112], 1)
    await lab.admin.change_app(lab.tenant_id, lab.client_id, disabled=False)
    assert await posts() == ([7000112], 0)
    client = await make_client(secret="wrong")
    assert await posts() == ([7000215], 2)


async def test_throttling_is_kept_by_the_client(lab, make_client):
    fault = Fault(
        tenant=lab.tenant_id,
        operation="token",
        status=429,
        code="temporarily_unavailable",
        message="AADSTS90055: The tenant is throttled.",
        retry_after_s=60,
    )
    await lab.admin.add_fault(fault)
    client = await make_client()
    before = (await lab.admin.stats(lab.tenant_id)).token_requests
    for _ in range(2):
        result = await asyncio.to_thread(client.acquire_token_for_client, GRAPH)
        assert (result["error"], result["error_codes"]) == ("temporarily_unavailable", [90055])
    assert (await lab.admin.stats(lab.tenant_id)).token_requests == before + 1


async def test_a_claims_challenge_is_answered(lab, make_client):
    client = await make_client(client_capabilities=["CP1"])
    first = await asyncio.to_thread(client.acquire_token_for_client, GRAPH)
    assert first["expires_in"] >= 20 * 3600
    await lab.admin.revoke_app_tokens(lab.tenant_id, lab.client_id)
    refused = await lab.graph("GET", lab.events_path, token=first["access_token"])
    assert refused.status == 401
    challenge = base64.b64decode(re.search(r'claims="([^"]+)"', refused.headers["WWW-Authenticate"])[1]).decode()
    assert "nbf" in json.loads(challenge)["access_token"]
    cached = await asyncio.to_thread(client.acquire_token_for_client, GRAPH)
    assert (await lab.graph("GET", lab.events_path, token=cached["access_token"])).status == 401
    fresh = await asyncio.to_thread(client.acquire_token_for_client, GRAPH, claims_challenge=challenge)
    assert (await lab.graph("GET", lab.events_path, token=fresh["access_token"])).status == 200


async def test_people_sign_in_at_organizations(lab, make_client, open_browser):
    app = App(lab.client_id, lab.secret, redirect_uris=(REDIRECT,), multi_tenant=True)
    domain = f"{lab.tenant_id[:8]}.example"
    await lab.admin.put_tenant(lab.tenant_id, apps=[app], domain=domain)
    person = await lab.admin.put_user(lab.tenant_id, f"eve@{domain}")
    client = await make_client("organizations")
    flow = client.initiate_auth_code_flow(READ, redirect_uri=REDIRECT)
    browser = open_browser()
    page = await browser.press(await browser.go(flow["auth_uri"]), "Sign in", username=person.upn)
    callback = await browser.press(page, "Accept")
    result = await asyncio.to_thread(client.acquire_token_by_auth_code_flow, flow, callback.parameters)
    assert result["id_token_claims"]["oid"] == person.id
