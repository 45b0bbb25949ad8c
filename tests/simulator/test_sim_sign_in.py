"""Signing in with a browser: pages, prompts, PKCE, consent, every way back to the application, and refusals."""

import base64
import hashlib
import urllib.parse
import uuid

import jwt
import pytest

from simulator.client import App, Fault
from tests.support.browser import Callback, Page

REDIRECT = "https://app.example/signed-in"
VERIFIER = "v" * 64
CHALLENGE = base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
READ = "openid offline_access Calendars.Read"


@pytest.fixture
async def browser(open_browser):
    return open_browser()


def an_app(lab, **changes):
    return App(lab.client_id, lab.secret, redirect_uris=(REDIRECT,), name="Planner & <Co>", **changes)


@pytest.fixture
async def app(lab):
    await lab.admin.put_tenant(lab.tenant_id, apps=[an_app(lab)])


def authorize_url(lab, authority=None, **changes):
    parameters = {
        "client_id": lab.client_id,
        "response_type": "code",
        "redirect_uri": REDIRECT,
        "scope": READ,
        "state": "s 1&=",
        "nonce": "n1",
        "code_challenge": CHALLENGE,
        "code_challenge_method": "S256",
        **changes,
    }
    given = {name: value for name, value in parameters.items() if value is not None}
    base = f"{lab.addresses.login_url}/{authority or lab.tenant_id}/oauth2/v2.0/authorize"
    return f"{base}?{urllib.parse.urlencode(given)}"


async def sign_in(lab, browser, **changes):
    """Up to what follows the sign-in page, which is not shown to who is signed in."""
    page = await browser.go(authorize_url(lab, **changes))
    if isinstance(page, Page) and page.title == "Sign in":
        page = await browser.press(page, "Sign in", username=lab.user)
    return page


async def redeem(lab, code, **form):
    asked = {"code": code, "redirect_uri": REDIRECT, "code_verifier": VERIFIER, "scope": "", **form}
    return await lab.token_reply(grant_type="authorization_code", **asked)


async def tokens(lab, browser, **changes):
    """Signs in, accepts, and redeems the code."""
    page = await sign_in(lab, browser, **changes)
    callback = page if isinstance(page, Callback) else await browser.press(page, "Accept")
    reply = await redeem(lab, callback["code"])
    assert reply.status == 200, reply.body
    return reply.body


async def refresh(lab, token, **form):
    return await lab.token_reply(grant_type="refresh_token", refresh_token=token, **{"scope": "", **form})


async def test_a_person_signs_in_consents_and_the_app_gets_tokens(lab, app, browser):
    page = await browser.go(authorize_url(lab))
    assert "Dana Swope (dana@contoso.example)" in page.text
    assert "Planner & <Co>" in page.text
    assert "<Co>" not in page.html
    consent = await browser.press(page, "Dana Swope")
    assert "Read your calendars" in consent.text
    callback = await browser.press(consent, "Accept")
    assert (callback.address, callback["state"]) == (REDIRECT, "s 1&=")
    reply = await redeem(lab, callback["code"])
    body = reply.body
    assert body["scope"] == "Calendars.Read openid"
    assert 3600 <= body["expires_in"] <= 5400
    base = f"{lab.addresses.http_url}/{lab.tenant_id}"
    key = jwt.PyJWK((await lab.graph("GET", f"{base}/discovery/v2.0/keys")).body["keys"][0])
    who = jwt.decode(body["id_token"], key.key, algorithms=["RS256"], audience=lab.client_id, issuer=f"{base}/v2.0")
    assert (who["nonce"], who["tid"], who["oid"], who["preferred_username"]) == (
        "n1",
        lab.tenant_id,
        lab.user_id,
        lab.user,
    )
    access = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert access["aud"] == "00000003-0000-0000-c000-000000000000"
    assert (access["scp"], access["oid"], access["upn"]) == ("Calendars.Read openid", lab.user_id, lab.user)
    assert "roles" not in access
    info = await lab.admin.app(lab.tenant_id, lab.client_id)
    assert info.user_scopes[lab.user_id] == ["Calendars.Read", "offline_access", "openid"]


