"""What the contract lets upstream publish, as hypothesis strategies, and plain examples of each model."""

from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import available_timezones

from hypothesis import strategies as st

from calbus.entry import Content, ShowAs
from schemas.items import ActionUpserted, Client, ContactKind, ContactUpserted, ItemUpserted, Priority, Status
from schemas.switches import AccountSettings, Direction, ProjectSettings, TenantSettings

TENANT, SOURCE, PROJECT, ASSIGNEE = "contoso", "planner", "north", "anna"

ZONES = sorted(available_timezones() - {"localtime", "Factory"})
# Half and quarter hours, daylight saving in both hemispheres and in the negative, a skipped day, a skipped midnight.
ODD_ZONES = (
    "Europe/Amsterdam",
    "Europe/Dublin",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "America/St_Johns",
    "Africa/Casablanca",
    "Africa/Cairo",
    "Pacific/Apia",
    "Pacific/Chatham",
    "America/Sao_Paulo",
    "UTC",
)
# When clocks change: back and forth, by an hour and by half of one, and by a day.
CHANGES = (
    ("Europe/Amsterdam", datetime(2026, 10, 25, 2, 30)),
    ("Europe/Amsterdam", datetime(2027, 3, 28, 2, 30)),
    ("Europe/Dublin", datetime(2026, 10, 25, 1, 30)),
    ("Europe/Dublin", datetime(2027, 3, 28, 1, 30)),
    ("Australia/Lord_Howe", datetime(2026, 4, 5, 1, 45)),
    ("Australia/Lord_Howe", datetime(2026, 10, 4, 2, 15)),
    ("Africa/Casablanca", datetime(2026, 2, 15, 2, 30)),
    ("Africa/Casablanca", datetime(2026, 3, 22, 2, 30)),
    ("America/St_Johns", datetime(2026, 11, 1, 1, 30)),
    ("Pacific/Apia", datetime(2011, 12, 30, 12, 0)),
    ("America/Sao_Paulo", datetime(2018, 11, 4, 0, 30)),
)


def upserted(**fields: Any) -> ActionUpserted:
    """An action, assigned to ASSIGNEE, with these fields."""
    return ActionUpserted.model_validate(
        {
            "tenant": TENANT,
            "source": SOURCE,
            "id": "A-1",
            "revision": 1,
            "title": "Call back",
            "assignees": (ASSIGNEE,),
            **fields,
        }
    )


def tenant(**fields: Any) -> TenantSettings:
    """An enabled tenant."""
    return TenantSettings.model_validate(
        {"tenant": TENANT, "revision": 1, "enabled": True, "directory": "contoso.example", **fields}
    )


def project(**fields: Any) -> ProjectSettings:
    """An enabled project."""
    return ProjectSettings.model_validate(
        {"tenant": TENANT, "revision": 1, "project": PROJECT, "enabled": True, **fields}
    )


def account(**fields: Any) -> AccountSettings:
    """ASSIGNEE's account, which synchronises up."""
    given = {"tenant": TENANT, "revision": 1, "user": ASSIGNEE, "mailbox": f"{ASSIGNEE}@contoso.example"}
    return AccountSettings.model_validate(given | {"allowed": True, **fields})


def content(**fields: Any) -> Content:
    """A timed entry in Amsterdam."""
    given: dict[str, Any] = {
        "subject": "○ Call back",
        "body": "",
        "start": datetime(2026, 11, 23, 9, 0),
        "end": datetime(2026, 11, 23, 9, 30),
        "time_zone": "Europe/Amsterdam",
        "all_day": False,
        "show_as": ShowAs.BUSY,
        "importance": "normal",
        "private": False,
        "category": "Open",
        "reminder_minutes": None,
        "place": "",
    }
    return Content(**given | fields)


zones = st.sampled_from(ODD_ZONES) | st.sampled_from(ZONES)

# Any character that PostgreSQL and JSON carry.
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"))
titles = texts.filter(str.strip)
identifiers = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x2FF, exclude_characters="/\x7f"), min_size=1
).map(lambda text: text.strip() or "x")
mailboxes = st.builds(
    "{}@{}".format,
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x17F, exclude_characters="@/\x7f\x85\xa0"), min_size=1),
    st.just("contoso.example"),
)

