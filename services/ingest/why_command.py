"""`calbus why ITEM`: the story of an item for whoever asks why it is not in a calendar."""

import asyncio
import sys
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.markup import escape

from calbus.command import command_of, fail
from calbus.lifecycle import EXIT_FAILURE, EXIT_USAGE, at_most
from calbus.outage import postgres
from calbus.settings import PostgresSettings
from calbus.store.asking import asking_postgres
from calbus.store.migrate import require_schema
from calbus.store.pool import connect
from calbus.store.unread import Unread
from calbus.telemetry import configure_logging
from schemas.reasons import NextActor, Reason, explain
from services.ingest.why import EntryStory, ItemFacts, Line, Sign, Story, Verdict, story_of
from services.ingest.why_facts import ITEMS_MAX, ItemName, NamedOddlyError, facts_about

DATABASE_TIMEOUT_S = 30.0

_REASONS = frozenset(reason.value for reason in Reason)
_SIGNS = {Sign.FINE: ("✔", "green"), Sign.STOPS: ("✖", "red"), Sign.TELLS: ("·", "dim")}
_VERDICTS = {
    Verdict.SHOWN: "The calendar shows it.",
    Verdict.OUTDATED: "The calendar shows it, but not as it now is.",
    Verdict.ABSENT: "The calendar does not show it.",
    Verdict.UNKNOWN: "Whether the calendar shows it is not known at this moment.",
}


def _why(settings: PostgresSettings, item: str, assignee: str | None = None, json: bool | None = None) -> None:
    """Say why an item is, or is not, in its assignees' calendars: every switch, access, attempts, and what to do.

    For the word of a reason, as it stands in an outcome, it says what that means.
    """
    try:
        name = ItemName(item)
    except NamedOddlyError as error:
        fail(str(error), EXIT_USAGE)
    with asking_postgres():
        facts, letters = asyncio.run(at_most(DATABASE_TIMEOUT_S, _look(settings, name)))
    stories = [story_of(one, assignee) for one in facts]
    if json:
        sys.stdout.buffer.write(orjson.dumps({"items": stories, "unread": letters if not stories else []}) + b"\n")
    else:
        _tell(item, assignee, stories, letters)
    if not stories and item not in _REASONS:
        raise typer.Exit(EXIT_FAILURE)


async def _look(settings: PostgresSettings, name: ItemName) -> tuple[list[ItemFacts], list[Unread]]:
    async with connect(settings, postgres()) as pool:
        await require_schema(pool)
        return await facts_about(pool, name)


def _tell(item: str, assignee: str | None, stories: list[Story], letters: list[Unread]) -> None:
    out = Console(highlight=False, emoji=False, soft_wrap=True)
    if not stories and item in _REASONS:
        said = explain(Reason(item))
        out.print(
            f"`{item}` is a reason, as in an outcome: {said.says} Next: {said.next_actor}. {said.remedy}".rstrip()
        )
        return
    if not stories:
        out.print(f"calbus has no item {escape(item)}: no message about it was ever accepted.", style="bold")
        for letter in letters:
            said = explain(letter.reason)
            out.print(
                f"  A message about it became a dead letter: {letter.reason}. {said.says} {escape(letter.detail)}. "
                f"It stands at {letter.position}. {said.remedy}"
            )
        if not letters:
            out.print("  Look whether the source system published it, to which topic, and under which id.")
    if len(stories) == ITEMS_MAX:
        out.print(f"Only the first {ITEMS_MAX} items of this id are shown: name one as TENANT/SOURCE/KIND/ID.")
    for story in stories:
        out.print(f"{escape(f'{story.tenant}/{story.source}/{story.kind}/{story.id}')}", style="bold")
        _lines(out, story.lines, 2)
        if not story.entries:
            about = f"{assignee} is not, and was not, among its assignees." if assignee else "It never had an assignee."
            _indented(out, 2, escape(about))
        for entry in story.entries:
            _tell_entry(out, entry)


def _tell_entry(out: Console, entry: EntryStory) -> None:
    out.print()
    _indented(out, 2, f"[bold]{escape(entry.assignee)}[/bold]: {_VERDICTS[entry.verdict]}")
    _indented(out, 4, escape(f"{entry.says} ({entry.reason}) {entry.notice}".rstrip()))
    if entry.next_actor is not NextActor.NOBODY:
        remedy = entry.remedy or "Nothing needs to be done."
        _indented(out, 4, escape(f"Next: {entry.next_actor}. {remedy}"))
    _lines(out, entry.lines, 4)


def _lines(out: Console, lines: tuple[Line, ...], indent: int) -> None:
    for line in lines:
        sign, style = _SIGNS[line.sign]
        _indented(out, indent, f"[{style}]{sign}[/{style}] {line.about:<10} {escape(line.says)}")


def _indented(out: Console, by: int, markup: str) -> None:
    out.print(f"{' ' * by}{markup}")


command = command_of(
    "why",
    PostgresSettings,
    _why,
    configure_logging,
    item=Annotated[str, typer.Argument(help="Its id, or TENANT/SOURCE/KIND/ID.")],
    assignee=Annotated[str | None, typer.Option("--assignee", help="Only this user's calendar.")],
    json=Annotated[bool | None, typer.Option("--json", help="Print JSON.")],
)
