"""Entra ID: discovery, tokens by secret and certificate, refusals; and how Graph judges tokens."""

import asyncio
import base64
import datetime as dt
import time
import uuid

import jwt
import msal
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from simulator.client import App, Secret

SCOPE = "https://graph.microsoft.com/.default"


@pytest.fixture(scope="module")
def key_pair():
    """A private key and its self-signed certificate, in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), certificate.public_bytes(serialization.Encoding.PEM).decode(), certificate


@pytest.fixture
def msal_token(lab, monkeypatch):
    """Acquires a token as a real client would, over HTTPS with the simulator's certificate authority."""
    # requests lets these variables override the authority that the caller names.
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)

    def acquire(credential, tenant):
        app = msal.ConfidentialClientApplication(
            lab.client_id,
            authority=f"{lab.addresses.login_url}/{tenant}",
            client_credential=credential,
            instance_discovery=False,
            verify=lab.addresses.ca_file,
        )
        return app.acquire_token_for_client([SCOPE])

    async def in_thread(credential, tenant=None):
        return await asyncio.to_thread(acquire, credential, tenant or lab.tenant_id)

    return in_thread


async def test_msal_gets_a_token_by_secret_that_graph_takes_over_https(lab, msal_token):
    result = await msal_token(lab.secret)
    assert 3600 <= result["expires_in"] <= 5400
    reply = await lab.graph("GET", f"{lab.addresses.graph_url}{lab.events_path}", token=result["access_token"])
    assert reply.status == 200


@pytest.mark.parametrize("with_thumbprint", [False, True], ids=["PS256", "RS256"])
async def test_msal_gets_a_token_by_certificate(lab, msal_token, key_pair, with_thumbprint):
    private, public, certificate = key_pair
    await lab.admin.put_tenant(
        lab.tenant_id, apps=[App(lab.client_id, roles=("Calendars.ReadWrite",), certificates=(public,))]
    )
    credential = {"private_key": private, "public_certificate": public}
    if with_thumbprint:
        credential["thumbprint"] = certificate.fingerprint(hashes.SHA1()).hex()
    result = await msal_token(credential)
    assert (await lab.graph("GET", lab.events_path, token=result["access_token"])).status == 200
    claims = jwt.decode(result["access_token"], options={"verify_signature": False})
    assert claims["appidacr"] == "2"


async def test_msal_reports_a_wrong_secret_and_an_unknown_tenant(lab, msal_token):
    result = await msal_token("wrong")
    assert (result["error"], result["error_codes"]) == ("invalid_client", [7000215])
    with pytest.raises(ValueError, match="Unable to get authority configuration"):
        await msal_token(lab.secret, str(uuid.uuid4()))


async def test_discovery_and_keys(lab):
    base = f"{lab.addresses.login_url}/{lab.tenant_id}"
    for path in ("/v2.0/.well-known/openid-configuration", "/.well-known/openid-configuration"):
        document = (await lab.graph("GET", base + path)).body
        assert document["issuer"] == f"{base}/v2.0"
        assert document["token_endpoint"] == f"{base}/oauth2/v2.0/token"
        assert document["authorization_endpoint"].startswith(base)
    key = jwt.PyJWK((await lab.graph("GET", document["jwks_uri"])).body["keys"][0])
    claims = jwt.decode(lab.token, key.key, algorithms=["RS256"], audience="https://graph.microsoft.com")
    assert claims["iss"] == f"https://sts.windows.net/{lab.tenant_id}/"
    assert (claims["tid"], claims["appid"], claims["idtyp"]) == (lab.tenant_id, lab.client_id, "app")
    assert claims["roles"] == ["Calendars.ReadWrite"]


async def test_a_tenant_is_known_by_its_domain_too(lab):
    domain = f"{lab.tenant_id[:8]}.example"
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret)], domain=domain)
    url = f"{lab.addresses.http_url}/{domain.upper()}/oauth2/v2.0/token"
    form = {"client_id": lab.client_id, "client_secret": lab.secret, "grant_type": "client_credentials", "scope": SCOPE}
    async with lab.http.post(url, data=form) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("form", "status", "error", "code"),
    [
        ({"client_id": "5c5c5c5c-0000-4000-8000-000000000000"}, 400, "unauthorized_client", 700016),
        ({"client_id": ""}, 400, "invalid_request", 900144),
        ({"client_secret": "wrong"}, 401, "invalid_client", 7000215),
        ({"client_secret": "old"}, 401, "invalid_client", 7000222),
        ({"client_secret": ""}, 401, "invalid_client", 7000218),
        ({"client_assertion": "x"}, 401, "invalid_client", 700027),
        ({"scope": "openid"}, 400, "invalid_scope", 70011),
        ({"grant_type": "password"}, 400, "unsupported_grant_type", 70003),
    ],
)
async def test_the_token_endpoint_refuses_as_entra_does(lab, form, status, error, code):
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    app = App(lab.client_id, lab.secret, ("Calendars.ReadWrite",), secrets=(Secret("old", past),))
    await lab.admin.put_tenant(lab.tenant_id, apps=[app])
    reply = await lab.token_reply(**form)
    assert (reply.status, reply.body["error"], reply.body["error_codes"]) == (status, error, [code])
    description = reply.body["error_description"]
    assert description.startswith(f"AADSTS{code}: ")
    assert "\r\nTrace ID: " in description
    assert set(reply.body) == {
        "error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id", "error_uri"
    }  # fmt: skip


