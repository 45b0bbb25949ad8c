"""What a mailbox tells those who watch it: which event was written, and how. Values only."""

from collections.abc import Callable
from dataclasses import dataclass

DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Written:
    """One write to an event. Of an occurrence's, the series' master is told of as updated.

    `change_type` is `created`, `updated` or `deleted`; a deleted event has the etag it had last.
    """

    change_type: str
    event_id: str
    immutable_id: str
    etag: str


Watcher = Callable[[Written], None]
