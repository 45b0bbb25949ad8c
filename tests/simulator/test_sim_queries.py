"""Lists and their options: pages, selection, expansion, filters."""

from datetime import datetime, timedelta, timezone

import pytest

GUID = "{66f5a359-4659-4830-9070-00040ec6ac6e}"
SOURCE = f"String {GUID} Name SourceId"
SIZE = f"Integer {GUID} Name Size"


def found_by(value, operator="eq", property_id=SOURCE):
    return f"singleValueExtendedProperties/Any(ep: ep/id eq '{property_id}' and ep/value {operator} '{value}')"


async def subjects(lab, **query):
    reply = await lab.graph("GET", lab.events_path, query={f"${name}": value for name, value in query.items()})
    assert reply.status == 200, reply.body
    return [event["subject"] for event in reply.body["value"]]


@pytest.fixture
async def three(lab, make_event, moment):
    for number, name in enumerate(("alpha", "beta", "gamma"), start=1):
        times = {
            "start": moment(f"2026-12-0{number}T09:00:00", "UTC"),
            "end": moment(f"2026-12-0{number}T10:00:00", "UTC"),
        }
        marks = [{"id": SOURCE, "value": f"It's {name}"}, {"id": SIZE, "value": str(number * 10)}]
        await lab.create(make_event(subject=name, singleValueExtendedProperties=marks, **times))
    await lab.create(make_event(subject="plain"))
    return lab


async def test_pages_have_ten_events_and_a_link_to_the_next(lab, make_event):
    for number in range(23):
        await lab.create(make_event(subject=str(number)))
    path, sizes, seen = lab.events_path, [], []
    query = {"$select": "subject"}
    while path:
        body = (await lab.graph("GET", path, query=query)).body
        sizes.append(len(body["value"]))
        seen += [event["subject"] for event in body["value"]]
        path, query = body.get("@odata.nextLink"), None
        assert path is None or "$skip=" in path
    assert (sizes, seen) == ([10, 10, 3], [str(number) for number in range(23)])
    assert len(await subjects(lab, top="1000")) == 23
    assert await subjects(lab, top="2", skip="21") == ["21", "22"]


async def test_a_full_last_page_has_no_link(lab, make_event):
    for _ in range(2):
        await lab.create(make_event())
    reply = await lab.graph("GET", lab.events_path, query={"$top": "2", "$count": "true"})
    assert "@odata.nextLink" not in reply.body
    assert reply.body["@odata.count"] == 2


async def test_select_shows_only_what_was_asked_and_the_id(three):
    reply = await three.graph("GET", three.events_path, query={"$select": "subject,start"})
    assert all(set(event) == {"@odata.etag", "id", "subject", "start"} for event in reply.body["value"])


async def test_an_event_is_found_by_its_extended_property(three):
    assert await subjects(three, filter=found_by("It''s beta")) == ["beta"]
    assert await subjects(three, filter=found_by("IT''S BETA")) == ["beta"]
    assert (
        await subjects(three, filter=found_by("It''s beta", property_id=SOURCE.replace("SourceId", "sourceid"))) == []
    )
    assert await subjects(three, filter=found_by("delta")) == []
    body = (await three.graph("GET", three.events_path, query={"$filter": found_by("It''s beta")})).body
    assert "singleValueExtendedProperties" not in body["value"][0]


async def test_the_other_operators_on_extended_properties(three):
    def test_of(condition):
        return f"singleValueExtendedProperties/any(x: x/id eq '{SOURCE}' and {condition})"

    assert await subjects(three, filter=found_by("It''s beta", "ne")) == ["alpha", "gamma"]
    assert await subjects(three, filter=test_of("contains(x/value, 'MM')")) == ["gamma"]
    assert await subjects(three, filter=test_of("startswith(x/value, 'it''s a')")) == ["alpha"]
    sized = f"singleValueExtendedProperties/Any(ep: ep/id eq '{SIZE}' and cast(ep/value, Edm.Int32) gt 10)"
    assert await subjects(three, filter=sized) == ["beta", "gamma"]


async def test_the_index_follows_changes_and_deletions(three):
    event = (await three.admin.events(three.tenant_id, three.user))[0]
    path = three.event_path(event.id)
    await three.graph("PATCH", path, {"singleValueExtendedProperties": [{"id": SOURCE, "value": "moved"}]})
    assert await subjects(three, filter=found_by("It''s alpha")) == []
    assert await subjects(three, filter=found_by("moved")) == ["alpha"]
    await three.graph("DELETE", path)
    assert await subjects(three, filter=found_by("moved")) == []


async def test_filters_on_times_uid_and_their_conjunction(three):
    assert await subjects(three, filter="start/dateTime ge '2026-12-02T09:00:00'") == ["beta", "gamma"]
    assert await subjects(
        three, filter="start/dateTime ge '2026-12-02' and end/dateTime lt '2026-12-03T00:00:00Z'"
    ) == ["beta"]
    uid = (await three.admin.events(three.tenant_id, three.user))[1].graph["iCalUId"]
    assert await subjects(three, filter=f"iCalUId eq '{uid}'") == ["beta"]
    assert await subjects(three, filter=f"{found_by('It' + chr(39) * 2 + 's beta')} and subject eq 'alpha'") == []


