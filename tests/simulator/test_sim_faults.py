"""Injected faults: what they hit, what they answer, what they leave applied."""

import asyncio

import aiohttp
import pytest

from simulator.client import AdminRefused, App, Fault


async def test_a_fault_answers_in_place_of_the_service(lab):
    await lab.admin.add_fault(
        Fault(
            tenant=lab.tenant_id, operation="create", status=503, code="MailboxInfoStale", message="m", retry_after_s=7
        )
    )
    reply = await lab.graph("POST", lab.events_path, {"never": "read"})
    assert (reply.status, reply.code, reply.message, reply.headers["Retry-After"]) == (
        503,
        "MailboxInfoStale",
        "m",
        "7",
    )
    assert (await lab.graph("GET", lab.events_path)).status == 200
    entry = (await lab.admin.ledger(lab.tenant_id, operation="create")).value[0]
    assert (entry.status, entry.code, entry.mutation) == (503, "MailboxInfoStale", False)


async def test_the_retry_after_of_a_fault_must_be_obeyed_too(lab):
    await lab.admin.set_limits(lab.tenant_id, retry_after_grace_ms=0)
    await lab.admin.add_fault(Fault(tenant=lab.tenant_id, status=429, retry_after_s=30, times=1))
    await lab.graph("GET", lab.events_path)
    await lab.graph("GET", lab.events_path)
    assert (await lab.admin.stats(lab.tenant_id)).violations == {"inside_retry_after": 1}


@pytest.mark.parametrize("status", [503, 504])
async def test_a_fault_can_strike_after_the_write_was_applied(lab, make_event, status):
    await lab.admin.add_fault(
        Fault(tenant=lab.tenant_id, method="post", status=status, empty_body=True, after_apply=True, times=1)
    )
    reply = await lab.graph("POST", lab.events_path, make_event(transactionId="t"))
    assert (reply.status, reply.body) == (status, None)
    assert reply.headers["Content-Type"] == "text/plain"
    assert len(await lab.admin.events(lab.tenant_id, lab.user)) == 1
    assert (await lab.admin.ledger(lab.tenant_id)).value[0].mutation
    retried = await lab.create(make_event(transactionId="t"))
    assert (await lab.admin.events(lab.tenant_id, lab.user))[0].id == retried["id"]


async def test_a_patch_that_is_answered_503_mails_the_attendees_every_time(lab, make_event):
    ben = {"emailAddress": {"address": "ben@fabrikam.example"}, "type": "required"}
    path = lab.event_path((await lab.create(make_event(attendees=[ben])))["id"])
    before = (await lab.admin.stats(lab.tenant_id)).invitations
    fault = Fault(tenant=lab.tenant_id, operation="update", status=503, empty_body=True, after_apply=True, times=3)
    await lab.admin.add_fault(fault)
    replies = [await lab.graph("PATCH", path, {"subject": "Moved"}) for _ in range(3)]
    assert [(reply.status, reply.body) for reply in replies] == [(503, None)] * 3
    assert (await lab.graph("GET", path)).body["subject"] == "Moved"
    assert (await lab.admin.stats(lab.tenant_id)).invitations == before + 3


async def test_an_empty_503_can_leave_everything_as_it_was(lab, make_event):
    await lab.admin.add_fault(Fault(tenant=lab.tenant_id, status=503, empty_body=True, times=1))
    reply = await lab.graph("POST", lab.events_path, make_event())
    assert (reply.status, reply.body, reply.headers["Content-Type"]) == (503, None, "text/plain")
    assert await lab.admin.events(lab.tenant_id, lab.user) == []


@pytest.mark.parametrize("method", ["GET", "PATCH"])
async def test_a_conflict_can_come_of_nothing(lab, method):
    created = await lab.create()
    path, changes = lab.event_path(created["id"]), {"subject": "Other"} if method == "PATCH" else None
    fault = Fault(tenant=lab.tenant_id, method=method, status=412, code="ErrorIrresolvableConflict", times=1)
    await lab.admin.add_fault(fault)
    reply = await lab.graph(method, path, changes)
    assert (reply.status, reply.code) == (412, "ErrorIrresolvableConflict")
    assert (await lab.admin.events(lab.tenant_id, lab.user))[0].etag == created["@odata.etag"]
    assert (await lab.graph(method, path, changes)).status == 200


