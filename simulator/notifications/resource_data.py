"""What a rich notification says about an event: what its subscription selected, and nothing else. No HTTP.

Source: Microsoft docs "outlook-change-notifications-overview", "change-notifications-with-resource-data".
"""

from dataclasses import dataclass

import orjson

from simulator.exchange.event import Event
from simulator.graph.odata import Query
from simulator.graph.prefer import Preferences
from simulator.graph.representation import show_event
from simulator.notifications.encryption import Recipient

# These are told beside the content, in the open, and not in it; a public thread shows it for a selected `id`.
_TOLD_BESIDE = ("@odata.etag", "id")


@dataclass(frozen=True, slots=True)
class ResourceData:
    """That a subscription wants resource data, which, and for whom it is encrypted."""

    query: Query
    recipient: Recipient

    def sealed(self, event: Event, *, immutable_ids: bool) -> dict[str, str]:
        """The `encryptedContent` about the event as it is now: in UTC, with ids as the subscription wants them."""
        shown = show_event(event, Preferences(immutable_ids=immutable_ids), self.query)
        for name in _TOLD_BESIDE:
            shown.pop(name, None)
        return self.recipient.seal(orjson.dumps(shown))
