"""Field types that every event model shares: names, identifiers, moments, with their limits.

Only types and their validators live here; what fields mean together is said by the models.
"""

import re
from datetime import date, datetime, timedelta
from functools import lru_cache
from operator import methodcaller
from typing import Annotated, Any, Self
from zoneinfo import available_timezones

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    SerializerFunctionWrapHandler,
    StringConstraints,
    WithJsonSchema,
    WrapSerializer,
)

REVISION_MAX = 2**63 - 1
ASSIGNEES_MAX = 200
PROJECTS_MAX = 1_000
OCCURRENCES_MAX = 200
DOWN_CALENDARS_MAX = 20
DURATION_MAX_MINUTES = 366 * 24 * 60
REMINDER_MAX_MINUTES = 40_320  # four weeks
EARLIEST_YEAR, LATEST_YEAR = 1970, 2099

# Python's `re` and ECMA-262, the dialect of JSON Schema, read each of these patterns alike.
_DATE = r"(?:19[7-9][0-9]|20[0-9]{2})-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?"
_OFFSET = r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
_MOMENT = re.compile(f"{_DATE}(?:T{_CLOCK}{_OFFSET})?")
_DURATION = re.compile(
    r"P(?=[0-9T])(?:[0-9]{1,3}W)?(?:[0-9]{1,3}D)?"
    r"(?:T(?=[0-9])(?:[0-9]{1,4}H)?(?:[0-9]{1,6}M)?(?:[0-9]{1,8}(?:\.[0-9]{1,6})?S)?)?"
)

# "localtime" means another zone on every machine, and "Factory" means none.
_ZONES = frozenset(available_timezones() - {"localtime", "Factory"})


class Model(BaseModel):
    """A frozen value. Fields that a newer publisher adds are ignored, so that older readers go on working."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,
        str_strip_whitespace=True,
        use_attribute_docstrings=True,
        # What calbus publishes always carries every field, so that its readers may rely on them.
        json_schema_serialization_defaults_required=True,
    )

    @classmethod
    def read_json(cls, data: str | bytes) -> Self:
        """What `model_validate_json` gives and raises, without its questions about options: for what comes by the
        thousand."""
        model: Self = cls.__pydantic_validator__.validate_json(data)
        return model


def _no_nul(text: str) -> str:
    # PostgreSQL cannot store U+0000: refused here, the field is named; later, it would fail a whole batch.
    if "\x00" in text:
        raise ValueError("must not contain the character U+0000")
    return text


def _known_zone(name: str) -> str:
    if name not in _ZONES:
        raise ValueError("is not an IANA time zone name such as Europe/Amsterdam")
    return name


def _moment(given: Any) -> date | datetime:
    moment = _written_moment(given) if isinstance(given, str) else given
    if isinstance(moment, date) and EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
        return moment
    raise ValueError(
        f"is not a date (2026-03-31) or a time (2026-03-31T09:00, 2026-03-31T09:00:00+02:00) "
        f"in the years {EARLIEST_YEAR} to {LATEST_YEAR}"
    )


# People begin at full hours and quarters, and items are of the weeks around today: most moments were read before.
@lru_cache(maxsize=8_192)
def _written_moment(text: str) -> date | datetime | None:
    # pydantic alone would take 20260301, as a number or as text, for seconds since 1970.
    if not _MOMENT.fullmatch(text):
        return None
    return (datetime if "T" in text else date).fromisoformat(text)


def _written_as_duration(given: Any) -> Any:
    # pydantic alone would take the number 45 for seconds, and P1M (a slip for PT1M) for thirty days.
    if isinstance(given, timedelta) or (isinstance(given, str) and _DURATION.fullmatch(given)):
        return given
    raise ValueError("is not an ISO 8601 duration in weeks, days, hours, minutes and seconds, such as PT45M")


def _short_enough(taken: timedelta) -> timedelta:
    if not timedelta(0) <= taken <= timedelta(minutes=DURATION_MAX_MINUTES):
        raise ValueError("must lie between zero and 366 days")
    return taken


def _without_years(taken: timedelta, write: SerializerFunctionWrapHandler) -> str:
    # pydantic alone would write 366 days as P1Y1D.
    if taken.days < 365:
        return str(write(taken))
    time = write(timedelta(seconds=taken.seconds, microseconds=taken.microseconds))
    return f"P{taken.days}D{time.removeprefix('P')}"


Identifier = Annotated[
    str,
    StringConstraints(min_length=1, max_length=128, pattern=r"^[^\s\x00-\x1f\x7f/][^\x00-\x1f\x7f/]*$"),
    Field(title="Identifier"),
]
Flag = Annotated[bool, Field(strict=True)]
_ANY_TEXT = Field(json_schema_extra={"pattern": r"^[^\x00]*$"})
_MORE_THAN_SPACE = Field(json_schema_extra={"pattern": r"^[^\x00]*[^\x00\s][^\x00]*$"})
ShortText = Annotated[str, StringConstraints(max_length=255), AfterValidator(_no_nul), _ANY_TEXT]
Title = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_no_nul), _MORE_THAN_SPACE]
Name = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_no_nul), _MORE_THAN_SPACE]
LongText = Annotated[
    str, StringConstraints(max_length=32_000, strip_whitespace=False), AfterValidator(_no_nul), _ANY_TEXT
]
TemplateText = Annotated[
    str, StringConstraints(max_length=8_000, strip_whitespace=False), AfterValidator(_no_nul), _ANY_TEXT
]
Recurrence = Annotated[str, StringConstraints(max_length=2_000), AfterValidator(_no_nul), _ANY_TEXT]
Link = Annotated[str, StringConstraints(max_length=2_048, pattern=r"^https?://[^\s\x00]+$"), Field(title="Web address")]
Mailbox = Annotated[
    str,
    StringConstraints(max_length=320, pattern=r"^[^@\s\x00-\x1f\x7f/]+@[^@\s\x00-\x1f\x7f/]+$"),
    Field(title="Mailbox address"),
]
Directory = Annotated[
    str,
    StringConstraints(to_lower=True, max_length=255, pattern=r"^[0-9A-Za-z][0-9A-Za-z.-]*$"),
    Field(title="Directory"),
]
Revision = Annotated[int, Field(strict=True, ge=1, le=REVISION_MAX)]
TimeZone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_known_zone), Field(title="Time zone")]
Moment = Annotated[
    date | datetime,
    PlainValidator(_moment),
    PlainSerializer(methodcaller("isoformat"), return_type=str, when_used="json"),
    # Not `date-time`: that format demands an offset, and a wall-clock time has none.
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "title": "Date",
                    "type": "string",
                    "format": "date",
                    "pattern": f"^{_DATE}$",
                    "maxLength": 10,
                },
                {
                    "title": "Time",
                    "type": "string",
                    "pattern": f"^{_DATE}T{_CLOCK}{_OFFSET}$",
                    "maxLength": 35,
                },
            ]
        }
    ),
]
Duration = Annotated[
    timedelta,
    BeforeValidator(_written_as_duration),
    AfterValidator(_short_enough),
    WrapSerializer(_without_years, when_used="json"),
    WithJsonSchema({"title": "Duration", "type": "string", "pattern": f"^{_DURATION.pattern}$", "maxLength": 40}),
]
