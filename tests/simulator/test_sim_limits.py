"""Limits per application and mailbox: concurrency, window, upload, Retry-After, and the counting of violations."""

import asyncio

import aiohttp
import pytest

from simulator.client import App


async def test_a_fifth_concurrent_call_is_refused(lab):
    await lab.admin.set_limits(lab.tenant_id, latency_ms=300)
    replies = await asyncio.gather(*(lab.graph("GET", lab.events_path) for _ in range(5)))
    assert sorted(reply.status for reply in replies) == [200, 200, 200, 200, 429]
    refused = next(reply for reply in replies if reply.status == 429)
    assert refused.headers["Retry-After"] == "1"
    assert refused.body == {
        "error": {"code": "ApplicationThrottled", "message": "Application is over its MailboxConcurrency limit."}
    }
    stats = await lab.admin.stats(lab.tenant_id)
    assert (stats.refusals, stats.violations, stats.max_in_flight) == (1, {"over_concurrency": 1}, {lab.user: 5})
    entries = (await lab.admin.ledger(lab.tenant_id)).value
    assert sorted(entry.in_flight for entry in entries) == [1, 2, 3, 4, 5]


async def test_mailboxes_and_applications_have_budgets_of_their_own(lab):
    other = App("0a0a0a0a-0000-4000-8000-000000000000", "s", ("Calendars.ReadWrite",))
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret, ("Calendars.ReadWrite",)), other])
    await lab.admin.put_user(lab.tenant_id, "ben@contoso.example")
    await lab.admin.set_limits(lab.tenant_id, window_max_requests=1)
    token = await lab.sign_in(client_id=other.client_id, client_secret="s")
    ben = "/users/ben@contoso.example/events"
    calls = [(lab.events_path, lab.token), (ben, lab.token), (lab.events_path, token), (lab.events_path, lab.token)]
    assert [(await lab.graph("GET", path, token=token)).status for path, token in calls] == [200, 200, 200, 429]
    # A mailbox has one budget, whichever of its names is used.
    assert (await lab.graph("GET", f"/users/{lab.user_id.upper()}/calendar")).status == 429


async def test_the_window_slides_and_counts_refused_calls(lab):
    await lab.admin.set_limits(lab.tenant_id, window_max_requests=2, window_s=600, retry_after_grace_ms=0)

    async def call():
        return await lab.graph("GET", lab.events_path)

    assert [(await call()).status for _ in range(2)] == [200, 200]
    await lab.admin.advance_clock(lab.tenant_id, 300)
    refused = await call()
    assert refused.status == 429
    assert 295 <= int(refused.headers["Retry-After"]) <= 300
    # The refused call of second 300 is in the window until second 900, one of the first two until 600.
    await lab.admin.advance_clock(lab.tenant_id, int(refused.headers["Retry-After"]))
    assert (await call()).status == 200
    assert (await call()).status == 429
    stats = await lab.admin.stats(lab.tenant_id)
    assert stats.violations == {"over_window": 2}


async def test_uploads_are_limited_by_bytes(lab, make_event):
    await lab.admin.set_limits(lab.tenant_id, upload_max_bytes=5000, upload_window_s=300)
    event = make_event(body={"contentType": "text", "content": "x" * 2000})
    statuses = [(await lab.graph("POST", lab.events_path, event)).status for _ in range(3)]
    assert statuses == [201, 201, 429]
    assert (await lab.graph("GET", lab.events_path)).status == 200
    answers = await lab.batch(lab.creating("1", event))
    assert answers["1"]["status"] == 429
    assert (await lab.admin.stats(lab.tenant_id)).violations["over_upload"] == 2
    await lab.admin.advance_clock(lab.tenant_id, 300)
    assert (await lab.graph("POST", lab.events_path, event)).status == 201


async def test_calls_inside_a_retry_after_are_violations(lab):
    await lab.admin.set_limits(lab.tenant_id, window_max_requests=1, window_s=60, retry_after_grace_ms=0)
    await lab.graph("GET", lab.events_path)
    refused = await lab.graph("GET", lab.events_path)
    assert (await lab.admin.stats(lab.tenant_id)).violations == {"over_window": 1}
    await lab.graph("GET", lab.events_path)
    assert (await lab.admin.stats(lab.tenant_id)).violations == {"over_window": 2, "inside_retry_after": 1}
    await lab.admin.advance_clock(lab.tenant_id, int(refused.headers["Retry-After"]) + 1)
    await lab.graph("GET", lab.events_path)
    assert (await lab.admin.stats(lab.tenant_id)).violations["inside_retry_after"] == 1


async def test_a_call_that_was_already_under_way_does_not_disobey(lab):
    await lab.admin.set_limits(lab.tenant_id, window_max_requests=1, retry_after_grace_ms=60_000)
    for _ in range(3):
        await lab.graph("GET", lab.events_path)
    assert "inside_retry_after" not in (await lab.admin.stats(lab.tenant_id)).violations


async def test_directory_calls_spend_no_mailbox_budget(lab):
    await lab.admin.set_limits(lab.tenant_id, window_max_requests=1)
    for _ in range(3):
        await lab.graph("GET", f"/users/{lab.user}")
    assert (await lab.graph("GET", lab.events_path)).status == 200


async def test_limits_of_the_service_reach_tenants_without_their_own(lab):
    before = await lab.admin.limits()
    try:
        await lab.admin.set_limits(lab.tenant_id, concurrent_max=2)
        await lab.admin.set_limits(attendees_max=7, concurrent_max=9)
        limits = await lab.admin.limits(lab.tenant_id)
        assert (limits.attendees_max, limits.concurrent_max) == (7, 2)
    finally:
        await lab.admin.set_limits(attendees_max=before.attendees_max, concurrent_max=before.concurrent_max)


async def test_latency_delays_answers(lab):
    await lab.admin.set_limits(lab.tenant_id, latency_ms=1000, latency_jitter_ms=100)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(lab.graph("GET", lab.events_path), 0.2)
    await lab.admin.set_limits(lab.tenant_id, latency_ms=0, latency_jitter_ms=0)


async def test_a_caller_that_hangs_up_still_occupies_its_place(lab):
    await lab.admin.set_limits(lab.tenant_id, latency_ms=400, concurrent_max=1)
    timeout = aiohttp.ClientTimeout(total=0.1)
    headers = {"Authorization": f"Bearer {lab.token}"}
    url = f"{lab.addresses.http_url}/v1.0{lab.events_path}"
    with pytest.raises(asyncio.TimeoutError):
        async with lab.http.get(url, headers=headers, timeout=timeout):
            pass
    assert (await lab.graph("GET", lab.events_path)).status == 429


@pytest.mark.parametrize("limits", [{}, {"latency_ms": 0}], ids=["default", "no latency"])
async def test_calls_at_once_are_seen_without_being_slowed_down(lab, limits):
    if limits:
        await lab.admin.set_limits(lab.tenant_id, **limits)

    async def client():
        return [(await lab.graph("GET", lab.events_path)).status for _ in range(5)]

    statuses = [status for replies in await asyncio.gather(*(client() for _ in range(20))) for status in replies]
    stats = await lab.admin.stats(lab.tenant_id)
    assert stats.violations["over_concurrency"] == statuses.count(429) > 0
    assert set(statuses) == {200, 429}
