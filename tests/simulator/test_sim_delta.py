"""Delta rounds: what is told, in which pages, and when a round has to begin anew."""

import random

import pytest

from simulator.client import Fault

WINDOW = {"startDateTime": "2026-12-01T00:00:00Z", "endDateTime": "2027-01-01T00:00:00Z"}
DAILY = {"type": "daily", "interval": 1}
IMMUTABLE = {"Prefer": 'IdType="ImmutableId"'}


def on(day, hour=9, **more):
    """An event on a day of December 2026, beyond the 31st in January 2027."""
    date = f"2026-12-{day:02}" if day <= 31 else f"2027-01-{day - 31:02}"
    times = {"start": f"{date}T{hour:02}:00:00", "end": f"{date}T{hour:02}:30:00"}
    return {**{name: {"dateTime": at, "timeZone": "UTC"} for name, at in times.items()}, **more}


def daily(first, number, interval=1):
    span = {"type": "numbered", "startDate": f"2026-12-{first:02}", "numberOfOccurrences": number}
    return {"pattern": {**DAILY, "interval": interval}, "range": span}


class Follower:
    """Follows a view by delta and keeps what it is told, as a client would: the last word wins."""

    def __init__(self, lab, root="calendarView", page_items=None, **headers):
        self.lab = lab
        self.path = f"/users/{lab.user}/{root}/delta"
        self.link = None
        self.known = {}
        self.headers = headers
        if page_items is not None:
            self.headers = {"Prefer": f"odata.maxpagesize={page_items}"}
        self.pages = []

    async def page(self, link, query=None):
        reply = await self.lab.graph("GET", link, query=query, headers=self.headers)
        assert reply.status == 200, reply.body
        assert "odata.track-changes" in reply.headers["Preference-Applied"]
        return reply.body

    async def round(self):
        """Everything told in one round."""
        link, query = (self.link, None) if self.link else (self.path, WINDOW)
        self.pages = []
        while link:
            body = await self.page(link, query)
            self.pages.append(len(body["value"]))
            for item in body["value"]:
                self.hear(item)
            link, query = body.get("@odata.nextLink"), None
            if "@odata.deltaLink" in body:
                self.link = body["@odata.deltaLink"]
            yield body["value"]

    def hear(self, item):
        if "@removed" in item:
            assert item["@removed"] == {"reason": "deleted"}
            self.known.pop(item["id"], None)
        else:
            self.known[item["id"]] = item

    async def catch_up(self):
        return [item async for value in self.round() for item in value]


def told(items):
    return [item["id"] for item in items if "@removed" not in item]


def removed(items):
    return [item["id"] for item in items if "@removed" in item]


async def in_view(lab):
    query = {**WINDOW, "$top": "1000"}
    return (await lab.graph("GET", f"/users/{lab.user}/calendarView", query=query)).body["value"]


async def test_a_round_tells_what_is_in_the_window_and_then_what_changed(lab, make_event):
    first = await lab.create(on(1))
    await lab.create(on(40))
    follower = Follower(lab)
    items = await follower.catch_up()
    assert told(items) == [first["id"]]
    assert removed(items) == []
    assert items[0]["@odata.type"] == "#microsoft.graph.event"
    assert items[0]["subject"] == first["subject"]
    assert await follower.catch_up() == []
    second = await lab.create(on(2))
    await lab.graph("PATCH", lab.event_path(first["id"]), {"subject": "changed"})
    items = await follower.catch_up()
    assert told(items) == [second["id"], first["id"]]
    assert items[1]["subject"] == "changed"


async def test_links_are_whole_urls_with_one_token(lab):
    for day in (1, 2):
        await lab.create(on(day))
    follower = Follower(lab, page_items=1)
    body = await follower.page(follower.path, WINDOW)
    base = f"{lab.addresses.http_url}/v1.0{follower.path}?"
    assert body["@odata.nextLink"].startswith(f"{base}$skiptoken=")
    assert "DateTime" not in body["@odata.nextLink"]
    body = await follower.page(body["@odata.nextLink"])
    assert body["@odata.deltaLink"].startswith(f"{base}$deltatoken=")
    assert "@odata.nextLink" not in body


async def test_pages_are_as_large_as_preferred(lab):
    for day in range(1, 13):
        await lab.create(on(day))
    for page_items, sizes in ((5, [5, 5, 2]), (12, [12]), (None, [10, 2])):
        follower = Follower(lab, page_items=page_items)
        assert len(await follower.catch_up()) == 12
        assert follower.pages == sizes


