"""Notifications: what they say, how they are delivered, retried, slowed and dropped, and the life cycle's own."""

import asyncio
from datetime import datetime

import pytest

from simulator.client import App, Fate, Switches
from simulator.limits import Limits
from simulator.notifications.outbox import RETRY_FOR_S, retry_after_s
from simulator.notifications.pace import Pace
from tests.support.receiver import in_minutes, receiving, subscribe

IMMUTABLE = {"Prefer": 'IdType="ImmutableId"'}


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


async def fates(lab, count: int, **wanted) -> list[str]:
    """The fates of the first so many deliveries that are no validations, once there are so many."""
    found: list = []
    async with asyncio.timeout(20):
        while len(found) < count:
            after = found[-1].seq if found else 0
            page = await lab.admin.deliveries(lab.tenant_id, after=after, wait_s=20, **wanted)
            found += page.value
    return [str(entry.fate) for entry in found if entry.kind != "validation"]


async def notified(lab, count: int) -> list:
    found: list = []
    async with asyncio.timeout(20):
        while len(found) < count:
            after = found[-1].seq if found else 0
            found += (await lab.admin.deliveries(lab.tenant_id, kind="notification", after=after, wait_s=20)).value
    return found


async def test_every_change_by_graph_is_told_in_the_documented_form(lab, receiver):
    made = await subscribe(lab, receiver)
    event = await lab.create()
    (created,) = await receiver.wait_for(1)
    path = f"Users/{lab.user_id}/Events/{event['id']}"
    assert created == {
        "subscriptionId": made["id"],
        "subscriptionExpirationDateTime": made["expirationDateTime"],
        "changeType": "created",
        "resource": path,
        "clientState": "hush",
        "tenantId": lab.tenant_id,
        "resourceData": {
            "@odata.type": "#Microsoft.Graph.Event",
            "@odata.id": path,
            "@odata.etag": event["@odata.etag"],
            "id": event["id"],
        },
    }
    changed = await lab.graph("PATCH", lab.event_path(event["id"]), {"subject": "Other"})
    await lab.graph("DELETE", lab.event_path(event["id"]))
    _, updated, deleted = await receiver.wait_for(3)
    assert (updated["changeType"], deleted["changeType"]) == ("updated", "deleted")
    assert updated["resourceData"]["@odata.etag"] == changed.body["@odata.etag"]
    assert deleted["resource"] == path


async def test_what_the_user_does_in_outlook_is_told_too(lab, receiver, make_event):
    await subscribe(lab, receiver)
    made = await lab.admin.user_creates(lab.tenant_id, lab.user, make_event())
    args = (lab.tenant_id, lab.user, made.id)
    await lab.admin.user_moves(*args, datetime(2026, 12, 2, 9), datetime(2026, 12, 2, 10), "Europe/Paris")
    await lab.admin.user_deletes(*args)
    assert [item["changeType"] for item in await receiver.wait_for(3)] == ["created", "updated", "deleted"]


async def test_only_the_kinds_of_change_asked_for_are_told_and_refused_writes_never(lab, receiver):
    await subscribe(lab, receiver, changeType="deleted")
    event = await lab.create()
    await lab.graph("PATCH", lab.event_path(event["id"]), {"subject": "x" * 300})
    await lab.graph("PATCH", lab.event_path(event["id"]), {"subject": "Other"})
    await lab.graph("DELETE", lab.event_path(event["id"]))
    assert [item["changeType"] for item in await receiver.wait_for(1)] == ["deleted"]
    assert len(receiver.items()) == 1


async def test_the_format_of_ids_is_chosen_with_the_subscription(lab, receiver):
    async with receiving() as other:
        await subscribe(lab, receiver)
        body = {
            "changeType": "created",
            "notificationUrl": other.notify_url,
            "resource": f"/users/{lab.user}/events",
            "expirationDateTime": in_minutes(100),
        }
        made = await lab.graph("POST", "/subscriptions", body, headers=IMMUTABLE)
        assert (made.status, made.headers["Preference-Applied"]) == (201, 'IdType="ImmutableId"')
        event = await lab.create()
        ((ordinary,), (immutable,)) = await receiver.wait_for(1), await other.wait_for(1)
    stored = (await lab.admin.events(lab.tenant_id, lab.user))[0]
    assert (ordinary["resourceData"]["id"], immutable["resourceData"]["id"]) == (event["id"], stored.immutable_id)
    assert immutable["clientState"] is None