async def test_a_mailbox_can_alternate_between_two_errors(lab):
    await lab.admin.put_user(lab.tenant_id, lab.user, mailbox="unlicensed")
    fault = Fault(tenant=lab.tenant_id, status=404, code="ResourceNotFound", probability=0.5, seed=3)
    await lab.admin.add_fault(fault)
    replies = [await lab.graph("GET", lab.events_path) for _ in range(20)]
    assert {reply.status for reply in replies} == {404}
    assert {reply.code for reply in replies} == {"ResourceNotFound", "MailboxNotEnabledForRESTAPI"}


@pytest.mark.parametrize("applied", [False, True])
async def test_a_connection_can_end_without_an_answer(lab, make_event, applied):
    await lab.admin.add_fault(Fault(tenant=lab.tenant_id, operation="create", drop=True, after_apply=applied, times=1))
    with pytest.raises(aiohttp.ClientError):
        await lab.graph("POST", lab.events_path, make_event())
    assert len(await lab.admin.events(lab.tenant_id, lab.user)) == applied
    assert [entry.dropped for entry in (await lab.admin.ledger(lab.tenant_id)).value] == [True]


async def test_an_item_that_is_dropped_takes_its_batch_along(lab):
    await lab.admin.add_fault(Fault(tenant=lab.tenant_id, operation="create", drop=True, times=1))
    with pytest.raises(aiohttp.ClientError):
        await lab.batch(lab.creating("1"), lab.creating("2"))
    assert len(await lab.admin.events(lab.tenant_id, lab.user)) == 1


async def test_a_fault_can_strike_a_whole_batch(lab):
    await lab.admin.add_fault(Fault(tenant=lab.tenant_id, operation="batch", status=503, times=1))
    await lab.admin.add_fault(Fault(tenant=lab.tenant_id, operation="batch", status=504, after_apply=True, times=1))
    document = {"requests": [lab.creating("1")]}
    assert [(await lab.graph("POST", "/$batch", document)).status for _ in range(3)] == [503, 504, 200]
    assert len(await lab.admin.events(lab.tenant_id, lab.user)) == 2


async def test_an_item_of_a_batch_can_fail_alone(lab):
    await lab.admin.put_user(lab.tenant_id, "ben@contoso.example")
    await lab.admin.add_fault(Fault(tenant=lab.tenant_id, user="BEN@contoso.example", status=429, retry_after_s=3))
    answers = await lab.batch(lab.creating("1"), {**lab.creating("2"), "url": "/users/ben@contoso.example/events"})
    assert [answers["1"]["status"], answers["2"]["status"]] == [201, 429]
    assert answers["2"]["headers"]["Retry-After"] == "3"


async def test_a_delay_alone_leaves_the_answer_as_it_is(lab, make_event):
    await lab.admin.add_fault(Fault(tenant=lab.tenant_id, delay_ms=20))
    assert (await lab.graph("POST", lab.events_path, make_event())).status == 201


@pytest.mark.parametrize("operation", ["create", "batch"])
async def test_a_delay_can_come_after_the_work(lab, operation):
    await lab.admin.add_fault(Fault(tenant=lab.tenant_id, operation=operation, delay_ms=60_000, after_apply=True))
    call = asyncio.create_task(lab.batch(lab.creating("1")))
    while not await lab.admin.events(lab.tenant_id, lab.user):
        assert not call.done()
    assert not call.done()
    call.cancel()


async def test_chance_repeats_itself(lab):
    async def pattern():
        fault_id = await lab.admin.add_fault(Fault(tenant=lab.tenant_id, status=500, probability=0.5, seed=11))
        statuses = [(await lab.graph("GET", lab.events_path)).status for _ in range(20)]
        await lab.admin.remove_fault(fault_id)
        return statuses

    first = await pattern()
    assert first == await pattern()
    assert set(first) == {200, 500}


async def test_faults_keep_to_their_tenant_and_their_number(lab):
    await lab.admin.put_tenant("another")
    fault_id = await lab.admin.add_fault(Fault(tenant="another", status=500))
    own_id = await lab.admin.add_fault(
        Fault(tenant=lab.tenant_id, user=lab.user_id, app=lab.client_id, status=500, times=2)
    )
    assert [(await lab.graph("GET", lab.events_path)).status for _ in range(3)] == [500, 500, 200]
    assert [(rule.id, rule.hits) for rule in await lab.admin.faults(lab.tenant_id)] == [(own_id, 2)]
    await lab.admin.remove_fault(fault_id)
    with pytest.raises(AdminRefused) as refused:
        await lab.admin.remove_fault(fault_id)
    assert refused.value.status == 404


