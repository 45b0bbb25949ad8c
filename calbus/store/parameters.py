"""Values as they go to PostgreSQL by the thousand, in the form that costs the driver least. Pure."""

from collections.abc import Iterable
from datetime import datetime

# No part of a name contains it (schemas.fields.Identifier).
SEPARATOR = "/"


def columns(names: Iterable[tuple[str, ...]]) -> list[str]:
    """Each part of many names as one text, to be taken apart by `string_to_array`; there must be one name at least.

    Of each element of an array the driver asks, by abstract base classes, whether it is an array itself.
    """
    return [SEPARATOR.join(parts) for parts in zip(*names, strict=True)]


def seconds(moment: datetime | None) -> float | None:
    """For `to_timestamp`, which gives the same moment back; outside of 1950 to 2100, within a few microseconds."""
    return moment.timestamp() if moment is not None else None
