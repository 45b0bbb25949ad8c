"""$batch: the envelope, the order of items, four at a time, answers per item."""

import asyncio

import pytest


def reading(lab, item_id, **members):
    return {"id": item_id, "method": "GET", "url": lab.events_path, **members}


async def test_every_item_gets_its_own_answer(lab):
    answers = await lab.batch(
        lab.creating("a"),
        {"id": "b", "method": "GET", "url": f"{lab.events_path}/nonsense"},
        reading(lab, "c", headers={"Prefer": 'outlook.timezone="Europe/Paris"'}),
    )
    assert {item_id: answer["status"] for item_id, answer in answers.items()} == {"a": 201, "b": 400, "c": 200}
    assert answers["a"]["body"]["subject"] == "Leave"
    assert answers["a"]["headers"]["Content-Type"] == "application/json"
    assert answers["b"]["body"]["error"]["code"] == "ErrorInvalidIdMalformed"
    assert answers["c"]["headers"]["Preference-Applied"] == 'outlook.timezone="Europe/Paris"'
    event_path = lab.event_path(answers["a"]["body"]["id"])
    gone = await lab.batch({"id": "d", "method": "DELETE", "url": event_path})
    assert gone["d"]["status"] == 204
    assert "body" not in gone["d"]
    assert {entry.via_batch for entry in (await lab.admin.ledger(lab.tenant_id)).value} == {True}
    assert (await lab.admin.stats(lab.tenant_id)).batches == 2


async def test_answers_come_in_no_order(lab):
    orders = set()
    for _ in range(5):
        reply = await lab.graph("POST", "/$batch", {"requests": [reading(lab, str(n)) for n in range(20)]})
        orders.add(tuple(answer["id"] for answer in reply.body["responses"]))
    assert len(orders) > 1


async def test_a_batch_that_fails_in_every_item_is_still_a_success(lab):
    answers = await lab.batch(*({**reading(lab, str(n)), "url": "/users/nobody@x/events"} for n in range(20)))
    assert {answer["status"] for answer in answers.values()} == {404}


async def test_malformed_envelopes_are_refused_whole(lab):
    one = reading(lab, "1")
    wrong = [
        [], {}, {"requests": []}, {"requests": {}}, {"requests": [7]},
        {"requests": [reading(lab, str(n)) for n in range(21)]},
        {"requests": [reading(lab, "a"), reading(lab, "A")]},
        {"requests": [{**one, "id": 1}]}, {"requests": [{"id": "1", "method": "GET"}]},
        {"requests": [{**one, "method": "FETCH"}]}, {"requests": [{**one, "url": "https://elsewhere.example/x"}]},
        {"requests": [{**one, "url": "/$batch", "method": "POST"}]},
        {"requests": [{**one, "url": "/%24batch", "method": "POST"}]},
        {"requests": [{**one, "url": "%24BATCH/?x=1", "method": "POST"}]},
        {"requests": [{**lab.creating("1"), "headers": {}}]}, {"requests": [{**one, "headers": {"Prefer": 1}}]},
        {"requests": [{**one, "dependsOn": ["7"]}]}, {"requests": [{**one, "dependsOn": ["1"]}]},
        {"requests": [one, reading(lab, "2", dependsOn=["1"]), reading(lab, "3", dependsOn=["1", "2"])]},
        {"requests": [one, reading(lab, "2"), reading(lab, "3", dependsOn=["1"])]},
        {"requests": [one, reading(lab, "2", dependsOn=["1"]), reading(lab, "3", dependsOn=["2"]), reading(lab, "4")]},
    ]  # fmt: skip
    for document in wrong:
        reply = await lab.graph("POST", "/$batch", document)
        assert reply.status == 400, document
        assert reply.body["error"]["message"]
    entries = (await lab.admin.ledger(lab.tenant_id)).value
    assert [(entry.operation, entry.status) for entry in entries] == [("batch", 400)] * len(wrong)


async def test_a_serial_batch_stops_at_a_failure(lab):
    answers = await lab.batch(
        lab.creating("1"),
        {"id": "2", "method": "GET", "url": f"{lab.events_path}/nonsense", "dependsOn": ["1"]},
        lab.creating("3", dependsOn=["2"]),
        lab.creating("4", dependsOn=["3"]),
    )
    assert [answers[n]["status"] for n in "1234"] == [201, 400, 424, 424]
    assert len(await lab.admin.events(lab.tenant_id, lab.user)) == 1