around = st.sampled_from((0, 0, -60, 60, -30, 30)).map(lambda minutes: timedelta(minutes=minutes)) | st.timedeltas(
    timedelta(days=-1), timedelta(days=1)
)
wall_clocks = st.one_of(
    st.builds(lambda change, shift: change[1] + shift, st.sampled_from(CHANGES), around),
    st.datetimes(datetime(1970, 1, 1), datetime(2099, 12, 31)),
)
offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
lengths = st.one_of(
    st.timedeltas(timedelta(0), timedelta(hours=3)),
    st.timedeltas(timedelta(0), timedelta(days=366)),
    st.just(timedelta(0)),
)
half_hours = st.sampled_from((timedelta(0), timedelta(minutes=30), timedelta(hours=1), timedelta(days=1)))


def _fits(moment: date) -> bool:
    return 1970 <= moment.year <= 2099


@st.composite
def timed(draw: st.DrawFn) -> dict[str, Any]:
    """Start, and end or duration, of an item that takes hours."""
    if draw(st.booleans()):
        zone, change = draw(st.sampled_from(CHANGES))
        start = change + draw(around)
    else:
        zone, start = draw(st.none() | zones), draw(wall_clocks)
    if draw(st.booleans()):
        start = start.replace(tzinfo=draw(offsets))
    fields: dict[str, Any] = {"start": start, "time_zone": zone}
    match draw(st.sampled_from(("end", "duration", "neither"))):
        case "end" if _fits(end := start + draw(half_hours | lengths)):
            fields["end"] = end.astimezone(draw(offsets)) if end.tzinfo else end
            if not _fits(fields["end"]):
                del fields["end"]
        case "duration":
            fields["duration"] = draw(half_hours | lengths)
    return fields


@st.composite
def whole_days(draw: st.DrawFn) -> dict[str, Any]:
    """The same of one that takes whole days: dates and times in any mixture."""

    def form(moment: datetime) -> date | datetime:
        match draw(st.sampled_from(("date", "wall clock", "instant"))):
            case "date":
                return moment.date()
            case "instant":
                return moment.replace(tzinfo=draw(offsets))
        return moment

    start = draw(wall_clocks)
    fields: dict[str, Any] = {"start": form(start), "all_day": True, "time_zone": draw(st.none() | zones)}
    match draw(st.sampled_from(("end", "duration", "neither"))):
        case "end":
            end = start + draw(half_hours | st.timedeltas(timedelta(0), timedelta(days=365)))
            if _fits(end):
                fields["end"] = form(end)
        case "duration":
            fields["duration"] = draw(half_hours | lengths)
    return fields


@st.composite
def items(draw: st.DrawFn, times: st.SearchStrategy[dict[str, Any]] | None = None) -> ItemUpserted:
    """Any item with a start that ingest accepts."""
    fields: dict[str, Any] = {
        "tenant": TENANT,
        "source": SOURCE,
        "id": draw(identifiers)[:128],
        "revision": draw(st.integers(1, 2**63 - 1)),
        "title": draw(titles)[:500],
        "description": draw(texts),
        "link": draw(st.none() | st.just("https://planner.example/a/1")),
        "status": draw(st.sampled_from(Status)),
        "project": draw(st.none() | st.just(PROJECT)),
        "assignees": draw(st.sampled_from(((ASSIGNEE,), (ASSIGNEE, "bob"), ("bob",), ()))),
        "place": draw(texts)[:255],
        "priority": draw(st.sampled_from(Priority)),
        "reminder_minutes": draw(st.none() | st.integers(0, 40_320)),
        "private": draw(st.booleans()),
        "recurrence": draw(st.none() | st.just("RRULE:FREQ=DAILY")),
        **draw(times if times is not None else timed() | whole_days()),
    }
    if not fields["title"].strip():
        fields["title"] = "x"
    if draw(st.booleans()):
        return ActionUpserted.model_validate(fields)
    client = draw(st.none() | st.builds(Client, name=titles.map(lambda name: name.strip()[:255])))
    return ContactUpserted.model_validate(
        fields | {"client": client, "contact_kind": draw(st.sampled_from(ContactKind))}
    )


def _rule(parts: dict[str, str | None]) -> str:
    return "RRULE:" + ";".join(f"{name}={value}" for name, value in parts.items() if value is not None)


