"""How the way down of an account, or of a tenant as a whole, stands: what is published of it, and when.

An account stands as its calendars do. A trouble is what somebody other than calbus must mend; what concerns a whole
directory is told once, of the tenant. What passes by itself is never told. The decisions come first and are pure; what
follows them runs in a transaction of the caller's, who holds the mailbox's lease.
"""

from collections.abc import Sequence
from datetime import datetime

from calbus.graph.errors import Fault, Scope
from calbus.store import outbox, pull_status
from calbus.store.connection import Connection
from calbus.store.outbox import Message
from calbus.store.pull_status import Suffered, Told
from calbus.store.pulls import Pull
from calbus.telemetry import log
from schemas.reasons import Reason, explain
from schemas.results import AccountState, AccountStatus, Way
from services.puller.pace import is_passing

AT_REST = (Reason.WORKING, Reason.ACCOUNT_UNLINKED)
# A calendar meets a trouble so often before it is believed to be one.
MET_BEFORE_TOLD = 2
_REASONS = {reason.value: reason for reason in Reason}
# Graph gives now one, now the other for the same mailbox (graph-facts 1.12): one trouble, told under its first name.
_NOT_THERE = frozenset((Reason.MAILBOX_UNKNOWN, Reason.MAILBOX_NOT_IN_CLOUD))
_OF_DIRECTORY = frozenset(
    (
        Reason.DIRECTORY_UNKNOWN,
        Reason.APP_NOT_IN_DIRECTORY,
        Reason.APP_DISABLED,
        Reason.CONSENT_MISSING,
        Reason.CONDITIONAL_ACCESS,
        Reason.CREDENTIAL_WRONG,
        Reason.CREDENTIAL_EXPIRED,
    )
)


def trouble_of_account(suffered: Sequence[Suffered]) -> Reason | None:
    """What is wrong with an account whose calendars suffer this, if somebody else must mend it and it is sure."""
    for one in suffered:
        reason = _REASONS.get(one.reason)
        if reason is None or reason in _OF_DIRECTORY or is_passing(reason):
            continue
        if one.failures >= MET_BEFORE_TOLD:
            return reason
    return None


def is_alike(one: str | None, other: Reason) -> bool:
    """Whether two faults in a row count as the same: of one kind, that passes or that somebody must mend."""
    before = _REASONS.get(one or "")
    return before is not None and is_passing(before) is is_passing(other)


def news(told: Told, reason: Reason, *, of_tenant: bool = False) -> bool:
    """Whether `reason` is to be published. Of a tenant it is not told that it works before it ever did not."""
    if told.reason is None:
        return not of_tenant or reason is not Reason.WORKING
    if told.reason in AT_REST and reason in AT_REST:
        return told.reason is Reason.ACCOUNT_UNLINKED and reason is Reason.WORKING
    return told.reason is not reason and not (told.reason in _NOT_THERE and reason in _NOT_THERE)


def status_of(tenant: str, user: str, reason: Reason, now: datetime) -> AccountStatus:
    """The event that says so; without a user of the tenant as a whole."""
    explanation = explain(reason)
    return AccountStatus(
        tenant=tenant,
        user=user or None,
        way=Way.DOWN,
        state=AccountState.WORKING if reason in AT_REST else AccountState.TROUBLED,
        reason=reason,
        message=explanation.says,
        next_actor=explanation.next_actor,
        remedy=explanation.remedy,
        since=now,
    )


async def after_round(connection: Connection, pull: Pull, now: datetime) -> bool:
    """A round of the calendar was finished, and that is stored: tell what follows; whether anything was."""
    told, of_tenant = await pull_status.told_of(connection, pull.tenant, pull.user)
    ended = of_tenant.reason is not None and await _tell(connection, pull.tenant, "", Reason.WORKING, now)
    if told.reason is Reason.WORKING and pull.last_error is None:
        return ended
    return await _tell_account(connection, pull, now) or ended


async def after_fault(connection: Connection, pull: Pull, fault: Fault, now: datetime) -> bool:
    """The calendar met this, and that is stored: tell what follows; whether anything was."""
    if is_passing(fault.reason):
        return False
    if fault.scope is Scope.DIRECTORY:
        _, of_tenant = await pull_status.told_of(connection, pull.tenant, pull.user)
        # Many calendars meet it at once: only the first has to wait for its turn to tell.
        return news(of_tenant, fault.reason) and await _tell(connection, pull.tenant, "", fault.reason, now)
    return await _tell_account(connection, pull, now)


async def after_settings(connection: Connection, now: datetime) -> bool:
    """Calendars may no longer be pulled: what was told of accounts without any is over; whether there was such."""
    over = await pull_status.over(connection, AT_REST)
    for one in over:
        reason = Reason.ACCOUNT_UNLINKED if one.is_unlinked and one.user else Reason.WORKING
        await _tell(connection, one.tenant, one.user, reason, now)
    return bool(over)


async def _tell_account(connection: Connection, pull: Pull, now: datetime) -> bool:
    suffered = await pull_status.suffered(connection, pull.tenant, pull.user)
    trouble = trouble_of_account(suffered)
    if trouble is None and any(not is_passing(_REASONS.get(one.reason, Reason.GRAPH_UNAVAILABLE)) for one in suffered):
        return False  # it may be one, and is looked at once more
    return await _tell(connection, pull.tenant, pull.user, trouble or Reason.WORKING, now)


async def _tell(connection: Connection, tenant: str, user: str, reason: Reason, now: datetime) -> bool:
    told = await pull_status.lock(connection, tenant, user)
    if not news(told, reason, of_tenant=not user):
        return False
    await pull_status.put(connection, tenant, user, reason)
    scope, name = ("account", f"{tenant}/{user}") if user else ("tenant", tenant)
    event_id = f"{tenant}/{user}/{Way.DOWN}/{told.seq + 1}"
    message = Message(event_id, f"{scope}/{name}/{Way.DOWN}", status_of(tenant, user, reason, now))
    await outbox.add_messages(connection, [message], now)
    log.info("account status changed", tenant=tenant, whole_tenant=not user, way=Way.DOWN, reason=reason)
    return True
