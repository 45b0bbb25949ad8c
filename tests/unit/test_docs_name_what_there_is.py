"""What the pages for operators name is there: commands, options, variables, tables, topics, files, headings."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from calbus.cli import commands
from calbus.settings import PREFIX
from calbus.store.migrate import migrations
from schemas.events import TOPICS, Topic

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/operations.md", "docs/security.md")
# What `calbus` has beside the commands that have settings.
PLAIN = {"settings": set(), "version": set()}
VARIABLE = re.compile(rf"{PREFIX}[A-Z0-9_]+")
CODE = re.compile(r"```.*?\n(.*?)```|`([^`\n]+)`", re.DOTALL)
COMMAND = re.compile(r"^[ $]*calbus +([a-z][a-z-]*)((?: +[^#\n]*)?)", re.MULTILINE)
OPTION = re.compile(r"(?<!\S)(--[a-z][a-z-]*)")
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def options() -> dict[str, set[str]]:
    """The options of each command."""
    known = dict(PLAIN)
    for command in commands():
        named = {f"--{name.replace('_', '-')}" for name in command.settings.model_fields}
        for annotation in command._arguments.values():
            for about in getattr(annotation, "__metadata__", ()):
                # typer takes the first name for a default until it is asked for the parameter.
                names = (getattr(about, "default", None), *(getattr(about, "param_decls", None) or ()))
                named.update(one for one in names if isinstance(one, str) and one.startswith("--"))
        known[command.name] = named
    return known


def code_of(page: str) -> list[str]:
    return [block or span for block, span in CODE.findall((ROOT / page).read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_and_option_exists(page: str, options: dict[str, set[str]]) -> None:
    found = [(name, rest) for code in code_of(page) for name, rest in COMMAND.findall(code)]
    assert found, "the page names commands"
    assert {name for name, _ in found} <= options.keys()
    for name, rest in found:
        assert set(OPTION.findall(rest)) <= options[name], f"calbus {name}{rest}"


@pytest.mark.parametrize("page", PAGES)
def test_every_variable_is_a_setting(page: str) -> None:
    known = {f"{PREFIX}{name.upper()}" for command in commands() for name in command.settings.model_fields}
    for variable in VARIABLE.findall((ROOT / page).read_text(encoding="utf-8")):
        # CALBUS_WRITER_… stands for all that begin so.
        assert variable in known or (variable.endswith("_") and any(one.startswith(variable) for one in known)), (
            variable
        )


@pytest.mark.parametrize("page", [*PAGES, "docs/scaling.md"])
def test_every_link_leads_somewhere(page: str) -> None:
    if not (ROOT / page).exists():
        pytest.fail(f"{page} is not there")
    for link in LINK.findall((ROOT / page).read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if anchor:
            assert anchor in headings(target), link


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def rows_of(heading: str) -> dict[str, str]:
    """Of the table under these words in the page on security: the last cell by each name in the first."""
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows: dict[str, str] = {}
    for line in text.partition(heading)[2].splitlines():
        if line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            rows.update(dict.fromkeys(re.findall(r"`([^`]+)`", cells[0]), cells[-1]))
        elif rows:
            break
    return rows


def test_the_page_on_security_has_every_table() -> None:
    made = {name for step in migrations() for name in re.findall(r"^CREATE TABLE (\w+)", step.sql, re.MULTILINE)}
    assert rows_of("\n**PostgreSQL**.").keys() == made | {"schema_migration"}


def test_the_page_on_security_has_every_topic_and_says_how_long_it_is_kept() -> None:
    rows = rows_of("\n**Kafka**,")
    assert rows.keys() == {topic.value for topic in Topic}
    for topic, shape in TOPICS.items():
        days = shape.retention_days
        said = "the last of each key, for ever" if days is None else "1 day" if days == 1 else f"{days} days"
        assert rows[topic.value] == said, topic


def test_numbers_of_migrations_follow_each_other() -> None:
    assert all(after.number == before.number + 1 for before, after in pairwise(migrations()))