async def test_filters_on_instants_have_no_quotes(three):
    events = await three.admin.events(three.tenant_id, three.user)
    created = {event.graph["subject"]: event.graph["createdDateTime"] for event in events}
    at = created["beta"].removesuffix("Z").removesuffix("0")
    there = datetime.fromisoformat(f"{at}+00:00").astimezone(timezone(timedelta(hours=2))).isoformat()
    assert there.endswith("+02:00")
    for literal in (f"{at}Z", f"{at}0Z", f"{at}z", f"{at}+00:00", f"{at}-00:00", there):
        assert await subjects(three, filter=f"createdDateTime eq {literal}") == ["beta"]
        assert await subjects(three, filter=f"lastModifiedDateTime gt {literal}") == ["gamma", "plain"]
    assert await subjects(three, filter=f"createdDateTime lt {at}Z and subject ne 'x'") == ["alpha"]
    assert await subjects(three, filter="createdDateTime ge 2020-01-01T00:00Z", top="1") == ["alpha"]


async def test_order(three):
    assert await subjects(three, orderby="start/dateTime desc", top="2") == ["gamma", "beta"]
    assert await subjects(three, orderby="start/dateTime DESC,subject Asc", top="2") == ["gamma", "beta"]
    assert await subjects(three, orderby="subject") == ["alpha", "beta", "gamma", "plain"]


async def test_expansion_needs_the_id_of_the_property(three):
    wanted = f"singleValueExtendedProperties($filter=id eq '{SOURCE}' or id eq '{SIZE}')"
    body = (await three.graph("GET", three.events_path, query={"$expand": wanted, "$top": "1"})).body
    assert body["value"][0]["singleValueExtendedProperties"] == [
        {"id": SOURCE, "value": "It's alpha"},
        {"id": SIZE, "value": "10"},
    ]
    reply = await three.graph("GET", three.events_path, query={"$expand": "singleValueExtendedProperties"})
    assert reply.status == 400


async def test_a_plus_is_not_a_space(lab):
    reply = await lab.graph("GET", f"{lab.events_path}?$filter=subject+eq+'x'")
    assert (reply.status, reply.code) == (400, "RequestBroker--ParseUri")
    assert (await lab.graph("GET", f"{lab.events_path}?$filter=subject%20eq%20'x'")).status == 200


@pytest.mark.parametrize(
    "query",
    [
        {"$top": "0"}, {"$top": "1001"}, {"$top": "ten"}, {"$skip": "-1"}, {"$count": "perhaps"},
        {"$select": "subject,colour"}, {"$select": ""}, {"$orderby": "colour"}, {"$expand": "attachments"},
        {"$search": "x"}, {"$apply": "x"}, {"$filter": ""}, {"$filter": "subject"}, {"$filter": "subject eq x"},
        {"$filter": "subject like 'x'"}, {"$filter": "(subject eq 'x'"},
        {"$filter": "subject eq 'x' or subject eq 'y'"},
        {"$filter": "subject eq 'x"}, {"$filter": "start/dateTime ge 'soon'"}, {"$filter": found_by("x", "like")},
        {"$filter": "createdDateTime ge '2026-12-01T00:00:00Z'"}, {"$filter": "createdDateTime ge 2026-12-01"},
        {"$filter": "lastModifiedDateTime ge 2026-12-01T00:00:00"},
        {"$filter": "lastModifiedDateTime ge 2026-13-01T00:00:00Z"},
        {"$filter": "lastModifiedDateTime ge 0001-01-01T00:00:00+14:00"},
        {"$filter": "start/dateTime ge 2026-12-01T00:00:00Z"},
        {"$filter": "singleValueExtendedProperties/Any(ep: ep/value eq 'x')"},
        {"$filter": "singleValueExtendedProperties/Any(ep: ep/id eq 'bad id' and ep/value eq 'x')"},
        {"$filter": f"singleValueExtendedProperties/Any(ep: ep/id eq '{SIZE}' and cast(ep/value, Edm.Int32) gt many)"},
    ],
    ids=str,
)  # fmt: skip
async def test_a_wrong_option_is_a_bad_request(lab, query):
    await lab.create()
    reply = await lab.graph("GET", lab.events_path, query=query)
    assert reply.status == 400
    assert reply.body["error"]["innerError"]["request-id"]


async def test_options_of_lists_do_not_belong_elsewhere(lab, make_event):
    path = lab.event_path((await lab.create())["id"])
    assert (await lab.graph("GET", path, query={"$top": "1"})).status == 400
    assert (await lab.graph("PATCH", path, {"subject": "x"}, query={"$select": "id"})).status == 400
    assert (await lab.graph("POST", lab.events_path, make_event(), query={"$expand": "x"})).status == 400
