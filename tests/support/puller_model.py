"""Scripts of what may happen to calendars on both sides at once, a stage to play them on, and what must hold after.

A script is a list of steps whose `repr` is Python, so that one that failed can be pasted into a test. Steps name events
by a number that is taken modulo whatever stands at that moment; a step that finds nothing to act on does nothing.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

import aiohttp
from hypothesis import strategies as st

from calbus.graph.events import MARKER
from schemas.changes import AppointmentRemoved, AppointmentUpserted, EntryRemoved
from schemas.items import ActionUpserted
from simulator.client import AdminRefused, App, Fault, StoredEvent, Switches
from tests.support.mirror import Mirror
from tests.support.waiting import until
from tests.support.world import CLIENT_ID, CLIENT_SECRET, ROLES, Tenant, World, kill

ZONE = ZoneInfo("Europe/Amsterdam")
# An application of somebody else's: what it reads is the truth, and what it asks burdens nobody.
WITNESS = "99999999-2222-4333-8444-555555555555"
TRAVEL = "Travel"
USERS = ("ann", "bob")
# Whose appointments come down, from which calendar. Bob's default calendar holds entries, and is looked at for them.
DOWN = {"ann": "", "bob": TRAVEL}
QUIET_S = 60.0
SLOTS = (0, 1)
OPTIONS = {
    "puller_back_days": 30,
    "puller_page_items": 3,
    "puller_turn_max_pages": 4,
    "puller_lease_s": 1.5,
    "puller_busy_interval_s": 0.4,
    "puller_idle_interval_s": 1.5,
    "puller_subscription_interval_s": 0.05,
    "puller_subscription_follow_s": 0.05,
    "puller_subscription_lease_s": 1.5,
    "puller_subscription_retry_first_s": 0.05,
    "puller_subscription_retry_max_s": 0.2,
    "puller_subscription_reprobe_first_s": 0.2,
    "puller_subscription_reprobe_max_s": 0.4,
}

JsonObject = dict[str, Any]


# -- the pullers ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Fleet:
    """Two pullers that may be killed at any moment; the first of them is the one that Microsoft's notices reach."""

    world: World
    port: int
    processes: bool
    _running: dict[int, tuple[AsyncExitStack, Any]] = field(default_factory=dict)

    async def start(self, slot: int) -> None:
        """Start it, unless it runs."""
        if slot in self._running:
            return
        own = {"puller_public_url": f"http://127.0.0.1:{self.port}", "puller_webhook_port": 0 if slot else self.port}
        stack, options = AsyncExitStack(), {**OPTIONS, **own}
        started = self.world.process("puller", **options) if self.processes else self.world.puller(**options)
        self._running[slot] = stack, await stack.enter_async_context(started)

    async def kill(self, slot: int) -> None:
        """SIGKILL to a process; a task is cancelled wherever it is."""
        if slot not in self._running:
            return
        stack, running = self._running.pop(slot)
        if self.processes:
            kill(running)
        await stack.aclose()

    async def all_up(self) -> None:
        """Both run, and none has ended by itself."""
        for slot in SLOTS:
            await self.start(slot)
        for _, running in self._running.values():
            ended = running.returncode is not None if self.processes else running.done()
            assert not ended, "a puller ended by itself"

    async def all_down(self) -> None:
        """End whatever runs."""
        for slot in SLOTS:
            await self.kill(slot)


