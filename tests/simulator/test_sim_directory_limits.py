"""The limits of the directory (resource units) and of an application over all tenants, and what a 429 of them says."""

import uuid

import pytest

from simulator.client import AdminRefused, App, Fault

ROLES = ("User.Read.All", "GroupMember.Read.All", "Calendars.ReadWrite")


@pytest.fixture
async def office(lab):
    """A lab whose own application, unknown to every other test, reads the directory and the calendars."""
    lab.client_id = str(uuid.uuid4())
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret, ROLES)])
    lab.token = await lab.sign_in(client_id=lab.client_id)
    lab.group = (await lab.admin.put_group(lab.tenant_id, "Nurses", members=[lab.user])).id
    return lab


async def limit(lab, units, **numbers):
    await lab.admin.set_limits(lab.tenant_id, directory_small_units_max=units, retry_after_grace_ms=0, **numbers)


@pytest.mark.parametrize(
    ("path", "query", "units"),
    [
        ("/users/{user}", {}, 1),
        ("/users/{user}", {"$select": "id"}, 1),
        ("/users/{user}", {"$EXPAND": "manager"}, 2),
        ("/users/{user}/memberOf", {}, 2),
        ("/users/{user}/transitiveMemberOf/graph.group", {"$top": "999"}, 2),
        ("/users/{user}/transitiveMemberOf", {"$top": "19"}, 1),
        ("/groups/{group}", {}, 1),
        ("/groups/{group}/members", {"$top": "20"}, 3),
        ("/groups/{group}/members", {"$top": "19", "$select": "id"}, 1),
        ("/groups/{group}/transitiveMembers", {}, 5),
        ("/groups/{group}/transitiveMembers", {"$select": "id"}, 4),
        ("/groups/{group}/transitiveMembers", {"$top": "x"}, 5),
        ("/users/{user}/checkMemberGroups", {"groupIds": []}, 4),
        ("/users/{user}/checkMemberObjects", {"ids": []}, 4),
        ("/users/{user}/getMemberGroups", {"securityEnabledOnly": True}, 2),
    ],
)
async def test_the_cost_of_a_call_is_shown(office, path, query, units):
    path = path.format(user=office.user, group=office.group)
    asks = path.endswith(("Groups", "Objects"))
    reply = await office.graph(*("POST", path, query) if asks else ("GET", path), query=None if asks else query)
    assert reply.headers["x-ms-resource-unit"] == str(units)
    assert "x-ms-throttle-limit-percentage" not in reply.headers


async def test_a_directory_that_is_asked_too_much_refuses(office):
    await limit(office, 10)
    path = f"/groups/{office.group}/members"
    replies = [await office.graph("GET", path) for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429]
    shares = [reply.headers.get("x-ms-throttle-limit-percentage") for reply in replies]
    assert shares == [None, None, "0.90", "1.20"]
    refused = replies[-1]
    scope = f"{office.client_id}/{office.tenant_id}"
    assert refused.body["error"]["innerError"]["request-id"] == refused.headers["request-id"]
    assert (refused.code, refused.message) == (
        "TooManyRequests",
        f"Too many requests from Identifier:{scope}. Please try again later.",
    )
    assert refused.headers["x-ms-throttle-scope"] == f"Tenant_Application/ReadWrite/{scope}"
    assert refused.headers["x-ms-throttle-information"] == "ResourceUnitLimitExceeded"
    assert refused.headers["x-ms-resource-unit"] == "3"
    assert 1 <= int(refused.headers["Retry-After"]) <= 11
    stats = await office.admin.stats(office.tenant_id)
    assert (stats.refusals, stats.violations) == (1, {"over_directory": 1})
    # Outlook does not care, but to come back too early is counted.
    assert (await office.graph("GET", office.events_path)).status == 200
    assert (await office.graph("GET", f"/users/{office.user}")).status == 429
    stats = await office.admin.stats(office.tenant_id)
    assert stats.violations == {"over_directory": 2, "inside_retry_after": 1}
    await office.admin.advance_clock(office.tenant_id, int(refused.headers["Retry-After"]) + 1)
    assert (await office.graph("GET", path)).status == 200
    assert (await office.admin.ledger(office.tenant_id, status=429)).value[0].code == "TooManyRequests"


async def test_the_share_shown_ends_at_1_8(office):
    await limit(office, 1)
    shares = [
        (await office.graph("GET", f"/users/{office.user}")).headers["x-ms-throttle-limit-percentage"] for _ in range(3)
    ]
    assert shares == ["1.00", "1.80", "1.80"]


async def test_calendars_cost_no_units(office):
    await limit(office, 1)
    for path in (office.events_path, f"/users/{office.user}/calendar", "/subscriptions"):
        for _ in range(2):
            reply = await office.graph("GET", path)
            assert (reply.status, "x-ms-resource-unit" in reply.headers) == (200, False)


