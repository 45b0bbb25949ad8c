"""Ids: both formats resolve, they need percent-encoding, malformed differs from gone."""

import pytest

IMMUTABLE = {"Prefer": 'IdType="ImmutableId"'}


async def test_an_event_has_two_ids_and_both_resolve(lab):
    ordinary = (await lab.create())["id"]
    reply = await lab.graph("GET", lab.event_path(ordinary), headers=IMMUTABLE)
    immutable = reply.body["id"]
    assert immutable != ordinary
    assert reply.headers["Preference-Applied"] == 'IdType="ImmutableId"'
    assert (await lab.graph("GET", lab.event_path(immutable))).body["id"] == ordinary
    assert (await lab.graph("GET", lab.events_path, headers=IMMUTABLE)).body["value"][0]["id"] == immutable
    stored = (await lab.admin.events(lab.tenant_id, lab.user))[0]
    assert (stored.id, stored.immutable_id) == (ordinary, immutable)


async def test_ids_hold_characters_that_must_be_encoded(lab):
    ids = {(await lab.create())["id"] for _ in range(20)}
    assert len(ids) == 20
    for character in "/+=":
        assert any(character in event_id for event_id in ids)
    for event_id in ids:
        assert (await lab.graph("GET", lab.event_path(event_id))).status == 200


@pytest.mark.parametrize("event_id", ["nonsense", "AAMk", "%20", "AAMkAGI2TG93AAA%3D"])
async def test_a_malformed_id_is_not_a_missing_one(lab, event_id):
    reply = await lab.graph("GET", f"{lab.events_path}/{event_id}")
    assert (reply.status, reply.code, reply.message) == (400, "ErrorInvalidIdMalformed", "Id is malformed.")


async def test_a_truncated_id_is_malformed(lab):
    event_id = (await lab.create())["id"]
    assert (await lab.graph("GET", lab.event_path(event_id[:-4]))).code == "ErrorInvalidIdMalformed"


async def test_ids_are_case_sensitive(lab):
    event_id = (await lab.create())["id"]
    assert (await lab.graph("GET", lab.event_path(event_id.swapcase()))).status in (400, 404)


async def test_an_id_of_another_mailbox_is_not_found(lab):
    event_id = (await lab.create())["id"]
    await lab.admin.put_user(lab.tenant_id, "ben@contoso.example")
    path = lab.event_path(event_id).replace(lab.user, "ben@contoso.example")
    reply = await lab.graph("GET", path)
    assert (reply.status, reply.code) == (404, "ErrorItemNotFound")