async def test_consent_is_asked_once_and_the_session_signs_in_silently(lab, app, browser):
    await tokens(lab, browser)
    again = await browser.go(authorize_url(lab))
    assert isinstance(again, Callback)
    assert "code" in again.parameters
    silent = await browser.go(authorize_url(lab, prompt="none"))
    assert "code" in silent.parameters
    for prompt, title in (("login", "Sign in"), ("select_account", "Sign in"), ("consent", "Permissions requested")):
        page = await browser.go(authorize_url(lab, prompt=prompt))
        assert title in page.text
    more = await browser.go(authorize_url(lab, scope="openid Calendars.ReadWrite"))
    assert "Have full access to your calendars" in more.text
    asked = await browser.go(authorize_url(lab, login_hint="somebody@contoso.example"))
    assert "Sign in" in asked.text


async def test_prompt_none_never_shows_a_page(lab, app, browser):
    nobody = await browser.go(authorize_url(lab, prompt="none"))
    assert (nobody["error"], nobody["state"]) == ("interaction_required", "s 1&=")
    assert nobody["error_description"].startswith("AADSTS50058: ")
    await sign_in(lab, browser)
    unconsented = await browser.go(authorize_url(lab, prompt="none"))
    assert unconsented["error"] == "interaction_required"
    assert unconsented["error_description"].startswith("AADSTS65001: ")


@pytest.mark.parametrize("mode", ["query", "form_post", "fragment"])
async def test_the_answer_comes_as_the_app_wants_it(lab, app, browser, mode):
    page = await sign_in(lab, browser, response_mode=mode)
    answer = await browser.press(page, "Accept")
    if mode == "form_post":
        assert isinstance(answer, Page)
        assert "script-src 'sha256-" in answer.headers["Content-Security-Policy"]
        answer = await browser.press(answer, "Continue")
    assert answer.address == REDIRECT
    assert answer["state"] == "s 1&="
    assert (await redeem(lab, answer["code"])).status == 200


async def test_a_request_can_be_posted(lab, app, browser):
    url, _, query = authorize_url(lab).partition("?")
    async with lab.http.post(url, data=dict(urllib.parse.parse_qsl(query))) as response:
        assert "Dana Swope" in await response.text()


async def test_client_info_names_the_account(lab, app, browser):
    page = await sign_in(lab, browser, client_info="1")
    callback = await browser.press(page, "Accept")
    reply = await redeem(lab, callback["code"], client_info="1")
    for raw in (callback["client_info"], reply.body["client_info"]):
        assert lab.user_id in base64.urlsafe_b64decode(raw + "==").decode()
    assert "client_info" not in (await refresh(lab, reply.body["refresh_token"])).body


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"client_id": None}, 900144),
        ({"client_id": "5c5c5c5c-0000-4000-8000-000000000000"}, 700016),
        ({"redirect_uri": "https://evil.example/<b>"}, 50011),
        ({"redirect_uri": REDIRECT + "/more"}, 50011),
        ({"authority": "common"}, 50194),
        ({"authority": "organizations"}, 50194),
        ({"authority": "nowhere.example"}, 90002),
    ],
)
async def test_a_request_that_cannot_be_answered_ends_on_a_page(lab, app, browser, changes, code):
    page = await browser.go(authorize_url(lab, **changes))
    assert isinstance(page, Page)
    assert (page.status, page.codes) == (400, [code])
    assert "<b>" not in page.html


