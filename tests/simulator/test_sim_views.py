"""Calendar views: the window, what overlaps it, pages and options."""

import pytest

DAILY = {"type": "daily", "interval": 1}
DAY = {"startDateTime": "2026-12-01T00:00:00Z", "endDateTime": "2026-12-02T00:00:00Z"}


@pytest.fixture
def view(lab):
    """Reads a view: its subjects."""

    async def read(start="2026-12-01", end="2026-12-31", root="calendarView", **options):
        query = {"startDateTime": start, "endDateTime": end, **{f"${name}": text for name, text in options.items()}}
        reply = await lab.graph("GET", f"/users/{lab.user}/{root}", query=query)
        assert reply.status == 200, reply.body
        return [event["subject"] for event in reply.body["value"]]

    return read


def between(start, end, zone="UTC", **more):
    times = {name: {"dateTime": at, "timeZone": zone} for name, at in (("start", start), ("end", end))}
    return {**times, **more}


async def test_a_view_shows_what_overlaps_it(lab, view, make_event):
    for name, start, end in (
        ("ends at its begin", "2026-11-30T23:00:00", "2026-12-01T00:00:00"),
        ("runs into it", "2026-11-30T23:00:00", "2026-12-01T00:01:00"),
        ("a moment at its begin", "2026-12-01T00:00:00", "2026-12-01T00:00:00"),
        ("begins at its end", "2026-12-02T00:00:00", "2026-12-02T01:00:00"),
        ("begins before its end", "2026-12-01T23:59:00", "2026-12-02T01:00:00"),
    ):
        await lab.create(make_event(subject=name, **between(start, end)))
    assert await view("2026-12-01", "2026-12-02") == ["runs into it", "a moment at its begin", "begins before its end"]


async def test_a_view_expands_series_among_single_events(lab, view, make_event):
    span = {"type": "noEnd", "startDate": "2026-12-01"}
    await lab.create(make_event(subject="daily", recurrence={"pattern": DAILY, "range": span}))
    await lab.create(make_event(subject="once", **between("2026-12-02T01:00:00", "2026-12-02T02:00:00")))
    assert await view("2026-12-01", "2026-12-04") == ["daily", "once", "daily", "daily"]
    assert await view("2031-12-01", "2031-12-03") == ["daily", "daily"]
    assert await view("2026-11-01", "2026-12-01") == []


async def test_all_roots_have_a_view(lab, view, make_event):
    made = (await lab.graph("POST", f"/users/{lab.user}/calendars", {"name": "Visits"})).body
    visits = "calendars/" + made["id"].replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")
    await lab.graph("POST", f"/users/{lab.user}/{visits}/events", make_event(subject="there"))
    await lab.create(make_event(subject="here"))
    assert await view(root="calendarView") == ["here"]
    assert await view(root="calendar/calendarView") == ["here"]
    assert await view(root=f"{visits}/calendarView") == ["there"]


async def test_parameters_have_their_own_offset(lab, view, make_event):
    await lab.create(make_event(subject="nine", **between("2026-12-01T08:00:00", "2026-12-01T09:00:00")))
    assert await view("2026-12-01T09:00:00+01:00", "2026-12-01T10:00:00+01:00") == ["nine"]
    assert await view("2026-12-01T09:00:00", "2026-12-01T10:00:00") == []
    query = {"startDateTime": "2026-12-01T09:00:00", "endDateTime": "2026-12-01T10:00:00"}
    prefer = {"Prefer": 'outlook.timezone="Europe/Paris"'}
    reply = await lab.graph("GET", f"/users/{lab.user}/calendarView", query=query, headers=prefer)
    assert reply.body["value"] == []
    assert reply.headers["Preference-Applied"] == 'outlook.timezone="Europe/Paris"'


async def test_all_day_events_match_as_utc_midnights(lab, view, make_event):
    days = between("2026-12-01T00:00:00", "2026-12-02T00:00:00", "Pacific/Auckland", isAllDay=True)
    await lab.create(make_event(subject="all day", **days))
    # In Auckland the day begins at 11:00 UTC the day before; the view does not know that.
    assert await view("2026-11-30T11:00:00", "2026-12-01T00:00:00") == []
    assert await view("2026-12-01T23:00:00", "2026-12-02T00:00:00") == ["all day"]


async def test_a_view_has_pages_of_ten(lab, view, make_event):
    span = {"type": "numbered", "startDate": "2026-12-01", "numberOfOccurrences": 23}
    await lab.create(make_event(recurrence={"pattern": DAILY, "range": span}))
    path, sizes, seen = f"/users/{lab.user}/calendarView", [], []
    query = {"startDateTime": "2026-12-01T00:00:00+00:00", "endDateTime": "2026-12-31", "$select": "start"}
    while path:
        body = (await lab.graph("GET", path, query=query)).body
        sizes.append(len(body["value"]))
        seen += [event["start"]["dateTime"][8:10] for event in body["value"]]
        path, query = body.get("@odata.nextLink"), None
    assert (sizes, seen) == ([10, 10, 3], [f"{day:02}" for day in range(1, 24)])
    assert len(await view(top="1000")) == 23
    assert len(await view(top="5", skip="20")) == 3


async def test_a_view_can_be_filtered_and_ordered(lab, view, make_event):
    for name in ("beta", "alpha", "gamma"):
        await lab.create(make_event(subject=name))
    span = {"type": "numbered", "startDate": "2026-12-01", "numberOfOccurrences": 2}
    await lab.create(make_event(subject="daily", recurrence={"pattern": DAILY, "range": span}))
    assert await view(orderby="subject desc") == ["gamma", "daily", "daily", "beta", "alpha"]
    assert await view(filter="subject eq 'alpha'") == ["alpha"]
    assert await view(filter="start/dateTime ge '2026-12-02T00:00:00'") == ["daily"]


async def test_the_longest_view_has_1825_days(lab, view):
    assert await view("2026-01-01", "2030-12-31") == []
    query = {"startDateTime": "2026-01-01", "endDateTime": "2030-12-31T00:00:01"}
    reply = await lab.graph("GET", f"/users/{lab.user}/calendarView", query=query)
    assert (reply.status, reply.code) == (400, "ErrorInvalidRequest")
    assert reply.message.endswith("Maximum number of days: 1825")


@pytest.mark.parametrize(
    "query",
    [
        {}, {"startDateTime": "2026-12-01"}, {"endDateTime": "2026-12-01"},
        {"startDateTime": "soon", "endDateTime": "2026-12-01"},
        {"startDateTime": "2026-12-01", "endDateTime": "2026-13-01"},
        {"startDateTime": "0001-01-01T00:00:00+14:00", "endDateTime": "0001-01-02"},
        {"startDateTime": "2026-12-02", "endDateTime": "2026-12-01"},
        {**DAY, "$select": "createdDateTime"}, {**DAY, "$select": "subject,lastModifiedDateTime"},
        {**DAY, "$search": "x"},
    ],
    ids=str,
)  # fmt: skip
async def test_a_wrong_window_is_refused(lab, query):
    reply = await lab.graph("GET", f"/users/{lab.user}/calendarView", query=query)
    assert reply.status == 400
