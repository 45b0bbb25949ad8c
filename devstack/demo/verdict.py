"""The verdict: what was expected against what there is. Pure, and independent of calbus.

It imports nothing of calbus: the expectation was reasoned out from the recorded events, and what there is was read
from the simulator and from the bus as any other system would read it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter


@dataclass(frozen=True, slots=True, order=True)
class Appointment:
    """What a person sees of one event. `start` and `end` are wall-clock times in `zone`, by Windows' name for it."""

    start: datetime
    end: datetime
    subject: str
    zone: str
    all_day: bool
    category: str
    show_as: str


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """What calbus told of a calendar. `of`: tenant/kind/id/user of an entry, tenant/user of an appointment.

    Times are instants, as they then are.
    """

    type: str
    of: str
    start: datetime | None = None
    end: datetime | None = None


Calendars = dict[str, list[Appointment]]
"""What stands in each mailbox."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What must come of the recorded day.

    `outcomes` names tenant/kind/id/revision/assignee; where several endings stand, the revision may have been
    overtaken before it was written, and exactly one of them must be seen.
    """

    calendars: Calendars
    outcomes: dict[str, list[str]]
    dead_letters: list[str]
    changes: list[Change]


@dataclass(slots=True)
class GraphFigures:
    """What the simulator counted, over all directories. A violation is a limit of Microsoft's that was not kept."""

    requests: int = 0
    batches: int = 0
    mutations: int = 0
    refusals: int = 0
    invitations: int = 0
    violations: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Actual:
    """What came of it. Outcomes and changes have one for each CloudEvents id: one published twice counts once."""

    calendars: Calendars
    outcomes: dict[str, list[str]]
    dead_letters: list[str]
    changes: list[Change]
    graph: GraphFigures


def read_expectation(file: Path) -> Expected:
    """The expectation in a file; raises ValueError that says what is wrong with it."""
    return TypeAdapter(Expected).validate_json(file.read_bytes())


def differences(expected: Expected, actual: Actual) -> list[str]:
    """A sentence for each difference; none if everything came out as expected."""
    return [
        *_in_calendars(expected.calendars, actual.calendars),
        *_in_outcomes(expected.outcomes, actual.outcomes),
        *_in_dead_letters(expected.dead_letters, actual.dead_letters),
        *_in_changes(expected.changes, actual.changes),
        *_in_graph(actual.graph),
    ]


def span(appointment: Appointment) -> str:
    """The time of day that it takes."""
    if appointment.all_day:
        return "all day"
    return f"{appointment.start:%H:%M}–{appointment.end:%H:%M}"


def day(moment: datetime) -> str:
    """A date for people."""
    return f"{moment:%a} {moment.day} {moment:%b %Y}"


def _in_calendars(expected: Calendars, actual: Calendars) -> Iterator[str]:
    for mailbox in sorted(expected.keys() | actual.keys()):
        wanted, found = Counter(expected.get(mailbox, ())), Counter(actual.get(mailbox, ()))
        for appointment in sorted((wanted - found).elements()):
            yield f"{mailbox}: expected and not there: {_described(appointment)}"
        for appointment in sorted((found - wanted).elements()):
            yield f"{mailbox}: there and not expected: {_described(appointment)}"


def _described(one: Appointment) -> str:
    until = f" until {day(one.end)}" if one.end.date() != one.start.date() else ""
    return f"{one.subject!r}, {day(one.start)} {span(one)}{until} ({one.zone}), {one.category}, {one.show_as}"


def _in_outcomes(expected: dict[str, list[str]], actual: dict[str, list[str]]) -> Iterator[str]:
    for key in sorted(expected.keys() | actual.keys()):
        allowed, seen = expected.get(key), actual.get(key, [])
        if allowed is None:
            yield f"{key}: ended as {' and '.join(seen)}, and no outcome was expected"
        elif not seen:
            yield f"{key}: no outcome, expected {' or '.join(allowed)}"
        elif len(seen) > 1:
            yield f"{key}: {len(seen)} outcomes ({' and '.join(seen)}), expected exactly one"
        elif seen[0] not in allowed:
            yield f"{key}: ended as {seen[0]}, expected {' or '.join(allowed)}"


def _in_dead_letters(expected: list[str], actual: list[str]) -> Iterator[str]:
    if Counter(expected) != Counter(actual):
        yield f"dead letters: {', '.join(actual) or 'none'}; expected {', '.join(expected) or 'none'}"


def _in_changes(expected: list[Change], actual: list[Change]) -> Iterator[str]:
    wanted, found = Counter(expected), Counter(actual)
    for change in sorted((wanted - found).elements(), key=str):
        yield f"{change.of}: {change.type} was not told, or not with these times: {change.start} to {change.end}"
    for change in sorted((found - wanted).elements(), key=str):
        yield f"{change.of}: {change.type} was told ({change.start} to {change.end}), and was not expected"


def _in_graph(graph: GraphFigures) -> Iterator[str]:
    for violation, count in sorted(graph.violations.items()):
        yield f"Microsoft Graph: {violation} {count} times; calbus must keep the limits"
    if graph.invitations:
        yield f"Microsoft Graph: {graph.invitations} invitations were sent; calbus must send none"
