"""Notifications with resource data: how they are asked for, what they carry, and that only their reader can read it.

Contents are opened here as an application would, by what the documentation says, with nothing of the simulator.
"""

import base64
import hashlib
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, padding
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from simulator.client import App
from simulator.notifications.encryption import CERTIFICATE_MAX_CHARS
from tests.support.certificates import elliptic_key, rsa_key, self_signed
from tests.support.receiver import in_minutes, receiving, subscribe, wish

PUBLISHER = "0bf30f3b-4a52-48df-9a82-234910c4a086"
OTHER_APP = "11111111-2222-4333-8444-555555555555"
IMMUTABLE = {"Prefer": 'IdType="ImmutableId"'}
PROPERTY = "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name Colour"


@pytest.fixture(scope="module")
def reader():
    """The application's key pair."""
    return self_signed()


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


def rich(lab, reader, select: str = "subject,start", **changes):
    """The properties that make a subscription a rich one."""
    return {
        "resource": f"users/{lab.user_id}/events?$select={select}",
        "includeResourceData": True,
        "encryptionCertificate": reader.base64_der,
        "encryptionCertificateId": "the first",
        **changes,
    }


def opened(item, key) -> dict:
    """The content of a notification, after its signature was verified."""
    sealed = item["encryptedContent"]
    oaep = rsa_padding.OAEP(rsa_padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    data_key = key.decrypt(base64.b64decode(sealed["dataKey"], validate=True), oaep)
    data = base64.b64decode(sealed["data"], validate=True)
    expected = hmac.new(data_key, data, hashlib.sha256).digest()
    assert hmac.compare_digest(expected, base64.b64decode(sealed["dataSignature"], validate=True))
    decryptor = Cipher(algorithms.AES(data_key), modes.CBC(data_key[:16])).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    return json.loads(unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize())


async def verified(lab, token: str, audience: str, tenant: str | None = None) -> dict:
    """The claims of a validation token, checked with the keys that Entra ID publishes."""
    path = f"{lab.addresses.login_url}/{tenant or lab.tenant_id}/.well-known/openid-configuration"
    jwks_uri = (await lab.graph("GET", path)).body["jwks_uri"]
    keys = jwt.PyJWKSet.from_dict((await lab.graph("GET", jwks_uri)).body)
    key = keys[jwt.get_unverified_header(token)["kid"]]
    issuer = f"https://sts.windows.net/{lab.tenant_id}/"
    return jwt.decode(token, key, algorithms=["RS256"], audience=audience, issuer=issuer)


async def test_what_was_selected_is_in_the_content_and_nothing_else(lab, receiver, reader):
    made = await subscribe(lab, receiver, **rich(lab, reader))
    event = await lab.create()
    (told,) = await receiver.wait_for(1)
    sealed = told.pop("encryptedContent")
    path = f"Users/{lab.user_id}/Events/{event['id']}"
    assert told == {
        "subscriptionId": made["id"],
        "subscriptionExpirationDateTime": made["expirationDateTime"],
        "changeType": "created",
        "resource": path,
        "clientState": "hush",
        "tenantId": lab.tenant_id,
        "resourceData": {
            "@odata.type": "#Microsoft.Graph.Event",
            "@odata.id": path,
            "@odata.etag": event["@odata.etag"],
            "id": event["id"],
        },
    }
    assert set(sealed) == {
        "data",
        "dataKey",
        "dataSignature",
        "encryptionCertificateId",
        "encryptionCertificateThumbprint",
    }
    assert (sealed["encryptionCertificateId"], sealed["encryptionCertificateThumbprint"]) == (
        "the first",
        reader.thumbprint,
    )
    content = opened({"encryptedContent": sealed}, reader.key)
    assert content == {"subject": event["subject"], "start": event["start"]}
    assert event["subject"] not in json.dumps(receiver.posts)


async def test_the_subscription_shows_what_makes_it_rich(lab, receiver, reader):
    asked = rich(lab, reader)
    made = await subscribe(lab, receiver, **asked)
    shown = (await lab.graph("GET", f"/subscriptions/{made['id']}")).body
    for one in (made, shown):
        assert {name: one[name] for name in asked} == asked


async def test_the_content_is_that_of_the_write_it_tells_of(lab, receiver, reader):
    await subscribe(lab, receiver, **rich(lab, reader, "subject,isOrganizer"))
    receiver.gate.clear()
    event = await lab.create()
    await receiver.wait_for(1)
    for subject in ("One", "Two"):
        await lab.graph("PATCH", lab.event_path(event["id"]), {"subject": subject})
    await lab.graph("DELETE", lab.event_path(event["id"]))
    receiver.gate.set()
    *told, deleted = await receiver.wait_for(4)
    assert [opened(item, reader.key)["subject"] for item in told] == ["Leave", "One", "Two"]
    assert (deleted["changeType"], "encryptedContent" in deleted) == ("deleted", False)


async def test_a_deleted_event_has_neither_content_nor_token(lab, receiver, reader):
    event = await lab.create()
    await subscribe(lab, receiver, changeType="deleted", **rich(lab, reader))
    await lab.graph("DELETE", lab.event_path(event["id"]))
    await receiver.wait_for(1)
    (post,) = receiver.posts
    assert set(post) == {"path", "value"}
    assert set(post["value"][0]) >= {"resourceData", "clientState"}
    assert "encryptedContent" not in post["value"][0]


async def test_an_invitation_is_told_as_its_organizers(lab, receiver, reader, make_event):
    await subscribe(lab, receiver, changeType="created", **rich(lab, reader, "organizer,isOrganizer,responseStatus"))
    address = "olga@fabrikam.example"
    await lab.admin.invite(lab.tenant_id, lab.user, organizer=address, event=make_event())
    (told,) = await receiver.wait_for(1)
    content = opened(told, reader.key)
    assert (content["isOrganizer"], content["organizer"]["emailAddress"]["address"]) == (False, address)
    assert content["responseStatus"]["response"] == "notResponded"


async def test_extended_properties_can_be_expanded(lab, receiver, reader, make_event):
    expand = f"singleValueExtendedProperties($filter=id eq '{PROPERTY}')"
    await subscribe(lab, receiver, **rich(lab, reader, f"subject&$expand={expand}"))
    await lab.create(make_event(singleValueExtendedProperties=[{"id": PROPERTY, "value": "Blue"}]))
    (told,) = await receiver.wait_for(1)
    assert opened(told, reader.key) == {
        "subject": "Leave",
        "singleValueExtendedProperties": [{"id": PROPERTY, "value": "Blue"}],
    }


async def test_ids_stand_beside_the_content_in_the_format_asked_for(lab, receiver, reader, make_event):
    body = wish(lab, receiver, changeType="created", **rich(lab, reader, "id,type"))
    made = await lab.graph("POST", "/subscriptions", body, headers=IMMUTABLE)
    assert made.status == 201, made.body
    await lab.create()
    (told,) = await receiver.wait_for(1)
    (stored,) = await lab.admin.events(lab.tenant_id, lab.user)
    assert told["resourceData"]["id"] == stored.immutable_id
    assert opened(told, reader.key) == {"type": "singleInstance"}


async def test_every_content_has_a_key_of_its_own(lab, receiver, reader):
    await subscribe(lab, receiver, **rich(lab, reader, "showAs"))
    await lab.create()
    await lab.create()
    one, two = await receiver.wait_for(2)
    assert opened(one, reader.key) == opened(two, reader.key)
    for name in ("data", "dataKey", "dataSignature"):
        assert one["encryptedContent"][name] != two["encryptedContent"][name]


async def test_the_validation_token_verifies_with_entras_keys(lab, receiver, reader):
    await subscribe(lab, receiver, **rich(lab, reader))
    await lab.create()
    await receiver.wait_for(1)
    (token,) = receiver.posts[0]["validationTokens"]
    for tenant in (lab.tenant_id, "common"):
        claims = await verified(lab, token, lab.client_id, tenant)
        assert (claims["appid"], claims["tid"], claims["ver"]) == (PUBLISHER, lab.tenant_id, "1.0")
    with pytest.raises(jwt.InvalidAudienceError):
        await verified(lab, token, OTHER_APP)
    forged = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    with pytest.raises(jwt.InvalidSignatureError):
        await verified(lab, forged, lab.client_id)
    # It proves who sends a notification; it opens nothing.
    assert (await lab.graph("GET", "/subscriptions", token=token)).status == 401


async def test_applications_at_one_address_have_a_token_each_and_basic_ones_none(lab, receiver, reader):
    apps = [App(client_id, lab.secret, ("Calendars.Read",)) for client_id in (lab.client_id, OTHER_APP)]
    await lab.admin.put_tenant(lab.tenant_id, apps=apps)
    other = await lab.sign_in(client_id=OTHER_APP)
    wanted = wish(lab, receiver, **rich(lab, reader))
    for token, body in ((await lab.sign_in(), wanted), (other, wanted), (other, wish(lab, receiver))):
        made = await lab.graph("POST", "/subscriptions", body, token=token)
        assert made.status == 201, made.body
    await lab.admin.set_limits(lab.tenant_id, notification_latency_ms=60_000)
    await lab.admin.user_creates(lab.tenant_id, lab.user, {"start": _at(9), "end": _at(10)})
    assert (await lab.admin.deliveries(lab.tenant_id)).waiting == 3
    await lab.admin.advance_clock(lab.tenant_id, 61)
    items = await receiver.wait_for(3)
    (post,) = receiver.posts
    tokens = post["validationTokens"]
    claims = [jwt.decode(token, options={"verify_signature": False}) for token in tokens]
    assert sorted(claim["aud"] for claim in claims) == sorted((lab.client_id, OTHER_APP))
    assert sum("encryptedContent" in item for item in items) == 2


def _at(hour: int) -> dict[str, str]:
    return {"dateTime": f"2026-12-01T{hour:02}:00:00", "timeZone": "UTC"}


async def test_basic_notifications_carry_no_token(lab, receiver):
    await subscribe(lab, receiver, includeResourceData=False)
    await lab.create()
    await receiver.wait_for(1)
    assert set(receiver.posts[0]) == {"path", "value"}


async def test_lifecycle_notifications_of_a_rich_subscription_stay_as_they_are(lab, receiver, reader):
    made = await subscribe(lab, receiver, **rich(lab, reader))
    await lab.admin.tell_lifecycle(lab.tenant_id, made["id"], "missed")
    await receiver.wait_for(1, "/lifecycle")
    assert set(receiver.posts[0]) == {"path", "value"}


async def test_the_same_combination_is_a_conflict_only_with_the_same_content(lab, receiver, reader):
    await subscribe(lab, receiver)
    made = await subscribe(lab, receiver, **rich(lab, reader, "subject,start"))
    await subscribe(lab, receiver, **rich(lab, reader, "subject"))
    again = await lab.graph("POST", "/subscriptions", wish(lab, receiver, **rich(lab, reader, "start,subject")))
    assert (again.status, made["id"] in again.message) == (409, True)


async def test_a_life_with_resource_data_is_at_most_1440_minutes(lab, receiver, reader):
    longest = in_minutes(1_439)
    made = await subscribe(lab, receiver, expirationDateTime=longest, **rich(lab, reader))
    assert made["expirationDateTime"] == longest
    path = f"/subscriptions/{made['id']}"
    too_long = {"expirationDateTime": in_minutes(1_441)}
    renewal = await lab.graph("PATCH", path, too_long)
    creation = await lab.graph("POST", "/subscriptions", wish(lab, receiver, **too_long, **rich(lab, reader, "end")))
    for reply in (renewal, creation):
        assert (reply.status, "1440 minutes" in reply.message) == (400, True)
    assert (await lab.graph("GET", path)).body["expirationDateTime"] == longest


async def test_what_makes_it_rich_cannot_be_changed(lab, receiver, reader):
    made = await subscribe(lab, receiver, **rich(lab, reader))
    for name, value in (("includeResourceData", False), ("encryptionCertificateId", "x")):
        reply = await lab.graph("PATCH", f"/subscriptions/{made['id']}", {name: value})
        assert reply.status == 400


@pytest.mark.parametrize("bits", [2048, 4096])
async def test_keys_of_2048_to_4096_bits_are_taken(lab, receiver, bits):
    reader = self_signed(rsa_key(bits))
    await subscribe(lab, receiver, **rich(lab, reader))
    await lab.create()
    (told,) = await receiver.wait_for(1)
    assert opened(told, reader.key)["subject"] == "Leave"


@pytest.mark.parametrize(
    "certificate",
    [
        pytest.param(lambda: self_signed(rsa_key(1024)).base64_der, id="too few bits"),
        pytest.param(lambda: self_signed(rsa_key(4104)).base64_der, id="too many bits"),
        pytest.param(lambda: self_signed(elliptic_key()).base64_der, id="no RSA key"),
        pytest.param(lambda: self_signed(from_days=-2, to_days=-1).base64_der, id="expired"),
        pytest.param(lambda: self_signed(from_days=1, to_days=2).base64_der, id="not yet valid"),
        pytest.param(lambda: "not base64!", id="no base64"),
        pytest.param(lambda: base64.b64encode(b"no certificate").decode(), id="no certificate"),
        pytest.param(lambda: self_signed().base64_der[:400], id="half a certificate"),
        pytest.param(lambda: "A" * (CERTIFICATE_MAX_CHARS + 4), id="too long"),
        pytest.param(lambda: "-----BEGIN CERTIFICATE-----\n" + self_signed().base64_der, id="PEM"),
        pytest.param(lambda: "", id="empty"),
        pytest.param(lambda: None, id="missing"),
    ],
)
async def test_a_certificate_that_cannot_be_used_is_refused(lab, receiver, reader, certificate):
    wanted = wish(lab, receiver, **rich(lab, reader, encryptionCertificate=certificate()))
    reply = await lab.graph("POST", "/subscriptions", wanted)
    assert (reply.status, reply.code) == (400, "ValidationError")
    assert receiver.validations == []


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"encryptionCertificateId": None}, 400, "ValidationError"),
        ({"encryptionCertificateId": "x" * 129}, 400, "ValidationError"),
        ({"encryptionCertificateId": 5}, 400, "RequestBodyRead"),
        ({"encryptionCertificate": ["x"]}, 400, "RequestBodyRead"),
        ({"includeResourceData": 1}, 400, "RequestBodyRead"),
        ({"includeResourceData": False}, 400, "InvalidRequest"),
        ({"resource": "users/{user}/events"}, 400, "ExtensionError"),
        ({"resource": "users/{user}/events?$select="}, 400, "RequestBroker--ParseUri"),
        ({"resource": "users/{user}/events?$select=colour"}, 400, "RequestBroker--ParseUri"),
        ({"resource": "users/{user}/events?$select=subject,body"}, 400, "ExtensionError"),
        ({"resource": "users/{user}/events?$select=subject&$top=10"}, 400, "ExtensionError"),
        ({"resource": "users/{user}/events?$select=subject&$orderby=subject"}, 400, "ExtensionError"),
        ({"resource": "users/{user}/events?$select=subject&$expand=extensions"}, 400, "ExtensionError"),
        ({"resource": "users/{user}/events?$select=subject&$filter=x"}, 400, "RequestBroker--ParseUri"),
        ({"resource": "users/{user}/events?$select=subject&$filter=subject eq 'x'"}, 501, "NotImplemented"),
        ({"resource": "users/{user}/events?$select=subject&$search=x"}, 400, "BadRequest"),
    ],
)
async def test_a_rich_subscription_that_is_not_right_is_refused(lab, receiver, reader, changes, status, code):
    if "resource" in changes:
        changes = {"resource": changes["resource"].replace("{user}", lab.user_id)}
    reply = await lab.graph("POST", "/subscriptions", wish(lab, receiver, **rich(lab, reader, **changes)))
    assert (reply.status, reply.code) == (status, code), reply.body
    assert receiver.validations == []
    assert await lab.admin.subscriptions(lab.tenant_id) == []


async def test_the_longest_certificate_id_comes_back(lab, receiver, reader):
    await subscribe(lab, receiver, **rich(lab, reader, encryptionCertificateId="x" * 128))
    await lab.create()
    (told,) = await receiver.wait_for(1)
    assert told["encryptedContent"]["encryptionCertificateId"] == "x" * 128


async def test_reading_the_calendar_is_enough_and_less_is_not(lab, receiver, reader, delegated):
    wanted = wish(lab, receiver, **rich(lab, reader))
    for role, status in (("Calendars.Read", 201), ("Calendars.ReadBasic.All", 403)):
        await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret, (role,))])
        reply = await lab.graph("POST", "/subscriptions", wanted, token=await lab.sign_in())
        assert reply.status == status, reply.body
    token = await delegated("Calendars.Read")
    own = await lab.graph("POST", "/subscriptions", {**wanted, "resource": "me/events?$select=subject"}, token=token)
    assert own.status == 201, own.body
    await lab.create()
    told = await receiver.wait_for(2)
    contents = {item["subscriptionId"]: opened(item, reader.key) for item in told}
    assert contents[own.body["id"]] == {"subject": "Leave"}