async def test_what_is_deleted_is_removed(lab):
    event = await lab.create(on(1))
    follower, by_immutable_id = Follower(lab), Follower(lab, **IMMUTABLE)
    await follower.catch_up()
    immutable = told(await by_immutable_id.catch_up())
    await lab.graph("DELETE", lab.event_path(event["id"]))
    items = await follower.catch_up()
    assert items == [{"@odata.type": "#microsoft.graph.event", "id": event["id"], "@removed": {"reason": "deleted"}}]
    assert removed(await by_immutable_id.catch_up()) == immutable != [event["id"]]


async def test_a_first_round_does_not_tell_of_the_past(lab):
    event = await lab.create(on(1))
    await lab.graph("DELETE", lab.event_path(event["id"]))
    assert await Follower(lab).catch_up() == []


async def test_what_is_written_out_of_sight_is_removed_too(lab):
    inside, outside = await lab.create(on(1)), await lab.create(on(40))
    follower = Follower(lab)
    await follower.catch_up()
    await lab.graph("PATCH", lab.event_path(inside["id"]), on(41))
    await lab.graph("PATCH", lab.event_path(outside["id"]), {"subject": "edited"})
    never_seen = await lab.create(on(42))
    items = await follower.catch_up()
    assert (told(items), removed(items)) == ([], [inside["id"], outside["id"], never_seen["id"]])


async def test_what_changes_during_a_round_is_told_in_it(lab):
    events = [await lab.create(on(day)) for day in range(1, 6)]
    follower = Follower(lab, page_items=2)
    rounds = follower.round()
    assert told(await anext(rounds)) == [event["id"] for event in events[:2]]
    await lab.graph("DELETE", lab.event_path(events[0]["id"]))
    await lab.graph("PATCH", lab.event_path(events[1]["id"]), {"subject": "changed"})
    rest = [item async for value in rounds for item in value]
    assert told(rest) == [event["id"] for event in [*events[2:], events[1]]]
    assert removed(rest) == [events[0]["id"]]
    assert set(follower.known) == {event["id"] for event in events[1:]}


async def test_a_series_is_told_with_its_occurrences(lab, make_event):
    master = await lab.create(on(1, recurrence=daily(1, 12)))
    follower = Follower(lab, page_items=5)
    items = await follower.catch_up()
    assert follower.pages == [5, 5, 3]
    assert (items[0]["id"], items[0]["type"], items[0]["subject"]) == (master["id"], "seriesMaster", "")
    members = {"@odata.type", "@odata.etag", "id", "seriesMasterId", "type", "start", "end"}
    assert all(set(item) == members for item in items[1:])
    assert [item["start"]["dateTime"][8:10] for item in items[1:]] == [f"{day:02}" for day in range(1, 13)]


async def test_an_occurrence_deleted_between_two_pages_of_its_series_hides_no_other(lab):
    master = await lab.create(on(1, recurrence=daily(1, 4)))
    follower = Follower(lab, page_items=3)
    rounds = follower.round()
    first = await anext(rounds)
    assert told(first)[0] == master["id"]
    await lab.graph("DELETE", lab.event_path(first[1]["id"]))
    async for _ in rounds:
        pass
    await follower.catch_up()
    assert set(follower.known) == {master["id"], *(item["id"] for item in await in_view(lab))}


async def test_an_edited_occurrence_is_told_alone(lab):
    await lab.create(on(1, recurrence=daily(1, 4)))
    follower = Follower(lab)
    occurrences = (await follower.catch_up())[1:]
    await lab.graph("PATCH", lab.event_path(occurrences[1]["id"]), {"subject": "Mine"})
    await lab.graph("DELETE", lab.event_path(occurrences[2]["id"]))
    items = await follower.catch_up()
    assert (told(items), removed(items)) == ([occurrences[1]["id"]], [occurrences[2]["id"]])
    assert (items[0]["type"], items[0]["subject"]) == ("exception", "Mine")


async def test_a_series_that_shrinks_or_goes_removes_its_occurrences(lab):
    master = await lab.create(on(1, recurrence=daily(1, 4)))
    follower = Follower(lab)
    occurrences = told(await follower.catch_up())[1:]
    path = lab.event_path(master["id"])
    await lab.graph("PATCH", path, {"recurrence": daily(1, 2, interval=2)})
    items = await follower.catch_up()
    assert removed(items) == [occurrences[1], occurrences[3]]
    assert told(items) == [master["id"], occurrences[0], occurrences[2]]
    await lab.graph("DELETE", path)
    assert set(removed(await follower.catch_up())) == {master["id"], occurrences[0], occurrences[2]}
    assert follower.known == {}