# -- the stage --------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Stage:
    """A tenant with its two users, and what a witness of all steps knows."""

    tenant: Tenant
    fleet: Fleet
    witness: aiohttp.ClientSession
    travel: str
    """The id of Bob's calendar for journeys, as it stands in addresses."""
    items: dict[int, ActionUpserted] = field(default_factory=dict)
    """The newest revision of each item that upstream has not deleted."""
    published: list[ActionUpserted] = field(default_factory=list)
    pending: dict[int, tuple[Any, str]] = field(default_factory=dict)
    """What must have an outcome before there is quiet: the item's newest message, and whose it is."""
    keys: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By the immutable id of an event: the change keys that the user's own writes gave it, in order. A write to an
    occurrence gives its series one as well."""
    must_tell: set[tuple[str, str]] = field(default_factory=set)
    """Event and change key of each write of a user's to an entry that cannot have been for nothing."""
    deleted: set[str] = field(default_factory=set)
    own: dict[str, str] = field(default_factory=dict)
    """Every appointment that a user made, by its immutable id: the user."""
    entries: set[str] = field(default_factory=set)
    """Every event that was seen to be one of calbus's."""
    number: int = 0

    @property
    def admin(self) -> Any:
        """The simulator's other side."""
        return self.tenant.world.admin

    def next(self) -> int:
        """A number that was not used on this stage."""
        self.number += 1
        return self.number

    async def stored(self, user: str) -> list[StoredEvent]:
        """All events of the mailbox, series as one, oldest first."""
        events = await self.tenant.calendar(user)
        self.entries |= {event.immutable_id for event in events if MARKER in event.extended_properties}
        return events

    async def chosen(self, user: str, which: int) -> StoredEvent | None:
        """One of the events."""
        events = await self.stored(user)
        return events[which % len(events)] if events else None

    async def view(self, user: str, calendar: str = "") -> list[JsonObject]:
        """What stands in the calendar from 30 days back to 180 ahead, with series expanded."""
        today = datetime.now(UTC).date()
        begin, end = today - timedelta(days=30), today + timedelta(days=181)
        window = f"startDateTime={begin}T00:00:00Z&endDateTime={end}T00:00:00Z"
        at = f"/calendars/{self.travel}" if calendar else ""
        url = f"/v1.0/users/{self.tenant.mailbox(user)}{at}/calendarView?$top=999&{window}"
        async with self.witness.get(url) as answer:
            assert answer.status == 200, await answer.text()
            found: list[JsonObject] = (await answer.json())["value"]
            return found

    async def occurrence(self, user: str, which: int) -> JsonObject | None:
        """One of all occurrences in sight."""
        items = await self.view(user) + (await self.view(user, TRAVEL) if user == "bob" else [])
        found = [item for item in items if item.get("seriesMasterId")]
        return found[which % len(found)] if found else None

    async def edit(
        self, user: str, event_id: str, changes: JsonObject, *, must: bool, series_id: str | None = None
    ) -> None:
        """The user changes an event; one that has just gone is left. `series_id`: it is an occurrence of that."""
        try:
            event = await self.admin.user_edits(self.tenant.directory, self.tenant.mailbox(user), event_id, changes)
        except AdminRefused:
            return
        key = change_key(event.etag)
        self.keys[event.immutable_id].append(key)
        if series_id is not None:
            # The series bears it too: under it is told what was done to the series before, if nobody saw that yet.
            self.keys[series_id].append(key)
        if must:
            self.must_tell.add((event.immutable_id, key))

    async def delete(self, user: str, event_id: str, immutable_id: str, *, series_id: str | None = None) -> None:
        """The user deletes an event. `series_id`: it is an occurrence of that."""
        self.deleted.add(immutable_id)
        try:
            await self.admin.user_deletes(self.tenant.directory, self.tenant.mailbox(user), event_id)
        except AdminRefused:
            return
        if series_id is not None:
            # As with an edit, but that the answer does not tell the key.
            events = await self.stored(user)
            self.keys[series_id] += [change_key(one.etag) for one in events if one.immutable_id == series_id]


def change_key(etag: str) -> str:
    return etag.removeprefix("W/").strip('"')


def day_after(days: int) -> date:
    return datetime.now(UTC).date() + timedelta(days=days)


def lasting(days: int, hour: int, minutes: int, *, all_day: bool = False) -> JsonObject:
    """The times of an appointment, so many days from today."""
    if all_day:
        start, end = f"{day_after(days)}T00:00:00", f"{day_after(days + 1)}T00:00:00"
    else:
        begin = datetime.fromisoformat(f"{day_after(days)}T{hour:02}:00:00")
        start, end = begin.isoformat(), (begin + timedelta(minutes=minutes)).isoformat()
    moments = {name: {"dateTime": at, "timeZone": "UTC"} for name, at in (("start", start), ("end", end))}
    return {**moments, "isAllDay": all_day}


# -- the steps --------------------------------------------------------------------------------------------------------