async def test_items_of_a_batch_cost_units_one_by_one(office):
    await limit(office, 2)
    url = f"/users/{office.user}"
    answers = await office.batch(*({"id": str(number), "method": "GET", "url": url} for number in range(3)))
    assert sorted(answer["status"] for answer in answers.values()) == [200, 200, 429]
    refused = next(answer for answer in answers.values() if answer["status"] == 429)
    assert int(refused["headers"]["Retry-After"]) >= 1
    assert refused["headers"]["x-ms-throttle-information"] == "ResourceUnitLimitExceeded"


async def test_applications_and_tenants_have_units_of_their_own(office):
    other = App(str(uuid.uuid4()), office.secret, ROLES)
    await office.admin.put_tenant(office.tenant_id, apps=[App(office.client_id, office.secret, ROLES), other])
    await limit(office, 1)
    theirs = await office.sign_in(client_id=other.client_id)
    path = f"/users/{office.user}"
    assert [(await office.graph("GET", path)).status for _ in range(2)] == [200, 429]
    assert (await office.graph("GET", path, token=theirs)).status == 200


async def test_the_limit_goes_by_the_size_of_the_tenant(office):
    await limit(office, 1, directory_medium_units_max=3)
    for number in range(49):
        await office.admin.put_user(office.tenant_id, f"user{number}@contoso.example")
    assert [(await office.graph("GET", f"/users/{office.user}")).status for _ in range(4)] == [200, 200, 200, 429]


async def test_the_directorys_limit_can_be_lifted(office):
    await limit(office, 1)
    await limit(office, None)
    replies = [await office.graph("GET", f"/users/{office.user}") for _ in range(3)]
    assert [reply.status for reply in replies] == [200, 200, 200]
    assert "x-ms-throttle-limit-percentage" not in replies[-1].headers


async def test_a_retry_after_of_the_directory_is_none_of_the_mailbox(office):
    await limit(office, None)
    fault = Fault(tenant=office.tenant_id, operation="get_user", status=429, retry_after_s=30, times=1)
    await office.admin.add_fault(fault)
    await office.graph("GET", f"/users/{office.user}")
    await office.graph("GET", office.events_path)
    assert (await office.admin.stats(office.tenant_id)).violations == {}
    await office.graph("GET", f"/groups/{office.group}")
    assert (await office.admin.stats(office.tenant_id)).violations == {"inside_retry_after": 1}


async def test_an_application_has_one_limit_over_all_tenants(office):
    home, user = office.tenant_id, office.user
    app = App(office.client_id, office.secret, ROLES)
    away = str(uuid.uuid4())
    await office.admin.put_tenant(away, apps=[app])
    await office.admin.put_user(away, user)
    office.tenant_id = away
    theirs = await office.sign_in(client_id=office.client_id)
    office.tenant_id = home
    for tenant_id in (home, away):
        await office.admin.set_limits(tenant_id, application_max_requests=4, application_window_s=600)
    path = office.events_path
    assert (await office.graph("GET", path)).status == 200
    assert (await office.graph("GET", "/nonsense")).status == 400
    assert [(await office.graph("GET", path, token=theirs)).status for _ in range(2)] == [200, 200]
    refused = await office.graph("GET", path)
    assert (refused.status, refused.code) == (429, "TooManyRequests")
    assert refused.message == f"Too many requests from Identifier:{office.client_id}. Please try again later."
    assert 590 <= int(refused.headers["Retry-After"]) <= 606
    assert refused.body["error"]["innerError"]["request-id"] == refused.headers["request-id"]
    assert (await office.graph("GET", path, token=theirs)).status == 429
    assert (await office.admin.stats(home)).violations == {"over_application": 1}
    # The limit is of real time: a tenant's clock does not end it. It can be lifted where it is in the way.
    await office.admin.advance_clock(home, 700)
    assert (await office.graph("GET", f"/users/{user}")).status == 429
    await office.admin.set_limits(home, application_max_requests=None)
    assert (await office.graph("GET", path)).status == 200
    await office.admin.reset(away)


async def test_items_of_a_batch_count_for_the_application(office):
    await office.admin.set_limits(office.tenant_id, application_max_requests=3, application_window_s=600)
    answers = await office.batch(*(office.creating(str(number)) for number in range(5)))
    assert sorted(answer["status"] for answer in answers.values()) == [201, 201, 201, 429, 429]


@pytest.mark.parametrize(
    "numbers",
    [
        {"directory_small_units_max": 0}, {"directory_window_s": 0}, {"application_max_requests": -1},
        {"application_window_s": 0}, {"identical_token_requests_max": 0}, {"identical_token_window_s": 0},
    ],
)  # fmt: skip
async def test_numbers_without_sense_are_refused(lab, numbers):
    with pytest.raises(AdminRefused):
        await lab.admin.set_limits(lab.tenant_id, **numbers)
