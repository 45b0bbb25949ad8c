"""Decisions about mailboxes and tenants in trouble: what is one, what rests meanwhile, when to look again. Pure.

A *trouble* is what an account meets until somebody other than calbus has acted. It is kept once for the account, or
for the tenant as a whole, and not for each entry: one entry at a time probes it, and the others rest.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b

from calbus.entry import Entry, Intent, Place
from calbus.graph.errors import Fault, Scope
from calbus.store.accounts import Account, Status
from schemas.reasons import NextActor, Reason, explain
from schemas.results import AccountState, AccountStatus, Way
from services.writer.reconciler import UNKNOWN_BEFORE_GONE, Step, next_step
from services.writer.retries import Backoff

# Graph gives now one, now the other for the same mailbox (graph-facts 1.12): one trouble, told under its first name.
_NOT_THERE = frozenset((Reason.MAILBOX_UNKNOWN, Reason.MAILBOX_NOT_IN_CLOUD))
# Troubles that only some entries of an account meet; the others go on, and say nothing of these.
_OF_CALENDARS = frozenset((Reason.CALENDAR_MISSING, Reason.CALENDAR_READ_ONLY))
_OF_ASSIGNERS = frozenset((Reason.ACCESS_CHECK_FORBIDDEN,))
_PARTIAL = _OF_CALENDARS | _OF_ASSIGNERS


@dataclass(frozen=True, slots=True)
class Pace:
    """When a trouble is looked at again.

    `confirm_s`: what a mailbox is said to suffer is looked at once more, after so long, before it is believed. No
    tenant is looked at sooner than after `token_s`, while Entra's refusal is remembered. `unclear_s`: after a probe
    that said nothing, because Graph had a passing fault.
    """

    probes: Backoff
    confirm_s: float
    token_s: float
    unclear_s: float

    def wait(self, account: Account, attempts: int) -> timedelta:
        """Until the next probe, after so many that met the trouble."""
        wait_s = self.probes.wait_s(attempts, _spread(account, attempts))
        return timedelta(seconds=max(wait_s, self.token_s) if account.is_tenant else wait_s)


@dataclass(slots=True)
class Finding:
    """What working on an entry said of its account.

    `entry` is as it was loaded, `fault` what stopped it, `worked` whether Graph did anything that was asked of the
    mailbox, if only to let us read. `bears_roles` is of the token, None if something was read and no more. It was sent
    as a probe of `probes`, if there are any.
    """

    entry: Entry
    fault: Fault | None = None
    worked: bool = False
    bears_roles: bool | None = None
    probes: tuple[Account, ...] = ()
    retry_after_s: float = 0.0

    @property
    def place(self) -> Place:
        """The mailbox that was asked."""
        place = self.entry.target
        assert place is not None
        return place

    @property
    def account(self) -> Account:
        return Account(self.entry.item.tenant, self.entry.assignee)

    @property
    def tenant(self) -> Account:
        return Account(self.entry.item.tenant, "")


@dataclass(frozen=True, slots=True)
class Trouble:
    """What somebody must mend: whose it is, what, and where it was met."""

    account: Account
    reason: Reason
    code: str
    place: Place


def trouble_of(finding: Finding, tenant: Status | None) -> Trouble | None:
    """The trouble that a finding shows; None if what was met passes by itself, or is the entry's own affair."""
    fault = finding.fault
    if fault is None or explain(fault.reason).next_actor in (NextActor.CALBUS, NextActor.NOBODY):
        return None
    place = finding.place
    if fault.scope is Scope.DIRECTORY:
        return Trouble(finding.tenant, fault.reason, fault.code, place)
    if fault.scope is not Scope.MAILBOX:
        return None
    if fault.reason is Reason.ACCESS_DENIED and _lost_its_roles(finding, tenant):
        return Trouble(finding.tenant, Reason.CONSENT_MISSING, fault.code, place)
    desired = finding.entry.desired.place
    if desired is not None and desired.lane != place.lane:
        return None  # the account has left that mailbox
    return Trouble(finding.account, fault.reason, fault.code, place)


def _lost_its_roles(finding: Finding, tenant: Status | None) -> bool:
    """Whether the token bears no role where the last that worked did: consent was withdrawn.

    Without that memory it says nothing: where Exchange's role-based access lets calbus in, tokens never bear a role.
    """
    return finding.bears_roles is False and tenant is not None and tenant.roles_in == finding.place.directory


