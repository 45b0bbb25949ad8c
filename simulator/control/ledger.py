"""The ledger: what became of every request that was performed or refused, in the order it ended.

Append-only and bounded.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count
from typing import NamedTuple

ENTRIES_MAX = 200_000
UNAUTHENTICATED = "unauthenticated"
NO_ROUTE = "no_route"
UNREADABLE = "unreadable"
BATCH = "batch"
TOKEN = "token"  # noqa: S105 - the name of an endpoint
# What an entry has in place of an operation of Graph: it was refused before there was one.
NOT_PERFORMED = frozenset({UNAUTHENTICATED, NO_ROUTE, UNREADABLE, BATCH, TOKEN})


class Entry(NamedTuple):
    """One request, or one item of a batch. `at` is seconds since 1970 on the tenant's clock.

    `violations` are the rules that the caller broke with it. A whole batch and a token request have an entry only if
    they were refused or broke a rule. `tenant` is empty where no tenant can be told. `client_request_id` is the
    caller's own name for the request, or that of the batch which it was in.
    """

    seq: int
    at: float
    tenant: str
    user: str
    app: str
    operation: str
    event_id: str | None
    status: int
    code: str | None
    in_flight: int
    mutation: bool
    invitations: int
    via_batch: bool
    dropped: bool
    violations: tuple[str, ...] = ()
    client_request_id: str = ""


class Ledger:
    """The newest entries of one tenant. Sequence numbers rise over all tenants of a service."""

    __slots__ = ("_entries", "_next_seq", "fallen_off")

    def __init__(self, sequence: "count[int]") -> None:
        self._entries: deque[Entry] = deque(maxlen=ENTRIES_MAX)
        self._next_seq = sequence
        self.fallen_off = 0

    def next_seq(self) -> int:
        """The number for the next entry."""
        return next(self._next_seq)

    def append(self, entry: Entry) -> None:
        """Adds at the end; the oldest entry falls off when there is no room, and is counted."""
        if len(self._entries) == ENTRIES_MAX:
            self.fallen_off += 1
        self._entries.append(entry)

    def newest_first(self, after: int) -> Iterator[Entry]:
        """The entries with a number above `after`, from the end."""
        for entry in reversed(self._entries):
            if entry.seq <= after:
                return
            yield entry

    def refused(
        self,
        operation: str,
        at: float,
        tenant: str,
        app: str,
        status: int,
        code: str | None,
        *,
        violations: Iterable[str] = (),
        dropped: bool = False,
    ) -> None:
        """Adds what was refused before it became an operation of Graph: one of `NOT_PERFORMED`."""
        self.append(
            Entry(
                self.next_seq(), at, tenant, "", app, operation, None, status, code, 0,
                mutation=False, invitations=0, via_batch=False, dropped=dropped, violations=tuple(violations),
            )
        )  # fmt: skip
