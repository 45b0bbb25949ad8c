"""Notices: what is read from a POST, what the inbox keeps, and whom it believes."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from calbus.graph.subscriptions import Notice, Told, digest_of, notices_of
from calbus.store.subscriptions import Known
from services.puller.notices import Inbox, judge

SECRET = digest_of("hush")
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ITEMS = st.dictionaries(
    st.sampled_from(["subscriptionId", "clientState", "lifecycleEvent", "tenantId", "resource"]),
    ANY_JSON | st.sampled_from(["s1", "hush", "missed", "subscriptionRemoved", "\ud800", "s\x00"]),
)


def notice(subscription_id: str = "s1", told: Told = Told.CHANGED, state: bytes = SECRET) -> Notice:
    return Notice(subscription_id, state, told)


def test_items_are_read_each_by_itself() -> None:
    body = {
        "value": [
            {"subscriptionId": "S1", "clientState": "hush", "changeType": "updated", "resource": "Users/a/Events/b"},
            {"subscriptionId": "s1", "clientState": "hush", "lifecycleEvent": "missed"},
            {"subscriptionId": "s1", "lifecycleEvent": "somethingNew"},
            {"clientState": "hush"},
            "junk",
        ]
    }
    assert notices_of(body) == ([notice(), notice(told=Told.MISSED)], 3)


@given(ANY_JSON | st.builds(lambda items: {"value": items}, st.lists(ITEMS | ANY_JSON, max_size=4)))
def test_any_body_can_be_read(body: object) -> None:
    notices, unreadable = notices_of(body)
    assert len(notices) + unreadable >= 0
    for one in notices:
        assert one.subscription_id.isascii()
        assert one.subscription_id.isprintable()


async def test_the_inbox_keeps_each_notice_once_and_no_more_than_it_may() -> None:
    inbox = Inbox(100)
    inbox.put([notice()] * 1_000)
    assert len(inbox) == 1
    inbox.put(notice(f"s{number}") for number in range(1_000))
    assert len(inbox) == 90
    # For what Microsoft says of subscriptions there is room all the same, and it comes first.
    inbox.put(notice(f"s{number}", Told.REMOVED) for number in range(1_000))
    assert len(inbox) == 100
    assert [one.told for one in await inbox.take(11)] == [Told.REMOVED] * 10 + [Told.CHANGED]
    assert len(await inbox.take(1_000)) == 89
    waiting = asyncio.create_task(inbox.take(1))
    await asyncio.sleep(0)
    inbox.put([notice("late")])
    assert await waiting == [notice("late")]


def test_only_the_secret_of_the_subscription_is_believed() -> None:
    known = [Known("s1", "lane 1", SECRET), Known("s2", "lane 2", digest_of("other")), Known("s3", "lane 3", b"")]
    notices = [
        notice("s1"),
        notice("s2"),
        notice("s2", Told.REMOVED, digest_of("other")),
        notice("s3", Told.MISSED, digest_of("")),
        notice("s4", Told.MISSED),
        notice("s1", Told.MISSED),
        notice("s1", Told.REAUTHORIZATION_REQUIRED),
    ]
    orders = judge(notices, known)
    assert orders.results == ["marked", "wrong_secret", "marked", "wrong_secret", "foreign", "marked", "marked"]
    assert orders.pull == {"lane 1", "lane 2"}
    assert (orders.pull_in_full, orders.removed, orders.reauthorize) == ({"lane 1"}, {"s2"}, {"s1"})
