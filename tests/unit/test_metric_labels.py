"""No metric grows with mailboxes, tenants or items: by the catalogue, and with ten thousand mailboxes in hand."""

import re
from pathlib import Path
from uuid import UUID

from aiokafka import TopicPartition

from calbus.bus.offsets import Position
from calbus.metric import CATALOGUE
from calbus.telemetry import BUDGET_LEFT, LANES, OPERATIONS
from services.writer.dispatcher import Dispatcher, LaneRests
from services.writer.lanes import Job, LaneLimits, Lanes
from tests.support.metrics import here, total, unforeseen

ROOT = Path(__file__).resolve().parents[2]
MAILBOXES = 10_000
SERIES_MAX = 5_000
LIMITS = LaneLimits(max_in_flight=3, max_requests_per_10_min=9_000, max_entries=1_000, max_entries_of_all=MAILBOXES * 2)


def test_every_label_has_few_values_that_are_known_beforehand() -> None:
    for one in CATALOGUE.values():
        for label, values in one.labels.items():
            assert values, f"{one.name}: {label}"
            assert len(values) <= 100, f"{one.name}: {label}"
    assert sum(one.series_max for one in CATALOGUE.values()) < SERIES_MAX


def test_operations_are_those_that_are_asked_of_graph() -> None:
    sources = (path.read_text() for path in (ROOT / "calbus" / "graph").glob("*.py"))
    asked = {name for source in sources for name in re.findall(r'\bRequest\(\s*"([a-z_]+)"', source)}
    assert asked == set(OPERATIONS)
    elsewhere = (path for path in (ROOT / "services").rglob("*.py") if re.search(r"\bRequest\(\s*\"", path.read_text()))
    assert list(elsewhere) == []


def test_names_follow_the_conventions_of_prometheus() -> None:
    for one in CATALOGUE.values():
        assert one.name.startswith("calbus_")
        assert not one.name.endswith(("_total", "_count", "_sum", "_bucket")), one.name
        assert one.kind != "histogram" or one.name.endswith("_seconds"), one.name
        assert one.says.endswith(".")
        assert one.do.endswith((".", "?")), one.name


def _dispatcher(lanes: Lanes) -> Dispatcher:
    async def nothing(*_: object) -> None: ...

    # Nothing is handed out here: no handler is needed.
    return Dispatcher(
        lanes,
        LaneRests(lanes),
        None,  # type: ignore[arg-type]
        max_calls=1,
        max_in_flight=1,
        postpone=nothing,
        send_elsewhere=nothing,
        settled=lambda: None,
    )


def test_ten_thousand_mailboxes_have_as_many_series_as_ten() -> None:
    lanes = Lanes(LIMITS)
    dispatcher = _dispatcher(lanes)

    def fill(first: int, last: int) -> None:
        for number in range(first, last):
            job = Job(
                UUID(int=number), f"mailbox {number}", f"tenant {number % 500}", [Position(_PARTITION, number, 0)]
            )
            assert lanes.offer(job, 0.0)

    fill(0, 10)
    dispatcher.show()
    before = here()
    fill(10, MAILBOXES)
    lanes.take(0.0, 20)
    dispatcher.show()
    after = here()
    assert set(before) == set(after)
    # Compared to what was there: other tests may have made up labels of their own.
    assert unforeseen(after) == unforeseen(before)
    assert total(after, "calbus_lanes") == MAILBOXES
    for state in ("active", "parked", "mailbox_bound", "pod_bound"):
        LANES.labels(state).set(0)
    BUDGET_LEFT.set(1)


_PARTITION = TopicPartition("commands", 0)


def test_what_the_worst_off_mailboxes_have_left_of_their_budget() -> None:
    lanes = Lanes(LIMITS)
    assert lanes.budget_left(0.0) == 1.0
    for number in range(20):
        assert lanes.offer(Job(UUID(int=number), f"mailbox {number}", "contoso"), 0.0)
    taken = [job for _ in range(2) for job in lanes.take(0.0, 20)]
    left_of_others = lanes.budget_left(0.0)
    assert 0.99 < left_of_others < 1.0
    for job in taken[:2]:
        lanes.done(job, 0.0, requests=450)
    # A tenth of the twenty have used up what they may have at once.
    assert lanes.budget_left(0.0) < 0.01
    assert 0.2 < lanes.budget_left(10.0) < 0.5


def test_a_lane_that_could_go_waits_for_its_writer() -> None:
    lanes = Lanes(LIMITS)
    for number in range(5):
        assert lanes.offer(Job(UUID(int=number), f"mailbox {number}", "contoso"), 0.0)
    lanes.take(0.0, 2)
    assert lanes.counts(0.0) == {"active": 2, "parked": 0, "mailbox_bound": 0, "pod_bound": 3}
