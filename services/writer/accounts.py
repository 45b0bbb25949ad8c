"""How accounts and tenants stand, kept in PostgreSQL: who rests, who probes, and what is published of it.

The decisions stand in troubles.py. Everything here runs inside a transaction of the caller's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from calbus.entry import Entry
from calbus.graph.calls import Response
from calbus.recent import Recent
from calbus.store import accounts, entries, outbox
from calbus.store.accounts import Account, DueProbe, Status
from calbus.store.connection import Connection
from calbus.store.outbox import Message
from calbus.telemetry import PROBES, log
from schemas.results import AccountStatus
from services.writer.troubles import (
    Finding,
    Pace,
    holds,
    lets_go,
    looked,
    may_be_gone,
    remembers,
    stands,
    told,
    trouble_of,
    worked,
)

# Of a writer with more, only those of the last minutes are known, and the rows of others are looked at again.
KNOWN_MAX_ACCOUNTS = 250_000
# Then all rows are looked at again: one may have been forgotten, and its account be linked anew.
KNOWN_FOR = timedelta(hours=1)


@dataclass(slots=True)
class Admission:
    """Which entries may be worked on now. `probes`: what they probe. `misses`: how often their mailbox was unknown.

    `resting`: put to rest. Entries in neither are somebody else's at this moment, or are gone.
    """

    entry_ids: list[UUID]
    resting: list[UUID] = field(default_factory=list)
    probes: dict[UUID, tuple[Account, ...]] = field(default_factory=dict)
    misses: dict[UUID, int] = field(default_factory=dict)


@dataclass(slots=True)
class Judgement:
    """What the findings of a batch come to. `resting`: entries that shall rest."""

    resting: set[UUID] = field(default_factory=set)
    changes: list[tuple[Status, Status]] = field(default_factory=list)
    works: dict[Account, tuple[str, bool | None]] = field(default_factory=dict)
    probed: list[str] = field(default_factory=list)


class Accounts:
    """What this writer knows, and does, about accounts in trouble."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        # That work was done says nothing new of these: their row says so already.
        self._known = Recent[Account, tuple[str, bool | None]](KNOWN_MAX_ACCOUNTS)
        self._known_until: datetime | None = None

    async def are_well(self, connection: Connection, entry_ids: list[UUID]) -> bool:
        """Whether none of the entries' accounts is in trouble, nor its tenant, so that there is nothing to admit."""
        return not await accounts.troubled(connection, entry_ids)

    async def admit(self, connection: Connection, entry_ids: list[UUID]) -> Admission:
        """Tell what may be worked on from what must rest, and put the latter to rest.

        Waits for no lock: what somebody else holds, the entry or the trouble that it may rest for, is left out.
        """
        troubled = await accounts.troubled(connection, entry_ids)
        if not troubled:
            return Admission(entry_ids)
        free = {entry.entry_id: entry for entry in await entries.look_at_free(connection, entry_ids)}
        troubles = await accounts.troubles_of(connection, list(free))
        for one in troubled:
            if one.account not in troubles:
                free.pop(one.entry_id, None)
        taken = await accounts.take_up_probes(connection, list(free))
        for one in troubled:
            if one.chosen and one.account not in taken.get(one.entry_id, ()):
                free.pop(one.entry_id, None)  # put to rest now, nobody would try it
        for account in troubles:
            self._known.forget(account)
        admission = Admission([], probes={entry_id: tuple(of) for entry_id, of in taken.items()})
        for entry in free.values():
            if any(holds(status, entry) for status in _of(entry, troubles)) and entry.entry_id not in taken:
                admission.resting.append(entry.entry_id)
                continue
            admission.entry_ids.append(entry.entry_id)
            gone = [status.attempts for status in _of(entry, troubles) if may_be_gone(status, entry)]
            if gone:
                admission.misses[entry.entry_id] = max(gone)
        await accounts.rest(connection, admission.resting)
        return admission

    async def judge(self, connection: Connection, findings: Sequence[Finding], now: datetime) -> Judgement:
        """Store and publish how the accounts stand after this work. Comes before anything is stored of entries."""
        self._forget_in_time(now)
        judgement = Judgement()
        concerned: dict[Account, list[Finding]] = {}
        for finding in findings:
            for account in (finding.tenant, finding.account):
                if self._is_news(finding, account):
                    concerned.setdefault(account, []).append(finding)
        if not concerned:
            return judgement
        before = await accounts.lock(connection, concerned)
        after: dict[Account, Status] = {}
        messages: list[Message] = []
        for account, about in concerned.items():
            if account not in before:
                continue  # it was forgotten meanwhile
            tenant = before.get(Account(account.tenant, ""))
            status = stands(before[account], about, tenant, now, self._pace)
            if account.is_tenant:
                status = remembers(status, about)
            status, event = told(before[account], status, now)
            after[account] = status
            if event is not None:
                messages.append(_message(event, status.seq))
            self._sum_up(judgement, account, about, before[account], status)
        changed = [(before[account], new) for account, new in after.items() if before[account] != new]
        await accounts.put(connection, [new for _, new in changed])
        opened = {new.account.tenant for old, new in changed if _opens(old, new)}
        covered = [account for account in before if account.tenant in opened and not account.is_tenant]
        await accounts.probe_now(connection, covered)
        await outbox.add_messages(connection, messages, now)
        judgement.changes = changed
        for finding in findings:
            trouble = trouble_of(finding, before.get(finding.tenant))
            troubled = trouble is not None and trouble.account in after and after[trouble.account].reason is not None
            probing = any(after[account].reason is not None for account in finding.probes if account in after)
            if troubled or probing:
                judgement.resting.add(finding.entry.entry_id)
        return judgement

    async def carry_out(self, connection: Connection, judgement: Judgement, recorded: dict[UUID, bool]) -> None:
        """Put to rest what shall rest, unless a newer plan was made, and wake what rested. Comes after the record."""
        await accounts.rest(connection, [entry_id for entry_id in judgement.resting if recorded.get(entry_id)])
        for old, new in judgement.changes:
            if lets_go(old, new):
                await accounts.wake(connection, new.account)
            elif new.attempts > old.attempts:
                # What is to be removed from a mailbox that stays unknown need not wait for it to come back.
                await accounts.wake(connection, new.account, only_leaving=True)

    async def look(
        self, connection: Connection, probe: DueProbe, response: Response | None, now: datetime
    ) -> Judgement:
        """Take in how a mailbox answered that was read for want of an entry; None: the account is unlinked."""
        judgement = Judgement(probed=["unclear"])
        before = await accounts.lock(connection, [probe.account])
        old = before.get(probe.account)
        if old is None or old.reason is None:
            return judgement
        if response is None:
            after = worked(old, now)
        else:
            after = looked(old, probe.place, response.fault, response.bears_roles, now, self._pace)
        after, event = told(old, after, now, unlinked=response is None)
        await accounts.put(connection, [after])
        if _opens(old, after):
            await accounts.probe_now(connection, [account for account in before if not account.is_tenant])
        if event is not None:
            await outbox.add_messages(connection, [_message(event, after.seq)], now)
        judgement.changes = [(old, after)]
        judgement.probed = [_word(old, after)]
        await self.carry_out(connection, judgement, {})
        return judgement

    def remember(self, judgement: Judgement) -> None:
        """The transaction has committed: keep in mind what need not be looked up again."""
        for old, new in judgement.changes:
            if new.reason is not None:
                self._known.forget(new.account)
            if old.told != new.told:
                log.info(
                    "account status changed",
                    tenant=new.account.tenant,
                    whole_tenant=new.account.is_tenant,
                    reason=new.told,
                    code=new.code,
                )
        for account, known in judgement.works.items():
            self._known.put(account, known)
        for result in judgement.probed:
            PROBES.labels(result).inc()

    def is_known(self, entry: Entry, bears_roles: bool | None) -> bool:
        """Whether that this entry's mailbox works is known, with a token like this: most work says nothing else."""
        if self._known.get(Account(entry.item.tenant, entry.assignee)) is None or (place := entry.target) is None:
            return False
        of_tenant = self._known.get(Account(entry.item.tenant, ""))
        if of_tenant is None or of_tenant[0] != place.directory:
            return False
        return bears_roles is None or of_tenant[1] == bears_roles

    def _forget_in_time(self, now: datetime) -> None:
        if self._known_until is None or self._known_until <= now:
            self._known = Recent(KNOWN_MAX_ACCOUNTS)
            self._known_until = now + KNOWN_FOR

    def _is_news(self, finding: Finding, account: Account) -> bool:
        """Whether the account's row must be looked at because of this."""
        if finding.probes or (finding.fault is not None and trouble_of(finding, None) is not None):
            return True
        known = self._known.get(account)
        if known is not None and finding.bears_roles is None and known[0] == _known(finding, account)[0]:
            return False
        return finding.worked and known != _known(finding, account)

    def _sum_up(self, judgement: Judgement, account: Account, about: list[Finding], old: Status, new: Status) -> None:
        if new.reason is None:
            for finding in about:
                if finding.worked:
                    judgement.works[account] = _known(finding, account)
        for finding in about:
            if account in finding.probes:
                judgement.probed.append(_word(old, new))


def _word(old: Status, new: Status) -> str:
    """What a probe said."""
    return "works" if new.reason is None else "troubled" if new.attempts > old.attempts else "unclear"


def _opens(old: Status, new: Status) -> bool:
    """Whether a trouble of the tenant as a whole is over, and those of its accounts come to light again."""
    return new.account.is_tenant and old.reason is not None and new.reason is None


def _known(finding: Finding, account: Account) -> tuple[str, bool | None]:
    """What is kept in mind of an account that works: for a tenant, with which permissions."""
    return (finding.place.directory, finding.bears_roles) if account.is_tenant else ("", None)


def _of(entry: Entry, troubles: dict[Account, Status]) -> list[Status]:
    keys = (Account(entry.item.tenant, ""), Account(entry.item.tenant, entry.assignee))
    return [troubles[key] for key in keys if key in troubles]


def _message(event: AccountStatus, seq: int) -> Message:
    name = f"{event.tenant}/{event.user}" if event.user is not None else event.tenant
    scope = "account" if event.user is not None else "tenant"
    return Message(f"{event.tenant}/{event.user or ''}/{event.way}/{seq}", f"{scope}/{name}/{event.way}", event)