User = Literal["ann", "bob"]
What = Literal["subject", "category", "place", "body", "private", "public", "free", "busy", "nothing"]


def edit_of(what: What, number: int) -> JsonObject:
    """A change in Outlook; the number makes it another each time, but for those that there are few of."""
    return {
        "subject": {"subject": f"Subject {number}"},
        "category": {"categories": [f"Category {number}"]},
        "place": {"location": {"displayName": f"Place {number}"}},
        "body": {"body": {"contentType": "text", "content": f"Body {number}"}},
        "private": {"sensitivity": "private"},
        "public": {"sensitivity": "normal"},
        "free": {"showAs": "free"},
        "busy": {"showAs": "busy"},
        "nothing": {},
    }[what]


NEW_EACH_TIME = ("subject", "category", "place", "body")


@dataclass(frozen=True)
class Make:
    """The user makes an appointment, or with `count` a daily series of them."""

    user: User
    day: int
    hour: int
    what: What = "subject"
    all_day: bool = False
    count: int = 0

    async def do(self, stage: Stage) -> None:
        number = stage.next()
        event = {"subject": f"Own {number}", **lasting(self.day, self.hour, 30 + number, all_day=self.all_day)}
        event |= edit_of(self.what, number)
        if self.count:
            span = {"type": "numbered", "startDate": str(day_after(self.day)), "numberOfOccurrences": self.count}
            event["recurrence"] = {"pattern": {"type": "daily", "interval": 1}, "range": span}
        mailbox = stage.tenant.mailbox(self.user)
        if self.user == "bob" and number % 3:
            url = f"/v1.0/users/{mailbox}/calendars/{stage.travel}/events"
            async with stage.witness.post(url, json=event) as answer:
                assert answer.status == 201, await answer.text()
                made = await answer.json()
            event_id, etag = made["id"], made["@odata.etag"]
        else:
            stored = await stage.admin.user_creates(stage.tenant.directory, mailbox, event)
            event_id, etag = stored.immutable_id, stored.etag
        stage.own[event_id] = self.user
        stage.keys[event_id].append(change_key(etag))


@dataclass(frozen=True)
class Edit:
    """The user changes an event, whosever it is."""

    user: User
    which: int
    what: What

    async def do(self, stage: Stage) -> None:
        event = await stage.chosen(self.user, self.which)
        if event is not None:
            changes = edit_of(self.what, stage.next())
            await stage.edit(self.user, event.id, changes, must=self.what in NEW_EACH_TIME)


@dataclass(frozen=True)
class Move:
    """The user drags an event to another time, perhaps out of the window; never a series of calbus's as a whole."""

    user: User
    which: int
    day: int
    hour: int

    async def do(self, stage: Stage) -> None:
        event = await stage.chosen(self.user, self.which)
        if event is None or (event.graph.get("recurrence") and event.immutable_id in stage.entries):
            return
        times = lasting(self.day, self.hour, 30 + stage.next(), all_day=event.is_all_day)
        if recurrence := event.graph.get("recurrence"):
            # Outlook moves the range along with a series.
            span = {**recurrence["range"], "startDate": str(day_after(self.day))}
            times["recurrence"] = {**recurrence, "range": span}
        await stage.edit(self.user, event.id, times, must=not event.is_all_day)


@dataclass(frozen=True)
class Delete:
    """The user deletes an event, or a whole series."""

    user: User
    which: int

    async def do(self, stage: Stage) -> None:
        event = await stage.chosen(self.user, self.which)
        if event is not None:
            await stage.delete(self.user, event.id, event.immutable_id)


@dataclass(frozen=True)
class EditOne:
    """The user changes one occurrence of a series."""

    user: User
    which: int
    what: What

    async def do(self, stage: Stage) -> None:
        await stage.stored(self.user)
        one = await stage.occurrence(self.user, self.which)
        if one is not None:
            changes = edit_of(self.what, stage.next())
            must = self.what in NEW_EACH_TIME
            await stage.edit(self.user, one["id"], changes, must=must, series_id=one["seriesMasterId"])


