"""Bad input to every endpoint of the simulator's OpenAPI document: a refusal in Graph's words, no 500 and no hang."""

import asyncio
import copy
import re
import urllib.parse
from typing import Any

import aiohttp
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from simulator.client import App
from simulator.graph.openapi import openapi_document, path_template
from simulator.graph.operations import OPERATIONS
from simulator.graph.routes import PATHS
from tests.support.certificates import self_signed
from tests.support.examples import shown

# The examples are drawn in a thread. Meanwhile the session's other servers and clients use `random` on the loop, which
# hypothesis takes for a strategy that does.
pytestmark = [
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning"),
    # For `-m hypothesis`, which finds by itself only what has @given at its top.
    pytest.mark.hypothesis,
]

DOCUMENT = openapi_document()
METHODS = ("get", "post", "patch", "delete", "put")
ENDPOINTS = [(method, path) for path, item in DOCUMENT["paths"].items() for method in METHODS if method in item]
# A longer one never gets to Graph: the HTTP server refuses it.
ADDRESS_MAX_CHARS = 7500
TIMEOUT = aiohttp.ClientTimeout(total=10)
ROLES = (
    "Calendars.ReadWrite",
    "MailboxSettings.ReadWrite",
    "User.Read.All",
    "Directory.Read.All",
)
FORM = "application/x-www-form-urlencoded"
LOGIN_PATHS = ("oauth2/v2.0/token", "oauth2/v2.0/authorize", "adminconsent", "v2.0/adminconsent")

bounded = settings(
    max_examples=shown(30),
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
odd_text = text | st.sampled_from(
    [
        "",
        " ",
        "\x00",
        "\n",
        "..",
        ".",
        "/",
        "//",
        "%",
        "%zz",
        "'",
        "''",
        "null",
        "()",
        "(x=1)",
        "a" * 3000,
        "é" * 400,
        "AAMk",
        "AAMk====",
        "🙂",
        "-1",
        "default",
        "$batch",
        "00000000-0000-0000-0000-000000000000",
        "x@y",
        "\ufeff",
    ]
)
numbers = (
    st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([2**63, 2**64 - 1, -(2**63)])
)
scalars = st.none() | st.booleans() | numbers.filter(lambda n: -(2**63) <= n < 2**64) | odd_text
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6
)
rubbish = odd_text | st.sampled_from(
    [
        "-1",
        "0",
        "99999999999999999999",
        "1.5",
        "subject eq",
        "subject eq 'a' and",
        "((((",
        "a" * 2000,
        "'",
        ",",
        "start/dateTime ge 'x'",
        "start/dateTime desc,",
        "(" * 900,
        "id,nope",
        "singleValueExtendedProperties",
        "singleValueExtendedProperties($filter=id eq '')",
        "singleValueExtendedProperties/Any(ep: ep/id eq 'x'",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-13-45",
        "٢٠٢٦-01-01",
        "true",
        "¹",
        "extensions($filter=id eq 'x')",
        "extensions/any(f:f/id eq 'x')",
        "not subject eq 'a'",
    ]
)
sensible = st.sampled_from(
    ["1", "5", "subject", "start/dateTime", "subject eq 'Leave'", "2026-01-01T00:00:00Z", "2026-12-31T00:00:00", "true"]
)
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40) | st.sampled_from(
    [
        'outlook.timezone="Nowhere"',
        'outlook.timezone="../etc"',
        'outlook.timezone=""',
        'IdType="ImmutableId"',
        "é",
        "*",
        "odata.maxpagesize=-1",
        "odata.maxpagesize=99999999999",
        "odata.track-changes",
        'W/"x"',
        "=,;=",
        "a" * 3000,
    ]
)

