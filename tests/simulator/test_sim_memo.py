"""What is kept between the pages of an answer, and that a write is seen on the next page."""

import urllib.parse

from simulator.exchange.memo import KEPT_MAX_VALUES, Memo

WINDOW = {"startDateTime": "2026-11-30T00:00:00Z", "endDateTime": "2026-12-03T00:00:00Z"}


def test_a_value_is_made_once_until_the_next_write():
    memo, made = Memo(), []

    def make():
        made.append(len(made))
        return made[-1]

    assert [memo.get("a", 1, make), memo.get("a", 1, make), memo.get("b", 1, make)] == [0, 0, 1]
    assert [memo.get("a", 2, make), memo.get("a", 2, make), memo.get("a", 1, make)] == [2, 2, 3]


def test_only_the_newest_values_are_kept():
    memo, made = Memo(), []
    for key in [*range(KEPT_MAX_VALUES + 1), KEPT_MAX_VALUES, 0]:
        memo.get(key, 1, lambda key=key: made.append(key))
    assert made == [*range(KEPT_MAX_VALUES + 1), 0]


async def test_every_page_is_of_the_mailbox_as_it_is(lab, make_event, moment):
    events = [await lab.create(make_event(subject=str(number))) for number in range(4)]
    view, pages = f"/users/{lab.user}/calendarView", []

    async def page(skip):
        body = (await lab.graph("GET", view, query={**WINDOW, "$top": "2", "$skip": str(skip)})).body
        return [event["subject"] for event in body["value"]]

    pages.append(await page(0))
    earlier = {"start": moment("2026-12-01T07:00:00"), "end": moment("2026-12-01T08:00:00")}
    await lab.graph("PATCH", lab.event_path(events[3]["id"]), {"subject": "first", **earlier})
    pages.append(await page(0))
    await lab.graph("DELETE", lab.event_path(events[0]["id"]))
    pages.append(await page(0))
    await lab.create(make_event(subject="last"))
    pages.append(await page(2))
    assert pages == [["0", "1"], ["first", "0"], ["first", "1"], ["2", "last"]]


async def test_a_delta_round_tells_what_is_written_between_its_pages(lab, make_event):
    events = [await lab.create(make_event(subject=str(number))) for number in range(4)]
    url = f"/users/{lab.user}/calendarView/delta?{urllib.parse.urlencode(WINDOW)}"
    told = []
    while url:
        body = (await lab.graph("GET", url, headers={"Prefer": "odata.maxpagesize=1"})).body
        told += [event.get("subject", "removed") for event in body["value"]]
        if len(told) == 1:
            await lab.graph("PATCH", lab.event_path(events[1]["id"]), {"subject": "changed"})
            await lab.graph("DELETE", lab.event_path(events[2]["id"]))
        url = body.get("@odata.nextLink")
    assert told == ["0", "3", "changed", "removed"]