@pytest.mark.parametrize(
    ("changes", "error", "code"),
    [
        ({"response_type": None}, "invalid_request", 900144),
        ({"scope": None}, "invalid_request", 900144),
        ({"response_type": "token"}, "unsupported_response_type", 700054),
        ({"scope": "Calendars.Steal"}, "invalid_scope", 70011),
        ({"scope": "Calendars.Read .default"}, "invalid_scope", 70011),
        ({"response_mode": "pigeon"}, "invalid_request", 90023),
        ({"prompt": "maybe"}, "invalid_request", 90023),
        ({"code_challenge": "short"}, "invalid_request", 90023),
        ({"code_challenge_method": "S512"}, "invalid_request", 90023),
    ],
)
async def test_a_request_that_is_wrong_is_sent_back(lab, app, browser, changes, error, code):
    callback = await browser.go(authorize_url(lab, **changes))
    assert (callback.address, callback["error"], callback["state"]) == (REDIRECT, error, "s 1&=")
    assert callback["error_description"].startswith(f"AADSTS{code}: ")


async def test_the_loopback_port_of_a_redirect_is_free(lab, browser):
    app = App(lab.client_id, lab.secret, redirect_uris=("http://localhost/cb",))
    await lab.admin.put_tenant(lab.tenant_id, apps=[app])
    page = await browser.go(authorize_url(lab, redirect_uri="http://localhost:41234/cb"))
    assert "Dana Swope" in page.text
    for other in ("http://localhost:1/other", "https://localhost/cb", "http://localhost.evil.example/cb", "http://["):
        page = await browser.go(authorize_url(lab, redirect_uri=other))
        assert page.codes == [50011]


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("disabled", 50057), ("password_expired", 50055), ("locked", 50053), ("device_not_compliant", 53000),
        ("device_not_joined", 53001), ("app_not_approved", 53002), ("blocked_by_conditional_access", 53003),
    ],
)  # fmt: skip
async def test_who_may_not_sign_in_is_told_on_the_page(lab, app, browser, state, code):
    body = await tokens(lab, browser)
    await lab.admin.put_user(lab.tenant_id, lab.user, sign_in=state)
    page = await sign_in(lab, browser)
    assert (page.status, page.codes) == (200, [code])
    reply = await refresh(lab, body["refresh_token"])
    assert (reply.status, reply.body["error_codes"]) == (400, [code])
    expected = "interaction_required" if code >= 53000 else "invalid_grant"
    assert reply.body["error"] == expected
    await lab.admin.put_user(lab.tenant_id, lab.user)
    assert isinstance(await browser.press(page, "Sign in", username=lab.user), Callback)


async def test_names_and_passwords_are_checked(lab, app, browser):
    await lab.admin.put_user(lab.tenant_id, lab.user, password="Pa55")
    other = str(uuid.uuid4())
    await lab.admin.put_tenant(other)
    await lab.admin.put_user(other, "eve@fabrikam.example")
    page = await browser.go(authorize_url(lab, login_hint=lab.user))
    assert page.forms[0].fields["username"] == lab.user
    for typed, code in (
        ({"username": "nobody@contoso.example"}, 50034),
        ({"username": "eve@fabrikam.example"}, 50020),
        ({"username": lab.user}, 50126),
        ({"username": lab.user, "password": "pa55"}, 50126),
    ):
        page = await browser.press(page, "Sign in", **typed)
        assert page.codes == [code]
    consent = await browser.press(page, "Sign in", username=lab.user, password="Pa55")
    assert "Permissions requested" in consent.text
    await lab.admin.reset(other)


async def test_a_second_factor(lab, app, browser, open_browser):
    plain = await tokens(lab, browser)
    await lab.admin.put_user(lab.tenant_id, lab.user, sign_in="mfa_required")
    reply = await refresh(lab, plain["refresh_token"])
    assert (reply.body["error"], reply.body["error_codes"]) == ("interaction_required", [50076])
    silent = await browser.go(authorize_url(lab, prompt="none"))
    assert silent["error_description"].startswith("AADSTS50076: ")
    page = await sign_in(lab, browser)
    assert "approve the request" in page.text
    gone = await browser.press(page, "Cancel")
    assert gone.parameters == {"error": "access_denied", "error_subcode": "cancel", "state": "s 1&="}
    callback = await browser.press(page, "Approve")
    body = (await redeem(lab, callback["code"])).body
    assert jwt.decode(body["access_token"], options={"verify_signature": False})["amr"] == ["pwd", "mfa"]
    assert (await refresh(lab, body["refresh_token"])).status == 200


