"""Group membership: direct, through other groups, and in a circle."""

import pytest

from simulator.client import AdminRefused, App

READ = ("GroupMember.Read.All",)


@pytest.fixture
async def staff(lab):
    """Dana is in Nurses, which is in Staff; Staff and Circle hold each other."""
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret, READ)])
    lab.token = await lab.sign_in()
    put = lab.admin.put_group
    lab.groups = {"nurses": (await put(lab.tenant_id, "Nurses", members=[lab.user])).id}
    lab.groups["circle"] = (await put(lab.tenant_id, "Circle", mail="c@contoso.example", security_enabled=False)).id
    lab.groups["staff"] = (await put(lab.tenant_id, "Staff", members=["Nurses", lab.groups["circle"]])).id
    await put(lab.tenant_id, "Circle", members=["Staff"], mail="c@contoso.example", security_enabled=False)
    lab.groups["other"] = (await put(lab.tenant_id, "Other")).id
    return lab


async def value(lab, path, body=None, **options):
    reply = await lab.graph("POST" if body is not None else "GET", path, body, **options)
    assert reply.status == 200, reply.body
    return reply.body["value"]


async def test_membership_is_checked_at_any_depth(staff):
    path, groups = f"/users/{staff.user}", staff.groups
    asked = [groups["staff"].upper(), groups["other"], "nonsense"]
    assert await value(staff, f"{path}/checkMemberGroups", {"groupIds": asked}) == [groups["staff"]]
    assert await value(staff, f"{path}/checkMemberObjects", {"ids": asked}) == [groups["staff"]]
    everything = await value(staff, f"{path}/getMemberGroups", {"securityEnabledOnly": False})
    assert everything == [groups["nurses"], groups["staff"], groups["circle"]]
    secure = await value(staff, f"{path}/getMemberGroups", {"securityEnabledOnly": True})
    assert secure == [groups["nurses"], groups["staff"]]


async def test_groups_of_a_user_are_listed(staff):
    path = f"/users/{staff.user_id}"
    assert [item["displayName"] for item in await value(staff, f"{path}/memberOf")] == ["Nurses"]
    for suffix in ("", "/microsoft.graph.group", "/graph.group"):
        found = await value(staff, f"{path}/transitiveMemberOf{suffix}")
        assert [item["displayName"] for item in found] == ["Nurses", "Staff", "Circle"]
    assert found[0]["@odata.type"] == "#microsoft.graph.group"


async def test_members_of_a_group_are_listed(staff):
    path = f"/groups/{staff.groups['staff']}"
    assert (await staff.graph("GET", path)).body["displayName"] == "Staff"
    assert [item["displayName"] for item in await value(staff, f"{path}/members")] == ["Nurses", "Circle"]
    found = await value(staff, f"{path}/transitiveMembers", query={"$select": "id,displayName"})
    assert {item["displayName"] for item in found} == {"Nurses", "Circle", "Dana Swope", "Staff"}
    assert {item["@odata.type"] for item in found} == {"#microsoft.graph.group", "#microsoft.graph.user"}
    assert all(set(item) == {"@odata.type", "id", "displayName"} for item in found)


async def test_long_lists_have_pages(staff):
    for number in range(5):
        await staff.admin.put_user(staff.tenant_id, f"user{number}@contoso.example")
    members = [f"user{number}@contoso.example" for number in range(5)]
    group = await staff.admin.put_group(staff.tenant_id, "Many", members=members)
    path, query, sizes = f"/groups/{group.id}/members", {"$top": "2"}, []
    while path:
        body = (await staff.graph("GET", path, query=query)).body
        sizes.append(len(body["value"]))
        path, query = body.get("@odata.nextLink"), None
    assert sizes == [2, 2, 1]


async def test_a_removed_group_is_gone_everywhere(staff):
    await staff.admin.remove_group(staff.tenant_id, "Nurses")
    assert await value(staff, f"/users/{staff.user}/transitiveMemberOf") == []
    reply = await staff.graph("GET", f"/groups/{staff.groups['nurses']}/members")
    assert (reply.status, reply.code) == (404, "Request_ResourceNotFound")
    assert "Nurses" not in [group.display_name for group in await staff.admin.groups(staff.tenant_id)]


async def test_membership_needs_a_role(lab):
    for path in (f"/users/{lab.user}/memberOf", "/groups/x/members"):
        reply = await lab.graph("GET", path)
        assert (reply.status, reply.code) == (403, "Authorization_RequestDenied")


async def test_wrong_questions_are_refused(staff):
    path = f"/users/{staff.user}"
    for body in ({}, {"groupIds": "x"}, {"groupIds": [1]}, {"groupIds": ["x"] * 21}, []):
        assert (await staff.graph("POST", f"{path}/checkMemberGroups", body)).status == 400
    assert (await staff.graph("POST", f"{path}/getMemberGroups", {})).status == 400
    for query in ({"$top": "1000"}, {"$top": "x"}, {"$filter": "x"}, {"$skiptoken": "-1"}, {"$select": "a b"}):
        assert (await staff.graph("GET", f"{path}/memberOf", query=query)).status == 400
    unknown = await staff.graph("GET", "/users/nobody@contoso.example/memberOf")
    assert unknown.code == "Request_ResourceNotFound"


async def test_an_administrator_is_told_what_is_wrong(staff):
    with pytest.raises(AdminRefused, match="There is no user or group nobody"):
        await staff.admin.put_group(staff.tenant_id, "Bad", members=["nobody"])
    with pytest.raises(AdminRefused, match="There is no group Bad"):
        await staff.admin.remove_group(staff.tenant_id, "Bad")
