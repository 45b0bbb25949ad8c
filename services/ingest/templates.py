"""Templates that tenants write: what they may say, and what becomes of them. Pure.

A template is a stranger's program. It may choose among texts and join them, and nothing else: it is Jinja2's syntax,
read by Jinja2, of which only what is listed here is let through, compiled in Jinja2's sandbox with nothing in it.
There are no loops, no calls and no arithmetic, so that time and output grow no faster than the template and the item.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from services.ingest.shortening import shorten

TEMPLATE_MAX_CHARACTERS = 8_000
# What a template may be made of. Python's compiler has limits on nesting of its own; these lie well below.
NODES_MAX = 400
DEPTH_MAX = 16
# Filters read the whole of a text, which may be a long one.
FILTERS_MAX = 20
# Of what a template gives; more than fits anywhere is not made at all.
OUTPUT_MAX_CHARACTERS = 100_000
TRUNCATE_MAX_CHARACTERS = 32_000
COMPILED_MAX_TEMPLATES = 256

VARIABLES: dict[str, str] = {
    "icon": "how far it is, and for a contact what kind, in one character",
    "title": "what the item is called",
    "status": "`open`, `active`, `completed` or `cancelled`: for comparing",
    "status_text": "the same in the tenant's language",
    "kind": "`action`, `meeting`, `call`, `visit` or `contact`: for comparing",
    "kind_text": "the same in the tenant's language",
    "priority": "`low`, `normal` or `high`: for comparing",
    "priority_text": "the same in the tenant's language",
    "description": "the description",
    "client": "the client's name",
    "place": "where it happens",
    "project": "the project's name, or else its id",
    "owner": "the owner's id",
    "link": "the web address of the item",
    "source": "the business system's id",
    "id": "the item's id",
    "kind_label": "the word for *kind* in the tenant's language",
    "client_label": "the word for *client*",
    "place_label": "the word for *place*",
    "link_label": "the words for *open in*, with the business system's id",
}
"""The names that a template may use, each a text, empty if the item has no such thing. Said in the event contract."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a template was not used, in words for whoever wrote it."""

    says: str


