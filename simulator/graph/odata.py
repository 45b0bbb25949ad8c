"""Query options: `$top`, `$skip`, `$count`, `$orderby`, `$select`, `$expand` and `$filter`, read strictly.

Parsing only; `selection.py` applies them. Sources: Microsoft docs "query-parameters", "user-list-events",
"singlevaluelegacyextendedproperty-get".
"""

import re
import urllib.parse
from dataclasses import dataclass, field
from datetime import UTC, datetime

from simulator.errors import GraphError, bad_request, unparsable_uri
from simulator.exchange.event_input import KNOWN_PROPERTIES
from simulator.exchange.extended_properties import canonical_id
from simulator.exchange.open_extensions import name_of

PAGE_DEFAULT_EVENTS = 10
PAGE_MAX_EVENTS = 1000

_DATE_TIME_OFFSET = r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,12})?)?(?:Z|[+-]\d\d:\d\d)"
_TOKEN = re.compile(rf"\s*('(?:[^']|'')*'|{_DATE_TIME_OFFSET}(?=[\s)]|$)|[(),:]|[^\s(),:']+)", re.IGNORECASE)
_EXPAND = re.compile(r"singleValueExtendedProperties\(\$filter=(.*)\)", re.IGNORECASE | re.DOTALL)
_EXPAND_EXTENSIONS = re.compile(r"extensions(?:\(\$filter=(.*)\))?", re.IGNORECASE | re.DOTALL)
_COMPARED = frozenset(
    {"start/dateTime", "end/dateTime", "iCalUId", "createdDateTime", "lastModifiedDateTime", "subject"}
)
# Of type Edm.DateTimeOffset, whose literals have no quotes; the times of an event are of type Edm.String.
INSTANTS = frozenset({"createdDateTime", "lastModifiedDateTime"})
_ORDERED = _COMPARED - {"iCalUId"}
_OPERATORS = frozenset({"eq", "ne", "gt", "ge", "lt", "le"})
_NUMBER_TYPES = frozenset({"Edm.Int16", "Edm.Int32", "Edm.Int64", "Edm.Double", "Edm.Single"})


@dataclass(frozen=True, slots=True)
class Comparison:
    """`path operator 'value'` on a property of the event. `instant` is set if the property is an instant."""

    path: str
    operator: str
    value: str
    instant: datetime | None = None


@dataclass(frozen=True, slots=True)
class PropertyTest:
    """A test of one extended property. `number` is set if both sides are compared as numbers."""

    property_id: str
    operator: str
    value: str
    number: float | None = None


@dataclass(slots=True)
class Tests:
    """What a filter asks of an event; all of it must hold. `extensions` are names of open extensions."""

    comparisons: list[Comparison] = field(default_factory=list)
    properties: list[PropertyTest] = field(default_factory=list)
    extensions: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Expansion:
    """What is to be shown beside an event's own properties."""

    properties: list[str] = field(default_factory=list)
    extensions: frozenset[str] | None = None
    exceptions: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """The options of one request. The tests of the filter must all hold.

    `expand_extensions` are the names of the open extensions to show: all if empty, none if None.
    """

    top: int = PAGE_DEFAULT_EVENTS
    skip: int = 0
    count: bool = False
    order_by: tuple[tuple[str, bool], ...] = ()
    select: frozenset[str] | None = None
    expand: tuple[str, ...] = ()
    expand_exceptions: bool = False
    expand_extensions: frozenset[str] | None = None
    comparisons: tuple[Comparison, ...] = ()
    property_tests: tuple[PropertyTest, ...] = ()
    extension_tests: tuple[str, ...] = ()


LIST_OPTIONS = frozenset({"$top", "$skip", "$count", "$orderby", "$select", "$expand", "$filter"})
ITEM_OPTIONS = frozenset({"$select", "$expand"})
NO_QUERY = Query()
WITH_EXTENSIONS = Query(expand_extensions=frozenset())


def read_few_query(raw: str, allowed: frozenset[str], type_name: str, properties: frozenset[str]) -> Query:
    """The options on things of which there are few; without `$top` they are one page. Raises GraphError (400)."""
    options = options_of(raw, allowed)
    return Query(
        top=_number(options, "$top", PAGE_MAX_EVENTS, 1, PAGE_MAX_EVENTS),
        skip=_number(options, "$skip", 0, 0, None),
        count=_flag(options, "$count"),
        select=_select(options["$select"], type_name, properties) if "$select" in options else None,
    )


