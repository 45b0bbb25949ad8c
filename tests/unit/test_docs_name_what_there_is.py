"""What the pages for operators name is there: commands, options, variables, tables, topics, files, headings."""

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

from calbus.bus.publish import read_file
from calbus.cli import commands
from calbus.settings import PREFIX
from calbus.store.migrate import migrations
from devstack.kafka.jars import KAFKA_VERSION
from ops import badges, indexes
from schemas.events import TOPICS, Topic

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/operations.md", "docs/security.md")
# What `calbus` has beside the commands that have settings.
PLAIN = {"settings": set(), "version": set()}
VARIABLE = re.compile(rf"{PREFIX}[A-Z0-9_]+")
CODE = re.compile(r"```.*?\n(.*?)```|`([^`\n]+)`", re.DOTALL)
COMMAND = re.compile(r"^[ $]*calbus +([a-z][a-z-]*)((?: +[^#\n]*)?)", re.MULTILINE)
OPTION = re.compile(r"(?<!\S)(--[a-z][a-z-]*)")
LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)|\bsrc=\"([^\"]+)\"", re.MULTILINE)
FOLDERS = ("bench", "calbus", "devstack", "docs", "k8s", "ops", "schemas", "services", "simulator", "tests")


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


@pytest.mark.parametrize("page", [*PAGES, "docs/traces.md"])
def test_every_variable_is_a_setting(page: str) -> None:
    known = {f"{PREFIX}{name.upper()}" for command in commands() for name in command.settings.model_fields}
    for variable in VARIABLE.findall((ROOT / page).read_text(encoding="utf-8")):
        # CALBUS_WRITER_… stands for all that begin so.
        assert variable in known or (variable.endswith("_") and any(one.startswith(variable) for one in known)), (
            variable
        )


def links_of(page: Path) -> list[str]:
    """What a page links to in this repository: `](…)`, `[…]: …`, `src="…"`."""
    found = LINK.findall(page.read_text(encoding="utf-8"))
    return [link for groups in found for link in groups if link and not link.startswith(("http://", "https://"))]


def pages() -> list[Path]:
    """Every page of the repository that a person is to read."""
    written = [page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md")]
    return sorted([*written, *ROOT.glob("*.md")])


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert target.resolve().is_relative_to(ROOT), link
        if anchor:
            assert anchor in headings(target), link


def test_every_page_is_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        if page in reached:
            continue
        reached.add(page)
        targets = ((page.parent / link.partition("#")[0]).resolve() for link in links_of(page))
        ahead += [target for target in targets if target.suffix == ".md"]
    # A folder of figures is linked as one.
    apart = {page for page in pages() if page.parent == ROOT / "bench" / "results"}
    assert set(pages()) - reached - apart == set()


def test_every_test_that_is_named_as_a_proof_is_there() -> None:
    text = (ROOT / "docs" / "alternatives.md").read_text(encoding="utf-8")
    named = re.findall(r"\[`(test_\w+)`\]\(\.\./(tests/[\w/]+\.py)\)", text)
    assert len(named) > 10
    for name, path in named:
        assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), name


def test_every_source_that_is_cited_is_given() -> None:
    text = (ROOT / "docs" / "alternatives.md").read_text(encoding="utf-8")
    cited = set(re.findall(r"\]\[([\w-]+)\]", text))
    assert cited == set(re.findall(r"^\[([\w-]+)\]: https://", text, re.MULTILINE))


def test_the_first_event_of_the_readme_is_one(tmp_path: Path) -> None:
    [given] = re.findall(r"<<'EOF'\n(.*?)\nEOF\n", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    file = tmp_path / "first.jsonl"
    file.write_text(given)
    [(topic, _, _)] = read_file(file)
    assert topic is Topic.ACTIONS
    known = [line for line in (ROOT / "devstack/demo/00-settings.jsonl").read_text().splitlines() if line]
    accounts = [json.loads(line)["data"] for line in known if "calbus.account.settings.v1" in line]
    item = json.loads(given)["data"]
    assert any((one["tenant"], one["user"]) == (item["tenant"], item["assignees"][0]) for one in accounts)


@pytest.mark.parametrize("document", [*badges.documents().items(), *indexes.documents().items()], ids=lambda _: "")
def test_what_is_made_from_the_repository_is_up_to_date(document: tuple[Path, str]) -> None:
    path, text = document
    assert path.read_text(encoding="utf-8") == text, "run `make docs`"


def test_badges_are_true() -> None:
    """By what they are about, not by how they are made."""
    said = {badge.name: badge.fact for badge in badges.badges()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert f"calbus needs Python {said['python'].removeprefix('≥ ')}" in (ROOT / "Makefile").read_text()
    assert said["licence"] == "Apache-2.0"
    assert (ROOT / "LICENSE").read_text().split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert said["kafka"].removeprefix("Apache Kafka ") == KAFKA_VERSION
    shipped = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert shipped <= set(project["tool"]["mypy"]["packages"]), "all that is shipped is checked"
    lax = [name for one in project["tool"]["mypy"]["overrides"] if "ignore_errors" in one for name in one["module"]]
    assert not {name.partition(".")[0] for name in lax} & shipped
    document = json.loads((ROOT / "schemas/generated/asyncapi.json").read_text())
    assert said["contract"] == f"AsyncAPI {document['asyncapi']}"
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {f"badge-{name}.svg" for name in said} == set(re.findall(r"badge-\w+\.svg", readme))


@pytest.mark.parametrize("name", ["week", "dashboard"])
def test_pictures_are_small(name: str) -> None:
    content = (ROOT / "docs" / "images" / f"{name}.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) < 200_000


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