@dataclass(frozen=True)
class MoveOne:
    """The user drags one occurrence within its day, where Outlook lets it be."""

    user: User
    which: int
    hour: int

    async def do(self, stage: Stage) -> None:
        one = await stage.occurrence(self.user, self.which)
        if one is None or one["isAllDay"]:
            return
        day = date.fromisoformat(one["start"]["dateTime"][:10])
        times = lasting((day - day_after(0)).days, self.hour, 30 + stage.next())
        await stage.edit(self.user, one["id"], times, must=True, series_id=one["seriesMasterId"])


@dataclass(frozen=True)
class DeleteOne:
    """The user deletes one occurrence."""

    user: User
    which: int

    async def do(self, stage: Stage) -> None:
        one = await stage.occurrence(self.user, self.which)
        if one is not None:
            await stage.delete(self.user, one["id"], one["id"], series_id=one["seriesMasterId"])


@dataclass(frozen=True)
class Plan:
    """Upstream plans an item, or plans it anew; with `count` as a daily series."""

    item: int
    day: int
    hour: int
    count: int = 0

    async def do(self, stage: Stage) -> None:
        user, number = USERS[self.item % len(USERS)], stage.next()
        fields: JsonObject = {
            "title": f"Title {number}",
            "start": f"{day_after(self.day)}T{self.hour:02}:00:00",
            "duration": f"PT{30 + number}M",
            "time_zone": ZONE.key,
        }
        if self.count:
            fields["recurrence"] = f"RRULE:FREQ=DAILY;COUNT={self.count}"
        action = stage.tenant.action(f"i{self.item}", user, **fields)
        stage.items[self.item] = action
        stage.published.append(action)
        stage.pending[self.item] = action, user
        await stage.tenant.publish(action)


@dataclass(frozen=True)
class Withdraw:
    """Upstream deletes an item."""

    item: int

    async def do(self, stage: Stage) -> None:
        if stage.items.pop(self.item, None) is not None:
            gone = stage.tenant.deleted(f"i{self.item}")
            stage.pending[self.item] = gone, USERS[self.item % len(USERS)]
            await stage.tenant.publish(gone)


@dataclass(frozen=True)
class Replay:
    """Upstream publishes an earlier message again."""

    which: int

    async def do(self, stage: Stage) -> None:
        if stage.published:
            await stage.tenant.publish(stage.published[self.which % len(stage.published)])


@dataclass(frozen=True)
class Fail:
    """Graph answers the next calls of this kind so; 0 is no answer at all, after the work was done."""

    operation: str
    status: int
    times: int
    user: User | None = None

    async def do(self, stage: Stage) -> None:
        user = stage.tenant.mailbox(self.user) if self.user else None
        effect: JsonObject = {"status": self.status, "code": "Injected"} if self.status else {"drop": True}
        if self.status == 429:
            effect |= {"code": "ApplicationThrottled", "retry_after_s": 1}
        await stage.admin.add_fault(
            Fault(
                tenant=stage.tenant.directory,
                app=CLIENT_ID,
                user=user,
                operation=self.operation,
                times=self.times,
                after_apply=not self.status,
                **effect,
            )
        )


@dataclass(frozen=True)
class Forget:
    """Microsoft forgets how far the mailbox's delta rounds are: 410."""

    user: User

    async def do(self, stage: Stage) -> None:
        await stage.admin.forget_sync_states(stage.tenant.directory, stage.tenant.mailbox(self.user))


@dataclass(frozen=True)
class Disturb:
    """Notifications get lost, come twice, late or in another order."""

    lose: float
    duplicate: float
    delay: float
    reorder: float

    async def do(self, stage: Stage) -> None:
        switches = Switches(
            lose=self.lose,
            duplicate=self.duplicate,
            delay=self.delay,
            reorder=self.reorder,
            delay_s=1.0,
            reorder_max_s=1.0,
        )
        await stage.admin.switch_notifications(stage.tenant.directory, switches)


@dataclass(frozen=True)
class Slow:
    """Every call takes this long from now on."""

    latency_ms: int

    async def do(self, stage: Stage) -> None:
        await stage.admin.set_limits(stage.tenant.directory, latency_ms=self.latency_ms)


