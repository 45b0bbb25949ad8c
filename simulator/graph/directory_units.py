"""What a call to the directory costs, in resource units.

Source: Microsoft docs "throttling-limits", identity and access.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

from simulator.graph import membership
from simulator.graph.task import Operation

UNITS_MIN = 1
CHEAP_TOP_BELOW_ITEMS = 20
# By what performs it, since operations share names; everything else costs one.
_BASE_UNITS: dict[Callable[..., Any], int] = {
    membership.check_member_groups: 4,
    membership.check_member_objects: 4,
    membership.get_member_groups: 2,
    membership.list_member_of: 2,
    membership.list_transitive_member_of: 2,
    membership.list_members: 3,
    membership.list_transitive_members: 5,
}


def directory_units(operation: Operation, query: str) -> int:
    """The units of a call with this raw query: less with `$select` and a small `$top`, more with `$expand`."""
    options = {name.lower(): value for name, value in parse_qsl(query, keep_blank_values=True)}
    top = options.get("$top", "")
    units = _BASE_UNITS.get(operation.perform, 1)
    units -= "$select" in options
    units += "$expand" in options
    units -= top.isascii() and top.isdigit() and int(top[:9]) < CHEAP_TOP_BELOW_ITEMS
    return max(UNITS_MIN, units)
