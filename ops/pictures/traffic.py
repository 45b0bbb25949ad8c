"""Something to see on a dashboard: what was recorded changes again and again, and people drag entries in Outlook."""

import asyncio
import itertools
import time
from datetime import timedelta
from typing import Any

import orjson

from calbus.bus.publish import Message, publish
from devstack.demo import recording
from devstack.demo.ground import Ground
from schemas.events import EVENT_TYPES

INTERVAL_S = 1.0
ITEMS_A_ROUND = 4
DRAG_EVERY_ROUNDS = 6
DRAG_BY = timedelta(minutes=15)


def newest() -> list[dict[str, Any]]:
    """The last recorded version of each item that was not deleted, as CloudEvents."""
    known: dict[tuple[str, str, str], dict[str, Any]] = {}
    for part in recording.day():
        for _, _, value in part.messages:
            event = orjson.loads(value or b"{}")
            data = event.get("data", {})
            if isinstance(data.get("revision"), int):
                key = (data["tenant"], data["source"], data["id"])
                if key not in known or known[key]["data"]["revision"] < data["revision"]:
                    known[key] = event
    return [event for event in known.values() if ".upserted." in event["type"]]


def revised(event: dict[str, Any], number: int) -> Message:
    """A newer version: the item moves to another room."""
    data = {**event["data"], "revision": event["data"]["revision"] + number, "place": f"Room {number}"}
    value = orjson.dumps({**event, "id": f"{event['id']}-{number}", "data": data})
    key = f"{data['tenant']}/{data['source']}/{data['id']}"
    return EVENT_TYPES[event["type"]].topic, key.encode(), value


async def run(ground: Ground, seconds: float) -> None:
    """Publish and drag for so long."""
    until = time.monotonic() + seconds
    events = itertools.cycle(newest())
    drags = itertools.cycle((directory.id, user) for directory in ground.directories for user in directory.users)
    for number in itertools.count(1):
        if time.monotonic() >= until:
            return
        await publish(ground.kafka, [revised(event, number) for event in itertools.islice(events, ITEMS_A_ROUND)])
        if number % DRAG_EVERY_ROUNDS == 0:
            await _drag(ground, *next(drags))
        await asyncio.sleep(INTERVAL_S)


async def _drag(ground: Ground, directory: str, user: str) -> None:
    """The first timed entry of a user moves by a quarter of an hour."""
    for event in await ground.office.events(directory, user):
        if event.start.minute or event.start.hour:
            times = (event.start + DRAG_BY, event.end + DRAG_BY)
            await ground.office.user_moves(directory, user, event.id, *times, "UTC")
            return