@dataclass(frozen=True)
class Kill:
    """A puller is killed wherever it is."""

    slot: int

    async def do(self, stage: Stage) -> None:
        await stage.fleet.kill(self.slot)


@dataclass(frozen=True)
class Revive:
    """It is started again."""

    slot: int

    async def do(self, stage: Stage) -> None:
        await stage.fleet.start(self.slot)


@dataclass(frozen=True)
class Pause:
    """Time passes, so that rounds come to lie between the steps in other ways."""

    ms: int

    async def do(self, stage: Stage) -> None:  # noqa: ARG002 - as every step
        await asyncio.sleep(self.ms / 1_000)


@dataclass(frozen=True)
class Wait:
    """Upstream waits for the outcomes of what it published last. Not for random scripts, whose haste is the point."""

    async def do(self, stage: Stage) -> None:
        for message, user in stage.pending.values():
            await stage.tenant.outcome(message, user, timeout_s=QUIET_S)


@dataclass(frozen=True)
class Quiet:
    """All faults end, and what has to be told is told: then everything is checked."""

    async def do(self, stage: Stage) -> None:
        await check(stage)


Step = (
    Make | Edit | Move | Delete | EditOne | MoveOne | DeleteOne | Plan | Withdraw | Replay
    | Fail | Forget | Disturb | Slow | Kill | Revive | Pause | Wait | Quiet
)  # fmt: skip

users = st.sampled_from(USERS)
which = st.integers(0, 11)
hours = st.integers(6, 18)
# Also before and after the window, whence an appointment may come back; never at its edges, which move at midnight.
days = st.integers(1, 12) | st.sampled_from((-40, -5, 170, 400))
edits = st.sampled_from((*NEW_EACH_TIME, *NEW_EACH_TIME, "private", "public", "free", "busy", "nothing"))
items = st.integers(0, 5)
counts = st.sampled_from((0, 0, 0, 2, 4))
chance = st.sampled_from((0.0, 0.0, 0.3, 1.0))
by_the_user: st.SearchStrategy[Step] = st.one_of(
    st.builds(Make, users, days, hours, edits, st.sampled_from((False, False, True)), st.just(0)),
    st.builds(Make, users, st.integers(1, 12), hours, edits, st.sampled_from((False, False, True)), st.integers(2, 4)),
    st.builds(Edit, users, which, edits),
    st.builds(Move, users, which, days, hours),
    st.builds(Delete, users, which),
    st.builds(EditOne, users, which, edits),
    st.builds(MoveOne, users, which, hours),
    st.builds(DeleteOne, users, which),
)
by_upstream: st.SearchStrategy[Step] = st.one_of(
    st.builds(Plan, items, st.integers(1, 12), hours, counts),
    st.builds(Plan, items, st.integers(1, 12), hours, counts),
    st.builds(Withdraw, items),
    st.builds(Replay, which),
)
faults: st.SearchStrategy[Step] = st.one_of(
    st.builds(Fail, st.sampled_from(("delta", "get")), st.sampled_from((429, 503, 500, 0)), st.integers(1, 2), users),
    st.builds(
        Fail, st.sampled_from(("create", "update", "delete")), st.sampled_from((503, 0)), st.integers(1, 2), users
    ),
    st.builds(Forget, users),
    st.builds(Disturb, chance, chance, chance, chance),
    st.builds(Slow, st.sampled_from((0, 20, 150))),
    st.builds(Kill, st.sampled_from(SLOTS)),
    st.builds(Revive, st.sampled_from(SLOTS)),
)
pauses: st.SearchStrategy[Step] = st.builds(Pause, st.sampled_from((10, 50, 150, 400)))
steps: st.SearchStrategy[Step] = st.one_of(by_the_user, by_the_user, by_upstream, faults, pauses)


