"""The planning decision: an item, an assignee and the settings give what should stand in the calendar, or why not.

Pure. The order of the questions is the order in which a person would want to hear the answers.
"""

from dataclasses import dataclass

from calbus.entry import Content, Intent, Place
from schemas.items import ItemUpserted
from schemas.reasons import Reason
from schemas.switches import AccountSettings, ProjectSettings, TenantSettings
from services.ingest.content import content_of


@dataclass(frozen=True, slots=True)
class Switches:
    """The settings that bear on one entry; None where there is no such setting."""

    tenant: TenantSettings | None
    project: ProjectSettings | None
    account: AccountSettings | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What should stand in the calendar. `place` and `content` are set if and only if the intent is `present`."""

    intent: Intent
    reason: Reason
    place: Place | None = None
    content: Content | None = None


def decide(item: ItemUpserted | None, assignee: str, switches: Switches) -> Decision:
    """Plan one entry; `item` is None if it was deleted.

    While a switch is off, nothing is written and nothing removed: off is off. An item that leaves a calendar for a
    reason of its own is removed from it as soon as the switches allow.
    """
    off = _switched_off(switches)
    if item is None:
        return Decision(Intent.HOLD if off else Intent.ABSENT, Reason.DELETED)
    if assignee not in item.assignees:
        return Decision(Intent.HOLD if off else Intent.ABSENT, Reason.UNASSIGNED)
    if off is not None:
        return Decision(Intent.HOLD, off)
    if item.start is None:
        return Decision(Intent.ABSENT, Reason.NO_START)
    unwanted = _project_unwanted(item, switches)
    if unwanted is not None:
        return Decision(Intent.ABSENT, unwanted)
    if item.recurrence is not None:
        return Decision(Intent.HOLD, Reason.RECURRENCE_NOT_SUPPORTED)
    tenant, account = switches.tenant, switches.account
    assert tenant is not None
    assert account is not None
    return Decision(
        Intent.PRESENT,
        Reason.WRITTEN,
        Place(tenant.directory, account.mailbox),
        content_of(item, item.start, tenant, switches.project),
    )


def _switched_off(switches: Switches) -> Reason | None:
    tenant, account = switches.tenant, switches.account
    if tenant is None or not tenant.enabled:
        return Reason.TENANT_NOT_ENABLED
    if account is None:
        return Reason.NO_ACCOUNT
    if not account.allowed:
        return Reason.ACCOUNT_NOT_ALLOWED
    if account.blocked:
        return Reason.ACCOUNT_BLOCKED
    if not account.direction.writes:
        return Reason.DIRECTION_NOT_UP
    return None


def _project_unwanted(item: ItemUpserted, switches: Switches) -> Reason | None:
    if item.project is None:
        return None
    if switches.project is None or not switches.project.enabled:
        return Reason.PROJECT_NOT_ENABLED
    selected = switches.account.projects if switches.account else None
    if selected is not None and item.project not in selected:
        return Reason.PROJECT_NOT_SELECTED
    return None
