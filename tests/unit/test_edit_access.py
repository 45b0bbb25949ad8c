"""Who may assign: the judgement over every sharing there can be, and what Graph's answers are read as."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calbus.graph.calls import Response
from calbus.graph.errors import Fault, Scope
from calbus.graph.permissions import (
    Group,
    Page,
    Permission,
    ask_groups,
    ask_next,
    ask_owner,
    ask_permissions,
    read_groups,
    read_owner,
    read_permissions,
)
from schemas.reasons import Reason
from services.writer.access import EDITING_ROLES, Verdict, judge

OWNER = frozenset(("olga@contoso.example", "olga.o@contoso.onmicrosoft.example"))
ROLES = (
    "none",
    "freeBusyRead",
    "limitedRead",
    "read",
    "write",
    "delegateWithoutPrivateEventAccess",
    "delegateWithPrivateEventAccess",
    "custom",
    "a role of tomorrow",
)
ADDRESSES = (*OWNER, "team@contoso.example", "board@contoso.example", "bob@contoso.example")

roles = st.sampled_from(ROLES)
lines = st.builds(Permission, roles, st.sampled_from(ADDRESSES), st.booleans())
everybody = st.builds(lambda role: Permission(role, None, inside=True, everybody=True), roles)
sharings = st.builds(lambda people, all_: [*people, all_], st.lists(lines, max_size=6), everybody)
groups = st.lists(st.builds(Group, st.sampled_from((None, *ADDRESSES[2:])), st.booleans()), max_size=4)


def line(role: str, address: str | None = None, *, inside: bool = True) -> Permission:
    return Permission(role, address, inside, everybody=address is None)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("address", sorted(OWNER))
def test_by_name(role: str, address: str) -> None:
    granted = Verdict.GRANTED if role in EDITING_ROLES else Verdict.DENIED
    assert judge(OWNER, [line(role, address), line("freeBusyRead")], None) is granted
    assert judge(OWNER, [line(role, address, inside=False), line("freeBusyRead")], None) is granted


@pytest.mark.parametrize("role", ROLES)
def test_by_the_organisation(role: str) -> None:
    granted = Verdict.GRANTED if role in EDITING_ROLES else Verdict.DENIED
    assert judge(OWNER, [line("read", "bob@contoso.example"), line(role)], None) is granted


def test_by_a_group() -> None:
    sharing = [line("write", "team@contoso.example"), line("none")]
    assert judge(OWNER, sharing, None) is Verdict.ASK_GROUPS
    assert judge(OWNER, sharing, []) is Verdict.DENIED
    assert judge(OWNER, sharing, [Group("board@contoso.example", seen=True)]) is Verdict.DENIED
    assert judge(OWNER, sharing, [Group("team@contoso.example", seen=True)]) is Verdict.GRANTED
    assert judge(OWNER, sharing, [Group(None, seen=True)]) is Verdict.DENIED
    assert judge(OWNER, sharing, [Group(None, seen=False)]) is Verdict.HIDDEN


def test_a_lesser_role_by_name_goes_before_all_others() -> None:
    sharing = [line("read", "olga@contoso.example"), line("write", "team@contoso.example"), line("write")]
    assert judge(OWNER, sharing, [Group("team@contoso.example", seen=True)]) is Verdict.DENIED


@given(sharings, groups)
def test_groups_are_asked_for_only_if_they_can_decide(sharing: list[Permission], members: list[Group]) -> None:
    first = judge(OWNER, sharing, None)
    if first is Verdict.ASK_GROUPS:
        assert judge(OWNER, sharing, members) is not Verdict.ASK_GROUPS
        reachable = {judge(OWNER, sharing, [Group(address, seen=True)]) for address in ADDRESSES[2:]}
        assert Verdict.GRANTED in reachable
    else:
        assert judge(OWNER, sharing, members) is first
        assert first is not Verdict.HIDDEN


@given(sharings, st.none() | groups)
def test_nobody_is_let_in_without_an_editing_role(sharing: list[Permission], members: list[Group] | None) -> None:
    lesser = [replace(one, role="custom") if one.role in EDITING_ROLES else one for one in sharing]
    assert judge(OWNER, lesser, members) is Verdict.DENIED


@given(sharings, groups, lines)
def test_what_others_are_given_changes_nothing(
    sharing: list[Permission], members: list[Group], more: Permission
) -> None:
    stranger = replace(more, address="somebody.else@contoso.example")
    before, after = judge(OWNER, sharing, members), judge(OWNER, [*sharing, stranger], members)
    # One more line that could be a group leaves open what hidden groups would say; it never grants or denies.
    assert after is before or {before, after} == {Verdict.DENIED, Verdict.HIDDEN}


@given(sharings, groups, st.randoms())
def test_the_order_of_lines_does_not_matter(sharing: list[Permission], members: list[Group], dice: object) -> None:
    shuffled = list(sharing)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert judge(OWNER, shuffled, members) is judge(OWNER, sharing, members)


def answer(body: object, status: int = 200) -> Response:
    return Response(status, body, None)


def shared(role: str, address: str | None, **more: object) -> dict[str, object]:
    email = {"name": "Somebody"} | ({"address": address} if address else {})
    return {"id": "x", "role": role, "isInsideOrganization": True, "isRemovable": True, "emailAddress": email} | more


def test_permissions_are_read() -> None:
    body = {
        "value": [
            shared("write", "Olga@Contoso.Example"),
            shared("read", "out@fabrikam.example", isInsideOrganization=False),
            shared("write", None, id="RGVmYXVsdA==", isRemovable=False),
        ]
    }
    assert read_permissions(answer(body)) == Page(
        (
            Permission("write", "olga@contoso.example", inside=True),
            Permission("read", "out@fabrikam.example", inside=False),
            Permission("write", None, inside=True, everybody=True),
        )
    )


def test_who_cannot_be_resolved_is_not_everybody() -> None:
    page = read_permissions(answer({"value": [shared("write", None)]}))
    assert isinstance(page, Page)
    assert judge(OWNER, page.items, None) is Verdict.DENIED


def test_groups_are_read() -> None:
    body = {
        "value": [
            {"id": "1", "displayName": "Team", "mail": "Team@Contoso.Example"},
            {"id": "2", "displayName": "Security", "mail": None},
            {"id": "3", "displayName": None, "mail": None},
            {"id": "4"},
        ]
    }
    assert read_groups(answer(body)) == Page(
        (
            Group("team@contoso.example", seen=True),
            Group(None, seen=True),
            Group(None, seen=False),
            Group(None, seen=False),
        )
    )


@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"value": None}, {"value": [1]}, {"value": [{}]}, {"value": [], "@odata.nextLink": 7}],
)
def test_what_is_no_list_says_nothing(body: object) -> None:
    for read in (read_permissions, read_groups):
        fault = read(answer(body))
        assert isinstance(fault, Fault)
        assert (fault.reason, fault.scope) == (Reason.GRAPH_UNAVAILABLE, Scope.ENTRY)


@pytest.mark.parametrize(
    ("link", "path"),
    [
        ("https://graph.microsoft.com/v1.0/users/a/calendar/x?$skiptoken=2", "/users/a/calendar/x?$skiptoken=2"),
        ("http://proxy.example:8080/graph/v1.0/users/a%2Fb?$skip=10", "/users/a%2Fb?$skip=10"),
        ("https://graph.microsoft.us/beta/users/a?t=/v1.0/x", "/users/a?t=/v1.0/x"),
        ("https://elsewhere.example/users/a", None),
        ("ftp://graph.microsoft.com/v1.0/users", None),
        ("/v1.0/users/a", None),
    ],
)
def test_a_next_link_never_leads_to_another_host(link: str, path: str | None) -> None:
    page = read_permissions(answer({"value": [], "@odata.nextLink": link}))
    if path is None:
        assert isinstance(page, Fault)
    else:
        assert page == Page((), path)
        assert ask_next(ask_permissions("a"), path).path == path


def test_the_owner_is_read() -> None:
    assert read_owner(answer({"owner": {"name": "Olga", "address": "Olga@Contoso.Example"}})) == "olga@contoso.example"
    for body in (None, {}, {"owner": None}, {"owner": {}}, {"owner": {"address": ""}}):
        assert isinstance(read_owner(answer(body)), Fault)


def test_a_fault_stays_the_fault_it_is() -> None:
    fault = Fault(Reason.THROTTLED, Scope.MAILBOX, 3.0)
    for read in (read_permissions, read_groups, read_owner):
        assert read(Response(429, None, fault)) is fault


def test_names_are_encoded() -> None:
    assert ask_permissions("a/b@x").path == "/users/a%2Fb%40x/calendar/calendarPermissions"
    assert ask_permissions("a@x", "id/=").path == "/users/a%40x/calendars/id%2F%3D/calendarPermissions"
    assert ask_owner("a b@x").path == "/users/a%20b%40x/calendar"
    assert ask_groups("a#EXT#@x").path.startswith("/users/a%23EXT%23%40x/transitiveMemberOf/microsoft.graph.group?")
