"""The planning decision: an item, an assignee and the settings give what should stand in the calendar, or why not.

Pure. The order of the questions is the order in which a person would want to hear the answers.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from calbus.entry import Content, Intent, Place
from calbus.overrides import Override, overridden, times_digest
from calbus.values import value
from schemas.items import ItemUpserted
from schemas.reasons import Reason
from schemas.switches import (
    AccountSettings,
    AccountUnlinked,
    Assigning,
    Backfill,
    Leftovers,
    ProjectSettings,
    TenantSettings,
)
from services.ingest.content import draft_of
from services.ingest.recurrences import Refusal


@value
class Switches:
    """The settings that bear on one entry; None where there is no such setting."""

    tenant: TenantSettings | None
    project: ProjectSettings | None
    account: AccountSettings | AccountUnlinked | None
    owner: AccountSettings | AccountUnlinked | None = None
    """The account of the item's owner."""
    activated_at: datetime | None = None
    """When the assignee's account was activated; None leaves nothing out for its age."""


@value
class Standing:
    """What is known of the entry itself: since when the item is this assignee's, and whether an event may stand.

    `overrides`: the times that its user gave it and that were accepted.
    """

    since: datetime | None = None
    may_exist: bool = False
    overrides: tuple[Override, ...] = ()


@value
class Decision:
    """What should stand in the calendar. `place` and `content` are set if and only if the intent is `present`."""

    intent: Intent
    reason: Reason
    place: Place | None = None
    content: Content | None = None
    assigner: str | None = None
    """The mailbox whose owner must have edit access; None if nobody has to be asked."""
    notice: str = ""
    """What else upstream should hear."""
    overrides_end: bool = False
    """Upstream changed the times: the user's are over."""


_NEW = Standing()


def decide(item: ItemUpserted | None, assignee: str, switches: Switches, standing: Standing = _NEW) -> Decision:
    """Plan one entry; `item` is None if it was deleted.

    While a switch is off, nothing is written and nothing removed: off is off. An item that leaves a calendar for a
    reason of its own is removed from it as soon as the switches allow.
    """
    off = _switched_off(switches)
    if item is None:
        return Decision(_away(off, switches), Reason.DELETED)
    if assignee not in item.assignees:
        return Decision(_away(off, switches), Reason.UNASSIGNED)
    if off is not None:
        return Decision(_away(off, switches), off)
    if item.start is None:
        return Decision(Intent.ABSENT, Reason.NO_START)
    tenant, account = switches.tenant, switches.account
    assert tenant is not None
    assert isinstance(account, AccountSettings)
    if item.project is not None and (unwanted := _unwanted(item.project, switches.project, account)) is not None:
        return Decision(Intent.ABSENT, unwanted)
    draft = draft_of(item, item.start, tenant, switches.project)
    if isinstance(draft, Refusal):
        return Decision(Intent.HOLD, Reason.RECURRENCE_NOT_SUPPORTED, notice=draft.says)
    content = draft.content
    if tenant.backfill is not Backfill.ALL and _too_old(content, tenant.backfill, switches.activated_at, standing):
        return Decision(Intent.ABSENT, Reason.BEFORE_ACTIVATION)
    assigner = None
    if item.owner not in (None, assignee) and tenant.assigning is Assigning.EDIT_ACCESS:
        if not isinstance(switches.owner, AccountSettings):
            return Decision(Intent.HOLD, Reason.OWNER_HAS_NO_ACCOUNT)
        if switches.owner.mailbox.casefold() != account.mailbox.casefold():
            assigner = switches.owner.mailbox
    place = Place(tenant.directory, account.mailbox, account.calendar)
    ended = False
    if standing.overrides:
        kept = _kept(content, standing.overrides)
        content, ended = overridden(content, kept), len(kept) < len(standing.overrides)
    return Decision(Intent.PRESENT, Reason.WRITTEN, place, content, assigner, draft.notice, ended)


def _kept(content: Content, overrides: tuple[Override, ...]) -> tuple[Override, ...]:
    """Those that were made of these very times of upstream's."""
    upstream = times_digest(content)
    return tuple(override for override in overrides if override.upstream == upstream)


def _too_old(content: Content, backfill: Backfill, activated_at: datetime | None, standing: Standing) -> bool:
    """Whether the cut-off leaves the item out: what stands already is kept up, whatever its age."""
    if standing.may_exist or activated_at is None or standing.since is None:
        return False
    if standing.since >= activated_at:
        return False
    if backfill is Backfill.NONE:
        return True
    end = _last_end(content)
    return end is not None and end.replace(tzinfo=ZoneInfo(content.time_zone)).astimezone(UTC) <= activated_at


def _last_end(content: Content) -> datetime | None:
    """When the entry, or its last occurrence, is over; None if it recurs for ever."""
    if content.recurrence is None:
        return content.end
    until = content.recurrence.range.until
    return content.end + (until - content.start.date()) if until is not None else None


def _switched_off(switches: Switches) -> Reason | None:
    tenant, account = switches.tenant, switches.account
    if tenant is None or not tenant.enabled:
        return Reason.TENANT_NOT_ENABLED
    if account is None:
        return Reason.NO_ACCOUNT
    if type(account) is AccountUnlinked:
        return Reason.ACCOUNT_UNLINKED
    assert isinstance(account, AccountSettings)
    if not account.allowed:
        return Reason.ACCOUNT_NOT_ALLOWED
    if account.blocked:
        return Reason.ACCOUNT_BLOCKED
    if not account.direction.writes:
        return Reason.DIRECTION_NOT_UP
    return None


def _away(off: Reason | None, switches: Switches) -> Intent:
    """What becomes of an entry that is no longer wanted: it goes, unless a switch is off."""
    account = switches.account
    # Whoever unlinked the account may want its entries gone.
    to_be_cleared = (
        off is Reason.ACCOUNT_UNLINKED and isinstance(account, AccountUnlinked) and account.entries is Leftovers.REMOVE
    )
    return Intent.ABSENT if off is None or to_be_cleared else Intent.HOLD


def _unwanted(name: str, project: ProjectSettings | None, account: AccountSettings) -> Reason | None:
    """Why items of this project are not written for the account."""
    if project is None or not project.enabled:
        return Reason.PROJECT_NOT_ENABLED
    if account.projects is not None and name not in account.projects:
        return Reason.PROJECT_NOT_SELECTED
    return None
