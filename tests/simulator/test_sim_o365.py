"""python-o365, the community's client, against the simulator; it has no delta, batch or calendar permissions."""

import asyncio
import datetime as dt
import urllib.parse
from zoneinfo import ZoneInfo

import msal
import pytest
import requests
from O365 import Account, MSGraphProtocol
from O365.utils.token import MemoryTokenBackend
from requests.exceptions import HTTPError

from simulator.client import App, Fault
from tests.support.receiver import receiving

PARIS = ZoneInfo("Europe/Paris")
DAY = dt.datetime(2026, 12, 1, 9, tzinfo=PARIS)
pytestmark = pytest.mark.filterwarnings("ignore:response_mode='form_post' is recommended:UserWarning")
REDIRECT = "https://app.example/signed-in"


@pytest.fixture
def make_account(lab, monkeypatch):
    """An account of the library, sent to the simulator by its protocol and its MSAL client."""
    # requests, which the library uses without asking, lets these variables override the authority to trust.
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    sessions = []

    class Protocol(MSGraphProtocol):
        _protocol_url = f"{lab.addresses.login_url}/"

    def make(auth_flow_type="credentials", main_resource=lab.user):
        account = Account(
            (lab.client_id, lab.secret),
            auth_flow_type=auth_flow_type,
            tenant_id=lab.tenant_id,
            protocol=Protocol(timezone="Europe/Paris"),
            main_resource=main_resource,
            token_backend=MemoryTokenBackend(),
            verify_ssl=lab.addresses.ca_file,
            requests_delay=0,
        )
        talking = requests.Session()
        talking.verify = lab.addresses.ca_file
        sessions.append(talking)
        connection = account.con
        connection._msal_client = msal.ConfidentialClientApplication(
            lab.client_id,
            authority=f"{lab.addresses.login_url}/{lab.tenant_id}",
            client_credential=lab.secret,
            instance_discovery=False,
            token_cache=connection.token_backend,
            http_client=talking,
        )
        return account

    yield lambda *args: asyncio.to_thread(make, *args)
    for session in sessions:
        session.close()


@pytest.fixture
async def account(make_account):
    account = await make_account()
    scope = ["https://graph.microsoft.com/.default"]
    assert await asyncio.to_thread(account.authenticate, requested_scopes=scope)
    yield account
    account.con.session.close()


def addressable(event):
    """The library puts ids into addresses as they are; a slash in one has to be encoded before."""
    event.object_id = urllib.parse.quote(event.object_id, safe="")
    return event


def default_calendar(account):
    calendar = account.schedule().get_default_calendar()
    calendar.calendar_id = urllib.parse.quote(calendar.calendar_id, safe="")
    return calendar


def an_event(calendar, number=0):
    event = calendar.new_event(f"Leave {number}")
    event.start = DAY + dt.timedelta(days=number)
    event.end = event.start + dt.timedelta(hours=1)
    return event


async def test_an_event_is_made_read_changed_and_deleted(lab, account):
    def work():
        calendar = default_calendar(account)
        event = an_event(calendar)
        event.body = "Back on Monday"
        event.categories = ["HR"]
        event.is_reminder_on = False
        assert event.save()
        kept = addressable(event)
        read = calendar.get_event(kept.object_id)
        assert (read.subject, read.categories, read.start) == ("Leave 0", ["HR"], DAY)
        assert "Back on Monday" in read.get_body_text()
        addressable(read)
        read.subject = "Holiday"
        assert read.save()
        assert calendar.get_event(kept.object_id).subject == "Holiday"
        assert read.delete()
        with pytest.raises(HTTPError, match="The specified object was not found in the store") as refused:
            calendar.get_event(kept.object_id)
        return refused.value.response.status_code

    assert await asyncio.to_thread(work) == 404
    box = await lab.admin.mailbox(lab.tenant_id, lab.user)
    assert (box.created_count, box.deleted_count) == (1, 1)


async def test_lists_and_views_come_in_pages(lab, account):
    def work():
        calendar = default_calendar(account)
        for number in range(12):
            an_event(calendar, number).save()
        plain = calendar.get_events(limit=12, batch=5, include_recurring=False)
        window = {"start_recurring": "2026-12-02T00:00:00", "end_recurring": "2026-12-04T00:00:00"}
        view = calendar.get_events(**window)
        return [[event.subject for event in found] for found in (plain, view)]

    plain, view = await asyncio.to_thread(work)
    assert plain == [f"Leave {number}" for number in range(12)]
    assert view == ["Leave 1", "Leave 2"]


async def test_a_series_and_its_occurrences(lab, account):
    def work():
        calendar = default_calendar(account)
        event = an_event(calendar)
        event.recurrence.set_daily(1, start=DAY.date(), end=DAY.date() + dt.timedelta(days=3))
        event.save()
        series = calendar.get_event(addressable(event).object_id)
        found = addressable(series).get_occurrences(DAY, DAY + dt.timedelta(days=10))
        return [occurrence.start for occurrence in found]

    assert await asyncio.to_thread(work) == [DAY + dt.timedelta(days=number) for number in range(4)]


async def test_calendars(lab, account):
    def work():
        schedule = account.schedule()
        schedule.new_calendar("Visits")
        return [calendar.name for calendar in schedule.list_calendars()]

    assert await asyncio.to_thread(work) == ["Calendar", "Visits"]


async def test_subscriptions(lab, account):
    async with receiving() as receiver:
        hooks = account.subscriptions()
        resource = f"/users/{lab.user_id}/events"
        made = await asyncio.to_thread(
            hooks.create_subscription, receiver.notify_url, resource, ["created", "updated"], client_state="hush"
        )
        assert made["changeType"] == "created,updated"
        event = await lab.create()
        items = await receiver.wait_for(1)
        assert (items[0]["clientState"], items[0]["resourceData"]["id"]) == ("hush", event["id"])
        assert await asyncio.to_thread(hooks.renew_subscription, made["id"], expiration_minutes=600)
        assert [one["id"] for one in await asyncio.to_thread(hooks.list_subscriptions)] == [made["id"]]
        assert await asyncio.to_thread(hooks.delete_subscription, made["id"])


async def test_a_person_signs_in(lab, make_account, open_browser):
    await lab.admin.put_tenant(lab.tenant_id, apps=[App(lab.client_id, lab.secret, redirect_uris=(REDIRECT,))])
    account = await make_account("authorization", "me")
    scopes = ["https://graph.microsoft.com/Calendars.ReadWrite"]
    url, flow = await asyncio.to_thread(
        account.con.get_authorization_url, requested_scopes=scopes, redirect_uri=REDIRECT
    )
    browser = open_browser()
    answer = await browser.press(await browser.press(await browser.go(url), "Dana"), "Accept")
    back = f"{answer.address}?{urllib.parse.urlencode(answer.parameters)}"
    assert await asyncio.to_thread(account.con.request_token, back, flow=flow)

    def work():
        return an_event(default_calendar(account)).save()

    assert await asyncio.to_thread(work)
    assert [event.subject for event in await lab.admin.events(lab.tenant_id, lab.user)] == ["Leave 0"]
    account.con.session.close()


async def test_a_throttled_read_is_repeated_by_the_library(lab, account):
    fault = Fault(tenant=lab.tenant_id, operation="list_calendars", status=429, retry_after_s=1, times=1)
    await lab.admin.add_fault(fault)
    assert len(await asyncio.to_thread(account.schedule().list_calendars)) == 1
    assert (await lab.admin.stats(lab.tenant_id)).statuses["429"] == 1
