"""Playing the day: publish a part, wait until each of its revisions has ended, go on; then wait until all is quiet.
What is waited for is what the expectation names, so that a lost outcome is named, too."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from calbus.bus.publish import Message, publish
from devstack.demo.ground import Ground
from devstack.demo.recording import Drag, Part
from devstack.demo.screen import Screen, Stage
from devstack.demo.services import Service
from devstack.demo.verdict import Expected, day
from devstack.demo.waiting import WaitedInVainError, until
from devstack.demo.witness import Bus, graph_figures

MISSING_NAMED_MAX = 5

_SETTINGS_KNOWN = "SELECT (SELECT count(*) FROM setting) >= $1 AND NOT EXISTS (SELECT FROM replan)"
_NOTHING_OWED = "SELECT NOT EXISTS (SELECT FROM entry WHERE owed) AND NOT EXISTS (SELECT FROM outbox)"
# Every calendar with entries has been looked at and needs no look now, and Microsoft tells when that changes.
_NOTHING_TO_LOOK_FOR = """
SELECT NOT EXISTS (
    SELECT FROM (SELECT DISTINCT applied_directory, lower(applied_mailbox) FROM entry WHERE event_id IS NOT NULL)
        AS standing (directory, mailbox)
    WHERE NOT EXISTS (
        SELECT FROM calendar_pull p JOIN mailbox_subscription s USING (lane)
        WHERE p.directory = standing.directory AND lower(p.mailbox) = standing.mailbox
          AND p.pulled_at IS NOT NULL AND p.due_at > now() AND s.subscription_id IS NOT NULL
    )
)
"""


@asynccontextmanager
async def playing(
    screen: Screen, expected: Expected, ground: Ground, bus: Bus, services: dict[str, Service]
) -> AsyncIterator["Play"]:
    """A play with a look into the database."""
    database = await asyncpg.connect(ground.dsn)
    try:
        yield Play(screen, expected, ground, bus, services, database)
    finally:
        await database.close()


@dataclass(slots=True)
class Play:
    """Publishes and waits. A wait ends at once when a service dies; one in vain names what it waited for."""

    screen: Screen
    expected: Expected
    ground: Ground
    bus: Bus
    services: dict[str, Service]
    database: asyncpg.Connection
    published: int = 0

    async def settings(self, messages: list[Message]) -> None:
        """Publish the settings; returns when calbus knows them, so that the day begins under them."""
        with self.screen.stage("Settings", "publishing") as stage:
            await self._publish(messages)

            async def known() -> bool:
                return bool(await self.database.fetchval(_SETTINGS_KNOWN, len(messages)))

            await self._until(known, lambda: "the settings to be stored")
            stage.now(f"{len(messages)} settings of {len(self.ground.directories)} organisations are known")

    async def part(self, part: Part) -> None:
        """Publish a part of the day; returns when each of its revisions has ended for each of its people."""
        due = {key for key in self.expected.outcomes if key.rpartition("/")[0] in part.revisions}
        with self.screen.stage(part.name, "publishing") as stage:
            await self._publish(part.messages)

            async def ended() -> bool:
                await self._tell(stage, len(part.messages), due)
                return not self.bus.missing(due)

            await self._until(ended, lambda: f"outcomes; still missing: {_some(self.bus.missing(due))}")

    async def drags(self, drags: list[Drag]) -> None:
        """People drag entries in Outlook; returns when something was told of each."""
        told_before = len(self.bus.changes)

        async def looked_at() -> bool:
            return bool(await self.database.fetchval(_NOTHING_TO_LOOK_FOR))

        async def told() -> bool:
            await self.bus.read()
            return len(self.bus.changes) >= told_before + len(drags)

        with self.screen.stage("Outlook", "waiting until calbus knows the calendars") as stage:
            await self._until(
                looked_at, lambda: "the puller to have looked at every calendar, and to be told of changes"
            )
            for drag in drags:
                await self._drag(drag)
            dragged = " · ".join(
                f"somebody drags “{drag.subject}” to {day(drag.start)} {drag.start:%H:%M}" for drag in drags
            )
            stage.now(dragged)
            await self._until(told, lambda: f"{len(drags)} changes to be told")
            stage.now(f"{dragged} · upstream is told")

    async def _drag(self, drag: Drag) -> None:
        office = self.ground.office
        [directory] = [one for one in self.ground.directories if drag.mailbox in one.users]
        [event] = [one for one in await office.events(directory.id, drag.mailbox) if one.subject == drag.subject]
        await office.user_moves(directory.id, drag.mailbox, event.id, drag.start, drag.end, event.start_time_zone)

    async def quiet(self) -> None:
        """Returns when all messages were taken in, nothing is owed or to be looked for, and all that came is read."""

        async def still() -> bool:
            taken_in = await self._taken_in()
            if taken_in.total() < self.published:
                return False
            return all([bool(await self.database.fetchval(query)) for query in (_NOTHING_TO_LOOK_FOR, _NOTHING_OWED)])

        async def told() -> bool:
            await self.bus.read_to_end()
            return len(self.bus.letters) >= len(self.expected.dead_letters)

        with self.screen.stage("Evening", "waiting until nothing is owed") as stage:
            await self._until(still, lambda: "calbus to take in every message and to owe no outcome")
            await self._until(told, lambda: f"{len(self.expected.dead_letters)} dead letters")
            became = " · ".join(f"{count} {result}" for result, count in sorted((await self._taken_in()).items()))
            stage.now(f"nothing is owed; of {self.published} messages {became.replace('_', ' ')}")

    async def _publish(self, messages: list[Message]) -> None:
        self.published += (await publish(self.ground.kafka, messages)).total()

    async def _taken_in(self) -> Counter[str]:
        """The messages that ingest has read, by what became of them."""
        return await self.services["ingest"].counts("calbus_records", "result")

    async def _tell(self, stage: Stage, published: int, due: set[str]) -> None:
        await self.bus.read()
        taken_in = (await self._taken_in()).total() - (self.published - published)
        changes = (await graph_figures(self.ground)).mutations
        ended = len(due) - len(self.bus.missing(due))
        stage.now(
            f"{published} events published · {taken_in} taken in · {ended} of {len(due)} outcomes · "
            f"{changes} changes in calendars so far"
        )

    async def _until(self, look: Callable[[], Awaitable[bool]], awaited: Callable[[], str]) -> None:
        async def look_at_all() -> bool:
            for service in self.services.values():
                service.insist_on_life()
            return await look()

        try:
            await until(look_at_all, awaited)
        except WaitedInVainError as error:
            tails = "\n".join(service.log_tail() for service in self.services.values())
            raise WaitedInVainError(f"{error}\n{tails}") from None


def _some(keys: set[str]) -> str:
    named = sorted(keys)[:MISSING_NAMED_MAX]
    more = f" and {len(keys) - len(named)} more" if len(keys) > len(named) else ""
    return f"{', '.join(named)}{more}"