async def test_a_changed_occurrence_tells_of_its_series(lab, receiver, make_event):
    pattern = {"type": "daily", "interval": 1}
    span = {"type": "numbered", "startDate": "2026-12-01", "numberOfOccurrences": 3}
    master = await lab.create(make_event(recurrence={"pattern": pattern, "range": span}))
    await subscribe(lab, receiver)
    window = {"startDateTime": "2026-12-01T00:00:00Z", "endDateTime": "2026-12-09T00:00:00Z"}
    listed = await lab.graph("GET", lab.event_path(master["id"]) + "/instances", query=window)
    first, second = (one["id"] for one in listed.body["value"][:2])
    await lab.graph("PATCH", lab.event_path(first), {"subject": "Other"})
    await lab.graph("DELETE", lab.event_path(second))
    told = await receiver.wait_for(2)
    assert [(item["changeType"], item["resourceData"]["id"]) for item in told] == [("updated", master["id"])] * 2


async def test_what_waits_for_an_endpoint_goes_in_one_post(lab, receiver):
    made = await subscribe(lab, receiver, changeType="created")
    other = await subscribe(lab, receiver, changeType="created,updated")
    receiver.gate.clear()
    await lab.create()
    await receiver.wait_for(1)
    for _ in range(3):
        await lab.create()
    receiver.gate.set()
    items = await receiver.wait_for(8)
    sizes = [len(post["value"]) for post in receiver.posts]
    assert (len(sizes) < 8, max(sizes) >= 6) == (True, True)
    assert {item["subscriptionId"] for item in items} == {made["id"], other["id"]}


async def test_latency_is_on_the_tenants_clock(lab, receiver):
    await subscribe(lab, receiver)
    await lab.admin.set_limits(lab.tenant_id, notification_latency_ms=60_000)
    await lab.create()
    page = await lab.admin.deliveries(lab.tenant_id)
    assert (page.waiting, receiver.posts) == (1, [])
    await lab.admin.advance_clock(lab.tenant_id, 61)
    await receiver.wait_for(1)


@pytest.mark.parametrize("status", [500, 503, 404, 302])
async def test_what_is_refused_is_sent_again(lab, receiver, status):
    await subscribe(lab, receiver)
    receiver.statuses = [status, status]
    await lab.create()
    await notified(lab, 1)
    for attempt in (1, 2):
        await lab.admin.advance_clock(lab.tenant_id, retry_after_s(attempt))
        await notified(lab, attempt + 1)
    entries = await notified(lab, 3)
    assert [(entry.fate, entry.status, entry.attempt) for entry in entries] == [
        (Fate.REFUSED, status, 1),
        (Fate.REFUSED, status, 2),
        (Fate.DELIVERED, 202, 3),
    ]
    assert entries[0].told[0].what == "created"


async def test_an_endpoint_that_does_not_answer_is_tried_again(lab, receiver):
    await subscribe(lab, receiver)
    await lab.admin.set_limits(lab.tenant_id, notification_timeout_ms=50)
    receiver.gate.clear()
    await lab.create()
    assert (await notified(lab, 1))[0].fate is Fate.TIMED_OUT
    receiver.gate.set()
    await lab.admin.set_limits(lab.tenant_id, notification_timeout_ms=10_000)
    await lab.admin.advance_clock(lab.tenant_id, retry_after_s(1))
    assert (await notified(lab, 2))[1].fate is Fate.DELIVERED


async def test_after_four_hours_it_is_given_up_and_said_to_be_missed(lab, receiver):
    made = await subscribe(lab, receiver)
    receiver.refused_paths = {"/notify"}
    await lab.create()
    waited_s, attempt = 0.0, 1
    while waited_s + retry_after_s(attempt) <= RETRY_FOR_S:
        await notified(lab, attempt)
        await lab.admin.advance_clock(lab.tenant_id, retry_after_s(attempt))
        waited_s += retry_after_s(attempt)
        attempt += 1
    assert await fates(lab, 1, fate="given_up") == ["given_up"]
    (missed,) = await receiver.wait_for(1, "/lifecycle")
    assert (missed["lifecycleEvent"], missed["subscriptionId"]) == ("missed", made["id"])
    assert (missed["clientState"], missed["tenantId"], "resource" in missed) == ("hush", lab.tenant_id, False)


