"""The figures of `bench.scaling` as a picture and as a page. Pure; the picture is SVG, so that nothing need draw it."""

from collections.abc import Callable
from xml.sax.saxutils import escape

from bench.scaling import Figures, Sample

WIDTH, HEIGHT = 860, 460
LEFT, RIGHT, TOP, BETWEEN, BOTTOM = 70, 20, 40, 46, 44
PANEL = (HEIGHT - TOP - BETWEEN - BOTTOM) // 2
SHADES = {1: "#f6e3c5", 2: "#dcebd5", 4: "#d3e3f3"}
TICKS = 4


def picture(figures: Figures) -> str:
    """Entries that wait, and what is written in a second, over time; behind them how many writers there were."""
    samples = figures.samples
    span = max(samples[-1].at_s, 1.0)
    rates = _rates(samples)
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {box} font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    plot_width = WIDTH - LEFT - RIGHT

    def x(at_s: float) -> float:
        return LEFT + plot_width * at_s / span

    for index, phase in enumerate(figures.phases):
        follows = figures.phases[index + 1].began_s if index + 1 < len(figures.phases) else span
        parts.append(
            f'<rect x="{x(phase.began_s):.1f}" y="{TOP}" width="{x(follows) - x(phase.began_s):.1f}" '
            f'height="{2 * PANEL + BETWEEN}" fill="{SHADES.get(phase.writers, "#eee")}"/>'
        )
        named = f"{phase.writers} writer{'s' if phase.writers > 1 else ''}"
        parts.append(
            f'<text x="{(x(phase.began_s) + x(follows)) / 2:.1f}" y="{TOP - 8}" text-anchor="middle">{named}</text>'
        )
    stopped = figures.phases[-1].ended_s
    parts.append(
        f'<line x1="{x(stopped):.1f}" x2="{x(stopped):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#555" '
        'stroke-dasharray="4 3"/>'
    )
    waiting = [(sample.at_s, float(sample.waiting)) for sample in samples]
    parts += _panel(TOP, "entries that wait for the calendar", waiting, "#b3261e", x)
    parts += _panel(TOP + PANEL + BETWEEN, "entries written per second", rates, "#1f5fa8", x)
    published = figures.load.rate_per_s
    parts.append(
        f'<text x="{LEFT}" y="{HEIGHT - 12}">seconds; {published:g} new entries a second until the dashed line</text>'
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _rates(samples: list[Sample]) -> list[tuple[float, float]]:
    """Written in a second, over windows of about three seconds."""
    found = []
    for index in range(6, len(samples)):
        before, now = samples[index - 6], samples[index]
        found.append((now.at_s, (now.written - before.written) / max(now.at_s - before.at_s, 0.1)))
    return found


def _panel(
    top: int, title: str, points: list[tuple[float, float]], colour: str, x: Callable[[float], float]
) -> list[str]:
    most = _round_up(max([value for _, value in points], default=1.0))

    def y(value: float) -> float:
        return top + PANEL * (1 - value / most)

    parts = [f'<text x="{LEFT + 6}" y="{top + 16}" font-weight="bold">{escape(title)}</text>']
    for tick in range(TICKS + 1):
        value = most * tick / TICKS
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#0002"/>'
            f'<text x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,.0f}</text>'
        )
    line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in points)
    return [*parts, f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>']


def _round_up(value: float) -> float:
    step = 10.0
    while step * TICKS < value:
        step *= 2 if str(step)[0] in "15" else 2.5
    return step * TICKS


def markdown(figures: Figures) -> str:
    """The page."""
    load, service = figures.load, figures.service
    rows = "\n".join(
        f"| {one.writers} | {one.ended_s - one.began_s:.0f} | {one.waiting_first:,} | {one.waiting_last:,} "
        f"| {one.waiting_peak:,} | {one.oldest_peak_s:.1f} | {one.written_per_s:,.0f} |"
        for one in figures.phases
    )
    return f"""# Scaling out and in

`{figures.command}`

![Entries that wait and entries written, with 1, 4 and 2 writers](images/scaling.svg)

{load.rate_per_s:g} new actions a second for {load.tenants * load.users} mailboxes of {load.tenants} tenants;
Graph takes {load.latency_ms:g} ms. Writers are processes that are started, and stopped with SIGTERM, while the
load goes on. So that one of them is not enough on a machine that also runs everything else, each may have only
{load.calls} call{"s" if load.calls > 1 else ""} to Graph in flight (`CALBUS_WRITER_MAX_CALLS`; 64 by default). Four
last until no more than a quarter of the backlog is left.

| writers | seconds | waiting at first | at last | at most | oldest, s | written per second |
|--:|--:|--:|--:|--:|--:|--:|
{rows}

- **Nothing lost, nothing doubled.** {figures.published:,} actions published, {figures.standing:,} events in calendars:
  {figures.lost} missing, {figures.doubled} twice; {figures.outcomes:,} applied and told.
- **No mailbox served by two at once.** Each writer signed in as an application of its own, so the simulator's ledger
  tells them apart: {service.handovers:,} times a mailbox went from one writer to another, and {service.overlaps} times
  the next one sent a request before the last of the one before had ended. The shortest pause was
  {service.gap_least_s:.2f} s, the median {service.gap_median_s:.1f} s.
- **Limits kept.** At most {service.max_in_flight} requests in flight to a mailbox (the lane's share is 3),
  {service.refusals} refused with 429, {service.violations} violations.
- After the load had ended, two writers were done in {figures.drained_s:.1f} s.

The machine: {figures.machine}, with all engines and other work beside it; load average {figures.load_before} before and
{figures.load_after} after. All samples: [scaling.json](../bench/results/scaling.json). What more writers can and
cannot do: [operations.md](operations.md#scaling-out-and-in).
"""