def scripts(max_steps: int) -> st.SearchStrategy[list[Step]]:
    """Scripts of up to so many steps after something to act on was made; now and then there is quiet on the way."""
    beginning = st.tuples(
        st.builds(Make, users, st.integers(1, 12), hours, edits, st.booleans(), counts),
        st.builds(Plan, items, st.integers(1, 12), hours, st.just(0)),
        st.builds(Plan, items, st.integers(1, 12), hours, st.integers(3, 4)),
    )
    act = st.lists(steps, min_size=max_steps // 4, max_size=max_steps // 2)
    return st.builds(lambda first, one, two: [*first, *one, Quiet(), *two, Quiet()], beginning, act, act)


def is_varied(script: Sequence[Step], kinds: int) -> bool:
    """Whether it has so many kinds of steps that playing it is worth the time."""
    return len({type(step) for step in script}) >= kinds


def readable(script: Sequence[Step]) -> str:
    """The script as Python."""
    return "[\n" + "".join(f"    {step!r},\n" for step in script) + "]"


# -- playing ----------------------------------------------------------------------------------------------------------


async def play(world: World, fleet: Fleet, script: Sequence[Step]) -> None:
    """Play a script in a tenant of its own, and check at each `Quiet`. A failure tells the script and the step."""
    await fleet.all_up()
    async with _stage(world, fleet) as stage:
        for number, step in enumerate(script):
            try:
                await step.do(stage)
            except Exception as error:
                told = "\n".join(f"    {_short(change)}" for _, change in world.told[stage.tenant.id])
                error.add_note(f"at step {number}, {step!r}, of the script\n{readable(script)}\nTold were:\n{told}")
                raise


def _short(change: Any) -> str:
    told = change.model_dump(mode="json", exclude_none=True, exclude={"tenant", "entry_id"})
    told["event_id"], told["change_key"] = told["event_id"][-12:], told["change_key"][-10:]
    return f"{type(change).__name__} {told}"


@asynccontextmanager
async def _stage(world: World, fleet: Fleet) -> AsyncIterator[Stage]:
    async with world.tenant(*USERS) as tenant:
        apps = [App(CLIENT_ID, secret=CLIENT_SECRET, roles=ROLES), App(WITNESS, secret=CLIENT_SECRET, roles=ROLES)]
        await world.admin.put_tenant(tenant.directory, apps=apps, domain=tenant.domain)
        async with _witness(world, tenant) as witness:
            url = f"/v1.0/users/{tenant.mailbox('bob')}/calendars"
            async with witness.post(url, json={"name": TRAVEL}) as answer:
                assert answer.status == 201, await answer.text()
                travel = quote((await answer.json())["id"], safe="")
            await tenant.publish(
                tenant.account("ann", direction="both", detail="full"),
                tenant.account("bob", direction="both", detail="free_busy", down_calendars=(TRAVEL,)),
            )
            try:
                yield Stage(tenant, fleet, witness, travel)
            finally:
                # A calendar that is no more would be asked for all through the scripts to come.
                await tenant.set_tenant(enabled=False)
                await fleet.start(0)
                await until(lambda: _let_go(tenant), "the calendars to be let go")


async def _let_go(tenant: Tenant) -> bool:
    return not await tenant.world.fetch("SELECT pull_id FROM calendar_pull WHERE tenant = $1 AND NOT paused", tenant.id)


@asynccontextmanager
async def _witness(world: World, tenant: Tenant) -> AsyncIterator[aiohttp.ClientSession]:
    base = world.stack.simulator.http_url
    form = {
        "client_id": WITNESS,
        "client_secret": CLIENT_SECRET,
        "grant_type": "client_credentials",
        "scope": "https://graph.microsoft.com/.default",
    }
    async with aiohttp.ClientSession(base) as http:
        async with http.post(f"/{tenant.directory}/oauth2/v2.0/token", data=form) as answer:
            http.headers["Authorization"] = f"Bearer {(await answer.json())['access_token']}"
        http.headers["Prefer"] = 'IdType="ImmutableId"'
        yield http


# -- what must hold ---------------------------------------------------------------------------------------------------


async def check(stage: Stage) -> None:
    """Let it become quiet, then hold everything that was told against the calendars."""
    tenant, admin = stage.tenant, stage.admin
    for fault in await admin.faults(tenant.directory):
        await admin.remove_fault(fault.id)
    await admin.switch_notifications(tenant.directory, Switches())
    await admin.set_limits(tenant.directory, latency_ms=2)
    await stage.fleet.all_up()
    await Wait().do(stage)
    differences: list[str] = []

    async def agree() -> bool:
        differences[:] = await _differences(stage)
        return not differences

    try:
        await until(agree, "what was told to be what stands", timeout_s=QUIET_S)
    except AssertionError:
        raise AssertionError("in quiet time, still:\n" + "\n".join(differences)) from None
    for user in USERS:
        await tenant.pulled(user)
    assert await _differences(stage) == []
    _check_ids(stage)
    _check_order(stage)
    _check_echoes(stage)
    stats = await tenant.stats()
    assert not sum(stats.violations.values()), stats.violations
    assert tenant.world.dead_letters == []


async def _differences(stage: Stage) -> list[str]:
    """In what the mirror that a plain reader has differs from the calendars, in words."""
    mirror = Mirror()
    for event_id, change in stage.tenant.world.told[stage.tenant.id]:
        mirror.take_change(event_id, change)
    for outcome in stage.tenant.world.outcomes[stage.tenant.id]:
        mirror.take_outcome(outcome)
    found: list[str] = []
    for user in USERS:
        found += await _appointments_differ(stage, mirror, user)
        found += await _entries_differ(stage, mirror, user)
    told = {(change.event_id, change.change_key) for _, change in stage.tenant.world.told[stage.tenant.id]}
    for user in USERS:
        for item in await stage.view(user):
            state = item["id"], change_key(item["@odata.etag"])
            ours = not {item["id"], item.get("seriesMasterId")}.isdisjoint(stage.entries)
            if ours and state in stage.must_tell and state not in told:
                found.append(f"what {user} did to an entry was never told: {item['subject']} {item['start']}")
    return found


async def _appointments_differ(stage: Stage, mirror: Mirror, user: str) -> list[str]:
    await stage.stored(user)
    stand = {
        item["id"]: _as_told(item, full=user == "ann")
        for item in await stage.view(user, DOWN[user])
        if {item["id"], item.get("seriesMasterId")}.isdisjoint(stage.entries)
    }
    known = {event_id: _told(one) for event_id, one in mirror.appointments(user, DOWN[user]).items()}
    return [
        f"{user}: {event_id[-12:]} stands as {stand.get(event_id)}, was told as {known.get(event_id)}"
        for event_id in sorted(stand.keys() | known.keys())
        if stand.get(event_id) != known.get(event_id)
    ]


def _told(one: AppointmentUpserted) -> JsonObject:
    told = one.model_dump(include={"series_id", "start", "end", "all_day", "shown_as", "private", "subject", "place"})
    return {**told, "categories": one.categories and sorted(one.categories)}


def _as_told(item: JsonObject, *, full: bool) -> JsonObject:
    """An event as Graph shows it, in the words of the contract: what may be told of it, and no more."""
    private = item["sensitivity"] != "normal"
    full = full and not private
    return {
        "series_id": item.get("seriesMasterId"),
        "start": _moment(item, "start"),
        "end": _moment(item, "end"),
        "all_day": item["isAllDay"],
        "shown_as": item["showAs"],
        "private": private,
        "subject": item["subject"] if full else None,
        "place": item["location"]["displayName"] if full else None,
        "categories": sorted(item["categories"]) or () if full else None,
    }


def _moment(item: JsonObject, name: str) -> datetime | date:
    wall_clock = datetime.fromisoformat(item[name]["dateTime"][:19])
    return wall_clock.date() if item["isAllDay"] else wall_clock.replace(tzinfo=UTC)


async def _entries_differ(stage: Stage, mirror: Mirror, user: str) -> list[str]:
    found: list[str] = []
    events = await stage.stored(user)
    shown = await stage.view(user)
    for number, item in stage.items.items():
        if USERS[number % len(USERS)] != user:
            continue
        entry_id = stage.tenant.entry_id(item.id, user)
        standing = [event for event in events if event.extended_properties.get(MARKER) == str(entry_id)]
        believed = _believed(item, mirror, entry_id)
        if len(standing) > 1:
            found.append(f"{item.id} stands {len(standing)} times")
        elif item.recurrence is None:
            there = [(_aware(one.start_utc), _aware(one.end_utc), one.subject) for one in standing]
            if user == "bob":
                there = [(start, end, "") for start, end, _ in there]
                believed = [(start, end, "") for start, end, _ in believed]
            if there != believed:
                found.append(f"{item.id} of {user} stands as {there}, was told as {believed}")
        else:
            masters = {one.immutable_id for one in standing}
            there = [
                (_moment(one, "start"), _moment(one, "end"), "")
                for one in shown
                if one.get("seriesMasterId") in masters
            ]
            if sorted(there) != sorted((start, end, "") for start, end, _ in believed):
                found.append(f"{item.id} of {user} stands as {sorted(there)}, was told as {believed}")
    return found


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC)


