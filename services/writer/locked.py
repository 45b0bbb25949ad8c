"""Jobs whose entries somebody else holds in PostgreSQL: when they are tried again, and for how long. Pure.

Nobody waits for a lock: a statement that waits would hold up whoever is loaded beside it. What is held is asked for
again after a while, in a group of its own, and is given up when a sweep finds it as soon as it is free.
"""

import time
from collections.abc import Callable, Iterable
from uuid import UUID

from services.writer.lanes import Job

AGAIN_FIRST_S = 0.05
AGAIN_MAX_S = 1.0
# An entry is due at the latest so long after it was commanded: from then on the sweeper looks for it, too.
GIVE_UP_S = 120.0


class Locked:
    """What one writer holds of such jobs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._jobs: dict[UUID, Job] = {}
        self._since_s: dict[UUID, float] = {}
        self._wait_s = AGAIN_FIRST_S

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def wait_s(self) -> float:
        """How long to wait before they are tried: longer each time that none was free."""
        return self._wait_s

    def hold(self, jobs: Iterable[Job]) -> None:
        """These were found locked, now or once more."""
        now_s = self._clock()
        for job in jobs:
            self._jobs[job.entry_id] = job
            self._since_s.setdefault(job.entry_id, now_s)

    def take(self) -> tuple[list[Job], list[Job]]:
        """What is to be tried now, and what has waited for long enough. `tried` follows when that is done."""
        until_s = self._clock() - GIVE_UP_S
        jobs, self._jobs = self._jobs, {}
        given_up = [job for job in jobs.values() if self._since_s[job.entry_id] <= until_s]
        for job in given_up:
            del jobs[job.entry_id], self._since_s[job.entry_id]
        return list(jobs.values()), given_up

    def tried(self, jobs: Iterable[Job]) -> None:
        """These were tried; those that are not held again were free."""
        free = [job.entry_id for job in jobs if job.entry_id not in self._jobs]
        for entry_id in free:
            self._since_s.pop(entry_id, None)
        self._wait_s = AGAIN_FIRST_S if free else min(2 * self._wait_s, AGAIN_MAX_S)

    def clear(self) -> list[Job]:
        """Let go of all of them; gives what was held."""
        jobs, self._jobs, self._since_s = list(self._jobs.values()), {}, {}
        self._wait_s = AGAIN_FIRST_S
        return jobs
