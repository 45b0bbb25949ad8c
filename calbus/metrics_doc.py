"""Writes the tables of docs/metrics.md from the metrics themselves: `python -m calbus.metrics_doc`, or `--check`."""

import argparse
import re
import sys
from pathlib import Path

import calbus.telemetry  # noqa: F401 (makes the metrics)
from calbus.metric import CATALOGUE, Described
from schemas.events import Topic
from schemas.reasons import Reason

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
VALUES_SHOWN_MAX = 8

_PART = re.compile(r"(<!-- generated: metrics -->\n).*?(<!-- /generated -->)", re.DOTALL)


def with_tables(page: str) -> str:
    """The page with its generated part written anew; applying it twice changes nothing."""
    return _PART.sub(lambda match: f"{match[1]}\n{_metrics()}\n{match[2]}", page)


def _metrics() -> str:
    return "\n".join(_section(one) for one in CATALOGUE.values())


def _section(one: Described) -> str:
    shared = "; the same in every process: take `max`" if one.shared else ""
    lines = [f"### `{one.exposed_as[0].removesuffix('_bucket')}`", ""]
    lines += [f"{one.kind}, exposed by {one.services}{shared}", ""]
    lines += [f"* **Meaning** {one.says}"]
    lines += [f"* **Label** `{label}`: {_values(values)}" for label, values in one.labels.items()]
    lines += [f"* **What to do** {one.do}", ""]
    return "\n".join(lines)


def _values(values: tuple[str, ...]) -> str:
    if set(values) == {str(topic) for topic in Topic}:
        return "the topics, without their prefix"
    if len(set(values) & set(Reason)) > VALUES_SHOWN_MAX:
        others = [value for value in values if value not in set(Reason)]
        named = ", ".join(f"`{value}`" for value in others)
        return f"{named + ', or ' if others else ''}a reason of [the event contract](event-contract.md)"
    shown = ", ".join(f"`{value}`" for value in values[:VALUES_SHOWN_MAX])
    return shown + (f" and {len(values) - VALUES_SHOWN_MAX} more" if len(values) > VALUES_SHOWN_MAX else "")


def main() -> None:
    """Bring the page up to date; with --check change nothing, and exit with 1 if it is not."""
    parser = argparse.ArgumentParser(prog="python -m calbus.metrics_doc", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if the page is out of date")
    page = PAGE.read_text(encoding="utf-8")
    wanted = with_tables(page)
    if parser.parse_args().check:
        if wanted != page:
            sys.exit(f"Out of date, run `make ops`: {PAGE.name}")
        return
    PAGE.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
