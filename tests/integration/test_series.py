"""Recurring items become series in Outlook, on real engines: what the calendar view shows is what counts."""

from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest

from schemas.results import Ending
from simulator.client import Fault
from tests.support.waiting import until
from tests.support.world import CLIENT_ID, CLIENT_SECRET, Tenant, World, kill

QUICK_SESSION = {"writer_session_timeout_ms": 6_000}
VIEW_DAYS = 800


async def view(tenant: Tenant, user: str = "ann") -> list[tuple[str, str]]:
    """Every occurrence in the user's calendar from December 2026 on: its start in Amsterdam, and its length."""
    simulator = tenant.world.stack.simulator
    begin = datetime(2026, 11, 30)
    window = {
        "startDateTime": begin.isoformat(),
        "endDateTime": (begin + timedelta(days=VIEW_DAYS)).isoformat(),
        "$top": "999",
    }
    async with aiohttp.ClientSession() as http:
        form = {
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "grant_type": "client_credentials",
            "scope": "https://graph.microsoft.com/.default",
        }
        async with http.post(f"{simulator.http_url}/{tenant.directory}/oauth2/v2.0/token", data=form) as answer:
            token = (await answer.json())["access_token"]
        headers = {"Authorization": f"Bearer {token}", "Prefer": 'outlook.timezone="Europe/Amsterdam"'}
        url = f"{simulator.http_url}/v1.0/users/{tenant.mailbox(user)}/calendarView"
        async with http.get(url, params=window, headers=headers) as answer:
            found = (await answer.json())["value"]
    return sorted(_shown(event) for event in found)


def _shown(event: dict[str, Any]) -> tuple[str, str]:
    start, end = (datetime.fromisoformat(event[name]["dateTime"]) for name in ("start", "end"))
    return f"{start:%Y-%m-%d %H:%M}", str(end - start)


async def starts(tenant: Tenant) -> list[str]:
    return [start for start, _ in await view(tenant)]


async def operations(tenant: Tenant) -> list[str]:
    """The calls to Graph that changed something."""
    page = await tenant.world.admin.ledger(tenant.directory, mutation=True)
    return [entry.operation for entry in page.value if entry.operation in ("create", "update", "delete")]


def daily(tenant: Tenant, **fields: Any) -> Any:
    """Five days from the first of December, at nine."""
    return tenant.action("a1", "ann", **{"recurrence": "RRULE:FREQ=DAILY;COUNT=5", **fields})


def cancelled(start: str) -> dict[str, Any]:
    return {"original_start": start, "cancelled": True}


def moved(start: str, there: str, **fields: Any) -> dict[str, Any]:
    return {"original_start": start, "start": there, **fields}


async def applied(tenant: Tenant, *items: Any) -> None:
    for item in items:
        await tenant.publish(item)
        assert (await tenant.outcome(item, "ann")).ending is Ending.APPLIED


@pytest.mark.parametrize(
    ("rule", "first", "expected"),
    [
        ("FREQ=DAILY;COUNT=3", "2026-12-01T09:00", ["2026-12-01 09:00", "2026-12-02 09:00", "2026-12-03 09:00"]),
        (
            "FREQ=WEEKLY;BYDAY=TU,FR;UNTIL=20261211T080000Z",
            "2026-12-01T09:00",
            ["2026-12-01 09:00", "2026-12-04 09:00", "2026-12-08 09:00", "2026-12-11 09:00"],
        ),
        # Nine o'clock is nine o'clock, in winter and in summer.
        (
            "FREQ=MONTHLY;BYDAY=-1MO;COUNT=5",
            "2026-12-01T09:00",
            ["2026-12-28 09:00", "2027-01-25 09:00", "2027-02-22 09:00", "2027-03-29 09:00", "2027-04-26 09:00"],
        ),
        ("FREQ=YEARLY;COUNT=2", "2026-12-24T09:00", ["2026-12-24 09:00", "2027-12-24 09:00"]),
    ],
)
async def test_a_series_is_one_create(running: World, rule: str, first: str, expected: list[str]) -> None:
    async with running.tenant("ann") as tenant:
        await applied(tenant, tenant.action("a1", "ann", start=first, recurrence=f"RRULE:{rule}"))
        assert await starts(tenant) == expected
        assert await operations(tenant) == ["create"]
        [event] = await tenant.calendar("ann")
        assert event.start_time_zone == "W. Europe Standard Time"
        assert event.graph["recurrence"]["range"]["recurrenceTimeZone"] == "W. Europe Standard Time"


