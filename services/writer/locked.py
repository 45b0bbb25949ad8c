"""Jobs whose entries somebody else holds in PostgreSQL: when they are tried again, and for how long. Pure.

Nobody waits for a lock: a statement that waits would hold up whoever is loaded beside it. What is held is asked for
again after a while, in a group of its own. It is not asked for for ever, since its wake-up is not acknowledged to Kafka
meanwhile: after half a minute it is left to the sweeper, for which it is due in PostgreSQL.
"""

import time
from collections.abc import Callable, Iterable
from uuid import UUID

from services.writer.lanes import Job

AGAIN_FIRST_S = 0.05
AGAIN_MAX_S = 1.0
GIVE_UP_S = 30.0


class Locked:
    """What one writer holds of such jobs."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # By lane, too: an entry whose mailbox was changed may have a job in the lane of either.
        self._jobs: dict[tuple[str, UUID], Job] = {}
        self._since_s: dict[tuple[str, UUID], float] = {}
        self._wait_s = AGAIN_FIRST_S

    def __len__(self) -> int:
        """Those that are being tried among them."""
        return len(self._since_s)

    @property
    def wait_s(self) -> float:
        """How long to wait before they are tried: longer each time that one is not free."""
        return self._wait_s

    def hold(self, jobs: Iterable[Job]) -> None:
        """These were found locked, now or once more."""
        now_s = self._clock()
        for job in jobs:
            self._jobs[_key(job)] = job
            self._since_s.setdefault(_key(job), now_s)

    def take(self) -> tuple[list[Job], list[Job]]:
        """What is to be tried now, and what has waited for long enough. `tried` follows when that is done."""
        until_s = self._clock() - GIVE_UP_S
        jobs, self._jobs = self._jobs, {}
        given_up = [job for job in jobs.values() if self._since_s[_key(job)] <= until_s]
        for job in given_up:
            del jobs[_key(job)], self._since_s[_key(job)]
        return list(jobs.values()), given_up

    def tried(self, jobs: Iterable[Job]) -> None:
        """These were tried; those that are not held again were free."""
        held = False
        for job in jobs:
            if _key(job) in self._jobs:
                held = True
            else:
                self._since_s.pop(_key(job), None)
        self._wait_s = min(2 * self._wait_s, AGAIN_MAX_S) if held else AGAIN_FIRST_S

    def clear(self) -> list[Job]:
        """Let go of all of them; gives what was held."""
        jobs, self._jobs, self._since_s = list(self._jobs.values()), {}, {}
        self._wait_s = AGAIN_FIRST_S
        return jobs


def _key(job: Job) -> tuple[str, UUID]:
    return job.lane, job.entry_id