@pytest.mark.parametrize(
    ("state", "code", "title", "button"),
    [
        ("mfa_enrolment_required", 50079, "More information required", "Next"),
        ("external_challenge_required", 50158, "Verify with another provider", "Continue"),
    ],
)
async def test_what_else_a_person_has_to_do_first(lab, app, browser, state, code, title, button):
    plain = await tokens(lab, browser)
    await lab.admin.put_user(lab.tenant_id, lab.user, sign_in=state)
    reply = await refresh(lab, plain["refresh_token"])
    assert (reply.status, reply.body["error"], reply.body["error_codes"]) == (400, "interaction_required", [code])
    assert reply.body["suberror"] == "basic_action"
    silent = await browser.go(authorize_url(lab, prompt="none"))
    assert silent["error_description"].startswith(f"AADSTS{code}: ")
    page = await sign_in(lab, browser)
    assert page.title == title
    assert (await browser.press(page, "Cancel"))["error_subcode"] == "cancel"
    callback = await browser.press(page, button)
    body = (await redeem(lab, callback["code"])).body
    assert (await refresh(lab, body["refresh_token"])).status == 200
    # Who is enrolled now is asked for the second factor; another provider goes on being asked.
    again = await refresh(lab, plain["refresh_token"])
    assert again.body["error_codes"] == [50076 if code == 50079 else code]


async def test_policies_are_asked_of_who_knows_the_password(lab, app, browser):
    await lab.admin.put_user(lab.tenant_id, lab.user, password="Pa55", sign_in="device_not_compliant")
    page = await browser.press(await browser.go(authorize_url(lab)), "Sign in", username=lab.user, password="x")
    assert page.codes == [50126]
    page = await browser.press(page, "Sign in", username=lab.user, password="Pa55")
    assert page.codes == [53000]


async def test_giving_up_and_declining(lab, app, browser):
    page = await browser.go(authorize_url(lab))
    cancelled = await browser.press(page, "Cancel")
    assert cancelled.parameters == {"error": "access_denied", "error_subcode": "cancel", "state": "s 1&="}
    consent = await browser.press(page, "Dana")
    declined = await browser.press(consent, "Cancel")
    assert (declined["error"], declined["error_subcode"]) == ("access_denied", "cancel")
    assert declined["error_description"].startswith("AADSTS65004: ")
    assert (await lab.admin.app(lab.tenant_id, lab.client_id)).user_scopes == {}


async def test_a_consent_needs_the_form_that_was_shown(lab, app, browser):
    consent = await sign_in(lab, browser)
    page = await browser.press(consent, "Accept", canary="forged")
    assert isinstance(page, Page)
    assert page.status == 400
    assert (await lab.admin.app(lab.tenant_id, lab.client_id)).user_scopes == {}


@pytest.mark.parametrize(
    ("scope", "policy", "code"),
    [
        ("User.Read.All", {}, 90094),
        ("Calendars.Read", {"users_may_consent": False}, 90094),
        ("Calendars.Read", {"users_may_consent": False, "approval_by_request": True}, 90095),
    ],
)
async def test_some_consents_need_an_administrator(lab, browser, open_browser, scope, policy, code):
    await lab.admin.put_tenant(lab.tenant_id, apps=[an_app(lab)], **policy)
    page = await sign_in(lab, browser, scope=scope)
    assert page.codes == [code]
    back = await browser.press(page, "Return to the application")
    assert back.parameters == {"error": "access_denied", "error_subcode": "cancel", "state": "s 1&="}
    await lab.admin.put_user(lab.tenant_id, "root@contoso.example", administrator=True)
    root = open_browser()
    consent = await root.press(await root.go(authorize_url(lab, scope=scope)), "root")
    await root.press(consent, "Accept", tick=("everybody",))
    assert (await lab.admin.app(lab.tenant_id, lab.client_id)).scopes == [scope]
    assert isinstance(await browser.go(authorize_url(lab, scope=scope)), Callback)