class _Context:
    """As much of Jinja2's context as a template without calls, macros and blocks asks: what its names stand for.

    Making a whole one takes as long as rendering.
    """

    __slots__ = ("resolve_or_missing",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self.resolve_or_missing = values.__getitem__


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template that may be rendered."""

    _write: Callable[[Context], Iterator[str]]
    _mentions: Mapping[str, int]

    def render(self, values: Mapping[str, str]) -> str | Flaw:
        """The text, at most OUTPUT_MAX_CHARACTERS of it. `values` has every one of VARIABLES. Never raises."""
        parts: list[str] = []
        room = OUTPUT_MAX_CHARACTERS
        try:
            for part in self._write(_Context(values)):  # type: ignore[arg-type]
                parts.append(part[:room])
                room -= len(parts[-1])
                if not room:
                    break
        except Exception as error:  # noqa: BLE001 - a stranger's template must not stop a partition, whatever it does
            return Flaw(_words_of(error))
        return "".join(parts)

    def mentions(self, variable: str) -> int:
        """How often the template can put this variable out, at most."""
        return self._mentions.get(variable, 0)


@lru_cache(maxsize=COMPILED_MAX_TEMPLATES)
def compile_template(text: str) -> Compiled | Flaw:
    """Check and compile a template, once. Never raises."""
    if len(text) > TEMPLATE_MAX_CHARACTERS:
        return Flaw(f"it is longer than {TEMPLATE_MAX_CHARACTERS:,} characters")
    try:
        tree = _ENVIRONMENT.parse(text)
        if (refusal := _refusal(tree)) is not None:
            return refusal
        # The tree that was checked is the one that is compiled: nothing is read twice.
        return Compiled(_ENVIRONMENT.from_string(tree).root_render_func, _count_mentions(tree))
    except Exception as error:  # noqa: BLE001 - whatever a parser or compiler throws says that the template is no good
        return Flaw(_words_of(error))


def _words_of(error: Exception) -> str:
    match error:
        case TemplateSyntaxError():
            return f"line {error.lineno}: {_one_line(error.message or 'it is not a template')}"
        case RecursionError() | MemoryError() | SyntaxError():
            return "it is nested too deeply"
        case TemplateError() | TypeError():
            return _one_line(str(error)) or "it cannot be rendered"
    return f"it cannot be read ({type(error).__name__})"


_WORDS_MAX_CHARACTERS = 200


def _one_line(text: str) -> str:
    return shorten(" ".join(text.split()), _WORDS_MAX_CHARACTERS)


# What may stand in a template. Whatever is missing here is refused, also what Jinja2 may learn to read one day.
_ALLOWED: frozenset[type[nodes.Node]] = frozenset(
    (
        nodes.Template,
        nodes.Output,
        nodes.TemplateData,
        nodes.Name,
        nodes.Const,
        nodes.If,
        nodes.CondExpr,
        nodes.Compare,
        nodes.Operand,
        nodes.And,
        nodes.Or,
        nodes.Not,
        nodes.Tuple,
        nodes.List,
        nodes.Filter,
    )
)
# What people try, in their words; the first that fits.
_NAMES: tuple[tuple[type[nodes.Node], str], ...] = (
    (nodes.For, "a loop"),
    (nodes.Call, "a call"),
    (nodes.Getattr, "looking into a value with a dot"),
    (nodes.Getitem, "looking into a value with brackets"),
    (nodes.Test, "a test with `is`"),
    (nodes.Concat, "joining with `~`"),
    (nodes.BinExpr, "arithmetic"),
    (nodes.UnaryExpr, "arithmetic"),
    (nodes.Assign, "`set`"),
    (nodes.AssignBlock, "`set`"),
    (nodes.With, "`with`"),
    (nodes.Macro, "a macro"),
    (nodes.CallBlock, "a call block"),
    (nodes.FilterBlock, "a filter block"),
    (nodes.Block, "a block"),
    (nodes.Extends, "`extends`"),
    (nodes.Include, "`include`"),
    (nodes.Import, "`import`"),
    (nodes.FromImport, "`import`"),
    (nodes.Scope, "`autoescape`"),
    (nodes.Dict, "a dictionary"),
)


def _refusal(tree: nodes.Template) -> Flaw | None:
    """What in the tree is not allowed; None if all of it is. Walks without recursion: the tree may be deep."""
    waiting: list[tuple[nodes.Node, int]] = [(tree, 0)]
    seen = filters = 0
    while waiting:
        node, depth = waiting.pop()
        seen += 1
        filters += isinstance(node, nodes.Filter)
        if seen > NODES_MAX:
            return Flaw(f"it has more than {NODES_MAX} parts")
        if filters > FILTERS_MAX:
            return Flaw(f"it has more than {FILTERS_MAX} filters")
        if depth > DEPTH_MAX:
            return Flaw(f"line {_line(node)}: it is nested more than {DEPTH_MAX} deep")
        if (problem := _problem_of(node)) is not None:
            return Flaw(f"line {_line(node)}: {problem}")
        waiting += [(child, depth + 1) for child in reversed(list(node.iter_child_nodes()))]
    return None


def _line(node: nodes.Node) -> int:
    # A few nodes do not know where they stand.
    return node.lineno or 1


def _problem_of(node: nodes.Node) -> str | None:
    match node:
        case nodes.Name(name=name) if name not in VARIABLES:
            return f"there is no variable `{_one_line(name)}`"
        case nodes.Filter():
            return _problem_of_filter(node)
        case nodes.CondExpr(expr2=None):
            return "an `if` inside braces needs an `else`"
        case nodes.Tuple() | nodes.List() if not all(isinstance(item, nodes.Const) for item in node.items):
            return "a list may hold only constants"
    # Not isinstance: a kind of node that derives from an allowed one is another kind.
    if type(node) in _ALLOWED:
        return None
    named = next((words for kind, words in _NAMES if isinstance(node, kind)), type(node).__name__)
    return f"{named} is not allowed"


def _problem_of_filter(node: nodes.Filter) -> str | None:
    if node.node is None or node.name not in _FILTERS:
        return f"there is no filter `{_one_line(node.name)}`"
    takes = _ARGUMENTS.get(node.name)
    given = [argument.value if isinstance(argument, nodes.Const) else None for argument in node.args]
    if node.kwargs or node.dyn_args is not None or node.dyn_kwargs is not None:
        return f"the filter `{node.name}` takes no named arguments"
    if takes is None:
        return f"the filter `{node.name}` takes no argument" if given else None
    if len(given) != 1 or type(given[0]) is not takes[0]:
        return f"the filter `{node.name}` takes {takes[1]}"
    if isinstance(given[0], int) and not 1 <= given[0] <= TRUNCATE_MAX_CHARACTERS:
        return f"the filter `{node.name}` takes a number from 1 to {TRUNCATE_MAX_CHARACTERS:,}"
    return None


def _count_mentions(tree: nodes.Template) -> dict[str, int]:
    """Of each variable, where it may be put out; not where it is only asked about."""
    mentions: dict[str, int] = {}
    waiting: list[nodes.Node] = [expression for output in tree.find_all(nodes.Output) for expression in output.nodes]
    while waiting:
        match waiting.pop():
            case nodes.Name(name=name):
                mentions[name] = mentions.get(name, 0) + 1
            case nodes.Compare() | nodes.Not():
                pass
            case nodes.CondExpr(expr1=one, expr2=other):
                waiting += [one, *([other] if other is not None else [])]
            case node:
                waiting += node.iter_child_nodes(only=("node", "left", "right", "items"))
    return mentions


# Not after an apostrophe, as Python's own would have it.
_WORD_BEGINS = re.compile(r"(?:^|(?<=[\s\-/(]))\w")


def _title(text: Any) -> str:
    return _WORD_BEGINS.sub(lambda found: found[0].upper(), str(text))


# Each gives a text no longer than three times the one it takes, in a time that grows with it.
_FILTERS: dict[str, Callable[..., str]] = {
    "upper": lambda text: str(text).upper(),
    "lower": lambda text: str(text).lower(),
    "title": _title,
    "trim": lambda text: str(text).strip(),
    "truncate": lambda text, length: shorten(str(text), length),
    "default": lambda text, instead: str(text) or instead,
}
_ARGUMENTS: dict[str, tuple[type, str]] = {
    "truncate": (int, "one number, its length in characters"),
    "default": (str, "one text, which stands in for an empty one"),
}
FILTERS = tuple(_FILTERS)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        # The line of a tag leaves no empty line behind.
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        # What calbus writes is plain text.
        autoescape=False,
        # Ours is the cache that is bounded by a number of templates.
        cache_size=0,
    )
    environment.globals.clear()
    environment.tests.clear()
    environment.filters.clear()
    environment.filters.update(_FILTERS)
    return environment


_ENVIRONMENT = _environment()
