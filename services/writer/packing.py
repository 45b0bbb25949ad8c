"""Which works go to Microsoft Graph together, and for how long they wait for each other. Pure."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from calbus.graph.calls import BATCH_MAX_REQUESTS

# So long is waited for the slowest of those that were taken together, before the others go on without it.
GRACE_S = 0.3
# Few requests go alone and side by side: a batch answers only when its slowest item does.
SINGLES_MAX = 4

W = TypeVar("W")


def pack(works: Iterable[W], *, directory: Callable[[W], str], has_failed: Callable[[W], bool]) -> list[list[W]]:
    """Pack what is many and healthy, by directory. What has failed before goes alone, lest it hang its neighbours."""
    alone: list[list[W]] = []
    together: dict[str, list[W]] = {}
    for work in works:
        if has_failed(work):
            alone.append([work])
        else:
            together.setdefault(directory(work), []).append(work)
    for healthy in together.values():
        size = 1 if len(healthy) <= SINGLES_MAX else BATCH_MAX_REQUESTS
        alone += [healthy[at : at + size] for at in range(0, len(healthy), size)]
    return alone
