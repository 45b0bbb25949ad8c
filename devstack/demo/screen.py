"""What the person at the terminal sees: stages as they pass, calendars, counts, the verdict.
Looks good in a terminal and reads well in a pipe; decides nothing."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby

from rich import box
from rich.console import Console, Group
from rich.status import Status
from rich.table import Table
from rich.text import Text

from devstack.demo.recording import Directory
from devstack.demo.verdict import Actual, Appointment, Change, GraphFigures, day, span
from devstack.demo.witness import Letter

CATEGORY_STYLES = {"Open": "blue", "Active": "yellow", "Completed": "green", "Cancelled": "red"}
NAME_WIDTH = 11


class Stage:
    """One line: what is going on, and in the end what came of it."""

    def __init__(self, console: Console, name: str, status: Status) -> None:
        self._console = console
        self._name = name
        self._status = status
        self.text = ""

    def now(self, text: str) -> None:
        """Replace the line's text; in a pipe only the last one is seen."""
        self.text = text
        self._status.update(self.line())

    def report(self, text: str) -> None:
        """Say something that is worth a line of its own in a pipe: a download goes on, a warning."""
        if self._console.is_terminal and not text.startswith("Warning"):
            self.now(text.strip())
        else:
            self._console.print(Text(f"  {text}", style="dim"), soft_wrap=True)

    def line(self, after: str = "") -> Text:
        """The stage's name and text, in columns."""
        return Text.assemble((f"{self._name:<{NAME_WIDTH}}", "bold"), self.text, (after, "dim"))


class Screen:
    """Everything is written to one console."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def stage(self, name: str, text: str) -> Iterator[Stage]:
        """A stage with a spinner; a line is left behind when it is over, whichever way it ended."""
        started = time.monotonic()
        with self._console.status("") as status:
            stage = Stage(self._console, name, status)
            stage.now(text)
            try:
                yield stage
            except BaseException:
                self._console.print(Text("✘ ", style="red").append_text(stage.line()), soft_wrap=True)
                raise
        took = f"  {time.monotonic() - started:.1f} s"
        self._console.print(Text("✔ ", style="green").append_text(stage.line(took)), soft_wrap=True)

    def title(self, text: str) -> None:
        """A heading."""
        self._console.print()
        self._console.print(Text(text, style="bold underline"))

    def calendars(self, directories: Iterable[Directory], actual: Actual) -> None:
        """A table for each mailbox, under its organisation."""
        for directory in directories:
            self.title(f"{directory.organisation} ({directory.product})")
            for address, name in directory.users.items():
                heading = Text.assemble((name, "bold"), f"  {address}")
                self._console.print(Group(Text(), heading, _calendar(actual.calendars.get(address, []))))

    def outcomes(self, outcomes: Mapping[str, list[str]]) -> None:
        """How many revisions ended how."""
        counts = Counter(ending for endings in outcomes.values() for ending in endings)
        self.title(f"{counts.total()} outcomes")
        table = Table("Ending", "Reason", box=box.SIMPLE_HEAD, pad_edge=False)
        table.add_column("Count", justify="right")
        rows = sorted((*ending.split(" ", 1), str(count)) for ending, count in counts.items())
        for _, of_ending in groupby(rows, key=lambda row: row[0]):
            for index, (ending, reason, count) in enumerate(of_ending):
                table.add_row("" if index else ending, reason, count)
        self._console.print(table)

    def changes(self, changes: Iterable[Change]) -> None:
        """What people did in Outlook, as upstream was told of it."""
        self.title("Told of what people did in Outlook")
        for change in changes:
            when = (
                f"  {day(change.start)} {change.start:%H:%M}–{change.end:%H:%M %Z}"
                if change.start and change.end
                else ""
            )
            self._console.print(Text.assemble((change.type, "yellow"), f"  {change.of}", when), soft_wrap=True)

    def letters(self, letters: Iterable[Letter]) -> None:
        """Why and where; never what was in it."""
        self.title("Dead letters")
        for letter in letters:
            line = Text.assemble((letter.reason, "yellow"), f"  {letter.place}\n", (letter.detail, "dim"))
            self._console.print(line, soft_wrap=True)

    def graph(self, figures: GraphFigures) -> None:
        """One line on Microsoft Graph."""
        self.title("Microsoft Graph")
        self._console.print(
            f"{figures.requests} requests ({figures.batches} batches, {figures.mutations} changes), "
            f"{figures.refusals} refused for their number, {figures.violations.total()} violations of its limits, "
            f"{figures.invitations} invitations",
            soft_wrap=True,
        )

    def verdict(self, differences: list[str], took_s: float) -> None:
        """The last word."""
        self._console.print()
        for difference in differences:
            self._console.print(Text(f"✘ {difference}", style="red"), soft_wrap=True)
        if differences:
            noun = "difference" if len(differences) == 1 else "differences"
            self._console.print(Text(f"expected ≠ actual: {len(differences)} {noun}", style="bold red"))
        else:
            self._console.print(Text(f"expected = actual  ({took_s:.1f} s)", style="bold green"))

    def addresses(self, addresses: Mapping[str, str], variables: Mapping[str, str]) -> None:
        """Where everything is, and what to export to use it."""
        self.title("Everything stays up until Ctrl-C")
        for name, address in addresses.items():
            self._console.print(Text.assemble((f"{name:<20}", "bold"), address), soft_wrap=True)
        self._console.print(Text("\nTo use the calbus commands in another terminal:", style="dim"))
        for name, value in variables.items():
            self._console.print(Text(f"export {name}={value}"), soft_wrap=True)


def _calendar(appointments: list[Appointment]) -> Table | Text:
    if not appointments:
        return Text("  nothing stands here", style="dim")
    table = Table(box=None, show_header=False, padding=(0, 0, 0, 2))
    # Wide enough for any, so that the tables of all mailboxes stand in line.
    table.add_column("Day", width=15, no_wrap=True)
    table.add_column("Time", width=11, no_wrap=True)
    table.add_column("Subject", width=36)
    table.add_column("Category", width=9, no_wrap=True)
    for one in appointments:
        style = CATEGORY_STYLES.get(one.category, "")
        table.add_row(day(one.start), span(one), Text(one.subject), Text(one.category, style=style))
    return table
