"""What a writer's stages cost, as measured. Values only: the figures stand in `capacity_costs.json`.

That file is written by `python bench/capacity_tables.py` from what the benchmarks left in bench/results/, with the
command and the date of each.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

FILE = Path(__file__).with_suffix(".json")


@dataclass(frozen=True, slots=True)
class Stage:
    """What a group of entries costs: so much for the group, and so much for each in it.

    `cpu`: the writer's processor. `wait`: besides, for PostgreSQL or the network, in an idle system.
    """

    group_cpu_s: float
    each_cpu_s: float
    group_wait_s: float
    each_wait_s: float

    def cpu_s(self, entries: int) -> float:
        """Of the writer's processor."""
        return self.group_cpu_s + entries * self.each_cpu_s

    def waits_s(self, entries: int) -> float:
        """Of nobody's processor here."""
        return self.group_wait_s + entries * self.each_wait_s


@dataclass(frozen=True, slots=True)
class Costs:
    """A writer's. `way_s`: from an event on the bus to its wake-up in the writer's lane, in an idle system.

    `wakeup_cpu_s`: what each entry costs the writer besides the stages: its record read, its turn, its outcome sent.
    `send`: a call to Microsoft Graph, without the time that Graph takes.
    """

    way_s: float
    wakeup_cpu_s: float
    load: Stage
    send: Stage
    record: Stage

    @property
    def idle_s(self) -> float:
        """How long an entry that is alone takes, besides Graph."""
        stages = sum(stage.cpu_s(1) + stage.waits_s(1) for stage in (self.load, self.send, self.record))
        return self.way_s + self.wakeup_cpu_s + stages

    def entry_cpu_s(self, batch: int) -> float:
        """Of the writer's processor for an entry in full groups, with so many to a call."""
        grouped = self.wakeup_cpu_s + self.load.each_cpu_s + self.record.each_cpu_s
        return grouped + self.send.cpu_s(batch) / batch

    def on_a_core(self, factor: float) -> "Costs":
        """The same where the writer's processor takes so many times as long."""
        load, send, record = (
            Stage(stage.group_cpu_s * factor, stage.each_cpu_s * factor, stage.group_wait_s, stage.each_wait_s)
            for stage in (self.load, self.send, self.record)
        )
        return Costs(self.way_s, self.wakeup_cpu_s * factor, load, send, record)


def costs_in(found: dict[str, Any]) -> Costs:
    """As they are stored."""
    costs = found["costs"]
    load, send, record = (Stage(**costs[name]) for name in ("load", "send", "record"))
    return Costs(costs["way_s"], costs["wakeup_cpu_s"], load, send, record)


@cache
def measured() -> Costs:
    """As this version was measured."""
    return costs_in(orjson.loads(FILE.read_bytes()))
