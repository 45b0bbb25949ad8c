"""Saving and loading the state, and how much room a full house takes."""

import asyncio
import hashlib
import pickle
import random
import sys
import tempfile
from pathlib import Path

import aiohttp
import orjson
import pytest

from simulator.client import AdminRefused, App, SimulatorAdmin
from simulator.control.office import plant
from simulator.control.state_file import CHECKSUM, FORMAT, VERSION, load, save
from simulator.limits import Limits
from simulator.server import Settings, serve
from simulator.world import World

DAILY = {"pattern": {"type": "daily", "interval": 1},
         "range": {"type": "numbered", "startDate": "2026-12-01", "numberOfOccurrences": 3}}  # fmt: skip
WINDOW = {"startDateTime": "2026-12-01", "endDateTime": "2027-01-01"}
SOURCE = "String {66f5a359-4659-4830-9070-00040ec6ac6e} Name SourceId"
FOUND = {"$filter": f"singleValueExtendedProperties/Any(ep: ep/id eq '{SOURCE}' and ep/value eq 'a')"}
ROOM_MAX_MB = 1024
MAILBOXES, EVENTS_EACH = 1000, 100


@pytest.fixture
async def house(tmp_path, lab):
    """A lab in a simulator of its own, since loading replaces everything."""
    async with serve(Settings(state_file=tmp_path / "state")) as addresses:
        lab = type(lab)(addresses, SimulatorAdmin(addresses.http_url, lab.http), lab.http)
        await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret, ("Calendars.ReadWrite",))])
        lab.user_id = (await lab.admin.put_user(lab.tenant_id, lab.user, time_zone="Asia/Tokyo")).id
        lab.token = await lab.sign_in()
        yield lab


async def delta(lab, link=None):
    reply = await lab.graph("GET", link or f"/users/{lab.user}/calendarView/delta", query=None if link else WINDOW)
    assert reply.status == 200, reply.body
    return reply.body


async def test_everything_is_there_again_after_loading(house, make_event, tmp_path):
    master = await house.create(make_event(subject="series", recurrence=DAILY))
    marks = [{"id": SOURCE, "value": "a"}]
    single = await house.create(make_event(transactionId="t", singleValueExtendedProperties=marks))
    view = (await house.graph("GET", f"/users/{house.user}/calendarView", query=WINDOW)).body["value"]
    occurrences = [event for event in view if event["seriesMasterId"] == master["id"]]
    await house.graph("PATCH", house.event_path(occurrences[1]["id"]), {"subject": "Mine"})
    await house.graph("DELETE", house.event_path(occurrences[2]["id"]))
    await house.admin.put_group(house.tenant_id, "Nurses", members=[house.user])
    await house.admin.set_limits(house.tenant_id, attendees_max=7)
    before = await house.admin.mailbox(house.tenant_id, house.user)
    link = (await delta(house))["@odata.deltaLink"]
    await house.admin.save_state(tmp_path / "saved")
    await house.graph("DELETE", house.event_path(single["id"]))
    await house.admin.put_tenant("another")
    await house.admin.load_state(tmp_path / "saved")
    assert await house.admin.mailbox(house.tenant_id, house.user) == before
    assert (await house.admin.users(house.tenant_id))[0].time_zone == "Asia/Tokyo"
    assert [group.display_name for group in await house.admin.groups(house.tenant_id)] == ["Nurses"]
    assert (await house.admin.limits(house.tenant_id)).attendees_max == 7
    with pytest.raises(AdminRefused):
        await house.admin.stats("another")
    house.token = await house.sign_in()
    assert (await house.graph("GET", house.event_path(occurrences[1]["id"]))).body["subject"] == "Mine"
    assert (await house.graph("GET", house.event_path(occurrences[2]["id"]))).status == 404
    assert len((await house.graph("GET", house.events_path, query=FOUND)).body["value"]) == 1
    again = await house.create(make_event(transactionId="t", singleValueExtendedProperties=marks))
    assert again["id"] == single["id"]
    # A delta link from before goes on, and writes go on counting where they were.
    assert (await delta(house, link))["value"] == []
    await house.graph("PATCH", house.event_path(single["id"]), {"subject": "later"})
    assert [item["id"] for item in (await delta(house, link))["value"]] == [single["id"]]


