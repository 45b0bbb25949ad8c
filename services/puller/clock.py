"""What time it is, for loops that a test drives through days."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The machine's."""
    return datetime.now(UTC)
