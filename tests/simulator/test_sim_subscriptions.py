"""Subscriptions: their handshake, rules, renewal, quota, and who may see them."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest
import trustme
from aiohttp import web

from simulator.client import App, Fate
from tests.support.receiver import in_minutes, receiving, subscribe, wish

OTHER_APP = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


async def test_a_subscription_is_made_read_renewed_and_deleted(lab, receiver):
    expiry = in_minutes(600)
    made = await subscribe(lab, receiver, expirationDateTime=expiry)
    assert made.pop("@odata.context").endswith("/v1.0/$metadata#subscriptions/$entity")
    assert made == {
        "id": made["id"],
        "resource": f"users/{lab.user_id}/events",
        "applicationId": lab.client_id,
        "changeType": "created,updated,deleted",
        "clientState": "hush",
        "notificationUrl": receiver.notify_url,
        "notificationQueryOptions": None,
        "lifecycleNotificationUrl": receiver.lifecycle_url,
        "expirationDateTime": expiry,
        "creatorId": (await lab.admin.app(lab.tenant_id, lab.client_id)).object_id,
        "includeResourceData": None,
        "latestSupportedTlsVersion": "v1_2",
        "encryptionCertificate": None,
        "encryptionCertificateId": None,
        "notificationUrlAppId": None,
    }
    path = f"/subscriptions/{made['id']}"
    assert (await lab.graph("GET", path)).body["id"] == made["id"]
    assert [one["id"] for one in (await lab.graph("GET", "/subscriptions")).body["value"]] == [made["id"]]
    later = in_minutes(1200)
    renewed = await lab.graph("PATCH", path, {"expirationDateTime": later})
    assert (renewed.status, renewed.body["expirationDateTime"]) == (200, later)
    assert (await lab.graph("DELETE", path)).status == 204
    assert (await lab.graph("GET", path)).code == "ResourceNotFound"
    assert (await lab.graph("DELETE", path)).status == 404
    assert (await lab.graph("GET", "/subscriptions")).body["value"] == []
    assert {entry.operation for entry in (await lab.admin.ledger(lab.tenant_id, mutation=True)).value} == {
        "create_subscription",
        "update_subscription",
        "delete_subscription",
    }


async def test_both_addresses_are_validated_with_a_token_in_plain_text(lab, receiver):
    await subscribe(lab, receiver, notificationUrl=f"{receiver.notify_url}?key=1")
    assert {request.path for request in receiver.validations} == {"/notify", "/lifecycle"}
    for request in receiver.validations:
        assert (request.method, request.headers["Content-Type"]) == ("POST", "text/plain; charset=utf-8")
        assert {" ", ":"} <= set(request.query["validationToken"])
    assert [request.query.get("key") for request in receiver.validations if request.path == "/notify"] == ["1"]
    kinds = [entry.kind for entry in (await lab.admin.deliveries(lab.tenant_id)).value]
    assert kinds == ["validation", "validation"]


@pytest.mark.parametrize(
    "answer",
    [
        lambda token: web.Response(text=token, status=202),
        lambda _: web.Response(status=500),
        lambda token: web.Response(text=quote(token)),
        lambda token: web.Response(text=token, content_type="text/html"),
        web.json_response,
        lambda _: web.Response(status=302, headers={"Location": "/elsewhere"}),
    ],
)
async def test_an_address_that_does_not_echo_the_token_is_refused(lab, receiver, answer):
    receiver.validate = answer
    reply = await lab.graph("POST", "/subscriptions", wish(lab, receiver))
    assert (reply.status, reply.code) == (400, "ValidationError")
    assert reply.message == (
        "Subscription validation request failed. Notification endpoint must respond with 200 OK to validation request."
    )
    assert await lab.admin.subscriptions(lab.tenant_id) == []


async def test_an_address_that_does_not_answer_in_time_is_refused(lab, receiver):
    assert (await lab.admin.limits(lab.tenant_id)).validation_timeout_ms == 10_000
    await lab.admin.set_limits(lab.tenant_id, validation_timeout_ms=50)
    receiver.gate.clear()
    reply = await lab.graph("POST", "/subscriptions", wish(lab, receiver))
    assert (reply.status, reply.code) == (400, "ValidationError")
    assert reply.message == "Subscription validation request timed out."


async def test_nothing_is_kept_of_an_address_that_cannot_be_reached(lab, receiver):
    reply = await lab.graph("POST", "/subscriptions", wish(lab, receiver, notificationUrl="http://127.0.0.1:9/x"))
    assert (reply.status, reply.code) == (400, "ValidationError")


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"changeType": None}, 400),
        ({"changeType": "moved"}, 400),
        ({"changeType": "created,"}, 400),
        ({"changeType": 7}, 400),
        ({"resource": None}, 400),
        ({"resource": "/me/events"}, 400),
        ({"resource": "users/{user}/messages"}, 400),
        ({"resource": "users/{user}/calendar/events"}, 400),
        ({"resource": "users/{user}/events?$filter=x"}, 400),
        ({"resource": "users//events"}, 400),
        ({"resource": "users/nobody@contoso.example/events"}, 404),
        ({"clientState": "x" * 129}, 400),
        ({"clientState": 5}, 400),
        ({"expirationDateTime": None}, 400),
        ({"expirationDateTime": "tomorrow"}, 400),
        ({"expirationDateTime": "2099-01-01"}, 400),
        ({"expirationDateTime": "2020-01-01T00:00:00Z"}, 400),
        ({"expirationDateTime": in_minutes(20_000)}, 400),
        ({"notificationUrl": None}, 400),
        ({"notificationUrl": "http://example.org/notify"}, 400),
        ({"notificationUrl": "ftp://127.0.0.1/notify"}, 400),
        ({"notificationUrl": "https://"}, 400),
        ({"notificationUrl": "http://127.0.0.1:99999/x"}, 400),
        ({"notificationUrl": "http://[::1/x"}, 400),
        ({"notificationUrl": "http://127.0.0.1/" + "x" * 2048}, 400),
        ({"notificationUrl": "EventHub:https://vault/secrets/x?tenantId=y"}, 501),
        ({"lifecycleNotificationUrl": "nonsense"}, 400),
        ({"latestSupportedTlsVersion": "v9"}, 400),
        ({"resource": "users/{user}/events?$select=subject"}, 400),
        ({"includeResourceData": True}, 400),
        ({"includeResourceData": "true"}, 400),
        ({"includeResourceData": False, "encryptionCertificate": "MIIB"}, 400),
        ({"encryptionCertificate": "MIIB"}, 400),
        ({"encryptionCertificateId": "one"}, 400),
        ({"notificationQueryOptions": "x"}, 501),
        ({"colour": "red"}, 400),
    ],
)
async def test_every_property_is_checked(lab, receiver, changes, status):
    if isinstance(changes.get("resource"), str):
        changes = {"resource": changes["resource"].replace("{user}", lab.user_id)}
    reply = await lab.graph("POST", "/subscriptions", wish(lab, receiver, **changes))
    assert reply.status == status, reply.body
    assert reply.body["error"]["code"]
    assert receiver.validations == []
    assert await lab.admin.subscriptions(lab.tenant_id) == []


async def test_a_life_is_at_most_10080_minutes_and_at_least_45(lab, receiver):
    longest = in_minutes(10_079)
    assert (await subscribe(lab, receiver, expirationDateTime=longest))["expirationDateTime"] == longest
    raised = await subscribe(lab, receiver, changeType="created", expirationDateTime=in_minutes(1))
    expires = datetime.fromisoformat(raised["expirationDateTime"])
    assert timedelta(minutes=44, seconds=50) < expires - datetime.now(UTC) <= timedelta(minutes=45)
    raised = await lab.graph("PATCH", f"/subscriptions/{raised['id']}", {"expirationDateTime": in_minutes(2)})
    expires = datetime.fromisoformat(raised.body["expirationDateTime"])
    assert timedelta(minutes=44, seconds=50) < expires - datetime.now(UTC) <= timedelta(minutes=45)


async def test_the_same_combination_is_a_conflict_until_it_ends(lab, receiver):
    made = await subscribe(lab, receiver, expirationDateTime=in_minutes(60))
    again = wish(lab, receiver, changeType="deleted,created,updated", resource=f"/users/{lab.user}/events")
    reply = await lab.graph("POST", "/subscriptions", again)
    assert (reply.status, made["id"] in reply.message) == (409, True)
    await subscribe(lab, receiver, changeType="created")
    await lab.admin.advance_clock(lab.tenant_id, 61 * 60)
    assert (await lab.graph("GET", f"/subscriptions/{made['id']}", token=await lab.sign_in())).status == 404


async def test_two_at_once_do_not_both_get_the_same_combination(lab, receiver):
    receiver.gate.clear()
    both = [asyncio.create_task(lab.graph("POST", "/subscriptions", wish(lab, receiver))) for _ in range(2)]
    await receiver.wait_for_validations(4)
    receiver.gate.set()
    assert sorted(reply.status for reply in await asyncio.gather(*both)) == [201, 409]


async def test_a_mailbox_has_a_quota_over_all_applications(lab, receiver):
    assert (await lab.admin.limits(lab.tenant_id)).subscriptions_max == 1000
    await lab.admin.set_limits(lab.tenant_id, subscriptions_max=2)
    for kind in ("created", "updated"):
        await subscribe(lab, receiver, changeType=kind)
    reply = await lab.graph("POST", "/subscriptions", wish(lab, receiver, changeType="deleted"))
    assert (reply.status, "limit" in reply.message) == (403, True)
    other = (await lab.admin.put_user(lab.tenant_id, "ben@contoso.example")).id
    await subscribe(lab, receiver, resource=f"users/{other}/events")


async def test_subscribing_needs_to_read_the_calendar(lab, receiver):
    apps = [App(OTHER_APP, lab.secret, ("User.Read.All",)), App(lab.client_id, lab.secret, ("Calendars.Read",))]
    await lab.admin.put_tenant(lab.tenant_id, apps=apps)
    denied = await lab.sign_in(client_id=OTHER_APP)
    reply = await lab.graph("POST", "/subscriptions", wish(lab, receiver), token=denied)
    assert (reply.status, reply.code) == (403, "ErrorAccessDenied")
    enough = await lab.graph("POST", "/subscriptions", wish(lab, receiver), token=await lab.sign_in())
    assert enough.status == 201
    # Another application neither sees nor touches it.
    path = f"/subscriptions/{enough.body['id']}"
    assert (await lab.graph("GET", "/subscriptions", token=denied)).body["value"] == []
    for method, end, body in (("GET", "", None), ("DELETE", "", None), ("POST", "/reauthorize", None)):
        assert (await lab.graph(method, path + end, body, token=denied)).status == 404


@pytest.mark.parametrize(
    "changes",
    [
        {"lifecycleNotificationUrl": "http://127.0.0.1/x"},
        {"changeType": "created"},
        {"resource": "x"},
        {"clientState": "x"},
        {},
        {"colour": "red"},
        {"expirationDateTime": "2020-01-01T00:00:00Z"},
    ],
)
async def test_what_a_patch_cannot_change(lab, receiver, changes):
    made = await subscribe(lab, receiver, lifecycleNotificationUrl=None)
    reply = await lab.graph("PATCH", f"/subscriptions/{made['id']}", changes)
    assert reply.status == 400
    (known,) = (await lab.graph("GET", "/subscriptions")).body["value"]
    assert known["expirationDateTime"] == made["expirationDateTime"]


async def test_a_new_notification_address_is_validated(lab, receiver):
    made = await subscribe(lab, receiver)
    path = f"/subscriptions/{made['id']}"
    moved = await lab.graph("PATCH", path, {"notificationUrl": f"{receiver.url}/elsewhere"})
    assert (moved.status, moved.body["notificationUrl"]) == (200, f"{receiver.url}/elsewhere")
    await lab.create()
    await receiver.wait_for(1, "/elsewhere")
    receiver.validate = lambda _: web.Response(status=404)
    refused = await lab.graph("PATCH", path, {"notificationUrl": receiver.notify_url})
    assert (refused.status, refused.code) == (400, "ValidationError")


async def test_subscriptions_in_a_batch(lab, receiver):
    body = wish(lab, receiver)
    answers = await lab.batch(
        {"id": "1", "method": "POST", "url": "/subscriptions", "headers": {"Content-Type": "application/json"},
         "body": body},
        {"id": "2", "method": "GET", "url": "/subscriptions", "dependsOn": ["1"]},
    )  # fmt: skip
    assert (answers["1"]["status"], len(answers["2"]["body"]["value"])) == (201, 1)


async def test_a_user_can_let_an_application_watch_their_own_mailbox_only(lab, receiver, delegated):
    token = await delegated("Calendars.Read")
    made = await lab.graph("POST", "/subscriptions", wish(lab, receiver, resource="/me/events"), token=token)
    assert (made.status, made.body["resource"], made.body["creatorId"]) == (201, "/me/events", lab.user_id)
    # What the application does for a user is apart from what it does alone.
    assert (await lab.graph("GET", "/subscriptions")).body["value"] == []
    await subscribe(lab, receiver)
    assert len((await lab.graph("GET", "/subscriptions", token=token)).body["value"]) == 1
    other = (await lab.admin.put_user(lab.tenant_id, "ben@contoso.example")).id
    refused = await lab.graph(
        "POST", "/subscriptions", wish(lab, receiver, resource=f"users/{other}/events"), token=token
    )
    assert (refused.status, refused.code) == (403, "ErrorAccessDenied")
    await lab.create()
    assert {item["subscriptionId"] for item in await receiver.wait_for(2)} >= {made.body["id"]}


@pytest.mark.parametrize("scope", ["Calendars.Read.Shared", "Calendars.ReadBasic"])
async def test_less_than_reading_the_calendar_is_not_enough_for_a_user_either(lab, receiver, delegated, scope):
    token = await delegated(scope)
    reply = await lab.graph("POST", "/subscriptions", wish(lab, receiver, resource="/me/events"), token=token)
    assert (reply.status, reply.code) == (403, "ErrorAccessDenied")
    assert receiver.validations == []


def speaking_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_an_https_address_is_validated_and_notified(lab, endpoint_authority):
    async with receiving(speaking_tls(endpoint_authority, "127.0.0.1")) as receiver:
        made = await subscribe(lab, receiver)
        assert made["notificationUrl"].startswith("https://")
        assert {request.path for request in receiver.validations} == {"/notify", "/lifecycle"}
        event = await lab.create()
        (told,) = await receiver.wait_for(1)
    assert (told["subscriptionId"], told["resourceData"]["id"]) == (made["id"], event["id"])


@pytest.mark.parametrize("flaw", ["an authority nobody knows", "another name", "no TLS at all"])
async def test_an_https_address_needs_a_certificate_that_can_be_verified(lab, endpoint_authority, flaw):
    context = {
        "an authority nobody knows": lambda: speaking_tls(trustme.CA(), "127.0.0.1"),
        "another name": lambda: speaking_tls(endpoint_authority, "other.example"),
        "no TLS at all": lambda: None,
    }[flaw]()
    async with receiving(context) as receiver:
        wanted = wish(lab, receiver, lifecycleNotificationUrl=None)
        wanted["notificationUrl"] = wanted["notificationUrl"].replace("http:", "https:")
        reply = await lab.graph("POST", "/subscriptions", wanted)
        assert (reply.status, reply.code) == (400, "ValidationError")
        assert receiver.validations == []
    assert await lab.admin.subscriptions(lab.tenant_id) == []
    (asked,) = (await lab.admin.deliveries(lab.tenant_id)).value
    assert (asked.kind, asked.fate) == ("validation", Fate.UNREACHABLE)
