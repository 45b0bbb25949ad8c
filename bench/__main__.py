"""`python -m bench`: measure, show, keep. `make bench` runs what the figures in docs/performance.md come from."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from bench import capacity as costs
from bench import scenarios
from bench.ground import Ground, new_ground
from bench.report import RESULTS, write
from bench.scenarios import Figures
from calbus.lifecycle import new_event_loop

app = typer.Typer(add_completion=False, help="Throughput and latency of calbus beside what people would use instead.")

Rounds = Annotated[int, typer.Option(help="Rounds of which the median counts.")]
Entries = Annotated[int, typer.Option(help="Entries in a round.")]
Mailboxes = Annotated[int, typer.Option(help="Mailboxes that they are spread over.")]
Latency = Annotated[float, typer.Option(help="Milliseconds that Graph takes for a request.")]
Into = Annotated[Path, typer.Option(help="Where the results are kept.")]


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _run(name: str, into: Path, measure: Callable[[Ground], Awaitable[Figures]]) -> None:
    async def run() -> Figures:
        async with new_ground() as ground:
            return await measure(ground)

    # While Kafka makes the topics, its clients complain of each.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:  # as calbus's own programs run
        figures = runner.run(run())
    print(write(name, figures, into).read_text())


@app.command()
def rates(
    rounds: Rounds = 5,
    entries: Entries = 10_000,
    mailboxes: Mailboxes = 200,
    without: Annotated[list[str] | None, typer.Option(help="Rivals to leave out.")] = None,
    into: Into = RESULTS,
) -> None:
    """The complete writer beside bare loops, libraries and SDKs, against the same stub in the same run."""
    names = [name for name in scenarios.RIVAL_NAMES if name not in (without or [])]
    _run(
        "rates",
        into,
        lambda ground: scenarios.rates(ground, rounds=rounds, entries=entries, mailboxes=mailboxes, names=names),
    )


@app.command()
def skew(
    entries: Entries = 3_000,
    mailboxes: Mailboxes = 1_000,
    large: Annotated[int, typer.Option(help="Entries of the one large mailbox.")] = 5_000,
    latency_ms: Latency = 50.0,
    into: Into = RESULTS,
) -> None:
    """429s at Graph's limits, and what one large mailbox does to the others."""
    _run(
        "skew",
        into,
        lambda ground: scenarios.skew(ground, entries=entries, mailboxes=mailboxes, large=large, latency_ms=latency_ms),
    )


@app.command()
def one_mailbox(entries: Entries = 400, latency_ms: Latency = 100.0, into: Into = RESULTS) -> None:
    """One mailbox's backlog against what Graph allows it."""
    _run("one-mailbox", into, lambda ground: scenarios.one_mailbox(ground, entries=entries, latency_ms=latency_ms))


@app.command()
def idle(entries: Entries = 200, latency_ms: Latency = 50.0, into: Into = RESULTS) -> None:
    """How long a single event takes while nothing else happens."""
    _run("idle", into, lambda ground: scenarios.idle(ground, entries=entries, latency_ms=latency_ms))


@app.command()
def two_writers(
    entries: Entries = 8_000,
    mailboxes: Mailboxes = 500,
    latency_ms: Latency = 50.0,
    calls: Annotated[int, typer.Option(help="Calls that each writer has in flight.")] = 4,
    into: Into = RESULTS,
) -> None:
    """What a second writer brings where Graph's latency is the limit."""
    _run(
        "two-writers",
        into,
        lambda ground: scenarios.two_writers(
            ground, entries=entries, mailboxes=mailboxes, latency_ms=latency_ms, calls=calls
        ),
    )


@app.command()
def steady(
    minutes: Annotated[float, typer.Option(help="For so long.")] = 15.0,
    share: Annotated[float, typer.Option(help="Of what the writer can do on this machine.")] = 0.5,
    mailboxes: Mailboxes = 4_000,
    latency_ms: Latency = 50.0,
    into: Into = RESULTS,
) -> None:
    """How late entries come at half load, and whether the writer grows."""
    _run(
        "steady",
        into,
        lambda ground: scenarios.steady(
            ground, minutes=minutes, share=share, mailboxes=mailboxes, latency_ms=latency_ms
        ),
    )


@app.command()
def growth(
    rounds: Rounds = 3,
    entries: Entries = 4_000,
    small: Annotated[int, typer.Option(help="Entries that stand settled at first.")] = 50_000,
    large: Annotated[int, typer.Option(help="Entries that stand settled then.")] = 5_000_000,
    into: Into = RESULTS,
) -> None:
    """The writer's rate beside few and many entries in PostgreSQL."""
    _run(
        "growth",
        into,
        lambda ground: scenarios.growth(ground, rounds=rounds, entries=entries, small=small, large=large, log=_say),
    )


@app.command()
def memory(mailboxes: Mailboxes = 100_000, rounds: Rounds = 2, into: Into = RESULTS) -> None:
    """What a writer holds that owns many mailboxes."""
    _run("memory", into, lambda ground: scenarios.memory(ground, mailboxes=mailboxes, rounds=rounds))


@app.command()
def capacity(rounds: Rounds = 5, entries: Entries = 6_000, into: Into = RESULTS) -> None:
    """What `calbus capacity` counts with: the costs of the writer's stages, idle delays, bytes of rows."""
    _run("capacity", into, lambda ground: costs.measure(ground, rounds=rounds, entries=entries))


if __name__ == "__main__":
    app(prog_name="python -m bench")
