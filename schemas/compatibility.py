"""Compares two versions of an event type's JSON Schema and says in sentences what breaks whom. Pure.

Covers what our models produce, without recursive definitions. Where it cannot tell whether two rules agree (patterns,
formats, keywords that it does not know), it takes every difference for a break: a person then looks.

Both promises come to one question, whether each value of a narrower schema is a value of a wider one:
calbus must go on accepting (old within new), and its readers must go on understanding (new within old).

By hand, because the published library (jsonsubschema) says only yes or no, takes any two formats for the same, and does
not mind a property that is gone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

UPPER = ("maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties")
LOWER = ("minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties")
WORDS = ("title", "description", "examples", "default", "deprecated", "$id", "$schema", "$defs")
COMPARED_APART = ("type", "enum", "const", "properties", "required", "items")

_NOTHING = object()


def breaks_publishers(old: Schema, new: Schema) -> list[str]:
    """What stops calbus from accepting, with the same meaning, something that the old schema let upstream publish."""
    gaps = _Comparison(narrow_root=old, wide_root=new, old_is_narrow=True).gaps("data", old, new)
    return [f"{gap}: publishers may still send what calbus no longer takes as they mean it" for gap in gaps]


def breaks_readers(old: Schema, new: Schema) -> list[str]:
    """What calbus would publish under the new schema that a reader of the old one does not understand."""
    gaps = _Comparison(narrow_root=new, wide_root=old, old_is_narrow=False).gaps("data", new, old)
    return [f"{gap}: readers may get what they do not understand" for gap in gaps]


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Finds what the narrow side allows and the wide side does not."""

    narrow_root: Schema
    wide_root: Schema
    old_is_narrow: bool

    def gaps(self, path: str, narrow: Schema, wide: Schema) -> list[str]:
        """One line for each gap; none if every value of `narrow` is one of `wide`."""
        wide_kinds = list(_kinds(wide, self.wide_root))
        found: list[str] = []
        for kind in _kinds(narrow, self.narrow_root):
            tries = [list(self._kind(path, kind, other)) for other in wide_kinds if _same_type(kind, other)]
            if tries:
                closest: list[str] = min(tries, key=len)
                found += closest
            else:
                found.append(self._said(path, "type", _types([kind]), _types(wide_kinds)))
        return found

    def _kind(self, path: str, narrow: Schema, wide: Schema) -> Iterator[str]:
        yield from self._values(path, narrow, wide)
        for keyword in wide:
            if not _as_strict(keyword, narrow, wide):
                yield self._said(path, keyword, narrow.get(keyword), wide[keyword])
        if "items" in wide:
            yield from self.gaps(f"{path}[]", narrow.get("items", {}), wide["items"])
        yield from self._properties(path, narrow, wide)

    def _values(self, path: str, narrow: Schema, wide: Schema) -> Iterator[str]:
        allowed, possible = _listed(wide), _listed(narrow)
        if allowed is None:
            return
        if possible is None:
            yield self._said(path, "enum", None, allowed)
        elif extra := [value for value in possible if value not in allowed]:
            what = "are gone" if self.old_is_narrow else "are new"
            yield f"{path}: the values {extra} {what}"

    def _properties(self, path: str, narrow: Schema, wide: Schema) -> Iterator[str]:
        ours, theirs = narrow.get("properties", {}), wide.get("properties", {})
        old, new = (narrow, wide) if self.old_is_narrow else (wide, narrow)
        for name in old.get("properties", {}):
            if name not in new.get("properties", {}):
                yield f"{path}.{name}: is gone"
                continue
            inner = f"{path}.{name}"
            yield from self.gaps(inner, ours[name], theirs[name])
            if self.old_is_narrow and name not in old.get("required", []):
                before, after = (side["properties"][name].get("default") for side in (old, new))
                if before != after:
                    yield self._said(inner, "default", before, after)
        for name in wide.get("required", []):
            if name not in narrow.get("required", []) and name in new.get("properties", {}):
                yield f"{path}.{name}: {'must now be given' if self.old_is_narrow else 'may now be left out'}"

    def _said(self, path: str, keyword: str, narrow: object, wide: object) -> str:
        before, after = (narrow, wide) if self.old_is_narrow else (wide, narrow)
        return f"{path}: `{keyword}` was {_shown(before)} and is {_shown(after)}"


def _kinds(schema: Schema, root: Schema) -> Iterator[Schema]:
    """The alternatives that a schema comes to, each with one type at most, and without references."""
    if "$ref" in schema:
        target = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
        yield from _kinds(target | {name: rule for name, rule in schema.items() if name != "$ref"}, root)
    elif "anyOf" in schema:
        shared = {name: rule for name, rule in schema.items() if name != "anyOf"}
        for kind in schema["anyOf"]:
            yield from _kinds(shared | kind, root)
    elif isinstance(schema.get("type"), list):
        for one in schema["type"]:
            yield schema | {"type": one}
    else:
        yield schema


def _same_type(narrow: Schema, wide: Schema) -> bool:
    wanted = wide.get("type")
    return wanted is None or wanted == narrow.get("type") or (wanted == "number" and narrow.get("type") == "integer")


def _types(kinds: list[Schema]) -> str:
    return " or ".join(dict.fromkeys(str(kind.get("type", "anything")) for kind in kinds))


def _listed(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return schema.get("enum")


def _as_strict(keyword: str, narrow: Schema, wide: Schema) -> bool:
    """Whether the narrow side's rule under this keyword lets through no more than the wide side's."""
    if keyword in UPPER:
        return bool(narrow.get(keyword, float("inf")) <= wide[keyword])
    if keyword in LOWER:
        return bool(narrow.get(keyword, float("-inf")) >= wide[keyword])
    if keyword in WORDS or keyword in COMPARED_APART or keyword.startswith("x-"):
        return True
    return bool(narrow.get(keyword, _NOTHING) == wide[keyword])


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)