def written(about: bytes, pickled: bytes = b"", **members) -> bytes:
    """A file with a right checksum, whatever else is in it."""
    head = {"format": FORMAT, "version": VERSION, CHECKSUM: hashlib.sha256(about + b"\n" + pickled).hexdigest()}
    return orjson.dumps({**head, **members}) + b"\n" + about + b"\n" + pickled


NO_LAYOUTS = b'{"layouts": {}}'
ONE = {"id": "t", "domain": None, "own_limits": {}, "users": [], "parts": {}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        written(NO_LAYOUTS, version=1),
        written(NO_LAYOUTS, sha256="0"),
        written(NO_LAYOUTS)[:-3],
        written(b"[]"),
        written(NO_LAYOUTS),
        written(NO_LAYOUTS, pickle.dumps(print)),
        written(NO_LAYOUTS, pickle.dumps({})),
        written(NO_LAYOUTS, pickle.dumps({"limits": {"colour": 1}, "tenants": []})),
        written(NO_LAYOUTS, pickle.dumps({"limits": {"concurrent_max": 0}, "tenants": []})),
        written(NO_LAYOUTS, pickle.dumps({"limits": {}, "tenants": [ONE]})),
        written(b'{"layouts": {"simulator.exchange.event:Event": ["id"]}}'),
        written(b'{"layouts": {"simulator.nothing:It": []}}'),
    ],
    ids=[
        "empty", "nonsense", "version", "checksum", "cut", "no layouts", "no pickle", "foreign", "nothing",
        "limits", "bad limits", "parts", "layout", "unknown",
    ],
)  # fmt: skip
async def test_a_file_that_cannot_be_used_changes_nothing(house, tmp_path, content):
    file = tmp_path / "bad"
    file.write_bytes(content)
    with pytest.raises(AdminRefused, match="bad") as refused:
        await house.admin.load_state(file)
    assert refused.value.status == 400
    with pytest.raises(AdminRefused, match="cannot be used"):
        await house.admin.load_state(tmp_path / "missing")
    assert (await house.graph("GET", house.events_path)).status == 200


@pytest.fixture
def saved(tmp_path):
    """A world with something of every kind in it, and its file."""
    world = World()
    seed = {"id": "t", "domain": "contoso.example", "apps": [{"client_id": "app", "secret": "s"}],
            "users": [{"upn": "dana@contoso.example"}], "limits": {"attendees_max": 7}}  # fmt: skip
    plant(world, orjson.dumps({"tenants": [seed]}))
    save(world, tmp_path / "saved")
    return tmp_path / "saved"


def test_no_file_with_changed_bytes_is_loaded(saved, tmp_path):
    whole, world, dice = saved.read_bytes(), World(), random.Random(20261121)
    tenant = world.put_tenant("here before", "before.example")
    world.set_limits(Limits(concurrent_max=3))
    for _ in range(400):
        changed = bytearray(whole)
        for _ in range(dice.randint(1, 5)):
            # Half of the changes go to the lines of JSON.
            end = len(changed) if dice.random() < 0.5 else whole.rindex(b"}\n") + 2
            changed[dice.randrange(end)] ^= dice.randint(1, 255)
        (tmp_path / "changed").write_bytes(changed)
        with pytest.raises(ValueError, match="changed"):
            load(world, tmp_path / "changed")
    assert (world.tenants, world.tenant("before.example")) == ({"here before": tenant}, tenant)
    assert world.limits.concurrent_max == 3
    load(world, saved)
    assert list(world.tenants) == ["t"]
    assert world.tenants["t"].limits.attendees_max == 7


async def test_tokens_are_worth_nothing_after_loading(house, tmp_path):
    assert (await house.graph("GET", house.events_path)).status == 200
    await house.admin.save_state(tmp_path / "saved")
    await house.admin.load_state(tmp_path / "saved")
    refused = await house.graph("GET", house.events_path)
    assert (refused.status, refused.code) == (401, "InvalidAuthenticationToken")
    house.token = await house.sign_in()
    assert (await house.graph("GET", house.events_path)).status == 200


@pytest.mark.parametrize("where", ["missing/state", "directory", "in the way"])
async def test_a_state_file_that_cannot_be_written_is_noticed_at_the_start(tmp_path, where, monkeypatch):
    (tmp_path / "directory").mkdir()
    (tmp_path / "in the way.unfinished").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    with pytest.raises(OSError, match=where.partition("/")[0]):
        async with serve(Settings(state_file=tmp_path / where)):
            pytest.fail("it began")
    assert list((tmp_path / "temporary").iterdir()) == []