def options_of(query: str, allowed: frozenset[str]) -> dict[str, str]:
    """The `$` options of a raw query string; `+` is a plus, not a space. Others than the allowed are refused."""
    options: dict[str, str] = {}
    for part in query.split("&"):
        name, _, value = part.partition("=")
        name = urllib.parse.unquote(name)
        if not name.startswith("$"):
            continue
        if name.lower() not in allowed:
            raise bad_request(f"The query option '{name}' is not supported here.")
        if name.lower() in options:
            raise bad_request(f"Query option '{name}' was specified more than once, but it must be specified once.")
        options[name.lower()] = urllib.parse.unquote(value)
    return options


def read_query(raw: str, allowed: frozenset[str]) -> Query:
    """The options of a raw query string. Raises GraphError (400)."""
    if not raw:
        return NO_QUERY
    options = options_of(raw, allowed)
    tests = _Filter(options["$filter"]).read() if "$filter" in options else Tests()
    expansion = _expand(options["$expand"]) if "$expand" in options else Expansion()
    return Query(
        top=_number(options, "$top", PAGE_DEFAULT_EVENTS, 1, PAGE_MAX_EVENTS),
        skip=_number(options, "$skip", 0, 0, None),
        count=_flag(options, "$count"),
        order_by=_order(options["$orderby"]) if "$orderby" in options else (),
        select=_select(options["$select"], "microsoft.graph.event", KNOWN_PROPERTIES) if "$select" in options else None,
        expand=tuple(expansion.properties),
        expand_exceptions=expansion.exceptions,
        expand_extensions=expansion.extensions,
        comparisons=tuple(tests.comparisons),
        property_tests=tuple(tests.properties),
        extension_tests=tuple(tests.extensions),
    )


def _number(options: dict[str, str], name: str, default: int, low: int, high: int | None) -> int:
    text = options.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 9 or int(text) < low:
        raise bad_request(f"Invalid value '{text}' for {name} query option found.")
    if high is not None and int(text) > high:
        raise bad_request(
            f"The limit of '{high}' for {name} query has been exceeded. "
            f"The value from the incoming request is '{text}'."
        )
    return int(text)


def _flag(options: dict[str, str], name: str) -> bool:
    text = options.get(name, "false").lower()
    if text not in ("true", "false"):
        raise bad_request(f"Invalid value '{text}' for {name} query option found.")
    return text == "true"