async def test_an_administrators_own_consent_is_for_one(lab, app, browser):
    await lab.admin.put_user(lab.tenant_id, lab.user, administrator=True)
    await tokens(lab, browser)
    assert (await lab.admin.app(lab.tenant_id, lab.client_id)).scopes == []


async def test_an_app_for_assigned_users(lab, browser):
    await lab.admin.put_tenant(lab.tenant_id, apps=[an_app(lab, assignment_required=True)])
    page = await sign_in(lab, browser)
    assert page.codes == [50105]
    assert not page.forms
    silent = await browser.go(authorize_url(lab, prompt="none"))
    assert silent["error_description"].startswith("AADSTS50105: ")
    await lab.admin.change_app(lab.tenant_id, lab.client_id, assigned=(lab.user.upper(),))
    body = await tokens(lab, browser)
    await lab.admin.change_app(lab.tenant_id, lab.client_id, assigned=())
    assert (await refresh(lab, body["refresh_token"])).body["error_codes"] == [50105]


async def test_a_disabled_app_signs_nobody_in(lab, app, browser):
    body = await tokens(lab, browser)
    await lab.admin.change_app(lab.tenant_id, lab.client_id, disabled=True)
    assert (await browser.go(authorize_url(lab))).codes == [7000112]
    reply = await refresh(lab, body["refresh_token"])
    assert (reply.body["error"], reply.body["error_codes"]) == ("unauthorized_client", [7000112])


async def test_a_code_is_good_once_for_ten_minutes_and_for_who_asked(lab, app, browser):
    await tokens(lab, browser)

    async def code():
        return (await browser.go(authorize_url(lab)))["code"]

    async def refused(given, **form):
        reply = await redeem(lab, given, **form)
        assert (reply.status, reply.body["error"]) == (400, form.pop("error", "invalid_grant")), reply.body
        return reply.body["error_codes"]

    used = await code()
    assert await refused(used, code_verifier="w" * 64) == [501481]
    assert await refused(used, code_verifier="") == [501481]
    assert (await redeem(lab, used, redirect_uri="https://app.example/other")).body["error_codes"] == [50011]
    assert (await redeem(lab, used, client_secret="wrong")).body["error_codes"] == [7000215]
    assert (await redeem(lab, used, client_secret="")).body["error_codes"] == [7000218]
    assert (await redeem(lab, used)).status == 200
    assert await refused(used) == [54005]
    assert await refused("1.nonsense") == [70000]
    old = await code()
    await lab.admin.advance_clock(lab.tenant_id, 601)
    assert await refused(old) == [70008]


async def test_a_public_client_needs_no_secret(lab, browser):
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, redirect_uris=(REDIRECT,))])
    callback = await browser.press(await sign_in(lab, browser), "Accept")
    reply = await redeem(lab, callback["code"], client_secret="")
    assert reply.status == 200
    claims = jwt.decode(reply.body["access_token"], options={"verify_signature": False})
    assert claims["appidacr"] == "0"
    assert (await lab.token_reply(client_secret="")).body["error_codes"] == [7000218]


async def test_refresh_tokens_are_replaced_and_end(lab, app, browser):
    first = (await tokens(lab, browser))["refresh_token"]
    second = (await refresh(lab, first)).body["refresh_token"]
    assert second != first
    assert (await refresh(lab, first)).status == 200
    await lab.admin.set_limits(lab.tenant_id, refresh_token_uses_max=1)
    reused = await refresh(lab, first)
    assert (reused.body["error"], reused.body["error_codes"]) == ("invalid_grant", [50173])
    third = (await refresh(lab, second)).body["refresh_token"]
    assert (await refresh(lab, "1.nonsense")).body["error_codes"] == [70000]
    await lab.admin.advance_clock(lab.tenant_id, 90 * 86400 + 1)
    assert (await refresh(lab, third)).body["error_codes"] == [700082]
    fourth = (await tokens(lab, browser))["refresh_token"]
    await lab.admin.set_limits(lab.tenant_id, sign_in_frequency_s=3600)
    fourth = (await refresh(lab, fourth)).body["refresh_token"]
    await lab.admin.advance_clock(lab.tenant_id, 3601)
    assert (await refresh(lab, fourth)).body["error_codes"] == [70043]


