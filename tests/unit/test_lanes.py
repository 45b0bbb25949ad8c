"""Lanes: who goes when, who is held up by whom, and what is forgotten. Time is virtual throughout."""

from uuid import UUID

from aiokafka import TopicPartition

from calbus.budget import WINDOW_S
from calbus.bus.offsets import Position
from services.writer.lanes import Job, LaneLimits, Lanes

WIDE = LaneLimits(max_in_flight=3, max_requests_per_10_min=9_000, max_entries=1_000, max_entries_of_all=100_000)
PARTITION = TopicPartition("commands", 0)


def job(entry: int, lane: str = "a", tenant: str = "contoso", offset: int | None = None) -> Job:
    return Job(UUID(int=entry), lane, tenant, [Position(PARTITION, entry if offset is None else offset, 0)])


def numbers(jobs: list[Job]) -> list[int]:
    return [one.entry_id.int for one in jobs]


def filled(limits: LaneLimits = WIDE, *jobs: Job) -> Lanes:
    lanes = Lanes(limits)
    for one in jobs:
        assert lanes.offer(one, 0.0)
    return lanes


# -- examples ---------------------------------------------------------------------------------------------------------


def test_jobs_of_a_lane_go_in_the_order_they_came() -> None:
    assert numbers(filled(WIDE, job(1), job(2)).take(0.0, 20)) == [1, 2]


def test_no_more_jobs_of_a_lane_are_in_flight_than_it_may_have() -> None:
    lanes = filled(WIDE, *(job(number) for number in range(5)))
    assert numbers(lanes.take(0.0, 20)) == [0, 1, 2]
    assert lanes.take(0.0, 20) == []


def test_a_job_that_is_done_makes_room() -> None:
    lanes = filled(WIDE, *(job(number) for number in range(5)))
    first, *_ = lanes.take(0.0, 20)
    lanes.done(first, 0.0, requests=1)
    assert numbers(lanes.take(0.0, 20)) == [3]


def test_a_job_that_asks_nothing_more_makes_room_while_its_entry_stays_in_flight() -> None:
    lanes = filled(WIDE, *(job(number) for number in range(5)))
    first, *_ = lanes.take(0.0, 20)
    lanes.answered(first, 0.0)
    lanes.offer(job(0), 0.0)
    assert numbers(lanes.take(0.0, 20)) == [3]
    lanes.done(first, 0.0, requests=1)
    assert lanes.take(0.0, 20) == []  # it made room once, and not twice
    assert lanes.in_flight == 3


def test_lanes_take_turns() -> None:
    lanes = filled(WIDE, *(job(number, "a") for number in (1, 2)), *(job(number, "b") for number in (3, 4)))
    assert numbers(lanes.take(0.0, 20)) == [1, 3, 2, 4]


def test_tenants_take_turns_and_share_no_batch() -> None:
    lanes = filled(
        WIDE,
        *(job(number, f"a{number}", "contoso") for number in range(4)),
        *(job(10 + number, f"b{number}", "fabrikam") for number in range(4)),
    )
    taken = [numbers(lanes.take(0.0, 2)) for _ in range(4)]
    assert taken == [[0, 1], [10, 11], [2, 3], [12, 13]]


def test_a_saturated_lane_holds_up_nobody() -> None:
    lanes = filled(WIDE, *(job(number, "slow") for number in range(100)))
    lanes.take(0.0, 20)
    lanes.offer(job(200, "quick"), 0.0)
    assert numbers(lanes.take(0.0, 20)) == [200]


def test_a_lane_without_budget_holds_up_nobody() -> None:
    lanes = filled(LaneLimits(3, 20, 1_000, 100_000), job(1, "slow"), job(2, "slow"), job(3, "quick"))
    assert numbers(lanes.take(0.0, 20)) == [1, 3]