def test_the_back_off_doubles_up_to_half_an_hour():
    assert [retry_after_s(attempt) for attempt in (1, 2, 3, 9, 10_000)] == [10, 20, 40, 1800, 1800]


def test_more_than_a_tenth_of_slow_answers_slow_an_endpoint_for_ten_minutes():
    pace, limits = Pace(), Limits()
    for now in range(19):
        pace.note(now, 3_000 if now else 3_001, limits)
        assert (now < 9) or (pace.delay_s(now) == 0)
    pace.note(19, 3_001, limits)
    pace.note(20, 3_001, limits)
    assert (pace.delay_s(20), pace.drops(20)) == (600, False)
    assert pace.delay_s(619) == 600
    assert pace.delay_s(620) == 0
    # What is older than the window counts no longer.
    for now in range(700, 710):
        pace.note(now, 1, limits)
    assert pace.delay_s(710) == 0


def test_more_than_fifteen_in_a_hundred_very_slow_answers_drop_for_ten_minutes():
    pace, limits = Pace(), Limits()
    for now in range(20):
        pace.note(now, 10_001 if now < 3 else 1, limits)
    before = pace.drop_until_s
    pace = Pace()
    for now in range(20):
        pace.note(now, 10_001 if now >= 17 else 1, limits)
    assert not pace.drops(20)
    pace.note(20, 10_001, limits)
    assert (pace.drops(20), pace.drops(619), pace.drops(620)) == (True, True, False)
    assert before > 0


async def test_a_slow_endpoint_gets_its_notifications_ten_minutes_late(lab, receiver):
    await subscribe(lab, receiver)
    await lab.admin.set_limits(lab.tenant_id, notification_judged_min=1, notification_slow_ms=0)
    await lab.create()
    await notified(lab, 1)
    await lab.create()
    assert (await lab.admin.deliveries(lab.tenant_id)).waiting == 1
    await lab.admin.advance_clock(lab.tenant_id, 600)
    await receiver.wait_for(2)


async def test_a_very_slow_endpoint_gets_none_for_ten_minutes_and_then_hears_that_it_missed_some(lab, receiver):
    await subscribe(lab, receiver)
    await lab.admin.set_limits(lab.tenant_id, notification_judged_min=1, notification_drop_ms=0)
    await lab.create()
    await notified(lab, 1)
    await lab.create()
    await lab.create()
    assert await fates(lab, 2, fate="dropped") == ["dropped", "dropped"]
    await receiver.wait_for(1, "/lifecycle")
    await lab.admin.advance_clock(lab.tenant_id, 600)
    await lab.create()
    await receiver.wait_for(2)
    assert len(receiver.items()) == 2
    # One word covers what was dropped before it went out: the second may have come after.
    missed = receiver.items("/lifecycle")
    assert 1 <= len(missed) <= 2
    assert {item["lifecycleEvent"] for item in missed} == {"missed"}


async def test_too_many_that_wait_overflow_and_are_missed(lab, receiver):
    await subscribe(lab, receiver)
    await lab.admin.set_limits(lab.tenant_id, notification_queue_max=2, notification_latency_ms=1000)
    for _ in range(3):
        await lab.create()
    assert await fates(lab, 1, fate="overflowed") == ["overflowed"]
    await lab.admin.advance_clock(lab.tenant_id, 1)
    assert [item["lifecycleEvent"] for item in await receiver.wait_for(1, "/lifecycle")] == ["missed"]


async def test_switches_lose_and_duplicate(lab, receiver):
    await subscribe(lab, receiver)
    await lab.admin.switch_notifications(lab.tenant_id, Switches(lose=1.0))
    await lab.create()
    assert await fates(lab, 1, fate="lost") == ["lost"]
    await lab.admin.switch_notifications(lab.tenant_id, Switches(duplicate=1.0))
    await lab.create()
    one, two = await receiver.wait_for(2)
    assert (one, receiver.items("/lifecycle")) == (two, [])


