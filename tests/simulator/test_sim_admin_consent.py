"""Administrator consent, both versions: the page, both callbacks, and what the tenant has granted afterwards."""

import urllib.parse
import uuid
from dataclasses import dataclass

import jwt
import pytest

from simulator.client import AdminRefused, App
from tests.support.browser import Callback, Page

REDIRECT = "https://app.example/connected"
ALL = "https://graph.microsoft.com/.default"


@dataclass
class Customer:
    """A tenant that has never seen the app, with an administrator and a plain user."""

    id: str
    domain: str
    administrator: str
    user: str


@pytest.fixture
async def customer(lab):
    app = App(
        lab.client_id,
        lab.secret,
        redirect_uris=(REDIRECT,),
        requested_roles=("Calendars.ReadWrite", "User.Read.All"),
        requested_scopes=("User.Read",),
        multi_tenant=True,
    )
    await lab.admin.put_tenant(lab.tenant_id, apps=[app])
    tenant_id = str(uuid.uuid4())
    domain = f"{tenant_id[:8]}.example"
    customer = Customer(tenant_id, domain, f"root@{domain}", f"eve@{domain}")
    await lab.admin.put_tenant(customer.id, domain=customer.domain)
    await lab.admin.put_user(customer.id, customer.administrator, administrator=True)
    await lab.admin.put_user(customer.id, customer.user)
    yield customer
    await lab.admin.reset(customer.id)


def consent_url(lab, path, **changes):
    asked = {"client_id": lab.client_id, "redirect_uri": REDIRECT, "state": "s1", **changes}
    query = urllib.parse.urlencode({name: value for name, value in asked.items() if value is not None})
    return f"{lab.addresses.login_url}/{path}?{query}"


async def as_administrator(lab, customer, browser, path, **changes):
    page = await browser.go(consent_url(lab, path, **changes))
    assert page.title == "Sign in", page.text
    return await browser.press(page, "Sign in", username=customer.administrator)


async def app_token(lab, customer):
    home, lab.tenant_id = lab.tenant_id, customer.id
    reply = await lab.token_reply()
    lab.tenant_id = home
    return reply


@pytest.mark.parametrize("authority", ["common", "id", "domain"])
async def test_the_first_version_grants_all_that_is_registered(lab, customer, open_browser, authority):
    assert (await app_token(lab, customer)).body["error_codes"] == [700016]
    path = getattr(customer, authority, authority)
    browser = open_browser()
    page = await as_administrator(lab, customer, browser, f"{path}/adminconsent")
    assert f"access for all users of {customer.domain}" in page.text
    assert "Calendars.ReadWrite" in page.text
    callback = await browser.press(page, "Accept")
    assert callback.address == REDIRECT
    assert callback.parameters == {"tenant": customer.id, "state": "s1", "admin_consent": "True"}
    info = await lab.admin.app(customer.id, lab.client_id)
    assert (info.roles, info.scopes) == (["Calendars.ReadWrite", "User.Read.All"], ["User.Read"])
    assert info.home_tenant == lab.tenant_id
    token = (await app_token(lab, customer)).body["access_token"]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["tid"], claims["roles"]) == (customer.id, info.roles)
    assert (await lab.graph("GET", f"/users/{customer.user}/events", token=token)).status == 200


@pytest.mark.parametrize("authority", ["organizations", "id"])
async def test_the_second_version_says_the_scope_too(lab, customer, open_browser, authority):
    browser = open_browser()
    path = f"{getattr(customer, authority, authority)}/v2.0/adminconsent"
    page = await as_administrator(lab, customer, browser, path, scope=ALL)
    callback = await browser.press(page, "Accept")
    assert callback.parameters == {"admin_consent": "True", "tenant": customer.id, "scope": ALL, "state": "s1"}
    assert (await lab.admin.app(customer.id, lab.client_id)).roles == ["Calendars.ReadWrite", "User.Read.All"]


async def test_the_second_version_grants_application_permissions_only_by_default(lab, customer, open_browser):
    browser = open_browser()
    path = f"{customer.id}/v2.0/adminconsent"
    page = await as_administrator(lab, customer, browser, path, scope="Calendars.Read")
    callback = await browser.press(page, "Accept")
    assert callback["scope"] == "https://graph.microsoft.com/Calendars.Read"
    info = await lab.admin.app(customer.id, lab.client_id)
    assert (info.roles, info.scopes) == ([], ["Calendars.Read"])
    token = (await app_token(lab, customer)).body["access_token"]
    assert "roles" not in jwt.decode(token, options={"verify_signature": False})


async def test_refusals_of_both_versions(lab, customer, open_browser):
    browser = open_browser()
    page = await as_administrator(lab, customer, browser, f"{customer.id}/adminconsent")
    first = await browser.press(page, "Cancel")
    assert first.parameters == {
        "error": "permission_denied",
        "error_description": "The admin canceled the request",
        "admin_consent": "True",
        "state": "s1",
    }
    page = await browser.go(consent_url(lab, f"{customer.id}/v2.0/adminconsent", scope=ALL))
    second = await browser.press(page, "Cancel")
    assert (second["admin_consent"], second["error"], second["state"]) == ("True", "consent_required", "s1")
    assert second["error_description"].startswith("AADSTS65004: ")
    with pytest.raises(AdminRefused, match="There is no app"):
        await lab.admin.app(customer.id, lab.client_id)


@pytest.mark.parametrize("path", ["adminconsent", "v2.0/adminconsent"])
async def test_who_is_no_administrator_can_only_go_back(lab, customer, open_browser, path):
    browser = open_browser()
    page = await browser.go(consent_url(lab, f"{customer.id}/{path}", scope=ALL))
    page = await browser.press(page, "Sign in", username=customer.user)
    assert (page.title, page.codes) == ("Need admin approval", [90094])
    back = await browser.press(page, "Return to the application")
    assert back.parameters == {
        "error": "access_denied",
        "error_subcode": "cancel",
        "admin_consent": "True",
        "state": "s1",
    }
    with pytest.raises(AdminRefused, match="There is no app"):
        await lab.admin.app(customer.id, lab.client_id)


@pytest.mark.parametrize(
    ("path", "changes", "code"),
    [
        ("common/v2.0/adminconsent", {"scope": ALL}, 90019),
        ("nowhere/adminconsent", {}, 90002),
        ("common/adminconsent", {"redirect_uri": "https://evil.example"}, 50011),
        ("common/adminconsent", {"client_id": None}, 900144),
        ("common/adminconsent", {"client_id": "5c5c5c5c-0000-4000-8000-000000000000"}, 700016),
    ],
)
async def test_requests_that_end_on_a_page(lab, customer, open_browser, path, changes, code):
    page = await open_browser().go(consent_url(lab, path, **changes))
    assert isinstance(page, Page)
    assert page.codes == [code]


@pytest.mark.parametrize(("scope", "code"), [(None, 900144), ("Calendars.Steal", 70011)])
async def test_a_bad_scope_is_sent_back(lab, customer, open_browser, scope, code):
    callback = await open_browser().go(consent_url(lab, f"{customer.id}/v2.0/adminconsent", scope=scope))
    assert isinstance(callback, Callback)
    assert callback["admin_consent"] == "True"
    assert callback["error_description"].startswith(f"AADSTS{code}: ")


async def test_an_app_of_one_tenant_cannot_be_consented_to_in_another(lab, customer, open_browser):
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret, redirect_uris=(REDIRECT,))])
    assert (await open_browser().go(consent_url(lab, f"{customer.id}/adminconsent"))).codes == [700016]
    assert (await open_browser().go(consent_url(lab, "common/adminconsent"))).codes == [50194]