class Scribbler:
    """Writes at random, repeatably."""

    def __init__(self, lab, seed):
        self.lab = lab
        self.dice = random.Random(seed)
        self.singles = []
        self.masters = []

    async def write(self):
        await self.dice.choice((self.create, self.series, self.move, self.delete, self.deviate, self.pattern))()

    async def patch(self, event_id, changes):
        await self.lab.graph("PATCH", self.lab.event_path(event_id), changes)

    def some_time(self):
        return on(self.dice.randint(1, 40), self.dice.randint(0, 22))

    async def create(self):
        self.singles += [(await self.lab.create(self.some_time()))["id"] for _ in range(2)]

    async def series(self):
        number = self.dice.randint(1, 40)
        self.masters.append((await self.lab.create(on(5, recurrence=daily(5, number))))["id"])

    async def move(self):
        if self.singles:
            await self.patch(self.dice.choice(self.singles), self.some_time())

    async def delete(self):
        held = self.singles if self.dice.random() < 0.8 else self.masters
        if held:
            await self.lab.graph("DELETE", self.lab.event_path(held.pop()))

    async def deviate(self):
        seen = [event["id"] for event in await in_view(self.lab) if event["type"] != "singleInstance"]
        if not seen:
            return
        occurrence = self.dice.choice(seen)
        if self.dice.random() < 0.4:
            await self.lab.graph("DELETE", self.lab.event_path(occurrence))
        else:
            await self.patch(occurrence, self.dice.choice(({"subject": "Mine"}, self.some_time())))

    async def pattern(self):
        if self.masters:
            changed = daily(5, self.dice.randint(1, 20), self.dice.randint(1, 3))
            await self.patch(self.dice.choice(self.masters), {"recurrence": changed})


@pytest.mark.parametrize("seed", range(6))
async def test_what_is_told_leads_to_what_can_be_seen(lab, seed):
    scribbler = Scribbler(lab, seed)
    followers = [Follower(lab, page_items=scribbler.dice.randint(2, 12)) for _ in range(2)]
    for _ in range(8):
        for _ in range(scribbler.dice.randint(1, 4)):
            await scribbler.write()
        pages = 0
        async for _ in followers[0].round():
            pages += 1
            if pages <= 2:
                await scribbler.write()
    for follower in followers:
        await follower.catch_up()
        known = {key: item for key, item in follower.known.items() if item["type"] != "seriesMaster"}
        seen = {event["id"]: event for event in await in_view(lab)}
        for name in ("start", "end", "type", "subject"):
            told_of = {key: item[name] for key, item in known.items() if name in item}
            assert told_of == {key: event[name] for key, event in seen.items() if name in known[key]}


async def test_events_are_told_without_expansion(lab):
    master = await lab.create(on(1, recurrence=daily(1, 4)))
    single, before = await lab.create(on(50)), await lab.create(on(1, hour=1))
    path = f"/users/{lab.user}/events/delta"
    refused = await lab.graph("GET", path)
    assert (refused.status, refused.code) == (400, "ErrorInvalidParameter")
    reply = await lab.graph("GET", path, query={"startDateTime": "2026-12-01T02:00:00Z"})
    assert told(reply.body["value"]) == [master["id"], single["id"]]
    link = reply.body["@odata.deltaLink"]
    occurrences = [event for event in await in_view(lab) if event["type"] == "occurrence"]
    await lab.graph("PATCH", lab.event_path(occurrences[0]["id"]), {"subject": "Mine"})
    await lab.graph("DELETE", lab.event_path(before["id"]))
    reply = await lab.graph("GET", link)
    assert told(reply.body["value"]) == [occurrences[0]["id"]]
    assert removed(reply.body["value"]) == [before["id"]]
    # The same path in a calendar tells of that calendar only.
    calendar = await lab.graph(
        "GET", f"/users/{lab.user}/calendar/events/delta()", query={"startDateTime": "2026-12-01T02:00:00Z"}
    )
    assert told(calendar.body["value"])[0] == master["id"]


