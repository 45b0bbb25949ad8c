"""What somebody else holds: how soon it is tried again, and when it is given up."""

from uuid import UUID

from services.writer.lanes import Job
from services.writer.locked import AGAIN_FIRST_S, AGAIN_MAX_S, GIVE_UP_S, Locked


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def jobs(*numbers: int) -> list[Job]:
    return [Job(UUID(int=number), f"m{number}", "t") for number in numbers]


def test_it_is_tried_more_seldom_until_all_is_free() -> None:
    locked = Locked(Clock())
    locked.hold(jobs(1, 2))
    waits_s = []
    for _ in range(8):
        waits_s.append(locked.wait_s)
        tried, given_up = locked.take()
        assert (tried, given_up) == (jobs(1, 2), [])
        locked.hold(tried)
        locked.tried(tried)
    assert waits_s[:3] == [AGAIN_FIRST_S, 2 * AGAIN_FIRST_S, 4 * AGAIN_FIRST_S]
    assert waits_s[-1] == AGAIN_MAX_S
    tried, _ = locked.take()
    locked.hold(tried[:1])
    locked.tried(tried)
    assert (len(locked), locked.wait_s) == (1, AGAIN_MAX_S)
    tried, _ = locked.take()
    assert len(locked) == 1  # it still takes nobody's room
    locked.tried(tried)
    assert (len(locked), locked.wait_s) == (0, AGAIN_FIRST_S)


def test_an_entry_that_is_locked_in_two_lanes_has_two_jobs() -> None:
    """Its mailbox was changed: it may be woken in the lane of either."""
    locked = Locked(Clock())
    old, new = Job(UUID(int=1), "old", "t"), Job(UUID(int=1), "new", "t")
    locked.hold([old])
    locked.hold([new])
    assert locked.take() == ([old, new], [])
    locked.hold([new])
    locked.tried([old, new])
    assert locked.clear() == [new]


def test_what_is_held_for_very_long_is_given_up_and_nothing_else() -> None:
    clock = Clock()
    locked = Locked(clock)
    locked.hold(jobs(1, 2))
    clock.now_s += GIVE_UP_S / 2
    tried, _ = locked.take()
    locked.hold(jobs(1))  # once more; the second was free
    locked.tried(tried)
    locked.hold(jobs(2))
    clock.now_s += GIVE_UP_S / 2
    assert locked.take() == (jobs(2), jobs(1))


def test_nothing_is_kept_of_what_was_let_go() -> None:
    locked = Locked(Clock())
    locked.hold(jobs(1, 2))
    assert locked.clear() == jobs(1, 2)
    assert len(locked) == 0
    assert locked.take() == ([], [])