def holds(status: Status, entry: Entry) -> bool:
    """Whether an entry rests while this trouble of its account, or of its tenant, lasts."""
    place = entry.target
    if status.reason is None or place is None or next_step(entry) is Step.NOTHING:
        return False
    if status.account.is_tenant:
        return status.directory.casefold() == place.directory.casefold()
    return _is_of(status, entry) and not may_be_gone(status, entry)


def may_be_gone(status: Status, entry: Entry) -> bool:
    """Whether the mailbox was unknown so often that what is to be removed from it may be taken for gone."""
    return (
        status.reason is Reason.MAILBOX_UNKNOWN
        and status.attempts >= UNKNOWN_BEFORE_GONE
        and entry.desired.intent is Intent.ABSENT
        and _is_of(status, entry)
    )


def _is_of(status: Status, entry: Entry) -> bool:
    """Whether the account's trouble is one that this entry meets: in its mailbox, and of its kind."""
    place, desired = entry.target, entry.desired.place
    if place is None or place.lane != Place(status.directory, status.mailbox).lane:
        return False
    if desired is not None and desired.lane != place.lane:
        return False
    if status.reason in _OF_CALENDARS:
        return next_step(entry) in (Step.CREATE, Step.FIND)
    return status.reason not in _OF_ASSIGNERS or entry.desired.assigner is not None


def met(status: Status, trouble: Trouble, now: datetime, pace: Pace, *, probing: bool) -> Status:
    """How an account stands that met a trouble. Only a probe's word counts once it is known."""
    if status.reason is None or _is_another(status, trouble):
        first = pace.wait(status.account, 0) if status.account.is_tenant else timedelta(seconds=pace.confirm_s)
        return replace(
            status,
            reason=trouble.reason,
            code=trouble.code,
            directory=trouble.place.directory,
            mailbox="" if status.account.is_tenant else trouble.place.mailbox,
            since=now,
            attempts=0,
            probe_at=now + first,
        )
    if not probing:
        return status
    same = _is_same(status.reason, trouble.reason)
    return replace(
        status,
        reason=status.reason if same else trouble.reason,
        code=status.code if same else trouble.code,
        attempts=status.attempts + 1,
        probe_at=now + pace.wait(status.account, status.attempts + 1),
    )


def _is_another(status: Status, trouble: Trouble) -> bool:
    """Whether it is met in another place than the one that is known, or by more entries."""
    if status.account.is_tenant:
        return status.directory.casefold() != trouble.place.directory.casefold()
    moved = Place(status.directory, status.mailbox).lane != trouble.place.lane
    return moved or (status.reason in _PARTIAL and trouble.reason not in _PARTIAL)


def _is_same(one: Reason | None, other: Reason | None) -> bool:
    return one is other or (one in _NOT_THERE and other in _NOT_THERE)


def proves(finding: Finding, status: Status) -> bool:
    """Whether work that was done shows that the account is not, or no longer, in trouble."""
    fault = finding.fault
    if not finding.worked or trouble_of(finding, None) is not None:
        return False
    if fault is not None and _is_same(status.reason, fault.reason):
        return False  # the mailbox answered, and then this was met once more
    entry, place = finding.entry, finding.place
    if status.account.is_tenant:
        return status.reason is None or status.directory.casefold() == place.directory.casefold()
    if entry.desired.place is not None and entry.desired.place.lane != place.lane:
        return False
    if status.reason is None or _is_of(status, entry):
        return True
    # The account has another mailbox now, and that works.
    return entry.desired.place is not None and Place(status.directory, status.mailbox).lane != place.lane


def worked(status: Status, now: datetime) -> Status:
    """How an account stands that works."""
    if status.reason is None:
        return status
    return replace(status, reason=None, code="", directory="", mailbox="", since=now, attempts=0, probe_at=None)


def unclear(status: Status, now: datetime, pace: Pace, retry_after_s: float) -> Status:
    """How an account stands whose probe said nothing: another entry is tried soon."""
    if status.reason is None:
        return status
    return replace(status, probe_at=now + timedelta(seconds=max(pace.unclear_s, retry_after_s)))


