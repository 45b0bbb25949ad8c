"""Field types that every event model shares: names, identifiers, moments, with their limits.

Only types and their validators live here; what fields mean together is said by the models.
"""

from datetime import date, datetime
from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

REVISION_MAX = 2**63 - 1
ASSIGNEES_MAX = 200
PROJECTS_MAX = 1_000
DURATION_MAX_MINUTES = 366 * 24 * 60
REMINDER_MAX_MINUTES = 40_320  # four weeks
EARLIEST_YEAR, LATEST_YEAR = 1970, 2099

_ZONES = frozenset(available_timezones())


class Model(BaseModel):
    """A frozen value. Fields that a newer publisher adds are ignored, so that older readers go on working."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", str_strip_whitespace=True, use_attribute_docstrings=True
    )


def _no_nul(text: str) -> str:
    # PostgreSQL cannot store U+0000: refused here, the field is named; later, it would fail a whole batch.
    if "\x00" in text:
        raise ValueError("must not contain the character U+0000")
    return text


def _known_zone(name: str) -> str:
    if name not in _ZONES:
        raise ValueError("is not an IANA time zone name such as Europe/Amsterdam")
    return name


def _in_range(moment: datetime | date) -> datetime | date:
    if not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
        raise ValueError(f"must lie in the years {EARLIEST_YEAR} to {LATEST_YEAR}")
    return moment


Identifier = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[^\x00-\x20\x7f/][^\x00-\x1f\x7f/]*$"),
    Field(description="An opaque name: up to 128 characters, no control characters, no slash."),
]
ShortText = Annotated[str, StringConstraints(max_length=255), AfterValidator(_no_nul)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_no_nul)]
LongText = Annotated[
    str, StringConstraints(max_length=32_000, strip_whitespace=False), AfterValidator(_no_nul)
]
Link = Annotated[str, StringConstraints(max_length=2_048, pattern=r"^https?://[^\s\x00]+$")]
Mailbox = Annotated[
    str,
    StringConstraints(max_length=320, pattern=r"^[^@\s\x00/]+@[^@\s\x00/]+$"),
    Field(description="The mailbox's address or user principal name."),
]
Directory = Annotated[
    str,
    StringConstraints(to_lower=True, max_length=255, pattern=r"^[0-9A-Za-z][0-9A-Za-z.-]*$"),
    Field(description="The Microsoft Entra directory (tenant): its id (a GUID) or a verified domain."),
]
Revision = Annotated[int, Field(ge=1, le=REVISION_MAX)]
TimeZone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_known_zone)]
Moment = Annotated[date | datetime, AfterValidator(_in_range)]