def _believed(item: ActionUpserted, mirror: Mirror, entry_id: Any) -> list[tuple[Any, Any, str]]:
    """Where upstream believes its item to stand: as it was planned, but for what it was told. Times and subjects."""
    deviations = mirror.deviations(entry_id)
    whole = deviations.get(None)
    if whole is not None and whole.removed:
        return []
    assert isinstance(item.start, datetime)
    assert item.duration is not None
    count = int(item.recurrence.rpartition("=")[2]) if item.recurrence else 1
    believed = []
    for day in range(count):
        begin = (item.start + timedelta(days=day)).replace(tzinfo=ZONE)
        times: tuple[Any, Any] = begin.astimezone(UTC), begin.astimezone(UTC) + _length(item.duration)
        subject = f"○ {item.title}"
        one = deviations.get(times[0]) if item.recurrence else whole
        if one is not None:
            if one.removed:
                continue
            times, subject = one.times or times, one.edited.get("subject") or subject
        believed.append((*times, subject))
    return believed


def _length(duration: Any) -> timedelta:
    return duration if isinstance(duration, timedelta) else timedelta(minutes=int(str(duration)[2:-1]))


def _check_ids(stage: Stage) -> None:
    """Each state of each event is told under one id, and no id is used for two."""
    ids, states = defaultdict(set), defaultdict(set)
    for event_id, change in stage.tenant.world.told[stage.tenant.id]:
        state = change.user, change.calendar, change.event_id, change.change_key, type(change).__name__
        states[event_id].add(state)
        if change.change_key:
            ids[state].add(event_id)
    assert all(len(of_state) == 1 for of_state in ids.values()), f"told under several ids: {ids}"
    assert all(len(of_id) == 1 for of_id in states.values()), f"one id for several: {states}"


