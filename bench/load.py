"""The work that everything here is measured with: creates of a usual size, spread over mailboxes. Values only."""

from datetime import datetime, timedelta
from typing import Any

from calbus.entry import Content, ShowAs
from calbus.graph.events import event_of

TENANT = "bench"
DIRECTORY = "5b0f6b3c-74c5-4b71-8a82-e00800000000"
DOMAIN = "bench.example"
_TEXT = "Bring the long ladder, the paint and what is left of the primer. The key is with the neighbours. "


def user(number: int) -> str:
    return f"user-{number:06}"


def mailbox(number: int) -> str:
    return f"{user(number)}@{DOMAIN}"


def content(number: int) -> Content:
    """What an entry says; different for each number."""
    start = datetime(2027, 1 + number % 12, 1 + number % 28, 8 + number % 9)
    return Content(
        subject=f"○ Paint window frame {number} on the north side",
        body=_TEXT * 2,
        start=start,
        end=start + timedelta(hours=1),
        time_zone="Europe/Amsterdam",
        all_day=False,
        show_as=ShowAs.BUSY,
        importance="normal",
        private=False,
        category="Planned work",
        reminder_minutes=None,
        place="North side",
        color="preset7",
    )


def body(number: int) -> dict[str, Any]:
    """The event as Graph is sent it: about 600 bytes of JSON."""
    return event_of(content(number))