async def test_occurrences_are_moved_and_cancelled(running: World) -> None:
    async with running.tenant("ann") as tenant:
        item = daily(
            tenant,
            recurrence="RRULE:FREQ=DAILY;COUNT=5\nEXDATE:20261202T080000Z",
            occurrences=(
                cancelled("2026-12-03T09:00"),
                moved("2026-12-04T09:00", "2026-12-04T14:00", duration="PT2H"),
            ),
        )
        await applied(tenant, item)
        assert await view(tenant) == [
            ("2026-12-01 09:00", "1:00:00"),
            ("2026-12-04 14:00", "2:00:00"),
            ("2026-12-05 09:00", "1:00:00"),
        ]
        assert await operations(tenant) == ["create", "delete", "delete", "update"]
        assert not (await tenant.stats()).violations
        assert (await tenant.stats()).invitations == 0


async def test_whole_days_recur_over_several_of_them(running: World) -> None:
    async with running.tenant("ann") as tenant:
        item = tenant.action(
            "a1",
            "ann",
            all_day=True,
            start="2026-12-01",
            end="2026-12-03",
            recurrence="RRULE:FREQ=WEEKLY;COUNT=3\nEXDATE;VALUE=DATE:20261208",
            occurrences=(moved("2026-12-15", "2026-12-16"),),
        )
        await applied(tenant, item)
        two_days = "2 days, 0:00:00"
        assert await view(tenant) == [("2026-12-01 00:00", two_days), ("2026-12-16 00:00", two_days)]
        [event] = await tenant.calendar("ann")
        assert event.is_all_day