def _check_order(stage: Stage) -> None:
    """States of an event are told in the order in which they were made, and a calendar by when it was seen."""
    last_seen: dict[tuple[str, str], datetime] = {}
    last_state: dict[tuple[str, str], int] = {}
    known: set[str] = set()
    for event_id, change in stage.tenant.world.told[stage.tenant.id]:
        if event_id in known:
            continue
        known.add(event_id)
        if isinstance(change, EntryRemoved):
            # A writer may have seen it first, and the puller tells it when it gets to know.
            continue
        place = change.user, change.calendar
        assert last_seen.get(place, change.seen_at) <= change.seen_at, f"seen earlier, told later: {_short(change)}"
        last_seen[place] = change.seen_at
        keys = stage.keys.get(change.event_id, [])
        if change.change_key in keys:
            state, at = (change.event_id, type(change).__name__), keys.index(change.change_key)
            assert last_state.get(state, -1) <= at, f"an older state was told after a newer one: {_short(change)}"
            last_state[state] = at


def _check_echoes(stage: Stage) -> None:
    """What calbus wrote is never told: neither as an appointment nor as something that a user did."""
    for _, change in stage.tenant.world.told[stage.tenant.id]:
        match change:
            case AppointmentUpserted() | AppointmentRemoved():
                whose = stage.own.get(change.series_id or change.event_id)
                assert whose == change.user, f"told as an appointment: {_short(change)}"
                assert change.calendar == DOWN[change.user], f"nobody wants it from there: {_short(change)}"
            case EntryRemoved():
                assert change.event_id in stage.deleted, f"nobody removed it: {_short(change)}"
            case _:
                keys = stage.keys.get(change.event_id, [])
                assert change.change_key in keys, f"nobody did that: {_short(change)}"