async def test_each_calendar_has_its_own_rounds(lab):
    await lab.create(on(1))
    made = (await lab.graph("POST", f"/users/{lab.user}/calendars", {"name": "Visits"})).body
    root = "calendars/" + made["id"].replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
    there = (await lab.graph("POST", f"/users/{lab.user}/{root}/events", on(1))).body
    follower = Follower(lab, root=f"{root}/calendarView")
    assert told(await follower.catch_up()) == [there["id"]]
    elsewhere = follower.link.replace(f"{root}/calendarView", "calendarView")
    assert (await lab.graph("GET", elsewhere)).code == "SyncStateInvalid"


async def test_empty_pages_and_replays_can_be_switched_on(lab):
    events = [await lab.create(on(day)) for day in range(1, 4)]
    await lab.admin.set_limits(lab.tenant_id, delta_empty_pages=True, delta_replayed_writes=2)
    follower = Follower(lab, page_items=2)
    assert len(await follower.catch_up()) == 3
    assert follower.pages == [0, 2, 0, 1]
    assert told(await follower.catch_up()) == [event["id"] for event in events[1:]]


async def test_a_forgotten_sync_state_is_gone(lab):
    await lab.create(on(1))
    follower = Follower(lab)
    await follower.catch_up()
    await lab.admin.forget_sync_states(lab.tenant_id, lab.user)
    reply = await lab.graph("GET", follower.link)
    assert (reply.status, reply.code) == (410, "SyncStateNotFound")
    assert reply.message == "The sync state generation is not found; generation=1;[highest=2]."
    anew = await lab.graph("GET", reply.headers["Location"])
    assert (anew.status, len(anew.body["value"])) == (200, 1)
    assert "@odata.deltaLink" in anew.body


async def test_a_mailbox_remembers_so_many_removals(lab):
    await lab.admin.set_limits(lab.tenant_id, delta_removals_max=2)
    events = [await lab.create(on(day)) for day in range(1, 5)]
    follower = Follower(lab)
    await follower.catch_up()
    for event in events[:2]:
        await lab.graph("DELETE", lab.event_path(event["id"]))
    old = follower.link
    assert len(removed(await follower.catch_up())) == 2
    await lab.graph("DELETE", lab.event_path(events[2]["id"]))
    assert (await lab.graph("GET", old)).code == "SyncStateNotFound"
    assert removed(await follower.catch_up()) == [events[2]["id"]]


async def test_an_old_link_can_be_asked_again(lab):
    await lab.create(on(1))
    follower = Follower(lab)
    await follower.catch_up()
    old = follower.link
    event = await lab.create(on(2))
    for _ in range(2):
        follower.link = old
        assert told(await follower.catch_up()) == [event["id"]]


async def test_a_delta_call_can_fail(lab):
    await lab.admin.add_fault(Fault(tenant=lab.tenant_id, operation="delta", status=503, times=1))
    reply = await lab.graph("GET", f"/users/{lab.user}/calendarView/delta", query=WINDOW)
    assert reply.status == 503
    await Follower(lab).catch_up()


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "ErrorInvalidParameter"),
        ({"startDateTime": "2026-12-01"}, "ErrorInvalidParameter"),
        ({**WINDOW, "$select": "subject"}, "ErrorInvalidUrlQuery"),
        ({**WINDOW, "$filter": "subject eq 'x'"}, "ErrorInvalidUrlQuery"),
        ({**WINDOW, "$expand": "extensions"}, "ErrorInvalidUrlQuery"),
        ({**WINDOW, "$orderby": "subject"}, "ErrorInvalidUrlQuery"),
        ({**WINDOW, "$search": "x"}, "ErrorInvalidUrlQuery"),
        ({**WINDOW, "endDateTime": "2036-01-01"}, "ErrorInvalidRequest"),
        ({"$deltatoken": "nonsense"}, "SyncStateInvalid"),
        ({"$skiptoken": "é"}, "SyncStateInvalid"),
    ],
)
async def test_a_wrong_request_is_refused(lab, query, code):
    reply = await lab.graph("GET", f"/users/{lab.user}/calendarView/delta", query=query)
    assert (reply.status, reply.code) == (400, code)


async def test_a_token_belongs_to_its_mailbox_and_its_link(lab):
    follower = Follower(lab)
    await follower.catch_up()
    reply = await lab.graph("GET", follower.link.replace("$deltatoken", "$skiptoken"))
    assert reply.code == "SyncStateInvalid"
    await lab.admin.put_user(lab.tenant_id, "ben@contoso.example")
    reply = await lab.graph("GET", follower.link.replace(lab.user, "ben@contoso.example"))
    assert reply.status == 400