async def test_the_token_endpoint_can_fail_too(lab):
    await lab.admin.add_fault(
        Fault(
            tenant=lab.tenant_id,
            operation="token",
            status=503,
            code="temporarily_unavailable",
            retry_after_s=2,
            times=1,
        )
    )
    reply = await lab.token_reply()
    assert (reply.status, reply.body["error"], reply.headers["Retry-After"]) == (503, "temporarily_unavailable", "2")
    assert (await lab.token_reply()).status == 200


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "invalid_request"), (401, "invalid_client"), (429, "temporarily_unavailable"), (503, "server_error")],
)
async def test_the_token_endpoint_fails_with_any_status(lab, status, code):
    await lab.admin.add_fault(Fault(tenant=lab.tenant_id, operation="token", status=status, code=code, times=1))
    reply = await lab.token_reply()
    assert (reply.status, reply.body["error"]) == (status, code)
    assert (await lab.token_reply()).status == 200


@pytest.mark.parametrize(
    "fault",
    [
        Fault(), Fault(status=200), Fault(status=500, probability=0), Fault(status=500, times=0),
        Fault(status=500, retry_after_s=-1), Fault(delay_ms=-1), Fault(delay_ms=1e300),
        Fault(status=500, retry_after_s=10**15),
    ],
)  # fmt: skip
async def test_a_fault_without_sense_is_refused(lab, fault):
    with pytest.raises(AdminRefused) as refused:
        await lab.admin.add_fault(fault)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "matchers",
    [
        {"tenant": "nowhere.example"}, {"app": "0a0a0a0a-0000-4000-8000-000000000000"}, {"operation": "creat"},
        {"operation": "Create"}, {"method": "BREW"}, {"operation": "create", "method": "GET"},
        {"operation": "token", "method": "GET"}, {"user": "nobody@contoso.example"},
        {"operation": "batch", "user": "{user}"}, {"operation": "get_group", "user": "{user}"},
        {"operation": "list_subscriptions", "user": "{user}"},
    ],
)  # fmt: skip
async def test_a_fault_that_can_never_strike_is_refused(lab, matchers):
    given = {"tenant": lab.tenant_id, **matchers}
    given = {name: value.format(user=lab.user) for name, value in given.items()}
    with pytest.raises(AdminRefused) as refused:
        await lab.admin.add_fault(Fault(status=500, **given))
    assert refused.value.status == 400
    assert await lab.admin.faults(lab.tenant_id) == []


async def test_a_fault_is_found_whatever_its_names_are_written_like(lab):
    domain = f"{lab.tenant_id}.example"
    app = App(lab.client_id, lab.secret, ("Calendars.ReadWrite",))
    await lab.admin.put_tenant(lab.tenant_id, apps=[app], domain=domain)
    await lab.admin.add_fault(
        Fault(
            tenant=domain.upper(),
            app=lab.client_id.upper(),
            user=lab.user.upper(),
            method="get",
            operation="list",
            status=503,
        )
    )
    assert (await lab.graph("GET", lab.events_path)).status == 503
    assert [rule.fault["tenant"] for rule in await lab.admin.faults(domain.upper())] == [lab.tenant_id]
    assert (await lab.admin.faults(lab.tenant_id))[0].hits == 1
    with pytest.raises(AdminRefused) as refused:
        await lab.admin.faults("nowhere.example")
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("status", "error", "number"), [(503, "temporarily_unavailable", 90033), (400, "invalid_request", 50000)]
)
@pytest.mark.parametrize("message", ["", "The key does not fit."])
async def test_a_token_fault_always_has_the_members_of_a_refusal(lab, status, error, number, message):
    await lab.admin.add_fault(
        Fault(tenant=lab.tenant_id, operation="token", status=status, message=message, retry_after_s=3)
    )
    reply = await lab.token_reply()
    assert (reply.status, reply.body["error"], reply.body["error_codes"]) == (status, error, [number])
    first = reply.body["error_description"].split("\r\n")[0]
    assert first.startswith(f"AADSTS{number}: {message}")
    assert len(first) > len(f"AADSTS{number}: ")
    assert {"trace_id", "correlation_id", "timestamp"} <= set(reply.body)
    assert reply.headers["Retry-After"] == "3"
