"""A user of the directory and the mailbox behind the name, whatever its kind."""

from dataclasses import dataclass, field
from typing import Any

from simulator.entra.accounts import Account
from simulator.errors import GraphError, blocked_by_policy, mailbox_not_enabled, resource_not_found
from simulator.exchange.mailbox import Mailbox, MailboxKind

# Sources: Microsoft docs "auth-limit-mailbox-access"; codes and texts as public issue threads show them.
_REFUSALS = {
    MailboxKind.UNLICENSED: mailbox_not_enabled,
    MailboxKind.ON_PREMISES: mailbox_not_enabled,
    MailboxKind.SOFT_DELETED: mailbox_not_enabled,
    MailboxKind.MISSING: resource_not_found,
    MailboxKind.BLOCKED_BY_POLICY: blocked_by_policy,
}


@dataclass(slots=True, eq=False)
class User:
    """A directory entry. The mailbox keeps its content when its kind changes."""

    id: str
    upn: str
    display_name: str
    kind: MailboxKind
    time_zone: str
    mailbox: Mailbox
    account: Account = field(default_factory=Account)

    @property
    def names(self) -> tuple[str, str]:
        """What lists of users call it by: id and user principal name, in lower case."""
        return self.id.lower(), self.upn.lower()

    def refusal(self) -> GraphError | None:
        """Why an application cannot open the mailbox; None if it can."""
        make = _REFUSALS.get(self.kind)
        return make() if make else None

    def show(self) -> dict[str, Any]:
        """The default properties of a directory user."""
        return {
            "businessPhones": [], "displayName": self.display_name, "givenName": None, "jobTitle": None,
            "mail": self.upn if self.kind is MailboxKind.OK else None, "mobilePhone": None, "officeLocation": None,
            "preferredLanguage": None, "surname": None, "userPrincipalName": self.upn, "id": self.id,
        }  # fmt: skip
