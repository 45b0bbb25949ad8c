"""Whatever is sent to the login host, the answer is a refusal in its own form: never a 500, never a hang."""

import urllib.parse

import pytest

FORM = "application/x-www-form-urlencoded"
PATHS = ("oauth2/v2.0/token", "oauth2/v2.0/authorize", "adminconsent", "v2.0/adminconsent")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (FORM, b""),
        (FORM, b"\xff\xfe=\xff&client_id=\xff"),
        (FORM, b"client_id=%ff%fe&grant_type=%00"),
        (FORM, b"client_id=a&client_id=b&step=sign_in&username=" + b"x" * 10_000),
        (FORM + "; charset=klingon", b"client_id=a"),
        (FORM + "; charset=utf-16", b"client_id=a"),
        ("multipart/form-data", b"no boundary"),
        ("multipart/form-data; boundary=x", b"--x\r\nnonsense"),
        ("application/json", b'{"client_id": 7}'),
        ("nonsense", b"\x00"),
    ],
)
async def test_bodies_that_cannot_be_read(lab, path, content_type, body):
    url = f"{lab.addresses.http_url}/{lab.tenant_id}/{path}"
    async with lab.http.post(url, data=body, headers={"Content-Type": content_type}) as response:
        assert 400 <= response.status < 500, await response.text()


@pytest.mark.parametrize("grant_type", ["client_credentials", "authorization_code", "refresh_token"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("claims", "[]"),
        ("claims", '{"access_token":null}'),
        ("claims", '{"access_token":{"nbf":{"value":1e300}}}'),
        ("claims", '{"access_token":{"nbf":{"value":"soon"}}}'),
        ("claims", '{"access_token":{"xms_cc":{"values":7}}}'),
        ("scope", "\x00"),
        ("client_secret", "é"),
        ("client_assertion", "a.b.c"),
        ("client_assertion", "eyJhbGciOiJub25lIn0.e30."),
    ],
)
async def test_values_that_cannot_be_used(lab, grant_type, name, value):
    reply = await lab.token_reply(**{"grant_type": grant_type, name: value})
    assert reply.status in (400, 401)
    assert reply.body["error_codes"]


@pytest.mark.parametrize("redirect_uri", ["http://[", "javascript:alert(1)", "//evil.example", "\r\nX: y", "é"])
@pytest.mark.parametrize("path", PATHS[1:])
async def test_addresses_that_nothing_is_sent_to(lab, path, redirect_uri):
    query = urllib.parse.urlencode({"client_id": lab.client_id, "redirect_uri": redirect_uri, "scope": "openid"})
    url = f"{lab.addresses.http_url}/{lab.tenant_id}/{path}?{query}"
    async with lab.http.get(url, allow_redirects=False) as response:
        assert response.status == 400
        assert "AADSTS50011" in await response.text()