async def test_switches_delay_and_reorder(lab, receiver):
    await subscribe(lab, receiver, changeType="created")
    await lab.admin.switch_notifications(lab.tenant_id, Switches(delay=1.0, delay_s=300))
    first = await lab.create()
    assert (await lab.admin.deliveries(lab.tenant_id)).waiting == 1
    await lab.admin.advance_clock(lab.tenant_id, 300)
    await receiver.wait_for(1)
    await lab.admin.switch_notifications(lab.tenant_id, Switches(reorder=1.0, reorder_max_s=3600))
    second = await lab.create()
    await lab.admin.switch_notifications(lab.tenant_id, Switches())
    third = await lab.create()
    assert [item["resourceData"]["id"] for item in await receiver.wait_for(3)] == [
        first["id"],
        third["id"],
        second["id"],
    ]


async def test_chance_repeats_itself_with_its_seed(lab, receiver):
    await subscribe(lab, receiver, changeType="created")
    runs = []
    for _ in range(2):
        await lab.admin.switch_notifications(lab.tenant_id, Switches(lose=0.5, seed=7))
        after = [entry.seq for entry in (await lab.admin.deliveries(lab.tenant_id)).value][-1]
        events = [(await lab.create())["id"] for _ in range(12)]
        lost = await lab.admin.deliveries(lab.tenant_id, fate="lost", after=after)
        runs.append([events.index(entry.told[0].event_id) for entry in lost.value])
    assert runs[0] == runs[1]
    assert 0 < len(runs[0]) < 12


async def test_a_deleted_subscription_hears_no_more(lab, receiver):
    made = await subscribe(lab, receiver)
    await lab.admin.set_limits(lab.tenant_id, notification_latency_ms=1000)
    await lab.create()
    await lab.graph("DELETE", f"/subscriptions/{made['id']}")
    await lab.admin.advance_clock(lab.tenant_id, 2)
    assert await fates(lab, 1, fate="gone") == ["gone"]
    assert receiver.posts == []


async def test_an_expired_subscription_is_gone_without_a_word(lab, receiver):
    await subscribe(lab, receiver, expirationDateTime=in_minutes(50))
    await lab.admin.advance_clock(lab.tenant_id, 50 * 60)
    await lab.admin.user_creates(lab.tenant_id, lab.user, {"start": _at(9), "end": _at(10)})
    page = await lab.admin.deliveries(lab.tenant_id)
    assert ([entry.kind for entry in page.value], page.waiting) == (["validation"] * 2, 0)
    assert await lab.admin.subscriptions(lab.tenant_id) == []


def _at(hour: int) -> dict[str, str]:
    return {"dateTime": f"2026-12-01T{hour:02}:00:00", "timeZone": "UTC"}


async def test_the_service_removes_a_subscription_and_says_so(lab, receiver):
    made = await subscribe(lab, receiver)
    await lab.admin.remove_subscription(lab.tenant_id, made["id"])
    (removed,) = await receiver.wait_for(1, "/lifecycle")
    assert removed == {
        "subscriptionId": made["id"],
        "subscriptionExpirationDateTime": made["expirationDateTime"],
        "clientState": "hush",
        "tenantId": lab.tenant_id,
        "lifecycleEvent": "subscriptionRemoved",
    }
    assert (await lab.graph("GET", f"/subscriptions/{made['id']}")).status == 404


async def test_a_removed_app_and_a_closed_mailbox_end_subscriptions(lab, receiver):
    await subscribe(lab, receiver)
    await lab.admin.put_user(lab.tenant_id, lab.user, mailbox="soft_deleted")
    (closed,) = await receiver.wait_for(1, "/lifecycle")
    await lab.admin.put_user(lab.tenant_id, lab.user)
    await subscribe(lab, receiver)
    await lab.admin.remove_app(lab.tenant_id, lab.client_id)
    _, removed = await receiver.wait_for(2, "/lifecycle")
    assert closed["lifecycleEvent"] == removed["lifecycleEvent"] == "subscriptionRemoved"
    assert await lab.admin.subscriptions(lab.tenant_id) == []