def looked(
    status: Status, place: Place, fault: Fault | None, bears_roles: bool | None, now: datetime, pace: Pace
) -> Status:
    """How an account, or a tenant, stands whose mailbox at `place` was read, since no entry rests to be tried.

    A mailbox that lets us read works. Whether a calendar in it is missing concerns no one as long as nothing waits.
    """
    if fault is None:
        return worked(status, now)
    if status.reason is None:
        return status
    unknown = unclear(status, now, pace, fault.retry_after_s or 0.0)
    whole = status.account.is_tenant
    if explain(fault.reason).next_actor in (NextActor.CALBUS, NextActor.NOBODY) or fault.scope is Scope.ENTRY:
        return unknown
    reason = fault.reason
    if fault.scope is Scope.DIRECTORY and not whole:
        return unknown  # the tenant's trouble; who meets it next with an entry tells
    if fault.scope is Scope.MAILBOX and whole:
        if reason is not Reason.ACCESS_DENIED or bears_roles is not False or status.roles_in != place.directory:
            return worked(status, now)
        reason = Reason.CONSENT_MISSING
    return met(status, Trouble(status.account, reason, fault.code, place), now, pace, probing=True)


def stands(status: Status, findings: Iterable[Finding], tenant: Status | None, now: datetime, pace: Pace) -> Status:
    """How an account, or the tenant as a whole, stands after work for it; work that was done outweighs what failed."""
    findings = list(findings)
    if any(proves(finding, status) for finding in findings):
        return worked(status, now)
    known = tenant if tenant is not None else status if status.account.is_tenant else None
    probes = [finding for finding in findings if status.account in finding.probes]
    for finding in probes + [finding for finding in findings if finding not in probes]:
        trouble = trouble_of(finding, known)
        if trouble is None:
            continue
        if trouble.account == status.account:
            return met(status, trouble, now, pace, probing=finding in probes)
        if status.account.is_tenant and not _lost_its_roles(finding, status):
            # Somebody was let in, as far as the door of a mailbox.
            return worked(status, now)
    if probes:
        return unclear(status, now, pace, max(finding.retry_after_s for finding in probes))
    return status


def remembers(status: Status, findings: Iterable[Finding]) -> Status:
    """A tenant with the directory in which a token that bore roles worked, if the last one that worked bore any."""
    for finding in findings:
        if finding.worked and finding.bears_roles is not None:
            status = replace(status, roles_in=finding.place.directory if finding.bears_roles else None)
    return status


def told(
    before: Status, after: Status, now: datetime, *, unlinked: bool = False
) -> tuple[Status, AccountStatus | None]:
    """What is published of a change, if anything: the status as it stands then, and the event.

    A mailbox's trouble is told when a probe has met it again, a tenant's at once; a trouble is told once however its
    names alternate. That an account works is told once, and after each trouble that was told; of a tenant as a whole
    only the latter. A trouble that was told of an account that is `unlinked` ends for that reason.
    """
    if after.reason is None:
        fresh = before.told is None and after.account.is_tenant
        at_rest = (None, Reason.WORKING, Reason.ACCOUNT_UNLINKED) if unlinked else (Reason.WORKING,)
        if fresh or before.told in at_rest:
            return after, None
        reason, state = Reason.ACCOUNT_UNLINKED if unlinked else Reason.WORKING, AccountState.WORKING
    else:
        believed = after.account.is_tenant or after.attempts > 0
        if not believed or _is_same(before.told, after.reason):
            return after, None
        reason, state = after.reason, AccountState.TROUBLED
    explanation = explain(reason)
    event = AccountStatus(
        tenant=after.account.tenant,
        user=after.account.assignee or None,
        way=Way.UP,
        state=state,
        reason=reason,
        message=explanation.says,
        next_actor=explanation.next_actor,
        remedy=explanation.remedy,
        since=after.since if after.reason is not None else now,
    )
    return replace(after, told=reason, seq=before.seq + 1), event


def lets_go(before: Status, after: Status) -> bool:
    """Whether what rested for the trouble must be looked at anew: it is over, or holds other entries now."""
    if before.reason is None:
        return False
    moved = (before.directory, before.mailbox) != (after.directory, after.mailbox)
    return after.reason is not before.reason or moved


def _spread(account: Account, attempts: int) -> float:
    """Between 0 and 1: even over accounts and attempts, and the same each time it is asked."""
    digest = blake2b(f"{account.tenant}/{account.assignee}/{attempts}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) / 2**32