async def test_revoked_sessions_need_a_person_again(lab, app, browser):
    body = await tokens(lab, browser)
    await lab.admin.revoke_sessions(lab.tenant_id, lab.user)
    reply = await refresh(lab, body["refresh_token"])
    assert (reply.body["error"], reply.body["error_codes"]) == ("invalid_grant", [50173])
    assert "Sign in" in (await browser.go(authorize_url(lab))).text


async def test_a_withdrawn_consent_is_asked_for_again(lab, app, browser):
    body = await tokens(lab, browser)
    wider = await refresh(lab, body["refresh_token"], scope="Calendars.ReadWrite")
    assert (wider.status, wider.body["error"], wider.body["error_codes"]) == (400, "invalid_grant", [65001])
    assert wider.body["suberror"] == "consent_required"
    assert (await refresh(lab, body["refresh_token"], scope="Calendars.Steal")).body["error_codes"] == [70011]
    await lab.admin.change_app(lab.tenant_id, lab.client_id, user_scopes={lab.user: ()})
    assert (await refresh(lab, body["refresh_token"])).body["error_codes"] == [65001]
    assert "Permissions requested" in (await browser.go(authorize_url(lab))).text


async def test_default_means_what_is_registered(lab, browser):
    await lab.admin.put_tenant(lab.tenant_id, apps=[an_app(lab, requested_scopes=("Calendars.Read", "User.Read"))])
    body = await tokens(lab, browser, scope="openid https://graph.microsoft.com/.default")
    assert body["scope"] == "Calendars.Read User.Read openid"
    assert "refresh_token" not in body


@pytest.mark.parametrize("authority", ["common", "organizations"])
async def test_people_of_any_tenant_sign_in_to_an_app_for_all(lab, browser, authority):
    other, domain = str(uuid.uuid4()), f"{lab.tenant_id[:8]}.example"
    await lab.admin.put_tenant(lab.tenant_id, apps=[an_app(lab, multi_tenant=True)])
    await lab.admin.put_tenant(other, domain=domain)
    eve = await lab.admin.put_user(other, f"eve@{domain}")
    page = await browser.go(authorize_url(lab, authority))
    consent = await browser.press(page, "Sign in", username=eve.upn)
    callback = await browser.press(consent, "Accept")
    home, lab.tenant_id = lab.tenant_id, authority
    body = (await redeem(lab, callback["code"])).body
    claims = jwt.decode(body["access_token"], options={"verify_signature": False})
    assert (claims["tid"], claims["oid"]) == (other, eve.id)
    assert (await refresh(lab, body["refresh_token"])).status == 200
    discovery = await lab.graph("GET", f"{lab.addresses.login_url}/{authority}/v2.0/.well-known/openid-configuration")
    assert discovery.body["issuer"].endswith("/{tenantid}/v2.0")
    assert (await lab.token_reply()).body["error_codes"] == [90019]
    lab.tenant_id = home
    assert (await refresh(lab, body["refresh_token"])).body["error_codes"] == [70000]
    assert (await lab.admin.app(other, lab.client_id)).home_tenant == home
    await lab.admin.reset(other)


async def test_faults_of_the_sign_in_pages_and_the_token_endpoint(lab, app, browser):
    busy = {"tenant": lab.tenant_id, "status": 429, "code": "temporarily_unavailable", "retry_after_s": 7, "times": 1}
    text = "AADSTS90055: The tenant is throttled."
    for operation in ("authorize", "token"):
        await lab.admin.add_fault(Fault(operation=operation, message=text, **busy))
    page = await browser.go(authorize_url(lab))
    assert (page.status, page.codes, page.headers["Retry-After"]) == (429, [90055], "7")
    reply = await lab.token_reply()
    assert (reply.status, reply.body["error_codes"], reply.headers["Retry-After"]) == (429, [90055], "7")
    assert isinstance(await browser.go(authorize_url(lab)), Page)