async def test_all_on_one_parent(lab):
    children = [lab.creating(str(n), dependsOn=["root"]) for n in range(5)]
    answers = await lab.batch(reading(lab, "root"), *children)
    assert {answer["status"] for answer in answers.values()} == {200, 201}
    failing = {**reading(lab, "root"), "url": "/users/nobody@x/events"}
    answers = await lab.batch(failing, *children)
    assert sorted(answer["status"] for answer in answers.values()) == [404, *[424] * 5]


async def test_four_items_run_at_once_whatever_their_mailboxes(lab):
    await lab.admin.set_limits(lab.tenant_id, latency_ms=30)
    answers = await lab.batch(*(lab.creating(str(n)) for n in range(12)))
    assert {answer["status"] for answer in answers.values()} == {201}
    stats = await lab.admin.stats(lab.tenant_id)
    assert stats.max_in_flight == {lab.user: 4}
    assert stats.violations == {}


async def test_a_serial_batch_runs_one_item_at_a_time(lab):
    await lab.admin.set_limits(lab.tenant_id, latency_ms=10)
    chain = [lab.creating(str(n), dependsOn=[str(n - 1)] if n else []) for n in range(4)]
    await lab.batch(*chain)
    assert (await lab.admin.stats(lab.tenant_id)).max_in_flight == {lab.user: 1}


async def test_two_parallel_batches_to_one_mailbox_are_too_many_at_once(lab):
    await lab.admin.set_limits(lab.tenant_id, latency_ms=300)
    batches = await asyncio.gather(*(lab.batch(*(lab.creating(str(n)) for n in range(4))) for _ in range(2)))
    refused = [answer for answers in batches for answer in answers.values() if answer["status"] == 429]
    assert len(refused) == 4
    assert {answer["body"]["error"]["code"] for answer in refused} == {"ApplicationThrottled"}
    assert (await lab.admin.stats(lab.tenant_id)).violations["over_concurrency"] == 4


async def test_four_serial_batches_to_one_mailbox_are_not(lab):
    await lab.admin.set_limits(lab.tenant_id, latency_ms=20)
    chain = [lab.creating(str(n), dependsOn=[str(n - 1)] if n else []) for n in range(4)]
    batches = await asyncio.gather(*(lab.batch(*chain) for _ in range(4)))
    assert {answer["status"] for answers in batches for answer in answers.values()} == {201}
    stats = await lab.admin.stats(lab.tenant_id)
    assert (stats.violations, stats.max_in_flight[lab.user] <= 4) == ({}, True)


async def test_items_are_throttled_one_by_one_with_their_own_retry_after(lab):
    await lab.admin.set_limits(lab.tenant_id, window_max_requests=3)
    answers = await lab.batch(*(lab.creating(str(n)) for n in range(5)))
    refused = [answer for answer in answers.values() if answer["status"] == 429]
    assert len(refused) == 2
    assert all(int(answer["headers"]["Retry-After"]) > 0 for answer in refused)
    # The caller learns of a Retry-After only with the whole batch: its later items were not disobedience.
    assert "inside_retry_after" not in (await lab.admin.stats(lab.tenant_id)).violations


async def test_a_batch_needs_a_token(lab):
    reply = await lab.graph("POST", "/$batch", {"requests": [reading(lab, "1")]}, token="")
    assert (reply.status, reply.code) == (401, "InvalidAuthenticationToken")


@pytest.mark.parametrize("path", ["/$batch", "/%24batch", "/$BATCH"])
async def test_the_address_can_be_written_in_several_ways(lab, path):
    assert (await lab.graph("POST", path, {"requests": [reading(lab, "1")]})).status == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/jsonx", ""])
async def test_an_item_says_that_its_body_is_json_as_a_call_of_its_own_does(lab, make_event, content_type):
    headers = {"Content-Type": content_type}
    alone = await lab.graph("POST", lab.events_path, make_event(), headers=headers)
    item = (await lab.batch(lab.creating("1", headers=headers)))["1"]
    assert (item["status"], item["body"]["error"]["code"]) == (alone.status, alone.code) == (400, "BadRequest")
    assert item["body"]["error"]["message"] == alone.message
    accepted = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert (await lab.batch(lab.creating("1", headers=accepted)))["1"]["status"] == 201