# Moments as RFC 5545 writes them, the ends of the calendar among them, where a zone's offset leads out of it.
_rfc_moments = st.sampled_from(
    (
        *("00010101", "99991231", "19700101", "20991231", "21991231", "22000101", "20261201", "20261201T090000"),
        *("00010101T000000Z", "99991231T235959Z", "00010101T000000", "99991231T235959", "21991231T235959Z"),
        "20270328T023000",
    )
) | st.datetimes().map(lambda moment: f"{moment:%Y%m%dT%H%M%S}".rjust(15, "0"))
_rules = st.fixed_dictionaries(
    {
        "FREQ": st.sampled_from(("DAILY", "WEEKLY", "MONTHLY", "YEARLY")),
        "INTERVAL": st.none() | st.sampled_from(("1", "2", "8", "99", "999")),
        "COUNT": st.none() | st.sampled_from(("1", "2", "999", "3660", "99999")),
        "UNTIL": st.none() | _rfc_moments,
        "BYDAY": st.none() | st.sampled_from(("MO", "MO,TU,WE,TH,FR", "1MO", "-1SU", "5FR", "SA,SU")),
        "BYMONTHDAY": st.none() | st.sampled_from(("1", "29", "30", "31", "-1")),
        "BYMONTH": st.none() | st.sampled_from(("1", "2", "12", "2,3")),
        "BYSETPOS": st.none() | st.sampled_from(("1", "-1", "2")),
        "WKST": st.none() | st.sampled_from(("SU", "MO")),
    }
)


def _sparse(rule: dict[str, str | None], kept: set[str]) -> dict[str, str | None]:
    # With all parts at once nearly every rule would be refused at the first.
    return {name: value for name, value in rule.items() if name == "FREQ" or name in kept}


_sparse_rules = st.builds(
    _sparse,
    _rules,
    st.sets(st.sampled_from(("INTERVAL", "COUNT", "UNTIL", "BYDAY", "BYMONTHDAY", "BYMONTH", "BYSETPOS"))),
)
_exclusions = st.builds(
    lambda zone, moments: f"EXDATE{f';TZID={zone}' if zone else ''}:{','.join(moments)}",
    st.none() | st.sampled_from((*ODD_ZONES, "Pacific/Kiritimati", "Etc/GMT+12", "Nowhere", "../../etc/passwd")),
    st.lists(_rfc_moments, min_size=1, max_size=3),
)
# What publishers might write, well or badly; the contract admits any text.
wild_recurrences = st.one_of(
    st.builds(lambda excluded: f"RRULE:FREQ=WEEKLY;COUNT=3\n{excluded}", _exclusions),
    st.builds(lambda until: f"RRULE:FREQ=DAILY;UNTIL={until}", _rfc_moments),
    st.builds(
        lambda rule, excluded: "\n".join((_rule(rule), *excluded)), _sparse_rules, st.lists(_exclusions, max_size=2)
    ),
    texts.map(lambda text: text[:2_000]),
)


@st.composite
def wild_series(draw: st.DrawFn) -> ItemUpserted:
    """Any recurring item that the contract admits."""
    item = draw(items())

    def moment(near: datetime | date) -> str:
        shift = draw(st.sampled_from((0, 1, 7, 365)) | st.integers(-400, 400))
        moved = near + timedelta(days=shift) if _fits(near + timedelta(days=shift)) else near
        if isinstance(moved, datetime) and draw(st.booleans()):
            moved = moved.replace(tzinfo=draw(offsets))
        return (moved.date() if isinstance(moved, datetime) and draw(st.booleans()) else moved).isoformat()

    assert item.start is not None
    occurrences: dict[str, dict[str, Any]] = {}
    for _ in range(draw(st.integers(0, 3))):
        original = moment(item.start)
        occurrences[original] = {"original_start": original}
        if draw(st.booleans()):
            occurrences[original]["cancelled"] = True
        else:
            occurrences[original] |= {"start": moment(item.start), "duration": draw(st.none() | lengths)}
    fields = item.model_dump() | {"recurrence": draw(wild_recurrences)}
    try:
        return type(item).model_validate(fields | {"occurrences": tuple(occurrences.values())})
    except ValueError:  # two spellings of one moment
        return type(item).model_validate(fields)


tenants = st.builds(
    tenant, enabled=st.booleans(), time_zone=zones, default_duration_minutes=st.integers(5, 366 * 24 * 60)
)
projects = st.builds(project, enabled=st.booleans(), default_duration_minutes=st.none() | st.integers(5, 366 * 24 * 60))
accounts = st.builds(
    account,
    allowed=st.booleans(),
    blocked=st.booleans(),
    direction=st.sampled_from(Direction),
    projects=st.sampled_from((None, (), (PROJECT,), ("other",))),
)
