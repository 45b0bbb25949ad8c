"""What an entry says: an item in the words of a calendar. Pure."""

from datetime import date, datetime

from calbus.entry import Content, ShowAs
from schemas.items import ContactUpserted, ItemUpserted, Status
from schemas.switches import ProjectSettings, TenantSettings
from services.ingest.times import slot_of

SUBJECT_MAX_CHARACTERS = 255
BODY_MAX_CHARACTERS = 32_000

ICONS = {Status.OPEN: "○", Status.ACTIVE: "◐", Status.COMPLETED: "✔", Status.CANCELLED: "✖"}
CATEGORIES = {
    Status.OPEN: "Open",
    Status.ACTIVE: "Active",
    Status.COMPLETED: "Completed",
    Status.CANCELLED: "Cancelled",
}
# Work that is over, or will not happen, takes none of the person's time.
_OVER = frozenset((Status.COMPLETED, Status.CANCELLED))


def content_of(
    item: ItemUpserted, start: datetime | date, tenant: TenantSettings, project: ProjectSettings | None
) -> Content:
    """The entry for an item that starts at `start`. Too long a subject or body is shortened, never refused."""
    default_minutes = (project and project.default_duration_minutes) or tenant.default_duration_minutes
    slot = slot_of(item, start, tenant.time_zone, default_minutes)
    return Content(
        subject=_shorten(f"{ICONS[item.status]} {' '.join(item.title.split())}", SUBJECT_MAX_CHARACTERS),
        body=_body(item),
        start=slot.start,
        end=slot.end,
        time_zone=slot.time_zone,
        all_day=item.all_day,
        show_as=ShowAs.FREE if item.status in _OVER else ShowAs.BUSY,
        importance=item.priority.value,
        private=item.private,
        category=CATEGORIES[item.status],
        reminder_minutes=item.reminder_minutes,
        place=item.place,
    )


_GAP = "\n\n"


def _body(item: ItemUpserted) -> str:
    """The description is what gives way: without client and link nobody knows what the entry is about."""
    client = item.client.name if isinstance(item, ContactUpserted) and item.client else ""
    link = item.link or ""
    room = BODY_MAX_CHARACTERS - sum(len(part) + len(_GAP) for part in (client, link) if part)
    return _GAP.join(part for part in (client, _shorten(item.description, room), link) if part)


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1].rstrip()}…"