async def test_unknown_tenants_and_disabled_apps_are_refused(lab):
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret, disabled=True)])
    reply = await lab.token_reply()
    assert (reply.body["error"], reply.body["error_codes"]) == ("unauthorized_client", [7000112])
    lab.tenant_id, known = str(uuid.uuid4()), lab.tenant_id
    reply = await lab.token_reply()
    lab.tenant_id = known
    assert (reply.status, reply.body["error"], reply.body["error_codes"]) == (400, "invalid_request", [90002])


async def test_bad_assertions_are_refused(lab, key_pair):
    private, public, certificate = key_pair
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, certificates=(public,))])
    thumbprint = base64.urlsafe_b64encode(certificate.fingerprint(hashes.SHA1())).decode().rstrip("=")
    now = int(time.time())
    audience = f"{lab.addresses.http_url}/{lab.tenant_id}/oauth2/v2.0/token"
    good = {
        "aud": audience, "iss": lab.client_id, "sub": lab.client_id, "jti": "1", "nbf": now, "exp": now + 600
    }  # fmt: skip
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    async def codes(claims, key=private, x5t=thumbprint, kind="urn:ietf:params:oauth:client-assertion-type:jwt-bearer"):
        assertion = jwt.encode(claims, key, algorithm="RS256", headers={"x5t": x5t})
        reply = await lab.token_reply(client_secret="", client_assertion=assertion, client_assertion_type=kind)
        return reply.body.get("error_codes")

    assert await codes(good) is None
    assert await codes({**good, "aud": "https://elsewhere.example"}) == [700027]
    assert await codes({**good, "exp": now - 3600}) == [700027]
    assert await codes({**good, "iss": "another"}) == [700027]
    assert await codes(good, key=other) == [700027]
    assert await codes(good, x5t="AAAA") == [700027]
    assert await codes(good, kind="saml") == [700027]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_without_consent_the_token_has_no_roles_and_graph_refuses(lab, method, make_event):
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret)])
    token = await lab.sign_in()
    assert "roles" not in jwt.decode(token, options={"verify_signature": False})
    reply = await lab.graph(method, lab.events_path, make_event() if method == "POST" else None, token=token)
    assert (reply.status, reply.code) == (403, "ErrorAccessDenied")


async def test_reading_rights_do_not_write(lab, make_event):
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret, ("Calendars.Read",))])
    token = await lab.sign_in()
    assert (await lab.graph("GET", lab.events_path, token=token)).status == 200
    assert (await lab.graph("POST", lab.events_path, make_event(), token=token)).status == 403


async def test_exchange_rbac_grants_what_the_token_does_not_show(lab):
    await lab.admin.put_user(lab.tenant_id, "ben@contoso.example")
    app = App(lab.client_id, lab.secret, scoped_mailboxes=(lab.user.upper(),))
    await lab.admin.put_tenant(lab.tenant_id, apps=[app])
    token = await lab.sign_in()
    assert (await lab.graph("GET", lab.events_path, token=token)).status == 200
    assert (await lab.graph("GET", "/users/ben@contoso.example/events", token=token)).status == 403


async def test_graph_refuses_tokens_it_cannot_trust(lab, key_pair):
    now = int(time.time())
    claims = {**jwt.decode(lab.token, options={"verify_signature": False}), "exp": now + 600}
    forged = jwt.encode(claims, key_pair[0], algorithm="RS256")
    for token in ("", "nonsense", lab.token[:-8], forged, jwt.encode(claims, "k" * 32, algorithm="HS256")):
        reply = await lab.graph("GET", lab.events_path, token=token)
        assert (reply.status, reply.code) == (401, "InvalidAuthenticationToken")
        assert reply.headers["WWW-Authenticate"].startswith('Bearer realm="", authorization_uri=')
    assert (await lab.graph("GET", lab.events_path, token="")).message == "Access token is empty."


async def test_a_token_expires(lab):
    await lab.admin.set_limits(lab.tenant_id, token_lifetime_s=600)
    reply = await lab.token_reply()
    assert reply.body["expires_in"] == 600
    token = reply.body["access_token"]
    await lab.admin.advance_clock(lab.tenant_id, 590)
    assert (await lab.graph("GET", lab.events_path, token=token)).status == 200
    await lab.admin.advance_clock(lab.tenant_id, 20)
    expired = await lab.graph("GET", lab.events_path, token=token)
    assert (expired.status, expired.message) == (401, "Lifetime validation failed, the token is expired.")


async def test_a_token_opens_only_its_own_tenant(lab):
    other = str(uuid.uuid4())
    await lab.admin.put_tenant(other, apps=[App(lab.client_id, lab.secret, ("Calendars.ReadWrite",))])
    await lab.admin.put_user(other, "eve@fabrikam.example")
    assert (await lab.graph("GET", "/users/eve@fabrikam.example/events")).code == "ErrorInvalidUser"
    await lab.admin.reset(other)
