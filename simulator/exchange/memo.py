"""What was made of a mailbox's content, kept until the next write, so that the pages of one answer are made once."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")

KEPT_MAX_VALUES = 4


@dataclass(slots=True)
class Memo:
    """The newest few values by key. A value is never handed out after a write; its holders must not change it."""

    _seq: int = -1
    _values: dict[Hashable, Any] = field(default_factory=dict)

    def get(self, key: Hashable, seq: int, make: Callable[[], T]) -> T:
        """The value of this key as of the write `seq`, made if it is not kept. A key always has values of one type."""
        if seq != self._seq:
            self._seq = seq
            self._values.clear()
        if key in self._values:
            kept: T = self._values[key]
            return kept
        while len(self._values) >= KEPT_MAX_VALUES:
            del self._values[next(iter(self._values))]
        value = self._values[key] = make()
        return value