def test_a_parked_lane_holds_up_nobody() -> None:
    lanes = filled(WIDE, job(1, "broken"), job(2, "quick"))
    assert numbers(lanes.park("broken", 60.0)) == [1]
    assert numbers(lanes.take(0.0, 20)) == [2]


def test_a_parked_lane_takes_no_jobs_until_its_time() -> None:
    lanes = filled(WIDE, job(1))
    lanes.park("a", 60.0)
    assert not lanes.offer(job(2), 59.9)
    assert lanes.offer(job(2), 60.0)


def test_a_shorter_park_does_not_end_a_longer_one() -> None:
    lanes = filled(WIDE, job(1))
    lanes.park("a", 60.0)
    lanes.park("a", 30.0)
    assert lanes.rests_until_s("a") == 60.0


def test_parking_gives_back_what_waits_behind_work_in_flight() -> None:
    lanes = filled(WIDE, job(1))
    lanes.take(0.0, 20)
    lanes.offer(job(1, offset=7), 0.0)
    lanes.offer(job(2), 0.0)
    assert numbers(lanes.park("a", 60.0)) == [2, 1]
    assert lanes.queued == 0


def test_a_full_lane_takes_no_more_entries() -> None:
    lanes = filled(LaneLimits(3, 9_000, 2, 100_000), job(1), job(2))
    assert not lanes.offer(job(3), 0.0)
    assert lanes.offer(job(3, "b"), 0.0)


def test_a_full_lane_still_takes_wakeups_of_entries_that_wait_in_it() -> None:
    assert filled(LaneLimits(3, 9_000, 1, 100_000), job(1)).offer(job(1, offset=7), 0.0)


def test_wakeups_of_one_entry_become_one_job_with_all_their_positions() -> None:
    lanes = filled(WIDE, *(job(1, offset=offset) for offset in (4, 5, 6)))
    (taken,) = lanes.take(0.0, 20)
    assert [position.offset for position in taken.positions] == [4, 5, 6]


def test_an_entry_woken_while_in_flight_goes_again_afterwards() -> None:
    lanes = filled(WIDE, job(1, offset=4))
    (first,) = lanes.take(0.0, 20)
    lanes.offer(job(1, offset=5), 0.0)
    assert lanes.take(0.0, 20) == []
    lanes.done(first, 0.0, requests=1)
    (second,) = lanes.take(0.0, 20)
    assert [position.offset for position in second.positions] == [5]


def test_forgetting_what_waits_leaves_what_is_in_flight() -> None:
    lanes = filled(WIDE, *(job(number) for number in range(5)))
    taken = lanes.take(0.0, 20)
    lanes.clear()
    assert (lanes.queued, lanes.in_flight) == (0, 3)
    for one in taken:
        lanes.done(one, 0.0, requests=1)
    assert (lanes.take(1_000.0, 20), lanes.in_flight) == ([], 0)


def test_lanes_are_counted_by_state() -> None:
    lanes = filled(WIDE, job(1, "active"), *(job(10 + n, "busy") for n in range(5)), job(20, "parked"))
    lanes.park("parked", 60.0)
    lanes.take(0.0, 20)
    assert lanes.counts(0.0) == {"active": 1, "parked": 1, "mailbox_bound": 1, "pod_bound": 0}


def test_a_lane_that_has_been_idle_for_long_is_forgotten() -> None:
    lanes = filled(WIDE, *(job(number, f"lane {number}") for number in range(50)))
    for one in lanes.take(0.0, 50):
        lanes.done(one, 1.0, requests=3)
    lanes.take(WINDOW_S, 20)
    assert lanes._lanes == {}
    assert lanes.next_at_s() is None


def test_a_parked_lane_is_forgotten_when_its_rest_is_over() -> None:
    lanes = filled(WIDE, job(1))
    lanes.park("a", 3_600.0)
    lanes.take(1_000.0, 20)
    assert lanes.rests_until_s("a") == 3_600.0
    lanes.take(3_600.0, 20)
    assert lanes._lanes == {}