async def test_another_rule_other_words_and_back_to_a_single_event(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await applied(tenant, daily(tenant), daily(tenant, title="Other words"))
        [before] = await tenant.calendar("ann")
        assert before.subject == "○ Other words"
        await applied(tenant, daily(tenant, recurrence="RRULE:FREQ=WEEKLY;COUNT=2"))
        assert await starts(tenant) == ["2026-12-01 09:00", "2026-12-08 09:00"]
        await applied(tenant, daily(tenant, recurrence=None))
        assert await starts(tenant) == ["2026-12-01 09:00"]
        [after] = await tenant.calendar("ann")
        assert (after.id, after.graph["type"]) == (before.id, "singleInstance")
        assert await operations(tenant) == ["create", "update", "update", "update"]


async def test_what_was_cancelled_or_moved_comes_back(running: World) -> None:
    everything = [f"2026-12-0{day} 09:00" for day in range(1, 6)]
    async with running.tenant("ann") as tenant:
        exceptions = (cancelled("2026-12-02T09:00"), moved("2026-12-04T09:00", "2026-12-04T16:00"))
        await applied(tenant, daily(tenant, occurrences=exceptions))
        assert await starts(tenant) == ["2026-12-01 09:00", "2026-12-03 09:00", "2026-12-04 16:00", "2026-12-05 09:00"]
        await applied(tenant, daily(tenant, title="In other words", occurrences=exceptions))
        assert await starts(tenant) == ["2026-12-01 09:00", "2026-12-03 09:00", "2026-12-04 16:00", "2026-12-05 09:00"]
        await applied(tenant, daily(tenant))
        assert await starts(tenant) == everything
        assert len(await tenant.calendar("ann")) == 1


async def test_a_series_leaves_with_its_exceptions(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await applied(tenant, daily(tenant, occurrences=(cancelled("2026-12-02T09:00"),)))
        gone = tenant.deleted("a1")
        await tenant.publish(gone)
        assert (await tenant.outcome(gone, "ann")).ending is Ending.WITHDRAWN
        assert await view(tenant) == []


async def test_many_exceptions_are_all_brought_about(running: World) -> None:
    async with running.tenant("ann") as tenant:
        days = [datetime(2026, 12, 1, 9) + timedelta(days=number) for number in range(40)]
        exceptions = [
            cancelled(day.isoformat()) if number % 3 == 0 else moved(day.isoformat(), day.replace(hour=15).isoformat())
            for number, day in enumerate(days)
            if number % 2
        ]
        item = daily(tenant, recurrence="RRULE:FREQ=DAILY;COUNT=40", occurrences=exceptions)
        await applied(tenant, item)
        gone = {one["original_start"] for one in exceptions if one.get("cancelled")}
        expected = [
            f"{day:%Y-%m-%d} {15 if number % 2 else 9:02}:00"
            for number, day in enumerate(days)
            if day.isoformat() not in gone
        ]
        assert await starts(tenant) == expected
        assert not (await tenant.stats()).violations


@pytest.mark.parametrize("operation", ["instances", "update", "delete"])
@pytest.mark.parametrize("after_apply", [False, True])
async def test_faults_in_the_middle_of_a_series_are_gone_through(
    running: World, operation: str, after_apply: bool
) -> None:
    async with running.tenant("ann") as tenant:
        await running.admin.add_fault(
            Fault(tenant=tenant.directory, operation=operation, times=2, status=503, after_apply=after_apply)
        )
        exceptions = (cancelled("2026-12-02T09:00"), moved("2026-12-04T09:00", "2026-12-04T16:00"))
        await applied(tenant, daily(tenant, occurrences=exceptions))
        assert await starts(tenant) == ["2026-12-01 09:00", "2026-12-03 09:00", "2026-12-04 16:00", "2026-12-05 09:00"]
        assert len(await tenant.calendar("ann")) == 1


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["instances", "delete"])
async def test_a_writer_killed_between_master_and_exceptions_is_finished_by_the_next(
    world: World, operation: str
) -> None:
    async with world.ingest(), world.tenant("ann") as tenant:
        await world.admin.add_fault(
            Fault(tenant=tenant.directory, operation=operation, times=1, after_apply=True, delay_ms=60_000)
        )
        item = daily(tenant, occurrences=(cancelled("2026-12-02T09:00"), cancelled("2026-12-03T09:00")))
        async with world.process("writer", **QUICK_SESSION) as process:
            await tenant.publish(item)

            async def between() -> bool:
                rows = await world.fetch("SELECT master_hash FROM entry WHERE tenant = $1", tenant.id)
                hit = [rule for rule in await world.admin.faults(tenant.directory) if rule.hits]
                return bool(rows and rows[0]["master_hash"] and hit)

            await until(between, "the writer to be between master and exceptions")
            kill(process)
        async with world.writer(**QUICK_SESSION):
            assert (await tenant.outcome(item, "ann")).ending is Ending.APPLIED
            assert await starts(tenant) == ["2026-12-01 09:00", "2026-12-04 09:00", "2026-12-05 09:00"]
            assert len(await tenant.calendar("ann")) == 1


async def test_what_outlook_cannot_express_is_refused_and_what_stands_stays(running: World) -> None:
    async with running.tenant("ann") as tenant:
        await applied(tenant, daily(tenant))
        refused = daily(tenant, recurrence="RRULE:FREQ=MONTHLY;BYMONTHDAY=31")
        await tenant.publish(refused)
        outcome = await tenant.outcome(refused, "ann")
        assert (outcome.ending, outcome.reason) == (Ending.REFUSED, "recurrence_not_supported")
        assert "BYMONTHDAY=-1 names the last day of every month" in outcome.notice
        assert len(await view(tenant)) == 5
