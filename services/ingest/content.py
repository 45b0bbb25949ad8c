"""What an entry says: an item in the words of a calendar. Pure."""

from datetime import date, datetime

from calbus.entry import Content, ShowAs
from calbus.values import value
from schemas.items import ItemUpserted, Status
from schemas.switches import ProjectSettings, TenantSettings
from services.ingest.recurrences import Refusal, series_of
from services.ingest.shortening import shorten
from services.ingest.texts import texts_in
from services.ingest.times import slot_of
from services.ingest.wording import plain, word

PLACE_MAX_UNITS = 255

# The names that Outlook has for blue, orange, green and gray: Microsoft docs "outlookcategory".
COLORS = {
    Status.OPEN: "preset7",
    Status.ACTIVE: "preset1",
    Status.COMPLETED: "preset4",
    Status.CANCELLED: "preset12",
}
# Work that is over, or will not happen, takes none of the person's time.
_OVER = frozenset((Status.COMPLETED, Status.CANCELLED))


@value
class Draft:
    """What the entry should say, and what upstream should hear of how it came about; usually nothing."""

    content: Content
    notice: str = ""


def draft_of(
    item: ItemUpserted, start: datetime | date, tenant: TenantSettings, project: ProjectSettings | None
) -> Draft | Refusal:
    """The entry for an item that starts at `start`. What is too long is shortened, only a recurrence refused."""
    default_minutes = (project and project.default_duration_minutes) or tenant.default_duration_minutes
    recurrence = None
    if item.recurrence is None:
        slot = slot_of(item, start, tenant.time_zone, default_minutes)
    else:
        series = series_of(item, start, tenant.time_zone, default_minutes)
        if isinstance(series, Refusal):
            return series
        slot, recurrence = series.slot, series.recurrence
    texts = texts_in(tenant.locale)
    wording = word(item, texts, project, subject_template=tenant.subject_template, body_template=tenant.body_template)
    content = Content(
        subject=wording.subject,
        body=wording.body,
        start=slot.start,
        end=slot.end,
        time_zone=slot.time_zone,
        all_day=item.all_day,
        show_as=ShowAs.FREE if item.status in _OVER else ShowAs.BUSY,
        importance=item.priority,
        private=item.private,
        category=texts.status[item.status],
        color=COLORS[item.status],
        reminder_minutes=item.reminder_minutes,
        place=shorten(plain(item.place), PLACE_MAX_UNITS),
        recurrence=recurrence,
    )
    return Draft(content, wording.notice)