AT = {"dateTime": "2026-12-01T09:00:00", "timeZone": "Europe/Paris"}
TO = {"dateTime": "2026-12-01T10:00:00", "timeZone": "Europe/Paris"}
PERSON = {"emailAddress": {"address": "bo@contoso.example", "name": "Bo"}}
EVENT = {
    "subject": "Leave",
    "start": AT,
    "end": TO,
    "body": {"contentType": "html", "content": "<p>x</p>"},
    "location": {"displayName": "Home"},
    "attendees": [{**PERSON, "type": "required"}],
    "categories": ["Blue category"],
    "transactionId": "t",
    "reminderMinutesBeforeStart": 15,
    "singleValueExtendedProperties": [{"id": "String {66f5a359-4659-4830-9070-00047ec6ac6e} Name N", "value": "v"}],
    "extensions": [{"@odata.type": "microsoft.graph.openTypeExtension", "extensionName": "a.b", "deep": {"x": [1]}}],
    "recurrence": {
        "pattern": {"type": "weekly", "interval": 1, "daysOfWeek": ["tuesday"], "firstDayOfWeek": "monday"},
        "range": {"type": "numbered", "startDate": "2026-12-01", "numberOfOccurrences": 3},
    },
}
ACTION = {"comment": "c", "sendResponse": True, "proposedNewTime": {"start": AT, "end": TO}}
SUBSCRIPTION = {
    "changeType": "created,updated",
    "notificationUrl": "http://127.0.0.1:9/n",
    "lifecycleNotificationUrl": "http://127.0.0.1:9/l",
    "resource": "/users/dana@contoso.example/events?$select=subject",
    "includeResourceData": True,
    "encryptionCertificate": self_signed().base64_der,
    "encryptionCertificateId": "c",
    "expirationDateTime": "2030-01-01T00:00:00Z",
    "clientState": "s",
}
PERMISSION = {"emailAddress": {"address": "bo@contoso.example", "name": "Bo"}, "role": "read"}
IDS = {"inputIds": ["AAMk"], "sourceIdType": "restId", "targetIdType": "restImmutableEntryId"}
SETTINGS = {
    "timeZone": "UTC",
    "workingHours": {"daysOfWeek": ["monday"], "startTime": "08:00:00", "timeZone": {"name": "UTC"}},
    "automaticRepliesSetting": {"status": "scheduled", "scheduledStartDateTime": AT, "scheduledEndDateTime": TO},
    "language": {"locale": "en-US"},
    "dateFormat": "d",
}
# Bodies that look right, by the operation they are for.
BODIES: dict[str, Any] = {
    "create": EVENT,
    "update": EVENT,
    "create_calendar": {"name": "Other", "color": "auto"},
    "update_calendar": {"name": "Other", "color": "auto"},
    "create_extension": EVENT["extensions"][0],
    "update_extension": EVENT["extensions"][0],
    "cancel": {"comment": "c"},
    "accept": ACTION,
    "tentatively_accept": ACTION,
    "decline": ACTION,
    "forward": {"comment": "c", "toRecipients": [PERSON]},
    "snooze_reminder": {"newReminderTime": AT},
    "create_permission": PERMISSION,
    "update_permission": PERMISSION,
    "get_schedule": {
        "schedules": ["dana@contoso.example"],
        "startTime": AT,
        "endTime": TO,
        "availabilityViewInterval": 30,
    },
    "create_category": {"displayName": "New", "color": "preset1"},
    "update_category": {"color": "preset1"},
    "update_settings": SETTINGS,
    "translate_ids": IDS,
    "check_member_groups": {"groupIds": ["x"]},
    "check_member_objects": {"ids": ["x"]},
    "get_member_groups": {"securityEnabledOnly": True},
    "create_subscription": SUBSCRIPTION,
    "update_subscription": {"expirationDateTime": "2030-01-01T00:00:00Z", "notificationUrl": "http://127.0.0.1:9/n"},
    "batch": {
        "requests": [
            {"id": "1", "method": "GET", "url": "/users/dana@contoso.example/events?$top=1"},
            {
                "id": "2",
                "method": "POST",
                "url": "/users/dana@contoso.example/events",
                "headers": {"Content-Type": "application/json"},
                "body": EVENT,
                "dependsOn": ["1"],
            },
        ]
    },
}


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something can be replaced in a JSON value."""
    inner = value.items() if type(value) is dict else enumerate(value) if type(value) is list else ()
    return [at, *(place for key, item in inner for place in places(item, (*at, key)))]


@st.composite
def mutated(draw: st.DrawFn, template: Any) -> Any:
    """The template with something in it replaced, taken out or added."""
    value = {"": copy.deepcopy(template)}
    *way, last = ("", *draw(st.sampled_from(places(template))))
    holder: Any = value
    for key in way:
        holder = holder[key]
    kind = draw(st.sampled_from(["replace", "replace", "keep", "remove", "add"]))
    if kind == "replace":
        holder[last] = draw(json_values)
    elif kind == "remove" and way:
        del holder[last]
    elif kind == "add" and type(holder[last]) is dict:
        holder[last][draw(text)] = draw(json_values)
    return value[""]


def nested(depth: int, template: Any) -> bytes:
    """A body that looks right but for a value as deep as this in each of its members."""
    deep = b'{"a":' * depth + b"1" + b"}" * depth
    members = [orjson.dumps(name) + b":" + deep for name in template] if type(template) is dict else []
    return b"{" + b",".join(members[-1:]) + b"}" if members else deep


def plain_bad_bodies(name: str) -> list[bytes]:
    """What is no JSON, or is too deep, in the place of the operation's body."""
    template = BODIES.get(name, {})
    raw = [b"", b"\xff\xfe{}", b'{"a":"\xff"}', b"{", b"[" * 100_000, b"NaN", b'{"a":1e999}', b'"\\ud800"', b"\x00"]
    raw += [nested(depth, template) for depth in (90, 200, 260, 900, 2000)]
    raw += [orjson.dumps({**EVENT, "transactionId": "deep"})[:-1] + b',"extensions":' + nested(300, None) + b"}"]
    raw += [b'{"@odata.type":"microsoft.graph.openTypeExtension","extensionName":"z","deep":%b}' % nested(300, None)]
    return raw


