"""App registrations as one tenant knows them: credentials, consented roles, mailboxes granted by Exchange's RBAC."""

import hmac
from dataclasses import dataclass

from cryptography import x509


@dataclass(frozen=True, slots=True)
class AppSecret:
    """A client secret. `expires_at_s` is seconds since 1970; None never expires."""

    value: str
    expires_at_s: float | None = None

    def matches(self, offered: str) -> bool:
        """Compares without telling by its duration how much was right."""
        return hmac.compare_digest(self.value.encode(), offered.encode())


@dataclass(frozen=True, slots=True)
class AppRegistration:
    """An application in a tenant.

    `roles` are consented tenant-wide and go into tokens; `scoped_mailboxes` (lower-case names or ids) are granted
    Calendars.ReadWrite by RBAC for Applications, which tokens do not show.
    """

    client_id: str
    object_id: str
    secrets: tuple[AppSecret, ...] = ()
    certificates: tuple[x509.Certificate, ...] = ()
    roles: tuple[str, ...] = ()
    scoped_mailboxes: frozenset[str] = frozenset()
    disabled: bool = False
