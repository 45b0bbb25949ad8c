"""Retry-Afters: what each is about, from when it counts, and that the ledger says who did not wait."""

import aiohttp
import pytest

from simulator.client import App, Fault

INSIDE = {"inside_retry_after": 1}


@pytest.fixture
async def strict(lab):
    """A lab where a call on the wire is no excuse, with an app that may read the directory too."""
    roles = ("Calendars.ReadWrite", "User.Read.All")
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret, roles)])
    lab.token = await lab.sign_in()
    await lab.admin.set_limits(lab.tenant_id, retry_after_grace_ms=0)
    return lab


async def violations(lab):
    return (await lab.admin.stats(lab.tenant_id)).violations


def calls(lab):
    """A call of every kind of place, by the operation that a fault names."""
    return {
        "list": lambda: lab.graph("GET", lab.events_path),
        "get_user": lambda: lab.graph("GET", f"/users/{lab.user}"),
        "list_subscriptions": lambda: lab.graph("GET", "/subscriptions"),
        "batch": lambda: lab.graph("POST", "/$batch", {"requests": [lab.creating("1")]}),
        "token": lab.token_reply,
    }


@pytest.mark.parametrize("operation", ["list", "get_user", "list_subscriptions", "batch", "token"])
async def test_every_kind_of_place_has_a_retry_after_of_its_own(strict, operation):
    fault = Fault(tenant=strict.tenant_id, operation=operation, status=429, retry_after_s=30, times=1)
    await strict.admin.add_fault(fault)
    call = calls(strict)
    assert (await call[operation]()).status == 429
    for other in call.keys() - {operation}:
        # A batch calls a mailbox, which was told to be left alone here.
        if (operation, other) != ("list", "batch"):
            assert (await call[other]()).status == 200
    assert await violations(strict) == {}
    await call[operation]()
    assert await violations(strict) == INSIDE
    page = await strict.admin.ledger(strict.tenant_id, operation=operation)
    assert page.value[-1].violations == ("inside_retry_after",)
    assert page.value[0].violations == ()
    await strict.admin.advance_clock(strict.tenant_id, 31)
    await call[operation]()
    assert await violations(strict) == INSIDE


async def test_a_mailbox_is_left_alone_by_any_of_its_names(strict):
    await strict.admin.put_user(strict.tenant_id, "ben@contoso.example")
    await strict.admin.add_fault(
        Fault(tenant=strict.tenant_id, operation="list", status=429, retry_after_s=30, times=1)
    )
    await strict.graph("GET", strict.events_path)
    await strict.graph("GET", "/users/ben@contoso.example/events")
    assert await violations(strict) == {}
    await strict.graph("GET", f"/users/{strict.user_id}/calendar")
    assert await violations(strict) == INSIDE


async def test_a_call_that_is_refused_inside_a_retry_after_breaks_both_rules(strict):
    await strict.admin.set_limits(strict.tenant_id, window_max_requests=1)
    for _ in range(3):
        await strict.graph("GET", strict.events_path)
    broken = [entry.violations for entry in (await strict.admin.ledger(strict.tenant_id)).value]
    assert broken == [(), ("over_window",), ("inside_retry_after", "over_window")]


@pytest.mark.parametrize("lost", [{"status": 503}, {"drop": True}])
async def test_a_retry_after_in_a_lost_batch_was_never_told(strict, lost):
    tenant = strict.tenant_id
    await strict.admin.add_fault(Fault(tenant=tenant, operation="create", status=429, retry_after_s=30, times=1))
    await strict.admin.add_fault(Fault(tenant=tenant, operation="batch", after_apply=True, times=1, **lost))
    document = {"requests": [strict.creating("1")]}
    if "drop" in lost:
        with pytest.raises(aiohttp.ClientError):
            await strict.graph("POST", "/$batch", document)
    else:
        assert (await strict.graph("POST", "/$batch", document)).status == 503
    assert (await strict.graph("GET", strict.events_path)).status == 200
    assert await violations(strict) == {}
    entries = (await strict.admin.ledger(tenant)).value
    assert [(entry.operation, entry.status, entry.dropped) for entry in entries] == [
        ("create", 429, False),
        ("batch", 503, "drop" in lost),
        ("list", 200, False),
    ]


async def test_a_retry_after_in_a_batch_counts_from_its_answer_on(strict):
    fault = Fault(tenant=strict.tenant_id, operation="create", status=429, retry_after_s=30, times=1)
    await strict.admin.add_fault(fault)
    answers = await strict.batch(strict.creating("1"), strict.creating("2"))
    assert sorted(answer["status"] for answer in answers.values()) == [201, 429]
    assert await violations(strict) == {}
    await strict.graph("GET", strict.events_path)
    assert await violations(strict) == INSIDE


async def test_a_token_loop_is_in_the_ledger_with_its_violations(strict):
    await strict.admin.set_limits(strict.tenant_id, identical_token_requests_max=1)
    scope = "https://graph.microsoft.com/.default "
    assert [(await strict.token_reply(scope=scope)).status for _ in range(3)] == [200, 429, 429]
    entries = (await strict.admin.ledger(strict.tenant_id, operation="token")).value
    assert [(entry.status, entry.code, entry.violations) for entry in entries] == [
        (429, "AADSTS50196", ("token_loop",)),
        (429, "AADSTS50196", ("inside_retry_after", "token_loop")),
    ]
    assert entries[0].app == strict.client_id