@pytest.mark.parametrize("event", ["reauthorizationRequired", "missed"])
async def test_lifecycle_notifications_can_be_asked_for(lab, receiver, event):
    made = await subscribe(lab, receiver)
    await lab.admin.tell_lifecycle(lab.tenant_id, made["id"], event)
    (told,) = await receiver.wait_for(1, "/lifecycle")
    assert told["lifecycleEvent"] == event
    assert (await lab.graph("GET", f"/subscriptions/{made['id']}")).status == 200


async def test_a_revoked_consent_asks_for_reauthorization_and_pauses(lab, receiver):
    made = await subscribe(lab, receiver)
    token = lab.token
    await lab.admin.change_app(lab.tenant_id, lab.client_id, roles=())
    (asked,) = await receiver.wait_for(1, "/lifecycle")
    assert asked["lifecycleEvent"] == "reauthorizationRequired"
    await lab.graph("POST", lab.events_path, {"start": _at(9), "end": _at(10)}, token=token)
    assert await fates(lab, 1, fate="unauthorized") == ["unauthorized"]
    reply = await lab.graph("POST", f"/subscriptions/{made['id']}/reauthorize", token=await lab.sign_in())
    assert reply.status == 403
    await lab.admin.change_app(lab.tenant_id, lab.client_id, roles=("Calendars.ReadWrite",))
    reply = await lab.graph("POST", f"/subscriptions/{made['id']}/reauthorize", token=await lab.sign_in())
    assert reply.status == 204
    await lab.create()
    await receiver.wait_for(1)
    assert [item["lifecycleEvent"] for item in receiver.items("/lifecycle")] == ["reauthorizationRequired", "missed"]


@pytest.mark.parametrize("how", ["reauthorize", "renew"])
async def test_an_authorization_that_ran_out_is_renewed_either_way(lab, receiver, how):
    await lab.admin.set_limits(lab.tenant_id, subscription_authorization_s=1800)
    made = await subscribe(lab, receiver)
    await lab.admin.advance_clock(lab.tenant_id, 1800)
    (asked,) = await receiver.wait_for(1, "/lifecycle")
    assert asked["lifecycleEvent"] == "reauthorizationRequired"
    path = f"/subscriptions/{made['id']}"
    if how == "reauthorize":
        assert (await lab.graph("POST", f"{path}/reauthorize")).status == 204
    else:
        assert (await lab.graph("PATCH", path, {"expirationDateTime": in_minutes(600)})).status == 200
    await lab.create()
    await receiver.wait_for(1)
    assert (await lab.admin.subscriptions(lab.tenant_id))[0].asked_to_authorize is False


async def test_renewing_and_reauthorizing_within_ten_minutes_is_a_violation(lab, receiver):
    made = await subscribe(lab, receiver)
    path = f"/subscriptions/{made['id']}"
    await lab.graph("POST", f"{path}/reauthorize")
    await lab.admin.advance_clock(lab.tenant_id, 600)
    await lab.graph("PATCH", path, {"expirationDateTime": in_minutes(600)})
    assert (await lab.admin.stats(lab.tenant_id)).violations == {}
    await lab.graph("POST", f"{path}/reauthorize")
    assert (await lab.admin.stats(lab.tenant_id)).violations == {"renewed_and_reauthorized": 1}


async def test_rbac_alone_is_enough_to_watch_a_mailbox(lab, receiver):
    app = App(lab.client_id, lab.secret, scoped_mailboxes=(lab.user,))
    await lab.admin.put_tenant(lab.tenant_id, apps=[app])
    lab.token = await lab.sign_in()
    await subscribe(lab, receiver)
    await lab.create()
    await receiver.wait_for(1)


async def test_a_tenant_that_is_forgotten_sends_nothing_more(lab, receiver):
    await subscribe(lab, receiver)
    await lab.admin.set_limits(lab.tenant_id, notification_latency_ms=100)
    await lab.create()
    await lab.admin.reset(lab.tenant_id)
    assert (await lab.graph("GET", "/subscriptions")).status == 401
    assert receiver.posts == []