def _select(text: str, type_name: str, properties: frozenset[str]) -> frozenset[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in properties:
            raise unparsable_uri(f"Could not find a property named '{name}' on type '{type_name}'.")
    return frozenset(names)


def _order(text: str) -> tuple[tuple[str, bool], ...]:
    order: list[tuple[str, bool]] = []
    for part in text.split(","):
        path, _, direction = part.strip().partition(" ")
        direction = direction.strip().lower()
        if path not in _ORDERED or direction not in ("", "asc", "desc"):
            raise unparsable_uri(f"The $orderby expression '{text}' is not supported.")
        order.append((path, direction == "desc"))
    return tuple(order)


def _expand(text: str) -> Expansion:
    expansion = Expansion()
    for part in _split_outside_brackets(text):
        if part == "exceptionOccurrences":
            expansion.exceptions = True
        elif found := _EXPAND.fullmatch(part):
            expansion.properties += [canonical_id(wanted) for wanted in _wanted_ids(found.group(1))]
        elif found := _EXPAND_EXTENSIONS.fullmatch(part):
            wanted = _wanted_ids(found.group(1)) if found.group(1) else []
            expansion.extensions = frozenset(name_of(extension_id) for extension_id in wanted)
        else:
            # Without a filter extended properties cannot be listed; other navigation properties are not held.
            raise unparsable_uri(f"The $expand expression '{text}' is not supported.")
    return expansion


def _wanted_ids(text: str) -> list[str]:
    """The ids in `id eq '...' or id eq '...'`."""
    reader = _Filter(text)
    wanted = [reader.identifier_test("id")]
    while reader.take_if("or"):
        wanted.append(reader.identifier_test("id"))
    reader.end()
    return wanted


def _split_outside_brackets(text: str) -> list[str]:
    parts, depth, quoted, begin = [], 0, False, 0
    for at, character in enumerate(text):
        if character == "'":
            quoted = not quoted
        elif not quoted and character in "()":
            depth += 1 if character == "(" else -1
        elif character == "," and not quoted and depth == 0:
            parts.append(text[begin:at].strip())
            begin = at + 1
    return [*parts, text[begin:].strip()]


class _Filter:
    """A reader of filter expressions: comparisons and extended-property tests joined by `and`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[str] = []
        at = 0
        while at < len(text) and text[at:].strip():
            found = _TOKEN.match(text, at)
            if found is None:
                raise self._refused()
            self._tokens.append(found.group(1))
            at = found.end()
        self._at = 0

    def _refused(self) -> GraphError:
        return unparsable_uri(f"Invalid filter clause: '{self._text}'.")

    def _take(self) -> str:
        if self._at >= len(self._tokens):
            raise self._refused()
        self._at += 1
        return self._tokens[self._at - 1]

    def _expect(self, token: str) -> None:
        if self._take().lower() != token.lower():
            raise self._refused()

    def take_if(self, token: str) -> bool:
        """Takes the next token if it is this one."""
        if self._at < len(self._tokens) and self._tokens[self._at].lower() == token:
            self._at += 1
            return True
        return False

    def end(self) -> None:
        """Refuses anything left over."""
        if self._at != len(self._tokens):
            raise self._refused()

    def _string(self) -> str:
        token = self._take()
        if not token.startswith("'"):
            raise self._refused()
        return token[1:-1].replace("''", "'")

    def _operator(self) -> str:
        token = self._take()
        if token not in _OPERATORS:
            raise self._refused()
        return token

    def identifier_test(self, path: str) -> str:
        """`path eq '<id>'`, as the id."""
        self._expect(path)
        self._expect("eq")
        return self._string()

    def read(self) -> Tests:
        """The whole expression."""
        tests = Tests()
        while True:
            path = self._take()
            if path.lower() == "singlevalueextendedproperties/any":
                tests.properties.append(self._any())
            elif path.lower() == "extensions/any":
                tests.extensions.append(self._any_extension())
            elif path in _COMPARED:
                tests.comparisons.append(self._comparison(path))
            else:
                raise self._refused()
            if not self.take_if("and"):
                break
        self.end()
        return tests

    def _comparison(self, path: str) -> Comparison:
        operator = self._operator()
        if path not in INSTANTS:
            return Comparison(path, operator, self._string())
        literal = self._take()
        if not re.fullmatch(_DATE_TIME_OFFSET, literal, re.IGNORECASE):
            raise self._refused()
        try:
            return Comparison(path, operator, literal, datetime.fromisoformat(literal.upper()).astimezone(UTC))
        except (ValueError, OverflowError):
            raise self._refused() from None

    def _any_extension(self) -> str:
        self._expect("(")
        variable = self._take()
        self._expect(":")
        extension_id = self.identifier_test(f"{variable}/id")
        self._expect(")")
        return name_of(extension_id)

    def _any(self) -> PropertyTest:
        self._expect("(")
        variable = self._take()
        self._expect(":")
        property_id = canonical_id(self.identifier_test(f"{variable}/id"))
        self._expect("and")
        test = self._value_test(property_id, f"{variable}/value")
        self._expect(")")
        return test

    def _value_test(self, property_id: str, path: str) -> PropertyTest:
        first = self._take()
        if first == path:
            operator = self._take()
            if operator not in ("eq", "ne"):
                raise self._refused()
            return PropertyTest(property_id, operator, self._string())
        if first in ("contains", "startswith"):
            self._expect("(")
            self._expect(path)
            self._expect(",")
            value = self._string()
            self._expect(")")
            return PropertyTest(property_id, first, value)
        if first != "cast":
            raise self._refused()
        self._expect("(")
        self._expect(path)
        self._expect(",")
        if self._take() not in _NUMBER_TYPES:
            raise self._refused()
        self._expect(")")
        operator, literal = self._operator(), self._take()
        try:
            return PropertyTest(property_id, operator, literal, float(literal))
        except ValueError:
            raise self._refused() from None