def bodies(name: str) -> st.SearchStrategy[bytes]:
    """What is sent to the operation: nearly right, any JSON, and what is no JSON at all."""
    raw = plain_bad_bodies(name)
    nearly = mutated(BODIES.get(name, {})).map(orjson.dumps)
    return st.one_of(nearly, nearly, json_values.map(orjson.dumps), st.sampled_from(raw), st.binary(max_size=40))


@st.composite
def requests(draw: st.DrawFn, method: str, path: str) -> dict[str, Any]:
    """A request to the endpoint. Names that are to be valid ones are left as `{name}`."""
    operation = DOCUMENT["paths"][path][method]
    names = [parameter["name"] for parameter in DOCUMENT["paths"][path].get("parameters", ())]
    mostly_known = st.one_of(st.none(), st.none(), st.none(), odd_text)
    chosen = {name: draw(mostly_known) for name in names}
    declared = [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"]
    option_names = st.sampled_from([*declared, *declared, "$nonsense", "$top", "x"])
    query = draw(st.lists(st.tuples(option_names, rubbish | sensible), max_size=3))
    if {"startDateTime", "endDateTime"} <= set(declared) and draw(st.booleans()):
        query += [("startDateTime", "2026-01-01T00:00:00Z"), ("endDateTime", "2026-12-31T00:00:00Z")]
    names = st.sampled_from([p["name"] for p in operation["parameters"] if p["in"] == "header"])
    headers = draw(st.dictionaries(names, header_values, max_size=2))
    body = None
    if "requestBody" in operation or draw(st.integers(0, 9)) == 0:
        body = draw(bodies(operation["summary"]))
        json_type = st.just("application/json")
        headers["Content-Type"] = draw(
            st.one_of(json_type, json_type, json_type, st.sampled_from(["text/plain", FORM]))
        )
    return {"chosen": chosen, "query": query, "headers": headers, "body": body}


async def known_names(lab) -> dict[str, str]:
    """Names of what there is in the lab's mailbox."""
    event = await lab.create()
    calendar = await lab.graph("GET", f"/users/{lab.user}/calendar")
    return {"user": lab.user, "event": event["id"], "calendar": calendar.body["id"], "argument": "'x'"}


def refusal_problem(status: int, headers: Any, content: bytes, *, not_held: bool) -> str | None:
    """What is wrong with an answer of Graph; None if nothing is."""
    if status >= 500 and not (status == 501 and not_held):
        return f"status {status}"
    if "request-id" not in headers or "client-request-id" not in headers:
        return "no request ids"
    if status >= 400:
        error = orjson.loads(content)["error"]
        if type(error["code"]) is not str or not error["code"] or type(error["message"]) is not str:
            return f"not an error: {content!r}"
    return None


async def ask(lab, method: str, url: str, headers: dict[str, str], body: bytes | None) -> None:
    """Calls Graph and asserts that it answers as it may."""
    sent = {"Authorization": f"Bearer {lab.token}", **headers}
    target = URL(f"{lab.addresses.http_url}/v1.0{url}", encoded=True)
    async with lab.http.request(method, target, data=body, headers=sent, timeout=TIMEOUT) as response:
        content = await response.read()
        problem = refusal_problem(response.status, response.headers, content, not_held=True)
    assert problem is None, (problem, method, url, headers, body, content)


def test_the_document_lists_every_path_of_the_table(lab):
    assert DOCUMENT["openapi"].startswith("3.1.")
    assert DOCUMENT["info"]["title"]
    assert DOCUMENT["info"]["version"]
    for end, starts, resource in PATHS:
        for start in starts:
            path = path_template(start, end)
            item = DOCUMENT["paths"][path]
            assert {method.upper() for method in item} - {"PARAMETERS"} == set(OPERATIONS[resource])
            names = re.findall(r"\{(\w+)\}", path)
            assert len(set(names)) == len(names)
            assert [parameter["name"] for parameter in item.get("parameters", ())] == names


async def test_the_document_is_served(lab):
    async with lab.http.get(f"{lab.addresses.http_url}/_sim/openapi.json") as response:
        assert await response.json() == DOCUMENT


@pytest.mark.parametrize(("method", "path"), ENDPOINTS, ids=lambda value: value.replace("/", " ").strip())
async def test_bad_input_to_every_endpoint(lab, method, path):
    app = App(lab.client_id, lab.secret, ROLES)
    await lab.admin.put_tenant(lab.tenant_id, apps=[app])
    await lab.admin.set_limits(lab.tenant_id, validation_timeout_ms=200)
    lab.token = await lab.sign_in()
    known = await known_names(lab)

    async def one(request: dict[str, Any]) -> None:
        def name(match: re.Match[str]) -> str:
            value = request["chosen"].get(match[1])
            return urllib.parse.quote(known.get(match[1], "x") if value is None else value, safe="'")

        url = re.sub(r"\{(\w+)\}", name, path)
        query = urllib.parse.urlencode(request["query"], quote_via=urllib.parse.quote)
        address = f"{url}?{query}" if query else url
        await ask(lab, method.upper(), address[:ADDRESS_MAX_CHARS], request["headers"], request["body"])

    loop = asyncio.get_running_loop()

    @bounded
    @given(requests(method, path))
    def examples(request: dict[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(one(request), loop).result(15)

    operation = DOCUMENT["paths"][path][method]
    for body in plain_bad_bodies(operation["summary"]) if "requestBody" in operation else ():
        await one({"chosen": {}, "query": [], "headers": {"Content-Type": "application/json"}, "body": body})
    await asyncio.to_thread(examples)


@pytest.mark.parametrize("path", LOGIN_PATHS)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_bad_input_to_the_login_host(lab, method, path):
    values = odd_text | st.sampled_from(
        [lab.client_id, lab.tenant_id, "code", "openid", "client_credentials", "[]", "{}"]
    )
    fields = st.sampled_from(
        [
            "client_id",
            "client_secret",
            "grant_type",
            "scope",
            "code",
            "refresh_token",
            "redirect_uri",
            "claims",
            "state",
            "response_type",
            "response_mode",
            "prompt",
            "login_hint",
            "code_challenge",
            "code_challenge_method",
            "nonce",
            "client_assertion",
            "client_assertion_type",
            "code_verifier",
            "step",
            "username",
            "password",
            "answer",
        ]
    )
    parameters = st.dictionaries(fields, values, max_size=6)
    tenants = st.sampled_from([lab.tenant_id] * 4 + ["common", "organizations"]) | odd_text.filter(
        lambda name: name.strip("./") and "/" not in name
    )

    async def one(tenant: str, given_fields: dict[str, str], raw: bytes | None) -> None:
        encoded = urllib.parse.urlencode(given_fields)
        url = f"{lab.addresses.http_url}/{urllib.parse.quote(tenant, safe='')}/{path}"
        posted = method == "POST"
        target = URL(url if posted else f"{url}?{encoded}", encoded=True)
        sent = {"Content-Type": FORM} if posted else {}
        data = (encoded.encode() if raw is None else raw) if posted else None
        async with lab.http.request(
            method, target, data=data, headers=sent, timeout=TIMEOUT, allow_redirects=False
        ) as response:
            content = await response.read()
        assert response.status < 500, (tenant, given_fields, raw, content)
        if path == LOGIN_PATHS[0] and posted and response.status >= 400:
            refusal = orjson.loads(content)
            assert refusal["error"], content
            assert refusal["error_codes"], content

    loop = asyncio.get_running_loop()

    @settings(bounded, max_examples=shown(60))
    @given(tenants, parameters, st.none() | st.none() | st.binary(max_size=60))
    def examples(tenant: str, given_fields: dict[str, str], raw: bytes | None) -> None:
        asyncio.run_coroutine_threadsafe(one(tenant, given_fields, raw), loop).result(15)

    await asyncio.to_thread(examples)


@pytest.mark.parametrize(
    "lines",
    [
        b"GET /v1.0/users/x/events\r\nclient-request-id: \xff\xfe",
        b'GET /v1.0/users/x/events\r\nPrefer: outlook.timezone="\xff"',
        b"GET /v1.0/users/x/nothing\r\nclient-request-id: \xff\xfe",
        b"GET /v1.0/users/x/events\r\nIf-Match: \xff\r\nAuthorization: \xff",
        b"GET /v1.0/users/x/a%0Ab\r\nX: y",
        b"PURGE /v1.0/users/x/events\r\nX: y",
        b"GET /v1.0\r\nX: y",
        b"GET /v1.0/\r\nX: y",
        b"POST /v1.0/users/x/events\r\nContent-Encoding: gzip\r\nContent-Type: application/json\r\nContent-Length: 4",
    ],
)
async def test_bytes_that_no_client_library_sends(lab, lines):
    host, port = lab.addresses.http_url.removeprefix("http://").split(":")
    first, _, rest = lines.partition(b"\r\n")
    token = lab.token.encode()
    head = b"%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %b\r\n%b\r\n\r\n" % (
        first,
        token,
        rest,
    )
    head = head.replace(b"/users/x/", b"/users/" + lab.user.encode() + b"/")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head + (b"nope" if b"Content-Length" in rest else b""))
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    status_line, *headers = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    names = {line.partition(":")[0].lower() for line in headers}
    content = answer.partition(b"\r\n\r\n")[2]
    assert 200 <= int(status_line.split()[1]) < 500, answer
    assert refusal_problem(int(status_line.split()[1]), names, content, not_held=False) is None, answer


@pytest.mark.parametrize("header", [b"Content-Encoding: gzip", b"client-request-id: \xff"])
@pytest.mark.parametrize("path", LOGIN_PATHS)
async def test_forms_that_no_client_library_sends(lab, path, header):
    host, port = lab.addresses.http_url.removeprefix("http://").split(":")
    target = f"/{lab.tenant_id}/{path}".encode()
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: %b\r\n" % (target, FORM.encode())
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head + header + b"\r\nContent-Length: 4\r\n\r\nnope")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert answer.split()[1] in (b"400", b"401"), answer
