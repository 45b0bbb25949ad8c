"""Entra ID protecting itself: clients that ask for the same token over and over, tenants that are throttled."""

import uuid

import pytest

from simulator.client import App, Fault
from simulator.entra.loops import LOOP_RETRY_AFTER_S, REQUESTS_HELD_MAX, LoopWatch
from simulator.limits import Limits

LOOP = "AADSTS50196: The server terminated an operation because it encountered a loop while processing a request."
WIRE_MEMBERS = {
    "error", "error_description", "error_codes", "timestamp", "trace_id", "correlation_id", "error_uri",
}  # fmt: skip


async def test_an_application_that_keeps_no_token_is_told_so(lab):
    await lab.admin.set_limits(lab.tenant_id, identical_token_requests_max=3, identical_token_window_s=300)
    assert [(await lab.token_reply()).status for _ in range(3)] == [200, 200, 200]
    reply = await lab.token_reply()
    assert (reply.status, reply.headers["Retry-After"]) == (429, str(LOOP_RETRY_AFTER_S))
    assert set(reply.body) == WIRE_MEMBERS
    assert (reply.body["error_codes"], reply.body["error_description"].split("\r\n")[0]) == ([50196], LOOP)
    stats = await lab.admin.stats(lab.tenant_id)
    assert (stats.violations, stats.token_refusals) == ({"token_loop": 1}, 1)
    # Another request is none of the loop, and another proof makes no other request of it.
    assert (await lab.token_reply(claims='{"access_token":{"xms_cc":{"values":["CP1"]}}}')).status == 200
    assert (await lab.token_reply(client_secret="another")).status == 429
    await lab.admin.advance_clock(lab.tenant_id, 310)
    assert (await lab.token_reply()).status == 200


async def test_a_client_that_acts_for_a_user_gets_invalid_grant(lab):
    await lab.admin.set_limits(lab.tenant_id, identical_token_requests_max=1)
    ask = {"grant_type": "refresh_token", "refresh_token": "1.nonsense"}
    assert (await lab.token_reply(**ask)).body["error_codes"] == [70000]
    reply = await lab.token_reply(**ask)
    assert (reply.status, reply.body["error"], reply.body["error_codes"]) == (400, "invalid_grant", [50196])
    assert "Retry-After" not in reply.headers
    await lab.admin.set_limits(lab.tenant_id, identical_token_requests_max=None)
    assert (await lab.token_reply(**ask)).body["error_codes"] == [70000]


async def test_nobody_looks_for_loops_unless_told_to(lab):
    assert {(await lab.token_reply()).status for _ in range(20)} == {200}


def test_so_many_requests_are_remembered():
    watch, limits = LoopWatch(), Limits(identical_token_requests_max=1)
    for number in range(REQUESTS_HELD_MAX + 5):
        assert watch.refusal({"scope": str(number)}, 0.0, limits) is None
    assert len(watch.tallies) == REQUESTS_HELD_MAX
    assert watch.refusal({"scope": str(REQUESTS_HELD_MAX)}, 1.0, limits) is not None


@pytest.mark.parametrize(("code", "number"), [("AADSTS90055", 90055), ("AADSTS50196", 50196)])
async def test_a_fault_names_a_refusal_and_it_comes_in_wire_form(lab, code, number):
    fault = Fault(tenant=lab.tenant_id, operation="token", status=429, code=code, retry_after_s=7, times=1)
    await lab.admin.add_fault(fault)
    reply = await lab.token_reply()
    assert (reply.status, reply.headers["Retry-After"], set(reply.body)) == (429, "7", WIRE_MEMBERS)
    assert (reply.body["error"], reply.body["error_codes"]) == ("temporarily_unavailable", [number])
    lines = reply.body["error_description"].split("\r\n")
    assert lines[0].startswith(f"AADSTS{number}: ")
    assert [line.partition(":")[0] for line in lines[1:]] == ["Trace ID", "Correlation ID", "Timestamp"]
    assert (await lab.token_reply()).status == 200


async def test_a_fault_writes_out_a_refusal(lab):
    text = "AADSTS7000222: The provided client secret keys are expired."
    fault = Fault(tenant=lab.tenant_id, operation="token", status=401, code="invalid_client", message=text)
    await lab.admin.add_fault(fault)
    reply = await lab.token_reply()
    assert (reply.status, reply.body["error"], reply.body["error_codes"]) == (401, "invalid_client", [7000222])
    assert reply.body["error_description"].split("\r\n")[0] == text


async def test_each_tenant_has_its_own_loops(lab):
    await lab.admin.set_limits(lab.tenant_id, identical_token_requests_max=1)
    other = str(uuid.uuid4())
    await lab.admin.put_tenant(other, apps=[App(lab.client_id, lab.secret)])
    await lab.admin.set_limits(other, identical_token_requests_max=1)
    assert [(await lab.token_reply()).status for _ in range(2)] == [200, 429]
    home, lab.tenant_id = lab.tenant_id, other
    assert (await lab.token_reply()).status == 200
    await lab.admin.reset(other)
    lab.tenant_id = home