async def test_the_temporary_directory_goes_also_if_the_state_cannot_be_saved(tmp_path):
    house = tmp_path / "house"
    house.mkdir()
    with pytest.raises(FileNotFoundError):
        async with serve(Settings(state_file=house / "state")) as addresses:
            house.rmdir()
    assert not Path(addresses.ca_file).parent.exists()


async def test_what_is_refused_at_the_start_leaves_the_state_file_as_it_was(saved):
    before = saved.read_bytes()
    async with serve(Settings()) as addresses:
        port = int(addresses.http_url.rpartition(":")[2])
        with pytest.raises(OSError, match="address"):
            async with serve(Settings(state_file=saved, http_port=port)):
                pytest.fail("it began")
    assert saved.read_bytes() == before


async def test_a_state_file_outlives_the_simulator(tmp_path):
    settings = Settings(state_file=tmp_path / "state")
    async with serve(settings) as addresses, SimulatorAdmin.connect(addresses.http_url) as admin:
        await admin.put_tenant("t", domain="contoso.example")
        await admin.put_user("t", "dana@contoso.example")
    async with serve(settings) as addresses, SimulatorAdmin.connect(addresses.http_url) as admin:
        assert [user.upn for user in await admin.users("contoso.example")] == ["dana@contoso.example"]


def _rss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def _item(mailbox: int, number: int) -> dict:
    day = f"2026-{1 + number % 12:02}-{1 + number % 28:02}"
    event = {
        "subject": f"Leave {mailbox} {number}", "showAs": "oof", "categories": ["HR"], "isReminderOn": False,
        "body": {"contentType": "text", "content": "Planned by the HR system. " * 13},
        "start": {"dateTime": f"{day}T09:00:00", "timeZone": "Europe/Paris"},
        "end": {"dateTime": f"{day}T10:00:00", "timeZone": "Europe/Paris"},
        "transactionId": f"{mailbox}-{number}",
        "singleValueExtendedProperties": [{"id": SOURCE, "value": f"item-{mailbox}-{number}"}],
    }  # fmt: skip
    url = f"/users/user{mailbox}@contoso.example/events"
    headers = {"Content-Type": "application/json"}
    return {"id": str(number), "method": "POST", "url": url, "headers": headers, "body": event}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_100_000_events_in_1_000_mailboxes_take_less_than_a_gigabyte(tmp_path, record_property):
    command = (sys.executable, "-m", "simulator", "--state-dir", str(tmp_path))
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        url = orjson.loads(await process.stdout.readline())["http_url"]
        async with aiohttp.ClientSession() as http:
            admin = SimulatorAdmin(url, http)
            await admin.put_tenant("t", apps=[App("app", "secret", ("Calendars.ReadWrite",))])
            for number in range(MAILBOXES):
                await admin.put_user("t", f"user{number}@contoso.example")
            form = {"client_id": "app", "client_secret": "secret", "grant_type": "client_credentials",
                    "scope": "https://graph.microsoft.com/.default"}  # fmt: skip
            async with http.post(f"{url}/t/oauth2/v2.0/token", data=form) as response:
                headers = {"Authorization": f"Bearer {(await response.json())['access_token']}"}
            mailboxes = iter(range(MAILBOXES))

            async def fill() -> None:
                for mailbox in mailboxes:
                    for first in range(0, EVENTS_EACH, 20):
                        items = [_item(mailbox, number) for number in range(first, first + 20)]
                        async with http.post(f"{url}/v1.0/$batch", json={"requests": items}, headers=headers) as reply:
                            answers = (await reply.json())["responses"]
                        assert all(answer["status"] == 201 for answer in answers)

            await asyncio.gather(*(fill() for _ in range(4)))
        used_mb = round(_rss_mb(process.pid))
        record_property("simulator_rss_mb", used_mb)
        sys.stdout.write(f"{MAILBOXES * EVENTS_EACH:,} events in {MAILBOXES:,} mailboxes: {used_mb} MB resident\n")
        assert used_mb < ROOM_MAX_MB
    finally:
        process.terminate()
        await process.wait()
